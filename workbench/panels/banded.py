"""Pictures read in a band of their model's spectrum: who is nearest before and after, and what it does to mAP."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from workbench.evaluation.label_retrieval import label_precisions
from workbench.evaluation.statistics import Interval, bootstrap, paired_difference
from workbench.models.batches import whole
from workbench.panels import neighbours
from workbench.panels.neighbours import Hit
from workbench.records import Record, Table
from workbench.spectral.choice import verdict
from workbench.spectral.operators import with_ones
from workbench.spectral.spectrum import Band, ProjectorSpectrum

SHOWN = 8


@dataclass(frozen=True)
class State:
    """What the controls say: the query's index, and how many directions are left out at either end."""

    query: int
    k_top: int
    k_bottom: int


@dataclass(frozen=True)
class Quality(Record):
    """Mean average precision over the panel's fixed queries as trained and in a band, and their paired difference."""

    before: Interval
    after: Interval
    difference: Interval
    gallery: int
    seed: int

    @property
    def verdict(self) -> str:
        found = verdict(self.difference)
        return "no clear difference" if found == "unclear" else f"{found} with the band"

    def summary(self) -> str:
        """One sentence; a mean over n queries without its interval would say too much."""
        low, high = (f"{100 * each:+.1f}" for each in (self.difference.low, self.difference.high))
        return (
            f"mAP {100 * self.before.mean:.1f} → {100 * self.after.mean:.1f} percent, n = {self.before.n} queries: "
            f"{self.verdict} ({100 * self.difference.mean:+.1f} points, 95 % interval {low} to {high}, paired)."
        )

    def table(self) -> Table:
        caption = f"mAP, percent: {self.before.n} queries drawn with seed {self.seed}, gallery of {self.gallery}"
        named = (("as trained", self.before), ("in the band", self.after), ("difference", self.difference))
        return Table(caption, ("projector", "mAP [95 %]"), tuple((name, each.percent()) for name, each in named))


@dataclass(frozen=True)
class View:
    """What there is to see of a state: the nearest others as trained and in the band, and (once known) the quality."""

    state: State
    band: Band
    before: tuple[Hit, ...]
    after: tuple[Hit, ...]
    quality: Quality | None = None


class BandedPictures:
    """What a spectrum panel computes: `listed(state)` at once, `judged(view)` with the mean over the fixed queries `rows`.

    Only the band changes from move to move: features are kept in the basis of U, what the model was trained to say once.
    """

    def __init__(self, spectrum: ProjectorSpectrum, labels: Sequence[Hashable], n: int, queries: int, seed: int):
        self.spectrum, self.seed = spectrum, seed
        self.labels, self.codes = _coded(labels, n)
        self.rows = _drawn(self.codes, queries, seed)

    def read(self, pre: Tensor) -> None:
        """What no move of a slider changes. Raises ValueError for features (N, d_i) of another number or width, or zeros."""
        side = self.spectrum.image
        trained = with_ones(pre, side, "image features") @ side.matrix.T
        if len(trained) != len(self.labels):
            raise ValueError(f"pre has {len(trained)} rows for {len(self.labels)} pictures; give one for each")
        self._before = _with_norms(trained.float(), "as trained")
        self._precisions = self._precisions_of(self._before[0])
        self._mean = bootstrap(self._precisions, seed=self.seed)
        self.reader = self.spectrum.read(pre, "image")
        self._latest: tuple[Band, tuple[Tensor, Tensor]] | None = None
        self._qualities: dict[Band, Quality] = {}

    def listed(self, state: State) -> View:
        """All but the quality, which takes longer than a slider may wait."""
        if not 0 <= state.query < len(self.labels):
            raise ValueError(f"query={state.query}; choose a picture from 0 to {len(self.labels) - 1}")
        band = Band(state.k_top, state.k_bottom)
        lists = [neighbours.nearest(*each, state.query) for each in (self._before, self._after(band))]
        (_, was), (_, now) = lists
        before, after = (
            self._hits(state.query, cosines, here, there)
            for (cosines, here), there in zip(lists, (now, was), strict=True)
        )
        return View(state, band, before, after)

    def _hits(self, query: int, cosines: Tensor, here: Tensor, there: Tensor) -> tuple[Hit, ...]:
        first = here.argsort()[: min(SHOWN, len(self.labels) - 1)].tolist()
        right = self.codes == self.codes[query]
        return tuple(
            Hit(i, self.labels[i], float(cosines[i]), bool(right[i]), int(here[i]), int(there[i])) for i in first
        )

    def _after(self, band: Band) -> tuple[Tensor, Tensor]:
        if self._latest is None or self._latest[0] != band:
            self.spectrum.check(*band)
            self._latest = (band, _with_norms(self.reader.band(*band), f"in {self.kept(band)}"))
        return self._latest[1]

    def judged(self, view: View) -> View:
        if view.band not in self._qualities:
            after = self._precisions_of(self._after(view.band)[0])
            mean, difference = (
                bootstrap(after, seed=self.seed),
                paired_difference(after, self._precisions, seed=self.seed),
            )
            self._qualities[view.band] = Quality(self._mean, mean, difference, len(self.labels), self.seed)
        return replace(view, quality=self._qualities[view.band])

    def _precisions_of(self, features: Tensor) -> np.ndarray:
        rows = self.rows
        return label_precisions(features[rows], features, self.codes[rows], self.codes, own=rows)

    def kept(self, band: Band) -> str:
        last = self.spectrum.r - band.k_bottom - 1
        return f"directions {band.k_top}–{last}" if last > band.k_top else f"direction {last}"

    def alike(self, query: int) -> int:
        """How many others have the query's label."""
        return int((self.codes == self.codes[query]).sum()) - 1


def _coded(labels: Sequence[Hashable], n: int) -> tuple[list[str], np.ndarray]:
    """Labels as text to show, and as numbers (N,) to compare: what may stand side by side in a list may not in an array."""
    try:
        labels = labels.tolist() if hasattr(labels, "tolist") else list(labels)
        codes: dict = {}
        numbers = np.array([codes.setdefault(label, len(codes)) for label in labels])
    except TypeError as error:
        raise TypeError(f"labels are one hashable thing for each picture, such as text or a number: {error}") from error
    if len(labels) != n:
        raise ValueError(f"{len(labels)} labels for {n} pictures; give one for each")
    return [str(label) for label in labels], numbers


def _drawn(codes: np.ndarray, queries: int, seed: int) -> np.ndarray:
    """Rows of the queries of mAP, among those with something to find."""
    if whole("queries", queries) < 1:
        raise ValueError(f"queries={queries}; give a positive number, 200 is usual")
    eligible = np.flatnonzero(np.bincount(codes)[codes] > 1)
    if not len(eligible):
        raise ValueError(f"none of the {len(codes)} labels comes twice, so no picture has anything to find; label more")
    drawn = np.random.default_rng(seed).permutation(eligible)[:queries]
    return np.sort(drawn)


def _with_norms(features: Tensor, where: str) -> tuple[Tensor, Tensor]:
    """Features (N, d) and their lengths (N,). Raises ValueError where one is zeros: it would be as near to everything."""
    norms = torch.linalg.vector_norm(features, dim=1)
    if bool((norms == 0).any()):
        row = int((norms == 0).int().argmax())
        raise ValueError(
            f"picture {row} is zeros {where}, which has no direction; keep more directions, or leave it out"
        )
    return features, norms
