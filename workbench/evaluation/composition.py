"""Can a model tell a true caption from a hard negative? Strictly: a tie is wrong, so a constant scorer scores nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workbench.evaluation.statistics import bootstrap
from workbench.records import Record, Table


@dataclass(frozen=True)
class Choice(Record):
    """`accuracy` of n choices (a fraction), `tie_rate` of those where the best negative ties, 95 % `interval` over items."""

    accuracy: float
    tie_rate: float
    n: int
    interval: tuple[float, float]

    def table(self) -> Table:
        low, high = self.interval
        cells = (
            f"{100 * self.accuracy:.2f} [{100 * low:.2f}, {100 * high:.2f}]",
            f"{100 * self.tie_rate:.2f}",
            str(self.n),
        )
        return Table("Choice accuracy, percent", ("accuracy [95 %]", "ties", "n"), (cells,))


def choice_accuracy(positive: np.ndarray, negatives: np.ndarray, *, seed: int = 0) -> Choice:
    """Fraction of items whose true caption scores above every negative: positive (n,), negatives (n, K).

    Strict >, as SugarCrepe defines it (arXiv 2306.14610). The trap: take both scores from the same product, or rounding
    decides ties. Raises ValueError for no items, other shapes, or NaN.
    """
    positive, negatives = np.asarray(positive, dtype=np.float64), np.asarray(negatives, dtype=np.float64)
    if positive.ndim != 1 or not len(positive) or negatives.ndim != 2 or len(negatives) != len(positive):
        raise ValueError(f"positive {positive.shape}, negatives {negatives.shape}; give (n,) and (n, K) with n ≥ 1")
    if not negatives.shape[1]:
        raise ValueError("there is no negative to choose against; give K ≥ 1 columns")
    if np.isnan(positive).any() or np.isnan(negatives).any():
        raise ValueError("a score is NaN; look at the features it came from")
    best = negatives.max(1)
    right = (positive > best).astype(float)
    found = bootstrap(right, seed=seed)
    return Choice(found.mean, float((positive == best).mean()), found.n, (found.low, found.high))
