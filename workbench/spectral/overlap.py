"""Do pairs of one label lie closer than pairs of two? Histograms of cosines, and how much they overlap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.evaluation.statistics import group_codes
from workbench.records import Record, Table

_MOST = 1500  # items: a million pairs, counted again for every resample


@dataclass(frozen=True, eq=False)
class Overlap(Record):
    """Densities of cosines of pairs with the same label and with different ones, over `edges` (bins + 1,) from -1 to 1.

    `iou`: integral of the smaller over integral of the larger density, 0 for classes that never mix, 1 for none to see. It
    depends on the bins, so they are fixed, and is too low for few items, whose histograms are rough. `pairs` counts both
    kinds. `interval`: 95 %, from random halves of the items; its upper end makes up for that roughness.
    """

    edges: np.ndarray
    same: np.ndarray
    different: np.ndarray
    iou: float
    interval: tuple[float, float]
    n: int
    classes: int
    pairs: tuple[int, int]

    @property
    def everything(self) -> np.ndarray:
        """Density of all pairs together."""
        return np.average([self.same, self.different], axis=0, weights=self.pairs)

    def table(self) -> Table:
        low, high = self.interval
        middle = (self.edges[1:] + self.edges[:-1]) / 2
        width = self.edges[1] - self.edges[0]
        means = [float((density * middle).sum() * width) for density in (self.same, self.different)]
        row = (f"{self.iou:.3f} [{low:.3f}, {high:.3f}]", *(f"{mean:.3f}" for mean in means))
        caption = f"Overlap of cosines, {len(self.same)} bins: all pairs of {self.n} items, {self.classes} labels"
        return Table(caption, ("IoU [95 %]", "mean of one label", "mean of two"), (row,))


def overlap(features: Tensor, labels, *, bins: int = 100, resamples: int = 200, seed: int = 0) -> Overlap:
    """Cosines of all pairs of features (N, d), those of one label against those of two: labels (N,).

    The measure of IsoCLIP's Dogs-vs-Cats figure (arXiv 2603.19862), 0.454 before and 0.285 after; its bins are not known.
    Of more than 1,500 items a random 1,500 are taken. Raises ValueError for other shapes, features without direction,
    or labels of which no two, or all, agree.
    """
    if resamples < 1:
        raise ValueError(f"resamples={resamples}; give at least one, 200 is usual")
    features, codes = _checked(features, labels, bins)
    if len(features) > _MOST:
        kept = np.random.default_rng(seed).permutation(len(features))[:_MOST]
        features, codes = features[kept], np.unique(codes[kept], return_inverse=True)[1]
    unit = F.normalize(features, dim=-1)
    row, column = np.triu_indices(len(unit), 1)
    cell = ((((unit @ unit.T).numpy()[row, column] + 1) / 2 * bins).astype(np.int64)).clip(0, bins - 1)
    cell += bins * (codes[row] == codes[column])  # the first half counts pairs of two labels
    counts = np.bincount(cell, minlength=2 * bins)
    if not counts[:bins].any() or not counts[bins:].any():
        raise ValueError(f"labels of {len(codes)} items: no two agree, or all do; both kinds of pairs are needed")
    whole = _iou(counts)
    interval = _interval(whole, _of_halves(cell, row, column, bins, resamples, seed))
    different, same = (part / part.sum() * bins / 2 for part in (counts[:bins], counts[bins:]))
    pairs = (int(counts[bins:].sum()), int(counts[:bins].sum()))
    return Overlap(np.linspace(-1, 1, bins + 1), same, different, whole, interval, len(codes), len(set(codes)), pairs)


def _of_halves(
    cell: np.ndarray, row: np.ndarray, column: np.ndarray, bins: int, resamples: int, seed: int
) -> np.ndarray:
    """The IoU of random halves of the items."""
    n, rng, found = int(column[-1]) + 1, np.random.default_rng(seed), []
    for _ in range(resamples):
        drawn = np.zeros(n, bool)
        drawn[rng.permutation(n)[: n // 2]] = True
        found.append(_iou(np.bincount(cell[drawn[row] & drawn[column]], minlength=2 * bins)))
    return np.array(found)


def _interval(whole: float, halves: np.ndarray) -> tuple[float, float]:
    """Halves vary as much around their mean as the whole does around the truth, and lie below it by about as much."""
    if np.isnan(halves).all():  # three or four items: no half holds both kinds of pairs
        return 0.0, 1.0
    (low, high), mean = np.nanpercentile(halves, [2.5, 97.5]), np.nanmean(halves)
    upper = max(whole + high - mean, 2 * whole - low)
    return max(0.0, float(whole + low - mean)), min(1.0, float(upper))


def _iou(counts: np.ndarray) -> float:
    halves = counts.reshape(2, -1).astype(np.float64)
    totals = halves.sum(1, keepdims=True)
    if not totals.all():  # a half may hold no pair of one label
        return float("nan")
    halves /= totals
    return float(halves.min(0).sum() / halves.max(0).sum())


def _checked(features: Tensor, labels, bins: int) -> tuple[Tensor, np.ndarray]:
    features = torch.as_tensor(features).detach().cpu().float()
    if features.ndim != 2 or len(features) < 3:
        raise ValueError(f"features of shape {tuple(features.shape)}; give (N, d) with N ≥ 3")
    norms = features.norm(dim=-1)
    if not bool(norms.isfinite().all()) or not bool(norms.all()):
        raise ValueError("features hold NaN, infinite values or rows of zeros, which have no direction")
    if bins < 2:
        raise ValueError(f"bins={bins}; give 2 or more, 100 is usual")
    return features, group_codes(labels, len(features))
