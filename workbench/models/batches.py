"""Pictures and captions on their way in, batch by batch, and features joined on their way out."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from workbench.data.pictures import open_picture
from workbench.features import ImageFeatures
from workbench.models.card import ModelCard
from workbench.progress import bar

if TYPE_CHECKING:
    from workbench.models.dual_encoder import Tokenized


def as_list(images, what: str) -> list:
    single = isinstance(images, (str, Image.Image, bytes, bytearray, memoryview)) or hasattr(images, "__fspath__")
    if single or (isinstance(images, np.ndarray) and images.ndim in (2, 3)):
        return [images]
    if not isinstance(images, Iterable):
        raise TypeError(f"{type(images).__name__} {images!r} is no {what}; give one or a list of them")
    images = list(images)
    if not images:
        raise ValueError(f"no {what} given; pass at least one")
    return images


def opened(image) -> Image.Image:
    picture = open_picture(image)
    for note in picture.notes:
        if "scaled" in note:
            warnings.warn(f"{picture.name}: {note}", stacklevel=4)
    return picture.image


def captions(texts: str | Iterable[str]) -> list[str]:
    texts = as_list(texts, "captions")
    for m, text in enumerate(texts):
        check_caption(text, f"caption {m}")
    return texts


def check_caption(text: str, name: str = "the caption") -> None:
    """Raises TypeError for what is not text, ValueError for an empty caption or one with half a character."""
    if not isinstance(text, str):
        raise TypeError(f"{name} is {type(text).__name__} {text!r}; captions are strings")
    if not text.strip():
        raise ValueError(f"{name} is empty; type at least one word")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError(f"{name} holds half a character, {text!r:.80}; decode its bytes as UTF-8, or retype it")


def warn_cut(tokenized: Tokenized, card: ModelCard) -> None:
    for m, length in enumerate(tokenized.full_lengths):
        if length > card.context_length:
            dropped = length - card.context_length
            warnings.warn(
                f"caption {m} has {length} tokens; {card.name} reads {card.context_length}, so the last {dropped} were dropped",
                stacklevel=3,
            )


def whole(what: str, value) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{what} is {type(value).__name__} {value!r}; give a whole number")
    return int(value)


def in_batches(items: Sequence, size: int, what: str):
    if whole("batch_size", size) < 1:
        raise ValueError(f"batch_size={size}; give a positive number")
    starts = range(0, len(items), size)
    for start in bar(starts, what) if len(starts) > 1 else starts:
        yield items[start : start + size]


def joined(batches: list[ImageFeatures], tokens: bool) -> ImageFeatures:
    grid = common_grid(batches, tokens)
    named = {name: gather(batches, name) for name in ("pre", "post", "tokens", "norms")}
    return ImageFeatures(**named, grid=grid)


def gather(batches: list, name: str, pad_to: int | None = None) -> Tensor | None:
    parts = [getattr(batch, name) for batch in batches]
    if parts[0] is None:
        return None
    if pad_to is not None:
        parts = [pad(part, pad_to) for part in parts]
    together = torch.cat(parts).cpu()
    return together if together.dtype == torch.bool else together.float()


def end_of_text(tokenized: Tokenized) -> Tensor:
    """True at each caption's last attended token, where that is no word: (M, T)."""
    ends = torch.zeros_like(tokenized.mask)
    for m, word_ids in enumerate(tokenized.word_ids):
        last = int(tokenized.mask[m].nonzero().max())
        ends[m, last] = word_ids[last] is None
    return ends


def words_and_end(tokenized: Tokenized) -> Tensor:
    """True at tokens of words and at each caption's last special one, not at a start: (M, T)."""
    words = torch.zeros_like(tokenized.mask)
    for m, word_ids in enumerate(tokenized.word_ids):
        words[m, : len(word_ids)] = torch.tensor([word is not None for word in word_ids[: words.shape[1]]])
    return (words & tokenized.mask) | end_of_text(tokenized)


def common_grid(batches: list[ImageFeatures], tokens: bool) -> tuple[int, int] | None:
    """The grid of all pictures, or None. Patch tokens stack only on one grid, so ValueError where they are wanted on more."""
    grids = {batch.grid for batch in batches}
    if tokens and len(grids) > 1:
        raise ValueError(
            f"the pictures have different patch grids ({', '.join(map(str, sorted(grids)))}); encode them one by one, "
            "or crop them to one shape"
        )
    return grids.pop() if len(grids) == 1 else None


def pad(part: Tensor, width: int) -> Tensor:
    missing = width - part.shape[1]
    return part if missing == 0 else torch.cat([part, part.new_zeros(len(part), missing, *part.shape[2:])], dim=1)
