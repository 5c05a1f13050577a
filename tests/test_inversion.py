"""Modality inversion: it reaches its targets through the right places, and leaves the model as it was."""

from threading import Thread

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tests.tiny import save_tokenizer
from workbench.inversion import Inverted, oti, ovi, run
from workbench.inversion.sites import image_site, text_site
from workbench.models.paired import pair
from workbench.models.registry import load_model
from workbench.models.towers import image_tower, text_tower

METHODS = {"oti": oti, "ovi": ovi}
SAID = "a picture of {}"  # all words that scenes-clip knows


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tensors this small only wait for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(clip_folder):
    return load_model(f"local-dir:{clip_folder}", device="cpu")


@pytest.fixture(scope="module")
def scenes_clip():
    return load_model("scenes-clip", device="cpu")


@pytest.fixture(scope="module")
def targets(model):
    return torch.randn(5, model.embed_dim, generator=torch.Generator().manual_seed(0))


def state(model):
    """All that an inversion must leave alone: weights, gradients, who learns, who trains, hooks."""
    weights = dict(model.module.named_parameters())
    return (
        {name: value.clone() for name, value in model.module.state_dict().items()},
        {name: (weight.requires_grad, weight.grad) for name, weight in weights.items()},
        {name: (part.training, len(part._forward_hooks)) for name, part in model.module.named_modules()},
    )


def same(one, other):
    weights, *rest = one
    return rest == list(other[1:]) and all(torch.equal(value, other[0][name]) for name, value in weights.items())


# It reaches its targets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_the_cosine_rises_with_the_steps(model, targets, method):
    reached = [METHODS[method](model, targets, steps=steps).cosine.mean() for steps in (1, 5, 25)]
    assert reached[0] < reached[1] < reached[2]
    assert reached[2] > reached[0] + 0.1


def test_a_caption_that_the_template_can_say_is_found(scenes_clip):
    texts = scenes_clip.encode_text([SAID.format(word) for word in ("stars", "red", "arrow")]).post
    found = oti(scenes_clip, texts, template=SAID, steps=60)
    assert (found.cosine > 0.99).all()
    assert torch.allclose(F.cosine_similarity(found.features, texts), found.cosine, atol=1e-6)


def test_a_picture_of_one_patch_is_found(scenes_clip):
    pictures = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    found = ovi(scenes_clip, scenes_clip.encode_image(pictures).post, steps=200)
    assert found.tokens == 1
    assert (found.cosine > 0.99).all()


def test_the_longer_a_pseudo_word_the_closer_it_comes(scenes_clip):
    queries = torch.randn(4, scenes_clip.embed_dim, generator=torch.Generator().manual_seed(0))
    one, three = (oti(scenes_clip, queries, template=SAID, tokens=tokens, steps=40) for tokens in (1, 3))
    assert three.cosine.mean() > one.cosine.mean()
    assert three.tokens == 3


# Through the right places -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", ["{}", "a photo of {}", "{} on the left of a cat"])
def test_a_words_own_embedding_gives_its_own_caption(model, template):
    site = text_site(model, template, 2)
    words = model._tokenize(["guitar piano"]).ids[0, 1:3]
    own = site.module.weight[words][None].detach()
    with torch.no_grad(), run._hooked(site, own):
        ours = site.run(1)
    assert torch.allclose(ours, model.encode_text(template.format("guitar piano")).post, atol=1e-6)


def test_the_embedding_of_one_colour_gives_the_picture_of_that_colour(model):
    site = image_site(model, 1)
    picture = Image.new("RGB", (64, 64), (200, 40, 90))
    pixels = model.preprocess(picture)[None]
    with torch.no_grad():
        own = model.module.visual.conv1(pixels)[:, :, 0, 0][:, None]  # (1, 1, w): every patch is the same
        with run._hooked(site, own):
            ours = site.run(1)
    assert torch.allclose(ours, model.encode_image(picture).post, atol=1e-6)


def test_pseudo_patches_fill_runs_of_patches_as_nearest_neighbours_do(model):
    site = image_site(model, 3)
    pseudo = torch.randn(2, 3, site.width)
    filled = site.put(torch.zeros(2, site.width, 4, 4), pseudo)
    expected = F.interpolate(pseudo.mT, size=16, mode="nearest").reshape(2, site.width, 4, 4)
    assert torch.equal(filled, expected)


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory):
    import transformers

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    folder = tmp_path_factory.mktemp("bert")
    transformers.BertModel(transformers.BertConfig(**sizes, vocab_size=40)).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def tied(image, text_folder):
    from workbench.heads import LinearHead
    from workbench.models.paired import AlignmentHead

    image, text = image_tower(image, pretrained=False), text_tower(f"transformers:{text_folder}")
    return pair(image, text, AlignmentHead(LinearHead(image.width, 8), LinearHead(text.width, 8)))


def test_a_pair_is_inverted_through_its_word_embeddings(text_folder):
    model = tied("timm:test_convnext", text_folder)
    site = text_site(model, "a {}", 1)
    assert site.module is model.text_tower.model.embeddings.word_embeddings
    before, queries = state(model), torch.randn(2, 8)
    first, last = (oti(model, queries, template="a {}", steps=steps).cosine for steps in (1, 20))
    assert (last > first).all()
    assert same(state(model), before)


def test_a_transformer_of_timm_is_inverted_through_its_patch_embedding(text_folder):
    model = tied("timm:test_vit", text_folder)
    assert image_site(model, 4).module is model.image_tower.trunk.patch_embed.proj
    assert ovi(model, torch.randn(2, 8), steps=2, tokens=4).features.shape == (2, 8)


def test_a_convolutional_tower_has_no_patches_to_replace(text_folder):
    with pytest.raises(
        ValueError, match=r"no patch embedding to replace: .* 40 × 40 cells .* take a vision transformer"
    ):
        ovi(tied("timm:test_convnext", text_folder), torch.randn(1, 8), steps=1)


# It leaves the model as it was ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_the_model_stays_as_it_was(clip_folder, targets, method, error, monkeypatch):
    model = load_model(f"local-dir:{clip_folder}", device="cpu")
    model.module.logit_scale.requires_grad_(False)
    model.module.visual.train()
    before = state(model)
    forward = f"forward_{'text' if method == 'oti' else 'image'}"
    plain, calls = getattr(model, forward), []

    def breaks_down(*args, **options):
        calls.append(1)
        if error and len(calls) == 4:
            raise error("in the middle")
        assert not model.module.visual.training
        return plain(*args, **options)

    monkeypatch.setattr(model, forward, breaks_down)
    if error:
        with pytest.raises(error, match="in the middle"):
            METHODS[method](model, targets, steps=5)
    else:
        METHODS[method](model, targets, steps=5)
    assert len(calls) == (4 if error else 1 + 5 + 1)  # one to find the place, one to read what the last step reached
    assert same(state(model), before)


@pytest.mark.parametrize("switched_off", [torch.no_grad, torch.inference_mode])
def test_a_caller_without_gradients_gets_the_same(model, targets, switched_off):
    expected = oti(model, targets, steps=3)
    with switched_off():
        found = oti(model, targets.clone(), steps=3)
        assert not torch.is_grad_enabled()
    assert torch.equal(found.features, expected.features)


def test_another_thread_may_encode_meanwhile(model):
    expected, seen = model.encode_text("a red cube").post, []
    site = text_site(model, "a {}", 1)
    with run._hooked(site, torch.ones(1, 1, site.width)):
        other = Thread(target=lambda: seen.append(model.encode_text("a red cube").post))
        other.start()
        other.join()
    assert torch.equal(seen[0], expected)


# What a result depends on -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_query_does_not_depend_on_its_batch_or_its_neighbours(model, targets, method):
    whole = METHODS[method](model, targets, steps=30).features
    for size in (1, 2):
        assert torch.allclose(METHODS[method](model, targets, steps=30, batch_size=size).features, whole, atol=1e-5)
    others = torch.cat([-targets[:3], targets[3:]])
    assert torch.allclose(METHODS[method](model, others, steps=30).features[3:], whole[3:], atol=1e-5)


def test_the_seed_and_the_position_decide_where_a_query_starts(model, targets):
    first, again, other = (oti(model, targets, steps=2, seed=seed).features for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    options = run._Options(2, 1, 0.1, 0.0, 1, 0)
    starts = run._initial(range(200), 40, options)
    assert torch.equal(run._initial(range(7, 9), 40, options), starts[7:9])
    assert starts.std() == pytest.approx(0.02, rel=0.05)
    assert len({tuple(row.tolist()) for row in starts[:, 0]}) == 200


def test_only_the_direction_of_a_target_counts(model, targets):
    expected = oti(model, targets, steps=3).features
    for scale in (1e-25, 1e25):
        assert torch.allclose(oti(model, (targets * scale).numpy(), steps=3).features, expected, atol=1e-5)


def test_low_precision_is_computed_in_the_tower_only(clip_folder, targets):
    model = load_model(f"local-dir:{clip_folder}", device="cpu", dtype="bfloat16")
    found = ovi(model, targets, steps=3)
    assert found.features.dtype == found.cosine.dtype == torch.float32
    assert found.cosine.isfinite().all()


# What is shown ----------------------------------------------------------------------------------------------------------


def test_the_table_leaves_out_what_is_never_the_same_twice():
    cosine = torch.tensor([0.5, 0.75])
    found = [Inverted("OTI", "tiny", torch.ones(2, 4), cosine, 150, 1, seconds) for seconds in (3.0, 4.0)]
    assert str(found[0]) == str(found[1])
    assert found[0].table().rows == (("OTI", "1", "150", "0.62 [0.50, 0.75]", "2"),)
    assert found[0].n == 2
    assert found[0].seconds_per_query == 1.5


# Bad input --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[:0], r"shape \(0, 24\); give \(Q, 24\) with Q ≥ 1"),
        (lambda rows: rows[:, :5], r"shape \(5, 5\)"),
        (lambda rows: rows[0], r"shape \(24,\)"),
        (lambda rows: rows.clone().index_fill_(0, torch.tensor([2]), 0), "row 2 of .* is zeros"),
        (lambda rows: rows.clone().index_fill_(0, torch.tensor([2]), np.nan), "NaN or infinite"),
    ],
)
def test_features_without_direction_are_refused(model, targets, method, change, said):
    with pytest.raises(ValueError, match=said):
        METHODS[method](model, change(targets))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"steps": 0}, ValueError, "steps=0; give 1 or more"),
        ({"steps": 1.5}, TypeError, "steps is float 1.5"),
        ({"tokens": 0}, ValueError, "tokens=0"),
        ({"batch_size": -1}, ValueError, "batch_size=-1"),
        ({"seed": -1}, ValueError, "seed=-1; give 0 or more"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate=0.0"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate=nan"),
        ({"weight_decay": -0.1}, ValueError, "weight_decay=-0.1"),
    ],
)
def test_options_out_of_range_are_refused(model, targets, method, options, error, said):
    with pytest.raises(error, match=said):
        METHODS[method](model, targets, **options)


@pytest.mark.parametrize(
    ("template", "error", "said"),
    [
        ("a photo", ValueError, 'write "{}" once'),
        ("{} and {}", ValueError, 'write "{}" once'),
        ("", ValueError, "template is empty"),
        (None, TypeError, "template is NoneType"),
        ("xqz{}", ValueError, "no everyday word is a single token there"),
        ("{} " + "a " * 20, ValueError, "is 23 tokens long and .* reads 16"),
    ],
)
def test_templates_without_one_clear_place_are_refused(model, targets, template, error, said):
    with pytest.raises(error, match=said):
        oti(model, targets, template=template)


def test_a_template_with_unknown_words_is_refused(scenes_clip):
    with pytest.raises(ValueError, match="the tokenizer of scenes-clip does not know 'photo'; give a template"):
        oti(scenes_clip, torch.ones(1, scenes_clip.embed_dim))


def test_what_is_no_feature_and_a_number_that_breaks_are_named(model, targets):
    with pytest.raises(TypeError, match=r"images_post is a ImageFeatures; .* their \.post"):
        oti(model, model.encode_image(Image.new("RGB", (64, 64))))
    with pytest.raises(ValueError, match=r"tokens=17; .* has 16 patches"):
        ovi(model, targets, tokens=17)
    with pytest.raises(ValueError, match=r"left the numbers of float32; .* or lower learning_rate=1e\+30"):
        oti(model, targets, steps=3, learning_rate=1e30)


def test_a_model_without_weights_is_refused(clip_folder):
    from workbench.models.registry import skeleton

    with pytest.raises(ValueError, match="has shapes and no weights"):
        ovi(skeleton(f"local-dir:{clip_folder}"), torch.ones(1, 24))
