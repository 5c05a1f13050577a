"""Correlations of probes with alignment, and what they lean on."""

import numpy as np
import pytest
import torch

from workbench.evaluation import correlation_difference, leave_out, pearson, probe_correlations, spearman

X = np.array([1.0, 2, 3, 4, 10, 11])
Y = np.array([2.0, 1, 4, 3, 9, 12])
FAMILIES = ["low"] * 4 + ["high"] * 2


def test_a_family_is_left_out_whole():
    found = leave_out(X, Y, FAMILIES)
    assert list(found) == ["high"], "without the four low ones two remain, which have no correlation"
    assert found["high"] == pearson(X[:4], Y[:4])
    assert leave_out(X, Y, FAMILIES, spearman)["high"] == spearman(X[:4], Y[:4])


def test_groups_of_one_are_leave_one_out():
    found = leave_out(X, Y, range(6), resamples=10)
    ends = pearson(X, Y).leave_one_out
    assert (min(each.r for each in found.values()), max(each.r for each in found.values())) == pytest.approx(ends)
    assert list(found) == list("012345")
    assert leave_out(X, Y, torch.arange(6), resamples=10) == found, "a tensor's groups are named as a list's"


def test_one_family_can_make_a_correlation():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=12), rng.normal(size=12)
    x[:3] += 30
    y[:3] += 30
    found = leave_out(x, y, ["far"] * 3 + ["near"] * 9)
    assert pearson(x, y).r > 0.95
    assert pearson(x, y).leave_one_out[0] > 0.95, "one of three far points left out changes nothing"
    assert abs(found["far"].r) < 0.6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, Y[:5], FAMILIES), r"x \(6,\) and y \(5,\)"),
        ((X, Y, FAMILIES[:5]), r"groups of shape \(5,\) for 6 items"),
        ((X, Y, ["all"] * 6), "all pairs are of the group all"),
    ],
)
def test_groups_that_are_none(arguments, message):
    with pytest.raises(ValueError, match=message):
        leave_out(*arguments)


def test_a_difference_of_correlations_is_paired():
    """Two probes that nearly agree: their intervals overlap wide, that of the difference is narrow."""
    rng = np.random.default_rng(3)
    y = rng.normal(size=40)
    a = y + rng.normal(size=40)
    b = a + 0.6 * rng.normal(size=40)
    found, one, other = correlation_difference(a, b, y), pearson(a, y), pearson(b, y)
    assert found.mean == pytest.approx(one.r - other.r)
    assert found.high - found.low < 0.8 * (one.high - one.low)
    assert correlation_difference(a, a, y).high == 0
    swapped = correlation_difference(b, a, y)
    assert (swapped.mean, swapped.low) == pytest.approx((-found.mean, -found.high))
    ranked = correlation_difference(np.exp(a), b, y, ranked=True)
    assert ranked.mean == pytest.approx(spearman(a, y).r - spearman(b, y).r)


def test_a_difference_needs_three_lists_of_one_length():
    with pytest.raises(ValueError, match="the same length"):
        correlation_difference(X, Y[:5], Y)


@pytest.fixture(scope="module")
def found():
    probes = {"k-NN": Y**2, "linear": -X}
    return probe_correlations("abcdef", FAMILIES, probes, Y, intervals=np.stack([Y - 1, Y + 1], 1), title="toy")


def test_all_that_is_known_of_the_towers_stays_together(found):
    assert found.r["Spearman"]["k-NN"].r == pytest.approx(1)
    assert found.gap["Spearman"]["linear"].mean > 1
    assert found.without["Pearson"]["linear"]["high"].n == 4
    assert found.gap_without["Spearman"]["linear"]["high"].n == 4
    table = str(found)
    assert "toy: 6 towers of 2 families" in table
    assert "without high" in table
    left = found.left_out()
    assert [row[0] for row in left.rows] == ["low", "high"]
    assert left.rows[0][2] == "too few left"


def test_towers_of_one_family_have_nobody_to_leave_out():
    found = probe_correlations("abcdef", ["one"] * 6, {"k-NN": X}, Y)
    assert found.without["Pearson"]["k-NN"] == {}
    assert "–" in str(found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("abc", FAMILIES, {"k": X}, Y), r"3 names but families \(6,\)"),
        (("abcdef", FAMILIES, {"k": X[:3]}, Y), r"6 names but k \(3,\)"),
        (("abcdef", FAMILIES, {}, Y), "no probe to correlate"),
        (("abcdef", FAMILIES, {"k": X * np.nan}, Y), "NaN"),
        (("abcdef", FAMILIES, {"k": X * 0}, Y), "the same everywhere"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        probe_correlations(*arguments)


def test_intervals_have_two_ends():
    with pytest.raises(ValueError, match=r"shape \(6,\) for 6 towers"):
        probe_correlations("abcdef", FAMILIES, {"k": X}, Y, intervals=Y)


def test_layers_of_one_network_are_drawn_together():
    """Each network copied four times: as many networks, so as wide an interval; copies taken for towers narrow it."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=12)
    y = x + rng.normal(size=12)
    copies, names = [np.repeat(each, 4) for each in (x, y)], np.repeat(np.arange(12), 4)
    width = lambda found: found.high - found.low  # noqa: E731
    bare, grouped, careless = pearson(x, y), pearson(*copies, groups=names), pearson(*copies)
    assert grouped.r == pytest.approx(bare.r)
    assert width(grouped) == pytest.approx(width(bare), rel=0.1)
    assert width(careless) < 0.7 * width(grouped)
    other = np.repeat(rng.normal(size=12), 4)
    for ranked in (False, True):
        apart = [correlation_difference(copies[0], other, copies[1], ranked=ranked, groups=g) for g in (None, names)]
        assert apart[0].mean == apart[1].mean
        assert width(apart[0]) < 0.8 * width(apart[1])


def test_the_table_says_of_how_many_networks():
    probes = {"k-NN": [0.1, 0.3, 0.2, 0.7], "linear probe": [0.2, 0.3, 0.4, 0.5]}
    towers, families = ["a, 1", "a, 2", "b", "c"], ["f", "f", "g", "g"]
    found = probe_correlations(
        towers, families, probes, [0.1, 0.2, 0.3, 0.4], networks=["a", "a", "b", "c"], resamples=50
    )
    assert found.networks == 3
    assert "4 towers of 3 networks, 2 families" in str(found)
    with pytest.raises(ValueError, match="groups of shape"):
        probe_correlations(towers, families, probes, [0.1, 0.2, 0.3, 0.4], networks=["a"], resamples=50)
