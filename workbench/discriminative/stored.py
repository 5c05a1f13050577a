"""VladVA's ladder as it was measured here: what `recipes/tune_scenes_lvlm.py` and `recipes/look_into_lvlm.py` stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp

import numpy as np

from workbench.discriminative.readings import PromptReading, reading_of
from workbench.evaluation.statistics import Interval, percent
from workbench.fine_tuning.evaluation import TO_IMAGE, TO_TEXT
from workbench.records import Record, Table
from workbench.stored import intervals, one_of, stored_result

RESULT = "discriminative.json"
BEFORE, BOTH, ALL = "before", "both", "both, next token"
LONG = "long captions in the contrast"
LABELS = {
    BEFORE: "before tuning",
    "soft prompts": "soft prompts",
    "LoRA": "LoRA",
    BOTH: "both",
    ALL: "both + next token",
}
SHOWN = (TO_TEXT, TO_IMAGE, "swap", "swap quads")
NET = "swap, net"  # of choices with another's picture, which wording alone decides
BEHIND = "f1 behind its prompt"
INSIDE = ("entropy of pictures", "entropy of captions", "support", "share", BEHIND)
STARTS = {"E5-V": "E5-V's words", "plain": "“describe the picture”"}


@dataclass(frozen=True, eq=False)
class Ladder(Record):
    """One start of the ladder, rungs by name (`LABELS`): means over seeds with intervals over items, `by_seed` beside them.

    sides[rung][side] are fractions (`SHOWN` and more), `nats` the loss a token of true long captions, `f1` of captions of its
    own; differences[what][side] paired by item. `inside[rung]` what its summary does, `rank[rung][modality]` of each seed,
    `readings[rung]` seed 0's, `maps[rung]` its attention (pictures, heads, P); `contrast[kind]` losses of short and long captions
    by step, and `until` the steps to 0.05; `told` what is true and what rungs tell of it.
    """

    start: str
    sides: Mapping[str, Mapping[str, Interval]]
    by_seed: Mapping[str, Mapping[str, tuple[float, ...]]]
    nats: Mapping[str, Interval]
    f1: Mapping[str, Interval]
    differences: Mapping[str, Mapping[str, Interval]]
    difference_seeds: Mapping[str, Mapping[str, tuple[float, ...]]]
    share: Mapping[str, Interval]
    inside: Mapping[str, Mapping[str, Interval]]
    changes: Mapping[str, Mapping[str, Interval]]
    rank: Mapping[str, Mapping[str, tuple[float, ...]]]
    readings: Mapping[str, PromptReading]
    maps: Mapping[str, np.ndarray]
    contrast: Mapping[str, tuple[float, ...]]
    until: Mapping[str, tuple[int | None, ...]]
    told: Sequence[Mapping[str, str]]

    def labelled(self, sides: Sequence[str] = SHOWN) -> dict[str, dict[str, Interval]]:
        """Every rung but the model before by its label: what `plots.ablation` draws."""
        return {LABELS[name]: {side: self.sides[name][side] for side in sides} for name in LABELS if name != BEFORE}

    def seeds(self, sides: Sequence[str] = SHOWN) -> dict[str, dict[str, tuple[float, ...]]]:
        return {LABELS[name]: {side: self.by_seed[name][side] for side in sides} for name in LABELS if name != BEFORE}

    def before(self, sides: Sequence[str] = SHOWN) -> dict[str, float]:
        return {side: self.sides[BEFORE][side].mean for side in sides}

    def table(self) -> Table:
        rows = [
            (
                LABELS[name],
                *(_told(self.sides[name][side]) for side in SHOWN),
                f"{exp(self.nats[name].mean):.3f}",
                _told(self.f1[name]),
                _told(self.inside[name][BEHIND]),
            )
            for name in LABELS
        ]
        n = " / ".join(f"{self.sides[BEFORE][side].n:,}" for side in SHOWN)
        caption = f"From {STARTS[self.start]}: percent [95 %], means of 3 seeds, n = {n}; F1 of {self.f1[BEFORE].n}"
        return Table(
            caption, ("what learns", *SHOWN, "perplexity", "F1 of captions", "asked by its prompt"), tuple(rows)
        )

    def against(self, *what: str) -> Table:
        """Paired differences in points, by what they compare. Raises ValueError for what was not compared.

        The trap: an interval over items holds no other training; the lowest and highest seed behind it do.
        """
        rows = [(each, *self._with_seeds(each)) for each in what]
        caption = f"From {STARTS[self.start]}: points [95 % over items], lowest and highest of 3 seeds"
        return Table(caption, ("what", *SHOWN, NET), tuple(rows))

    def _with_seeds(self, what: str) -> list[str]:
        found, seeds = one_of(self.differences, what, "difference"), self.difference_seeds[what]
        return [
            f"{_told(found[side])} {100 * min(seeds[side]):.1f} … {100 * max(seeds[side]):.1f}"
            for side in (*SHOWN, NET)
        ]

    def captions(self, *rows: int) -> Table:
        """What is there, and what is told of it before tuning and after, seed 0 (VladVA's figure 7). Raises IndexError."""
        named = {"there": "true", **{LABELS[name]: name for name in (BEFORE, BOTH, ALL)}}
        lines = [
            (what, self.told[row][key] or "(nothing)")
            for row in rows or range(len(self.told))
            for what, key in named.items()
        ]
        return Table(
            f"From {STARTS[self.start]}, asked to describe the picture in detail", ("who", "says"), tuple(lines)
        )

    def within(self) -> Table:
        """What the summary does by rung: openness of the next word, directions, and how widely it looks."""
        rows = [
            (
                LABELS[name],
                *(_number(self.inside[name][each]) for each in INSIDE[:3]),
                _told(self.inside[name]["share"]),
                *(_mean(self.rank[name][side]) for side in ("pictures", "captions")),
            )
            for name in LABELS
        ]
        header = ("what learns", "entropy, pictures", "captions", "effective support of 16", "percent on the picture")
        caption = f"From {STARTS[self.start]}: entropy in nats [95 %], means of 3 seeds, n = {self.inside[BEFORE]['support'].n}"
        return Table(caption, (*header, "effective rank, pictures", "captions"), tuple(rows))


def measured_ladder(start: str = "E5-V") -> Ladder:
    """What was stored of one start, "E5-V" or "plain". Raises ValueError for another."""
    rows = stored_result(RESULT)["rows"]
    own = one_of(rows["ladder"], start, "start")
    inside, contrast = rows["inside"][start], rows["contrast"][start]
    return Ladder(
        start,
        {name: intervals(row["sides"]) for name, row in own.items()},
        {name: _seeds(row["sides"]) for name, row in own.items()},
        {name: intervals(row["nats"]) for name, row in own.items()},
        {name: intervals(row["f1"]) for name, row in own.items()},
        intervals(rows["differences"][start]),
        {what: _seeds(row) for what, row in rows["differences"][start].items()},
        intervals(rows["share of the gain"][start]),
        {name: {each: intervals(row[each]) for each in INSIDE} for name, row in inside.items()},
        intervals(rows["changes inside"][start]),
        {name: {side: tuple(each) for side, each in row["rank"].items()} for name, row in inside.items()},
        {name: reading_of(row["reading"]) for name, row in inside.items()},
        {name: np.array(row["maps"]) for name, row in inside.items()},
        {kind: tuple(row["losses"]) for kind, row in contrast.items()},
        {kind: tuple(row["steps until 0.05"]) for kind, row in contrast.items()},
        rows["told"][start],
    )


def _seeds(row: Mapping[str, Mapping]) -> dict[str, tuple[float, ...]]:
    return {side: tuple(each["by_seed"]) for side, each in row.items()}


def _told(found: Interval) -> str:
    return percent(found.mean, (found.low, found.high), digits=1)


def _number(found: Interval) -> str:
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _mean(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{sum(values) / len(values):.1f}" + ("" if low == high else f" ({low:.1f} … {high:.1f})")
