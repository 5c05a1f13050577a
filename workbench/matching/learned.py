"""Scores of every picture with every caption by a trained head that reads one pair at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from workbench.matching.blocks import MAX_BYTES, in_blocks

_ROOM = 8  # times what goes in: what a head of a few layers makes of it on the way


def pair_scores(
    head: nn.Module, image: Mapping[str, Tensor], text: Mapping[str, Tensor], *, max_bytes: int = MAX_BYTES
) -> Tensor:
    """`head(**pictures, **captions) → (B,)` for all pairs: tensors of N and of M rows, by the head's own names → (N, M).

    A head of pairs costs a pass for each of N · M. They go by in blocks whose inputs take an eighth of `max_bytes`, on the
    head's device, in evaluation and without gradients; the scores are float32 on the CPU. Raises ValueError for no pictures
    or captions, and where the head gives another shape, or NaN.
    """
    n, m = (len(next(iter(side.values()))) for side in (image, text))
    if not n or not m:
        raise ValueError(f"{n} pictures and {m} captions; give at least one of each")
    size = sum(x[0].nbytes for x in (*image.values(), *text.values()))
    with reading(head) as device:

        def scores(rows: slice, columns: slice) -> Tensor:
            pictures, captions = torch.meshgrid(_numbers(rows, n), _numbers(columns, m), indexing="ij")
            sides = (image, pictures.flatten()), (text, captions.flatten())
            inputs = {name: x[places].to(device) for side, places in sides for name, x in side.items()}
            return checked(head(**inputs), pictures.numel()).view(pictures.shape)

        return in_blocks(scores, n, m, _ROOM * size, max_bytes)


def _numbers(part: slice, length: int) -> Tensor:
    return torch.arange(*part.indices(length))


def checked(found: Tensor, pairs: int) -> Tensor:
    """A head's scores as float32 on the CPU. Raises ValueError for another shape than (pairs,), NaN or infinite values."""
    if found.shape != (pairs,):
        raise ValueError(f"the head gave scores of shape {tuple(found.shape)} for {pairs} pairs; it must give (B,)")
    if not torch.isfinite(found).all():
        raise ValueError("the head's scores hold NaN or infinity; check its weights, or train it at a lower rate")
    return found.float().cpu()


@contextmanager
def reading(head: nn.Module) -> Iterator[torch.device]:
    """A trained head in evaluation and without gradients; the device of its weights."""
    training = [part for part in head.modules() if part.training]
    head.eval()
    try:
        with torch.no_grad():
            yield next((each.device for each in head.parameters()), torch.device("cpu"))
    finally:
        for part in training:  # one by one: train() would also wake what was put to rest on purpose
            part.training = True
