"""The k best captions of each picture by late interaction, and the pictures of each caption, without scoring every pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from workbench.matching.blocks import MAX_BYTES, check_bytes, slices
from workbench.matching.late import late_interaction
from workbench.matching.tokens import check_width, checked_mask, mean_over, unit

ROWS = 64  # pictures or captions that are looked at together where nothing is multiplied


@dataclass(frozen=True)
class TopK:
    """The best k for each of Q queries, best first: indices (Q, k), scores (Q, k) in float32; of equal scores the lower index
    first. `share_scored`: of all pairs, the share that the bound did not rule out."""

    indices: Tensor
    scores: Tensor
    share_scored: float


@torch.no_grad()
def late_top_k(
    image_tokens: Tensor,
    text_tokens: Tensor,
    text_mask: Tensor | None = None,
    *,
    image_mask: Tensor | None = None,
    k: int = 10,
    query: Literal["image", "text"] = "image",
    screen: bool = True,
    max_bytes: int = MAX_BYTES,
) -> TopK:
    """The k largest of `late_interaction` (best patch of each token, averaged) for each image, or for each text: exact.

    Every pair gets an upper bound u of its score s, the k pairs with the largest u of a query are scored, and then those
    whose u reaches the k-th best of these: no other pair can be among the first k. Scores are summed in float64 and rounded
    once, so that they do not depend on which pairs are scored: `screen=False` scores all, and finds the same.

    u is the score of tokens rounded to bfloat16, and what rounding may have taken. With unit vectors p̂ = p − e and t̂ = t − f:
    ⟨p, t⟩ = ⟨p̂, t̂⟩ + ⟨p̂, f⟩ + ⟨e, t⟩ ≤ ⟨p̂, t̂⟩ + (1 + |e|) |f| + |e| by Cauchy–Schwarz; so are the maxima over p, with the
    largest |e|, and the means over t, with the mean |f|; and some for the rounding of sums. The trap: all products are made
    once, in bfloat16, so it saves time only where a processor is much faster at these. Bounds and scores (images, texts) and
    the texts, normalised, stand in memory whole. Raises ValueError for k below 1 or above what there is to be found, another
    `query`, and as `late_interaction` does.
    """
    image_mask = checked_mask("image", image_tokens, image_mask)
    text_mask = checked_mask("text", text_tokens, text_mask)
    check_width(image_tokens, text_tokens)
    _check_options(k, query, len(text_tokens) if query == "image" else len(image_tokens))
    check_bytes(max_bytes)
    upper = (_upper if screen else _nothing)(image_tokens, text_tokens, text_mask, image_mask, max_bytes)
    score = _scorer(image_tokens, text_tokens, image_mask, text_mask)
    side = 1 if query == "image" else 0
    scores = torch.full_like(upper, -torch.inf)
    first = torch.zeros_like(upper, dtype=torch.bool).scatter_(side, upper.topk(k, dim=side).indices, True)
    score(first, scores)
    least = scores.masked_fill(~first, torch.inf).amin(side, keepdim=True)
    rest = (upper >= least) & ~first
    score(rest, scores)
    return TopK(*_largest(scores if query == "image" else scores.T, k), float((first | rest).double().mean()))


def _check_options(k: int, query: str, there: int) -> None:
    if query not in ("image", "text"):
        raise ValueError(
            f"query={query!r}; choose 'image' (the best texts of each) or 'text' (the best images of each)"
        )
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= there:
        what = "texts" if query == "image" else "images"
        raise ValueError(f"k={k!r}; give a whole number from 1 to {there}, as there are {there} {what}")


def _upper(images: Tensor, texts: Tensor, text_mask: Tensor, image_mask: Tensor, max_bytes: int) -> Tensor:
    """Upper bounds (N, M) from tokens rounded to bfloat16."""
    scores = late_interaction(
        images, texts, text_mask, image_mask=image_mask, max_bytes=max_bytes, dtype=torch.bfloat16
    )
    lost = _by_rows(images, _rounding_error).amax(1, keepdim=True)
    lost_texts = mean_over(_by_rows(texts, _rounding_error), text_mask)
    of_products = 2**-8 if images.device.type == "cpu" else 2**-7  # a GPU may round the parts of a sum as well
    return scores + lost + (1 + lost) * lost_texts + of_products + _rounding(images.shape[-1])


def _rounding_error(tokens: Tensor) -> Tensor:
    return (tokens - tokens.bfloat16()).norm(dim=-1)


def _rounding(d: int) -> float:
    """Twice what a float32 sum of d products of unit vectors may be off, and some for the rest."""
    return (d + 16) * 2.0**-23


def _nothing(images: Tensor, texts: Tensor, *_) -> Tensor:
    return torch.full((len(images), len(texts)), torch.inf, device=images.device)


def _by_rows(tokens: Tensor, form: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.cat([form(unit(tokens[some]).float()) for some in slices(len(tokens), ROWS)])


def _scorer(images: Tensor, texts: Tensor, image_mask: Tensor, text_mask: Tensor) -> Callable[[Tensor, Tensor], None]:
    """`score(which, scores)` writes the scores of the pairs that are true in `which` (N, M) into `scores` (N, M)."""
    texts = _by_rows(texts, lambda tokens: tokens)

    def score(which: Tensor, scores: Tensor) -> None:
        for n in which.any(1).nonzero().flatten().tolist():
            columns = which[n].nonzero().flatten()
            patches = unit(images[n][image_mask[n]]).float().double()
            for some in columns.split(ROWS):
                mask = text_mask[some]
                best = torch.zeros(mask.shape, dtype=torch.float64, device=mask.device)
                best[mask] = (patches @ texts[some][mask].double().T).amax(0)
                scores[n, some] = mean_over(best, mask).float()

    return score


def _largest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Indices and values (Q, k), the lower index first where values are equal, which topk does not promise."""
    found = [scores[some].sort(dim=1, descending=True, stable=True) for some in slices(len(scores), ROWS)]
    return torch.cat([each.indices[:, :k] for each in found]), torch.cat([each.values[:, :k] for each in found])
