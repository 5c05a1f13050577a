"""FSC-CLIP's whole loss: contrast within the batch, and each picture's own hard negatives, globally and word by word."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.losses import checks
from workbench.losses.contrastive import clip_loss
from workbench.losses.negatives import MISSING, check_negatives, hard_negative_loss


def fsc_loss(
    image: Tensor,
    text: Tensor,
    negatives: Tensor,
    logit_scale: Tensor | float,
    *,
    local: Tensor | None = None,
    valid: Tensor | None = None,
    global_weight: float = 0.5,
    local_weight: float = 0.2,
    gamma: float = 2.0,
    smoothing: float = 0.02,
    missing: str = "mask",
) -> Tensor:
    """L_clip + λ_g L_neg^g + λ_l L_neg^l of FSC-CLIP (arXiv 2410.05210, eq. 11): image, text (B, d), negatives (B, K, d) → ().

    Both hard-negative terms are `hard_negative_loss` with this gamma and smoothing ("selective calibrated regularisation"), the
    local one on `local` (B, 1 + K), log S_l of `matching.local_similarity` at the same scale, the true caption first. A weight
    of 0 leaves its term out. The trap: a picture sees its own negatives only, and no other picture sees them; NegCLIP's loss
    shows them to all. Raises ValueError for a negative weight, `local` missing or of another shape, and as the terms do.
    """
    _check(image, text, negatives, valid, local, global_weight, local_weight, missing)
    calibrated = {"gamma": gamma, "smoothing": smoothing, "missing": missing}
    total = clip_loss(image, text, logit_scale)
    if global_weight:
        logits = logit_scale * own_cosines(image, text, negatives)
        total = total + global_weight * hard_negative_loss(logits, valid, **calibrated)
    if local_weight:
        total = total + local_weight * hard_negative_loss(local, valid, **calibrated)
    return total


def own_cosines(image: Tensor, text: Tensor, negatives: Tensor) -> Tensor:
    """Cosines of each picture with its caption and its own negatives: (B, 1 + K). A feature of zeros has cosine 0."""
    dtype = checks.working_dtype(image, text, negatives)
    candidates = F.normalize(torch.cat([text[:, None], negatives], 1).to(dtype), dim=-1)
    return torch.einsum("bd,bkd->bk", F.normalize(image.to(dtype), dim=-1), candidates)


def _check(image, text, negatives, valid, local, global_weight, local_weight, missing) -> None:
    checks.check_pair(image, text)
    checks.check_choice("missing", missing, MISSING)
    check_negatives(negatives, valid, image)
    for name, weight in (("global_weight", global_weight), ("local_weight", local_weight)):
        if not weight >= 0:
            raise ValueError(f"{name}={weight!r}; give 0 or more (FSC-CLIP: 0.5 and 0.2)")
    shape = (len(image), 1 + negatives.shape[1])
    if local_weight and (local is None or tuple(local.shape) != shape):
        told = None if local is None else tuple(local.shape)
        raise ValueError(
            f"local is {told}; with local_weight={local_weight} give {shape} of matching.local_similarity, or local_weight=0"
        )
