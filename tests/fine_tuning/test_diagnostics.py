"""A local score taken apart adds up to it again."""

import numpy as np
import pytest
import torch

from workbench.data.scenes import draw, scenes
from workbench.fine_tuning.diagnostics import caption_cosines, length_bias, swap_reading, word_terms
from workbench.matching.local import local_similarity, local_terms
from workbench.models.registry import load_model


@pytest.fixture(scope="module")
def model():
    return load_model("scenes-clip@1000", device="cpu")


@pytest.fixture(scope="module")
def shown():
    return scenes(6, 3, kind="pair")


@pytest.mark.parametrize("normalizer", ["minmax", "sparse", "softmax"])
def test_terms_add_up_to_the_local_score(normalizer):
    torch.manual_seed(0)
    image, text = torch.randn(1, 7, 5, dtype=torch.float64), torch.randn(1, 4, 5, dtype=torch.float64)
    terms, weights = local_terms(image[0], text[0], normalizer=normalizer)
    whole = local_similarity(image, text, None, 13.0, normalizer=normalizer)
    assert float((13 * terms).logsumexp(0)) == pytest.approx(whole.item(), abs=1e-12)
    torch.testing.assert_close(weights.sum(1), torch.ones(4, dtype=torch.float64))


def test_words_are_those_of_the_caption_and_the_end(model, shown):
    found = word_terms(model, draw(shown[0], 64), shown[0].caption)
    assert found.words == (*shown[0].caption.split(), "(end)")
    assert found.maps.shape == (len(found.words), 4, 4)
    np.testing.assert_allclose(found.maps.sum((1, 2)), 1, atol=1e-6)
    assert found.shares.sum() == pytest.approx(1, abs=1e-6)
    text = model.encode_text(shown[0].caption, tokens=True, keep_eos=True)
    image = model.encode_image(draw(shown[0], 64), tokens=True)
    whole = local_similarity(image.tokens, text.tokens, text.mask, model.logit_scale)
    assert found.score == pytest.approx(whole.item(), abs=1e-5)


def test_a_caption_is_its_own_nearest(model):
    same, other = caption_cosines(model, ["a red star", "a red star"], ["a red star", "a blue moon"])
    assert same == pytest.approx(1, abs=1e-6)
    assert other < 0.9
    with pytest.raises(ValueError, match="1 captions and 2 negatives"):
        caption_cosines(model, ["a"], ["b", "c"])


def test_length_is_counted_against_the_first_frame(model, shown):
    pictures, contents = [draw(each, 64) for each in shown], ["a red star"] * len(shown)
    found = length_bias(model, pictures, contents, ("{}", "a picture of {}"))
    assert found.gains["{}"].mean == 0
    assert found.tokens == {"{}": 4.0, "a picture of {}": 7.0}
    with pytest.raises(ValueError, match="0 frames"):
        length_bias(model, pictures, contents, ())


def test_n_equal_words_add_log_n():
    """No division by their number (arXiv 2410.05210, eq. 8)."""
    torch.manual_seed(1)
    image, word = torch.randn(1, 9, 6), torch.randn(1, 1, 6)
    one, eight = (local_similarity(image, word.expand(1, n, 6), None, 10.0).item() for n in (1, 8))
    assert eight - one == pytest.approx(np.log(8), abs=1e-5)


def test_a_common_beginning_is_counted_up_to_the_first_difference(model, shown):
    picture, captions = draw(shown[0], 64), ("a red star and a blue moon", "a blue star and a red moon")
    own, wrong = (word_terms(model, picture, each) for each in captions)
    found = swap_reading(model, [picture], captions[:1], captions[1:])
    assert found.prefix.mean == pytest.approx(own.shares[0], abs=1e-6)
    assert found.prefers.mean == float(own.score > wrong.score)
    np.testing.assert_allclose(own.terms[0], wrong.terms[0], atol=1e-6)  # the tower is causal
    alike = swap_reading(model, [picture], captions[:1], captions[:1])
    assert (alike.prefix.mean, alike.prefers.mean) == (pytest.approx(1), 0)
    with pytest.raises(ValueError, match="1 pictures, 2 and 1 captions"):
        swap_reading(model, [picture], captions, captions[:1])
