"""Training losses. Inputs are normalised inside; scales come exponentiated."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def clip_loss(image: Tensor, text: Tensor, logit_scale: Tensor | float) -> Tensor:
    """Symmetric InfoNCE of CLIP (Radford et al. 2021, arXiv 2103.00020, figure 3): image (B, d), text (B, d) → ().

    Row b of both belongs together. `logit_scale` is already exponentiated. Raises ValueError for unequal shapes or one
    pair only (its loss is constant 0).
    """
    if image.shape != text.shape or image.ndim != 2:
        raise ValueError(
            f"image {tuple(image.shape)} and text {tuple(text.shape)} must both be (B, d) with the same B and d"
        )
    if len(image) < 2:
        raise ValueError("one pair has no negatives; give a batch of two or more")
    logits = logit_scale * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T  # (B, B), rows are images
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
