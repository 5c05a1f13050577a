"""Readouts beside each other on the same queries: average precision, paired with the plain cosine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from torch import Tensor

from workbench.evaluation.label_retrieval import label_precisions
from workbench.evaluation.statistics import Interval, bootstrap
from workbench.progress import bar
from workbench.records import Record, Table
from workbench.spectral.baselines import PLAIN, Readout
from workbench.spectral.choice import verdict


@dataclass(frozen=True)
class ReadoutRow:
    """mAP of a readout, its paired difference from plain, the latter in every seed, and how many directions were kept."""

    name: str
    kept: str
    mean: Interval
    difference: Interval
    by_seed: tuple[float, ...]


@dataclass(frozen=True)
class ReadoutSummary(Record):
    """Readouts on the same queries, as a table; what a recipe stores and a notebook replays."""

    title: str
    rows: tuple[ReadoutRow, ...]

    def __getitem__(self, name: str) -> ReadoutRow:
        for row in self.rows:
            if row.name == name:
                return row
        raise ValueError(f"no readout {name!r}; there are {', '.join(row.name for row in self.rows)}")

    def table(self) -> Table:
        rows = tuple(
            (
                row.name,
                row.kept,
                row.mean.percent(),
                "" if row.name == PLAIN else row.difference.percent(),
                "" if row.name == PLAIN else " ".join(f"{100 * each:+.1f}" for each in row.by_seed),
                "" if row.name == PLAIN else verdict(row.difference),
            )
            for row in self.rows
        )
        header = ("readout", "directions", "mAP [95 %]", "minus plain [95 %]", "by seed", "than plain")
        return Table(f"{self.title}: mAP, percent; {self.rows[0].mean.n} queries", header, rows)

    def to_json(self) -> dict:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict) -> ReadoutSummary:
        rows = tuple(
            ReadoutRow(
                row["name"],
                row["kept"],
                Interval(**row["mean"]),
                Interval(**row["difference"]),
                tuple(row["by_seed"]),
            )
            for row in stored["rows"]
        )
        return cls(stored["title"], rows)


@dataclass(frozen=True, eq=False)
class ReadoutTable(Record):
    """Average precision of every query by every readout: precisions[name] (seeds, Q).

    Seeds are draws of the readout or weights of the model. `parts` are the lengths of independent sets along Q, where several
    were pooled; then those are the seeds. `groups` (Q,) names queries that are drawn together in intervals.
    """

    title: str
    precisions: Mapping[str, np.ndarray]
    kept: Mapping[str, str]
    parts: tuple[int, ...]
    seed: int = 0
    groups: np.ndarray | None = None

    def difference(self, name: str, other: str = PLAIN) -> Interval:
        """mAP of `name` minus that of `other`, paired over queries, seeds averaged. Raises ValueError for another name."""
        return bootstrap(self._minus(name, other), groups=self.groups, seed=self.seed)

    def by_seed(self, name: str, other: str = PLAIN) -> tuple[float, ...]:
        """The same difference in every seed alone."""
        minus = self._minus(name, other)
        parts = np.split(minus, np.cumsum(self.parts)[:-1], axis=1) if len(self.parts) > 1 else minus
        return tuple(float(part.mean()) for part in parts)

    def summary(self) -> ReadoutSummary:
        rows = [
            ReadoutRow(
                name,
                self.kept[name],
                bootstrap(found, groups=self.groups, seed=self.seed),
                self.difference(name),
                self.by_seed(name),
            )
            for name, found in self.precisions.items()
        ]
        return ReadoutSummary(self.title, tuple(rows))

    def table(self) -> Table:
        return self.summary().table()

    def _minus(self, name: str, other: str) -> np.ndarray:
        if missing := [each for each in (name, other) if each not in self.precisions]:
            raise ValueError(f"no readout {missing[0]!r}; there are {', '.join(self.precisions)}")
        return self.precisions[name] - _as_many(self.precisions[other], len(self.precisions[name]))


def pooled(tables: Sequence[ReadoutTable]) -> ReadoutTable:
    """The same readouts on several sets of items as one table over all queries. Raises ValueError for other readouts."""
    _check_several(tables)
    parts = tuple(sum(table.parts) for table in tables)
    groups = None
    if all(table.groups is not None for table in tables):
        groups = np.concatenate([[f"{k}/{each}" for each in table.groups] for k, table in enumerate(tables)])
    return _merged(tables, lambda rows: np.concatenate(rows, 1), parts, groups)


def stacked(tables: Sequence[ReadoutTable]) -> ReadoutTable:
    """The same items seen through several models: one table whose seeds are the models; a readout's own draws are averaged."""
    _check_several(tables)
    averaged = lambda rows: np.stack([row.mean(0) for row in rows])  # noqa: E731
    return _merged(tables, averaged, tables[0].parts, tables[0].groups)


def _check_several(tables: Sequence[ReadoutTable]) -> None:
    if not tables:
        raise ValueError("no tables to put together; give one or more")


def _merged(tables: Sequence[ReadoutTable], merge: Callable, parts: tuple[int, ...], groups) -> ReadoutTable:
    names = tuple(tables[0].precisions)
    if any(tuple(table.precisions) != names for table in tables):
        raise ValueError(f"tables of different readouts; every one needs {', '.join(names)}")
    precisions = {name: merge([table.precisions[name] for table in tables]) for name in names}
    kept = {name: _range({int(k) for table in tables for k in table.kept[name].split("–")}) for name in names}
    return ReadoutTable(tables[0].title, precisions, kept, parts, tables[0].seed, groups)


def _range(counts: set[int]) -> str:
    return str(min(counts)) if len(counts) == 1 else f"{min(counts)}–{max(counts)}"


def _as_many(rows: np.ndarray, seeds: int) -> np.ndarray:
    return rows if len(rows) == seeds else np.broadcast_to(rows.mean(0), (seeds, rows.shape[1]))


def compare_readouts(
    found: Sequence[Readout], pre: Tensor, labels, *, groups=None, title: str = "Readouts", seed: int = 0
) -> ReadoutTable:
    """Every item (N, d_in) with label (N,) searches all others, by every readout. Errors as in `label_precisions`."""
    labels, own, precisions = np.asarray(labels), np.arange(len(pre)), {}
    for readout in bar(found, "readouts"):
        embedded = [embed(pre).float() for embed in readout.embeddings]
        precisions[readout.name] = np.stack(
            [label_precisions(each, each, labels, labels, own=own) for each in embedded]
        )
    kept = {each.name: str(each.kept) for each in found}
    return ReadoutTable(title, precisions, kept, (len(pre),), seed, None if groups is None else np.asarray(groups))
