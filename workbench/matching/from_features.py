"""From what towers gave to what rules take: features of pictures and captions, and a trained head where there is one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from workbench.features import TextFeatures
from workbench.matching.late import late_interaction
from workbench.matching.learned import pair_scores
from workbench.matching.pooled import global_cosine
from workbench.matching.roi import roi_features
from workbench.matching.structure import structure_guided


def of_pooled(image, text) -> Tensor:
    return global_cosine(image.post, text.post)


def of_tokens(function: Callable[..., Tensor], image, text, **options) -> Tensor:
    """Also of segments, which have tokens and a mask as captions have."""
    return function(image.tokens, text.tokens, text.mask, **options)


def with_caption(image, text, **options) -> Tensor:
    """The caption's own embedding as one more token."""
    counted = _counted_specials(text)
    if counted:
        raise ValueError(
            f"caption {counted[0]} already counts a token that is no word (keep_eos=True): score it by rule 'late'"
        )
    tokens = torch.cat([text.tokens, text.post[:, None]], 1)
    mask = torch.cat([text.mask, text.mask.new_ones(len(text), 1)], 1)
    return late_interaction(image.tokens, tokens, mask, **options)


def _counted_specials(text: TextFeatures) -> list[int]:
    """Captions of which a token counts that belongs to no word, as far as the tokenizer tells."""
    if text.word_ids is None:
        return []
    pairs = enumerate(zip(text.mask.tolist(), text.word_ids, strict=True))
    return [m for m, (mask, ids) in pairs if any(on and i is None for on, i in zip(mask, ids, strict=False))]


def by_caption(function: Callable[..., Tensor], image, text, **options) -> Tensor:
    """Patches against the caption's one vector."""
    return function(image.tokens, text.post, **options)


def of_boxes(image, text, *, boxes, frames, normalize: str = "each", **options) -> Tensor:
    return structure_guided(roi_features(image, boxes, frames, normalize=normalize), text, **options)


def linear_text(image, text, *, head) -> Tensor:
    _check_head(head, "heads.LinearTextMap", "mapped")
    place = next(head.parameters())
    with torch.no_grad():
        mapped = head.mapped(text.post.to(place)).to(text.post)
    return global_cosine(image.post, mapped)


def dense_map(image, text, *, head, **options) -> Tensor:
    """The picture's own embedding goes first where the head reads one more patch than there are: in a CLIP it is the class
    token."""
    _check_head(head, "heads.DenseMapCNN", "patches", "functional", "indices")
    patches = image.tokens
    if head.patches == patches.shape[1] + 1:
        patches = torch.cat([image.post[:, None], patches], 1)
    return pair_scores(head, {"patches": patches}, _words(text) | _functional(text, head), **options)


def _functional(text: TextFeatures, head) -> dict[str, Tensor]:
    if not head.functional:
        return {}
    if text.words is None or text.word_ids is None:
        raise ValueError(
            "this model maps no tokens to words, and the head learned columns for some; make it with functional=()"
        )
    T = text.tokens.shape[1]
    said = [
        [None if i is None else words[i] for i in ids[:T]] + [None] * (T - len(ids))
        for words, ids in zip(text.words, text.word_ids, strict=True)
    ]
    return {"words": head.indices(said)}


def pair_transformer(image, text, *, head, image_mask: Tensor | None = None, **options) -> Tensor:
    mask = {} if image_mask is None else {"patch_mask": image_mask}
    return pair_scores(head, {"patches": image.tokens, **mask}, _words(text), **options)


def _words(text: TextFeatures) -> dict[str, Tensor]:
    return {"tokens": text.tokens, "mask": text.mask}


def global_transformer(image, text, *, head, **options) -> Tensor:
    return pair_scores(head, {"image": image.post}, {"text": text.post}, **options)


def _check_head(head, wanted: str, *names: str) -> None:
    missing = [name for name in names if not hasattr(head, name)]
    if missing:
        raise TypeError(f"head is {type(head).__name__}, which has no {missing[0]!r}; give a {wanted}")
