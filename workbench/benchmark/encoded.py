"""Features of all that some items show and say, and the cosines that their questions need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy

import numpy as np

from workbench.data.benchmarks import Item, as_sample
from workbench.data.samples import Sample
from workbench.evaluation.composition import levelled
from workbench.extract import Embeddings, embeddings
from workbench.models.dual_encoder import DualEncoder

BLOCK = 1024  # items scored at a time


class Encoded:
    """Features of all pictures and texts of some items, each encoded once however often it comes, so that what is the same
    scores the same; `whole` are the items of which nothing failed. Raises ValueError where that is none of them, or for a
    feature without direction."""

    def __init__(self, model: DualEncoder, items: Sequence, **options):
        samples = {each.id: each for item in items for each in samples_of(item)}
        texts = dict.fromkeys(text for item in items for text in item.texts)
        self.images = embeddings(model, list(samples.values()), **options)
        self.texts = embeddings(model, [Sample(text, text=text) for text in texts], modality="text", **options)
        self._image = {name: row for row, name in enumerate(self.images.ids)}
        self._text = {name: row for row, name in enumerate(self.texts.ids)}
        self.posts = {"image": _sound(self.images), "text": _sound(self.texts)}
        self.whole = [item for item in items if self._is_whole(item)]
        if not self.whole:
            failed = {**self.images.failed, **self.texts.failed}
            raise ValueError(f"none of {len(items)} items could be read, for example {next(iter(failed.items()))}")

    def _is_whole(self, item) -> bool:
        return all(each.id in self._image for each in samples_of(item)) and all(
            each in self._text for each in item.texts
        )

    def image(self, samples: Iterable[Sample]) -> np.ndarray:
        """Rows of unit length, float64."""
        return _unit(self.posts["image"][[self._image[each.id] for each in samples]])

    def text(self, texts: Iterable[str]) -> np.ndarray:
        return _unit(self.posts["text"][[self._text[each] for each in texts]])

    def with_features(self, image: np.ndarray, text: np.ndarray) -> Encoded:
        """The same items with other features in the place of `posts`, row by row."""
        other = copy(self)
        other.posts = {"image": image, "text": text}
        return other

    def options(self, items: Sequence[Item]) -> np.ndarray:
        """Cosines (n, K) of each picture with its captions, the true ones first. An item with fewer captions than others
        has its last one again, which changes no maximum."""
        wide = max(len(item.texts) for item in items)
        parts = []
        for start in range(0, len(items), BLOCK):
            some = items[start : start + BLOCK]
            texts = [(*item.texts, *item.texts[-1:] * (wide - len(item.texts))) for item in some]
            image = self.image(samples_of(item)[0] for item in some)
            text = self.text(each for row in texts for each in row).reshape(len(some), wide, -1)
            parts.append((image[:, None] * text).sum(2))
        return levelled(np.concatenate(parts))

    def grid(self, items: Sequence) -> np.ndarray:
        """Cosines (n, pictures, texts) of items that have as many of both as each other."""
        parts = []
        for start in range(0, len(items), BLOCK):
            some = items[start : start + BLOCK]
            image = self.image(each for item in some for each in samples_of(item)).reshape(len(some), -1, 1, self.width)
            text = self.text(each for item in some for each in item.texts).reshape(len(some), 1, -1, self.width)
            parts.append((image * text).sum(3))
        return levelled(np.concatenate(parts))

    @property
    def width(self) -> int:
        return self.posts["text"].shape[1]


def samples_of(item) -> list[Sample]:
    return [as_sample(picture, getattr(item, "box", None)) for picture in item.pictures]


def _sound(found: Embeddings) -> np.ndarray:
    """Features (n, d). A row of zeros would tie with everything, and NaN lose against everything: both pass for a bad model."""
    posts = np.asarray(found["post"])
    squares = np.einsum("nd,nd->n", posts, posts, dtype=np.float64)
    sound = (squares > 0) & np.isfinite(squares)
    if not sound.all():
        raise ValueError(
            f"the feature of {found.ids[sound.argmin()]!r} is zeros, NaN or infinite; the model gave a broken feature: look "
            "at what goes in there, or leave its items out"
        )
    return posts


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, dtype=np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
