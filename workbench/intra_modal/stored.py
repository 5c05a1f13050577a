"""What `recipes/measure_isoclip.py` stored of the shipped models, as tables that a notebook replays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench import paths
from workbench.evaluation.statistics import Interval
from workbench.intra_modal.run import CHOSEN, SHARES
from workbench.records import Record, Table
from workbench.spectral import ReadoutSummary
from workbench.spectral.baselines import PLAIN

RESULT = "isoclip.json"
SHOWN = (f"IsoCLIP, {SHARES}", f"IsoCLIP, {CHOSEN}", f"one projector, {CHOSEN}", f"without top components, {CHOSEN}")


@dataclass(frozen=True, eq=False)
class Tasks(Record):
    """Readouts on several tasks side by side: mAP of the plain cosine, and what each reading adds to it."""

    tables: Mapping[str, ReadoutSummary]
    shown: tuple[str, ...]

    def differences(self) -> dict[str, dict[str, Interval]]:
        """By readout, then by task: what `plots.intervals` draws."""
        return {name: {task: table[name].difference for task, table in self.tables.items()} for name in self.shown}

    def table(self) -> Table:
        rows = tuple(
            (
                task,
                str(table[PLAIN].mean.n),
                f"{100 * table[PLAIN].mean.mean:.1f}",
                *(_signed(table[name].difference) for name in self.shown),
            )
            for task, table in self.tables.items()
        )
        header = ("task", "n", PLAIN, *(f"{name} − {PLAIN}" for name in self.shown))
        return Table("mAP, percent, and paired differences [95 %]", header, rows)


def _signed(found: Interval) -> str:
    value, low, high = (f"{100 * each:+.1f}" for each in (found.mean, found.low, found.high))
    return f"{value} [{low}, {high}]"


def measured(*tasks: str, shown: Sequence[str] | None = None) -> ReadoutSummary | Tasks:
    """What `recipes/measure_isoclip.py` stored: one task's whole table, or several tasks (none named: all) side by side.

    Raises ValueError for a task that it does not hold.
    """
    stored = json.loads((paths.assets() / "results" / RESULT).read_text(encoding="utf-8"))["rows"]
    tables = {name: ReadoutSummary.from_json(row["table"]) for name, row in stored.items() if "table" in row}
    if unknown := [task for task in tasks if task not in tables]:
        raise ValueError(f"no stored task {unknown[0]!r}; there are {', '.join(tables)}")
    if len(tasks) == 1 and shown is None:
        return tables[tasks[0]]
    return Tasks({task: tables[task] for task in tasks or tables}, tuple(shown or SHOWN))


@dataclass(frozen=True)
class Cost(Record):
    """What the slow peers cost per query against a band, as `recipes/measure_isoclip.py` stored it for scenes-clip."""

    ratios: Mapping[str, Interval]
    decomposition: float

    def table(self) -> Table:
        rows = [
            (name, f"{each.mean:.3g} [{each.low:.3g}, {each.high:.3g}]", str(each.n))
            for name, each in self.ratios.items()
        ]
        rows.append(("decomposition, once / encode one picture", f"{self.decomposition:.3g}", ""))
        return Table("Time of scenes-clip, batch 64, one core", ("what", "ratio [95 %]", "n"), tuple(rows))


def measured_cost() -> Cost:
    """OTI (150 steps) and OVI (100 steps timed, times ten) over plain encoding, and a folded band over none."""
    stored = json.loads((paths.assets() / "results" / RESULT).read_text(encoding="utf-8"))["rows"]["latency"]
    ratios = {name: Interval(**each) for name, each in stored.items() if isinstance(each, dict)}
    return Cost(ratios, stored["svd_seconds"] / stored["encode_seconds_per_picture"])
