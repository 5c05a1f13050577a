"""Where embeddings enter a tower, found by watching one pass: the table of tokens, the layer that makes patches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import get_ident

import torch
from torch import Tensor, nn

from workbench.data.vocabulary import EVERYDAY_WORDS
from workbench.models.dual_encoder import DualEncoder

_INSTEAD = "take a vision transformer, such as scenes-clip, or carry pictures into the text tower with oti"


@dataclass(frozen=True)
class Site:
    """Where pseudo embeddings (B, tokens, width) enter a tower: `put(output, pseudo)` of `module`, read out by `run(B)`."""

    module: nn.Module
    width: int
    put: Callable[[Tensor, Tensor], Tensor]
    run: Callable[[int], Tensor]


def text_site(model: DualEncoder, template: str, tokens: int) -> Site:
    ids, mask, places = _filled(model, template, tokens)

    def run(batch: int) -> Tensor:
        return model.forward_text(ids.expand(batch, -1), mask.expand(batch, -1)).post

    # Position and segment tables are embeddings, too; only the table of tokens is asked for the ids themselves.
    reads_ids = [call for call in _calls(model.module, nn.Embedding, lambda: run(1)) if _are_ids(call[1], ids)]
    tables = {id(table): (table, output) for table, _, output in reads_ids}
    if len(tables) != 1:
        raise ValueError(
            f"{len(tables)} layers of {model.name} look its tokens up, where one is needed to replace what it says; "
            "take a model with a single table of token embeddings"
        )
    ((table, output),) = tables.values()
    return Site(table, output.shape[-1], partial(_at_places, places), run)


def _are_ids(asked, ids: Tensor) -> bool:
    """A prefix counts: some towers leave the last place to a token of their own."""
    return isinstance(asked, Tensor) and asked.ndim == 2 and torch.equal(asked, ids[:, : asked.shape[1]])


def _at_places(places: Tensor, output: Tensor, pseudo: Tensor) -> Tensor:
    return output.index_copy(1, places, pseudo.to(output.dtype))


def _filled(model: DualEncoder, template: str, tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    """The template around words that will be replaced: ids (1, T), mask (1, T), and the places of those words (tokens,).

    The places are where two fillings differ whose words are one token each.
    """
    fillings = _of_whole_words(model, template, tokens)
    tokenized = model._tokenize(fillings)
    places = (tokenized.ids[0] != tokenized.ids[-1]).nonzero()[:, 0]
    if len(places) != tokens:
        raise ValueError(
            f"template={template!r} with tokens={tokens}: no everyday word is a single token there for the tokenizer of "
            f'{model.name}; leave spaces around "{{}}", or take a model whose tokens are words'
        )
    return tokenized.ids[:1].to(model.device), tokenized.mask[:1].to(model.device), places.to(model.device)


def _of_whole_words(model: DualEncoder, template: str, tokens: int) -> list[str]:
    """The first two shortest of the template's fillings with everyday words, which are one token each if any words are.

    Raises ValueError for a template with unknown words, or one that is longer than the tower reads.
    """
    fillings = [template.replace("{}", " ".join([word] * tokens)) for word in EVERYDAY_WORDS]
    tokenized = model._tokenize(fillings)
    unknown = _unknown_words(model, tokenized)
    if missing := sorted(set.intersection(*unknown)):
        raise ValueError(
            f"template={template!r}: the tokenizer of {model.name} does not know {', '.join(map(repr, missing))}; "
            'give a template of words that it knows, such as "a {}"'
        )
    lengths = {m: tokenized.full_lengths[m] for m, words in enumerate(unknown) if not words}
    shortest = min(lengths.values(), default=0)
    if shortest > model.card.context_length:
        raise ValueError(
            f"template={template!r} with tokens={tokens} is {shortest} tokens long and {model.name} reads "
            f"{model.card.context_length}; shorten the template or lower tokens"
        )
    return [fillings[m] for m, length in lengths.items() if length == shortest][:2] or fillings[:1]


def _unknown_words(model: DualEncoder, tokenized) -> list[set[str]]:
    """Of each caption, the words that a tokenizer of a closed vocabulary reads as "unknown"."""
    inner = getattr(model.tokenizer, "tokenizer", model.tokenizer)  # open_clip wraps those of transformers
    unknown = getattr(inner, "unk_token_id", None)
    rows = zip(tokenized.ids.tolist(), tokenized.words, tokenized.word_ids, strict=True)
    return [
        {words[w] for token, w in zip(ids, word_ids, strict=True) if token == unknown and w is not None}
        for ids, words, word_ids in rows
    ]


def image_site(model: DualEncoder, tokens: int) -> Site:
    size = model.card.image_size
    blank = torch.zeros(1, 3, size, size, device=model.device, dtype=model.dtype)

    def run(batch: int) -> Tensor:
        return model.forward_image(blank.expand(batch, -1, -1, -1)).post

    layer, output = _patch_embedding(model, lambda: run(1))
    patches = output.shape[1] if output.ndim == 3 else output[0, 0].numel()
    if tokens > patches:
        raise ValueError(f"tokens={tokens}; {model.name} has {patches} patches, so give 1 to {patches}")
    nearest = torch.arange(patches, device=model.device) * tokens // patches
    return Site(layer, output.shape[1 if output.ndim == 4 else 2], partial(_over_patches, nearest), run)


def _patch_embedding(model: DualEncoder, run: Callable[[], Tensor]) -> tuple[nn.Module, Tensor]:
    """The layer that makes patches, a convolution or a linear layer, and its output: (1, w, rows, columns) or (1, P, w)."""
    called = _calls(model.module, (nn.Conv2d, nn.Linear), run)
    if not called:
        raise ValueError(f"{model.name}: its image tower starts with a layer of a kind that is not known; {_INSTEAD}")
    layer, _, output = called[0]
    grid = model.card.grid
    if isinstance(layer, nn.Linear):
        fits = output.ndim == 3 and grid is not None and output.shape[1] == grid[0] * grid[1]
    elif grid is None:  # it pools its patches by learned queries and keeps none
        fits = tuple(layer.kernel_size) == tuple(layer.stride)
    else:
        fits = tuple(output.shape[2:]) == tuple(grid)
    if not fits:
        made = " × ".join(map(str, output.shape[2:] if output.ndim == 4 else output.shape[1:2]))
        raise ValueError(
            f"{model.name} has no patch embedding to replace: the first layer of its image tower makes {made} cells and "
            f"later ones merge them, as convolutional towers do; {_INSTEAD}"
        )
    return layer, output


def _calls(root: nn.Module, kinds, run: Callable[[], object]) -> list[tuple[nn.Module, object, Tensor]]:
    """(module, first argument, output) of every call of a kind of module during one pass, in their order."""
    seen, here = [], get_ident()

    def note(module: nn.Module, args: tuple, output: Tensor) -> None:
        if get_ident() == here:
            seen.append((module, args[0] if args else None, output))

    handles = [module.register_forward_hook(note) for module in root.modules() if isinstance(module, kinds)]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _over_patches(nearest: Tensor, output: Tensor, pseudo: Tensor) -> Tensor:
    """Pseudo patches (B, tokens, w) as the output of a patch embedding, nearest neighbours along the row of patches."""
    patches = pseudo.to(output.dtype)[:, nearest]
    return patches if output.ndim == 3 else patches.mT.unflatten(2, output.shape[2:]).contiguous()
