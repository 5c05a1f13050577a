"""How much of each patch a word takes: weights over patches that add up to 1."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Normalizer = Literal["minmax", "sparse", "softmax"]


def patch_weights(similarity: Tensor, image_mask: Tensor, normalizer: Normalizer) -> Tensor:
    """Weights over the patches that count: similarity (…, P), a mask that broadcasts against it → (…, P), each row adds up to 1.

    "minmax": (s - min) / (max - min) per word (FSC-CLIP, arXiv 2410.05210, eq. 6 and 7); "sparse": the same, zero where that
    is below 1/P (SPARC, arXiv 2401.09865), P the patches that count; "softmax": as its name says. Raises ValueError for
    another name. The trap: one patch, or patches that all answer alike, leave min-max with 0/0, which the authors' code
    returns as NaN; here they share equally.
    """
    if normalizer not in ("minmax", "sparse", "softmax"):
        raise ValueError(f"normalizer={normalizer!r}; choose 'minmax', 'sparse' or 'softmax'")
    if normalizer == "softmax":
        return similarity.masked_fill(~image_mask, -torch.inf).softmax(-1)
    low = similarity.masked_fill(~image_mask, torch.inf).amin(-1, keepdim=True)
    span = similarity.masked_fill(~image_mask, -torch.inf).amax(-1, keepdim=True) - low
    weights = torch.where(span > 0, (similarity - low) / span, 1) * image_mask
    if normalizer == "sparse":
        weights = weights * (weights >= 1 / image_mask.sum(-1, keepdim=True))
    return weights / weights.sum(-1, keepdim=True)
