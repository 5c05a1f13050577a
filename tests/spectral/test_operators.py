"""The operators between features before the projection: scores they have to give, and matrices they have to refuse."""

import warnings

import numpy as np
import pytest
import torch

from workbench.features import Projector
from workbench.spectral import inter_modal_operator, intra_modal_operator
from workbench.spectral.operators import as_side, with_ones


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def test_the_operator_gives_the_score_of_two_features():
    W_i, W_t, f, g = drawn(6, 10), drawn(6, 7, seed=1), drawn(10, seed=2), drawn(7, seed=3)
    assert inter_modal_operator(W_i, W_t).shape == (10, 7)
    assert f @ inter_modal_operator(W_i, W_t) @ g == pytest.approx(float((W_i @ f) @ (W_t @ g)), rel=1e-12)
    assert f @ intra_modal_operator(W_i) @ f == pytest.approx(float((W_i @ f).square().sum()), rel=1e-12)


@pytest.mark.parametrize("biased", [(True, True), (True, False), (False, True)])
def test_a_bias_is_one_more_column(biased):
    image, text = (
        Projector(drawn(6, width, seed=width), drawn(6, seed=width + 1) if has else None)
        for width, has in zip((10, 7), biased, strict=True)
    )
    f, g = drawn(10, seed=2), drawn(7, seed=3)
    one = torch.ones(1, dtype=torch.float64)
    longer = [torch.cat([each, one]) if has else each for each, has in zip((f, g), biased, strict=True)]
    psi = inter_modal_operator(image, text)
    assert psi.shape == (10 + biased[0], 7 + biased[1])
    assert longer[0] @ psi @ longer[1] == pytest.approx(float(image(f) @ text(g)), rel=1e-12)


def test_arrays_tensors_and_projectors_say_the_same():
    W_i, W_t = drawn(6, 10), drawn(6, 7, seed=1)
    expected = inter_modal_operator(W_i, W_t)
    assert torch.equal(inter_modal_operator(W_i.numpy(), W_t.numpy()), expected)
    assert torch.equal(inter_modal_operator(Projector(W_i), Projector(W_t)), expected)
    assert torch.equal(inter_modal_operator(W_i.requires_grad_(), W_t), expected)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_is_computed_as_its_rounded_numbers_in_float64(kind):
    W_i, W_t = drawn(6, 40).to(kind), drawn(6, 30, seed=1).to(kind)
    found = inter_modal_operator(W_i, W_t)
    assert found.dtype == torch.float32
    assert torch.equal(found, (W_i.double().T @ W_t.double()).float())


def test_float64_of_one_side_is_enough():
    assert inter_modal_operator(drawn(6, 10), drawn(6, 7, dtype=torch.float32)).dtype == torch.float64
    assert intra_modal_operator(drawn(6, 10, dtype=torch.float32)).dtype == torch.float32


def test_arrays_of_any_make():
    W_i, W_t = drawn(6, 10).numpy(), drawn(6, 7, seed=1)
    locked = W_i.copy()
    locked.setflags(write=False)
    expected = inter_modal_operator(W_i, W_t)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(inter_modal_operator(locked, W_t), expected)
        assert torch.allclose(inter_modal_operator(W_i[::-1], W_t.flip(0)), expected, atol=1e-12)
        assert torch.equal(inter_modal_operator(np.asfortranarray(W_i), W_t), expected)


def broken(value):
    weight = drawn(6, 10)
    weight[2, 3] = value
    return weight


@pytest.mark.parametrize(
    ("W_i", "message"),
    [
        (drawn(10, 6), r"W_i \(10, 6\) and W_t \(6, 7\) .* transposed"),
        (torch.zeros(6, 10), "W_i is zeros"),
        (Projector(torch.zeros(6, 10), torch.zeros(6)), "W_i is zeros"),
        (broken(torch.nan), "W_i holds NaN"),
        (broken(torch.inf), "W_i holds NaN or infinite"),
        (Projector(drawn(6, 10), broken(torch.nan)[:, 3]), "W_i holds NaN"),
        (drawn(6), r"W_i \(6,\)"),
        (drawn(2, 6, 10), r"W_i \(2, 6, 10\)"),
        (torch.zeros(6, 0), r"W_i \(6, 0\)"),
        (torch.ones(6, 10, dtype=torch.int64), "int64: a projector is"),
        (Projector(None, kind="none", reason="it looks words up"), "W_i has no projection matrix: it looks words up"),
    ],
)
def test_refusals(W_i, message):
    with pytest.raises(ValueError, match=message):
        inter_modal_operator(W_i, drawn(6, 7))


@pytest.mark.parametrize("thing", [None, [[1.0, 2.0]], "ViT-B-32", torch.nn.Linear(2, 3)])
def test_what_is_no_matrix_is_a_type_error(thing):
    with pytest.raises(TypeError, match=r"W_t is a .*; give an array or tensor"):
        inter_modal_operator(drawn(6, 7), thing)
    with pytest.raises(TypeError, match="W is a"):
        intra_modal_operator(thing)


def test_features_are_checked_at_the_door():
    plain, biased = as_side(drawn(6, 10), "W"), as_side(Projector(drawn(6, 10), drawn(6)), "W")
    pre = np.random.default_rng(0).normal(size=(4, 10)).astype(np.float32)
    assert torch.equal(with_ones(pre, plain, "features"), torch.from_numpy(pre).double())
    assert with_ones(pre, biased, "features").shape == (4, 11)
    assert (with_ones(pre, biased, "features")[:, -1] == 1).all()
    for wrong in (drawn(4, 11), drawn(10)):
        with pytest.raises(ValueError, match=r"features of shape .*\(N, 10\)"):
            with_ones(wrong, biased, "features")
    with pytest.raises(ValueError, match="features hold NaN"):
        with_ones(torch.full((1, 10), torch.nan), plain, "features")
