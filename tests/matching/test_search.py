"""The k best by late interaction: those of every pair scored, to the bit, whatever screens them."""

import pytest
import torch
import torch.nn.functional as F

from workbench.matching import late_interaction, late_top_k, search

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"))]


@pytest.fixture
def tokens():
    """Features that lie near a plane of four dimensions, with masks on both sides."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(4, 32, generator=generator)
    images, texts = (
        torch.randn(n, parts, 4, generator=generator) @ basis + 0.05 * torch.randn(n, parts, 32, generator=generator)
        for n, parts in ((30, 6), (150, 5))
    )
    text_mask, image_mask = (torch.rand(x.shape[:2], generator=generator) > 0.4 for x in (texts, images))
    text_mask[:, 0] = image_mask[:, -1] = True
    return images, texts, text_mask, image_mask


def by_loop(images, texts, text_mask, image_mask):
    """Scores (N, M) in float64."""
    scores = torch.zeros(len(images), len(texts), dtype=torch.float64)
    for n, image in enumerate(F.normalize(images.double(), dim=-1)):
        for m, text in enumerate(F.normalize(texts.double(), dim=-1)):
            scores[n, m] = (image[image_mask[n]] @ text[text_mask[m]].T).amax(0).mean()
    return scores


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("query", ["image", "text"])
def test_equals_every_pair_scored_to_the_bit(tokens, query, device):
    images, texts, text_mask, image_mask = (x.to(device) for x in tokens)
    options = {"image_mask": image_mask, "k": 7, "query": query}
    found = late_top_k(images, texts, text_mask, **options)
    every = late_top_k(images, texts, text_mask, screen=False, **options)
    assert torch.equal(found.indices, every.indices)
    assert torch.equal(found.scores, every.scores)
    assert found.share_scored < 0.7 < every.share_scored == 1


@pytest.mark.parametrize("query", ["image", "text"])
def test_equals_the_loop(tokens, query):
    scores = by_loop(*tokens) if query == "image" else by_loop(*tokens).T
    wanted = scores.topk(10)
    images, texts, text_mask, image_mask = tokens
    found = late_top_k(images, texts, text_mask, image_mask=image_mask, query=query)
    assert torch.equal(found.indices, wanted.indices)
    assert torch.allclose(found.scores.double(), wanted.values, atol=1e-7)
    assert found.scores.dtype == torch.float32


@pytest.mark.parametrize("screen", [True, False])
def test_of_equal_scores_the_lower_index_comes_first(tokens, screen):
    images, texts, text_mask, _ = tokens
    twice = torch.cat([texts[:20], texts[:20]]), torch.cat([text_mask[:20], text_mask[:20]])
    found = late_top_k(images, *twice, k=9, screen=screen)
    assert torch.equal(found.scores[:, 0:8:2], found.scores[:, 1:9:2])
    assert torch.equal(found.indices[:, 1:9:2], found.indices[:, 0:8:2] + 20)
    assert (found.indices[:, 8] < 20).all()


def test_constant_features_rule_out_nothing_and_keep_the_order():
    found = late_top_k(torch.ones(2, 3, 8), torch.ones(12, 2, 8), k=5)
    assert found.share_scored == 1
    assert found.indices.tolist() == [[0, 1, 2, 3, 4]] * 2


def test_masked_parts_never_win(tokens):
    images, texts, text_mask, image_mask = tokens
    options = {"image_mask": image_mask, "k": 3}
    before = late_top_k(images, texts, text_mask, **options)
    images, texts = images.clone(), texts.clone()
    images[~image_mask] = 1e3 * texts[0, 0]  # would match the first caption's first token
    texts[~text_mask] = images[0, -1]
    after = late_top_k(images, texts, text_mask, **options)
    assert torch.equal(before.indices, after.indices)
    assert torch.equal(before.scores, after.scores)


@pytest.mark.parametrize("scale", [1, 1e-3])
@pytest.mark.parametrize("width", [1, 3, 32, 200])
def test_bounds_are_bounds(width, scale):
    """Also where tokens nearly agree, so that rounding decides, and in fewer dimensions than four."""
    generator = torch.Generator().manual_seed(width)
    images, texts = (torch.ones(width) + scale * torch.randn(20, 5, width, generator=generator) for _ in range(2))
    masks = torch.ones(20, 5, dtype=torch.bool), torch.ones(20, 5, dtype=torch.bool)
    upper = search._upper(images, texts, *masks, 1 << 20)
    assert (upper.double() >= by_loop(images, texts, *masks)).all()


def test_without_masks_and_with_all_asked_for(tokens):
    images, texts, *_ = tokens
    found = late_top_k(images, texts, k=len(texts))
    assert found.share_scored == 1
    every = late_interaction(images, texts).sort(descending=True).values
    assert torch.allclose(found.scores, every, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 151}, "k=151; give a whole number from 1 to 150, as there are 150 texts"),
        ({"k": 31, "query": "text"}, "from 1 to 30, as there are 30 images"),
        ({"k": 0}, "k=0"),
        ({"k": 2.5}, r"k=2\.5"),
        ({"k": True}, "k=True"),
        ({"query": "patches"}, "query='patches'; choose 'image'"),
        ({"max_bytes": 0}, "max_bytes=0"),
    ],
)
def test_bad_options_are_named(tokens, options, message):
    with pytest.raises(ValueError, match=message):
        late_top_k(*tokens[:2], **options)


def test_bad_features_are_named(tokens):
    images, texts, text_mask, _ = tokens
    with pytest.raises(ValueError, match="image tokens hold NaN"):
        late_top_k(torch.full_like(images, torch.nan), texts)
    with pytest.raises(ValueError, match="in text 0 nothing counts"):
        late_top_k(images, texts, torch.zeros_like(text_mask))
    with pytest.raises(ValueError, match="32 wide and text tokens 8"):
        late_top_k(images, texts[..., :8])
