"""Every rule against a plain loop in float64, in any blocks; what is masked never counts; what is missing is named."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from workbench.features import ImageFeatures, TextFeatures
from workbench.heads import GlobalPairTransformer, PairTransformer
from workbench.heads.binding import FUNCTIONAL, DenseMapCNN, LinearTextMap
from workbench.matching import RULES, Regions, Segments, late_interaction, rules_table, score

N, M, P, T, R, K, D = 3, 4, 6, 5, 7, 3, 8
BOXES = [[(0, 0, 30, 20), (5, 3, 17, 18), (20, 0, 30, 9)], [(0, 0, 11, 20)], [(1, 1, 2, 2), (12, 4, 25, 16)]]
FRAME = (0, 0, 30, 20)
HIDDEN = {"image": (0, 4), "text": (1, 3)}


def drawn(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def some(*shape, seed):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) > 0.4
    mask[:, 0] = True
    return mask


class World:
    """Random features of all kinds: P patches in 2 rows of 3, T tokens of which some are padding, R crops, K segments."""

    def __init__(self, n=N, m=M, p=P, t=T, r=R, k=K, d=D, grid=(2, 3)):
        self.image = ImageFeatures(drawn(n, d, seed=1), drawn(n, d, seed=2), drawn(n, p, d, seed=3), grid)
        words = [["a", "red", "thing", "not", "here"][:t]] * m
        ids = [[*range(t)]] * m
        tokens, mask = drawn(m, t, d, seed=4), some(m, t, seed=5)
        self.text = TextFeatures(drawn(m, d, seed=6), drawn(m, d, seed=7), tokens, mask, words, ids)
        box = (0, 0, 30, 20)
        self.regions = Regions(drawn(n, r, d, seed=8), torch.ones(n, r).bool(), ((box,) * r,) * n)
        self.segments = Segments(drawn(m, k, d, seed=9), some(m, k, seed=10), (("a",) * k,) * m)
        self.background = Regions(drawn(2, r, d, seed=11), some(2, r, seed=12), ((box,) * r,) * 2)
        self.image_mask = some(n, p, seed=13)
        torch.manual_seed(0)
        self.heads = {
            "linear_text": LinearTextMap(d),
            "dense_map": DenseMapCNN(p + 1, 6, hidden=5),
            "pair_transformer": PairTransformer(d, d, width=8, layers=2, heads=2, ffn=16),
            "global_transformer": GlobalPairTransformer(d, d, width=8, layers=2, heads=2, ffn=16),
        }
        for head in self.heads.values():
            for parameter in head.parameters():
                parameter.data.normal_(std=0.4)

    def sides(self, rule):
        image = self.regions if RULES[rule].image == ("crops",) else self.image
        return image, self.segments if RULES[rule].text == ("segments",) else self.text

    def score(self, rule, **options):
        if rule == "roi":
            options = {"boxes": BOXES[: len(self.image)], "frames": [FRAME] * len(self.image)} | options
        return score(rule, *self.sides(rule), head=self.heads.get(rule), **options)


@pytest.fixture
def world():
    return World()


# The rules once more, one pair at a time ---------------------------------------------------------------------------------


def wide(x):
    return x.detach().double().numpy()


def ones(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def cosine(x, y):
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


def best_match(images, texts):
    return np.mean([max(cosine(i, t) for i in images) for t in texts])


def minmax(s, sparse=False):
    a = (s - s.min()) / (s.max() - s.min())
    if sparse:
        a[a < 1 / len(a)] = 0
    return a / a.sum()


def exclusive(crops, segments):
    cosines = ones(segments) @ ones(crops).T
    return cosines[linear_sum_assignment(-cosines)].mean()


def pooled_by(query, patches, heads=1, temperature=None):
    """With the empty key, head by head, on vectors of length 1."""
    p, q = ones(patches), ones(query)
    width = len(q) // heads
    temperature = temperature or 1 / math.sqrt(len(q) * heads)
    parts = []
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        logits = [*(p[:, part] @ q[part] / temperature), 0.0]
        shares = np.exp(logits) / np.exp(logits).sum()
        parts.append(shares[:-1] @ p[:, part])
    return cosine(np.concatenate(parts), q)


def patch_pooled(query, patches, temperature=1.0):
    s = ones(patches) @ ones(query)
    shares = np.exp(s / temperature)
    return shares / shares.sum() @ s


def local(patches, words, scale, normalizer="minmax"):
    total = 0.0
    for word in words:
        s = patches @ word
        a = np.exp(s) / np.exp(s).sum() if normalizer == "softmax" else minmax(s, normalizer == "sparse")
        total += np.exp(scale * cosine(a @ patches, word))
    return math.log(total)


def grouped(patches, words):
    p, w = ones(patches), ones(words)
    return np.mean([cosine(minmax(p @ word, sparse=True) @ p, word) for word in w])


def transported(patches, words, price=0.1, epsilon=0.1, capacity=None):
    """Sinkhorn's iterations as they are first written, u = a / Kv, far beyond convergence."""
    S = ones(patches) @ ones(words).T
    a = np.full(len(S), 1 / len(S) if capacity is None else capacity / S.shape[1])
    b = np.full(S.shape[1], 1 / S.shape[1])
    wide_S = np.pad(S, ((0, 1), (0, 1)), constant_values=price)
    a, b, kernel = np.append(a, b.sum()), np.append(b, a.sum()), np.exp(wide_S / epsilon)
    u = np.ones(len(a))
    for _ in range(5000):
        v = b / (kernel.T @ u)
        u = a / (kernel @ v)
    plan = (u[:, None] * kernel * v)[:-1, :-1]
    return (plan * S).sum() + price * (1 - plan.sum())


def roi_pooled(patches, boxes):
    """Pixel by pixel: the mean over a box of the cell each pixel lies in, 30 × 20 pixels in 2 rows of 3 cells."""
    p = ones(patches)
    return [
        np.mean([p[3 * (y // 10) + x // 10] for y in range(y0, y1) for x in range(x0, x1)], axis=0)
        for x0, y0, x1, y1 in boxes
    ]


PLAIN = {  # rule → score of picture n with caption m, given its parts that count
    "global": lambda i, t, **_: cosine(i.post, t.post),
    "late": lambda i, t, **_: best_match(i.tokens, t.tokens),
    "late_tokens": lambda i, t, **_: best_match(t.tokens, i.tokens),
    "late_eos": lambda i, t, **_: best_match(i.tokens, [*t.tokens, t.post]),
    "segments": lambda i, t, **_: best_match(i.tokens, t.tokens),
    "crops": lambda i, t, **o: (exclusive if o.get("exclusive") else best_match)(i.tokens, t.tokens),
    "roi": lambda i, t, **_: best_match(roi_pooled(i.tokens, i.boxes), t.tokens),
    "grouped": lambda i, t, **_: grouped(i.tokens, t.tokens),
    "patch_pooling": lambda i, t, **o: patch_pooled(t.post, i.tokens, **o),
    "text_pooling": lambda i, t, **o: pooled_by(t.post, i.tokens, **o),
    "phrase_pooling": lambda i, t, **o: np.mean([pooled_by(g, i.tokens, **o) for g in t.tokens]),
    "local": lambda i, t, logit_scale=100.0, **o: local(i.tokens, t.tokens, logit_scale, **o),
    "transport": lambda i, t, **o: transported(i.tokens, t.tokens, **o),
}
CASES = [
    *((rule, {}) for rule in PLAIN if rule != "transport"),
    ("crops", {"exclusive": True}),
    ("text_pooling", {"heads": 4}),
    ("text_pooling", {"heads": 2, "temperature": 0.2}),
    ("phrase_pooling", {"heads": 8}),
    ("patch_pooling", {"temperature": 0.07}),
    ("local", {"normalizer": "sparse", "logit_scale": 10.0}),
    ("local", {"normalizer": "softmax", "logit_scale": 3.0}),
    ("transport", {"price": 0.1, "epsilon": 0.1}),
    ("transport", {"price": -0.2, "epsilon": 0.3, "capacity": 1.0}),
]


class One:
    def __init__(self, **parts):
        self.__dict__.update(parts)


def by_loop(world, rule, image_mask, **options):
    image, text = world.sides(rule)
    found = np.zeros((len(image.tokens), len(text.tokens)))
    for n, m in np.ndindex(*found.shape):
        i = One(tokens=wide(image.tokens[n])[image_mask[n].numpy()], boxes=BOXES[n])
        i.post = wide(image.post[n]) if hasattr(image, "post") else None
        t = One(tokens=wide(text.tokens[m])[text.mask[m].numpy()])
        t.post = wide(text.post[m]) if hasattr(text, "post") else None
        found[n, m] = PLAIN[rule](i, t, **options)
    return torch.tensor(found).float()


@pytest.mark.parametrize("max_bytes", [1, 5000, 1 << 28])
@pytest.mark.parametrize(("rule", "options"), CASES, ids=str)
def test_equals_the_loop_in_any_blocks(world, rule, options, max_bytes):
    masked = "image_mask" in RULES[rule].options
    mask = world.image_mask if masked else torch.ones(N, P if RULES[rule].image != ("crops",) else R).bool()
    expected = by_loop(world, rule, mask, **options)
    blocks = {"max_bytes": max_bytes} if "max_bytes" in RULES[rule].options else {}
    found = world.score(rule, **options, **blocks, **({"image_mask": mask} if masked else {}))
    assert found.shape == (N, M)
    assert found.dtype == torch.float32
    tolerance = 2e-4 if rule in ("transport", "local") else 2e-6  # of a converged plan; of scores around 100
    assert torch.allclose(found, expected, atol=tolerance, rtol=1e-5)


@pytest.mark.parametrize("rule", ["pair_transformer", "global_transformer", "dense_map"])
def test_a_head_scores_every_pair_as_it_scores_it_alone(world, rule):
    head = world.heads[rule].eval()
    image, text = world.image, world.text
    expected = torch.zeros(N, M)
    for n, m in np.ndindex(N, M):
        counted = text.mask[m]
        patches, words = image.tokens[n][None], text.tokens[m][counted][None]
        with torch.no_grad():
            if rule == "global_transformer":
                expected[n, m] = head(image.post[n : n + 1], text.post[m : m + 1])
            elif rule == "dense_map":
                functional = [
                    [
                        FUNCTIONAL.index(w) if w in FUNCTIONAL else -1
                        for w, on in zip(text.words[m], counted, strict=True)
                        if on
                    ]
                ]
                patches = torch.cat([image.post[n][None, None], patches], 1)
                expected[n, m] = head(patches, words, words=torch.tensor(functional))
            else:
                expected[n, m] = head(patches, words)
    for max_bytes in (1, 20_000, 1 << 28):
        assert torch.allclose(world.score(rule, max_bytes=max_bytes), expected, atol=1e-5)


def test_a_linear_map_of_the_caption_is_the_global_cosine_at_its_start_and_a_matrix_later(world):
    assert torch.allclose(
        score("linear_text", world.image, world.text, head=LinearTextMap(D)), world.score("global"), atol=1e-6
    )
    mapped = wide(world.text.post) @ wide(world.heads["linear_text"].map.weight).T
    expected = ones(wide(world.image.post)) @ ones(mapped).T
    assert torch.allclose(world.score("linear_text"), torch.tensor(expected).float(), atol=1e-6)


FREE = [rule for rule in RULES if not RULES[rule].head]
WITH_WORDS = [rule for rule in RULES if "tokens" in RULES[rule].text or RULES[rule].text == ("segments",)]


@pytest.mark.parametrize("rule", WITH_WORDS)
def test_what_the_text_mask_hides_never_counts(world, rule):
    before = world.score(rule)
    for side in (world.text, world.segments):
        side.tokens[~side.mask] = 50.0
    assert torch.allclose(world.score(rule), before, atol=1e-5)


@pytest.mark.parametrize("rule", [rule for rule in RULES if "image_mask" in RULES[rule].options])
def test_what_the_image_mask_hides_never_counts(world, rule):
    before = world.score(rule, image_mask=world.image_mask)
    assert not torch.allclose(before, world.score(rule), atol=1e-4)
    world.image.tokens[~world.image_mask] = -50.0
    assert torch.allclose(world.score(rule, image_mask=world.image_mask), before, atol=1e-5)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in ("roi", "dense_map")])  # these know places
def test_the_order_of_parts_does_not_matter(world, rule):
    before = world.score(rule)
    turn = lambda x: None if x is None else x.flip(1)  # noqa: E731
    world.image = replace(world.image, tokens=turn(world.image.tokens))
    world.text = replace(world.text, tokens=turn(world.text.tokens), mask=turn(world.text.mask))
    for name in ("regions", "segments"):
        side = getattr(world, name)
        setattr(world, name, replace(side, tokens=turn(side.tokens), mask=turn(side.mask)))
    assert torch.allclose(world.score(rule), before, atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_equal_features_tie(rule):
    world = World()
    for x in (world.image.post, world.image.tokens, world.regions.tokens):
        x[:] = x.flatten(0, -2)[0]
    for x in (world.text.post, world.text.tokens, world.segments.tokens):
        x[:] = x.flatten(0, -2)[0]
    if rule in ("local", "late_eos", "dense_map", "pair_transformer"):  # which tell how many words there are
        world.text.mask[:] = True
    found = world.score(rule)
    assert torch.allclose(found, found[:1, :1].expand_as(found), atol=1e-5)
    if rule in FREE and rule not in ("local", "patch_pooling", "transport", "global", "late_eos"):
        expected = late_interaction(world.image.tokens[:1], world.text.tokens[:1])
        if rule in ("segments", "roi", "phrase_pooling"):
            expected = late_interaction(world.image.tokens[:1], world.segments.tokens[:1])
        if rule == "crops":
            expected = late_interaction(world.regions.tokens[:1], world.segments.tokens[:1])
        if rule == "text_pooling":
            expected = late_interaction(world.image.tokens[:1], world.text.post[:1, None])
        assert found[0, 0] == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize("rule", FREE)
def test_one_picture_one_caption_one_part_each_is_a_cosine(rule):
    world = World(1, 1, 1, 1, 1, 1, grid=(1, 1))
    image, text = world.sides(rule)
    x = image.tokens[0, 0] if RULES[rule].image != ("pooled",) else image.post[0]
    y = text.tokens[0, 0] if RULES[rule].text != ("pooled",) else text.post[0]
    found, expected = world.score(rule), cosine(wide(x), wide(y))
    assert found.shape == (1, 1)
    if rule == "late_eos":
        expected = (expected + cosine(wide(x), wide(text.post[0]))) / 2
    if rule == "local":
        expected *= 100
    if rule == "transport":
        expected = transported(wide(x)[None], wide(y)[None], price=0.0, epsilon=0.05)
    assert found.item() == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("rule", [rule for rule in RULES if RULES[rule].head])
def test_one_of_each_goes_through_a_head(rule):
    found = World(1, 1, 1, 1, 1, 1, grid=(1, 1)).score(rule)
    assert found.shape == (1, 1)
    assert torch.isfinite(found).all()


def test_a_head_is_left_as_it_was(world):
    head = world.heads["pair_transformer"].train()
    head.blocks[0].eval()
    world.score("pair_transformer")
    assert head.training
    assert not head.blocks[0].training
    assert all(parameter.grad is None for parameter in head.parameters())


def test_a_caption_with_its_own_embedding_is_the_caption_with_its_end_of_text_token(clip_folder):
    import PIL.Image

    from workbench.models.registry import load_model

    model = load_model(f"local-dir:{clip_folder}", device="cpu")
    pixels = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), dtype=np.uint8)
    image = model.encode_image([PIL.Image.fromarray(each) for each in pixels], tokens=True)
    captions = ["a red ball", "the cat left of a ball"]
    words, kept = (model.encode_text(captions, tokens=True, keep_eos=eos) for eos in (False, True))
    assert torch.allclose(score("late_eos", image, words), score("late", image, kept), atol=1e-5)
    assert not torch.allclose(score("late", image, words), score("late", image, kept), atol=1e-4)
    with pytest.raises(ValueError, match=r"caption 0 already counts a token that is no word \(keep_eos=True\)"):
        score("late_eos", image, kept)


def test_every_rule_says_what_it_is():
    assert {need for rule in RULES.values() for need in rule.needs} == {
        *("pooled", "tokens", "crops", "segments", "boxes", "head")
    }
    for name, rule in RULES.items():
        assert rule.name == name
        assert rule.title
        assert rule.formula
        assert "arXiv" in rule.source
        assert name in rule.table().caption
    assert RULES["crops"].needs == ("crops", "segments")
    assert RULES["roi"].needs == ("tokens", "segments", "boxes")
    assert RULES["dense_map"].needs == ("tokens", "pooled", "head")
    assert [row[0] for row in rules_table().rows] == list(RULES)


def test_missing_tokens_are_named_and_other_rules_run(world):
    image, text = ImageFeatures(world.image.pre, world.image.post), TextFeatures(world.text.pre, world.text.post)
    for rule in RULES:
        if "tokens" in RULES[rule].image:
            with pytest.raises(ValueError, match=rf"rule '{rule}' needs image tokens: encode_image\(…, tokens=True\)"):
                score(rule, image, world.sides(rule)[1], head=world.heads.get(rule), boxes=BOXES, frames=[FRAME] * N)
    with pytest.raises(ValueError, match=r"needs text tokens: .* rules that need none: global, crops, linear_text"):
        score("late", world.image, text)
    assert score("global", image, text).shape == (N, M)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda w: score("best", w.image, w.text), ValueError, "rule='best'; choose one of global, late, "),
        (
            lambda w: score("crops", w.image, w.segments),
            TypeError,
            r"reads crops on the image side, Regions of matching.crop_features\(model, pictures\); got ImageFeatures",
        ),
        (
            lambda w: score("crops", w.regions, w.text),
            TypeError,
            r"reads segments on the text side, Segments of .* got TextFeatures",
        ),
        (
            lambda w: score("late", w.image.tokens, w.text),
            TypeError,
            "ImageFeatures of model.encode_image.* got Tensor",
        ),
        (
            lambda w: score("linear_text", w.image, w.text),
            ValueError,
            r"needs a trained head: .*head=a heads.Linear",
        ),
        (lambda w: score("global", w.image, w.text, head=LinearTextMap(D)), TypeError, "'global' takes no head"),
        (
            lambda w: score("linear_text", w.image, w.text, head=torch.nn.Linear(D, D)),
            TypeError,
            "head is Linear, which has no 'mapped'; give a heads.LinearTextMap",
        ),
        (lambda w: score("linear_text", w.image, w.text, head=LinearTextMap(9)), ValueError, "for a map of width 9"),
        (lambda w: w.score("late", epsilon=1), TypeError, "'late' takes no 'epsilon'; its options: image_mask, max_"),
        (lambda w: w.score("global", max_bytes=1), TypeError, "'global' takes no 'max_bytes'; its options: none"),
        (lambda w: score("roi", w.image, w.segments), ValueError, "'roi' needs boxes=; see matching.roi_features"),
        (
            lambda w: score("dense_map", w.image, replace(w.text, words=None), head=w.heads["dense_map"]),
            ValueError,
            r"maps no tokens to words.* make it with functional=\(\)",
        ),
        (lambda w: w.score("local", logit_scale=torch.inf), ValueError, "'local' gives NaN or infinity"),
        (lambda w: w.score("late", max_bytes=0), ValueError, "max_bytes=0"),
    ],
)
def test_bad_input_is_named(world, call, error, message):
    with pytest.raises(error, match=message):
        call(world)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "global"])
def test_nan_and_empty_masks_are_refused(world, rule):
    if "image_mask" in RULES[rule].options:
        with pytest.raises(ValueError, match="nothing counts"):
            world.score(rule, image_mask=torch.zeros(N, P).bool())
    world.image.tokens[0, 0, 0] = world.image.post[0, 0] = world.regions.tokens[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        world.score(rule)


@pytest.mark.parametrize("rule", ["late", "late_tokens", "late_eos", "segments"])
def test_late_interaction_in_half_precision_is_near(world, rule):
    whole = world.score(rule)
    assert torch.allclose(world.score(rule, dtype=torch.bfloat16), whole, atol=0.02)
    assert not torch.equal(world.score(rule, dtype=torch.bfloat16), whole)
