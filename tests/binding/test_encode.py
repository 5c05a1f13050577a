"""Features of drawn quads are those of the model, word for word."""

import pytest
import torch

from workbench.binding import quad_features
from workbench.data.scenes import draw, quads
from workbench.models.registry import load_model


@pytest.fixture(scope="module")
def model():
    return load_model("scenes-clip@1000", device="cpu")


@pytest.fixture(scope="module")
def drawn():
    return [*quads("Colour", 20, 7, domain="A"), *quads("Relation", 20, 7, domain="A")]


def test_features_are_the_models_own(model, drawn):
    found = quad_features(model, drawn)
    assert found.ids == tuple(quad.id for quad in drawn)
    assert found.images.tokens.shape == (40, 2, 16, 64)
    found.check()
    for q in (0, 37):
        image = model.encode_image([draw(scene, 64) for scene in drawn[q].scenes], tokens=True)
        text = model.encode_text(list(drawn[q].captions), tokens=True)
        torch.testing.assert_close(found.images.post[q], image.post, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.images.tokens[q], image.tokens, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.texts.post[q], text.post, atol=1e-5, rtol=1e-5)
        mask = found.texts.mask[q]
        torch.testing.assert_close(found.texts.tokens[q][mask], text.tokens[text.mask], atol=1e-5, rtol=1e-5)


def test_padding_that_no_caption_needs_is_cut(model, drawn):
    found = quad_features(model, drawn[:5])
    assert found.texts.mask.any((0, 1)).all()
    with_end = quad_features(model, drawn[:5], keep_eos=True)
    assert torch.equal(with_end.texts.mask.sum(2), found.texts.mask.sum(2) + 1)


def test_halves_are_kept_as_halves(model, drawn):
    found = quad_features(model, drawn[:2], dtype=torch.float16)
    assert {part.dtype for part in (found.images.post, found.images.tokens, found.texts.tokens)} == {torch.float16}
    assert found.texts.mask.dtype == torch.bool


def test_words_that_are_treated_apart_are_found(model, drawn):
    quad = next(each for each in drawn if " left " in each.captions[0])
    found = quad_features(model, [quad], apart=("right", "LEFT"))
    for caption in range(2):
        said = found.texts.words[0, caption]
        words = quad.captions[caption].split()
        assert (said >= 0).sum() == sum(word in ("left", "right") for word in words)
        assert said.max() == 1
    assert quad_features(model, [quad]).texts.words is None


def test_no_quads_are_refused(model):
    with pytest.raises(ValueError, match="there are no quads"):
        quad_features(model, [])
