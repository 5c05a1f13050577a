"""What a band has to beat: the simplest other readings of the same frozen features, each fitted without labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.evaluation.label_retrieval import label_precisions
from workbench.evaluation.statistics import Interval, bootstrap
from workbench.progress import bar
from workbench.records import Record, Table
from workbench.spectral.choice import band_sweep, verdict
from workbench.spectral.operators import Modality, Side, with_ones
from workbench.spectral.spectrum import Band, ProjectorSpectrum, band_weights, decompose

PLAIN = "plain"


@dataclass(frozen=True, eq=False)
class Readout:
    """A reading of `pre` features: one embedding (N, d_in) → (N, k) per seed, compared by cosine; `kept` of k directions."""

    name: str
    embeddings: tuple[Callable[[Tensor], Tensor], ...]
    kept: int


@dataclass(frozen=True)
class ReadoutRow:
    """mAP of a readout, its paired difference from plain, the latter in every seed, and how many directions were kept."""

    name: str
    kept: str
    mean: Interval
    difference: Interval
    by_seed: tuple[float, ...]


@dataclass(frozen=True)
class ReadoutSummary(Record):
    """Readouts on the same queries, as a table; what a recipe stores and a notebook replays."""

    title: str
    rows: tuple[ReadoutRow, ...]

    def __getitem__(self, name: str) -> ReadoutRow:
        for row in self.rows:
            if row.name == name:
                return row
        raise ValueError(f"no readout {name!r}; there are {', '.join(row.name for row in self.rows)}")

    def table(self) -> Table:
        rows = tuple(
            (
                row.name,
                row.kept,
                row.mean.percent(),
                "" if row.name == PLAIN else row.difference.percent(),
                "" if row.name == PLAIN else " ".join(f"{100 * each:+.1f}" for each in row.by_seed),
                "" if row.name == PLAIN else verdict(row.difference),
            )
            for row in self.rows
        )
        header = ("readout", "directions", "mAP [95 %]", "minus plain [95 %]", "by seed", "than plain")
        return Table(f"{self.title}: mAP, percent; {self.rows[0].mean.n} queries", header, rows)

    def to_json(self) -> dict:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict) -> ReadoutSummary:
        rows = tuple(
            ReadoutRow(
                row["name"],
                row["kept"],
                Interval(**row["mean"]),
                Interval(**row["difference"]),
                tuple(row["by_seed"]),
            )
            for row in stored["rows"]
        )
        return cls(stored["title"], rows)


@dataclass(frozen=True, eq=False)
class ReadoutTable(Record):
    """Average precision of every query by every readout: precisions[name] (seeds, Q).

    Seeds are draws of the readout or weights of the model. `parts` are the lengths of independent sets along Q, where several
    were pooled; then those are the seeds. `groups` (Q,) names queries that are drawn together in intervals.
    """

    title: str
    precisions: Mapping[str, np.ndarray]
    kept: Mapping[str, str]
    parts: tuple[int, ...]
    seed: int = 0
    groups: np.ndarray | None = None

    def difference(self, name: str, other: str = PLAIN) -> Interval:
        """mAP of `name` minus that of `other`, paired over queries, seeds averaged. Raises ValueError for another name."""
        return bootstrap(self._minus(name, other), groups=self.groups, seed=self.seed)

    def by_seed(self, name: str, other: str = PLAIN) -> tuple[float, ...]:
        """The same difference in every seed alone."""
        minus = self._minus(name, other)
        parts = np.split(minus, np.cumsum(self.parts)[:-1], axis=1) if len(self.parts) > 1 else minus
        return tuple(float(part.mean()) for part in parts)

    def summary(self) -> ReadoutSummary:
        rows = [
            ReadoutRow(
                name,
                self.kept[name],
                bootstrap(found, groups=self.groups, seed=self.seed),
                self.difference(name),
                self.by_seed(name),
            )
            for name, found in self.precisions.items()
        ]
        return ReadoutSummary(self.title, tuple(rows))

    def table(self) -> Table:
        return self.summary().table()

    def _minus(self, name: str, other: str) -> np.ndarray:
        if missing := [each for each in (name, other) if each not in self.precisions]:
            raise ValueError(f"no readout {missing[0]!r}; there are {', '.join(self.precisions)}")
        return self.precisions[name] - _as_many(self.precisions[other], len(self.precisions[name]))


def pooled(tables: Sequence[ReadoutTable]) -> ReadoutTable:
    """The same readouts on several sets of items as one table over all queries. Raises ValueError for other readouts."""
    _check_several(tables)
    parts = tuple(sum(table.parts) for table in tables)
    groups = None
    if all(table.groups is not None for table in tables):
        groups = np.concatenate([[f"{k}/{each}" for each in table.groups] for k, table in enumerate(tables)])
    return _merged(tables, lambda rows: np.concatenate(rows, 1), parts, groups)


def stacked(tables: Sequence[ReadoutTable]) -> ReadoutTable:
    """The same items seen through several models: one table whose seeds are the models; a readout's own draws are averaged."""
    _check_several(tables)
    averaged = lambda rows: np.stack([row.mean(0) for row in rows])  # noqa: E731
    return _merged(tables, averaged, tables[0].parts, tables[0].groups)


def _check_several(tables: Sequence[ReadoutTable]) -> None:
    if not tables:
        raise ValueError("no tables to put together; give one or more")


def _merged(tables: Sequence[ReadoutTable], merge: Callable, parts: tuple[int, ...], groups) -> ReadoutTable:
    names = tuple(tables[0].precisions)
    if any(tuple(table.precisions) != names for table in tables):
        raise ValueError(f"tables of different readouts; every one needs {', '.join(names)}")
    precisions = {name: merge([table.precisions[name] for table in tables]) for name in names}
    kept = {name: _range({int(k) for table in tables for k in table.kept[name].split("–")}) for name in names}
    return ReadoutTable(tables[0].title, precisions, kept, parts, tables[0].seed, groups)


def _range(counts: set[int]) -> str:
    return str(min(counts)) if len(counts) == 1 else f"{min(counts)}–{max(counts)}"


def _as_many(rows: np.ndarray, seeds: int) -> np.ndarray:
    return rows if len(rows) == seeds else np.broadcast_to(rows.mean(0), (seeds, rows.shape[1]))


def readouts(
    spectrum: ProjectorSpectrum,
    fit: Tensor,
    bands: Mapping[str, Sequence[int]],
    *,
    modality: Modality = "image",
    anchors: Tensor | None = None,
    seeds: int = 3,
) -> list[Readout]:
    """IsoCLIP's bands and the baselines of a fair test, fitted on features fit (N, d_in) of the same modality, no labels.

    plain: the projected cosine. before the projection: `pre` itself. mean-centred: minus the mean of unit `post`.
    without top components: centred, minus the first d/100 principal components (all-but-the-top, Mu & Viswanath,
    arXiv 1702.01417). whitened: by the Ledoit–Wolf covariance of unit `post`. class-name PCA: the first d/2 principal
    components of `post` of class names, given as anchors (M, d), features projected without centring (Herzog & Wang,
    arXiv 2603.16100). For each of `bands`, besides IsoCLIP's projector of that band: the band of the same size and place
    of W_i alone (Psi_i), and as large a random subspace of the span of U, of `seeds` draws; empty directions (see
    `decompose`) do not count. Raises ValueError as `ProjectorSpectrum.read` and `.band`, for fewer than two items to fit on,
    and for anchors of another width.
    """
    side, _ = spectrum.of(modality)
    project = lambda pre: with_ones(pre, side, f"{modality} features") @ side.matrix.T  # noqa: E731
    unit = F.normalize(project(fit), dim=-1)
    if seeds < 1:
        raise ValueError(f"seeds={seeds}; a random subspace needs one draw or more")
    if len(unit) < 2:
        raise ValueError(f"fit has {len(unit)} items; a mean and a covariance need two or more")
    d = len(side.matrix)
    found = [
        Readout(PLAIN, (project,), d),
        Readout("before the projection", (lambda pre: torch.as_tensor(pre).double(),), fit.shape[1]),
        _centred(project, unit),
        _without_top(project, unit, max(1, round(d / 100))),
        _whitened(project, unit),
    ]
    if anchors is not None:
        found.append(_class_names(project, anchors, d))
    for name, band in bands.items():
        found += _of_band(spectrum, name, Band(*band), modality, project, seeds)
    return found


def tuned_readouts(
    spectrum: ProjectorSpectrum, pre: Tensor, labels, *, modality: Modality = "image", most: int | None = None
) -> list[Readout]:
    """Rivals that had the same labels to choose by: a band of one projector alone, and how many components to take out.

    A band that is the best of hundreds of settings beats anything that had one. Arguments as in `band_sweep`.
    """
    side, _ = spectrum.of(modality)
    own = decompose(side.matrix, side.matrix, rank="numerical")
    widened = with_ones(pre, side, f"{modality} features")
    band = band_sweep(own, widened, labels, most=most).best
    matrix = own.filtered(band_weights(own.r, *band))[0]
    alone = lambda each: with_ones(each, side, f"{modality} features") @ matrix.T  # noqa: E731
    kept = own.r - sum(band)
    return [Readout("one projector, chosen by labels", (alone,), kept), _components_chosen(side, pre, labels, most)]


def _components_chosen(side: Side, pre: Tensor, labels, most: int | None) -> Readout:
    """Without as many top components as is best on the choosing items."""
    project = lambda each: with_ones(each, side, "features") @ side.matrix.T  # noqa: E731
    unit, labels = F.normalize(project(pre), dim=-1), np.asarray(labels)
    own = np.arange(len(unit)) if most is None else np.arange(len(unit))[:: max(1, len(unit) // most)]
    counts = [k for k in (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377) if k < min(unit.shape) - 1]
    tried = [_without_top(project, unit, k) for k in counts]
    means = []
    for readout in tried:
        features = readout.embeddings[0](pre).float()
        means.append(label_precisions(features[own], features, labels[own], labels, own=own).mean())
    best = tried[int(np.argmax(means))]
    return Readout("without top components, chosen by labels", best.embeddings, best.kept)


def compare_readouts(
    found: Sequence[Readout], pre: Tensor, labels, *, groups=None, title: str = "Readouts", seed: int = 0
) -> ReadoutTable:
    """Every item (N, d_in) with label (N,) searches all others, by every readout. Errors as in `label_precisions`."""
    labels, own, precisions = np.asarray(labels), np.arange(len(pre)), {}
    for readout in bar(found, "readouts"):
        embedded = [embed(pre).float() for embed in readout.embeddings]
        precisions[readout.name] = np.stack(
            [label_precisions(each, each, labels, labels, own=own) for each in embedded]
        )
    kept = {each.name: str(each.kept) for each in found}
    return ReadoutTable(title, precisions, kept, (len(pre),), seed, None if groups is None else np.asarray(groups))


def _centred(project: Callable, unit: Tensor) -> Readout:
    mean = unit.mean(0)
    return Readout("mean-centred", (lambda pre: F.normalize(project(pre), dim=-1) - mean,), unit.shape[1])


def _without_top(project: Callable, unit: Tensor, k: int) -> Readout:
    mean, top = unit.mean(0), _components(unit)[:k]

    def embed(pre: Tensor) -> Tensor:
        centred = F.normalize(project(pre), dim=-1) - mean
        return centred - centred @ top.T @ top

    return Readout("without top components", (embed,), unit.shape[1] - k)


def _whitened(project: Callable, unit: Tensor) -> Readout:
    from sklearn.covariance import LedoitWolf

    fitted = LedoitWolf().fit(unit.numpy())
    values, vectors = torch.linalg.eigh(torch.from_numpy(fitted.covariance_))
    root = vectors / values.clamp(min=values[-1] * 1e-12).sqrt()
    mean = unit.mean(0)
    return Readout("whitened", (lambda pre: (F.normalize(project(pre), dim=-1) - mean) @ root,), unit.shape[1])


def _class_names(project: Callable, anchors: Tensor, d: int) -> Readout:
    anchors = torch.as_tensor(anchors).detach().cpu().double()
    if anchors.ndim != 2 or anchors.shape[1] != d or len(anchors) < 2:
        raise ValueError(f"anchors of shape {tuple(anchors.shape)}; give `post` of two or more class names, (M, {d})")
    if not bool(anchors.isfinite().all()):
        raise ValueError("anchors hold NaN or infinite values; a model gave a broken feature, check its inputs")
    kept = _components(anchors)[: d // 2]
    if not len(kept):
        raise ValueError(f"the {len(anchors)} anchors are all the same; give `post` of class names that differ")
    return Readout("class-name PCA", (lambda pre: project(pre) @ kept.T,), len(kept))


def _components(rows: Tensor) -> Tensor:
    """Principal directions (k, d) of rows (N, d), those that vary, in descending order."""
    _, values, vectors = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    return vectors[values > max(values[0] * 1e-9, 1e-12)]


def _of_band(
    spectrum: ProjectorSpectrum, name: str, band: Band, modality: Modality, project: Callable, seeds: int
) -> list[Readout]:
    spectrum.check(*band)
    side, basis = spectrum.of(modality)
    # No warnings of ties or empty directions: the table holds bands of rules too, which nobody can move.
    banded = spectrum.filtered(band_weights(spectrum.r, *band))[0 if modality == "image" else 1].double()
    # Empty directions are none that a control could keep as well: it is as large as what the band really keeps.
    kept = min(spectrum.rank, spectrum.r - band.k_bottom) - band.k_top
    basis = basis[:, : spectrum.rank]
    _, _, alone = torch.linalg.svd(side.matrix, full_matrices=False)
    alone = alone[band.k_top : band.k_top + kept]
    through = lambda matrix: lambda pre: with_ones(pre, side, f"{modality} features") @ matrix.T  # noqa: E731
    random = [
        side.matrix @ (within := basis @ _orthonormal(spectrum.rank, kept, seed)) @ within.T for seed in range(seeds)
    ]
    return [
        Readout(f"IsoCLIP, {name}", (through(banded),), kept),
        Readout(f"one projector's band, {name}", (through(side.matrix @ alone.T @ alone),), len(alone)),
        Readout(f"random subspace, {name}", tuple(through(matrix) for matrix in random), kept),
    ]


def _orthonormal(r: int, k: int, seed: int) -> Tensor:
    drawn = torch.randn(r, k, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(drawn).Q
