"""Retrieval in two stages: the global cosine makes a shortlist, a scorer of single pairs orders it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from workbench.evaluation.ranking import ROUNDING, Block, Right, feature_blocks
from workbench.evaluation.retrieval import as_features, as_right, check_ks, check_scores
from workbench.evaluation.statistics import Interval, share
from workbench.records import Record, Table

Rerank = Callable[[np.ndarray, np.ndarray], Tensor | np.ndarray]
"""Rows of queries (b,) and of their candidates in the gallery (b, k) → scores (b, k)."""

_PER_SCORE = 24  # bytes: the float32 block, float64 keys, which of them are right, and what topk makes


@dataclass(frozen=True)
class TwoStage(Record):
    """R@1 of `n` queries after the first k of a `gallery` were ordered again, for each k, with 95 % intervals.

    `reached`: how often a right answer is among the first k at all, which no second stage can exceed. `pairs`: evaluations of
    single pairs that a query needs at that k (one candidate needs none). `evaluated`: those counted in this run, which makes
    the longest shortlist once and reads the shorter ones off it.
    """

    title: str
    at: dict[int, Interval]
    reached: dict[int, Interval]
    pairs: dict[int, int]
    evaluated: int
    n: int
    gallery: int

    def table(self) -> Table:
        rows = [
            (str(k), found.percent(), self.reached[k].percent(), f"{self.pairs[k]:,}") for k, found in self.at.items()
        ]
        facts = f"{self.n} queries, gallery of {self.gallery}, {self.evaluated:,} pairs evaluated"
        header = ("first k", "R@1 [95 %]", "right one among them [95 %]", "pairs per query")
        return Table(f"{self.title}, percent: {facts}", header, tuple(rows))


def two_stage_recall(
    queries: Tensor,
    gallery: Tensor,
    positives: Sequence[Sequence[int]],
    rerank: Rerank,
    ks: Sequence[int] = (1, 10, 100),
    *,
    groups=None,
    title: str = "Two-stage retrieval",
    block: int | None = None,
    seed: int = 0,
) -> TwoStage:
    """R@1 against the length of the shortlist: global embeddings (Q, d) and (G, d), then `rerank` on the first k by cosine.

    `rerank(rows (b,), candidates (b, k))` scores candidates (gallery rows, best by cosine first) of queries (their rows), as
    FLAIR re-ranks its first 128 (arXiv 2412.03561). At k = 1 the result is that of the cosine, whatever `rerank` says; at
    k = G that of `rerank` on every pair. Ties count against the model in both stages: a rival whose cosine lies within 2**-21
    of a right answer's comes before it, and a re-ranked rival with the same score wins. Among rivals of exactly the same
    cosine torch chooses. `positives`, `block` (queries at a time, whose cosines with the whole gallery stand in memory) and
    errors as in `retrieval_ranks`, `groups` (Q,) as in `recalls`. Raises ValueError too for a k above G and for scores of
    another shape, NaN or +inf.
    """
    queries, gallery = as_features(queries, gallery)
    if block is not None and block < 1:
        raise ValueError(f"block={block}; give at least one query at a time, or None for as many as fit")
    right = as_right(positives, len(queries), len(gallery), queries.device)
    ks = check_ks(ks, len(gallery))
    hits, reached, evaluated = [], [], 0
    for start, candidates, own in _shortlists(queries, gallery, right, block, max(ks)):
        scores = _scored(rerank, start, candidates) if max(ks) > 1 else torch.zeros(candidates.shape)
        evaluated += candidates.numel() if max(ks) > 1 else 0
        hits.append(_first_is_right(scores, own)[:, [k - 1 for k in ks]])
        reached.append(own.cummax(1).values[:, [k - 1 for k in ks]])
    at, among = (
        {
            k: share(each, groups=groups, seed=seed)
            for k, each in zip(ks, torch.cat(found).double().T.numpy(), strict=True)
        }
        for found in (hits, reached)
    )
    pairs = {k: k if k > 1 else 0 for k in ks}
    return TwoStage(title, at, among, pairs, evaluated, len(queries), len(gallery))


def _shortlists(
    queries: Tensor, gallery: Tensor, right: Right, block: int | None, k: int
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Candidates (b, k), best first, of queries from `start` on, and which of them are right."""
    for found in feature_blocks(queries, gallery, right, block, _PER_SCORE):
        keys, own = _keys(found, right, len(gallery))
        candidates = keys.topk(k, dim=1).indices
        yield found.start, candidates.cpu(), own.gather(1, candidates).cpu()


def _keys(found: Block, right: Right, gallery: int) -> tuple[Tensor, Tensor]:
    """Cosines in float64, those of right answers just below what ties with them; and where right answers stand."""
    rows = right.rows(found.start, found.start + len(found.scores), pad=gallery)
    lowered = (found.scores.gather(1, rows) - ROUNDING).double()  # in float32, as `retrieval_ranks` compares
    keys, own = found.scores.double(), torch.zeros_like(found.scores, dtype=torch.bool)
    keys.scatter_(1, rows, lowered.nextafter(lowered.new_tensor(-torch.inf)))
    own.scatter_(1, rows, True)
    return keys[:, :gallery], own[:, :gallery]


def _scored(rerank: Rerank, start: int, candidates: Tensor) -> Tensor:
    rows = np.arange(start, start + len(candidates))
    scores = torch.as_tensor(rerank(rows, candidates.numpy())).detach().cpu()
    if scores.shape != candidates.shape:
        raise ValueError(
            f"rerank gave scores of shape {tuple(scores.shape)} for candidates {tuple(candidates.shape)}; "
            "give one score for each"
        )
    check_scores(scores)
    return scores.double()


def _first_is_right(scores: Tensor, own: Tensor) -> Tensor:
    """Whether, among the first 1, 2 … K candidates, a right one scores above all others: (b, K)."""
    best_own = scores.masked_fill(~own, -torch.inf).cummax(1).values
    best_rival = scores.masked_fill(own, -torch.inf).cummax(1).values
    no_rival = ~(~own).cummax(1).values
    return own.cummax(1).values & (no_rival | (best_own > best_rival))
