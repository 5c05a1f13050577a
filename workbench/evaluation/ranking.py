"""Where the right answers stand among all: one block of whole gallery rows at a time, bounded in memory, ties against the model.

What retrieval, classification by prompts and label retrieval share. Everything here takes what its callers have checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

MAX_BYTES = 256 << 20
"""What a block of scores with its scratch may take."""

ROUNDING = 2.0**-21
"""Cosines that lie closer than this tie. One float32 product gives equal rows scores that differ by an ulp (6e-8 was seen),
depending on where in the matrix they stand; without it a scorer that always says the same would win some of its ties."""

_EVEN = 16
"""Rows of queries and gallery are filled up to a multiple of this: for what is left over, products take other kernels, whose
scores of equal rows lay up to 1.3e-5 apart."""

_BYTES_PER_RIGHT = 128  # scratch of `_take_out` and `all_ranks` for each positive of a query

_TILE = 4096  # gallery rows that are normalised at a time where a normalised copy of all would not fit


@dataclass(frozen=True)
class Right:
    """The gallery rows that are right for each query: members[starts[q] : starts[q] + counts[q]]."""

    members: Tensor
    starts: Tensor
    counts: Tensor

    def rows(self, start: int, stop: int, pad: int) -> Tensor:
        """(b, K) gallery rows of queries start … stop-1; `pad` fills up those with fewer than K."""
        counts = self.counts[start:stop, None]
        slots = torch.arange(int(counts.max()), device=counts.device)
        held = slots < counts
        return torch.where(held, self.members[(self.starts[start:stop, None] + slots).where(held, 0)], pad)


@dataclass(frozen=True)
class Block:
    """Scores (b, W) of queries from `start` on with the whole gallery and, after it, columns of padding: scratch to be spent."""

    start: int
    scores: Tensor


def feature_blocks(
    queries: Tensor, gallery: Tensor, right: Right, block: int | None, bytes_per_score: int = 4
) -> Iterator[Block]:
    """Cosines in float32, a query's all from one pass over the gallery. Raises ValueError for features without direction:
    rows of zeros, NaN or infinite values."""
    n, width = len(gallery), _padded(len(gallery))
    rows = min(block or _rows_that_fit(width, bytes_per_score, right), len(queries))
    scratch = torch.empty(_filled(rows), width, device=queries.device)
    whole = gallery.numel() * 4 <= MAX_BYTES // 2
    tiles = list(_tiles(gallery, n)) if whole else None
    for start in range(0, len(queries), rows):
        unit = _unit(queries, start, rows, "queries")
        for first, tile in tiles or _tiles(gallery, _TILE):
            torch.mm(unit, tile.T, out=scratch[: len(unit), first : first + len(tile)])
        yield Block(start, scratch[: min(rows, len(queries) - start)])


def score_blocks(scores: Tensor, right: Right, bytes_per_score: int = 4) -> Iterator[Block]:
    """Copies of scores (Q, G), block by block, in float32 or, where they are finer, float64."""
    kind = torch.float32 if scores.dtype in (torch.float32, torch.float16, torch.bfloat16) else torch.float64
    n, width = scores.shape[1], _padded(scores.shape[1])
    rows = min(_rows_that_fit(width, bytes_per_score * kind.itemsize // 4, right), len(scores))
    scratch = torch.empty(rows, width, dtype=kind, device=scores.device)
    for start in range(0, len(scores), rows):
        part = scores[start : start + rows].detach()
        scratch[: len(part), :n] = part
        yield Block(start, scratch[: len(part)])


def one_rank(blocks: Iterable[Block], right: Right, gallery: int, *, worst: bool = False, tie: float = 0.0) -> Tensor:
    """Rank (1 is best) of each query's best positive among the others, or of its worst among all: (Q,) int64."""
    ranks = torch.empty(len(right.counts), dtype=torch.int64, device=right.counts.device)
    for block in blocks:
        stop = block.start + len(block.scores)
        own = _take_out(block, right, gallery, None, fill=torch.inf if worst else -torch.inf)
        threshold = own.amin(1, keepdim=True) if worst else own.amax(1, keepdim=True)
        # Comparing in place and adding ones costs a tenth of what counting booleans does; ones add up exactly to 2**24.
        ahead = block.scores.ge_(threshold - tie).sum(1, dtype=_exact(block.scores)).long()
        counts = right.counts[block.start : stop]
        ranks[block.start : stop] = ahead.minimum(gallery - counts) + (counts if worst else 1)
    return ranks


def all_ranks(
    blocks: Iterable[Block], right: Right, gallery: int, *, self_of: Callable | None = None, tie: float = 0.0
) -> Iterator[tuple[int, Tensor]]:
    """Ranks among all of every positive, best first: (start, (b, K) float64), inf where a query has fewer than K.

    `self_of(start, stop)` names one gallery row per query that does not exist for it.
    """
    for block in blocks:
        stop = block.start + len(block.scores)
        without = None if self_of is None else self_of(block.start, stop)
        own = _take_out(block, right, gallery, without, fill=torch.inf).sort(1).values
        # Best first, but behind the padding. Where a positive is at -inf itself, all that is not one stands ahead.
        others = gallery - (own < torch.inf).sum(1, keepdim=True) - int(without is not None)
        ahead = _ahead(block.scores, own - tie).flip(1).minimum(others)
        held = own.flip(1) < torch.inf
        # How many positives stand up to and with this one: padding sorts in front and counts for nothing.
        ranks = (ahead + held.cumsum(1)).double().where(held, torch.inf)
        yield block.start, ranks.sort(1).values


def _take_out(block: Block, right: Right, gallery: int, without: Tensor | None, fill: float) -> Tensor:
    """Scores (b, K) of the positives, `fill` where there are fewer; in the block they, and `without`, are -inf afterwards."""
    scores = block.scores
    rows = right.rows(block.start, block.start + len(scores), pad=gallery)
    if without is not None:
        rows = rows.where(rows != without[:, None], gallery)
        scores.scatter_(1, without[:, None], -torch.inf)
    scores[:, gallery:] = fill
    own = scores.gather(1, rows)
    scores.scatter_(1, rows, -torch.inf)
    scores[:, gallery:] = -torch.inf
    return own


def _ahead(scores: Tensor, thresholds: Tensor) -> Tensor:
    """How many of scores (b, W) reach each of the ascending thresholds (b, K): (b, K) int64."""
    b, k = thresholds.shape
    reached = torch.searchsorted(thresholds, scores, right=True, out_int32=True)
    reached += (torch.arange(b, dtype=torch.int32, device=scores.device) * (k + 1))[:, None]
    found = torch.bincount(reached.flatten(), minlength=b * (k + 1)).view(b, k + 1)
    return found.flip(1).cumsum(1).flip(1)[:, 1:]


def _exact(scores: Tensor) -> torch.dtype:
    return torch.float64 if scores.shape[1] > 2**24 else scores.dtype


def _padded(n: int) -> int:
    """At least one column more than n, in whole cache lines: where padding reads from and writes to."""
    return _filled(n + 1)


def _filled(n: int) -> int:
    return -(-n // _EVEN) * _EVEN


def _rows_that_fit(width: int, bytes_per_score: int, right: Right) -> int:
    each = width * bytes_per_score + int(right.counts.max()) * _BYTES_PER_RIGHT
    return max(1, min(1024, MAX_BYTES // each))


def _tiles(gallery: Tensor, step: int) -> Iterator[tuple[int, Tensor]]:
    return ((first, _unit(gallery, first, step, "gallery")) for first in range(0, len(gallery), step))


def _unit(features: Tensor, start: int, many: int, what: str) -> Tensor:
    """Rows start … start + many - 1 at unit length, and rows of zeros up to a multiple of _EVEN."""
    rows = features[start : start + many].detach().float()
    norms = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    if not bool(norms.isfinite().all()):
        raise ValueError(f"{what} hold NaN or infinite values; a model gave a broken feature, check its inputs")
    if bool((norms == 0).any()):
        row = start + int((norms == 0).int().argmax())
        raise ValueError(f"row {row} of {what} is zeros, which has no direction; a model gave a broken feature")
    unit = rows.new_zeros(_filled(len(rows)), rows.shape[1])
    torch.div(rows, norms, out=unit[: len(rows)])
    return unit
