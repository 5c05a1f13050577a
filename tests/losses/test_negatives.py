"""NegCLIP's loss against constants of the public trainer and a plain float64 loop."""

import math

import pytest
import torch

from workbench.losses import clip_loss, negclip_loss


def waves(shape, a, b):
    """sin(a · i + b) over the flat index."""
    return torch.sin(a * torch.arange(math.prod(shape), dtype=torch.float64) + b).view(shape)


def rows(n, a, b):
    found = waves((n, 6), a, b)
    return found / found.norm(dim=1, keepdim=True)


def test_all_negatives_there():
    """F2: the first rows of texts are the captions, then every operator's negatives."""
    image, texts = rows(2, 0.7, 0.1), rows(8, 0.9, 0.3)
    negatives = texts[2:].view(3, 2, 6).transpose(0, 1)
    assert negclip_loss(image, texts[:2], negatives, 10.0).item() == pytest.approx(6.463074771, abs=1e-9)
    assert clip_loss(image, texts[:2], 10.0).item() == pytest.approx(3.292425293, abs=1e-9)


def test_missing_negatives_filled_with_zeros():
    """F3: what an operator could not make is a logit of 0 in the public trainer."""
    image, texts = rows(3, 0.7, 0.1), rows(9, 0.9, 0.3)
    valid = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 0, 1]], dtype=torch.bool).T  # (B, K)
    negatives = torch.zeros(3, 3, 6, dtype=torch.float64)
    negatives.transpose(0, 1)[valid.T] = texts[3:]
    found = negclip_loss(image, texts[:3], negatives, 10.0, valid=valid, missing="zero")
    assert found.item() == pytest.approx(10.1655867568, abs=1e-9)


def test_masked_negatives_are_not_there():
    image, text, negatives = (torch.randn(shape, dtype=torch.float64) for shape in ((4, 5), (4, 5), (4, 2, 5)))
    one = torch.tensor([[True, False]]).expand(4, 2)
    expected = negclip_loss(image, text, negatives[:, :1], 7.0)
    assert negclip_loss(image, text, negatives, 7.0, valid=one).item() == pytest.approx(expected.item(), abs=1e-12)
    none = torch.zeros(4, 2, dtype=torch.bool)
    plain = clip_loss(image, text, 7.0)
    assert negclip_loss(image, text, negatives, 7.0, valid=none).item() == pytest.approx(plain.item(), abs=1e-12)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"negatives": torch.zeros(4, 5)}, ValueError, "K from 1"),
        ({"negatives": torch.zeros(4, 0, 5)}, ValueError, "K from 1"),
        ({"valid": torch.ones(4, 3, dtype=torch.bool)}, ValueError, "true where there is one"),
        ({"missing": "drop"}, ValueError, "mask' or 'zero"),
        ({"logit_scale": 0.0}, ValueError, "logit_scale"),
    ],
)
def test_bad_input_is_refused(given, error, said):
    options = {"negatives": torch.randn(4, 2, 5), "logit_scale": 10.0, **given}
    with pytest.raises(error, match=said):
        negclip_loss(torch.randn(4, 5), torch.randn(4, 5), **options)
