"""The shape of a joint space: the gap between modalities, how close pairs lie, how evenly all spread, how many axes count."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.evaluation.statistics import Interval, bootstrap
from workbench.records import Record, Table

_MAX_BYTES = 64 << 20  # what a block of distances may take


@dataclass(frozen=True)
class Geometry(Record):
    """Of n pairs of unit vectors: the `gap`, their `alignment` (0 is best), and for each modality uniformity and rank."""

    gap: float
    alignment: Interval
    uniformity: dict[str, float]
    effective_rank: dict[str, float]
    n: int
    d: int

    def table(self) -> Table:
        rows = [("modality gap", f"{self.gap:.3f}"), ("alignment [95 %]", str(self.alignment))]
        rows += [(f"uniformity, {name}", f"{value:.3f}") for name, value in self.uniformity.items()]
        rows += [(f"effective rank of {self.d}, {name}", f"{value:.1f}") for name, value in self.effective_rank.items()]
        return Table(f"Joint space: {self.n} pairs", ("measure", "value"), tuple(rows))


def modality_gap(image: Tensor, text: Tensor) -> float:
    """Distance between the mean unit picture (N, d) and the mean unit caption (M, d), 0 to 2 (arXiv 2203.02053).

    A large gap does not mean that pairs are not found: ranking looks along one side only. Raises ValueError for other
    shapes, unequal widths, no rows, or values that are not finite.
    """
    image, text = _unit(image, "image"), _unit(text, "text")
    _check_width(image, text)
    return float((image.mean(0) - text.mean(0)).norm())


def alignment(image: Tensor, text: Tensor, *, power: float = 2.0, seed: int = 0) -> Interval:
    """Mean distance of a picture to its own caption, to the power: (N, d), (N, d), 0 is best (arXiv 2005.10242).

    Raises ValueError as `modality_gap`, and where rows are not pairs.
    """
    image, text = _unit(image, "image"), _unit(text, "text")
    _check_width(image, text)
    if len(image) != len(text):
        raise ValueError(f"{len(image)} pictures and {len(text)} captions; give one caption for each picture")
    return bootstrap((image - text).norm(dim=-1) ** power, seed=seed)


def uniformity(rows: Tensor, *, t: float = 2.0) -> float:
    """log of the mean of exp(-t |u - v|²) over pairs of different rows (N, d): lower is more even (arXiv 2005.10242).

    0 where all rows are the same. A row is no pair with itself. Raises ValueError for fewer than two rows, other shapes, or
    values that are not finite.
    """
    unit = _unit(rows, "rows")
    n = len(unit)
    if n < 2:
        raise ValueError("one row has no pairs; give two or more")
    terms, block = [], max(1, _MAX_BYTES // (16 * n))
    for start in range(0, n, block):
        part = unit[start : start + block]
        exponents = 2 * t * (part @ unit.T - 1)  # -t |u - v|² of unit vectors
        exponents[torch.arange(len(part)), torch.arange(start, start + len(part))] = -torch.inf
        terms.append(exponents.logsumexp(1))
    return float(torch.cat(terms).logsumexp(0)) - math.log(n * (n - 1))


def effective_rank(rows: Tensor) -> float:
    """exp of the entropy of the singular values of rows (N, d), taken as shares: 1 to min(N, d) (Roy and Vetterli, 2007).

    Of unit rows with their mean left in: one shared direction lowers it. Raises ValueError for other shapes or values that
    are not finite.
    """
    unit = _unit(rows, "rows")
    # The smaller Gram matrix in float64 has the squares of the same singular values.
    gram = unit.T @ unit if unit.shape[0] > unit.shape[1] else unit @ unit.T
    values = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    share = values / values.sum()
    return float(torch.special.entr(share).sum().exp())


def joint_space(image: Tensor, text: Tensor, *, seed: int = 0) -> Geometry:
    """All of it for pairs image (N, d), text (N, d), N ≥ 2. Raises ValueError as the functions it calls."""
    both = {"pictures": image, "captions": text}
    found = alignment(image, text, seed=seed)
    even = {name: uniformity(rows) for name, rows in both.items()}
    ranks = {name: effective_rank(rows) for name, rows in both.items()}
    return Geometry(modality_gap(image, text), found, even, ranks, len(image), image.shape[1])


def _unit(rows: Tensor, what: str) -> Tensor:
    rows = torch.as_tensor(rows).detach().cpu().double()
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"{what} of shape {tuple(rows.shape)}; give (N, d) with N ≥ 1")
    if not bool(rows.isfinite().all()):
        raise ValueError(f"{what} holds NaN or infinite values; a model gave a broken feature, check its inputs")
    if bool((rows == 0).all(1).any()):
        raise ValueError(f"{what} holds a row of zeros, which has no direction; a model gave a broken feature")
    return F.normalize(rows, dim=-1)


def _check_width(image: Tensor, text: Tensor) -> None:
    if image.shape[1] != text.shape[1]:
        raise ValueError(
            f"image {tuple(image.shape)} and text {tuple(text.shape)} differ in width; give `post` of one model"
        )
