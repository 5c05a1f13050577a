"""Measures of a joint space at points where they are known."""

import math

import pytest
import torch
import torch.nn.functional as F

from workbench.evaluation import alignment, effective_rank, geometry, joint_space, modality_gap, uniformity


@pytest.fixture
def pairs():
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1100, 6, generator=generator)
    return image, image + 0.3 * torch.randn(1100, 6, generator=generator)


def test_opposite_cones_are_two_apart_and_the_same_one_not_at_all(pairs):
    up = torch.tensor([[0.0, 3.0], [0.0, 1.0]])
    assert modality_gap(up, -up) == pytest.approx(2)
    assert modality_gap(up, 5 * up) == 0
    assert modality_gap(*pairs) < 0.1
    assert modality_gap(pairs[0], pairs[1] + 4) > 0.5


def test_alignment_of_twins_and_of_right_angles():
    eye = torch.eye(4)
    assert alignment(eye, 2 * eye).mean == 0
    assert alignment(eye, eye.roll(1, 0)).mean == pytest.approx(2)
    assert alignment(eye, -eye, power=1).mean == pytest.approx(2)


def test_uniformity_is_the_mean_over_all_pairs_in_any_blocks(pairs):
    unit = F.normalize(pairs[0].double(), dim=-1)
    expected = torch.pdist(unit).pow(2).mul(-2).exp().mean().log().item()
    assert uniformity(pairs[0]) == pytest.approx(expected)  # more rows than a block holds
    assert uniformity(torch.ones(5, 3)) == pytest.approx(0)
    assert uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-8)


def test_even_features_are_more_uniform_and_of_higher_rank_than_a_cone(pairs):
    image, _ = pairs
    cone = image + 5
    assert uniformity(image) < uniformity(cone)
    assert effective_rank(image) > effective_rank(cone)


def test_effective_rank_counts_equal_axes():
    for r in (1, 3, 6):
        assert effective_rank(torch.eye(6)[:r].repeat(4, 1)) == pytest.approx(r)
        assert effective_rank(torch.eye(6)[:r]) == pytest.approx(r)
    singular = torch.linalg.svdvals(F.normalize(rows := torch.randn(20, 5).double(), dim=-1))
    share = singular / singular.sum()
    assert effective_rank(rows) == pytest.approx(math.exp(-(share * share.log()).sum().item()))


def test_turning_and_scaling_change_nothing(pairs):
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)).double())[0]
    image, text = (part.double() for part in pairs)
    before, after = joint_space(image, text), joint_space(3 * image @ turn, 7 * text @ turn)
    assert after.gap == pytest.approx(before.gap)
    assert after.alignment.mean == pytest.approx(before.alignment.mean)
    assert after.uniformity == pytest.approx(before.uniformity)
    assert after.effective_rank == pytest.approx(before.effective_rank)
    assert "Joint space: 1100 pairs" in str(before)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: modality_gap(torch.ones(2, 3), torch.ones(2, 4)), "differ in width"),
        (lambda: modality_gap(torch.ones(0, 3), torch.ones(2, 3)), r"image of shape \(0, 3\)"),
        (lambda: alignment(torch.ones(2, 3), torch.ones(1, 3)), "2 pictures and 1 captions"),
        (lambda: uniformity(torch.ones(1, 3)), "give two or more"),
        (lambda: uniformity(torch.zeros(2, 3)), "a row of zeros"),
        (lambda: effective_rank(torch.full((2, 2), torch.nan)), "NaN"),
        (lambda: effective_rank(torch.ones(2)), r"shape \(2,\)"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_blocks_are_bounded_and_change_nothing(monkeypatch):
    rows = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    whole = uniformity(rows)
    monkeypatch.setattr(geometry, "_MAX_BYTES", 16 * 50 * 7)
    assert uniformity(rows) == pytest.approx(whole, abs=1e-12)
