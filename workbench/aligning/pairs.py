"""Embeddings of pictures and of their captions, row by row: arrays that may stay on the disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from workbench.extract import Embeddings

_ROWS = 8192  # looked at at a time


@dataclass(frozen=True, eq=False)
class Pairs:
    """images (N, d_i) and one or more caption sets texts[k] (N, d_t): row n of each belongs to picture ids[n].

    Arrays, memory maps, rows of a store or tensors; rows are read when a batch asks for them, so nothing has to fit into
    memory. One row per picture: the same picture twice in a batch would be a false negative of itself.
    """

    images: np.ndarray | Tensor
    texts: tuple[np.ndarray | Tensor, ...]
    ids: tuple[str, ...] = ()

    def __post_init__(self):
        _check_shapes(self)
        _check_each_once("id", self.ids, "one row per picture, further captions in another set of `texts`")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def widths(self) -> tuple[int, int]:
        return self.images.shape[1], self.texts[0].shape[1]

    def rows(self, rows: np.ndarray, captions: int = 1) -> tuple[Tensor, list[Tensor]]:
        """Pictures (B, d_i) and caption sets [(B, d_t)] of some rows, float32; read in ascending order, as disks like it."""
        order = np.argsort(rows, kind="stable")
        back = np.argsort(order, kind="stable")
        read = lambda array: _read(array, rows[order])[torch.from_numpy(back)]  # noqa: E731
        return read(self.images), [read(array) for array in self.texts[:captions]]

    def split(self, share: float, seed: int = 0) -> tuple[Pairs, Pairs]:
        """Two sets without a picture in common, the second with that share of all; rows stay where they lie.

        Raises ValueError where one would have under two.
        """
        order = np.random.default_rng(seed).permutation(len(self))
        held = round(share * len(self))
        if not 2 <= held <= len(self) - 2:
            raise ValueError(f"share={share} of {len(self)} pairs gives {held}; both parts need two or more")
        return self[np.sort(order[held:])], self[np.sort(order[:held])]

    def __getitem__(self, rows: np.ndarray) -> Pairs:
        rows = np.asarray(rows)
        images, *texts = (Chosen(array, rows) for array in (self.images, *self.texts))
        return Pairs(images, tuple(texts), tuple(self.ids[row] for row in rows) if self.ids else ())

    def check(self) -> None:
        """Raises ValueError for NaN or infinite values, or embeddings that are all the same; reads everything once."""
        for name, array in (("images", self.images), *((f"texts[{k}]", each) for k, each in enumerate(self.texts))):
            first, varies = _read(array, np.arange(1)), False
            for start in range(0, len(self), _ROWS):
                part = _read(array, np.arange(start, min(start + _ROWS, len(self))))
                if not bool(part.isfinite().all()):
                    row = start + int((~part.isfinite().all(1)).int().argmax())
                    raise ValueError(
                        f"{name}, row {row}, holds NaN or infinite values; leave it out, or mend what made it"
                    )
                varies = varies or bool((part != first).any())
            if not varies:
                raise ValueError(f"{name} are {len(self)} times the same row; there is nothing to learn from")


def matched(images: Embeddings, texts: Embeddings, *, kind: str = "pre", captions: int = 1) -> Pairs:
    """Pictures with their first `captions` captions, by id ("cats/1.jpg#0" belongs to "cats/1.jpg"); the rest is left out.

    Raises ValueError for an id that comes twice, where no picture has as many captions, or nothing matches.
    """
    from workbench.extract import match

    _check_each_once("picture", images.ids, "give every picture an id of its own")
    _check_each_once("caption", texts.ids, "a caption's id is its picture's, '#' and a number of its own")
    rows, columns = match(images.ids, texts.ids)
    of_picture: dict[int, list[int]] = {}
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        of_picture.setdefault(row, []).append(column)
    kept = {row: found[:captions] for row, found in of_picture.items() if len(found) >= captions}
    if len(kept) < 2:
        raise ValueError(f"{len(kept)} pictures have {captions} captions; a contrast needs two pairs or more")
    places = np.array(list(kept.values()))
    sets = tuple(Chosen(texts[kind], places[:, k]) for k in range(captions))
    return Pairs(Chosen(images[kind], np.array(list(kept))), sets, tuple(images.ids[row] for row in kept))


class Chosen:
    """Some rows of an array, in an order of their own, read when they are asked for."""

    def __init__(self, array, rows: np.ndarray):
        self.array, self.chosen = array, rows
        self.shape, self.dtype = (len(rows), *array.shape[1:]), array.dtype

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, rows) -> np.ndarray | Tensor:
        return self.array[self.chosen[rows]]


def _read(array, rows: np.ndarray) -> Tensor:
    found = array[rows]
    if isinstance(found, Tensor):
        return found.detach().cpu().float()
    return torch.from_numpy(np.ascontiguousarray(found, dtype=np.float32))


def _check_each_once(what: str, ids: Sequence[str], step: str) -> None:
    if len(set(ids)) != len(ids):
        raise ValueError(f"{what} {Counter(ids).most_common(1)[0][0]!r} comes twice; {step}")


def _check_shapes(pairs: Pairs) -> None:
    if not isinstance(pairs.texts, (tuple, list)):
        raise TypeError(f"texts is {type(pairs.texts).__name__}; give a tuple of caption sets, such as (texts,)")
    arrays: Sequence = (pairs.images, *pairs.texts)
    for array in arrays:
        if not hasattr(array, "shape"):
            raise TypeError(f"embeddings are {type(array).__name__}; give arrays or tensors (N, d)")
    shapes = [tuple(array.shape) for array in arrays]
    if not pairs.texts or any(len(shape) != 2 for shape in shapes):
        raise ValueError(f"images and texts of shapes {shapes}; give (N, d_i) and one or more of (N, d_t)")
    if len({shape[0] for shape in shapes}) > 1 or (pairs.ids and len(pairs.ids) != shapes[0][0]):
        counts = f"{shapes[0][0]} pictures, {[shape[0] for shape in shapes[1:]]} captions, {len(pairs.ids)} ids"
        raise ValueError(f"{counts}; row n of each belongs together: match them by id first (`aligning.matched`)")
    if len({shape[1] for shape in shapes[1:]}) > 1:
        raise ValueError(f"caption sets of widths {[shape[1] for shape in shapes[1:]]}; use one text tower for all")
    if shapes[0][0] < 2:
        raise ValueError(f"{shapes[0][0]} pair; a contrast needs two or more")
