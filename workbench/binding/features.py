"""Frozen features of quads: computed once, kept in one file, read a batch at a time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from workbench.evaluation.blind import shuffled_images
from workbench.files import write_whole

Array = np.ndarray | Tensor

_ITEMS = 512  # quads looked at at a time
_PARTS = ("post", "tokens", "mask", "words")


@dataclass(frozen=True, eq=False)
class Side:
    """Pictures or captions as their tower left them: post (…, d), tokens (…, T, d_token) or None, mask (…, T) or None.

    `tokens` are patches, crops or words; `mask` is true where one counts, None where all do. `words` (…, T) says which word of
    some list a token is, -1 where it is none: for heads that treat some words apart. Leading axes are the same for all: one
    row per item, or a quad and which of its two. Arrays, memory maps or tensors. Raises ValueError for shapes that do not fit,
    TypeError for a mask that is not boolean or words that are no whole numbers.
    """

    post: Array
    tokens: Array | None = None
    mask: Array | None = None
    words: Array | None = None

    def __post_init__(self):
        lead = tuple(self.post.shape[:-1])
        if not lead or 0 in self.post.shape:
            raise ValueError(f"post has shape {tuple(self.post.shape)}; give (N, d) or (n, 2, d), nothing empty")
        if self.tokens is not None and (
            tuple(self.tokens.shape[:-2]) != lead or self.tokens.ndim != len(lead) + 2 or 0 in self.tokens.shape
        ):
            raise ValueError(
                f"tokens {tuple(self.tokens.shape)} beside post {tuple(self.post.shape)}; both start alike"
            )
        for name, kinds in (("mask", "b"), ("words", "iu")):
            _check_by_token(name, getattr(self, name), self.tokens, kinds)

    def __len__(self) -> int:
        return len(self.post)

    def __getitem__(self, rows) -> Side:
        return self._each(lambda part: part[rows])

    def to(self, device: str | torch.device) -> Side:
        """As tensors on a device, numbers in float32."""
        return self._each(lambda part: _tensor(part).to(device))

    def flat(self) -> Side:
        """One row per item, (n, 2, …) → (2n, …)."""
        return self._each(lambda part: part.reshape(-1, *part.shape[2:]))

    def parts(self) -> dict[str, Array]:
        """Those that are there, by name."""
        return {name: part for name in _PARTS if (part := getattr(self, name)) is not None}

    def _each(self, change) -> Side:
        return Side(**{name: change(part) for name, part in self.parts().items()})


@dataclass(frozen=True, eq=False)
class QuadFeatures:
    """Both pictures and both captions of n quads: sides of (n, 2, …), of which [q, 0] belong together and [q, 1].

    `ids` (n,) name the quads, such as "Colour/seen/A/0/17", or are empty. Raises ValueError where the sides are not of the
    same quads or their axes are others.
    """

    images: Side
    texts: Side
    ids: tuple[str, ...] = ()

    def __post_init__(self):
        for name, side in (("images", self.images), ("texts", self.texts)):
            if side.post.ndim != 3 or side.post.shape[1] != 2:
                raise ValueError(
                    f"post of {name} has shape {tuple(side.post.shape)}; give (n, 2, d), two for each quad"
                )
        if len(self.images) != len(self.texts) or (self.ids and len(self.ids) != len(self.images)):
            counts = f"{len(self.images)} quads of pictures, {len(self.texts)} of captions, {len(self.ids)} ids"
            raise ValueError(f"{counts}; row q of each is one quad")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows) -> QuadFeatures:
        """Some quads: a slice, or row numbers."""
        ids = tuple(np.array(self.ids, dtype=object)[rows]) if self.ids else ()
        return QuadFeatures(self.images[rows], self.texts[rows], ids)

    def of(self, category: str) -> QuadFeatures:
        """The quads whose id begins so ("Colour"). Raises ValueError where none does."""
        rows = [q for q, name in enumerate(self.ids) if name.partition("/")[0] == category]
        if not rows:
            there = ", ".join(dict.fromkeys(name.partition("/")[0] for name in self.ids)) or "none: they have no ids"
            raise ValueError(f"no quads of category {category!r}; there are {there}")
        return self[np.array(rows)]

    def shuffled(self, seed: int = 0) -> QuadFeatures:
        """Captions beside both pictures of another quad: a scorer that looks falls to chance."""
        return self._with_pictures(lambda side, order: side[order], seed)

    def blind(self, seed: int = 0) -> QuadFeatures:
        """Captions beside one picture of another quad, shown twice: whoever scores, no picture prefers its own caption."""
        return self._with_pictures(lambda side, order: side[order][:, [0, 0]], seed)

    def _with_pictures(self, choose, seed: int) -> QuadFeatures:
        order = shuffled_images(np.arange(len(self)), seed=seed)
        return QuadFeatures(choose(self.images, order), self.texts, self.ids)

    def check(self) -> None:
        """Raises ValueError for NaN or infinite values, and a row in which no token counts; reads everything once."""
        for name, side in (("images", self.images), ("texts", self.texts)):
            for start in range(0, len(self), _ITEMS):
                _check_values(name, side[start : start + _ITEMS].to("cpu"), start)

    def save(self, file: str | Path) -> None:
        """Everything in one safetensors file, whole or not at all."""
        from safetensors.torch import save

        sides = {"images": self.images, "texts": self.texts}
        tensors = {f"{name}.{part}": _kept(x) for name, side in sides.items() for part, x in side.parts().items()}
        write_whole(Path(file).expanduser(), save(tensors, {"ids": json.dumps(self.ids)}))

    @classmethod
    def load(cls, file: str | Path) -> QuadFeatures:
        """What `save` wrote. Raises FileNotFoundError, or ValueError for a file that holds something else."""
        from safetensors import SafetensorError, safe_open

        file = Path(file).expanduser()
        if not file.is_file():
            raise FileNotFoundError(f"there is no {file}; write it with QuadFeatures.save")
        try:
            with safe_open(file, framework="pt") as stored:
                tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
                ids = tuple(json.loads(stored.metadata()["ids"]))
            return cls(*(_side_of(tensors, name) for name in ("images", "texts")), ids)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{file} holds no features of quads ({error}); write it with QuadFeatures.save") from error


def _check_by_token(name: str, x: Array | None, tokens: Array | None, kinds: str) -> None:
    """`kinds` as NumPy calls them: b boolean, i and u whole numbers."""
    if x is None:
        return
    if tokens is None or tuple(x.shape) != tuple(tokens.shape[:-1]):
        told = None if tokens is None else tuple(tokens.shape)
        raise ValueError(f"{name} {tuple(x.shape)} does not fit tokens {told}; give one entry per token")
    kind = np.dtype(str(x.dtype).removeprefix("torch.")).kind
    if kind not in kinds:
        what = "boolean, true where a token counts" if name == "mask" else "whole numbers, -1 for no word of the list"
        raise TypeError(f"{name} is {x.dtype}; give {what}")


def _side_of(tensors: dict[str, Tensor], name: str) -> Side:
    return Side(**{key.partition(".")[2]: x for key, x in tensors.items() if key.startswith(f"{name}.")})


def _kept(part: Array) -> Tensor:
    """As it is, halves too, in memory of its own."""
    return torch.as_tensor(part).detach().cpu().contiguous().clone()


def _tensor(part: Array) -> Tensor:
    found = torch.as_tensor(np.ascontiguousarray(part) if isinstance(part, np.ndarray) else part).detach()
    return found.float() if found.is_floating_point() else found


def _check_values(name: str, side: Side, start: int) -> None:
    for part, x in side.parts().items():
        fine = x.any(2) if part == "mask" else x.isfinite().flatten(2).all(2)
        if not bool(fine.all()):
            quad = start + int((~fine).any(1).int().argmax())
            said = "a row in which no token counts" if part == "mask" else f"NaN or infinite values in {part}"
            raise ValueError(f"{name} of quad {quad} hold {said}; leave that quad out, or mend what made it")
