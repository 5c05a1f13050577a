"""Losses that see captions made wrong beside the true ones."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.losses import checks

MISSING = ("mask", "zero")


def negclip_loss(
    image: Tensor,
    text: Tensor,
    negatives: Tensor,
    logit_scale: Tensor | float,
    *,
    valid: Tensor | None = None,
    missing: Literal["mask", "zero"] = "mask",
) -> Tensor:
    """NegCLIP's loss (Yuksekgonul et al., arXiv 2210.01936): image (B, d), text (B, d), negatives (B, K, d) → ().

    A picture chooses among B captions and all B · K negatives of the batch, a caption among B pictures; the mean of both
    cross entropies. `logit_scale` is exponentiated already. Where `valid` (B, K) is false there is no negative: "mask" leaves
    it out, "zero" gives it a logit of 0, as public trainers do. Raises TypeError or ValueError for unequal shapes, one pair
    only, a scale that is not positive, or another `missing`.
    """
    checks.check_pair(image, text)
    checks.check_choice("missing", missing, MISSING)
    _check(negatives, valid, image)
    dtype = checks.working_dtype(image, text, negatives)
    scale = checks.number("logit_scale", logit_scale, image, dtype)
    checks.positive("logit_scale", scale)
    pictures, captions, wrong = (F.normalize(x.to(dtype), dim=-1) for x in (image, text, negatives))
    own = torch.arange(len(image), device=image.device)
    others = scale * pictures @ wrong.flatten(0, 1).mT
    if valid is not None:
        others = others.masked_fill(~valid.flatten(), -torch.inf if missing == "mask" else 0.0)
    true = scale * pictures @ captions.mT
    return (F.cross_entropy(torch.cat([true, others], 1), own) + F.cross_entropy(true.mT, own)) / 2


def _check(negatives: Tensor, valid: Tensor | None, image: Tensor) -> None:
    fits = isinstance(negatives, Tensor) and negatives.ndim == 3 and negatives.shape[::2] == image.shape
    if not fits or not negatives.shape[1]:
        told = tuple(negatives.shape) if isinstance(negatives, Tensor) else type(negatives).__name__
        raise ValueError(f"negatives {told} beside image {tuple(image.shape)}; give (B, K, d), K from 1")
    if valid is not None and (valid.dtype != torch.bool or valid.shape != negatives.shape[:2]):
        raise ValueError(f"valid {tuple(valid.shape)} of {valid.dtype}; give a boolean (B, K), true where there is one")
