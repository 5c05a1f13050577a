"""The operators between features before the projection: across modalities, and within one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from workbench.features import Projector

Modality = Literal["image", "text"]


@dataclass(frozen=True)
class Side:
    """One projector in float64 on the CPU: matrix (d, d_in), or (d, d_in + 1) with its bias as the last column."""

    matrix: Tensor
    has_bias: bool
    kind: str
    dtype: torch.dtype
    """The precision of what goes back out: float32, or float64 where that came in."""
    eps: float
    """Rounding of the numbers as they came, at most float32's: what tells a small singular value from none."""


def inter_modal_operator(W_i, W_t) -> Tensor:
    """Psi = W_i^T W_t: (d, d_i) and (d, d_t) → (d_i, d_t), so that f^T Psi g is the score of pre f with pre g, not normalised.

    Takes arrays, tensors or `Projector`s. A projector's bias is kept as one more column at the end, for features with a
    constant 1 appended: then Psi has d_i + 1 or d_t + 1 on that side (IsoCLIP, arXiv 2603.19862, definition of Psi; the
    bias as its code treats SigLIP 2). Computed in float64; float32, or float64 where a side came so. The trap: CLIP's code
    stores the transposes, (d_in, d), which square matrices hide. Raises ValueError for unequal d, another number of axes,
    NaN, infinite values, only zeros, or a projector of kind "none"; TypeError for what is no matrix.
    """
    image, text = both_sides(W_i, W_t)
    return (image.matrix.T @ text.matrix).to(_finer(image, text))


def intra_modal_operator(W) -> Tensor:
    """Psi_i = W_i^T W_i or Psi_t = W_t^T W_t: (d, d_in) → (d_in, d_in). Arguments and errors as in `inter_modal_operator`."""
    side = as_side(W, "W")
    return (side.matrix.T @ side.matrix).to(side.dtype)


def both_sides(W_i, W_t) -> tuple[Side, Side]:
    """Both projectors, checked alone and against each other."""
    image, text = as_side(W_i, "W_i"), as_side(W_t, "W_t")
    if len(image.matrix) != len(text.matrix):
        shapes = f"W_i {tuple(image.matrix.shape)} and W_t {tuple(text.matrix.shape)}"
        raise ValueError(
            f"{shapes} (bias columns included) do not meet in one space: both are (d, d_in) with the same d; a weight that "
            "is stored as (d_in, d), as CLIP's code does, has to be transposed"
        )
    return image, text


def as_side(weight, name: str) -> Side:
    """A projector as a matrix. Raises ValueError or TypeError as `inter_modal_operator` says."""
    bias, kind = None, "exact"
    if isinstance(weight, Projector):
        if weight.weight is None:
            raise ValueError(f"{name} has no projection matrix: {weight.reason}; a spectrum needs one on both sides")
        weight, bias, kind = weight.weight, weight.bias, weight.kind
    if not isinstance(weight, (Tensor, np.ndarray)):
        raise TypeError(f"{name} is a {type(weight).__name__}; give an array or tensor (d, d_in), or a Projector")
    # A copy: torch warns of arrays that cannot be written to, such as mapped files, and takes none with negative strides.
    weight = (torch.from_numpy(weight.copy()) if isinstance(weight, np.ndarray) else weight).detach()
    if weight.ndim != 2 or 0 in weight.shape or not weight.is_floating_point():
        raise ValueError(f"{name} {tuple(weight.shape)}, {weight.dtype}: a projector is (d, d_in) of floating numbers")
    matrix = weight.cpu().double()
    if bias is not None:
        matrix = torch.cat([matrix, bias.detach().cpu().double()[:, None]], 1)
    if not bool(matrix.isfinite().all()):
        raise ValueError(f"{name} holds NaN or infinite values; check the checkpoint it came from")
    if not bool(matrix.any()):
        raise ValueError(f"{name} is zeros: it projects everything onto one point; check the checkpoint it came from")
    double = weight.dtype == torch.float64
    dtype = torch.float64 if double else torch.float32
    return Side(matrix, bias is not None, kind, dtype, torch.finfo(dtype).eps)


def with_ones(pre: Tensor, side: Side, name: str) -> Tensor:
    """Features (N, d_in) in float64, with the constant that a bias column needs. Raises ValueError for another width."""
    pre = torch.as_tensor(pre).detach().cpu().double()
    width = side.matrix.shape[1] - side.has_bias
    if pre.ndim != 2 or pre.shape[1] != width:
        raise ValueError(f"{name} of shape {tuple(pre.shape)}; this projector takes `pre` features (N, {width})")
    if not bool(pre.isfinite().all()):
        raise ValueError(f"{name} hold NaN or infinite values; a model gave a broken feature, check its inputs")
    return torch.cat([pre, pre.new_ones(len(pre), 1)], 1) if side.has_bias else pre


def _finer(image: Side, text: Side) -> torch.dtype:
    return torch.promote_types(image.dtype, text.dtype)
