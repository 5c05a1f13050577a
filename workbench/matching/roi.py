"""Regions out of one pass: what the patches under a box say on average, without encoding the box again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from workbench.features import ImageFeatures
from workbench.matching.crops import Box, Regions, whole_box
from workbench.matching.tokens import checked_mask, unit


def roi_features(
    image: ImageFeatures,
    boxes: Sequence[Sequence[Box]],
    frames: Sequence[Box],
    *,
    normalize: Literal["each", "whole"] = "each",
) -> Regions:
    """ROI-pooled patches: features of N pictures with tokens, boxes[n] of each → `Regions` (N, R, d), from one forward pass.

    A region is the mean of its patches, each weighed by the area of its cell under the box. `frames[n]` is the part of
    picture n that the patch grid covers, in the pixels that boxes are in: the whole picture (0, 0, width, height), or, where
    a model crops, what `matching.seen.seen_box` says. Of a box only what lies in the frame counts; a box outside it is
    masked. "each" averages patches of length 1; "whole" patches as they are, so that of a linear head on an average pool the
    full box is the image embedding. With segments this is rule R13, ⟨ROI-pool(P, box), g⟩, what crops are compared with.
    Raises ValueError for missing tokens, lists that do not fit the pictures, a box that is not four whole pixels or is empty,
    or a picture with no box in its frame.

    The trap: last-layer patches have looked at the whole picture, so a pooled box is not what is in the box.
    """
    if image.tokens is None:
        raise ValueError("these features have no patch tokens; encode the pictures with encode_image(tokens=True)")
    if normalize not in ("each", "whole"):
        raise ValueError(f"normalize={normalize!r}; choose 'each' (patches of length 1) or 'whole' (as they are)")
    checked_mask("image", image.tokens, None)
    for what, given in (("lists of boxes", boxes), ("frames", frames)):
        if len(given) != len(image):
            raise ValueError(f"{len(given)} {what} for {len(image)} pictures; give each its own")
    patches = unit(image.tokens) if normalize == "each" else image.tokens.float()
    whole = tuple(tuple(_checked(n, box) for box in each) for n, each in enumerate(boxes))
    seen = [_checked(n, frame) for n, frame in enumerate(frames)]
    shares = [_shares(n, each, seen[n], image.grid) for n, each in enumerate(whole)]
    weights = torch.nn.utils.rnn.pad_sequence(shares, batch_first=True).to(patches)  # (N, R, P)
    total = weights.sum(-1, keepdim=True)
    mask = total[..., 0] > 0
    return Regions(weights @ patches / torch.where(total > 0, total, 1), mask, whole)


def _shares(n: int, boxes: tuple[Box, ...], frame: Box, grid: tuple[int, int]) -> Tensor:
    """The part of every cell that lies under each box: (R, P), in cells."""
    shares = [_sides(box, frame, grid) for box in boxes]
    if not any(each.any() for each in shares):
        raise ValueError(f"picture {n} has no box in what the model sees of it, {frame}; give one that reaches into it")
    return torch.stack(shares)


def _sides(box: Box, frame: Box, grid: tuple[int, int]) -> Tensor:
    """The part of every cell that lies under one box: (P,)."""
    rows, columns = (_covered(box[k], box[k + 2], frame[k], frame[k + 2], grid[1 - k]) for k in (1, 0))
    return torch.outer(rows, columns).flatten()


def _covered(begin: int, end: int, low: int, high: int, cells: int) -> Tensor:
    """How much of each of `cells` equal steps from low to high lies between begin and end: (cells,), 1 for all of it."""
    edges = torch.linspace(0, cells, cells + 1, dtype=torch.float64)
    begin, end = ((place - low) / (high - low) * cells for place in (begin, end))
    return (edges[1:].clamp(max=end) - edges[:-1].clamp(min=begin)).clamp(min=0)


def _checked(n: int, box) -> Box:
    sides = whole_box(box)
    if len(sides) != 4 or sides[0] >= sides[2] or sides[1] >= sides[3]:
        raise ValueError(f"picture {n}: {box!r} is no box; give (left, top, right, bottom) in whole pixels")
    return sides
