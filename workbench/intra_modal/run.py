"""A model on retrieval within one modality: a band chosen on one half, judged on the other, beside what it has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from workbench.data.labelled import Labelled
from workbench.records import Record, Table
from workbench.spectral import (
    Band,
    BandChoice,
    BandSweep,
    ProjectorSpectrum,
    ReadoutTable,
    author_band,
    band_sweep,
    band_variants,
    compare_readouts,
    decompose,
    largest_gap,
    readouts,
    tuned_readouts,
    usual_band,
)
from workbench.spectral.choice import verdict
from workbench.spectral.operators import Modality

if TYPE_CHECKING:
    from torch import Tensor

    from workbench.models.dual_encoder import DualEncoder

CHOSEN = "chosen by labels"
SHARES = "ViT-B/32's shares"


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
    found += band_variants(spectrum, CHOSEN, choice.band, modality=modality)
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
