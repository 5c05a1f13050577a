"""FSC-CLIP's whole loss against constants of the authors' code, and what leaving a part out leaves."""

import math

import pytest
import torch
import torch.nn.functional as F

from workbench.losses import clip_loss, fsc_loss, hard_negative_loss
from workbench.losses.fsc import own_cosines
from workbench.matching import local_similarity


def waves(shape, a, b):
    """sin(a · i + b) over the flat index."""
    return torch.sin(a * torch.arange(math.prod(shape), dtype=torch.float64) + b).view(shape)


def rows(n, a, b):
    found = waves((n, 6), a, b)
    return found / found.norm(dim=1, keepdim=True)


def fixture(valid):
    """What the authors' code gets: one row of texts for each caption, then for each negative that is there, by operator."""
    n, texts = len(valid), len(valid) + int(valid.sum())
    given = {
        "image_features": rows(n, 0.7, 0.1),
        "text_features": rows(texts, 0.9, 0.3),
        "image_tokens": waves((n, 4, 6), 0.31, 0.2),
        "text_tokens": waves((texts, 5, 6), 0.53, 0.4),
        "scale": torch.tensor(10.0, dtype=torch.float64),
    }
    return {name: each.requires_grad_() for name, each in given.items()}


def by_picture(texts, valid, fill):
    """Rows of texts as (B, 1 + K, …): the caption, then its negatives; `fill` where there is none."""
    n, k = valid.shape
    placed = torch.full((k, n, *texts.shape[1:]), fill, dtype=texts.dtype)
    placed[valid.T] = texts[n:]
    return torch.cat([texts[:n, None], placed.transpose(0, 1)], 1)


def total(given, valid, **options):
    texts = by_picture(given["text_features"], valid, 0.0)
    places, read = torch.arange(5), len(given["text_tokens"])
    mask = torch.stack([(places >= 1) & (places <= 2 + r % 3) for r in range(read)])
    tokens, masks = by_picture(given["text_tokens"], valid, 1.0), by_picture(mask, valid, True)
    local = local_similarity(given["image_tokens"], tokens, masks, given["scale"])
    return fsc_loss(
        given["image_features"], texts[:, 0], texts[:, 1:], given["scale"], local=local, valid=valid, **options
    )


ALL = torch.ones(2, 3, dtype=torch.bool)
SOME = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 0, 1]], dtype=torch.bool).T  # (B, K)
AUTHORS = [  # F2 and F3: the total, and the norms of the gradients to image, text, their tokens and the scale
    (ALL, 6.5798013701, (7.06324697, 8.90472876, 0.12588296, 0.17473889, 0.63195049)),
    (SOME, 13.1407723423, (9.4742136253, 10.8471529788, 0.1026067752, 0.0986075316, 1.2916847523)),
]


@pytest.mark.parametrize(("valid", "expected", "norms"), AUTHORS, ids=["all there", "some missing"])
def test_total_and_gradients_are_those_of_the_authors(valid, expected, norms):
    """Their smoothed labels are float32, so six digits agree. Their features come normalised, and the slopes along a row,
    which a loss that normalises cannot have, are in the constants: those are put back."""
    given = fixture(valid)
    loss = total(given, valid, missing="zero")
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    loss.backward()
    along = dict(zip(("image_features", "text_features"), slopes_along_rows(given, valid), strict=True))
    found = {name: math.hypot(each.grad.norm(), along.get(name, 0.0)) for name, each in given.items()}
    assert found == pytest.approx(dict(zip(given, norms, strict=True)), abs=1e-6)


def slopes_along_rows(given, valid):
    """Norms over rows of ⟨x, slope to x⟩ of both global terms, of products of features that are not normalised again."""
    image, texts = (given[name].detach().clone().requires_grad_() for name in ("image_features", "text_features"))
    placed = by_picture(texts, valid, 0.0)
    logits, own = 10 * image @ texts[: len(valid)].T, torch.arange(len(valid))
    loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    negative = hard_negative_loss(
        10 * torch.einsum("bd,bkd->bk", image, placed), valid, gamma=2, smoothing=0.02, missing="zero"
    )
    slopes = torch.autograd.grad(loss + 0.5 * negative, (image, texts))
    return [(x * slope).sum(1).norm().item() for x, slope in zip((image, texts), slopes, strict=True)]


def test_masking_is_near_filling_and_not_the_same():
    given = fixture(SOME)
    zero, mask = (total(given, SOME, missing=missing).item() for missing in ("zero", "mask"))
    expected = 8.5072413657 + 0.5 * 9.0671071122 + 0.2 * 0.4987106701
    assert mask == pytest.approx(expected, abs=1e-6)
    assert abs(mask - zero) > 1e-5


def drawn(b=5, k=3, d=6):
    generator = torch.Generator().manual_seed(0)
    shapes = {"image": (b, d), "text": (b, d), "negatives": (b, k, d), "local": (b, 1 + k)}
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}


def loss_of(given, **options):
    return fsc_loss(given["image"], given["text"], given["negatives"], 7.0, local=given["local"], **options)


def test_a_weight_of_zero_leaves_its_term_out():
    given = drawn()
    plain = clip_loss(given["image"], given["text"], 7.0)
    calibrated = {"gamma": 2.0, "smoothing": 0.02}
    one = hard_negative_loss(7.0 * own_cosines(given["image"], given["text"], given["negatives"]), **calibrated)
    other = hard_negative_loss(given["local"], **calibrated)
    none = loss_of(given, global_weight=0.0, local_weight=0.0)
    assert none.item() == plain.item()
    assert loss_of(given, local_weight=0.0).item() == pytest.approx((plain + 0.5 * one).item(), abs=1e-12)
    assert loss_of(given, global_weight=0.0).item() == pytest.approx((plain + 0.2 * other).item(), abs=1e-12)
    assert loss_of(given).item() == pytest.approx((plain + 0.5 * one + 0.2 * other).item(), abs=1e-12)
    without = {**given, "local": None}
    assert loss_of(without, local_weight=0.0).item() == loss_of(given, local_weight=0.0).item()


def test_a_picture_sees_its_own_negatives_only():
    """Another picture's negatives changed: its terms stay, which in NegCLIP's loss they do not."""
    given = drawn()
    image = given["image"].clone().requires_grad_()
    cosines = own_cosines(image, given["text"], given["negatives"])
    (slope,) = torch.autograd.grad(cosines[0].sum(), image)
    assert slope[0].any()
    assert not slope[1:].any()
    moved = given["negatives"].clone()
    moved[1] = given["image"][0]  # as wrong as can be, for picture 1
    assert torch.equal(own_cosines(image, given["text"], moved)[0], cosines[0])


def test_negatives_that_are_not_there_do_not_count():
    given = drawn()
    valid = torch.zeros(5, 3, dtype=torch.bool)
    assert loss_of(given, valid=valid).item() == pytest.approx(clip_loss(given["image"], given["text"], 7.0).item())
    valid[:, :2] = True
    fewer = {**given, "negatives": given["negatives"][:, :2], "local": given["local"][:, :3]}
    assert loss_of(given, valid=valid).item() == pytest.approx(loss_of(fewer).item(), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_computed_in_float32(dtype):
    given = {name: each.to(dtype) for name, each in drawn().items()}
    wide = {name: each.float() for name, each in given.items()}
    found = loss_of(given)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(loss_of(wide).item(), abs=1e-6)


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"global_weight": -0.5}, ValueError, "global_weight=-0.5; give 0 or more"),
        ({"local_weight": float("nan")}, ValueError, "local_weight=nan; give 0 or more"),
        (
            {"local": None},
            ValueError,
            r"local is None; with local_weight=0.2 give \(5, 4\) of matching.local_similarity",
        ),
        ({"local": torch.ones(5, 3)}, ValueError, r"local is \(5, 3\); .* or local_weight=0"),
        ({"negatives": torch.ones(5, 0, 6)}, ValueError, "K from 1"),
        ({"negatives": torch.ones(4, 3, 6)}, ValueError, r"negatives \(4, 3, 6\) beside image \(5, 6\)"),
        ({"valid": torch.ones(5, 2, dtype=torch.bool)}, ValueError, "true where there is one"),
        ({"missing": "drop"}, ValueError, "mask' or 'zero"),
        ({"gamma": -1.0}, ValueError, "gamma=-1.0"),
        ({"smoothing": 1.0}, ValueError, "smoothing=1.0"),
        ({"logit_scale": 0.0}, ValueError, "logit_scale=0 must be positive"),
        ({"image": torch.ones(1, 6), "text": torch.ones(1, 6)}, ValueError, "one pair has no negatives"),
        ({"image": torch.full((5, 6), torch.nan)}, ValueError, "row 0 of image has norm nan"),
        ({"local": torch.full((5, 4), torch.nan)}, ValueError, "logits hold NaN"),
    ],
)
def test_bad_input_is_named(changed, error, said):
    given = {**drawn(), "logit_scale": 7.0, **changed}
    sides = [given.pop(name) for name in ("image", "text", "negatives", "logit_scale")]
    with pytest.raises(error, match=said):
        fsc_loss(*sides, **given)
