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
    check_negatives(negatives, valid, image)
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


def hard_negative_loss(
    logits: Tensor,
    valid: Tensor | None = None,
    *,
    gamma: float = 0.0,
    smoothing: float = 0.0,
    missing: Literal["mask", "zero"] = "mask",
) -> Tensor:
    """FSC-CLIP's loss on a caption and its K negatives (arXiv 2410.05210, eq. 4, 9 and 10): logits (B, 1 + K) → ().

    Column 0 is the true caption, logits are scaled similarities: global ones, or `matching.local_similarity`. The mean over
    pictures of Σ_k y_k (1 − p_k)^gamma (−log p_k), p their softmax and y = 1 − smoothing for the true one and smoothing /
    (1 + K) more for each. Where `valid` (B, K) is false there is no negative: "mask" leaves it out of the softmax, "zero" keeps
    it there with a logit of 0, as the authors' code does; smoothing counts those that are there. A picture without a negative
    is left out; where none has one the loss is 0.

    The traps: the weight (1 − p)^gamma takes part in the gradient, as in the authors' code; with smoothing a confident row is
    pulled back. Raises TypeError or ValueError for what is no floating-point (B, 1 + K), K from 1, another `valid`, a gamma
    below 0, a smoothing outside 0 … 1, another `missing`, or NaN.
    """
    valid = _checked_choices(logits, valid, gamma, smoothing)
    checks.check_choice("missing", missing, MISSING)
    rows = valid.any(1)
    logits, valid = logits[rows].to(checks.working_dtype(logits)), valid[rows]
    if not len(logits):
        return logits.sum()
    there = F.pad(valid, (1, 0), value=True)
    log_p = logits.masked_fill(~there, -torch.inf if missing == "mask" else 0.0).log_softmax(1)
    log_p = log_p.masked_fill(~there, 0.0)  # what is not there has no label, and 0 · ∞ is no number
    labels = there * smoothing / there.sum(1, keepdim=True)
    labels[:, 0] += 1 - smoothing
    rest = (-log_p.expm1()).clamp(min=torch.finfo(log_p.dtype).eps)  # 1 − p: its root has no slope at 0
    return -(labels * rest**gamma * log_p).sum(1).mean()


def _checked_choices(logits: Tensor, valid: Tensor | None, gamma: float, smoothing: float) -> Tensor:
    if not (isinstance(logits, Tensor) and logits.is_floating_point()):
        told = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
        raise TypeError(f"logits is {told}; give a floating-point tensor (B, 1 + K)")
    if logits.ndim != 2 or len(logits) == 0 or logits.shape[1] < 2:
        raise ValueError(f"logits of shape {tuple(logits.shape)}; give (B, 1 + K), the true caption first, K from 1")
    shape = (len(logits), logits.shape[1] - 1)
    valid = logits.new_ones(shape, dtype=torch.bool) if valid is None else valid
    if valid.dtype != torch.bool or valid.shape != shape:
        raise ValueError(
            f"valid {tuple(valid.shape)} of {valid.dtype}; give a boolean {shape}, true where there is one"
        )
    if not gamma >= 0:
        raise ValueError(f"gamma={gamma!r}; give 0 or more (FSC-CLIP: 2)")
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing={smoothing!r}; give a share from 0 to below 1 (FSC-CLIP: 0.02)")
    if bool(logits[:, 0].isnan().any() | logits[:, 1:][valid].isnan().any()):
        raise ValueError("logits hold NaN; look at what made them before the loss does")
    return valid


def check_negatives(negatives: Tensor, valid: Tensor | None, image: Tensor) -> None:
    """Raises ValueError unless negatives are (B, K, d) beside image (B, d), and valid boolean (B, K) or None."""
    fits = isinstance(negatives, Tensor) and negatives.ndim == 3 and negatives.shape[::2] == image.shape
    if not fits or not negatives.shape[1]:
        told = tuple(negatives.shape) if isinstance(negatives, Tensor) else type(negatives).__name__
        raise ValueError(f"negatives {told} beside image {tuple(image.shape)}; give (B, K, d), K from 1")
    if valid is not None and (valid.dtype != torch.bool or valid.shape != negatives.shape[:2]):
        raise ValueError(f"valid {tuple(valid.shape)} of {valid.dtype}; give a boolean (B, K), true where there is one")
