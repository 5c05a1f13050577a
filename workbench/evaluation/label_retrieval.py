"""Retrieval by label: everything in the gallery with the query's label is right. Average precision and precision at k."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from workbench.evaluation.ranking import ROUNDING, Block, Right, all_ranks, feature_blocks, score_blocks
from workbench.evaluation.retrieval import as_features, check_ks, check_scores
from workbench.evaluation.statistics import Interval, bootstrap
from workbench.records import Record, Table


@dataclass(frozen=True)
class LabelRetrieval(Record):
    """Mean average precision and precision at each k over n queries, each with its 95 % interval, and the gallery's size.

    `chance` is the mean share of the gallery that is right: what a random order's precision comes to, and nearly its
    average precision.
    """

    mean_average_precision: Interval
    precision: dict[int, Interval]
    chance: float
    n: int
    gallery: int

    def table(self) -> Table:
        found = {"mAP": self.mean_average_precision} | {f"P@{k}": each for k, each in self.precision.items()}
        rows = tuple((name, each.percent(), f"{100 * self.chance:.2f}") for name, each in found.items())
        caption = f"Retrieval by label, percent: {self.n} queries, gallery of {self.gallery}"
        return Table(caption, ("measure", "[95 %]", "chance"), rows)


def average_precisions(scores: Tensor, labels_q, labels_g, *, exclude_self: bool = False) -> np.ndarray:
    """Average precision of each query: scores (Q, G), labels (Q,) and (G,) → (Q,) float64.

    The mean over a query's positives of the precision at the place where each comes (no interpolation). Ties stand
    against the model: the wrong ones come first. `exclude_self` takes gallery row q out for query q, where both are the
    same pictures; its own copy is out of the count of positives as well. Raises ValueError for other shapes, NaN, or a
    query with nothing right in the gallery.
    """
    scores = torch.as_tensor(scores)
    right, own = _prepared(scores, labels_q, labels_g, exclude_self)
    return _measures(score_blocks(scores, right, 20), right, scores.shape[1], (), own, 0.0)["ap"]


def mean_average_precision(scores: Tensor, labels_q, labels_g, *, exclude_self: bool = False) -> float:
    """Mean of `average_precisions` over queries, a fraction; for an interval pass those to `bootstrap`.

    The measure of IsoCLIP (arXiv 2603.19862). The trap: with mAP@R, which looks at the first R = number of positives only,
    an R counted before the query itself is taken out is one too large; plain mAP does not depend on it. And torchmetrics
    (1.9) counts positives of a score above 0 only: cosines have to be shifted before its mAP means this.
    """
    return float(average_precisions(scores, labels_q, labels_g, exclude_self=exclude_self).mean())


def precision_at_k(
    scores: Tensor, labels_q, labels_g, ks: Sequence[int] = (1, 5, 10), *, exclude_self: bool = False
) -> dict[int, float]:
    """Mean share of the first k that has the query's label: {k: fraction}; arguments and ties as in `average_precisions`.

    The trap: where fewer than k are right at all, precision at k cannot reach 1. Raises ValueError also for a k above
    the gallery's size.
    """
    scores = torch.as_tensor(scores)
    right, own = _prepared(scores, labels_q, labels_g, exclude_self)
    ks = check_ks(ks, scores.shape[1] - exclude_self)
    found = _measures(score_blocks(scores, right, 20), right, scores.shape[1], ks, own, 0.0)
    return {k: float(found[k].mean()) for k in ks}


def label_retrieval(
    queries: Tensor,
    gallery: Tensor,
    labels_q,
    labels_g,
    *,
    ks: Sequence[int] = (1, 5, 10),
    exclude_self: bool = False,
    block: int | None = None,
    seed: int = 0,
) -> LabelRetrieval:
    """The same from features (Q, d) and (G, d) by cosine, block by block, with intervals over queries.

    Cosines within 2**-21 tie, as in `retrieval_ranks`. Raises ValueError as `average_precisions`, and for unequal widths
    or features without direction (zeros, NaN, infinite values).
    """
    queries, gallery = as_features(queries, gallery)
    right, own = _right(len(queries), len(gallery), labels_q, labels_g, exclude_self, queries.device)
    candidates = len(gallery) - exclude_self
    ks = check_ks(ks, candidates)
    blocks = feature_blocks(queries, gallery, right, block, 20)
    found = {
        name: bootstrap(values, seed=seed)
        for name, values in _measures(blocks, right, len(gallery), ks, own, ROUNDING).items()
    }
    chance = float((right.counts.double().mean() - int(exclude_self)) / candidates)
    return LabelRetrieval(found.pop("ap"), found, chance, len(queries), len(gallery))


def label_precisions(
    queries: Tensor, gallery: Tensor, labels_q, labels_g, *, own: Sequence[int] | None = None, block: int | None = None
) -> np.ndarray:
    """Average precision of each query by cosine: features (Q, d) and (G, d), labels (Q,) and (G,) → (Q,) float64.

    For paired comparisons of two embeddings of the same items. `own` (Q,) names the gallery row that is the query itself
    and does not count. Ties and errors as in `label_retrieval`; ValueError also for an `own` outside the gallery, or of
    another label than its query.
    """
    queries, gallery = as_features(queries, gallery)
    right, _ = _right(len(queries), len(gallery), labels_q, labels_g, False, queries.device)
    self_of = None
    if own is not None:
        rows = _own(own, labels_q, labels_g)
        _check_counts(right.counts.cpu().numpy() - 1, np.asarray(labels_q))
        rows = rows.to(queries.device)
        self_of = lambda start, stop: rows[start:stop]  # noqa: E731
    return _measures(feature_blocks(queries, gallery, right, block, 20), right, len(gallery), (), self_of, ROUNDING)[
        "ap"
    ]


def _own(own, labels_q, labels_g) -> Tensor:
    rows = torch.as_tensor(own)
    labels_q, labels_g = np.asarray(labels_q), np.asarray(labels_g)
    if (
        rows.shape != (len(labels_q),)
        or rows.dtype.is_floating_point
        or rows.dtype == torch.bool
        or not bool(((rows >= 0) & (rows < len(labels_g))).all())
    ):
        raise ValueError(f"own of shape {tuple(rows.shape)}; give one row of 0 … {len(labels_g) - 1} for each query")
    if (labels_g[rows.numpy()] != labels_q).any():
        raise ValueError("own names a row of another label than its query; it has to be the query itself")
    return rows.long()


def _measures(
    blocks: Iterable[Block], right: Right, gallery: int, ks: Sequence[int], own: Callable | None, tie: float
) -> dict:
    """Average precision ("ap") and precision at each k of every query."""
    found = {name: np.empty(len(right.counts)) for name in ("ap", *ks)}
    for start, ranks in all_ranks(blocks, right, gallery, self_of=own, tie=tie):
        stop = start + len(ranks)
        place = torch.arange(1, ranks.shape[1] + 1, device=ranks.device)
        held = ranks.isfinite().sum(1)
        found["ap"][start:stop] = ((place / ranks).sum(1) / held).cpu().numpy()  # padding ranks at inf adds nothing
        for k in ks:
            found[k][start:stop] = ((ranks <= k).sum(1) / k).cpu().numpy()
    return found


def _prepared(scores: Tensor, labels_q, labels_g, exclude_self: bool) -> tuple[Right, Callable | None]:
    if scores.ndim != 2:
        raise ValueError(f"scores of shape {tuple(scores.shape)}; give (Q, G), a row for each query")
    right, own = _right(*scores.shape, labels_q, labels_g, exclude_self, scores.device)
    check_scores(scores)
    return right, own


def _right(n_queries: int, n_gallery: int, labels_q, labels_g, exclude_self: bool, device) -> tuple:
    labels_q, labels_g = _labels(labels_q, n_queries, "labels_q"), _labels(labels_g, n_gallery, "labels_g")
    if exclude_self and (n_queries != n_gallery or not np.array_equal(labels_q, labels_g)):
        raise ValueError("exclude_self needs queries and gallery to be the same items with the same labels, row by row")
    names, codes = np.unique(labels_g, return_inverse=True)
    order, sizes = np.argsort(codes, kind="stable"), np.bincount(codes, minlength=len(names))
    at = np.searchsorted(names, labels_q).clip(max=len(names) - 1)
    counts = np.where(names[at] == labels_q, sizes[at], 0)
    _check_counts(counts - exclude_self, labels_q)
    starts = (np.cumsum(sizes) - sizes)[at]
    right = Right(*(torch.from_numpy(part.astype(np.int64)).to(device) for part in (order, starts, counts)))
    return right, (lambda start, stop: torch.arange(start, stop, device=device)) if exclude_self else None


def _labels(labels, n: int, what: str) -> np.ndarray:
    labels = labels.cpu().numpy() if isinstance(labels, torch.Tensor) else np.asarray(labels)
    if labels.shape != (n,) or n == 0:
        raise ValueError(f"{what} of shape {labels.shape} for {n} rows; give one label for each of at least one row")
    return labels


def _check_counts(counts: np.ndarray, labels: np.ndarray) -> None:
    if (counts < 1).any():
        q = int((counts < 1).argmax())
        raise ValueError(
            f"query {q}, label {str(labels[q])!r}, has nothing right in the gallery; leave such queries out and say "
            f"how many were ({(counts < 1).sum()} of {len(counts)})"
        )
