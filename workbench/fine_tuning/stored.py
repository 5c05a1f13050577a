"""Fine-tuning as it was measured here: what `recipes/fine_tune_scenes.py` stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.evaluation.statistics import Interval, percent
from workbench.fine_tuning.evaluation import COMPOSITION, SIDES, ZERO_SHOT
from workbench.records import Record, Table
from workbench.stored import intervals, one_of, stored_result

RESULT = "fine_tuning.json"
SHOWN = (*SIDES, "swap quads")
FULL, BEFORE = "setting 6", "before"
LABELS = {
    BEFORE: "before tuning",
    "contrast alone": "contrast alone",
    "NegCLIP": "NegCLIP",
    "setting 1": "1 global",
    "setting 2": "2 local",
    "setting 3": "3 both",
    "setting 4": "4 both, focal",
    "setting 5": "5 both, smoothing",
    "setting 6": "6 all: FSC-CLIP",
    "setting 7": "7 all but local",
    "setting 8": "8 all but global",
    "LoRA": "FSC-CLIP by LoRA",
}


@dataclass(frozen=True, eq=False)
class Ablation(Record):
    """sides[setting][side]: percent right as fractions, means over seeds with intervals over items; `by_seed` beside them.

    Sides are composition, zero-shot and retrieval both ways, and composition's two parts; measures[setting][side][measure]
    what they are means of; differences[what][side] paired by item, `difference_seeds` of every seed. `sweeps` and `normalisers`
    are differences from setting 6 (or, by their name, from the local loss alone) of one seed; `paths[method][alpha][side]`
    weights that were mixed with those before; `blind[setting]` choices with another picture, which wording alone decides.
    """

    sides: Mapping[str, Mapping[str, Interval]]
    by_seed: Mapping[str, Mapping[str, tuple[float, ...]]]
    measures: Mapping[str, Mapping[str, Mapping[str, Interval]]]
    differences: Mapping[str, Mapping[str, Interval]]
    difference_seeds: Mapping[str, Mapping[str, tuple[float, ...]]]
    sweeps: Mapping[str, Mapping[str, Interval]]
    normalisers: Mapping[str, Mapping[str, Interval]]
    paths: Mapping[str, Mapping[float, Mapping[str, Interval]]]
    blind: Mapping[str, Interval]
    rates: Mapping[str, Mapping[str, float]]

    def labelled(self, sides: Sequence[str] = SIDES) -> dict[str, dict[str, Interval]]:
        """Every setting but the model before by its label: what `plots.ablation` draws."""
        shown = (name for name in LABELS if name != BEFORE)
        return {LABELS[name]: {side: self.sides[name][side] for side in sides} for name in shown}

    def seeds(self, sides: Sequence[str] = SIDES) -> dict[str, dict[str, tuple[float, ...]]]:
        shown = (name for name in LABELS if name != BEFORE)
        return {LABELS[name]: {side: self.by_seed[name][side] for side in sides} for name in shown}

    def before(self, sides: Sequence[str] = SIDES) -> dict[str, float]:
        return {side: self.sides[BEFORE][side].mean for side in sides}

    def spokes(self, settings: Sequence[str]) -> dict[str, dict[str, float]]:
        """Every measure of composition and the other sides' means: what `plots.radar` draws. Raises ValueError for a setting
        that was not measured."""
        found = {}
        for name in settings:
            measures = one_of(self.measures, name, "setting")[COMPOSITION]
            sides = {side: self.sides[name][side].mean for side in SIDES[1:]}
            short = {each.replace("swap quads: ", "quads, ").replace("choose: ", ""): m for each, m in measures.items()}
            found[LABELS[name]] = {each: m.mean for each, m in short.items()} | sides
        return found

    def path(self, method: str, y: str = COMPOSITION, x: str = ZERO_SHOT) -> list[tuple[float, Interval, Interval]]:
        """(alpha, x, y) from the model before to the tuned one: what `plots.trade_off` draws. Raises ValueError for a method
        whose path was not measured."""
        between = one_of(self.paths, method, "path")
        ends = {0.0: self.sides[BEFORE], **between, 1.0: self.sides[method]}
        return [(alpha, ends[alpha][x], ends[alpha][y]) for alpha in sorted(ends)]

    def table(self) -> Table:
        rows = [
            (LABELS[name], *(_told(self.sides[name][side]) for side in SIDES), _spread(self.by_seed[name]))
            for name in LABELS
        ]
        n = " / ".join(f"{self.sides[BEFORE][side].n:,}" for side in SIDES)
        header = ("setting", *SIDES, "furthest seeds apart")
        return Table(f"Percent right [95 %], means of 3 seeds, n = {n}", header, tuple(rows))

    def naming(self) -> Table:
        """What zero-shot is a mean of."""
        names = tuple(self.measures[BEFORE][ZERO_SHOT])
        rows = [(LABELS[key], *(_told(self.measures[key][ZERO_SHOT][name]) for name in names)) for key in LABELS]
        return Table("Naming single objects, percent [95 %], means of 3 seeds", ("setting", *names), tuple(rows))

    def parts(self) -> Table:
        """Composition's two halves, and how many choices wording decides without the picture."""
        halves = ("swap quads", "choices")
        rows = [
            (LABELS[name], *(_told(self.sides[name][side]) for side in halves), _told(self.blind[name]))
            for name in LABELS
        ]
        header = ("setting", "swap quads (chance 16.7)", "choices (chance 50)", "choices, another picture")
        return Table("Composition by its halves, percent [95 %], means of 3 seeds", header, tuple(rows))

    def against(self, *what: str) -> Table:
        """Paired differences in points, by what they compare. Raises ValueError for what was not compared.

        The trap: an interval over items holds no other training; the lowest and highest seed behind it do.
        """
        rows = [(each, *self._with_seeds(each)) for each in what]
        caption = "Differences in points [95 % over items], paired by item, and the lowest and highest of 3 seeds"
        return Table(caption, ("what", *SHOWN), tuple(rows))

    def _with_seeds(self, what: str) -> list[str]:
        found, seeds = one_of(self.differences, what, "difference"), self.difference_seeds[what]
        ends = {side: (min(seeds[side]), max(seeds[side])) for side in SHOWN}
        return [f"{_told(found[side])} {100 * ends[side][0]:.1f} … {100 * ends[side][1]:.1f}" for side in SHOWN]

    def strengths(self) -> Table:
        """gamma, beta, the local weight and the attention's normaliser, against setting 6 of the same seed."""
        rows = [
            (name, *(_told(row[side]) for side in SHOWN)) for name, row in {**self.sweeps, **self.normalisers}.items()
        ]
        caption = "Differences in points [95 %] from FSC-CLIP (local alone: from setting 2), one seed"
        return Table(caption, ("changed", *SHOWN), tuple(dict.fromkeys(rows)))


def _told(found: Interval) -> str:
    return percent(found.mean, (found.low, found.high), digits=1)


def _spread(by_seed: Mapping[str, Sequence[float]]) -> str:
    """The largest distance between two seeds, of any side."""
    return f"{100 * max(max(each) - min(each) for side, each in by_seed.items() if side in SIDES):.1f}"


def measured_ablation() -> Ablation:
    """What `recipes/fine_tune_scenes.py` stored."""
    rows = stored_result(RESULT)["rows"]
    settings = rows["settings"]
    return Ablation(
        {name: intervals(row["sides"]) for name, row in settings.items()},
        {name: {s: tuple(each["by_seed"]) for s, each in row["sides"].items()} for name, row in settings.items()},
        {name: intervals(row["measures"]) for name, row in settings.items()},
        intervals(rows["differences"]),
        {what: {s: tuple(each["by_seed"]) for s, each in row.items()} for what, row in rows["differences"].items()},
        intervals(rows["sweeps"]),
        intervals(rows["normalisers"]),
        {name: {float(a): intervals(row) for a, row in path.items()} for name, path in rows["paths"].items()},
        {name: intervals(row["choices, another picture"]) for name, row in settings.items()},
        rows["rates"],
    )
