"""Late interaction: every part of a picture against every part of a caption, the best match of each, averaged."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def late_interaction(
    image_tokens: Tensor,
    text_tokens: Tensor,
    text_mask: Tensor | None = None,
    *,
    image_mask: Tensor | None = None,
    max_over: Literal["patches", "tokens"] = "patches",
    max_bytes: int = 256 << 20,
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
    image_mask = _check("image", image_tokens, image_mask)
    text_mask = _check("text", text_tokens, text_mask)
    if image_tokens.shape[2] != text_tokens.shape[2]:
        widths = f"{image_tokens.shape[2]} wide and text tokens {text_tokens.shape[2]}"
        raise ValueError(f"image tokens are {widths}; give `tokens` or `post` of one model")
    if max_over not in ("patches", "tokens"):
        raise ValueError(
            f"max_over={max_over!r}; choose 'patches' (best patch per word) or 'tokens' (best word per patch)"
        )
    images, texts = _normalised(image_tokens), _normalised(text_tokens)
    rows, columns = _block(images.shape[:2], texts.shape[:2], max_bytes)
    return torch.cat(
        [
            torch.cat(
                [
                    _scores(
                        images[n : n + rows],
                        texts[m : m + columns],
                        image_mask[n : n + rows],
                        text_mask[m : m + columns],
                        max_over,
                    )
                    for m in range(0, len(texts), columns)
                ],
                dim=1,
            )
            for n in range(0, len(images), rows)
        ]
    )


def _normalised(tokens: Tensor) -> Tensor:
    """Tokens of length 1 in float32, zeros as they are. Scaled by their largest entry first, or 1e30 squared is infinite."""
    wide = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
    largest = wide.detach().abs().amax(-1, keepdim=True).clamp_min(torch.finfo(wide.dtype).tiny)
    return F.normalize((wide / largest).float(), dim=-1)


def _scores(images: Tensor, texts: Tensor, image_mask: Tensor, text_mask: Tensor, max_over: str) -> Tensor:
    (n, P, d), (m, T, _) = images.shape, texts.shape
    cosines = (images.reshape(-1, d) @ texts.reshape(-1, d).T).view(n, P, m, T)
    if max_over == "patches":
        best = cosines.masked_fill_(~image_mask[:, :, None, None], -torch.inf).amax(1)  # (n, m, T)
        return (best * text_mask).sum(-1) / text_mask.sum(-1)
    best = cosines.masked_fill_(~text_mask, -torch.inf).amax(3)  # (n, P, m)
    return (best * image_mask[..., None]).sum(1) / image_mask.sum(1, keepdim=True)


def _block(images: tuple[int, int], texts: tuple[int, int], max_bytes: int) -> tuple[int, int]:
    """How many pictures and captions at a time, so that their cosines stay within the budget."""
    if max_bytes < 1:
        raise ValueError(f"max_bytes={max_bytes}; give the bytes that a block of cosines may take")
    pairs = max(max_bytes // (4 * images[1] * texts[1]), 1)
    columns = min(texts[0], pairs)
    return max(pairs // columns, 1), columns


def _check(side: str, tokens: Tensor, mask: Tensor | None) -> Tensor:
    """The mask, all true where there is none. Raises as `late_interaction` says."""
    letters = "(N, P, d)" if side == "image" else "(M, T, d)"
    if tokens.ndim != 3 or 0 in tokens.shape:
        raise ValueError(f"{side} tokens {tuple(tokens.shape)} must be {letters}, nothing empty")
    if not torch.isfinite(tokens).all():
        raise ValueError(f"{side} tokens hold NaN or infinity; a model gave a broken feature, check its inputs")
    if mask is None:
        return torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    if mask.shape != tokens.shape[:2] or mask.dtype != torch.bool:
        raise ValueError(
            f"{side} mask {tuple(mask.shape)} of {mask.dtype} does not fit tokens {tuple(tokens.shape)}; "
            "give a boolean mask, true where a token counts"
        )
    empty = (~mask.any(1)).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"in {side} {empty[0]} nothing counts: its mask is all false; leave it out, or mend the mask")
    return mask
