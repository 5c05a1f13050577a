"""What a band has to beat: the simplest other readings of the same frozen features, each fitted without labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.evaluation.label_retrieval import label_precisions
from workbench.spectral.choice import band_sweep
from workbench.spectral.operators import Modality, Side, with_ones
from workbench.spectral.spectrum import Band, ProjectorSpectrum, band_weights, decompose

PLAIN = "plain"


@dataclass(frozen=True, eq=False)
class Readout:
    """A reading of `pre` features: one embedding (N, d_in) → (N, k) per seed, compared by cosine; `kept` of k directions."""

    name: str
    embeddings: tuple[Callable[[Tensor], Tensor], ...]
    kept: int


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
    project = _through(side, side.matrix)
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
        found += _of_band(spectrum, name, Band(*band), modality, seeds)
    return found


def band_variants(
    spectrum: ProjectorSpectrum, name: str, band: Sequence[int], *, modality: Modality = "image"
) -> list[Readout]:
    """A band with soft edges, and one that keeps a tenth of what it leaves out: does the hard cut matter?

    An independent rerun reports +0.09 mAP for edges 5 of 512 directions wide, and that a tenth cancels the gain.
    """
    side, _ = spectrum.of(modality)
    hard, soft = (band_weights(spectrum.r, *band, soft=width) for width in (0.0, 5 / 512 * spectrum.rank))
    place = 0 if modality == "image" else 1
    kept = int(hard.sum())
    return [
        Readout(f"IsoCLIP, {name}, {how}", (_through(side, spectrum.filtered(weights)[place]),), kept)
        for how, weights in (("soft edges", soft), ("a tenth of the rest kept", 0.1 + 0.9 * hard))
    ]


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
    alone = _through(side, own.filtered(band_weights(own.r, *band))[0])
    kept = own.r - sum(band)
    return [Readout("one projector, chosen by labels", (alone,), kept), _components_chosen(side, pre, labels, most)]


def _components_chosen(side: Side, pre: Tensor, labels, most: int | None) -> Readout:
    """Without as many top components as is best on the choosing items."""
    project = _through(side, side.matrix)
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


def _through(side: Side, matrix: Tensor) -> Callable[[Tensor], Tensor]:
    """Features (N, d_in) through a matrix in the place of a projector's, float64."""
    columns = matrix.double().T
    return lambda pre: with_ones(pre, side, "features") @ columns


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


def _of_band(spectrum: ProjectorSpectrum, name: str, band: Band, modality: Modality, seeds: int) -> list[Readout]:
    spectrum.check(*band)
    side, basis = spectrum.of(modality)
    # No warnings of ties or empty directions: the table holds bands of rules too, which nobody can move.
    banded = spectrum.filtered(band_weights(spectrum.r, *band))[0 if modality == "image" else 1]
    # Empty directions are none that a control could keep as well: it is as large as what the band really keeps.
    kept = min(spectrum.rank, spectrum.r - band.k_bottom) - band.k_top
    basis = basis[:, : spectrum.rank]
    _, _, alone = torch.linalg.svd(side.matrix, full_matrices=False)
    alone = alone[band.k_top : band.k_top + kept]
    random = [
        side.matrix @ (within := basis @ _orthonormal(spectrum.rank, kept, seed)) @ within.T for seed in range(seeds)
    ]
    return [
        Readout(f"IsoCLIP, {name}", (_through(side, banded),), kept),
        Readout(f"one projector's band, {name}", (_through(side, side.matrix @ alone.T @ alone),), len(alone)),
        Readout(f"random subspace, {name}", tuple(_through(side, matrix) for matrix in random), kept),
    ]


def _orthonormal(r: int, k: int, seed: int) -> Tensor:
    drawn = torch.randn(r, k, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(drawn).Q
