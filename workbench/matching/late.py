"""Late interaction: every part of a picture against every part of a caption, the best match of each, averaged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from workbench.matching.blocks import MAX_BYTES, check_bytes, slices
from workbench.matching.tokens import check_width, checked_mask, mean_over, unit

CACHE = 4 << 20
"""Bytes of cosines that are made at a time on a CPU: what is read again at once should not have left its caches."""


def late_interaction(
    image_tokens: Tensor,
    text_tokens: Tensor,
    text_mask: Tensor | None = None,
    *,
    image_mask: Tensor | None = None,
    max_over: Literal["patches", "tokens"] = "patches",
    max_bytes: int = MAX_BYTES,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Mean of best cosines: image_tokens (N, P, d), text_tokens (M, T, d), masks (N, P) and (M, T) → float32 (N, M).

    "patches": each text token takes its best patch, averaged over the tokens that count; "tokens": each patch its best token,
    averaged over patches. These are the two directions of FILIP (arXiv 2111.07783, eq. 4 and 5); the first is ColBERT's MaxSim
    with a mean for its sum, and with re-encoded crops for patches and encoded segments for tokens it is structure-guided
    inference (arXiv 2506.09691). Cosines are made inside, a block at a time: blocks and normalised tokens stay within
    `max_bytes` (where one pair fits), and (N, M, P, T) never stands in memory whole. With `dtype=torch.bfloat16` cosines and
    their maxima are made in bfloat16 (three digits), and averaged in float32: several times as fast on a processor that has
    it, slower on one that has not. Raises ValueError for shapes or masks that do not fit, NaN or infinity even behind a mask,
    a row in which nothing counts, or another dtype.

    The traps: padding and class tokens have seen everything, so mask them; easy words raise a mean, so compare captions of
    the same words, or centre; and last-layer patches of CLIP can answer inversely, so look at the sign.
    """
    image_mask = checked_mask("image", image_tokens, image_mask)
    text_mask = checked_mask("text", text_tokens, text_mask)
    check_width(image_tokens, text_tokens)
    _check_options(max_over, dtype, max_bytes)
    if max_over == "patches":
        return _best_means(image_tokens, image_mask, text_tokens, text_mask, dtype, max_bytes)
    return _best_means(text_tokens, text_mask, image_tokens, image_mask, dtype, max_bytes).T.contiguous()


def _check_options(max_over: str, dtype: torch.dtype, max_bytes: int) -> None:
    if max_over not in ("patches", "tokens"):
        raise ValueError(
            f"max_over={max_over!r}; choose 'patches' (best patch per word) or 'tokens' (best word per patch)"
        )
    if dtype not in (torch.float32, torch.bfloat16):
        raise ValueError(f"dtype={dtype!r}; choose torch.float32, or torch.bfloat16 for fewer digits and more speed")
    check_bytes(max_bytes)


def _best_means(
    found: Tensor, found_mask: Tensor, asking: Tensor, asking_mask: Tensor, dtype: torch.dtype, max_bytes: int
) -> Tensor:
    """Each part of `asking` (M, T, d) takes the best of those of `found` (N, P, d), averaged: (N, M)."""
    (_, P, d), (_, T, _) = found.shape, asking.shape
    rows, columns = _block(P, T, max_bytes if found.is_cuda else min(max_bytes, CACHE))
    slab = max_bytes // (4 * 4 * T * d)  # while they are normalised, tokens stand in memory three times

    def scores(items: slice) -> Iterator[Tensor]:
        pieces = _counting(unit(asking[items]).to(dtype), asking_mask[items], columns)
        for some in slices(len(found), rows):
            parts = _covered(unit(found[some]).to(dtype), found_mask[some])
            yield torch.cat([_scores(parts, *piece) for piece in pieces], 1)

    return torch.cat([torch.cat(list(scores(items))) for items in slices(len(asking), slab)], 1)


def _block(P: int, T: int, room: int) -> tuple[int, int]:
    """Items of both sides whose cosines take `room` bytes, about as many parts of the one as of the other."""
    side = (room / 4) ** 0.5
    rows = max(int(side / P), 1)
    return rows, max(room // (4 * rows * P * T), 1)


def _counting(tokens: Tensor, mask: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    """`size` items at a time: the tokens that count, one after another, and the items' mask."""
    pieces = [(tokens[some], mask[some]) for some in slices(len(tokens), size)]
    return [(each.flatten(0, 1) if these.all() else each[these], these) for each, these in pieces]


def _covered(tokens: Tensor, mask: Tensor) -> Tensor:
    """What the mask hides repeats something that counts, so that it changes no maximum."""
    if mask.all():
        return tokens
    counting = tokens[torch.arange(len(tokens), device=tokens.device), mask.int().argmax(1)]
    return torch.where(mask[..., None], tokens, counting[:, None])


def _scores(found: Tensor, asking: Tensor, mask: Tensor) -> Tensor:
    """Parts (n, P, d), the counting ones (K, d) of m items, and where these stand in their items, (m, T) → (n, m)."""
    n, P, d = found.shape
    # The maximum runs over rows, so that neighbours in memory are compared side by side.
    best = (found.reshape(-1, d) @ asking.T).view(n, P, len(asking)).amax(1).float()
    return mean_over(_in_place(best, mask), mask)


def _in_place(best: Tensor, mask: Tensor) -> Tensor:
    """Values (n, K) of what counts, where it counts: (n, m, T), zero elsewhere."""
    if best.shape[1] == mask.numel():
        return best.view(-1, *mask.shape)
    placed = best.new_zeros(len(best), *mask.shape)
    placed[:, mask] = best
    return placed
