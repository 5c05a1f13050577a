"""Parts of pictures and captions as rules take them: checked, masked, of length 1."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def unit(tokens: Tensor) -> Tensor:
    """Tokens (…, d) of length 1 in float32 or wider, zeros as they are. Scaled by their largest entry first, or 1e30 squared
    is infinite."""
    wide = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
    largest = wide.detach().abs().amax(-1, keepdim=True).clamp_min(torch.finfo(wide.dtype).tiny)
    return F.normalize(wide / largest, dim=-1)


def mean_over(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values (…, T) over what counts in a mask that broadcasts against them: (…)."""
    return (values * mask).sum(-1) / mask.sum(-1)


def checked_mask(side: str, tokens: Tensor, mask: Tensor | None) -> Tensor:
    """The mask (N, P) of tokens (N, P, d), all true where there is none; `side` is "image" or "text".

    Raises ValueError for tokens that are not three-dimensional, empty, NaN or infinite, a mask that does not fit, or a row in
    which nothing counts.
    """
    letters = "(N, P, d)" if side == "image" else "(M, T, d)"
    if tokens.ndim != 3 or 0 in tokens.shape:
        raise ValueError(f"{side} tokens {tuple(tokens.shape)} must be {letters}, nothing empty")
    # Least and largest are NaN or infinite where anything is; isfinite would stand in memory beside the tokens, twice.
    if not torch.isfinite(torch.stack(tokens.detach().aminmax())).all():
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


def check_width(image_tokens: Tensor, text_tokens: Tensor) -> None:
    if image_tokens.shape[-1] != text_tokens.shape[-1]:
        widths = f"{image_tokens.shape[-1]} wide and text tokens {text_tokens.shape[-1]}"
        raise ValueError(f"image tokens are {widths}; give `tokens` or `post` of one model")


def check_positive(**given: float) -> None:
    """Raises ValueError for a number that is not positive and finite, TypeError for what is no number."""
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{name} is {type(value).__name__} {value!r}; give a positive number")
        if not 0 < value < float("inf"):
            raise ValueError(f"{name}={value!r}; give a positive, finite number")
