"""Retrieval: where the right answer stands, and how often among the first k."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def retrieval_ranks(
    queries: Tensor, gallery: Tensor, positives: Sequence[Sequence[int]], *, block: int = 1024
) -> Tensor:
    """Rank (1 is best) of each query's best positive by cosine: queries (Q, d), gallery (G, d) → (Q,) int64.

    `positives[q]` are the gallery rows that are right for q. A rival with the same score stands before the positive, so
    constant features earn nothing. Positives do not count as rivals of each other. Scores are made block by block in
    float32, a positive's from the same product as its rivals'. Raises ValueError for unequal widths, a query without
    positives, an index outside the gallery, or NaN.
    """
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"queries {tuple(queries.shape)} and gallery {tuple(gallery.shape)} must be (Q, d) and (G, d) with the same d"
        )
    _check_positives(positives, len(queries), len(gallery))
    queries, gallery = F.normalize(queries.float(), dim=-1), F.normalize(gallery.float(), dim=-1)
    if torch.isnan(queries).any() or torch.isnan(gallery).any():
        raise ValueError("queries or gallery hold NaN; a model gave a broken feature, check its inputs")
    blocks = [
        _ranks(queries[i : i + block] @ gallery.T, positives[i : i + block]) for i in range(0, len(queries), block)
    ]
    return torch.cat(blocks)


def _ranks(scores: Tensor, positives: Sequence[Sequence[int]]) -> Tensor:
    """Ranks of the best positive in scores (b, G)."""
    right = torch.zeros_like(scores, dtype=torch.bool)
    rows = torch.tensor([q for q, each in enumerate(positives) for _ in each])
    right[rows, torch.tensor([g for each in positives for g in each])] = True
    best = scores.masked_fill(~right, -torch.inf).amax(1, keepdim=True)
    return 1 + ((scores >= best) & ~right).sum(1)


def _check_positives(positives: Sequence[Sequence[int]], n_queries: int, n_gallery: int) -> None:
    if len(positives) != n_queries or n_queries == 0:
        raise ValueError(
            f"{len(positives)} lists of positives for {n_queries} queries; give one non-empty list per query"
        )
    for q, each in enumerate(positives):
        if not len(each):
            raise ValueError(f"query {q} has no positive; leave it out and say how many were left out")
        if min(each) < 0 or max(each) >= n_gallery:
            raise ValueError(f"query {q} has positives {list(each)}; gallery rows are 0 to {n_gallery - 1}")


def recall_at_k(
    scores_or_ranks: Tensor, positives: Sequence[Sequence[int]] | None = None, ks: Sequence[int] = (1, 5, 10)
) -> dict[int, float]:
    """Fraction of queries whose best positive is among the first k: {k: fraction}.

    Takes ranks (Q,) of `retrieval_ranks`, or scores (Q, G) whose rows are queries with their `positives`; ties count
    against the model. Raises ValueError for other shapes, missing positives or NaN.
    """
    if scores_or_ranks.ndim == 2 and positives is not None:
        _check_positives(positives, *scores_or_ranks.shape)
        if torch.isnan(scores_or_ranks).any():
            raise ValueError("scores hold NaN; a model gave a broken feature, check its inputs")
        scores_or_ranks = _ranks(scores_or_ranks, positives)
    if scores_or_ranks.ndim != 1 or not len(scores_or_ranks):
        shape = tuple(scores_or_ranks.shape)
        raise ValueError(f"shape {shape}; give ranks (Q,) with Q ≥ 1, or scores (Q, G) together with positives")
    return {k: (scores_or_ranks <= k).double().mean().item() for k in ks}
