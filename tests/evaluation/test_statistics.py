"""Intervals cover what they should, and pair what belongs together."""

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap as scipy_bootstrap

from workbench.evaluation import bootstrap, paired_difference, pearson, share, spearman, statistics, wilson


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


@pytest.mark.parametrize("n", [1, 3, 57, 700])
def test_chunks_of_any_size_draw_the_same_resamples(n, monkeypatch):
    values = np.random.default_rng(n).normal(size=n)
    rng = np.random.default_rng(0)
    low, high = np.percentile([values[rng.integers(0, n, n)].mean() for _ in range(2000)], [2.5, 97.5])
    assert (bootstrap(values).low, bootstrap(values).high) == pytest.approx((low, high), abs=1e-12)
    whole = bootstrap(values)
    monkeypatch.setattr(statistics, "_CHUNK", 100)
    assert bootstrap(values) == whole


def test_tensors_of_any_kind_are_values():
    hits = torch.tensor([True, False, True, True])
    assert bootstrap(hits) == bootstrap(hits.bfloat16()) == bootstrap([1, 0, 1, 1.0])


def test_groups_are_drawn_whole():
    rng = np.random.default_rng(3)
    each = rng.normal(size=80)
    five, names = np.repeat(each, 5), np.repeat([f"picture {i}" for i in range(80)], 5)
    assert bootstrap(five, groups=names).mean == pytest.approx(each.mean())
    grouped, alone = bootstrap(five, groups=names), bootstrap(each)
    assert (grouped.low, grouped.high) == pytest.approx((alone.low, alone.high), abs=0.03)
    assert bootstrap(each, groups=np.arange(80)) == alone
    with pytest.raises(ValueError, match=r"groups of shape \(3,\) for 80 items"):
        bootstrap(each, groups=[1, 2, 3])


def test_a_paired_difference_is_narrower_than_two_intervals():
    rng = np.random.default_rng(4)
    hard = rng.normal(size=200)
    a, b = hard + 0.1 + 0.05 * rng.normal(size=200), hard
    apart = paired_difference(a, b)
    assert 0.08 < apart.low < apart.mean < apart.high < 0.12
    assert bootstrap(a).low < bootstrap(b).high
    flipped = paired_difference(b, a)
    assert (flipped.mean, flipped.low) == pytest.approx((-apart.mean, -apart.high))
    assert paired_difference([a, a], [b, b]).mean == pytest.approx(apart.mean)
    with pytest.raises(ValueError, match="match them by id first"):
        paired_difference(a, b[1:])


def test_wilson_has_a_width_where_a_bootstrap_has_none():
    assert bootstrap(np.zeros(10)).high == 0
    found = wilson(0, 10)
    assert (found.mean, found.low) == (0, 0)
    assert found.high == pytest.approx(0.2775, abs=1e-4)
    for right, n in ((0, 0), (-1, 5), (6, 5)):
        with pytest.raises(ValueError, match="n ≥ 1"):
            wilson(right, n)


# Figures of SAIL's project page, read off by eye: ImageNet k-NN, linear probe and COCO R@10 of thirteen vision encoders.
KNN = (46.2, 47.1, 49.4, 67.5, 71.1, 75.0, 76.1, 77.1, 78.0, 79.7, 82.1, 83.5, 83.5)
PROBE = (68.0, 75.8, 76.6, 75.3, 79.3, 78.5, 80.1, 79.5, 82.3, 80.6, 84.5, 86.3, 86.5)
R10 = (6.7, 9.2, 11.3, 50.3, 46.3, 57.3, 52.4, 55.5, 57.5, 63.0, 67.7, 70.3, 73.1)


def test_sails_correlations_and_what_they_lean_on():
    knn, probe = pearson(KNN, R10), pearson(PROBE, R10)
    assert (knn.r, probe.r) == pytest.approx((0.9905, 0.836), abs=1e-3)
    assert probe.high > knn.low  # the intervals overlap
    assert (spearman(KNN, R10).r, spearman(PROBE, R10).r) == pytest.approx((0.978, 0.918), abs=2e-3)
    assert (pearson(KNN[3:], R10[3:]).r, pearson(PROBE[3:], R10[3:]).r) == pytest.approx((0.913, 0.868), abs=2e-3)
    assert "without any one pair" in str(knn)


def test_one_far_point_makes_pearson_and_shows():
    rng = np.random.default_rng(5)
    x, y = np.append(rng.normal(size=20), 100), np.append(rng.normal(size=20), 100)
    found = pearson(x, y)
    assert found.r > 0.99
    assert found.leave_one_out[0] < 0.6
    assert abs(spearman(x, y).r) < 0.6


def test_correlations_of_the_same_and_of_the_opposite():
    x = np.arange(6.0)
    assert (pearson(x, 2 * x + 1).r, spearman(x, -(x**3)).r) == pytest.approx((1, -1))
    assert pearson(x, x).leave_one_out == pytest.approx((1, 1))


@pytest.mark.parametrize("correlation", [pearson, spearman])
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1, 2], [1, 2], "n ≥ 3"),
        ([1, 2, 3], [1, 2], r"x \(3,\) and y \(2,\)"),
        ([1, 2, 3], [1, 2, np.nan], "1 of 6 values are NaN"),
        ([1, 2, 3], [4, 4, 4], "y is the same everywhere"),
    ],
)
def test_correlations_that_are_none(correlation, x, y, message):
    with pytest.raises(ValueError, match=message):
        correlation(x, y)


@pytest.mark.parametrize("function", [bootstrap, lambda values: pearson(values, [1, 2, 3])])
def test_infinite_values_are_refused(function):
    with pytest.raises(ValueError, match=r"1 of \d values are NaN or infinite"):
        function([1.0, 2.0, np.inf])


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_a_correlation_does_not_depend_on_the_unit(scale):
    x, y = np.arange(6.0), np.array([1.0, 3, 2, 5, 4, 6])
    assert pearson(scale * x, y).r == pytest.approx(pearson(x, y).r)


def test_shares_are_of_whole_numbers():
    for right, n in ((2.7, 10), (2, 10.5), (np.nan, 10)):
        with pytest.raises(ValueError, match="give whole numbers"):
            wilson(right, n)


def test_a_share_of_none_or_all_has_an_interval_with_width():
    none, every = share(np.zeros(20)), share(np.ones(20))
    assert (none.mean, none.low) == (0, 0)
    assert none.high == pytest.approx(0.161, abs=1e-3)  # Wilson's for 0 of 20
    assert (every.low, every.high) == pytest.approx((1 - none.high, 1))
    assert share(np.zeros(20), groups=[i // 5 for i in range(20)]).high > none.high  # four groups say less
    some = np.arange(20) < 7
    assert share(some) == bootstrap(some)
