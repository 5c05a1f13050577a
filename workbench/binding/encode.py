"""Features of drawn quads from a frozen model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workbench.binding.features import QuadFeatures, Side
from workbench.data.scenes.drawing import Cutter, draw
from workbench.data.scenes.quads import Quad
from workbench.features import TextFeatures
from workbench.models.dual_encoder import DualEncoder
from workbench.progress import bar

_AT_ONCE = 32  # quads


def quad_features(
    model: DualEncoder,
    quads: Sequence[Quad],
    *,
    side: int | None = None,
    cutter: Cutter | None = None,
    keep_eos: bool = False,
    apart: Sequence[str] = (),
    dtype: torch.dtype = torch.float32,
) -> QuadFeatures:
    """Patches (n, 2, P, d), word tokens (n, 2, T, d) with their mask, and global embeddings (n, 2, d), kept in `dtype`.

    Pictures are drawn at `side` pixels (None: the model's own). Tokens are those of `encode_image` and `encode_text`: after
    the last norm and the projection, class, start and padding tokens left out; `keep_eos` counts the end-of-text token, which
    in a CLIP holds the whole caption. `apart` lists words that a head treats apart ("left", "not"): the captions' `words` say
    where they stand. Raises ValueError for no quads, or a model without patch tokens.
    """
    if not len(quads):
        raise ValueError("there are no quads; make some with data.scenes.quads(category, n, seed)")
    text = model.encode_text([each for quad in quads for each in quad.captions], tokens=True, keep_eos=keep_eos)
    counted = text.mask.any(0)  # a place that counts in no caption is not kept
    where = _by_quad(_places(text, apart)[:, counted]) if apart else None
    words, mask = text.tokens[:, counted].to(dtype), text.mask[:, counted]
    texts = Side(_by_quad(text.post.to(dtype)), _by_quad(words), _by_quad(mask), where)
    return QuadFeatures(_pictures(model, quads, side, cutter, dtype), texts, tuple(quad.id for quad in quads))


def _pictures(
    model: DualEncoder, quads: Sequence[Quad], side: int | None, cutter: Cutter | None, dtype: torch.dtype
) -> Side:
    side = side or model.card.image_size
    post, tokens = [], []
    for start in bar(range(0, len(quads), _AT_ONCE), f"{len(quads)} quads through {model.name}"):
        drawn = [draw(scene, side, cutter=cutter) for quad in quads[start : start + _AT_ONCE] for scene in quad.scenes]
        seen = model.encode_image(drawn, tokens=True, batch_size=2 * _AT_ONCE)
        post.append(seen.post.to(dtype))
        tokens.append(seen.tokens.to(dtype))
    return Side(_by_quad(torch.cat(post)), _by_quad(torch.cat(tokens)))


def _places(text: TextFeatures, apart: Sequence[str]) -> Tensor:
    """Of each token (M, T) the place of its word in the list, -1 where it is not there or the token is no word's."""
    place = {word.casefold(): i for i, word in enumerate(apart)}
    found = torch.full(text.mask.shape, -1)
    for m, (words, ids) in enumerate(zip(text.words, text.word_ids, strict=True)):
        for t, word in enumerate(ids):
            found[m, t] = -1 if word is None else place.get(words[word].casefold(), -1)
    return found


def _by_quad(rows: Tensor) -> Tensor:
    return rows.unflatten(0, (-1, 2))
