"""SAIL's ladder, its bars and its cosines as they were measured here: what `recipes/measure_sail.py` stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from workbench import paths
from workbench.evaluation.statistics import Interval
from workbench.records import Record, Table
from workbench.sail.published import BARS, RUNGS

RESULT = "sail.json"
DIRECTIONS = ("text to image", "image to text")
PLACES = ("drawings", "stamps")
NAMING = "stamps: naming"
SCORES = ("text", "image", "group")
EDGES = tuple(round(-1 + 0.05 * k, 2) for k in range(41))  # bins of all cosines


@dataclass(frozen=True, eq=False)
class Ladder(Record):
    """Scores of every rung by what is asked ("drawings: text to image, R@1", …), and what each step adds, paired by item.

    Beside the rungs stand the linear one at a rate of its own, and differences of rungs further apart. The trap: intervals are
    over items, so they say nothing of another run's start and stop; `by_seed` does (of scores, and of steps under "…, added").
    + |B| → |B|² is the control: it hardly changes a weight, and what it seems to add is how far luck in stopping carries.
    """

    rungs: Mapping[str, Mapping[str, Interval]]
    steps: Mapping[str, Mapping[str, Interval]]
    by_seed: Mapping[str, Mapping[str, tuple[float, ...]]]
    parameters: Mapping[str, int]

    @property
    def asked(self) -> list[str]:
        return list(next(iter(self.rungs.values())))

    def scores(self, what: str) -> dict[str, Interval]:
        """One score of every rung. Raises ValueError for what was not asked."""
        return {name: self._of(each, what) for name, each in self.rungs.items()}

    def added(self, *asked: str, beside: bool = False) -> dict[str, dict[str, Interval]]:
        """What each step adds, by what is asked and then by rung: what `plots.intervals` draws; or rungs further apart."""
        neighbours = {rung.name for rung in RUNGS}
        shown = {name: each for name, each in self.steps.items() if (name not in neighbours) == beside}
        return {what: {name: self._of(each, what) for name, each in shown.items()} for what in asked}

    def _of(self, each: Mapping[str, Interval], what: str) -> Interval:
        if what not in each:
            raise ValueError(f"{what!r} was not asked; there are {', '.join(map(repr, self.asked))}")
        return each[what]

    def table(self) -> Table:
        asked = [f"drawings: {way}, R@1" for way in DIRECTIONS]
        asked += [*(f"{place}: both ways, R@10" for place in PLACES), NAMING]
        rows = [
            (name, f"{self.parameters[name] / 1e6:.1f} M", *(_percent(each[what]) for what in asked))
            for name, each in self.rungs.items()
        ]
        n = ", ".join(str(next(iter(self.scores(what).values())).n) for what in (asked[0], NAMING))
        return Table(f"SAIL's ladder here, percent [95 %]: n {n}", ("rung", "weights", *asked), tuple(rows))

    def details(self) -> Table:
        """What every step adds, published and here, in percentage points."""
        columns = (("text_to_image", "drawings: text to image, R@1"), ("image_to_text", "drawings: image to text, R@1"))
        asked = (*columns, ("naming", NAMING))
        rows = []
        for before, rung in pairwise(RUNGS):
            change = ((getattr(rung, column) - getattr(before, column), what) for column, what in asked)
            cells = ((f"{each:+.1f}", self._signed(rung.name, what)) for each, what in change)
            rows.append((rung.name, *(cell for both in cells for cell in both)))
        named = (
            "COCO T→I R@1",
            "drawings [95 %]",
            "COCO I→T R@1",
            "drawings [95 %]",
            "ImageNet",
            "stamps named [95 %]",
        )
        return Table("What a step adds, percentage points: published, and here", ("step", *named), tuple(rows))

    def _signed(self, step: str, what: str) -> str:
        each = self.steps[step][what]
        return f"{100 * each.mean:+.1f} [{100 * each.low:+.1f}, {100 * each.high:+.1f}]"


@dataclass(frozen=True, eq=False)
class SwapBars(Record):
    """Winoground's text, image and group scores on swap quads: scores[model][score][category], category "all" or one of five."""

    scores: Mapping[str, Mapping[str, Mapping[str, Interval]]]

    def panels(self, category: str = "all") -> dict[str, dict[str, Interval]]:
        """By score, then by model: what `plots.intervals` draws. Raises ValueError for another category."""
        known = list(next(iter(self.scores.values()))[SCORES[0]])
        if category not in known:
            raise ValueError(f"no category {category!r}; there are {', '.join(known)}")
        return {score: {name: each[score][category] for name, each in self.scores.items()} for score in SCORES}

    def table(self) -> Table:
        rows = [(name, *(_percent(each[score]["all"]) for score in SCORES)) for name, each in self.scores.items()]
        rows += [
            (f"{name} (published)", *(f"{100 * getattr(bar, score):.1f}" for score in SCORES))
            for name, bar in BARS.items()
        ]
        n = next(iter(self.scores.values()))[SCORES[0]]["all"].n
        chance = "25, 25, 16.7"
        return Table(
            f"{n} swap quads, published: Winoground; percent [95 %], chance {chance}", ("model", *SCORES), tuple(rows)
        )


@dataclass(frozen=True, eq=False)
class Spread:
    """Cosines of n pairs: their mean with its interval, quartiles, and counts between `EDGES`."""

    mean: Interval
    quartiles: tuple[float, float, float]
    counts: np.ndarray


@dataclass(frozen=True, eq=False)
class PairCosines(Record):
    """Cosines of a quad's two pictures (`own`) and of pictures of two quads (`other`), by the space they are taken in.

    The trap: a cosine near 1 says that two pictures point the same way, not that nothing tells them apart. A cone holds all
    pictures close together, so only the distance between `own` and `other` compares across spaces.
    """

    own: Mapping[str, Spread]
    other: Mapping[str, Spread]
    differences: Mapping[str, Interval]

    def table(self) -> Table:
        rows = []
        for name, own in self.own.items():
            other, gap = self.other[name], self.differences[f"{name}: own − other quads"]
            quartiles = " – ".join(f"{each:.3f}" for each in own.quartiles)
            cells = (str(own.mean), quartiles, str(other.mean), str(gap), str(own.mean.n))
            rows.append((name, *cells))
        header = ("space", "same quad [95 %]", "quartiles", "two quads [95 %]", "difference [95 %]", "n")
        return Table("Cosine of two pictures", header, tuple(rows))


def measured_ladder() -> Ladder:
    """What `recipes/measure_sail.py` stored: EfficientNet-Lite2 and MiniLM on drawings, three seeds."""
    rows = _rows()
    rungs = {
        name: {what: _interval(each) for what, each in row["recalls"].items()} for name, row in rows["ladder"].items()
    }
    steps = {name: {what: _interval(each) for what, each in row.items()} for name, row in rows["steps"].items()}
    told = {name: row["recalls"] for name, row in rows["ladder"].items()} | {
        f"{name}, added": row for name, row in rows["steps"].items()
    }
    by_seed = {name: {what: tuple(each["by_seed"]) for what, each in row.items()} for name, row in told.items()}
    return Ladder(rungs, steps, by_seed, {name: row["parameters"] for name, row in rows["ladder"].items()})


def measured_bars() -> SwapBars:
    """What `recipes/measure_sail.py` stored of swap quads: the shipped models, scenes-clip, and the ladder's end."""
    rows = _rows()["swap quads"]
    return SwapBars(
        {
            name: {
                score: {category: _interval(each) for category, each in found.items()} for score, found in row.items()
            }
            for name, row in rows.items()
        }
    )


def measured_cosines() -> PairCosines:
    """What `recipes/measure_sail.py` stored of cosines within a quad."""
    rows = _rows()
    sides = ({name: _spread(row[side]) for name, row in rows["pair cosines"].items()} for side in ("own", "other"))
    return PairCosines(*sides, {name: _interval(each) for name, each in rows["cosine differences"].items()})


def _rows() -> dict:
    return json.loads((paths.assets() / "results" / RESULT).read_text(encoding="utf-8"))["rows"]


def _interval(row: Mapping) -> Interval:
    return Interval(*(row[key] for key in ("mean", "low", "high", "n")))


def _spread(row: Mapping) -> Spread:
    return Spread(_interval(row), tuple(row["quartiles"]), np.array(row["counts"]))


def _percent(each: Interval) -> str:
    return f"{100 * each.mean:.1f} [{100 * each.low:.1f}, {100 * each.high:.1f}]"
