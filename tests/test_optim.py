"""Lion against its written-out step, the schedule against its definition, and two things that follow from signs."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from workbench.heads import GatedHead
from workbench.models.paired import AlignmentHead
from workbench.optim import OPTIMISERS, drift_bound, optimiser, warm_cosine
from workbench.training import train


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_a_step_of_lion_is_exact(weight_decay):
    """p ← (1 - lr wd) p - lr sign(0.9 m + 0.1 g); m ← 0.99 m + 0.01 g; the rate changes on the way, as under a schedule."""
    rng = np.random.default_rng(0)
    p, m = rng.normal(size=(4, 3)), np.zeros((4, 3))
    ours = torch.nn.Parameter(torch.tensor(p))
    lion = optimiser("lion", [ours], lr=1.0, weight_decay=weight_decay)
    for step in range(12):
        g, rate = rng.normal(size=(4, 3)), 0.1 / (step + 1)
        g[0] = 0.0  # a gradient that is not there leaves the decay alone
        lion.param_groups[0]["lr"], ours.grad = rate, torch.tensor(g)
        lion.step()
        p = p * (1 - rate * weight_decay) - rate * np.sign(0.9 * m + 0.1 * g)
        m = 0.99 * m + 0.01 * g
        assert np.array_equal(ours.detach().numpy(), p)
    np.testing.assert_allclose(lion.state[ours]["exp_avg"].numpy(), m, rtol=1e-13)


def test_adamw_is_torchs():
    one, other = (torch.nn.Parameter(torch.arange(6.0)) for _ in range(2))
    ours, theirs = (
        optimiser("adamw", [one], lr=0.1, weight_decay=0.2),
        torch.optim.AdamW([other], lr=0.1, weight_decay=0.2),
    )
    for step in range(5):
        for p, each in ((one, ours), (other, theirs)):
            p.grad = torch.cos(torch.arange(6.0) + step)
            each.step()
    assert torch.equal(one, other)


PAIRS = 64


def trained(name, factor, dtype, steps=40):
    """SAIL's head under its loss times `factor`: all parameters after some steps."""
    torch.manual_seed(0)
    head = AlignmentHead(*(GatedHead(d, 6, 2, layer_norm=True) for d in (12, 10)), logit_bias=-10.0).to(dtype)
    image, text = torch.randn(PAIRS, 12, dtype=dtype), torch.randn(PAIRS, 10, dtype=dtype)
    sign = 2 * torch.eye(PAIRS, dtype=dtype) - 1

    def loss(step):
        cosines = F.normalize(head.image(image), dim=-1) @ F.normalize(head.text(text), dim=-1).T
        return F.softplus(-sign * (head.log_scale.exp() * cosines + head.logit_bias)).sum() / PAIRS * factor

    run = optimiser(name, head.parameters(), lr=1e-3, weight_decay=1e-4)
    train(head, loss, run, steps=steps, factor=lambda step: warm_cosine(step, steps))
    return torch.cat([p.detach().flatten() for p in head.parameters()])


def test_lion_does_not_see_by_what_a_loss_is_divided():
    """SAIL's "|B| → |B|²" divides the loss by |B| once more: under Lion, the same weights to the last bit.

    A power of two changes no digit in float32; with other factors no sign turns in float64, where rounding is too fine for it.
    """
    once = trained("lion", 1.0, torch.float32)
    assert torch.equal(trained("lion", 1 / PAIRS, torch.float32), once)
    assert torch.equal(trained("lion", 2.0, torch.float32), once)
    once = trained("lion", 1.0, torch.float64)
    for factor in (1 / 3, 1e-3, 7.0):
        assert torch.equal(trained("lion", factor, torch.float64), once)


def test_adamw_sees_it():
    """By its epsilon: a power of two changes nothing else."""
    gap = trained("adamw", 1 / PAIRS, torch.float64) - trained("adamw", 1.0, torch.float64)
    assert gap.abs().max() > 1e-8


@pytest.mark.parametrize(("steps", "bound"), [(6_700, 0.034), (70_000, 0.35)])
def test_scale_and_bias_stay_where_sail_puts_them(steps, bound):
    factors = [warm_cosine(step, steps) for step in range(steps)]
    assert round(drift_bound(1e-5, factors), 3) == bound
    with_decay = drift_bound(1e-5, factors, weight_decay=1e-4, start=-10.0)
    assert with_decay == pytest.approx(bound, abs=1e-3)


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_lion_keeps_the_bound(weight_decay):
    rng, steps = np.random.default_rng(0), 200
    start = torch.tensor([math.log(20), -10.0, 0.0], dtype=torch.float64)
    p = torch.nn.Parameter(start.clone())
    lion = optimiser("lion", [p], lr=1.0, weight_decay=weight_decay)
    for step in range(steps):
        lion.param_groups[0]["lr"] = 1e-2 * warm_cosine(step, steps)
        p.grad = torch.tensor([1.0, -1.0, rng.normal()], dtype=torch.float64)  # two go one way all along
        lion.step()
    factors = [warm_cosine(step, steps) for step in range(steps)]
    moved = (p.detach() - start).abs().tolist()
    bounds = [drift_bound(1e-2, factors, weight_decay=weight_decay, start=each) for each in start.tolist()]
    assert all(far <= bound + 1e-12 for far, bound in zip(moved, bounds, strict=True))
    assert moved[2] < 0.5 * bounds[2]
    if not weight_decay:
        assert moved[:2] == pytest.approx(bounds[:2], rel=1e-12)  # and no smaller bound would do


def test_small_steps_are_lost_in_float32():
    """What the docstring of `drift_bound` warns of: near 10 a step below 4.8e-7 moves nothing."""
    p = torch.nn.Parameter(torch.tensor(-10.0))
    lion = optimiser("lion", [p], lr=4.7e-7)
    for _ in range(10):
        p.grad = torch.tensor(1.0)
        lion.step()
    assert p.item() == -10.0


@pytest.mark.parametrize(("steps", "warmup"), [(1, 1), (9, 1), (10, 1), (30, 3), (67, 7), (70, 7)])
def test_a_tenth_of_the_steps_warms_up(steps, warmup):
    """Rounded up in whole numbers: 0.1 * 70 is a little more than 7 in floating point."""
    assert [warm_cosine(s, steps) for s in range(steps)] == [warm_cosine(s, steps, warmup) for s in range(steps)]
    assert warm_cosine(warmup - 1, steps) == 1.0
    assert warm_cosine(0, steps) == 1 / warmup


def test_the_schedule_is_a_line_and_half_a_cosine():
    factors = [warm_cosine(step, 100) for step in range(101)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[10:] == pytest.approx([(1 + math.cos(math.pi * step / 90)) / 2 for step in range(91)])
    assert factors[100] == 0.0 < factors[99]
    assert warm_cosine(0, 100, warmup=0) == 1.0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((-1, 10), ValueError, "step=-1, steps=10, warmup=1; give steps from 1 on"),
        ((11, 10), ValueError, "step=11"),
        ((0, 0), ValueError, "steps=0"),
        ((0, 10, 11), ValueError, "warmup=11"),
        ((0, 10, -1), ValueError, "warmup=-1"),
        ((0.5, 10), TypeError, "step is float 0.5; give a whole number"),
        ((0, 10.0), TypeError, "steps is float 10.0"),
        ((0, "10"), TypeError, "steps is str '10'"),
        ((0, 10, 0.1), TypeError, "warmup is float 0.1"),
    ],
)
def test_no_schedule(arguments, error, message):
    with pytest.raises(error, match=message):
        warm_cosine(*arguments)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sgd", {"lr": 1.0}, "no optimiser 'sgd'; choose one of lion, adamw"),
        (None, {"lr": 1.0}, "no optimiser None"),
        ("lion", {"lr": 0.0}, r"lr=0\.0, weight_decay=0\.0; give a rate above 0"),
        ("lion", {"lr": math.nan}, "lr=nan"),
        ("adamw", {"lr": math.inf}, "lr=inf"),
        ("adamw", {"lr": 1.0, "weight_decay": -1.0}, r"weight_decay=-1\.0"),
    ],
)
def test_no_optimiser(name, options, message):
    with pytest.raises(ValueError, match=message):
        optimiser(name, [torch.nn.Parameter(torch.ones(1))], **options)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_nothing_to_train(name):
    with pytest.raises(ValueError, match="empty parameter list"):
        optimiser(name, [], lr=1.0)


@pytest.mark.parametrize(
    ("lr", "factors", "options"),
    [(-1.0, [1.0], {}), (1.0, [1.0, -0.5], {}), (1.0, [math.nan], {}), (1.0, [1.0], {"weight_decay": -1.0})],
)
def test_no_bound(lr, factors, options):
    with pytest.raises(ValueError, match="give rates, factors and a decay of 0 or more"):
        drift_bound(lr, factors, **options)


def test_a_run_under_lion_resumes_bit_for_bit(tmp_path):
    """Its momentum is kept with the weights."""

    def run(steps_before_stop, folder):
        torch.manual_seed(0)
        head = GatedHead(5, 3, 1)
        x, y = torch.randn(8, 5), torch.randn(8, 3)

        def loss(step):
            if step == steps_before_stop:
                raise InterruptedError
            return (head(x) - y).square().mean()

        schedule = {"factor": lambda step: warm_cosine(step, 20), "folder": folder, "every": 5}
        train(head, loss, optimiser("lion", head.parameters(), lr=1e-2, weight_decay=0.1), steps=20, **schedule)
        return torch.cat([p.detach().flatten() for p in head.parameters()])

    straight = run(None, tmp_path / "straight")
    with pytest.raises(InterruptedError):
        run(13, tmp_path / "stopped")
    assert torch.equal(run(None, tmp_path / "stopped"), straight)
