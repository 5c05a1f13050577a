"""Grouped tokens: each word is compared with a mean of the patches that answer to it."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.matching.blocks import MAX_BYTES, in_blocks
from workbench.matching.tokens import check_width, checked_mask, mean_over, unit
from workbench.matching.weights import Normalizer, patch_weights


def grouped_tokens(
    image_tokens: Tensor,
    text_tokens: Tensor,
    text_mask: Tensor | None = None,
    *,
    image_mask: Tensor | None = None,
    normalizer: Normalizer = "sparse",
    max_bytes: int = MAX_BYTES,
) -> Tensor:
    """SPARC's language-grouped patches as a score (arXiv 2401.09865, section 3): (N, P, d) and (M, T, d) → (N, M).

    With unit patches p_i and words w_j, s_ij = ⟨p_i, w_j⟩: weights a_ij from s_·j scaled to 0…1 over the patches, those below
    1/P dropped, the rest divided by their sum; c_j = Σ_i a_ij p_i; score = (1/T) Σ_j cos(c_j, w_j). SPARC trains with c_j
    against the other words of the same caption; that it serves as a score is our use of it. `normalizer` as in
    `weights.patch_weights`, the paper's is "sparse". Blocks of at most `max_bytes`. Errors as for `late_interaction`.

    The trap: min-max hands a word half of the patches whatever it says, so a word that is nowhere in the picture still gets a
    full group, near the mean patch.
    """
    image_mask = checked_mask("image", image_tokens, image_mask)
    text_mask = checked_mask("text", text_tokens, text_mask)
    check_width(image_tokens, text_tokens)
    images, texts = unit(image_tokens), unit(text_tokens)

    def scores(rows: slice, columns: slice) -> Tensor:
        cosines = torch.einsum("npd,mtd->nmtp", images[rows], texts[columns])
        weights = patch_weights(cosines, image_mask[rows, None, None], normalizer)
        return mean_over(group_products(weights, cosines, images[rows]), text_mask[columns])

    return in_blocks(scores, len(images), len(texts), pooling_bytes(images, texts), max_bytes)


def group_products(weights: Tensor, products: Tensor, patches: Tensor) -> Tensor:
    """⟨c, w⟩ / |c| of groups c = Σ_i weights_i p_i, given the products ⟨p_i, w⟩: (n, m, T, P) twice, (n, P, d) → (n, m, T)."""
    lengths = torch.linalg.vector_norm(torch.einsum("nmtp,npd->nmtd", weights, patches), dim=-1)
    return (weights * products).sum(-1) / lengths.clamp_min(torch.finfo(lengths.dtype).tiny)


def pooling_bytes(images: Tensor, texts: Tensor) -> int:
    """What one pair takes while a group of patches is formed for each word: some (T, P) and one (T, d)."""
    (_, P, d), T = images.shape, texts.shape[1]
    return images.element_size() * T * (6 * P + d)
