"""A batch's logits (B, B) square by square, and gradients that are formed while a square is at hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from workbench.losses.checks import Directions

# Smaller squares stay in a processor's cache and save a few per cent on an idle machine, but each of the many operations on
# a square waits for the last thread, which on a busy machine took three times as long in all.
TILE_BYTES = {"cpu": 2**26, "meta": 2**26}  # meta: plans are of this machine
TILE_BYTES_ELSEWHERE = 2**28
KEEP_BYTES = 2**28  # all squares of a batch no larger than this are kept where they are needed twice


def tile_side(chunk_size: int | None, batch: int, like: Tensor) -> int:
    """Rows and columns of a square: what was asked for, or equal parts of the batch within the budget of bytes."""
    if chunk_size is not None:
        return min(int(chunk_size), batch)
    budget = TILE_BYTES.get(like.device.type, TILE_BYTES_ELSEWHERE)
    most = max(1, math.isqrt(budget // like.element_size()))
    return math.ceil(batch / math.ceil(batch / most))


def keeps(chunk_size: int | None, batch: int, like: Tensor) -> bool:
    """Whether a second round may read the first one's logits: one square is all, or nothing was asked and all are small."""
    most = KEEP_BYTES if chunk_size is None else chunk_size**2 * like.element_size()
    return batch**2 * like.element_size() <= most


class Tiles:
    """Squares of t x yᵀ for unit rows x, y (B, d), in a fixed order, in the memory of one or, with `keep`, each its own.

    With `keep` a second round repeats no product, and finds what the first one has written over the logits.
    """

    def __init__(self, x: Tensor, y: Tensor, scale: float, side: int, keep: bool = False):
        self.x, self.y, self.scale = x, y, scale
        self.parts = [slice(start, min(start + side, len(x))) for start in range(0, len(x), side)]
        self._scratch = [x.new_empty(side * side) for _ in range(2)]
        self._shared = None if keep else x.new_empty(side * side)
        self._kept: dict[tuple[int, int], Tensor] = {}

    def __iter__(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """Rows i, columns k and logits (i, k); without `keep` the next step writes over them."""
        for i in self.parts:
            for k in self.parts:
                yield i, k, self._kept[i.start, k.start] if (i.start, k.start) in self._kept else self._logits(i, k)

    def _logits(self, i: slice, k: slice) -> Tensor:
        if self._shared is None:
            out = self._kept[i.start, k.start] = self.x.new_empty(i.stop - i.start, k.stop - k.start)
        else:
            out = _as_tile(self._shared, i, k)
        return torch.addmm(out, self.x[i], self.y[k].T, beta=0, alpha=self.scale, out=out)

    def scratch(self, i: slice, k: slice) -> list[Tensor]:
        """Two more tensors (i, k) to write on."""
        return [_as_tile(memory, i, k) for memory in self._scratch]


def _as_tile(memory: Tensor, i: slice, k: slice) -> Tensor:
    rows, columns = i.stop - i.start, k.stop - k.start
    return memory[: rows * columns].view(rows, columns)


class Gradients:
    """Sums G y and Gᵀ x over squares G of the gradient to t x yᵀ, for those of (image, text, scale, bias) that want one."""

    def __init__(self, x: Tensor, y: Tensor, wanted: Sequence[bool]):
        image, text, scale, self._bias = wanted
        self.x, self.y = x, y
        self.to_x = torch.zeros_like(x) if image or (scale and not text) else None
        self.to_y = torch.zeros_like(y) if text else None
        self.to_bias = x.new_zeros(())

    def add(self, i: slice, k: slice, gradient: Tensor) -> None:
        if self.to_x is not None:
            self.to_x[i].addmm_(gradient, self.y[k])
        if self.to_y is not None:
            self.to_y[k].addmm_(gradient.T, self.x[i])
        if self._bias:
            self.to_bias += gradient.sum()

    def finish(self, image: Directions, text: Directions, scale: float, weight: float) -> list[Tensor]:
        """Gradients to image, text, scale and bias of weight * loss. The one to scale is Σ G ∘ x yᵀ = Σ x ∘ (G y)."""
        to_scale = None
        if self.to_y is not None:
            to_scale = _through_norm(self.to_y, text, scale * weight)
        if self.to_x is not None:
            to_scale = _through_norm(self.to_x, image, scale * weight)
        return [self.to_x, self.to_y, None if to_scale is None else to_scale.mul_(weight), self.to_bias.mul_(weight)]


def _through_norm(gradient: Tensor, rows: Directions, factor: float) -> Tensor:
    """From unit rows back to rows, in place: what lies along a row is lost. Returns the sum of what did."""
    along = torch.bmm(gradient.unsqueeze(1), rows.unit.unsqueeze(2)).squeeze(2)  # (B, 1), nothing of (B, d) on the way
    gradient.addcmul_(rows.unit, along, value=-1).mul_(factor / rows.norm)
    return along.sum()


def formed(
    form: Callable[[Sequence[bool]], tuple[Tensor, Sequence[Tensor | None]]], inputs: Sequence[Tensor]
) -> Tensor:
    """The loss of `form(wanted)`, whose gradients to `inputs` come with it, as a part of autograd's graph."""
    wanted = [torch.is_grad_enabled() and x.requires_grad for x in inputs]
    with torch.no_grad(), _full_precision(inputs[0].device):
        loss, gradients = form(wanted)
    if not any(wanted):
        return loss
    return _Formed.apply(loss, [g if w else None for g, w in zip(gradients, wanted, strict=False)], *inputs)


def _full_precision(device: torch.device) -> AbstractContextManager:
    """Autocast would put products into halves; here they stay in the working dtype."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


class _Formed(torch.autograd.Function):
    """A loss whose gradients are known already, and therefore not differentiable again."""

    @staticmethod
    def forward(ctx, loss: Tensor, gradients: Sequence[Tensor | None], *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*gradients)
        ctx.dtypes = [x.dtype for x in inputs]
        return loss

    @staticmethod
    def backward(ctx, upstream: Tensor):
        if torch.is_grad_enabled():  # torch's once_differentiable would let a penalty on the gradient count as constant
            raise RuntimeError(
                "create_graph=True asks for gradients of this loss's gradients, which are formed with it and have none; "
                "compute logits and loss with plain torch operations for that"
            )
        saved = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        return None, None, *(None if g is None else (g * upstream).to(dtype) for g, dtype in saved)
