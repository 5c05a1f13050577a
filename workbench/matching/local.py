"""FSC-CLIP's local score: a sum over words of how well the patches that answer to a word say it."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.matching.blocks import MAX_BYTES, in_blocks
from workbench.matching.grouped import pooling_bytes
from workbench.matching.tokens import check_width, checked_mask
from workbench.matching.weights import Normalizer, patch_weights

CLIP_SCALE = 100.0  # where CLIP's learned scale is clamped, and where OpenAI's models ended


def local_similarity(
    image_tokens: Tensor,
    text_tokens: Tensor,
    text_mask: Tensor | None = None,
    logit_scale: Tensor | float = CLIP_SCALE,
    *,
    normalizer: Normalizer = "minmax",
    image_mask: Tensor | None = None,
) -> Tensor:
    """log S_l of FSC-CLIP (arXiv 2410.05210, eq. 6 to 8): image (B, P, d), text (B, T, d) or (B, C, T, d) → (B,) or (B, C).

    Picture b with its own caption, or with its own C captions. s_wp = ⟨t_w, v_p⟩; a_wp = weights over patches
    (`weights.patch_weights`); v̂_w = Σ_p a_wp v_p; log S_l = log Σ_w exp(scale · cos(v̂_w, t_w)), over the words that count.
    `logit_scale` is exponentiated, and may be a tensor of one element that learns. As in the authors' code the map s is made
    of tokens that are not normalised, and no gradient flows through the weights. Differentiable in all else.

    The traps: no division by the number of words, so saying a word n times adds log n; FSC counts the end-of-text token and
    not the start (`encode_text(tokens=True, keep_eos=True)`); in a causal tower captions that begin alike have the same terms
    there; softmax weights depend on the tokens' lengths, min-max ones only on those of the patches. Errors as for
    `late_interaction`; ValueError for another number of pictures than captions.
    """
    if text_tokens.ndim not in (3, 4) or len(text_tokens) != len(image_tokens):
        raise ValueError(
            f"image tokens {tuple(image_tokens.shape)} and text tokens {tuple(text_tokens.shape)}; give (B, P, d) with "
            "(B, T, d), or with (B, C, T, d) for C captions each"
        )
    several = text_tokens if text_tokens.ndim == 4 else text_tokens[:, None]
    mask = text_mask if text_mask is None or text_tokens.ndim == 4 else text_mask[:, None]
    image_mask = checked_mask("image", image_tokens, image_mask)
    text_mask = checked_mask("text", several.flatten(0, 1), None if mask is None else mask.flatten(0, 1))
    check_width(image_tokens, text_tokens)
    images, texts = _wide(image_tokens), _wide(several)
    similarity = (texts.flatten(1, 2) @ images.mT).unflatten(1, texts.shape[1:3])
    text_mask = text_mask.unflatten(0, several.shape[:2])
    scores = _log_sums(similarity, images, image_mask, _lengths(texts), text_mask, logit_scale, normalizer)
    return scores if text_tokens.ndim == 4 else scores[:, 0]


def local_scores(
    image_tokens: Tensor,
    text_tokens: Tensor,
    text_mask: Tensor | None = None,
    *,
    logit_scale: float = CLIP_SCALE,
    normalizer: Normalizer = "minmax",
    image_mask: Tensor | None = None,
    max_bytes: int = MAX_BYTES,
) -> Tensor:
    """`local_similarity` of every picture with every caption: (N, P, d) and (M, T, d) → (N, M), in blocks of `max_bytes`."""
    image_mask = checked_mask("image", image_tokens, image_mask)
    text_mask = checked_mask("text", text_tokens, text_mask)
    check_width(image_tokens, text_tokens)
    images, texts = _wide(image_tokens), _wide(text_tokens)
    lengths = _lengths(texts)

    def scores(rows: slice, columns: slice) -> Tensor:
        similarity = torch.einsum("bpd,ctd->bctp", images[rows], texts[columns])
        sides = images[rows], image_mask[rows], lengths[columns], text_mask[columns]
        return _log_sums(similarity, *sides, logit_scale, normalizer)

    return in_blocks(scores, len(images), len(texts), pooling_bytes(images, texts), max_bytes)


def local_terms(
    image_tokens: Tensor, text_tokens: Tensor, *, normalizer: Normalizer = "minmax"
) -> tuple[Tensor, Tensor]:
    """What `local_similarity` sums up, of one picture and caption: (P, d), (T, d) → cos(v̂_w, t_w) (T,), weights a (T, P)."""
    image_mask = checked_mask("image", image_tokens[None], None)
    checked_mask("text", text_tokens[None], None)
    check_width(image_tokens[None], text_tokens[None])
    images, texts = _wide(image_tokens), _wide(text_tokens)
    similarity = texts @ images.mT
    weights = patch_weights(similarity.detach(), image_mask, normalizer)
    return torch.nn.functional.cosine_similarity(weights @ images, texts, dim=-1), weights


def _log_sums(similarity, images, image_mask, word_lengths, text_mask, scale, normalizer: Normalizer) -> Tensor:
    """similarity (b, c, T, P), images (b, P, d), word lengths and mask that broadcast to (b, c, T) → (b, c)."""
    weights = patch_weights(similarity.detach(), image_mask[:, None, None], normalizer, scaled=False)
    pooled = torch.linalg.vecdot(weights, similarity) / _pooled_lengths(weights, images)
    return (scale * pooled / word_lengths).masked_fill(~text_mask, -torch.inf).logsumexp(-1)


def _pooled_lengths(weights: Tensor, images: Tensor) -> Tensor:
    """|v̂| of v̂ = Σ_p a_p v_p by the products of patches with each other, for v̂ itself would be (b, c, T, d): → (b, c, T).

    Where patches cancel, rounding is all that is left; so no length is below the root of eps times the lengths that went in.
    """
    a, gram = weights.flatten(1, 2), images @ images.mT
    squares = torch.linalg.vecdot(a @ gram, a)
    with torch.no_grad():
        going_in = a @ gram.diagonal(dim1=1, dim2=2).sqrt()[..., None]
        least = torch.finfo(a.dtype).eps * going_in[..., 0].square() + torch.finfo(a.dtype).tiny
    return squares.maximum(least).sqrt().unflatten(1, weights.shape[1:3])


def _wide(tokens: Tensor) -> Tensor:
    return tokens.to(torch.promote_types(tokens.dtype, torch.float32))


def _lengths(tokens: Tensor) -> Tensor:
    return torch.linalg.vector_norm(tokens, dim=-1).clamp_min(torch.finfo(tokens.dtype).tiny)
