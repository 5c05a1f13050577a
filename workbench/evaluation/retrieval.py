"""Retrieval: where the right answer stands, and how often among the first k."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from numbers import Integral
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from workbench.evaluation.ranking import ROUNDING, Block, Right, all_ranks, feature_blocks, one_rank, score_blocks
from workbench.evaluation.statistics import Interval, share
from workbench.records import Record, Table

Count = Literal["any", "all", "share"]
COUNTS = ("any", "all", "share")


@dataclass(frozen=True)
class Recalls(Record):
    """Recall at each k over `n` queries in a gallery of `gallery` rows; `chance` is what a random order earns.

    `count`: "any" positive among the first k (what papers print), "all" of them, or the "share" of them. A recall means
    nothing without its gallery: R@1 among 1,000 pictures and among 5,000 are different tasks.
    """

    title: str
    at: dict[int, Interval]
    chance: dict[int, float]
    median_rank: float
    n: int
    gallery: int
    count: Count = "any"

    @property
    def ks(self) -> tuple[int, ...]:
        return tuple(self.at)

    def table(self) -> Table:
        rows = [(f"R@{k}", found.percent(), f"{100 * self.chance[k]:.2f}") for k, found in self.at.items()]
        facts = f"{self.n} queries, gallery of {self.gallery}, median rank {self.median_rank:g}"
        counted = {"any": "", "all": ", all positives", "share": ", share of positives"}[self.count]
        return Table(f"{self.title}, percent{counted}: {facts}", ("recall", "[95 %]", "chance"), tuple(rows))


def retrieval_ranks(
    queries: Tensor,
    gallery: Tensor,
    positives: Sequence[Sequence[int]],
    *,
    block: int | None = None,
    of: Literal["best", "worst"] = "best",
) -> Tensor:
    """Rank (1 is best) of each query's best positive by cosine: queries (Q, d), gallery (G, d) → (Q,) int64.

    `positives[q]` are the gallery rows that are right for q: lists, or an array (Q,) or (Q, K). A rival with the same
    score stands before the positive, so constant features earn nothing; cosines within 2**-21 are the same, because
    float32 products give equal rows scores that differ in the last bit. Positives do not count as rivals of each other;
    of="worst" is the place by which all of them have come, so at least their number. Scores are made in float32,
    `block` queries with the whole gallery at a time (a positive's from the same product as its rivals'), by default as
    many as fit 256 MiB. Raises ValueError for unequal widths, a query without positives, an index outside the gallery
    or named twice, or features without direction (zeros, NaN, infinite values).
    """
    queries, gallery, right = _of_features(queries, gallery, positives, block)
    if of not in ("best", "worst"):
        raise ValueError(f"of={of!r}; choose best or worst")
    blocks = feature_blocks(queries, gallery, right, block)
    return one_rank(blocks, right, len(gallery), worst=of == "worst", tie=ROUNDING)


def recall_at_k(
    scores_or_ranks: Tensor,
    positives: Sequence[Sequence[int]] | None = None,
    ks: Sequence[int] = (1, 5, 10),
    *,
    count: Count = "any",
) -> dict[int, float]:
    """Fraction of queries whose best positive is among the first k: {k: fraction}.

    Takes ranks (Q,) of `retrieval_ranks`, or scores (Q, G) whose rows are queries with their `positives`; ties count
    against the model. With scores, `count="all"` asks for all positives among the first k, "share" for the fraction of
    them (recall as textbooks define it). The trap: scores of one float32 product differ in the last bit between equal
    rows; `retrieval_ranks` allows for it, here the numbers count as they are. Raises ValueError for other shapes,
    missing positives, NaN, ranks below 1, or a k below 1.
    """
    scores_or_ranks = torch.as_tensor(scores_or_ranks)
    ks = check_ks(ks)
    if scores_or_ranks.ndim == 2 and positives is not None:
        hits = _score_hits(scores_or_ranks, positives, ks, count)
        return {k: float(hits[k].mean()) for k in ks}
    if scores_or_ranks.ndim != 1 or not len(scores_or_ranks):
        shape = tuple(scores_or_ranks.shape)
        raise ValueError(f"shape {shape}; give ranks (Q,) with Q ≥ 1, or scores (Q, G) together with positives")
    if count != "any":
        raise ValueError(f"count={count!r} needs scores (Q, G) with positives; ranks (Q,) are of one positive each")
    if scores_or_ranks.dtype == torch.bool or not bool((scores_or_ranks >= 1).all()):
        raise ValueError("ranks go from 1 on; these hold NaN, booleans or less: give those of retrieval_ranks")
    return {k: (scores_or_ranks <= k).double().mean().item() for k in ks}


def recalls(
    queries: Tensor,
    gallery: Tensor,
    positives: Sequence[Sequence[int]],
    ks: Sequence[int] = (1, 5, 10),
    *,
    count: Count = "any",
    groups=None,
    title: str = "Retrieval",
    block: int | None = None,
    seed: int = 0,
) -> Recalls:
    """Recall at each k with its 95 % interval, chance and the size of the gallery; arguments as in `retrieval_ranks`.

    `groups` (Q,) names queries that belong together, such as the five captions of one picture: the bootstrap draws
    whole groups then. Raises ValueError as `retrieval_ranks`, and for a k that the gallery does not exceed.
    """
    queries, gallery, right = _of_features(queries, gallery, positives, block)
    ks = check_ks(ks, len(gallery) - 1)  # at k = G every answer is right
    _check_count(count)
    ranks = one_rank(feature_blocks(queries, gallery, right, block), right, len(gallery), tie=ROUNDING).cpu().numpy()
    if count == "any":
        hits = {k: ranks <= k for k in ks}
    else:
        hits = _hits(feature_blocks(queries, gallery, right, block, 20), right, len(gallery), ks, count, ROUNDING)
    at = {k: share(hits[k], groups=groups, seed=seed) for k in ks}
    chance = {k: _chance(right.counts.cpu().numpy(), len(gallery), k, count) for k in ks}
    return Recalls(title, at, chance, float(np.median(ranks)), len(queries), len(gallery), count)


def check_ks(ks: Sequence[int], most: int | None = None) -> tuple[int, ...]:
    """`ks` as a tuple. Raises ValueError for none, one that is no whole number from 1 on, or one above `most`."""
    found = tuple(ks) if isinstance(ks, Iterable) else (ks,)
    if not found or any(isinstance(k, bool) or not isinstance(k, Integral) or k < 1 for k in found):
        raise ValueError(f"ks={ks!r}; give whole numbers from 1 on")
    ks = found
    if most is not None and max(ks) > most:
        raise ValueError(f"ks={ks}; with so few to choose from, k is at most {most}: give smaller ks")
    return tuple(map(int, ks))


def as_right(positives: Sequence[Sequence[int]], n_queries: int, n_gallery: int, device=None) -> Right:
    """Lists of positives, or an array (Q,) or (Q, K) of them, checked, as one flat list."""
    flat, counts = _flat(positives)
    if len(counts) != n_queries or n_queries == 0:
        raise ValueError(f"{len(counts)} lists of positives for {n_queries} queries; give one non-empty list per query")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    owner = np.repeat(np.arange(n_queries), counts)
    _check_positives(flat, counts, starts, owner, n_gallery)
    return Right(*(torch.from_numpy(part.astype(np.int64)).to(device) for part in (flat, starts, counts)))


def _flat(positives) -> tuple[np.ndarray, np.ndarray]:
    """All positives in one row, and how many each query has."""
    if isinstance(positives, torch.Tensor):
        positives = positives.cpu().numpy()
    if isinstance(positives, np.ndarray) and positives.ndim in (1, 2) and positives.dtype != object:
        rows = positives.reshape(len(positives), -1)
        return _whole_numbers(rows.reshape(-1)), np.full(len(rows), rows.shape[1])
    counts = np.fromiter(map(len, positives), np.int64, len(positives))
    return _whole_numbers(np.array(list(chain.from_iterable(positives)))), counts


def _whole_numbers(flat: np.ndarray) -> np.ndarray:
    if flat.size and flat.dtype.kind not in "iu":
        raise TypeError(f"positives hold {flat[0]!r}; give gallery rows as whole numbers")
    return flat.astype(np.int64)


def _check_positives(flat, counts, starts, owner, n_gallery: int) -> None:
    if not counts.all():
        raise ValueError(
            f"query {counts.argmin()} has no positive; leave it out and say how many were left out "
            f"({(counts == 0).sum()} of {len(counts)} have none)"
        )
    outside = (flat < 0) | (flat >= n_gallery)
    if outside.any():
        q = owner[outside.argmax()]
        its = flat[starts[q] : starts[q] + counts[q]].tolist()
        raise ValueError(f"query {q} has positives {its}; gallery rows are 0 to {n_gallery - 1}")
    pairs = np.sort(owner * n_gallery + flat)
    twice = pairs[1:] == pairs[:-1]
    if twice.any():
        q, row = divmod(int(pairs[1:][twice.argmax()]), n_gallery)
        raise ValueError(f"query {q} names row {row} twice among its positives; name each once")


def _of_features(queries, gallery, positives, block: int | None) -> tuple[Tensor, Tensor, Right]:
    queries, gallery = as_features(queries, gallery)
    if block is not None and block < 1:
        raise ValueError(f"block={block}; give at least one query at a time, or None for as many as fit")
    return queries, gallery, as_right(positives, len(queries), len(gallery), queries.device)


def as_features(queries, gallery) -> tuple[Tensor, Tensor]:
    """Both as tensors. Raises ValueError unless they are (Q, d) and (G, d) of the same width."""
    queries, gallery = torch.as_tensor(queries), torch.as_tensor(gallery)
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"queries {tuple(queries.shape)} and gallery {tuple(gallery.shape)} must be (Q, d) and (G, d) with the same d"
        )
    return queries, gallery


def check_scores(scores: Tensor) -> None:
    """Raises ValueError for NaN or +inf; -inf is a way to rule a pair out."""
    if bool((scores.isnan() | scores.isposinf()).any()):
        raise ValueError("scores hold NaN or +inf; a model gave a broken feature, check its inputs")


def _check_count(count: str) -> None:
    if count not in COUNTS:
        raise ValueError(f"count={count!r}; choose one of {', '.join(COUNTS)}")


def _score_hits(scores: Tensor, positives, ks: Sequence[int], count: Count) -> dict[int, np.ndarray]:
    _check_count(count)
    right = as_right(positives, *scores.shape, scores.device)
    check_scores(scores)
    if count == "any":
        ranks = one_rank(score_blocks(scores, right), right, scores.shape[1]).cpu().numpy()
        return {k: ranks <= k for k in ks}
    return _hits(score_blocks(scores, right, 20), right, scores.shape[1], ks, count, tie=0.0)


def _hits(
    blocks: Iterable[Block], right: Right, gallery: int, ks: Sequence[int], count: Count, tie: float
) -> dict[int, np.ndarray]:
    """For each k and query: are all positives, or which share of them is, among the first k."""
    hits = {k: np.empty(len(right.counts)) for k in ks}
    for start, ranks in all_ranks(blocks, right, gallery, tie=tie):
        stop = start + len(ranks)
        for k in ks:
            share = (ranks <= k).sum(1) / right.counts[start:stop]
            hits[k][start:stop] = (share if count == "share" else (share == 1).double()).cpu().numpy()
    return hits


def _chance(counts: np.ndarray, gallery: int, k: int, count: Count) -> float:
    """What a random order of the gallery earns, the mean over queries with that many positives."""
    from scipy.stats import hypergeom

    if count == "share":
        return k / gallery
    many, queries = np.unique(counts, return_counts=True)
    found = hypergeom(gallery, many, k)
    each = 1 - found.pmf(0) if count == "any" else found.pmf(many)
    return float(np.average(each, weights=queries))
