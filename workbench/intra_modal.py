"""A model on retrieval within one modality: a band chosen on one half, judged on the other, beside what it has to beat."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from workbench import paths
from workbench.claims import Claim
from workbench.data.labelled import Labelled, class_folders
from workbench.evaluation.statistics import Interval
from workbench.records import Record, Table
from workbench.spectral import (
    Band,
    BandChoice,
    BandSweep,
    ProjectorSpectrum,
    ReadoutSummary,
    ReadoutTable,
    author_band,
    band_sweep,
    compare_readouts,
    decompose,
    largest_gap,
    readouts,
    tuned_readouts,
    usual_band,
)
from workbench.spectral.baselines import PLAIN
from workbench.spectral.choice import verdict
from workbench.spectral.operators import Modality

if TYPE_CHECKING:
    from torch import Tensor

    from workbench.models.dual_encoder import DualEncoder

RESULT = "isoclip.json"
CHOSEN = "chosen by labels"
SHARES = "ViT-B/32's shares"
SHOWN = (f"IsoCLIP, {SHARES}", f"IsoCLIP, {CHOSEN}", f"one projector, {CHOSEN}", f"without top components, {CHOSEN}")


@dataclass(frozen=True, eq=False)
class IntraModal(Record):
    """What `measure` finds: sweep and choice on the choosing set, readouts on the judging one, and the bands by name."""

    sweep: BandSweep
    choice: BandChoice
    readouts: ReadoutTable
    bands: Mapping[str, Band]

    @property
    def verdict(self) -> str:
        """Whether the band that labels chose is "better", "WORSE" or "unclear" beside no filtering, on the judging set."""
        return verdict(self.readouts.difference(f"IsoCLIP, {CHOSEN}"))

    def table(self) -> Table:
        table = self.readouts.table()
        chosen = f"band {tuple(self.choice.band)} chosen by labels, on other items: {self.verdict}"
        return Table(f"{table.caption}; {chosen}", table.header, table.rows)


def measure(
    model: DualEncoder,
    choosing: Labelled,
    judging: Labelled,
    *,
    modality: Modality = "image",
    class_names: Sequence[str] | None = None,
    most: int = 1000,
    seed: int = 0,
) -> IntraModal:
    """Sweep and choose a band by the labels of one set, then compare every readout on another that chose nothing.

    `class_names` are the texts behind the class-name PCA; without them that row is left out. At most `most` items of the
    choosing set are queries of the sweep; all are its gallery. Raises ValueError where the model lacks a projector, the sets
    share items, or a label comes once.
    """
    _check_sets(choosing, judging, modality)
    spectrum = decompose(model.image_projector, model.text_projector)
    anchors = None if class_names is None else model.encode_text(class_names).post
    sides = [Features(encoded(model, data, modality), data.labels, data.groups) for data in (choosing, judging)]
    options = {"modality": modality, "anchors": anchors, "title": f"{model.name}, {judging.name}"}
    named = named_bands(model.card.source, spectrum, modality)
    return measure_features(spectrum, *sides, named, **options, most=most, seed=seed)


class Features(NamedTuple):
    """`pre` features (N, d_in) with labels (N,) and, where items belong together, groups (N,)."""

    pre: Tensor
    labels: Sequence
    groups: Sequence | None = None


def measure_features(
    spectrum: ProjectorSpectrum,
    choosing: Features | tuple,
    judging: Features | tuple,
    named: Mapping[str, Band],
    *,
    modality: Modality = "image",
    anchors: Tensor | None = None,
    title: str = "Readouts",
    most: int | None = None,
    seed: int = 0,
) -> IntraModal:
    """`measure` on features at hand, with bands by name that were not chosen by labels; plain tuples do for `Features`."""
    choosing, judging = Features(*choosing), Features(*judging)
    sweep = band_sweep(
        spectrum, choosing.pre, choosing.labels, modality=modality, groups=choosing.groups, most=most, seed=seed
    )
    choice = sweep.choose(seed=seed)
    bands = {**named, CHOSEN: choice.band}
    found = readouts(spectrum, choosing.pre, bands, modality=modality, anchors=anchors)
    found += tuned_readouts(spectrum, choosing.pre, choosing.labels, modality=modality, most=most)
    table = compare_readouts(found, judging.pre, judging.labels, groups=judging.groups, title=title, seed=seed)
    return IntraModal(sweep, choice, table, bands)


def named_bands(source: str, spectrum: ProjectorSpectrum, modality: Modality) -> dict[str, Band]:
    """The bands that need no labels: the authors' for this backbone, or else their shares for ViT-B/32; the largest gaps."""
    known = author_band(source, modality)
    first = {"authors' band": known} if known else {SHARES: usual_band(spectrum, modality)}
    return {**first, "largest gaps": largest_gap(spectrum)}


def _check_sets(choosing: Labelled, judging: Labelled, modality: str) -> None:
    if modality not in ("image", "text"):
        raise ValueError(f"modality={modality!r}; choose 'image' or 'text'")
    # Two pictures may well have the same words, but not the same file.
    paths = [{str(item) for item in data.items if isinstance(item, (str, Path))} for data in (choosing, judging)]
    if choosing is judging or (modality == "image" and paths[0] & paths[1]):
        raise ValueError("choosing and judging share items; split one set, for example with halves()")
    for data in (choosing, judging):
        names, counts = np.unique(data.labels, return_counts=True)
        if (counts < 2).any():
            raise ValueError(
                f"label {str(names[counts < 2][0])!r} comes once in {data.name}; leave such items out (`labelled`)"
            )


def encoded(model: DualEncoder, data: Labelled, modality: Modality) -> Tensor:
    """`pre` features (N, d_in) of labelled pictures or captions."""
    if modality == "image":
        return model.encode_image(data.items, batch_size=128).pre
    return model.encode_text(data.items).pre


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


def cub(folder: str | Path | None) -> ReadoutTable:
    """CUB-200-2011, all against all, OpenAI's ViT-B/32, the authors' band: the one published setting that a folder decides.

    `folder` holds a directory of pictures for each class. Raises FileNotFoundError where it is not there, ConnectionError where
    the weights are not.
    """
    from workbench.models.registry import load_model

    if folder is None:
        raise FileNotFoundError(
            "no folder of CUB-200-2011 is named; give the one that holds a directory for each class"
        )
    data, model = class_folders(folder), load_model("open_clip:ViT-B-32/openai")
    spectrum = decompose(model.image_projector, model.text_projector)
    pre = encoded(model, data, "image")
    found = readouts(spectrum, pre, {"authors' band": author_band(model.card.source)})
    return compare_readouts(found, pre, data.labels, title=f"{model.name}, {data.name}")


def cub_claim(found: ReadoutTable | None) -> Claim:
    """What `cub` gave against 27.03 of an independent rerun; None where it could not run."""
    at = {"paper": "arXiv 2603.19862", "scale": "CUB-200-2011, all against all", "margin": 0.005}
    statement = "mAP of OpenAI's ViT-B/32 with its band (150, 50), by an independent rerun that a machine wrote up"
    if found is None:
        return Claim(
            "I21",
            kind="equivalence",
            statement=statement,
            expected=0.2703,
            measured=None,
            n=0,
            seeds=(),
            interval=None,
            **at,
        )
    mean = found.summary()["IsoCLIP, authors' band"].mean
    return Claim(
        "I21", kind="equivalence", statement=statement, expected=0.2703, measured=mean.mean, n=mean.n, seeds=(mean.mean,),
        interval=(mean.low, mean.high), **at
    )  # fmt: skip
