"""The diagnostic as it was measured here: what `recipes/measure_rules.py` stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.controlled import ControlledScores
from workbench.evaluation.composition import Groups
from workbench.evaluation.statistics import Interval, percent
from workbench.fine_grained.diagnostic import SCORERS
from workbench.records import Record, Table
from workbench.stored import groups_of, intervals, one_of, stored_result

RESULT = "fine_grained.json"
TRAINED, AT = "trained combinations", 1000
CONTROL = "control: "
SHOWN = ("global", "late", "segments", "roi", "crops", "crops, true boxes")


@dataclass(frozen=True, eq=False)
class Diagnostic(Record):
    """scores[set][step] = answers of every rule and control, of the seeds that were trained so far: means over seeds per quad.

    Intervals are over quads; how far another training would lie off, `by_seed` says. `seeds[set][step]` lists whose they are:
    three up to 2,000 steps, one after that. Differences are paired by quad: differences[set][step][what][category].
    """

    scores: Mapping[str, Mapping[int, ControlledScores]]
    seeds: Mapping[str, Mapping[int, tuple[int, ...]]]
    by_seed: Mapping[str, Mapping[int, Mapping[tuple[str, str], Mapping[str, tuple[float, ...]]]]]
    differences: Mapping[str, Mapping[int, Mapping[str, Mapping[str, Interval]]]]

    @property
    def sets(self) -> list[str]:
        return list(self.scores)

    def at(self, step: int = AT, which: str = TRAINED) -> ControlledScores:
        """All scorers after so many steps. Raises ValueError for a set or step that was not measured."""
        return one_of(one_of(self.scores, which, "set"), step, f"step of {which!r}")

    def curve(self, scorers: Sequence[str] = SHOWN, which: str = TRAINED) -> list[tuple[int, ControlledScores]]:
        """(steps, scores) of some scorers along training: what `plots.curve` draws. Raises ValueError as `at`, and for an
        unknown scorer."""
        steps = sorted(one_of(self.scores, which, "set"))
        return [(step, ControlledScores(self._some(step, which, scorers))) for step in steps]

    def panels(
        self,
        scorers: Sequence[str] = ("global", "crops"),
        score: str = "group",
        *,
        step: int = AT,
        which: str = TRAINED,
    ) -> dict[str, dict[str, Interval]]:
        """By scorer, then by category: what `plots.intervals` draws. Raises ValueError as `curve`, and for another score."""
        return ControlledScores(self._some(step, which, scorers)).panels(scorers, score)

    def ways(
        self, scorers: Sequence[str] = ("global", "crops"), *, step: int = AT, which: str = TRAINED
    ) -> dict[str, dict[str, Interval]]:
        """By scorer, then by category and direction, for `plots.intervals`: the gain's two halves."""
        found: dict = {name: {} for name in scorers}
        for (_, category, scorer), groups in self._some(step, which, scorers).items():
            for score in ("image_to_text", "text_to_image"):
                found[scorer][f"{category}, {score.replace('_', ' ')}"] = groups.interval(score)
        return found

    def gains(self, *what: str, step: int = AT, which: str = TRAINED) -> dict[str, dict[str, Interval]]:
        """Differences by what they compare and category, for `plots.intervals`. Raises ValueError for what was not compared."""
        there = one_of(one_of(self.differences, which, "set"), step, f"step of {which!r}")
        return {each: dict(one_of(there, each, "difference")) for each in what}

    def _some(self, step: int, which: str, scorers: Sequence[str]) -> dict[tuple[str, str, str], Groups]:
        found = self.at(step, which).groups
        there = dict.fromkeys(scorer for _, _, scorer in found)
        for name in scorers:
            one_of(there, name, "scorer")
        categories = dict.fromkeys(category for _, category, _ in found)
        (model,) = {model for model, _, _ in found}
        return {(model, category, name): found[model, category, name] for category in categories for name in scorers}

    def table(self) -> Table:
        """Every rule without a head in full: group scores by category, chance 16.7."""
        return ControlledScores(self._some(AT, TRAINED, SCORERS)).table()

    def controls(self, step: int = AT, which: str = TRAINED) -> Table:
        """What is left of "crops" when one of its parts is taken away."""
        names = dict.fromkeys(scorer for _, _, scorer in self.at(step, which).groups)
        shown = ("crops", *(name for name in names if name.startswith(CONTROL)))
        return ControlledScores(self._some(step, which, shown)).table()


@dataclass(frozen=True, eq=False)
class CropCosts(Record):
    """Layouts of crops by name: group[layout][category], encodings per picture, seconds as a multiple of one pass by seed.

    `wrong[category][share]` is the group score when that share of the captions' phrases is another caption's.
    """

    group: Mapping[str, Mapping[str, Interval]]
    encodings: Mapping[str, float]
    ratios: Mapping[str, tuple[float, ...]]
    wrong: Mapping[str, Mapping[float, Interval]]

    def table(self) -> Table:
        categories = list(next(iter(self.group.values())))
        rows = [
            (
                name,
                f"{self.encodings[name]:g}",
                " / ".join(f"{each:.0f}" for each in self.ratios[name]),
                *(percent(found[c].mean, (found[c].low, found[c].high), digits=1) for c in categories),
            )
            for name, found in self.group.items()
        ]
        n = next(iter(next(iter(self.group.values())).values())).n
        header = ("crops", "encodings", "seconds ÷ one pass, by seed", *categories)
        return Table(f"Group score by crops, percent [95 %], n = {n} per category, chance 16.7", header, tuple(rows))


def measured_diagnostic() -> Diagnostic:
    """What `recipes/measure_rules.py` stored of rules, steps, sets and seeds."""
    rows = stored_result(RESULT)["rows"]
    read = {which: {int(step): row for step, row in each.items()} for which, each in rows["scores"].items()}
    differences = {
        which: {int(step): intervals(row) for step, row in each.items()} for which, each in rows["differences"].items()
    }
    return Diagnostic(
        {which: {step: _scores(row, step) for step, row in each.items()} for which, each in read.items()},
        {which: {step: tuple(row["seeds"]) for step, row in each.items()} for which, each in read.items()},
        {which: {step: _seeds(row) for step, row in each.items()} for which, each in read.items()},
        differences,
    )


def measured_costs() -> CropCosts:
    """What `recipes/measure_rules.py` stored of 1, 86 and 270 crops, and of wrong segments."""
    rows = stored_result(RESULT)["rows"]
    crops = rows["crops"]
    return CropCosts(
        {name: intervals(row["group"]) for name, row in crops.items()},
        {name: row["per_picture"] for name, row in crops.items()},
        {name: tuple(row["ratio"]) for name, row in crops.items()},
        {c: {float(k): x for k, x in intervals(each).items()} for c, each in rows["wrong segments"].items()},
    )


def _scores(row: Mapping, step: int) -> ControlledScores:
    return ControlledScores(
        {
            (f"scenes-clip@{step}", category, scorer): groups_of(found, row["n"])
            for category, scorers in row["categories"].items()
            for scorer, found in scorers.items()
        }
    )


def _seeds(row: Mapping) -> dict:
    return {
        (category, scorer): {name: tuple(entry[4:]) for name, entry in found.items()}
        for category, scorers in row["categories"].items()
        for scorer, found in scorers.items()
    }
