"""Heads of one signature, and what they score: quads, and candidates of a retrieval.

A head is a module with `forward(images: Side, texts: Side) -> (B,)`: row b of the pictures beside row b of the captions, a logit
of any size for each. `OnTokens` and `OnGlobals` make one of modules that take tensors.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from workbench.binding.features import QuadFeatures, Side
from workbench.evaluation.composition import Groups, group_scores, levelled
from workbench.matching.learned import checked, reading

PICTURES, CAPTIONS = (0, 0, 1, 1), (0, 1, 0, 1)
"""The four pairs of a quad, in the order of its scores."""

ROUNDING = 2.0**-17
"""Scores of a quad that lie closer than this, in parts of the largest, tie: the same pair in another row of a batch differs in
its last bits, and through a few layers that grows."""


class OnTokens(nn.Module):
    """`head(patches (B, P, d), tokens (B, T, d), mask (B, T))`, such as `heads.PairTransformer`, fed with a batch of sides.

    A mask of the pictures' tokens goes to the head as `patch_mask=`, and with `words=True` the captions' `words` as `words=`.
    """

    def __init__(self, head: nn.Module, *, words: bool = False):
        super().__init__()
        self.head, self.words = head, words

    def forward(self, images: Side, texts: Side) -> Tensor:
        for name, side in (("pictures", images), ("captions", texts)):
            if side.tokens is None:
                raise ValueError(f"{name} have no tokens; encode them with tokens=True, or use OnGlobals")
        options = {} if images.mask is None else {"patch_mask": images.mask}
        if self.words:
            options["words"] = texts.words
        return self.head(images.tokens, texts.tokens, texts.mask, **options)

    def extra_repr(self) -> str:
        return f"words={self.words}"


class OnGlobals(nn.Module):
    """`head(image (B, d_i), text (B, d_t))`, such as `heads.GlobalPairTransformer`, fed with the global embeddings."""

    def __init__(self, head: nn.Module):
        super().__init__()
        self.head = head

    def forward(self, images: Side, texts: Side) -> Tensor:
        return self.head(images.post, texts.post)


def scores(head: nn.Module, features: QuadFeatures, *, block: int = 64) -> Tensor:
    """scores[quad, picture, caption] (n, 2, 2) of every quad, float32 on the CPU, `block` quads at a time.

    The head is read in evaluation, without gradients, on its own device. Raises ValueError for a block below 1, or a head that
    gives another shape or NaN.
    """
    if block < 1:
        raise ValueError(f"block={block}; give at least one quad at a time")
    found = []
    with reading(head) as device:
        for start in range(0, len(features), block):
            part = features[start : start + block]
            first = np.arange(0, 2 * len(part), 2)[:, None]
            pictures, captions = ((first + each).ravel() for each in (PICTURES, CAPTIONS))
            found.append(_scored(head, part.images.flat(), pictures, part.texts.flat(), captions, device))
    return torch.cat(found).view(-1, 2, 2)


def score_groups(head: nn.Module, features: QuadFeatures, *, block: int = 64, seed: int = 0) -> Groups:
    """`evaluation.group_scores` of `scores`, where what differs by rounding alone ties. Raises as both."""
    return group_scores(level(scores(head, features, block=block)), seed=seed)


def level(found: Tensor | np.ndarray) -> np.ndarray:
    """Scores (n, 2, 2) with those of a quad made equal that differ by rounding alone."""
    found = np.asarray(found, dtype=np.float64)
    size = np.maximum(np.abs(found).max((1, 2), keepdims=True), np.finfo(float).tiny)
    return levelled(found / size, ROUNDING) * size


def reranker(
    head: nn.Module, queries: Side, gallery: Side, *, captions_ask: bool = True, block: int = 256
) -> Callable[[np.ndarray, np.ndarray], Tensor]:
    """What `evaluation.two_stage_recall` calls: rows of queries (b,) and candidates (b, k) → scores (b, k).

    `block` pairs go through the head at a time. Sides of one row per item (`flat()` of a quad's). `captions_ask`: queries are
    captions and the gallery pictures, else the other way round. Raises ValueError for sides of quads, or a block below 1.
    """
    if queries.post.ndim != 2 or gallery.post.ndim != 2:
        shapes = f"post {tuple(queries.post.shape)} and {tuple(gallery.post.shape)}"
        raise ValueError(f"{shapes}; give sides of one row per item: features.images.flat()")
    if block < 1:
        raise ValueError(f"block={block}; give at least one pair at a time")

    def rerank(rows: np.ndarray, candidates: np.ndarray) -> Tensor:
        asked, shown = np.repeat(rows, candidates.shape[1]), candidates.ravel()
        found = []
        with reading(head) as device:
            for start in range(0, len(shown), block):
                one, other = (each[start : start + block] for each in (asked, shown))
                sides = (gallery, other, queries, one) if captions_ask else (queries, one, gallery, other)
                found.append(_scored(head, *sides, device))
        return torch.cat(found).view(candidates.shape)

    return rerank


def _scored(
    head: nn.Module, images: Side, pictures: np.ndarray, texts: Side, captions: np.ndarray, device: torch.device
) -> Tensor:
    return checked(head(images[pictures].to(device), texts[captions].to(device)), len(pictures))
