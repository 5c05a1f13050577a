"""Intervals cover what they should, and pair what belongs together."""

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap

from workbench.evaluation import bootstrap


def test_mean_and_width_agree_with_scipy():
    values = np.random.default_rng(0).normal(0.3, 1, 400)
    ours = bootstrap(values)
    theirs = scipy_bootstrap((values,), np.mean, method="percentile", n_resamples=5000, rng=0).confidence_interval
    assert ours.mean == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_intervals_cover_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(1)
    covered = [(i := bootstrap(rng.normal(0, 1, 60), resamples=400)).low <= 0 <= i.high for _ in range(200)]
    assert 0.88 <= np.mean(covered) <= 0.99


def test_seeds_are_averaged_before_items_are_resampled():
    items = np.random.default_rng(0).normal(size=50)
    two, one = bootstrap(np.stack([items - 1, items + 1])), bootstrap(items)
    assert (two.mean, two.low, two.high, two.n) == pytest.approx((one.mean, one.low, one.high, one.n))


def test_constant_values_have_no_width():
    interval = bootstrap([1.0] * 5)
    assert (interval.low, interval.high, interval.n) == (1.0, 1.0, 5)


@pytest.mark.parametrize(
    ("values", "message"), [([], "n ≥ 1"), ([1.0, float("nan")], "1 of 2 values are NaN"), ([[[1.0]]], "shape")]
)
def test_refusals(values, message):
    with pytest.raises(ValueError, match=message):
        bootstrap(values)
