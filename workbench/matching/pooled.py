"""The global cosine: one vector for the picture, one for the caption."""

from __future__ import annotations

from torch import Tensor

from workbench.matching.tokens import check_width, checked_mask, unit


def global_cosine(image: Tensor, text: Tensor) -> Tensor:
    """⟨v, t⟩ of vectors of length 1 (CLIP, arXiv 2103.00020): image (N, d), text (M, d) → (N, M).

    Raises ValueError for other shapes, unequal widths, NaN or infinity. The trap: below chance on quads of swapped words is
    no anti-knowledge; where a picture's and a caption's own part outweigh what they share, strict comparisons all fail.
    """
    for side, vectors in (("image", image), ("text", text)):
        if vectors.ndim != 2:
            raise ValueError(f"{side} {tuple(vectors.shape)} must be global embeddings, (N, d) or (M, d)")
        checked_mask(side, vectors[:, None], None)
    check_width(image, text)
    return unit(image) @ unit(text).mT
