"""Intervals: a 95 % bootstrap over items, paired where two models saw the same items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Interval:
    """A mean over n items with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap(values, *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Percentile interval of the mean of `values` (n,), or (seeds, n): seed-mean scores, resampled over items.

    For a paired comparison pass the differences per item. Raises ValueError for no items or NaN.
    """
    scores = np.asarray(torch.as_tensor(values, dtype=torch.float64))
    scores = scores.mean(0) if scores.ndim == 2 else scores
    if scores.ndim != 1 or scores.size == 0:
        raise ValueError(f"values of shape {scores.shape}; give (n,) or (seeds, n) with n ≥ 1")
    if np.isnan(scores).any():
        raise ValueError(
            f"{int(np.isnan(scores).sum())} of {scores.size} values are NaN; drop them and say so, or mend them"
        )
    rng = np.random.default_rng(seed)
    means = [scores[rng.integers(0, scores.size, scores.size)].mean() for _ in range(resamples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(scores.mean()), float(low), float(high), scores.size)
