"""A map is judged by what the model scores when only its bright half is left."""

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.features import ImageFeatures, TextFeatures
from workbench.matching import map_polarity, without_redundant
from workbench.matching.polarity import Polarity, halves_apart

P = 36
TRUTH = torch.zeros(P)
TRUTH[[7, 8, 13, 14]] = 1.0  # where the object is


def score_kept(masks):
    return masks.float() @ TRUTH


@pytest.mark.parametrize(("sign", "expected"), [(1, 4.0), (-1, -4.0)])
def test_the_bright_half_holds_the_object_or_misses_it(sign, expected):
    apart = halves_apart(sign * TRUTH, score_kept, n=20)
    assert apart[0] == expected
    assert len(apart) == 21
    assert apart[1:].abs().max() <= 4.0


def test_random_halves_centre_on_zero():
    apart = halves_apart(TRUTH, score_kept, n=400)[1:]
    assert abs(apart.mean().item()) < 3 * apart.std().item() / 20


class RedModel:
    """Scores red; its patch tokens say red (or, inverted, everything else)."""

    def __init__(self, sign):
        self.sign = sign

    def preprocess(self, image, image_size=None):
        return torch.tensor(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1)

    def encode_pixels(self, pixels, *, tokens=False, dense="raw"):
        cells = torch.stack([each[:2, ::8, ::8].flatten(1).T for each in pixels])  # (N, 64, 2)
        patches = cells if self.sign > 0 else cells.flip(-1)
        return ImageFeatures(cells.mean(1), cells.mean(1), patches if tokens else None, (8, 8))

    def encode_text(self, caption):
        return TextFeatures(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]]))


def scene(seed):
    """Green with a red square somewhere, and noise."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((64, 64, 3), dtype=np.uint8)
    pixels[..., 1] = 120 + rng.integers(0, 40, (64, 64))
    y, x = rng.integers(0, 32, 2)
    pixels[y : y + 32, x : x + 32, :2] = (220, 10)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(("sign", "verdict"), [(1, "upright"), (-1, "inverted")])
def test_a_models_maps_over_several_pictures(sign, verdict):
    found = map_polarity(RedModel(sign), [scene(seed) for seed in range(6)], ["red"] * 6)
    assert found.verdict == verdict
    assert found.items == 6
    assert verdict in str(found)


def test_a_single_picture_and_caption_need_no_list():
    assert map_polarity(RedModel(1), scene(0), "red").items == 1


def test_within_the_bound_is_undecided():
    assert Polarity(0.1, 0.2, 1, 20).verdict == "undecided"
    assert Polarity(-0.3, 0.2, 1, 20).verdict == "inverted"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: halves_apart(torch.zeros(3, 4), score_kept), "give one text's map"),
        (lambda: halves_apart(torch.zeros(1), score_kept), "at least two patches"),
        (lambda: halves_apart(TRUTH, score_kept, n=0), "n=0; give at least one"),
        (lambda: map_polarity(RedModel(1), [scene(0)], ["a", "b"]), "1 pictures and 2 captions"),
        (lambda: map_polarity(RedModel(1), [], []), "0 pictures"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# What all texts share -------------------------------------------------------------------------------------------------


def test_without_redundant_is_the_papers_elementwise_form():
    """Features multiplied element by element, their mean over texts removed, summed over the width."""
    torch.manual_seed(0)
    image, text = (torch.nn.functional.normalize(torch.randn(n, 8), dim=-1) for n in (5, 3))
    cosines = torch.randn(3)
    weights = (2 * cosines).softmax(0)
    products = image[:, None] * text[None] * (weights / weights.mean())[None, :, None]  # (P, T, d)
    expected = (products - products.mean(1, keepdim=True)).sum(-1).T
    assert torch.allclose(without_redundant(text @ image.T, cosines=cosines), expected, atol=1e-6)


def test_without_redundant_removes_a_patch_that_answers_to_all():
    maps = torch.tensor([[1.0, 0.0, 9.0], [0.0, 1.0, 9.0]])
    assert without_redundant(maps)[:, 2].abs().max() == 0
    with pytest.raises(ValueError, match="at least two texts, or use centre"):
        without_redundant(maps[:1])
    with pytest.raises(ValueError, match="give one per text"):
        without_redundant(maps, cosines=torch.ones(3))
