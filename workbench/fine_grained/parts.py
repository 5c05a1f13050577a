"""What scoring rules read of swap quads: pictures and captions whole, their crops, true boxes and segments, encoded once."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from workbench.controlled import MARGIN
from workbench.data.scenes.drawing import Cutter, draw
from workbench.data.scenes.quads import Quad
from workbench.features import ImageFeatures, TextFeatures
from workbench.files import write_whole
from workbench.matching.crops import Box, Regions, Segments, crop_boxes, crop_features, segment_features

if TYPE_CHECKING:
    from workbench.models.dual_encoder import DualEncoder
    from workbench.store import EmbeddingStore


@dataclass(frozen=True, eq=False)
class QuadParts:
    """Of n quads 2n pictures and 2n captions, two by two: whole, as crops of a blind grid, as true boxes, as segments.

    Boxes are in pixels of pictures of `side`; the last segment of each caption is its whole.
    """

    image: ImageFeatures
    text: TextFeatures
    segments: Segments
    crops: Regions
    objects: Regions
    side: int

    def __len__(self) -> int:
        return len(self.image) // 2

    def __getitem__(self, quads: slice) -> QuadParts:
        """Some quads, by a slice."""
        rows = slice(*(None if end is None else 2 * end for end in (quads.start, quads.stop)))
        kinds = ("image", "text", "segments", "crops", "objects")
        return replace(self, **{name: some(getattr(self, name), rows) for name in kinds})

    @property
    def whole(self) -> Regions:
        """The pictures as their only crop. Raises ValueError where the whole picture is none of the crops."""
        box = (0, 0, self.side, self.side)
        if any(box not in each for each in self.crops.boxes):
            raise ValueError(f"the whole picture {box} is not among the crops; take a grid of `crop_boxes`")
        rows = [each.index(box) for each in self.crops.boxes]
        tokens = self.crops.tokens[torch.arange(len(rows)), rows][:, None]
        return Regions(tokens, torch.ones(len(rows), 1, dtype=torch.bool), ((box,),) * len(rows))

    def save(self, file: str | Path, key: str = "") -> None:
        """Everything in one safetensors file, whole or not at all; `key` says what it was made of."""
        from safetensors.torch import save

        tensors = {f"{name}.{part}": x.contiguous() for name, part, x in self._tensors()}
        tensors |= {f"{name}.boxes": _packed(getattr(self, name).boxes) for name in ("crops", "objects")}
        facts = {"texts": self.segments.texts, "grid": self.image.grid, "side": self.side}
        write_whole(Path(file).expanduser(), save(tensors, {"key": key, "facts": json.dumps(facts)}))

    @classmethod
    def load(cls, file: str | Path, key: str = "") -> QuadParts | None:
        """What `save` wrote under this key; None where there is no file, or one of another key. Raises ValueError for a file
        that holds something else."""
        from safetensors import SafetensorError, safe_open

        file = Path(file).expanduser()
        if not file.is_file():
            return None
        try:
            with safe_open(file, framework="pt") as stored:
                told = stored.metadata() or {}
                if told["key"] != key:
                    return None
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            return _restored(tensors, json.loads(told["facts"]))
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{file} holds no parts of quads ({error}); remove it, or write it with QuadParts.save"
            ) from error

    def _tensors(self):
        for name in ("image", "text", "segments", "crops", "objects"):
            for each in fields(getattr(self, name)):
                if isinstance(x := getattr(getattr(self, name), each.name), Tensor):
                    yield name, each.name, x


def some(features, rows):
    """Rows of features of pictures or captions, whole or in parts: a slice, or row numbers."""
    if not isinstance(rows, slice):
        numbers = [int(row) for row in rows]
        pick = lambda x: x[numbers] if isinstance(x, Tensor) else type(x)(x[row] for row in numbers)  # noqa: E731
    else:
        pick = lambda x: x[rows]  # noqa: E731
    told = {each.name: getattr(features, each.name) for each in fields(features)}
    return type(features)(**{name: x if x is None or name == "grid" else pick(x) for name, x in told.items()})


def quad_parts(
    model: DualEncoder,
    quads: Sequence[Quad],
    *,
    side: int | None = None,
    cutter: Cutter | None = None,
    grid: Literal["grid", "overlap"] = "grid",
    granularity: Literal["fine", "mid", "coarse"] = "mid",
    patches: bool = True,
    store: EmbeddingStore | str | os.PathLike | None = None,
) -> QuadParts:
    """Everything of the quads that a rule without a head reads, encoded once: drawn at `side` pixels (None: the model's own).

    `grid`, `granularity` and `store` as in `matching.crop_features` and `Scene.segments`; true boxes grow by an eighth of their
    side, as in `controlled`. `patches=False` for a model that has none: rules that need them say so, the others run. Raises
    ValueError for no quads, and what the model and `crop_features` raise.
    """
    if not len(quads):
        raise ValueError("there are no quads; make some with data.scenes.quads(category, n, seed)")
    side = side or model.card.image_size
    scenes = [scene for quad in quads for scene in quad.scenes]
    pictures = [draw(scene, side, cutter=cutter) for scene in scenes]
    return QuadParts(
        model.encode_image(pictures, tokens=patches, batch_size=64),
        model.encode_text([scene.caption for scene in scenes], tokens=True, batch_size=64),
        segment_features(model, [scene.segments(granularity) for scene in scenes]),
        _crops(model, pictures, grid) if store is None else crop_features(model, pictures, grid=grid, store=store),
        crop_features(model, pictures, boxes=[true_boxes(scene, side) for scene in scenes]),
        side,
    )


def _crops(model: DualEncoder, pictures: Sequence[np.ndarray], grid: Literal["grid", "overlap"]) -> Regions:
    """`crop_features` of quads, a third cheaper: crops that both pictures of a quad have alike are encoded once."""
    boxes = crop_boxes(*pictures[0].shape[1::-1], grid)
    differ = [_differing(*pictures[k : k + 2], boxes) for k in range(0, len(pictures), 2)]
    asked = [each for second in differ for each in (boxes, [boxes[r] for r in second])]
    found = crop_features(model, pictures, boxes=asked)
    tokens = found.tokens.clone()
    for q, second in enumerate(differ):
        tokens[2 * q + 1] = tokens[2 * q]
        tokens[2 * q + 1, second] = found.tokens[2 * q + 1, : len(second)]
    return Regions(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool), (boxes,) * len(pictures))


def _differing(one: np.ndarray, two: np.ndarray, boxes: Sequence[Box]) -> list[int]:
    """The boxes in which two pictures do; the first of them where none does, since a picture has at least one crop."""
    found = [r for r, (x0, y0, x1, y1) in enumerate(boxes) if (one[y0:y1, x0:x1] != two[y0:y1, x0:x1]).any()]
    return found or [0]


def true_boxes(scene, side: int) -> list[Box]:
    """Every object's box with a margin, within the picture: a crop that touches its object is nothing training has shown."""
    found = []
    for x0, y0, x1, y1 in scene.pixel_boxes(side):
        margin = round((x1 - x0) * MARGIN)
        found.append((max(x0 - margin, 0), max(y0 - margin, 0), min(x1 + margin, side), min(y1 + margin, side)))
    return found


def _packed(boxes: Sequence[Sequence[Box]]) -> Tensor:
    """(2n, R, 4), zeros behind the last."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(each, dtype=torch.int32) for each in boxes], batch_first=True)


def _restored(tensors: dict[str, Tensor], facts: dict) -> QuadParts:
    sides = {}
    for name, x in tensors.items():
        side, _, part = name.partition(".")
        sides.setdefault(side, {})[part] = x
    for name in ("crops", "objects"):
        boxes, counts = sides[name]["boxes"].tolist(), sides[name]["mask"].sum(1).tolist()
        sides[name]["boxes"] = tuple(tuple(map(tuple, each[:n])) for each, n in zip(boxes, counts, strict=True))
    grid = None if facts["grid"] is None else tuple(facts["grid"])
    return QuadParts(
        ImageFeatures(**sides["image"], grid=grid),
        TextFeatures(**sides["text"]),
        Segments(**sides["segments"], texts=tuple(map(tuple, facts["texts"]))),
        Regions(**sides["crops"]),
        Regions(**sides["objects"]),
        facts["side"],
    )
