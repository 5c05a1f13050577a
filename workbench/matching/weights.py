"""How much of each patch a word takes: weights over patches that add up to 1."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Normalizer = Literal["minmax", "sparse", "softmax"]


def patch_weights(similarity: Tensor, image_mask: Tensor, normalizer: Normalizer, *, scaled: bool = True) -> Tensor:
    """Weights over the patches that count: similarity (…, P), a mask that broadcasts against it → (…, P), each row adds up to 1.

    "minmax": (s - min) / (max - min) per word (FSC-CLIP, arXiv 2410.05210, eq. 6 and 7); "sparse": the same, zero where that
    is below 1/P (SPARC, arXiv 2401.09865), P the patches that count; "softmax": as its name says. `scaled=False` leaves out what
    only scales a row, for directions. Raises ValueError for another name. The trap: one patch, or patches that all answer
    alike, leave min-max with 0/0, which the authors' code returns as NaN; here they share equally.
    """
    if normalizer not in ("minmax", "sparse", "softmax"):
        raise ValueError(f"normalizer={normalizer!r}; choose 'minmax', 'sparse' or 'softmax'")
    if normalizer == "softmax":
        return similarity.masked_fill(~image_mask, -torch.inf).softmax(-1)
    whole = bool(image_mask.all())  # then nothing has to be kept out, in half as many passes
    low, high = (_end(similarity, image_mask, whole, least) for least in (True, False))
    span = high - low
    flat = span <= 0
    weights = similarity - low
    if bool(flat.any()):
        weights, span = torch.where(flat, 1, weights), torch.where(flat, 1, span)
    weights = weights if whole else weights * image_mask
    if normalizer == "sparse":
        weights = weights * (weights >= span / image_mask.sum(-1, keepdim=True))
    return weights / weights.sum(-1, keepdim=True) if scaled else weights


def _end(similarity: Tensor, image_mask: Tensor, whole: bool, least: bool) -> Tensor:
    """The least or largest of each row over the patches that count."""
    counted = similarity if whole else similarity.masked_fill(~image_mask, torch.inf if least else -torch.inf)
    return counted.amin(-1, keepdim=True) if least else counted.amax(-1, keepdim=True)
