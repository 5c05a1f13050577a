"""The singular values and directions of the inter-modal operator, and projectors that keep some of them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from math import isfinite
from numbers import Integral
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.features import Projector
from workbench.records import Record, Table
from workbench.spectral.operators import Modality, Side, both_sides, with_ones

Rank = Literal["shape", "numerical"]


class Band(NamedTuple):
    """How many leading and trailing directions are left out."""

    k_top: int
    k_bottom: int


@dataclass(frozen=True, eq=False)
class ProjectorSpectrum(Record):
    """Psi = U diag(S) Vh: U (d_i, r), S (r,) descending, Vh (r, d_t), float64, with the two projectors that made it.

    Where a projector has a bias, its side has one more row (column), for the constant 1. `rank` counts the singular values
    that are more than rounding; r may be larger (see `decompose`).
    """

    U: Tensor
    S: Tensor
    Vh: Tensor
    rank: int
    image: Side
    text: Side

    @property
    def r(self) -> int:
        return len(self.S)

    def band(self, k_top: int, k_bottom: int, *, soft: float = 0.0) -> tuple[Tensor, Tensor]:
        """Both projectors with directions k_top … r - k_bottom - 1 only: W_i U_S U_S^T (d, d_i), W_t V_S V_S^T (d, d_t).

        Singular values are not touched, only the subspace is restricted (IsoCLIP, arXiv 2603.19862); a bias stands in the
        last column. `soft` > 0 rounds both edges off: the weights of `band_weights`. k_top = k_bottom = 0 is the identity
        only where the row space of W_i lies inside the span of U, that is where W_t has full row rank. Filtering both
        sides gives the band of Psi: W_i'^T W_t' = U_S S_S V_S^T. Warns of a tie at a cut, where the subspace is not
        determined, and of k_bottom that removes directions that carry nothing. Raises ValueError for negative or
        fractional counts, k_top + k_bottom ≥ r, or a k_top that leaves only directions that carry nothing.
        """
        self.check(k_top, k_bottom)
        weights = band_weights(self.r, k_top, k_bottom, soft=soft)
        if not soft:
            self._warn(Band(k_top, k_bottom))
        return self.filtered(weights)

    def check(self, k_top: int, k_bottom: int) -> None:
        """Raises ValueError for a band that `band` would refuse."""
        first, _ = _edges(self.r, k_top, k_bottom)
        if first >= self.rank:
            raise ValueError(
                f"k_top={k_top} leaves only directions that carry nothing: r is {self.r}, but the rank {self.rank}; "
                f"leave out at most {self.rank - 1} at the top"
            )

    def filtered(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """W_i U diag(w) U^T and W_t V diag(w) V^T for weights (r,): bands compose by multiplying their weights.

        Raises ValueError for another number of weights, or values that are not finite.
        """
        weights = torch.as_tensor(weights).double()
        if weights.shape != (self.r,) or not bool(weights.isfinite().all()):
            raise ValueError(f"weights of shape {tuple(weights.shape)}; give {self.r} finite ones, one per direction")
        image = self.image.matrix @ (self.U * weights) @ self.U.T
        text = self.text.matrix @ (self.Vh.T * weights) @ self.Vh
        return image.to(self.image.dtype), text.to(self.text.dtype)

    def projectors(self, k_top: int, k_bottom: int, *, soft: float = 0.0) -> tuple[Projector, Projector]:
        """`band` as two `Projector`s, a bias in its place: what folds back into a model (`models.folding.fold`)."""
        sides = zip((self.image, self.text), self.band(k_top, k_bottom, soft=soft), strict=True)
        return tuple(_projector(side, matrix, Band(k_top, k_bottom), self.r) for side, matrix in sides)

    def read(self, pre: Tensor, modality: Modality = "image") -> BandReader:
        """Features pre (N, d_in) in the basis of U or V, once, to be read in any band after. Raises ValueError for another
        width, NaN, or a modality that is neither."""
        side, basis = self.of(modality)
        coordinates = with_ones(pre, side, f"{modality} features") @ basis
        return BandReader(coordinates.float(), (side.matrix @ basis).float())

    def of(self, modality: Modality) -> tuple[Side, Tensor]:
        """A modality's projector and its directions (d_in, r). Raises ValueError for another word."""
        if modality not in ("image", "text"):
            raise ValueError(f"modality={modality!r}; choose 'image' or 'text'")
        return (self.image, self.U) if modality == "image" else (self.text, self.Vh.T)

    def gains(self, modality: Modality = "image", k_top: int = 0, k_bottom: int = 0) -> Tensor:
        """Singular values, descending, of the intra-modal operator inside a band, U_S^T Psi_i U_S: (r - k_top - k_bottom,).

        The band is chosen by Psi, the metric inside it stays Psi_i, which is not diagonal there.
        """
        side, basis = self.of(modality)
        kept = slice(*_edges(self.r, k_top, k_bottom))
        values = torch.linalg.svdvals(side.matrix @ basis[:, kept]).square()
        return F.pad(values, (0, kept.stop - kept.start - len(values)))  # a band wider than d has zeros at its end

    def table(self) -> Table:
        shares = self.S / self.S[0]
        places = sorted({0, *(round(q * (self.rank - 1)) for q in (0.1, 0.25, 0.5, 0.75, 0.9)), self.rank - 1})
        rows = [(f"σ at {place}", f"{float(shares[place]):.3f}") for place in places]
        energy = self.S.square().cumsum(0) / self.S.square().sum()
        half, most = (int((energy < level).sum()) + 1 for level in (0.5, 0.9))
        rows += [("directions with half of the energy", str(half)), ("with nine tenths", str(most))]
        (d, d_i), d_t = self.image.matrix.shape, self.text.matrix.shape[1]
        return Table(
            f"Inter-modal operator, {d_i} × {d_t} through {d}: r {self.r}, rank {self.rank}",
            ("singular value", "share of the largest"),
            tuple(rows),
        )

    def _warn(self, band: Band) -> None:
        """Of what makes a band depend on chance. Directions that neither projector passes may be cut anywhere."""
        if band.k_bottom and self.rank < self.r:
            empty = min(band.k_bottom, self.r - self.rank)
            warnings.warn(
                f"{empty} of the k_bottom={band.k_bottom} trailing directions carry nothing: r is {self.r}, the shape's, and "
                f"the rank {self.rank}; decompose(…, rank='numerical') counts from the rank",
                stacklevel=3,
            )
        for cut in (band.k_top, self.r - band.k_bottom):
            if 0 < cut < self.r and self._tied(cut):
                warnings.warn(
                    f"singular values {cut - 1} and {cut} are equal to rounding, so a cut between them is not determined; "
                    "move it by a few",
                    stacklevel=3,
                )

    def _tied(self, cut: int) -> bool:
        eps = max(self.image.eps, self.text.eps)
        if self.S[cut - 1] - self.S[cut] > 8 * eps * self.S[0]:
            return False
        passed = [
            (side.matrix @ basis[:, cut - 1 : cut + 1]).norm() > 8 * eps * side.matrix.norm()
            for side, basis in (self.of("image"), self.of("text"))
        ]
        return any(passed)


@dataclass(frozen=True, eq=False)
class BandReader:
    """Features in the basis of a spectrum: coordinates (N, r) and what the projector makes of each direction (d, r).

    A band is a slice of both, so that a sweep over bands computes no feature and no singular value again.
    """

    coordinates: Tensor
    gains: Tensor

    def __len__(self) -> int:
        return len(self.coordinates)

    def __getitem__(self, rows) -> BandReader:
        return BandReader(self.coordinates[rows], self.gains)

    def band(self, k_top: int, k_bottom: int, *, soft: float = 0.0) -> Tensor:
        """The features (N, d) through the projector of a band, float32, not normalised; arguments as in `band_weights`."""
        r = self.gains.shape[1]
        if soft:
            return (self.coordinates * band_weights(r, k_top, k_bottom, soft=soft).float()) @ self.gains.T
        kept = slice(*_edges(r, k_top, k_bottom))
        return self.coordinates[:, kept] @ self.gains[:, kept].T


def decompose(W_i, W_t, *, rank: Rank = "shape") -> ProjectorSpectrum:
    """Economy SVD of `inter_modal_operator(W_i, W_t)` in float64, signs fixed (each column of U has its largest entry positive).

    `rank` "shape": r = min(d_i, d_t), as IsoCLIP's code counts (arXiv 2603.19862). The trap: where the joint space is
    narrower than both towers, the trailing r - d directions carry nothing and k_bottom eats those first; "numerical" drops
    them. Arguments and errors as in `inter_modal_operator`; ValueError also where the two projectors share no direction.
    """
    from sklearn.utils.extmath import svd_flip

    if rank not in ("shape", "numerical"):
        raise ValueError(f"rank={rank!r}; choose 'shape', as the authors count, or 'numerical'")
    image, text = both_sides(W_i, W_t)
    U, S, Vh = torch.linalg.svd(image.matrix.T @ text.matrix, full_matrices=False)
    U, Vh = (torch.from_numpy(part) for part in svd_flip(U.numpy(), Vh.numpy()))
    eps = max(image.eps, text.eps)
    if S[0] <= 8 * eps * image.matrix.norm() * text.matrix.norm():
        raise ValueError(
            "W_i^T W_t is zero: what the two projectors reach has no direction in common; check that they belong together"
        )
    least = 16 * eps * S[0]  # Psi is exact in float64; what is smaller came from weights that were rounded
    found = int(S.gt(least).sum())
    r = found if rank == "numerical" else len(S)
    return ProjectorSpectrum(U[:, :r], S[:r], Vh[:r], found, image, text)


def band_weights(r: int, k_top: int, k_bottom: int, *, soft: float = 0.0) -> Tensor:
    """Weights (r,) float64 of a band: 1 for directions k_top … r - k_bottom - 1, else 0.

    `soft` is the width, in directions, of a logistic edge centred on each cut that removes something. Weights of two bands
    multiply to those of both. Raises ValueError for negative or fractional counts, k_top + k_bottom ≥ r, or a soft < 0.
    """
    first, last = _edges(r, k_top, k_bottom)
    if not soft >= 0 or not isfinite(soft):
        raise ValueError(f"soft={soft}; give the width of an edge in directions, 0 for a hard one")
    place = torch.arange(r, dtype=torch.float64)
    if not soft:
        return ((place >= first) & (place < last)).double()
    rising = torch.sigmoid((place - first + 0.5) / soft) if k_top else torch.ones(r, dtype=torch.float64)
    return rising * torch.sigmoid((last - place - 0.5) / soft) if k_bottom else rising


def _edges(r: int, k_top: int, k_bottom: int) -> tuple[int, int]:
    for name, k in (("k_top", k_top), ("k_bottom", k_bottom)):
        if isinstance(k, bool) or not isinstance(k, Integral) or k < 0:
            raise ValueError(f"{name}={k!r}; give how many directions to leave out, a whole number from 0 on")
    if k_top + k_bottom >= r:
        raise ValueError(
            f"k_top={k_top} and k_bottom={k_bottom} leave nothing of {r} directions; together at most {r - 1}"
        )
    return int(k_top), int(r - k_bottom)


def _projector(side: Side, matrix: Tensor, band: Band, r: int) -> Projector:
    weight, bias = (matrix[:, :-1].contiguous(), matrix[:, -1].contiguous()) if side.has_bias else (matrix, None)
    if side.kind == "exact":
        return Projector(weight, bias)
    return Projector(weight, bias, side.kind, f"directions {band.k_top} … {r - band.k_bottom - 1} of a linearised head")
