"""The loss on 2 × 2 blocks against its definition, choice by choice, in float64."""

import math

import pytest
import torch

from workbench.losses import quad_loss

N, K = 7, 3


def drawn(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64).mul_(4).to(dtype).requires_grad_()


def plain(scores, rows=None, columns=None):
    """One choice at a time: -log of the own pair's share."""
    lost = []
    for quad in range(len(scores)):
        for i in range(2):
            row, column = scores[quad, i], scores[quad, :, i]
            row = row if rows is None else torch.cat([row, rows[quad, i]])
            column = column if columns is None else torch.cat([column, columns[quad, i]])
            lost += [-(each.exp() / each.exp().sum())[i].log() for each in (row, column)]
    return torch.stack(lost).mean()


@pytest.mark.parametrize("given", [(), ("rows",), ("columns",), ("rows", "columns")])
def test_loss_and_gradients_are_the_definition(given):
    scores = drawn(N, 2, 2)
    others = {"rows": drawn(N, 2, K, seed=1), "columns": drawn(N, 2, K - 1, seed=2)}
    rows, columns = (others[name] if name in given else None for name in ("rows", "columns"))
    inputs = [scores, *(each for each in (rows, columns) if each is not None)]
    ours, theirs = quad_loss(scores, rows, column_mismatches=columns), plain(scores, rows, columns)
    assert abs(ours - theirs) < 1e-12
    for a, b in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(theirs, inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_a_scorer_that_says_nothing_pays_the_logarithm_of_its_choices():
    constant = torch.full((N, 2, 2), 3.0), torch.full((N, 2, K), 3.0)
    assert quad_loss(constant[0]).item() == pytest.approx(math.log(2))
    assert quad_loss(*constant, column_mismatches=constant[1]).item() == pytest.approx(math.log(2 + K))


def test_turning_pictures_into_captions_changes_nothing():
    scores, rows, columns = drawn(N, 2, 2), drawn(N, 2, K, seed=1), drawn(N, 2, K, seed=2)
    turned = quad_loss(scores.mT, columns, column_mismatches=rows)
    torch.testing.assert_close(quad_loss(scores, rows, column_mismatches=columns), turned)


def test_what_pictures_and_captions_score_on_their_own_is_no_way_to_a_low_loss():
    """Additive scores: whatever they are, the loss is not below that of a constant."""
    for seed in range(20):
        picture, caption = drawn(N, 2, 1, seed=seed), drawn(N, 1, 2, seed=seed + 100)
        assert quad_loss(picture + caption) >= math.log(2) - 1e-12


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_halves_are_computed_in_float32(dtype):
    scores, rows = drawn(N, 2, 2, dtype=dtype), drawn(N, 2, K, dtype=dtype)
    found = quad_loss(scores, rows)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(plain(scores.double(), rows.double()).item(), rel=1e-6)
    assert torch.autograd.grad(found, scores)[0].dtype == dtype


def test_large_scores_stay_finite():
    scores = torch.tensor([[[1e5, -1e5], [-1e5, 1e5]]])
    assert quad_loss(scores).item() == 0
    assert quad_loss(-scores).item() == pytest.approx(2e5)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((torch.zeros(3, 2, 3),), r"\(3, 2, 3\)"),
        ((torch.zeros(3, 3, 2),), r"\(3, 3, 2\)"),
        ((torch.zeros(4, 4),), r"\(4, 4\)"),
        ((torch.zeros(0, 2, 2),), "nothing empty"),
        ((torch.zeros(3, 2, 2), torch.zeros(3, 2, 0)), "nothing empty"),
        ((torch.zeros(3, 2, 2), torch.zeros(4, 2, 1)), "of 4 quads beside scores of 3"),
    ],
)
def test_other_shapes_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        quad_loss(*arguments)


@pytest.mark.parametrize("scores", [[[[1.0, 0.0], [0.0, 1.0]]], torch.zeros(3, 2, 2, dtype=torch.long)])
def test_what_is_no_floating_point_tensor_is_refused(scores):
    with pytest.raises(TypeError, match="floating-point tensor"):
        quad_loss(scores)
