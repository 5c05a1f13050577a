"""NegCLIP's and FSC-CLIP's losses against constants of the public trainer."""

import math

import pytest
import torch

from workbench.losses import clip_loss, hard_negative_loss, negclip_loss
from workbench.matching import local_similarity


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


# FSC-CLIP ---------------------------------------------------------------------------------------------------------------

ROWS = torch.tensor([[5, 3, 1, 0], [2, 2, 2, 2], [0, 4, -1, 1]], dtype=torch.float64)
F1 = {  # (gamma, smoothing): the loss of every row
    (0, 0): (0.1487551809, 1.3862943611, 4.0721724220),
    (1, 0): (0.0205609308, 1.0397207708, 4.0027812622),
    (2, 0): (0.0028419304, 0.7797905781, 3.9345725507),
    (5, 0): (7.5046e-06, 0.3289741501, 3.7368413232),
    (0, 0.02): (0.2037551818, 1.3862943805, 4.0521724793),
    (0, 0.1): (0.4237551781, 1.3862942966, 3.9721722309),
    (2, 0.02): (0.0567229172, 0.7797905890, 3.9145704394),
    (2, 0.05): (0.1375444021, 0.7797905600, 3.8845670416),
    (5, 0.1): (0.2497158589, 0.3289741348, 3.6400469264),
}


@pytest.mark.parametrize(("gamma", "smoothing"), F1)
def test_rows_are_those_of_the_authors(gamma, smoothing):
    """Their smoothed labels are float32."""
    close = 1e-6 if smoothing else 1e-9
    for row, expected in zip(ROWS, F1[gamma, smoothing], strict=True):
        assert hard_negative_loss(row[None], gamma=gamma, smoothing=smoothing).item() == pytest.approx(
            expected, abs=close
        )


GRADIENTS = {  # smoothing: of the mean over rows, gamma 2
    0.02: (
        (0.0023629811, 0.0007049017, -0.0014580239, -0.0016098589),
        (-0.2651782983, 0.0883927661, 0.0883927661, 0.0883927661),
        (-0.3557963682, 0.3402800709, 0.0005417889, 0.0149745085),
    ),
    0.0: (
        (-0.0025129650, 0.0021204267, 0.0002869685, 0.0001055698),
        (-0.2705900964, 0.0901966988, 0.0901966988, 0.0901966988),
        (-0.3612793358, 0.3419505743, 0.0023040448, 0.0170247166),
    ),
}


@pytest.mark.parametrize(("smoothing", "expected"), GRADIENTS.items())
def test_gradients_are_those_of_the_authors(smoothing, expected):
    logits = ROWS.clone().requires_grad_()
    hard_negative_loss(logits, gamma=2, smoothing=smoothing).backward()
    torch.testing.assert_close(logits.grad, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-6)


def own_negatives(n, valid):
    """Logits (n, 4) of global features, zeros where an operator made nothing."""
    image, texts = rows(n, 0.7, 0.1), rows(n + int(valid.sum()), 0.9, 0.3)
    negatives = torch.zeros(n, 3, 6, dtype=torch.float64)
    negatives.transpose(0, 1)[valid.T] = texts[n:]
    return 10 * torch.einsum("bd,bkd->bk", image, torch.cat([texts[:n, None], negatives], 1))


@pytest.mark.parametrize(("options", "expected"), [({}, 6.249460493), ({"gamma": 2, "smoothing": 0.02}, 6.290269868)])
def test_end_to_end_all_negatives_there(options, expected):
    """F2."""
    logits = own_negatives(2, torch.ones(2, 3, dtype=torch.bool))
    assert hard_negative_loss(logits, **options).item() == pytest.approx(expected, abs=1e-6 if options else 1e-9)


@pytest.mark.parametrize(
    ("gamma", "smoothing", "zero", "masked"),
    [
        (0, 0, 9.1242300330, 9.1234626863),
        (2, 0, 9.1231719048, 9.1227041449),
        (0, 0.02, 9.0690434076, 9.0682759459),
        (2, 0.02, 9.0675743399, 9.0671071122),
    ],
)
def test_end_to_end_with_missing_negatives(gamma, smoothing, zero, masked):
    """F3."""
    valid = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 0, 1]], dtype=torch.bool).T
    logits = own_negatives(3, valid)
    for missing, expected in (("zero", zero), ("mask", masked)):
        found = hard_negative_loss(logits, valid, gamma=gamma, smoothing=smoothing, missing=missing)
        assert found.item() == pytest.approx(expected, abs=1e-6 if smoothing else 1e-9), missing


def test_rows_without_negatives_are_left_out():
    valid = torch.tensor([[True, True, True], [False] * 3, [True, False, False]])
    alone = hard_negative_loss(ROWS[[0, 2]], valid[[0, 2]], gamma=2)
    assert hard_negative_loss(ROWS, valid, gamma=2).item() == pytest.approx(alone.item(), abs=1e-12)
    logits = ROWS.clone().requires_grad_()
    nothing = hard_negative_loss(logits, torch.zeros(3, 3, dtype=torch.bool))
    nothing.backward()
    assert nothing == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_saturated_rows_have_finite_gradients(gamma):
    logits = torch.tensor([[1e4, 0.0, -1e4], [-1e4, 1e4, 0.0], [100.0, 100.0, 100.0]], requires_grad=True)
    valid = torch.tensor([[True, False], [True, True], [True, True]])
    loss = hard_negative_loss(logits, valid, gamma=gamma, smoothing=0.02)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"logits": torch.ones(3, 1)}, ValueError, "K from 1"),
        ({"logits": torch.ones(3, 4, dtype=torch.long)}, TypeError, "floating-point tensor"),
        ({"valid": torch.ones(3, 4, dtype=torch.bool)}, ValueError, r"boolean \(3, 3\)"),
        ({"gamma": -1.0}, ValueError, "gamma=-1.0; give 0 or more"),
        ({"smoothing": 1.0}, ValueError, "smoothing=1.0; give a share"),
        ({"missing": "drop"}, ValueError, "mask' or 'zero"),
        ({"logits": torch.full((3, 4), float("nan"))}, ValueError, "hold NaN"),
    ],
)
def test_bad_choices_are_refused(given, error, said):
    options = {"logits": ROWS, **given}
    with pytest.raises(error, match=said):
        hard_negative_loss(options.pop("logits"), options.pop("valid", None), **options)


# With local similarities ------------------------------------------------------------------------------------------------

F3_LOCAL = {  # normaliser, gamma, smoothing: zero-filled, masked
    ("minmax", 0, 0): (0.9800038127, 0.9799800291),
    ("minmax", 2, 0): (0.4968616971, 0.4968535052),
    ("minmax", 2, 0.02): (0.4987190385, 0.4987106701),
    ("sparse", 0, 0): (0.9373909284, 0.9373643895),
    ("sparse", 2, 0): (0.4901165106, 0.4901096175),
    ("sparse", 2, 0.02): (0.4943478281, 0.4943406948),
    ("softmax", 0, 0): (0.9810337189, 0.9810155609),
    ("softmax", 2, 0): (0.4062971562, 0.4062846678),
    ("softmax", 2, 0.02): (0.4080006779, 0.4079881726),
}


def local_logits(n, valid, normalizer):
    """Logits (n, 4) of FSC-CLIP's local score; what is not there stands as one token, and is hidden by `valid`."""
    texts = n + int(valid.sum())
    image, text = waves((n, 4, 6), 0.31, 0.2), waves((texts, 5, 6), 0.53, 0.4)
    places = torch.arange(5)
    mask = torch.stack([(places >= 1) & (places <= 2 + r % 3) for r in range(texts)])
    tokens, masks = torch.ones(n, 4, 5, 6, dtype=torch.float64), torch.ones(n, 4, 5, dtype=torch.bool)
    tokens[:, 0], masks[:, 0] = text[:n], mask[:n]
    tokens[:, 1:].transpose(0, 1)[valid.T], masks[:, 1:].transpose(0, 1)[valid.T] = text[n:], mask[n:]
    return local_similarity(image, tokens, masks, 10.0, normalizer=normalizer)


@pytest.mark.parametrize("missing", ["zero", "mask"])
@pytest.mark.parametrize(("normalizer", "gamma", "smoothing"), F3_LOCAL)
def test_local_end_to_end_with_missing_negatives(normalizer, gamma, smoothing, missing):
    """F3."""
    valid = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 0, 1]], dtype=torch.bool).T
    logits = local_logits(3, valid, normalizer)
    found = hard_negative_loss(logits, valid, gamma=gamma, smoothing=smoothing, missing=missing).item()
    expected = F3_LOCAL[normalizer, gamma, smoothing][missing == "mask"]
    assert found == pytest.approx(expected, abs=1e-6 if smoothing else 1e-9)
