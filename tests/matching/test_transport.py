"""Transport: masses add up, small epsilon is an assignment, dustbins leave the background alone, and what fails says so."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment, linprog

from workbench.matching import transport_plan, transport_scores


def similarity(*shape, seed=0):
    values = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return 2 * values - 1


def even(*shape):
    return torch.full(shape, 1 / shape[-1], dtype=torch.float64)


@pytest.mark.parametrize("epsilon", [1.0, 0.2, 0.1])
def test_balanced_plans_have_the_masses_asked_for(epsilon):
    S = similarity(4, 7, 5)
    a = torch.tensor([0.3, 0.0, 0.1, 0.1, 0.2, 0.2, 0.1], dtype=torch.float64).expand(4, 7)
    plan = transport_plan(S, a, even(4, 5), epsilon=epsilon, tolerance=1e-9, iterations=20_000)
    assert torch.allclose(plan.sum(-1), a, atol=1e-8)
    assert torch.allclose(plan.sum(-2), even(4, 5), atol=1e-8)
    assert (plan[:, 1] == 0).all()


@pytest.mark.parametrize("price", [-0.5, 0.0, 0.4])
def test_with_dustbins_no_mass_is_exceeded_and_cells_below_the_price_stay_almost_empty(price):
    S = similarity(3, 6, 4)
    plan = transport_plan(S, even(3, 6), even(3, 4), price=price, epsilon=0.04, tolerance=1e-6, iterations=50_000)
    assert (plan.sum(-1) <= even(3, 6) + 1e-6).all()
    assert (plan.sum(-2) <= even(3, 4) + 1e-6).all()
    assert plan[price - 0.3 > S].sum() < 1e-2


@pytest.mark.parametrize("seed", range(3))
def test_small_epsilon_is_the_assignment(seed):
    S = similarity(6, 6, seed=seed)
    rows, columns = linear_sum_assignment(S, maximize=True)
    plan = transport_plan(S, even(6), even(6), epsilon=0.002, iterations=100_000)
    assert 6 * (plan * S).sum() == pytest.approx(float(S[rows, columns].sum()), abs=1e-2)
    assert (plan[rows, columns] * 6).min() > 0.9


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("price", [0.2, 0.6])
def test_small_epsilon_with_dustbins_is_the_assignment_that_may_leave_words_alone(seed, price):
    S = similarity(8, 5, seed=seed)
    a, b = torch.ones(8, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
    plan = transport_plan(S, a, b, price=price, epsilon=0.004, iterations=200_000)
    better = (S - price).clamp(min=0).numpy()  # a pair below the price is worth no more than none
    rows, columns = linear_sum_assignment(better, maximize=True)
    assert (plan * (S - price)).sum() == pytest.approx(float(better[rows, columns].sum()), abs=2e-2)


def test_small_epsilon_is_the_linear_programme():
    S, a, b = similarity(5, 4, seed=3), even(5), even(4)
    sums = np.concatenate([np.kron(np.eye(5), np.ones(4)), np.kron(np.ones(5), np.eye(4))])
    best = linprog(-S.flatten().numpy(), A_eq=sums, b_eq=torch.cat([a, b]).numpy(), method="highs")
    plan = transport_plan(S, a, b, epsilon=0.002, iterations=100_000)
    assert (plan * S).sum() == pytest.approx(-best.fun, abs=5e-3)


def test_large_epsilon_spreads_everything():
    S = similarity(5, 4)
    plan = transport_plan(S, even(5), even(4), epsilon=1e4)
    assert torch.allclose(plan, torch.full_like(plan, 1 / 20), atol=1e-4)


def test_no_plan_depends_on_its_neighbours():
    S = similarity(20, 6, 4) * torch.linspace(0.1, 2, 20)[:, None, None]
    whole = transport_plan(S, even(20, 6), even(20, 4), price=0.1, epsilon=0.1)
    alone = torch.stack([transport_plan(each, even(6), even(4), price=0.1, epsilon=0.1) for each in S])
    assert torch.allclose(whole, alone, rtol=0, atol=1e-12)


def test_large_similarities_do_not_overflow():
    S = 1e4 * similarity(5, 5).float()
    plan = transport_plan(S, even(5).float(), even(5).float(), epsilon=100.0, iterations=20_000)
    assert torch.isfinite(plan).all()
    assert plan.sum().item() == pytest.approx(1, abs=1e-3)


def test_balanced_transport_pays_for_the_background_and_dustbins_do_not():
    """Two words, both shown; the more background, the lower the balanced score, though nothing of the caption has changed."""
    words = torch.eye(4)[None, :2]
    background = torch.eye(4)[2:3]
    pictures = [torch.cat([words[0], background.expand(k, -1)])[None] for k in (0, 2, 8)]
    balanced = [transport_scores(each, words, balanced=True, epsilon=0.02).item() for each in pictures]
    partial = [
        transport_scores(each, words, price=0.3, capacity=1.0, epsilon=0.02, iterations=50_000).item()
        for each in pictures
    ]
    assert balanced == pytest.approx([1, 0.5, 0.2], abs=0.02)
    assert partial == pytest.approx([1, 1, 1], abs=0.02)


def test_one_patch_holds_one_word_where_the_best_match_gives_it_to_all():
    picture = torch.tensor([[[1.0, 0, 0], [0.6, 0.8, 0]]])
    words = torch.tensor([[[1.0, 0, 0], [1.0, 0, 0]]])
    found = transport_scores(picture, words, price=-1.0, capacity=1.0, epsilon=0.02, iterations=50_000)
    assert found.item() == pytest.approx((1 + 0.6) / 2, abs=0.01)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda S: transport_plan(S, even(6), even(4), epsilon=0.001, iterations=3),
            ValueError,
            "1 of 1 transport plans have not converged after 3 iterations .* larger epsilon than 0.001",
        ),
        (lambda S: transport_plan(S, even(5), even(4)), ValueError, r"similarity \(6, 4\) with patch masses \(5,\)"),
        (lambda S: transport_plan(S, even(6), even(5)), ValueError, r"similarity \(6, 4\) with word masses \(5,\)"),
        (lambda S: transport_plan(S, 2 * even(6), even(4)), ValueError, "must add up to the same; scale one side"),
        (lambda S: transport_plan(S, -even(6), even(4)), ValueError, "patch masses must be finite, not negative"),
        (lambda S: transport_plan(S, even(6), 0 * even(4)), ValueError, "word masses must be .* more than 0 in all"),
        (lambda S: transport_plan(S, even(6), even(4), epsilon=0), ValueError, "epsilon=0; give a positive"),
        (lambda S: transport_plan(S, even(6), even(4), epsilon="x"), TypeError, "epsilon is str 'x'; give a positive"),
        (lambda S: transport_plan(S, even(6), even(4), price=np.nan), ValueError, "price=nan; give a finite"),
        (lambda S: transport_plan(S, even(6), even(4), iterations=0), ValueError, "iterations=0; give a whole"),
        (lambda S: transport_scores(S[None], S[None], balanced=True, capacity=1.0), ValueError, "capacity=1.0 with b"),
        (lambda S: transport_scores(S[None], S[None], capacity=0.0), ValueError, "capacity=0.0; give a positive"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call(similarity(6, 4))
