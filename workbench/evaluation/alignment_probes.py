"""Does a probe of one tower tell how well it aligns? Correlations, and what they lean on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from workbench.evaluation.statistics import (
    Correlation,
    Interval,
    as_array,
    check_numbers,
    correlation_difference,
    leave_out,
    pearson,
    spearman,
)
from workbench.records import Record, Table

KINDS = {"Pearson": pearson, "Spearman": spearman}


@dataclass(frozen=True, eq=False)
class ProbeCorrelations(Record):
    """n towers with what probes say of them and how well they align, and how far one tells the other.

    `probes` {probe: (n,)}, `alignment` (n,) and its `intervals` (n, 2) where known, as they were given. By kind ("Pearson",
    "Spearman") and probe: `r`, `without` {family: Correlation}; and of all probes but the first `gap`, the first one's r minus
    this one's, and `gap_without` {family: Interval}. A family without which fewer than three towers remain is in neither.
    `networks`: how many there are where several towers are layers or steps of one; intervals of `r` and `gap` are over these.
    """

    title: str
    names: tuple[str, ...]
    families: tuple[str, ...]
    probes: Mapping[str, np.ndarray]
    alignment: np.ndarray
    intervals: np.ndarray | None
    r: Mapping[str, Mapping[str, Correlation]]
    without: Mapping[str, Mapping[str, Mapping[str, Correlation]]]
    gap: Mapping[str, Mapping[str, Interval]]
    gap_without: Mapping[str, Mapping[str, Mapping[str, Interval]]]
    networks: int | None = None

    def table(self) -> Table:
        first = next(iter(self.probes))
        header = ("probe", "r", "[95 %]", "without any one tower", "without any one family", f"{first} minus this")
        rows = tuple(self._row(kind, probe) for kind in KINDS for probe in self.probes)
        families = len(dict.fromkeys(self.families))
        of = f"{families} families" if self.networks is None else f"{self.networks} networks, {families} families"
        return Table(f"{self.title}: {len(self.names)} towers of {of}", header, rows)

    def left_out(self) -> Table:
        """r without each family, by kind and probe, and the differences from the first probe's."""
        first, *others = self.probes
        header = ["without", "towers"]
        columns = []
        for kind in KINDS:
            header += [*(f"{kind}, {probe}" for probe in self.probes), *(f"{first} minus {probe}" for probe in others)]
            columns += [self.without[kind][probe] for probe in self.probes]
            columns += [self.gap_without[kind][probe] for probe in others]
        rows = [
            (family, str(self.families.count(family)), *(_told(column.get(family)) for column in columns))
            for family in dict.fromkeys(self.families)
        ]
        return Table(f"{self.title}: r without one family", tuple(header), tuple(rows))

    def _row(self, kind: str, probe: str) -> tuple[str, ...]:
        found, without = self.r[kind][probe], self.without[kind][probe]
        ends = "{:.3f} to {:.3f}".format(*found.leave_one_out)
        lowest = min(without, key=lambda family: without[family].r, default=None)
        told = "–" if lowest is None else f"lowest {without[lowest].r:.3f}, without {lowest}"
        gap = self.gap[kind].get(probe)
        return (
            f"{probe}, {kind}",
            f"{found.r:.3f}",
            f"[{found.low:.3f}, {found.high:.3f}]",
            ends,
            told,
            "–" if gap is None else _told(gap),
        )


def _told(found: Correlation | Interval | None) -> str:
    if found is None:
        return "too few left"
    if isinstance(found, Interval):
        return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
    return f"{found.r:.3f} [{found.low:.3f}, {found.high:.3f}]"


def probe_correlations(
    names: Sequence[str],
    families: Sequence[str],
    probes: Mapping[str, Sequence[float]],
    alignment: Sequence[float],
    *,
    intervals=None,
    networks: Sequence[str] | None = None,
    title: str = "Probes and alignment",
    resamples: int = 2000,
    seed: int = 0,
) -> ProbeCorrelations:
    """Correlate each of `probes` {probe: (n,)} with `alignment` (n,) over n towers of some families, n ≥ 3.

    The question of SAIL (arXiv 2412.04616, part 1): its k-NN accuracies correlate with alignment at r = 0.99, its linear
    probes at 0.85. The trap: three towers of one family can make such an r; read `without` and the difference's interval.
    `intervals` (n, 2) of the alignment are for figures. `networks` (n,) names the network that each tower is a reading of:
    layers and steps of one are not independent, and are drawn together then. Raises ValueError for unequal lengths, no probe,
    or as `pearson` does.
    """
    families, alignment = tuple(map(str, families)), as_array(alignment)
    values = {str(probe): as_array(each) for probe, each in probes.items()}
    n = len(names)
    shapes = {"families": (len(families),), "alignment": alignment.shape, **{k: v.shape for k, v in values.items()}}
    if wrong := [f"{what} {shape}" for what, shape in shapes.items() if shape != (n,)]:
        raise ValueError(f"{n} names but {', '.join(wrong)}; give one of each for every tower")
    if not values:
        raise ValueError("no probe to correlate; give at least one, {'k-NN': accuracies}")
    of_each = partial(
        _of_each, list(values.items()), alignment, families, {"resamples": resamples, "seed": seed}, networks
    )
    r, without, gap, gap_without = zip(*(of_each(kind) for kind in KINDS), strict=True)
    kinds = lambda found: dict(zip(KINDS, found, strict=True))  # noqa: E731
    return ProbeCorrelations(
        title,
        tuple(map(str, names)),
        families,
        values,
        alignment,
        _intervals(intervals, n),
        kinds(r),
        kinds(without),
        kinds(gap),
        kinds(gap_without),
        None if networks is None else len(set(networks)),
    )


def _of_each(
    probes: list[tuple[str, np.ndarray]], y: np.ndarray, families: tuple[str, ...], options: dict, networks, kind: str
):
    """r, r without each family, and both of the first probe minus the others."""
    of, several = KINDS[kind], len(set(families)) > 1
    (_, first), *others = probes
    without = {name: leave_out(x, y, families, of, **options) if several else {} for name, x in probes}

    def gap(x: np.ndarray, rest=slice(None), groups=None) -> Interval:
        return correlation_difference(
            first[rest], x[rest], y[rest], ranked=kind == "Spearman", groups=groups, **options
        )

    left = {family: np.array([each != family for each in families]) for family in without[probes[0][0]]}
    return (
        {name: of(x, y, groups=networks, **options) for name, x in probes},
        without,
        {name: gap(x, groups=networks) for name, x in others},
        {name: {family: gap(x, rest) for family, rest in left.items()} for name, x in others},
    )


def _intervals(intervals, n: int) -> np.ndarray | None:
    if intervals is None:
        return None
    found = as_array(intervals)
    if found.shape != (n, 2):
        raise ValueError(f"intervals of shape {found.shape} for {n} towers; give (n, 2), low and high")
    check_numbers(found, "ends of intervals")
    return found
