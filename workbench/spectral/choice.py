"""Which band? A sweep over both cuts, a choice by labels, and what it buys where no label was seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from workbench.evaluation.label_retrieval import label_precisions
from workbench.evaluation.statistics import Interval, bootstrap, group_codes, paired_difference
from workbench.progress import bar
from workbench.records import Record, Table
from workbench.spectral.operators import Modality
from workbench.spectral.spectrum import Band, ProjectorSpectrum

NONE = Band(0, 0)


@dataclass(frozen=True, eq=False)
class BandSweep(Record):
    """Average precision (K, Q) of Q queries in K bands, each query searching all other items.

    `groups` (Q,) names queries that are drawn together in intervals, such as the captions of one picture.
    """

    bands: tuple[Band, ...]
    precisions: np.ndarray
    labels: np.ndarray
    r: int
    modality: Modality
    groups: np.ndarray | None = None

    @property
    def means(self) -> np.ndarray:
        return self.precisions.mean(1)

    @property
    def best(self) -> Band:
        """The band of the highest mean; of equal ones the one that leaves out least."""
        return _best(self.bands, self.means)

    def of(self, band: Sequence[int]) -> np.ndarray:
        """The queries' precisions in one band of the sweep. Raises ValueError for a band that was not swept."""
        if tuple(band) not in self.bands:
            raise ValueError(f"band {tuple(band)} was not swept; put it into `bands`")
        return self.precisions[self.bands.index(tuple(band))]

    def choose(self, *, folds: int = 5, seed: int = 0) -> BandChoice:
        """The best band, and by cross-validation over queries what choosing so buys over no filtering.

        Each fold's queries are scored in the band that is best for the others. A few hundred settings are tried on the
        same queries, so the mean of the best of them flatters it; this does less so, not nothing: all folds search one
        gallery. Other items judge (`judged`). Raises ValueError for fewer than two
        folds, more than queries, or a sweep without (0, 0).
        """
        Q = self.precisions.shape[1]
        if isinstance(folds, bool) or not isinstance(folds, int) or not 2 <= folds <= Q:
            raise ValueError(f"folds={folds} of {Q} queries; choose 2 to {Q}")
        fold = _folds(self.labels, folds, seed)
        held, chosen = np.empty(Q), []
        for k in range(folds):
            chosen.append(_best(self.bands, self.precisions[:, fold != k].mean(1)))
            held[fold == k] = self.of(chosen[-1])[fold == k]
        none = self.of(NONE)
        return BandChoice(
            self.best,
            tuple(chosen),
            bootstrap(self.of(self.best), groups=self.groups, seed=seed),
            bootstrap(none, groups=self.groups, seed=seed),
            paired_difference(held, none, groups=self.groups, seed=seed),
            len(self.bands),
        )

    def table(self) -> Table:
        order = np.argsort(-self.means, kind="stable")[:5]
        chosen = [self.bands[k] for k in order]
        bands = dict.fromkeys([*chosen, *([NONE] if NONE in self.bands else [])])
        rows = tuple((_named(band), bootstrap(self.of(band), groups=self.groups).percent()) for band in bands)
        caption = f"Sweep of {len(self.bands)} bands of {self.r} directions, {self.modality}: {self.precisions.shape[1]} queries"
        return Table(caption, ("k_top, k_bottom", "mAP, percent [95 %]"), rows)


@dataclass(frozen=True)
class BandChoice(Record):
    """A band chosen by labels. `held_out`: mAP in the band that the other folds chose, minus no filtering.

    `recommended` is no filtering where that gain is not clear.
    """

    band: Band
    by_fold: tuple[Band, ...]
    mean: Interval
    none: Interval
    held_out: Interval
    tried: int

    @property
    def recommended(self) -> Band:
        return self.band if self.held_out.low > 0 else NONE

    def table(self) -> Table:
        rows = (
            (f"best of {self.tried}: {_named(self.band)}", self.mean.percent()),
            ("no filtering", self.none.percent()),
            (f"held-out gain over {len(self.by_fold)} folds", self.held_out.percent()),
            ("chosen by fold", "; ".join(map(_named, self.by_fold))),
            ("recommended", _named(self.recommended)),
        )
        return Table(f"Choice of a band, {self.mean.n} queries", ("k_top, k_bottom", "mAP, percent [95 %]"), rows)


@dataclass(frozen=True)
class JudgedBand(Record):
    """A band on items that had no part in choosing it, beside no filtering."""

    band: Band
    mean: Interval
    none: Interval
    difference: Interval

    @property
    def mark(self) -> str:
        """What the paired interval says of the band: it helps, it hurts, or nothing is clear."""
        return {"better": "better than", "WORSE": "WORSE than", "unclear": "no clear difference from"}[
            verdict(self.difference)
        ] + " no filtering"

    def table(self) -> Table:
        row = (_named(self.band), self.mean.percent(), self.none.percent(), self.difference.percent(), self.mark)
        header = ("k_top, k_bottom", "mAP, percent [95 %]", "no filtering", "difference", "verdict")
        return Table(f"The chosen band on {self.mean.n} queries that chose nothing", header, (row,))


def verdict(difference: Interval) -> str:
    """ "better", "WORSE" or "unclear", by whether the interval of a paired difference is clear of zero."""
    if difference.low > 0:
        return "better"
    return "WORSE" if difference.high < 0 else "unclear"


def band_grid(r: int, steps: int = 18) -> tuple[Band, ...]:
    """Bands to try, closer together near 0 where text has its best ones: about 270 at 18 steps, (0, 0) among them.

    Every band keeps a sixteenth of the r directions or more. Raises ValueError for r < 4 or fewer than 2 steps.
    """
    if r < 4 or steps < 2:
        raise ValueError(f"r={r}, steps={steps}; a sweep needs 4 directions and 2 steps or more")
    most = r - max(1, r // 16)
    cuts = np.unique(np.round(np.linspace(0, 1, steps) ** 2 * most).astype(int)).tolist()
    return tuple(Band(top, bottom) for top in cuts for bottom in cuts if top + bottom <= most)


def band_sweep(
    spectrum: ProjectorSpectrum,
    pre: Tensor,
    labels,
    *,
    modality: Modality = "image",
    bands: Sequence[Sequence[int]] | None = None,
    groups=None,
    most: int | None = None,
    seed: int = 0,
) -> BandSweep:
    """Average precision of items (N, d_in) with labels (N,) among all others, in every band; one decomposition for all.

    `most` items are queries, drawn with the seed, where there are more; None: all. `groups` (N,) as in `BandSweep`.

    `bands` defaults to `band_grid` over the directions that carry something. Features whose label comes once have nothing to
    find: leave them out. Raises ValueError as `ProjectorSpectrum.read`, `.check` and `label_precisions`.
    """
    reader = spectrum.read(pre, modality)
    labels = np.asarray(labels)
    if labels.shape != (len(reader),):
        raise ValueError(f"labels of shape {labels.shape} for {len(reader)} items; give one for each")
    own = np.arange(len(reader))
    if most is not None and most < len(own):
        own = np.sort(np.random.default_rng(seed).permutation(own)[:most])
    bands = _full_grid(spectrum) if bands is None else tuple(Band(*band) for band in bands)
    if not bands:
        raise ValueError("bands is empty; give at least one (k_top, k_bottom), (0, 0) among them to compare with")
    for band in bands:
        spectrum.check(*band)
    found = np.empty((len(bands), len(own)))
    for k, band in enumerate(bar(bands, "bands")):
        features = reader.band(*band)
        found[k] = label_precisions(features[own], features, labels[own], labels, own=own)
    of_queries = None if groups is None else np.asarray(groups)[own]
    return BandSweep(bands, found, labels[own], spectrum.r, modality, of_queries)


def _full_grid(spectrum: ProjectorSpectrum) -> tuple[Band, ...]:
    """`band_grid` over the directions that carry something; what is cut at the bottom takes the empty ones with it."""
    empty = spectrum.r - spectrum.rank
    return tuple(Band(top, bottom + empty if bottom else 0) for top, bottom in band_grid(spectrum.rank))


def judged(
    spectrum: ProjectorSpectrum,
    band: Sequence[int],
    pre: Tensor,
    labels,
    *,
    modality: Modality = "image",
    groups=None,
    seed: int = 0,
) -> JudgedBand:
    """A band on a test split (N, d_in), (N,) that had no part in choosing it. Errors as in `band_sweep`."""
    sweep = band_sweep(spectrum, pre, labels, modality=modality, bands=(NONE, band))
    none, with_band = sweep.precisions
    difference = paired_difference(with_band, none, groups=groups, seed=seed)
    means = (bootstrap(each, groups=groups, seed=seed) for each in (with_band, none))
    return JudgedBand(Band(*band), *means, difference)


def _folds(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """A fold for each item, every label spread evenly over them."""
    codes = group_codes(labels, len(labels))
    order = np.random.default_rng(seed).permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    fold = np.empty(len(codes), int)
    fold[order] = np.arange(len(codes)) % folds
    return fold


def _best(bands: Sequence[Band], means: np.ndarray) -> Band:
    return max(zip(bands, means, strict=True), key=lambda each: (each[1], -sum(each[0])))[0]


def _named(band: Sequence[int]) -> str:
    return f"{band[0]}, {band[1]}"
