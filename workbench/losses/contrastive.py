"""InfoNCE of CLIP, in four products of (B, d) and (d, B), three where all logits are few enough to be kept."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from workbench.losses import checks
from workbench.losses.checks import Directions
from workbench.losses.tiles import Gradients, Tiles, formed, keeps, tile_side


def clip_loss(image: Tensor, text: Tensor, logit_scale: Tensor | float, *, chunk_size: int | None = None) -> Tensor:
    """Symmetric InfoNCE of CLIP (Radford et al. 2021, arXiv 2103.00020, figure 3): image (B, d), text (B, d) → ().

    Row b of both belongs together. `logit_scale` is already exponentiated. Logits are computed `chunk_size` rows by as
    many columns at a time, None for a size that fits the device; loss and gradients are exact for each, the same bits
    for the same. Without a `chunk_size` logits of up to 256 MiB are kept, which saves computing them twice. Halves are
    computed in float32. Not differentiable twice. Raises ValueError or TypeError for unequal shapes, one pair only (its
    loss is constant 0), rows without a finite direction, a scale that is not positive.
    """
    checks.check_pair(image, text)
    checks.check_chunk_size(chunk_size)
    dtype = checks.working_dtype(image, text)
    scale = checks.number("logit_scale", logit_scale, image, dtype)
    t = checks.positive("logit_scale", scale)
    rows, columns = checks.directions("image", image, dtype), checks.directions("text", text, dtype)
    side, keep = (choose(chunk_size, len(image), rows.unit) for choose in (tile_side, keeps))
    form = partial(_loss_and_gradients, rows, columns, t, side, keep)
    return formed(form, (image, text, scale))


def _loss_and_gradients(image: Directions, text: Directions, t: float, side: int, keep: bool, wanted: Sequence[bool]):
    tiles = Tiles(image.unit, text.unit, t, side, keep and any(wanted))
    rows, columns, own = _totals(tiles)
    loss = (rows.log_loss(own) + columns.log_loss(own)) / 2
    if not any(wanted):
        return loss, None
    gradients = Gradients(image.unit, text.unit, (*wanted, False))
    for i, k, logits in tiles:
        first, second = tiles.scratch(i, k)
        gradient = rows.softmax(i, logits, 1, first).add_(columns.softmax(k, logits, 0, second))
        if i == k:
            gradient.diagonal().sub_(2)
        gradients.add(i, k, gradient)
    return loss, gradients.finish(image, text, t, 1 / (2 * len(own)))


def _totals(tiles: Tiles) -> tuple[_Totals, _Totals, Tensor]:
    """The first round: of each row, of each column, and the logits of the pairs that belong together."""
    own = tiles.x.new_empty(len(tiles.x))
    rows, columns = _Totals(own), _Totals(own)
    for i, k, logits in tiles:
        scratch, _ = tiles.scratch(i, k)
        rows.include(i, logits, 1, scratch)
        columns.include(k, logits, 0, scratch)
        if i == k:
            own[i] = logits.diagonal()
    return rows, columns, own


class _Totals:
    """Log-sum-exp of B rows or columns that come in parts: `top` the largest logit so far, `total` = Σ exp(l - top)."""

    def __init__(self, like: Tensor):
        self.top = torch.full_like(like, -torch.inf)
        self.total = torch.zeros_like(self.top)

    def include(self, part: slice, logits: Tensor, dim: int, scratch: Tensor) -> None:
        before = self.top[part]
        top = torch.maximum(before, logits.amax(dim))
        here = torch.sub(logits, top.unsqueeze(dim), out=scratch).exp_().sum(dim)
        self.total[part] = self.total[part] * (before - top).exp_() + here
        self.top[part] = top

    def log_loss(self, own: Tensor) -> Tensor:
        """Mean over B of -log softmax at the own pair. Near 0 the difference of two large numbers is taken first."""
        return (self.top - own + self.total.log()).mean()

    def softmax(self, part: slice, logits: Tensor, dim: int, out: Tensor) -> Tensor:
        shares = torch.sub(logits, self.top[part].unsqueeze(dim), out=out).exp_()
        return shares.div_(self.total[part].unsqueeze(dim))
