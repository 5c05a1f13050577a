"""Patch–word similarity maps: one text's cosine with every patch of a picture."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def similarity_map(
    image_tokens: Tensor, text_tokens: Tensor, *, normalize: Literal["each", "whole"] = "each"
) -> Tensor:
    """Similarity of every text vector with every patch: image_tokens (P, d), text_tokens (T, d) → (T, P).

    "each": cosine per patch, in [-1, 1]. "whole": each patch divided by the norm of the *mean* patch, so that a row's mean
    is the cosine of the text with the mean patch; where the image embedding is that mean (a linear head on an average
    pool) the map is an exact decomposition of the score. Raises ValueError for other shapes, unequal widths, NaN, a text
    vector of length zero, or patches that average to zero under "whole". The trap: maps of CLIP-like models can come out
    inverted (background answers best); look at the sign before believing one.
    """
    _check(image_tokens, text_tokens)
    text = F.normalize(text_tokens.float(), dim=-1)
    patches = image_tokens.float()
    if normalize == "each":
        return text @ F.normalize(patches, dim=-1).T
    if normalize != "whole":
        raise ValueError(f"normalize={normalize!r}; choose 'each' (cosine per patch) or 'whole' (adds up to the score)")
    norm = patches.mean(0).norm()
    if norm == 0:
        raise ValueError("the patches average to zero, so 'whole' has nothing to divide by; use normalize='each'")
    return text @ patches.T / norm


def centre(maps: Tensor, reference: Tensor) -> Tensor:
    """What a text adds to a patch beyond any text: maps (T, P) minus the mean of reference maps (R, P).

    A patch that answers to every word (a bright corner, a register-like token) loses its lead; row sums no longer are
    scores.
    """
    if maps.ndim != 2 or reference.ndim != 2 or maps.shape[1] != reference.shape[1]:
        raise ValueError(
            f"maps {tuple(maps.shape)} and reference {tuple(reference.shape)} must be (T, P) and (R, P) of the same picture"
        )
    return maps - reference.mean(0)


def without_redundant(maps: Tensor, *, cosines: Tensor | None = None) -> Tensor:
    """CLIP Surgery's removal of what all texts share (arXiv 2304.05653, §3.3): maps (T, P) of T ≥ 2 texts → (T, P).

    Every map less the mean of all. `cosines` (T,) of the texts with the whole picture weigh them first, softmax(2 cos)
    over its mean, so that an obvious class does not drown the others. The paper multiplies features element by element;
    summed over the width that is this. With a single text subtract a reference instead: `centre`.
    """
    if maps.ndim != 2 or len(maps) < 2:
        raise ValueError(
            f"maps {tuple(maps.shape)}; give (T, P) of at least two texts, or use centre() with a reference"
        )
    if cosines is not None:
        if tuple(cosines.shape) != (len(maps),):
            raise ValueError(f"cosines {tuple(cosines.shape)} do not fit {len(maps)} maps; give one per text")
        maps = maps * ((2 * cosines).softmax(0) * len(maps))[:, None]
    return maps - maps.mean(0)


def _check(image_tokens: Tensor, text_tokens: Tensor) -> None:
    shapes = f"image_tokens {tuple(image_tokens.shape)}, text_tokens {tuple(text_tokens.shape)}"
    if image_tokens.ndim != 2 or text_tokens.ndim != 2 or image_tokens.shape[1] != text_tokens.shape[1]:
        raise ValueError(f"{shapes}; give one picture's (P, d) and one caption's (T, d) with the same d")
    if not len(image_tokens) or not len(text_tokens):
        raise ValueError(f"{shapes}; both need at least one row")
    if torch.isnan(image_tokens).any() or torch.isnan(text_tokens).any():
        raise ValueError(f"{shapes} hold NaN; a model gave a broken feature, check its inputs")
    if (text_tokens.float().norm(dim=-1) == 0).any():
        raise ValueError("a text vector has length zero and no direction; leave that token out")
