"""The sigmoid loss of SigLIP and SAIL, in three products of (B, d) and (d, B) and no more memory than a square of logits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from workbench.losses import checks
from workbench.losses.checks import Directions
from workbench.losses.tiles import Gradients, Tiles, formed, tile_side


def sigmoid_loss(
    image: Tensor,
    text: Tensor,
    logit_scale: Tensor | float,
    logit_bias: Tensor | float,
    *,
    extra_text: Tensor | None = None,
    multi_positive: str = "sum",
    reduction: str = "pairs",
    chunk_size: int | None = None,
) -> Tensor:
    """softplus(-z l) over all pairs, l = t x·y + b, z = 1 for row b of both and -1 else: image, text (B, d) → ().

    `reduction` "pairs" is the mean over B² pairs (SAIL, arXiv 2412.04616), "batch" their sum over B (SigLIP, Zhai et
    al. 2023, arXiv 2303.15343). `extra_text` (B, d) is a second caption of each picture: multi_positive "sum" is
    L(I, T) + L(I, T'), the paper's; "half" the mean over (B, 2B), what the authors' code takes and half of that. Trap:
    as printed, exp(z(-t x·y + b)) has the bias the wrong way round; here as in the code it is added, and starts at -10.

    `logit_scale` is already exponentiated. Logits are computed `chunk_size` rows by as many columns at a time, None for
    a size that fits the device; loss and gradients are exact for each, the same bits for the same. Halves are computed
    in float32. Not differentiable twice. Raises ValueError or TypeError for unequal shapes, one pair only (no
    negatives), rows without a finite direction, a scale that is not positive, a bias that is not finite.
    """
    captions = {"text": text} if extra_text is None else {"text": text, "extra_text": extra_text}
    for name, caption in captions.items():
        checks.check_pair(image, caption, name)
    checks.check_choice("multi_positive", multi_positive, ("sum", "half"))
    checks.check_choice("reduction", reduction, ("pairs", "batch"))
    checks.check_chunk_size(chunk_size)
    dtype = checks.working_dtype(image, *captions.values())
    scale = checks.number("logit_scale", logit_scale, image, dtype)
    bias = checks.number("logit_bias", logit_bias, image, dtype)
    numbers = checks.positive("logit_scale", scale), checks.finite("logit_bias", bias)
    weight = 1 / len(image) ** (2 if reduction == "pairs" else 1)
    weight /= 2 if extra_text is not None and multi_positive == "half" else 1

    rows = checks.directions("image", image, dtype)
    side = tile_side(chunk_size, len(image), rows.unit)
    total = 0
    for name, caption in captions.items():
        form = partial(_loss_and_gradients, rows, checks.directions(name, caption, dtype), *numbers, weight, side)
        total = total + formed(form, (image, caption, scale, bias))
    return total


def _loss_and_gradients(
    image: Directions, text: Directions, t: float, b: float, weight: float, side: int, wanted: Sequence[bool]
):
    tiles = Tiles(image.unit, text.unit, t, side)
    gradients = Gradients(image.unit, text.unit, wanted) if any(wanted) else None
    losses = []
    for i, k, logits in tiles:
        wrong = logits.add_(b)  # -z l: how far a pair is on the wrong side; positives are turned round
        if i == k:
            wrong.diagonal().neg_()
        losses.append(_sum_of_softplus(wrong, *tiles.scratch(i, k)))
        if gradients:
            slope = wrong.sigmoid_()
            if i == k:
                slope.diagonal().neg_()
            gradients.add(i, k, slope)
    return torch.stack(losses).sum() * weight, gradients and gradients.finish(image, text, t, weight)


def _sum_of_softplus(x: Tensor, e: Tensor, u: Tensor) -> Tensor:
    """Σ max(x, 0) + log(1 + exp(-|x|)), as exact as torch.log1p, which takes a CPU five times as long.

    log(1 + e) is log(u) for the rounded u = 1 + e, plus what the rounding lost: (e - (u - 1)) / u.
    """
    torch.abs(x, out=e).neg_().exp_()
    torch.add(e, 1, out=u)
    lost = e.sub_(u.sub_(1)).div_(u.add_(1)).sum()
    return u.log_().sum() + lost + torch.clamp(x, min=0, out=e).sum()
