"""A model on retrieval within one modality: a band chosen on one half, judged on the other, beside what it has to beat."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
    usual_band,
)
from workbench.spectral.baselines import PLAIN
from workbench.spectral.operators import Modality

if TYPE_CHECKING:
    from torch import Tensor

    from workbench.models.dual_encoder import DualEncoder

RESULT = "isoclip.json"
CHOSEN = "chosen by labels"
SHOWN = ("IsoCLIP, authors' shares", f"IsoCLIP, {CHOSEN}", f"one projector's band, {CHOSEN}", "without top components")


@dataclass(frozen=True, eq=False)
class IntraModal:
    """What `measure` finds: sweep and choice on the choosing set, readouts on the judging one, and the bands by name."""

    sweep: BandSweep
    choice: BandChoice
    readouts: ReadoutTable
    bands: Mapping[str, Band]


def measure(
    model: DualEncoder,
    choosing: Labelled,
    judging: Labelled,
    *,
    modality: Modality = "image",
    class_names: Sequence[str] | None = None,
    seed: int = 0,
) -> IntraModal:
    """Sweep and choose a band by the labels of one set, then compare every readout on another that chose nothing.

    `class_names` are the texts behind the class-name PCA; without them that row is left out. Raises ValueError where the model
    lacks a projector, or both sets are the same.
    """
    if choosing is judging:
        raise ValueError("choosing and judging are the same set; split it, for example with halves()")
    spectrum = decompose(model.image_projector, model.text_projector)
    anchors = None if class_names is None else model.encode_text(class_names).post
    sides = [(encoded(model, data, modality), data.labels) for data in (choosing, judging)]
    title = f"{model.name}, {judging.name}"
    named = named_bands(model.card.source, spectrum, modality)
    return measure_features(spectrum, *sides, named, modality=modality, anchors=anchors, title=title, seed=seed)


def measure_features(
    spectrum: ProjectorSpectrum,
    choosing: tuple[Tensor, Sequence],
    judging: tuple[Tensor, Sequence],
    named: Mapping[str, Band],
    *,
    modality: Modality = "image",
    anchors: Tensor | None = None,
    title: str = "Readouts",
    seed: int = 0,
) -> IntraModal:
    """`measure` on features at hand: (pre (N, d_in), labels (N,)) of both sets, and bands that were not chosen by labels."""
    sweep = band_sweep(spectrum, *choosing, modality=modality)
    choice = sweep.choose(seed=seed)
    bands = {**named, CHOSEN: choice.band}
    found = readouts(spectrum, choosing[0], bands, modality=modality, anchors=anchors)
    return IntraModal(sweep, choice, compare_readouts(found, *judging, title=title, seed=seed), bands)


def named_bands(source: str, spectrum: ProjectorSpectrum, modality: Modality) -> dict[str, Band]:
    """The bands that need no labels: the authors' for this backbone, or else their shares for ViT-B/32; the largest gaps."""
    known = author_band(source, modality)
    name = "authors' band" if known else "authors' shares"
    top, bottom = usual_band(spectrum.rank, modality)
    shares = Band(top, bottom + spectrum.r - spectrum.rank if bottom else 0)  # what is empty goes with the bottom
    return {name: known or shares, "largest gaps": largest_gap(spectrum)}


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
    statement = "mAP of OpenAI's ViT-B/32 with its band (150, 50), by an independent rerun"
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
