"""The diagnostic on composed photographs: what `recipes/measure_rules_photos.py` stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.controlled import ControlledScores
from workbench.evaluation.composition import Groups
from workbench.evaluation.statistics import Interval, percent
from workbench.fine_grained.diagnostic import SCORERS
from workbench.fine_grained.stored import CONTROL
from workbench.records import Record, Table
from workbench.stored import groups_of, intervals, one_of, stored_result

RESULT = "fine_grained_photos.json"
EXACT, EXACT_TRUE = "roi, exact map", "roi, exact map, true boxes"


@dataclass(frozen=True, eq=False)
class PhotoDiagnostic(Record):
    """Swap quads of composed photographs by every rule and control; intervals are over quads.

    `differences[what][category]` are paired by quad. `named[category][reading]` are shares of single objects that are named
    rightly, from their true boxes: among 20 things (Relation), or 20 things in 7 inks (Colour). "Other pair" is no swap: two
    pictures of other things.
    """

    scores: ControlledScores
    differences: Mapping[str, Mapping[str, Interval]]
    named: Mapping[str, Mapping[str, Mapping[str, Interval]]]

    @property
    def categories(self) -> list[str]:
        return list(dict.fromkeys(category for _, category, _ in self.scores.groups))

    def some(self, scorers: Sequence[str]) -> ControlledScores:
        """The scores of some scorers, as figures take them. Raises ValueError for an unknown one."""
        there = dict.fromkeys(scorer for _, _, scorer in self.scores.groups)
        for name in scorers:
            one_of(there, name, "scorer")
        (model,) = {model for model, _, _ in self.scores.groups}
        return ControlledScores({(model, c, name): self._at(c, name) for c in self.categories for name in scorers})

    def panels(self, scorers: Sequence[str] = ("global", "crops"), score: str = "group") -> dict[str, dict]:
        """By scorer, then by category: what `plots.intervals` draws. Raises ValueError as `some`, and for another score."""
        return self.some(scorers).panels(scorers, score)

    def ways(self, scorers: Sequence[str] = ("global", "crops")) -> dict[str, dict]:
        """By scorer, then by category and direction, for `plots.intervals`."""
        halves = {name: self.panels(scorers, name) for name in ("image_to_text", "text_to_image")}
        return {
            scorer: {
                f"{category}, {name.replace('_', ' ')}": found[scorer][category]
                for category in self.categories
                for name, found in halves.items()
            }
            for scorer in scorers
        }

    def gains(self, *what: str) -> dict[str, dict[str, Interval]]:
        """Differences by what they compare and category, for `plots.intervals`. Raises ValueError for what was not compared."""
        return {each: dict(one_of(self.differences, each, "difference")) for each in what}

    def table(self) -> Table:
        """Every rule without a head: group scores by category, chance 16.7."""
        return self.some((*SCORERS, EXACT, EXACT_TRUE)).table()

    def controls(self) -> Table:
        """What is left of "crops" when one of its parts is taken away."""
        names = dict.fromkeys(scorer for _, _, scorer in self.scores.groups)
        return self.some(("crops", *(name for name in names if name.startswith(CONTROL)))).table()

    def parts(self) -> Table:
        """Whether the objects themselves are known: shares named rightly."""
        rows = [
            (category, reading, what, percent(found.mean, (found.low, found.high), digits=1))
            for category, readings in self.named.items()
            for reading, each in readings.items()
            for what, found in each.items()
        ]
        return Table("Single objects named, percent [95 %]", ("quads", "reading", "what", "right"), tuple(rows))

    def _at(self, category: str, scorer: str) -> Groups:
        return next(each for key, each in self.scores.groups.items() if key[1:] == (category, scorer))


def measured_photos() -> PhotoDiagnostic:
    """What `recipes/measure_rules_photos.py` stored."""
    stored = stored_result(RESULT)
    (model,), rows = stored["weights"], stored["rows"]
    scores = {
        (model, category, scorer): groups_of(found, row["n"])
        for category, row in rows["scores"].items()
        for scorer, found in row["scorers"].items()
    }
    differences, named = (intervals(rows[name]) for name in ("differences", "named"))
    return PhotoDiagnostic(ControlledScores(scores), differences, named)
