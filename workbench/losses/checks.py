"""What every loss asks of its input, and the unit vectors that it makes of it."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import NamedTuple

import torch
from torch import Tensor


class Directions(NamedTuple):
    """Unit rows (B, d) and the norms (B, 1) that were divided out."""

    unit: Tensor
    norm: Tensor


def check_pair(image: Tensor, text: Tensor, name: str = "text") -> None:
    for each, x in (("image", image), (name, text)):
        if not (isinstance(x, Tensor) and x.is_floating_point()):
            told = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"{each} is {told}; give a floating-point tensor (B, d)")
    if image.shape != text.shape or image.ndim != 2:
        raise ValueError(
            f"image {tuple(image.shape)} and {name} {tuple(text.shape)} must both be (B, d) with the same B and d"
        )
    if len(image) < 2:
        raise ValueError(f"a batch of {len(image)}: one pair has no negatives; give a batch of two or more")
    if image.device != text.device:
        raise ValueError(f"image is on {image.device} and {name} on {text.device}; move them to one device")


def check_chunk_size(chunk_size: int | None) -> None:
    if chunk_size is None:
        return
    if isinstance(chunk_size, bool) or not isinstance(chunk_size, Integral):
        raise TypeError(f"chunk_size is {type(chunk_size).__name__} {chunk_size!r}; give a whole number or None")
    if chunk_size < 1:
        raise ValueError(f"chunk_size={chunk_size}; give 1 or more, or None for a size that fits the device")


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}={value!r}; choose {' or '.join(map(repr, allowed))}")


def working_dtype(*tensors: Tensor) -> torch.dtype:
    """float64 where any input is, float32 for all else: halves are too coarse for sums over a batch."""
    return torch.float64 if any(x.dtype == torch.float64 for x in tensors) else torch.float32


def directions(name: str, x: Tensor, dtype: torch.dtype) -> Directions:
    """Unit rows of x (B, d). Raises ValueError for a row without a direction: the norms that are needed anyway tell."""
    x = x.detach().to(dtype)
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    if not x.is_meta:
        bad = (~(norm.isfinite() & (norm > 0))).flatten().nonzero()
        if len(bad):
            row = int(bad[0])
            raise ValueError(
                f"row {row} of {name} has norm {float(norm[row]):g}, {len(bad)} of {len(x)} rows have no finite direction; "
                "look for NaN, infinite and all-zero features (float16 overflows above 65504) and leave those pairs out"
            )
    return Directions(x / norm, norm)


def number(name: str, value: Tensor | float, like: Tensor, dtype: torch.dtype) -> Tensor:
    """A float, a 0-dim tensor or one of one element, as a 0-dim tensor beside `like`, in the graph where it was in one."""
    if isinstance(value, Tensor):
        if value.numel() != 1 or not value.is_floating_point():
            raise ValueError(f"{name} is {value.dtype} of shape {tuple(value.shape)}; give one floating-point number")
        return value.reshape(()).to(like.device, dtype)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} is {type(value).__name__} {value!r}; give a float or a tensor of one element")
    return torch.tensor(float(value), dtype=dtype, device=like.device)


def positive(name: str, value: Tensor) -> float:
    told = _told(value)
    if not 0 < told < math.inf:
        raise ValueError(f"{name}={told:g} must be positive and finite; give exp(theta), not theta")
    return told


def finite(name: str, value: Tensor) -> float:
    told = _told(value)
    if not math.isfinite(told):
        raise ValueError(f"{name}={told:g} must be finite; SigLIP and SAIL start at -10")
    return told


def _told(value: Tensor) -> float:
    """Shapes are all that the meta device knows: any number does there."""
    return 1.0 if value.is_meta else value.detach().item()
