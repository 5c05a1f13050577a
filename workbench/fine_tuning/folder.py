"""A user's benchmarks before and after tuning: composition, and the retrieval that must not break."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.benchmark import evaluate
from workbench.benchmark.scores import BenchmarkScores
from workbench.data.benchmarks import load_benchmark
from workbench.evaluation.statistics import percent
from workbench.models.dual_encoder import DualEncoder
from workbench.records import Record, Table

FOLDERS = ("sugarcrepe", "aro-relation", "aro-attribution", "aro-coco-order", "coco", "flickr30k")


@dataclass(frozen=True, eq=False)
class BeforeAfter(Record):
    """Each benchmark's scores before and after; `lacking` says of the others what is missing, and where it belongs."""

    found: Mapping[str, tuple[BenchmarkScores, BenchmarkScores]]
    lacking: Mapping[str, str]

    def table(self) -> Table:
        rows = [
            (name, measure, *(percent(each[measure].value, each[measure].interval) for each in both), f"{old.n:,}")
            for name, both in self.found.items()
            for measure, old in both[0].measures.items()
        ]
        rows += [(name, f"not asked: {why}", "", "", "") for name, why in self.lacking.items()]
        header = ("benchmark", "measure", "before [95 %]", "after [95 %]", "n")
        return Table("Before and after tuning, percent; ties are wrong", header, tuple(rows))


def before_and_after(
    before: DualEncoder,
    after: DualEncoder,
    root: str | Path | None = None,
    names: Sequence[str] = FOLDERS,
    *,
    store=None,
    batch_size: int = 32,
) -> BeforeAfter:
    """Both models on every benchmark that lies in `root` (as in `data.benchmarks`), by the rule of its authors.

    A benchmark that is not there is named with what it needs. `store` and `batch_size` as in `embeddings`. Raises ValueError
    for an unknown name, or a file of another format.
    """
    found, missing = {}, {}
    for name in names:
        try:
            benchmark = load_benchmark(name, root)
        except FileNotFoundError as error:
            missing[name] = str(error)
            continue
        options = {"blind": False, "store": store, "batch_size": batch_size}
        found[name] = tuple(evaluate(model, benchmark, **options) for model in (before, after))
    return BeforeAfter(found, missing)
