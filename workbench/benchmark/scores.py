"""What a model reaches on a benchmark: a table of measures, each with its interval and what guessing gives."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from workbench.evaluation.statistics import Interval
from workbench.records import Record, Table


@dataclass(frozen=True)
class Measure:
    """A fraction of n, its 95 % `interval`, what guessing gives, and the share of ties (None where it is not counted)."""

    value: float
    n: int
    interval: tuple[float, float]
    chance: float
    tie_rate: float | None = None

    def cells(self) -> tuple[str, str, str, str]:
        score = Interval(self.value, *self.interval, self.n).percent()
        return (
            score,
            f"{100 * self.chance:.2f}",
            "" if self.tie_rate is None else f"{100 * self.tie_rate:.2f}",
            f"{self.n:,}",
        )


@dataclass(frozen=True)
class BenchmarkScores(Record):
    """What a model reaches on a benchmark, by measure; `left_out` items by reason, missing pictures among them. `ids` are
    the items that were scored, `scores` their cosines in the same order (None for retrieval): what paired comparisons start
    from. `blind` holds the same measures by scorer that does not look: "other pictures", "mean picture", "random" and
    "constant", each below the model's own in the table (none where `evaluate` was told to leave them out)."""

    model: str
    benchmark: str
    measures: dict[str, Measure]
    left_out: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    ids: tuple[str, ...] = field(default=(), repr=False)
    scores: np.ndarray | None = field(default=None, repr=False, compare=False)
    blind: dict[str, dict[str, Measure]] = field(default_factory=dict, repr=False)

    def __getitem__(self, name: str) -> Measure:
        if name not in self.measures:
            raise KeyError(f"no measure {name!r} of {self.benchmark}; there are {', '.join(self.measures)}")
        return self.measures[name]

    def table(self) -> Table:
        rows = []
        for name, measure in self.measures.items():
            rows.append((name, *measure.cells()))
            rows += [(f"  {scorer}", *found[name].cells()) for scorer, found in self.blind.items() if name in found]
        rows += [(f"left out: {reason}", "", "", "", f"{n:,}") for reason, n in self.left_out.items()]
        rows += [(f"note: {note}", "", "", "", "") for note in self.notes]
        title = f"{self.model} on {self.benchmark}, percent; strict: ties are wrong"
        return Table(title, ("measure", "score [95 %]", "chance", "ties", "n"), tuple(rows))
