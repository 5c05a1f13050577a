"""Scores of N pictures against M captions, some pairs at a time, so that what a pair needs never stands in memory whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

MAX_BYTES = 256 << 20


def in_blocks(
    form: Callable[[slice, slice], Tensor], images: int, texts: int, bytes_per_pair: int, max_bytes: int
) -> Tensor:
    """`form(rows, columns)` gives the scores (n, m) of a slice of pictures with one of captions; joined: (N, M).

    A block holds as many pairs as `max_bytes` has room for, one at least. Raises ValueError for max_bytes below 1.
    """
    rows, columns = _block(images, texts, bytes_per_pair, max_bytes)
    return torch.cat(
        [
            torch.cat([form(slice(n, n + rows), slice(m, m + columns)) for m in range(0, texts, columns)], dim=1)
            for n in range(0, images, rows)
        ]
    )


def _block(images: int, texts: int, bytes_per_pair: int, max_bytes: int) -> tuple[int, int]:
    check_bytes(max_bytes)
    pairs = max(max_bytes // bytes_per_pair, 1)
    columns = min(texts, pairs)
    return max(pairs // columns, 1), columns


def slices(length: int, size: int) -> Iterator[slice]:
    """`length` things, `size` at a time, one at least."""
    size = max(size, 1)
    return (slice(start, start + size) for start in range(0, length, size))


def check_bytes(max_bytes: int) -> None:
    if max_bytes < 1:
        raise ValueError(f"max_bytes={max_bytes}; give the bytes that a block of cosines may take")
