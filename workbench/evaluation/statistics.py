"""Intervals: a 95 % bootstrap over items, paired where two models saw the same items; correlations with what they lean on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from workbench.records import Record, Table

_CHUNK = 32 << 20  # bytes of resampled values held at a time


@dataclass(frozen=True)
class Interval:
    """A mean over n items with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def percent(self) -> str:
        """For a table of percentages: '52.31 [50.10, 54.52]'."""
        return percent(self.mean, (self.low, self.high))


def percent(value: float, interval: tuple[float, float], digits: int = 2) -> str:
    """A fraction with its interval, for a table of percentages."""
    value, low, high = (f"{100 * each:.{digits}f}" for each in (value, *interval))
    return f"{value} [{low}, {high}]"


@dataclass(frozen=True)
class Correlation(Record):
    """`r` of n pairs, its 95 % bootstrap interval over pairs, and the lowest and highest r when any one pair is left out."""

    kind: str
    r: float
    low: float
    high: float
    n: int
    leave_one_out: tuple[float, float]

    def table(self) -> Table:
        without = "{:.3f} to {:.3f}".format(*self.leave_one_out)
        row = (f"{self.r:.3f} [{self.low:.3f}, {self.high:.3f}]", without, str(self.n))
        return Table(f"{self.kind} correlation", ("r [95 %]", "without any one pair", "n"), (row,))


def as_array(values) -> np.ndarray:
    """Scores as float64, whether they come as a list, an array or a tensor of any device and precision."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=np.float64)


def check_numbers(values: np.ndarray, what: str) -> None:
    """Raises ValueError where `values` are not finite: dropping items silently would change what a mean is of."""
    if bad := int((~np.isfinite(values)).sum()):
        raise ValueError(f"{bad} of {values.size} {what} are NaN or infinite; drop them and say so, or mend them")


def bootstrap(values, *, groups=None, resamples: int = 2000, seed: int = 0) -> Interval:
    """Percentile interval of the mean of `values` (n,), or (seeds, n): seed-mean scores, resampled over items.

    For a paired comparison pass the differences per item. `groups` (n,) names what items have in common, such as the
    picture of five captions: whole groups are drawn then, because their items are not independent. Raises ValueError for
    no items, NaN or infinite values.
    """
    scores = as_array(values)
    scores = scores.mean(0) if scores.ndim == 2 and len(scores) else scores
    if scores.ndim != 1 or scores.size == 0:
        raise ValueError(f"values of shape {scores.shape}; give (n,) or (seeds, n) with n ≥ 1")
    check_numbers(scores, "values")
    if resamples < 1:
        raise ValueError(f"resamples={resamples}; give at least one, 2000 is usual")
    if groups is None:
        means = np.concatenate([scores[drawn].mean(1) for drawn in _draws(scores.size, resamples, seed)])
    else:
        means = _group_means(scores, groups, resamples, seed)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(scores.mean()), float(low), float(high), scores.size)


def paired_difference(a, b, *, groups=None, resamples: int = 2000, seed: int = 0) -> Interval:
    """Mean of a - b with its interval, where a and b are (n,) or (seeds, n) scores of the same items in the same order.

    Raises ValueError for different shapes, no items, NaN or infinite values.
    """
    a, b = as_array(a), as_array(b)
    if a.shape != b.shape:
        raise ValueError(f"a {a.shape} and b {b.shape} are not of the same items; match them by id first")
    return bootstrap(a - b, groups=groups, resamples=resamples, seed=seed)


def wilson(right: int, n: int) -> Interval:
    """Share of `right` in n yes-or-no items with Wilson's interval: for small n, or none right, where a bootstrap has no width.

    Raises ValueError unless 0 ≤ right ≤ n and n ≥ 1, both whole.
    """
    from scipy.stats import binomtest

    if right != right // 1 or n != n // 1 or n < 1 or not 0 <= right <= n:
        raise ValueError(f"{right} right of {n}; give whole numbers, 0 ≤ right ≤ n and n ≥ 1")
    found = binomtest(int(right), int(n)).proportion_ci(0.95, method="wilson")
    return Interval(right / n, float(found.low), float(found.high), int(n))


def share(right, *, groups=None, seed: int = 0) -> Interval:
    """Mean of yes-or-no values (n,) with its bootstrap interval; Wilson's where none or all are right.

    Resampling cannot vary what does not vary: 0 of 20 would get an interval of no width. Items of one group count as one
    there. Raises ValueError as `bootstrap`.
    """
    found = bootstrap(right, groups=groups, seed=seed)
    if 0 < found.mean < 1:
        return found
    units = found.n if groups is None else len(set(groups))
    bare = wilson(round(found.mean * units), units)
    return Interval(found.mean, bare.low, bare.high, found.n)


def pearson(x, y, *, groups=None, resamples: int = 2000, seed: int = 0) -> Correlation:
    """Pearson's r of x (n,) and y (n,), n ≥ 3. The trap: few far points make it (print `leave_one_out` beside it).

    `groups` (n,) names what pairs have in common, such as the network whose layers they are: whole groups are drawn then.
    Raises ValueError for unequal lengths, fewer than three pairs, NaN, infinite values, or a side that does not vary.
    """
    return _correlation("Pearson", x, y, groups, resamples, seed)


def spearman(x, y, *, groups=None, resamples: int = 2000, seed: int = 0) -> Correlation:
    """Spearman's r, Pearson's r of ranks (ties share their mean rank). Arguments and errors as in `pearson`."""
    return _correlation("Spearman", x, y, groups, resamples, seed)


def leave_out(
    x, y, groups, correlate: Callable[..., Correlation] = pearson, *, resamples: int = 2000, seed: int = 0
) -> dict[str, Correlation]:
    """The correlation without each group in turn, such as one family of models: {group: Correlation}, in groups' order.

    Leaving out one point says little where three lie together. x, y and groups are (n,). A group that leaves fewer than three
    pairs is not in the answer: two have no correlation. Raises ValueError for other lengths, fewer than two groups, or as
    `correlate` does.
    """
    x, y = as_array(x), as_array(y)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"x {x.shape} and y {y.shape}; give two of the same length (n,)")
    codes = group_codes(groups, len(x))
    groups = groups.cpu().numpy() if isinstance(groups, torch.Tensor) else np.asarray(groups)
    names = [str(groups[first]) for first in sorted(np.unique(codes, return_index=True)[1])]
    if len(names) < 2:
        raise ValueError(f"all pairs are of the group {', '.join(names)}; give two groups or more")
    kept = [codes != code for code in dict.fromkeys(codes.tolist())]
    return {
        name: correlate(x[rest], y[rest], resamples=resamples, seed=seed)
        for name, rest in zip(names, kept, strict=True)
        if rest.sum() >= 3
    }


def correlation_difference(
    a, b, y, *, ranked: bool = False, groups=None, resamples: int = 2000, seed: int = 0
) -> Interval:
    """r(a, y) - r(b, y) of the same n items with its 95 % bootstrap interval over items, or `groups` of them: a, b, y (n,).

    Both r of one resample are of the same items, so what both lean on cancels; two intervals that overlap say less. Pearson's,
    or with `ranked` Spearman's. Errors as in `pearson`.
    """
    a, b, y = (as_array(each) for each in (a, b, y))
    kind = spearman if ranked else pearson
    difference = kind(a, y, resamples=1).r - kind(b, y, resamples=1).r
    drawn = _resampled_r(a, y, ranked, groups, resamples, seed) - _resampled_r(b, y, ranked, groups, resamples, seed)
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Interval(difference, float(low), float(high), len(y))


def _resampled_r(x: np.ndarray, y: np.ndarray, ranked: bool, groups, resamples: int, seed: int) -> np.ndarray:
    """r of every resample of items, or of whole groups of them."""
    if groups is not None:
        return _grouped_r(x, y, ranked, groups, resamples, seed)
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    return np.concatenate([_rows_r(x[rows], y[rows], ranked) for rows in _draws(len(y), resamples, seed)])


def _draws(n: int, resamples: int, seed: int):
    """Indices (chunk, n) of all resamples: the same stream in chunks of any size."""
    rng, chunk = np.random.default_rng(seed), max(1, _CHUNK // (16 * n))
    for start in range(0, resamples, chunk):
        yield rng.integers(0, n, (min(chunk, resamples - start), n))


def _grouped_r(x: np.ndarray, y: np.ndarray, ranked: bool, groups, resamples: int, seed: int) -> np.ndarray:
    """r of every resample that draws whole groups: pairs count as often as their group was drawn, in ranks as well."""
    codes = group_codes(groups, len(x))
    sides, found = [x / np.abs(x).max(), y / np.abs(y).max()], []
    for drawn in _draws(codes.max() + 1, resamples, seed):
        counts = (drawn[:, :, None] == np.arange(codes.max() + 1)).sum(1)[:, codes]
        found.append(_weighted_r(*(_ranks(each, counts) if ranked else each for each in sides), counts))
    return np.concatenate(found)


def _ranks(x: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean ranks (k, n) of x (n,) where item i is there counts[k, i] times."""
    below, level = (x[None] < x[:, None]).astype(float), (x[None] == x[:, None]).astype(float)
    return counts @ below.T + (counts @ level.T + 1) / 2


def _weighted_r(x: np.ndarray, y: np.ndarray, counts: np.ndarray) -> np.ndarray:
    n = counts.sum(1, keepdims=True)
    x, y = (each - (counts * each).sum(1, keepdims=True) / n for each in (x, y))
    xx, yy, xy = ((counts * each).sum(1) for each in (x * x, y * y, x * y))
    varies = (xx > 1e-12) & (yy > 1e-12)  # of sides whose largest is 1, or of ranks
    return np.where(varies, xy / np.sqrt(np.where(varies, xx * yy, 1)), np.nan)


def _all_but_one(n: int):
    """Indices (chunk, n - 1): row i holds all but i."""
    others, chunk = np.arange(n - 1), max(1, _CHUNK // (16 * n))
    for start in range(0, n, chunk):
        left_out = np.arange(start, min(start + chunk, n))[:, None]
        yield others + (others >= left_out)


def _group_means(scores: np.ndarray, groups, resamples: int, seed: int) -> np.ndarray:
    codes = group_codes(groups, len(scores))
    sums, counts = np.bincount(codes, scores), np.bincount(codes)
    return np.concatenate([sums[drawn].sum(1) / counts[drawn].sum(1) for drawn in _draws(len(sums), resamples, seed)])


def group_codes(groups, n: int) -> np.ndarray:
    """Groups (n,) of any kind as 0 … G-1. Raises ValueError where there are not n of them."""
    groups = groups.cpu().numpy() if isinstance(groups, torch.Tensor) else np.asarray(groups)
    if groups.shape != (n,):
        raise ValueError(f"groups of shape {groups.shape} for {n} items; give one for each")
    return np.unique(groups, return_inverse=True)[1]


def _correlation(kind: str, x, y, groups, resamples: int, seed: int) -> Correlation:
    x, y = as_array(x), as_array(y)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 3:
        raise ValueError(f"x {x.shape} and y {y.shape}; give two of the same length (n,) with n ≥ 3")
    check_numbers(np.stack([x, y]), "values")
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        raise ValueError(f"{'x' if np.ptp(x) == 0 else 'y'} is the same everywhere; a correlation needs both to vary")
    x, y = x / np.abs(x).max(), y / np.abs(y).max()  # squares of very large or small values would leave float64
    n, ranked = len(x), kind == "Spearman"
    drawn = _resampled_r(x, y, ranked, groups, resamples, seed)
    # A resample may hold one value only and has no r then; it says nothing about the others.
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    without = np.concatenate([_rows_r(x[rows], y[rows], ranked) for rows in _all_but_one(n)])
    r = float(_rows_r(x[None], y[None], ranked)[0])
    return Correlation(kind, r, float(low), float(high), n, (float(np.nanmin(without)), float(np.nanmax(without))))


def _rows_r(x: np.ndarray, y: np.ndarray, ranked: bool) -> np.ndarray:
    """Pearson's r of each row pair of x (k, n) and y (k, n), or of their ranks; NaN where a row does not vary."""
    if ranked:
        from scipy.stats import rankdata

        x, y = rankdata(x, axis=-1), rankdata(y, axis=-1)
    varies = (np.ptp(x, axis=1) > 0) & (np.ptp(y, axis=1) > 0)
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    norms = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    return np.where(varies, (x * y).sum(1) / np.where(varies & (norms > 0), norms, 1), np.nan)
