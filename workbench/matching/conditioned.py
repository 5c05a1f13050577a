"""A caption chooses the patches it is compared with: attention pooling without parameters, and one cosine."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.matching.blocks import MAX_BYTES, in_blocks
from workbench.matching.tokens import check_positive, check_width, checked_mask, mean_over, unit


def conditioned_pooling(
    image_tokens: Tensor,
    queries: Tensor,
    query_mask: Tensor | None = None,
    *,
    image_mask: Tensor | None = None,
    heads: int = 1,
    temperature: float | None = None,
    max_bytes: int = MAX_BYTES,
) -> Tensor:
    """Text-conditioned pooling without parameters: (N, P, d) and captions (M, d), or segments (M, K, d), → (N, M).

    a = softmax over [⟨p_i, t⟩ / temperature …, 0], u = Σ_i a_i p_i, score = cos(u, t), averaged over the segments that count.
    The zero at the end is FLAIR's empty key and value (arXiv 2412.03561), with which a caption may attend to nothing; FLAIR
    has 8 heads with learned projections, C2LIP (arXiv 2603.25722) identities and noun phrases for queries. Heads split the
    width into equal parts; the default temperature, 1/√(d · heads), is that of attention among vectors of length √d, which is
    how a LayerNorm leaves them. Blocks of at most `max_bytes`. Errors as for `late_interaction`; ValueError for heads that do
    not divide d.

    The traps: with one head the empty key changes the length of u alone, so the score is the same without it; with several
    the score depends on the basis of the joint space, which training left to chance. And t is one vector for the whole
    caption: attributes of two objects stay mixed in it.
    """
    if queries.ndim == 2:
        queries, query_mask = queries[:, None], None
    image_mask = checked_mask("image", image_tokens, image_mask)
    query_mask = checked_mask("text", queries, query_mask)
    check_width(image_tokens, queries)
    d = queries.shape[-1]
    if not isinstance(heads, int) or heads < 1 or d % heads:
        raise ValueError(f"heads={heads!r} for a width of {d}; give a whole number that divides it")
    temperature = (d * heads) ** -0.5 if temperature is None else temperature
    check_positive(temperature=temperature)
    images, texts = unit(image_tokens), unit(queries)
    split = (heads, d // heads)

    def scores(rows: slice, columns: slice) -> Tensor:
        patches, query = images[rows].unflatten(-1, split), texts[columns].unflatten(-1, split)
        logits = torch.einsum("nphc,mkhc->nmkhp", patches, query) / temperature
        logits = logits.masked_fill(~image_mask[rows, None, None, None], -torch.inf)
        pooled = torch.einsum("nmkhp,nphc->nmkhc", _shares(logits), patches).flatten(-2)
        return mean_over((unit(pooled) * texts[columns]).sum(-1), query_mask[columns])

    bytes_per_pair = images.element_size() * texts.shape[1] * (4 * heads * (images.shape[1] + 1) + 4 * d)
    return in_blocks(scores, len(images), len(texts), bytes_per_pair, max_bytes)


def _shares(logits: Tensor) -> Tensor:
    """What a softmax over [logits, 0] gives each patch, (…, heads, P), times one number for all heads: a cosine does not see
    it, and captions that answer to no patch would leave nothing but zeros."""
    total = logits.logsumexp(-1, keepdim=True)
    logs = logits - torch.logaddexp(total, torch.zeros_like(total))
    return (logs - logs.amax((-2, -1), keepdim=True)).exp()


def patch_pooling(
    image_tokens: Tensor,
    text: Tensor,
    *,
    image_mask: Tensor | None = None,
    temperature: float = 1.0,
    max_bytes: int = MAX_BYTES,
) -> Tensor:
    """PACL's score (CVPR 2023, arXiv 2212.04994): patches (N, P, d) and captions (M, d) → (N, M).

    a = softmax_i(⟨p_i, t⟩ / temperature), score = ⟨Σ_i a_i p_i, t⟩ = Σ_i a_i ⟨p_i, t⟩ for unit p_i and t; the sum is not
    normalised again. PACL trains a small embedder of the patches on this score. The trap: cosines differ by tenths, so at
    temperature 1 the softmax is almost flat and the score almost that of the mean patch. Errors as for `late_interaction`.
    """
    image_mask = checked_mask("image", image_tokens, image_mask)
    checked_mask("text", text[:, None], None)
    check_width(image_tokens, text)
    check_positive(temperature=temperature)
    images, texts = unit(image_tokens), unit(text)

    def scores(rows: slice, columns: slice) -> Tensor:
        cosines = torch.einsum("npd,md->nmp", images[rows], texts[columns])
        shares = (cosines / temperature).masked_fill(~image_mask[rows, None], -torch.inf).softmax(-1)
        return (shares * cosines).sum(-1)

    return in_blocks(scores, len(images), len(texts), images.element_size() * 4 * images.shape[1], max_bytes)
