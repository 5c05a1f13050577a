"""Late interaction: every part of a picture against every part of a caption, the best match of each, averaged."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from workbench.matching.blocks import MAX_BYTES, in_blocks
from workbench.matching.tokens import check_width, checked_mask, unit


def late_interaction(
    image_tokens: Tensor,
    text_tokens: Tensor,
    text_mask: Tensor | None = None,
    *,
    image_mask: Tensor | None = None,
    max_over: Literal["patches", "tokens"] = "patches",
    max_bytes: int = MAX_BYTES,
) -> Tensor:
    """Mean of best cosines: image_tokens (N, P, d), text_tokens (M, T, d), masks (N, P) and (M, T) → (N, M).

    "patches": each text token takes its best patch, averaged over the tokens that count; "tokens": each patch its best token,
    averaged over patches. These are the two directions of FILIP (arXiv 2111.07783, eq. 4 and 5); the first is ColBERT's MaxSim
    with a mean for its sum, and with re-encoded crops for patches and encoded segments for tokens it is structure-guided
    inference (arXiv 2506.09691). Cosines are made inside, in blocks of at most `max_bytes`; (N, M, P, T) never stands in
    memory whole. Raises ValueError for shapes or masks that do not fit, NaN or infinity even behind a mask, or a row in which
    nothing counts.

    The traps: padding and class tokens have seen everything, so mask them; easy words raise a mean, so compare captions of
    the same words, or centre; and last-layer patches of CLIP can answer inversely, so look at the sign.
    """
    image_mask = checked_mask("image", image_tokens, image_mask)
    text_mask = checked_mask("text", text_tokens, text_mask)
    check_width(image_tokens, text_tokens)
    if max_over not in ("patches", "tokens"):
        raise ValueError(
            f"max_over={max_over!r}; choose 'patches' (best patch per word) or 'tokens' (best word per patch)"
        )
    images, texts = unit(image_tokens).float(), unit(text_tokens).float()

    def scores(rows: slice, columns: slice) -> Tensor:
        return _scores(images[rows], texts[columns], image_mask[rows], text_mask[columns], max_over)

    return in_blocks(scores, len(images), len(texts), 4 * images.shape[1] * texts.shape[1], max_bytes)


def _scores(images: Tensor, texts: Tensor, image_mask: Tensor, text_mask: Tensor, max_over: str) -> Tensor:
    (n, P, d), (m, T, _) = images.shape, texts.shape
    cosines = (images.reshape(-1, d) @ texts.reshape(-1, d).T).view(n, P, m, T)
    if max_over == "patches":
        best = cosines.masked_fill_(~image_mask[:, :, None, None], -torch.inf).amax(1)  # (n, m, T)
        return (best * text_mask).sum(-1) / text_mask.sum(-1)
    best = cosines.masked_fill_(~text_mask, -torch.inf).amax(3)  # (n, P, m)
    return (best * image_mask[..., None]).sum(1) / image_mask.sum(1, keepdim=True)
