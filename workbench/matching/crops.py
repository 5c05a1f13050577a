"""Structure-guided inference: pieces of a picture and pieces of a caption, each encoded on its own (arXiv 2506.09691)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from PIL import Image
from torch import Tensor

from workbench.data.pictures import open_picture
from workbench.progress import bar

if TYPE_CHECKING:
    from workbench.store import EmbeddingStore

SIZES = ((32, 32), (56, 56), (112, 112), (224, 224), (56, 112), (112, 56))  # width, height on a picture of 224 pixels
UNIT = 224
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels, right and bottom not included


@dataclass(frozen=True)
class Regions:
    """Crops of N pictures: tokens (N, R, d), mask (N, R) true where a crop stands, boxes[n] its crops' pixels."""

    tokens: Tensor
    mask: Tensor
    boxes: tuple[tuple[Box, ...], ...]


@dataclass(frozen=True)
class Segments:
    """Pieces of M captions: tokens (M, T, d), mask (M, T) true where a piece stands, texts[m] what they say."""

    tokens: Tensor
    mask: Tensor
    texts: tuple[tuple[str, ...], ...]


def crop_boxes(width: int, height: int, grid: Literal["grid", "overlap"] = "grid") -> tuple[Box, ...]:
    """The paper's blind crops, scaled with the picture: 86 side by side ("grid"), 270 at half steps ("overlap").

    Six sizes from 32×32 to the whole picture, on 224 pixels; rectangles step half of each side. Raises ValueError for an
    unknown grid or a picture of less than 16 pixels (the smallest crop would have no two).
    """
    if grid not in ("grid", "overlap"):
        raise ValueError(f"grid={grid!r}; choose 'grid' (86 crops) or 'overlap' (270)")
    if min(width, height) < 16:
        raise ValueError(f"a picture of {width} × {height} pixels; give 16 or more each way")
    part = 1 if grid == "grid" else 2
    return tuple(
        (_at(left, width), _at(top, height), _at(left + w, width), _at(top + h, height))
        for w, h in SIZES
        for top in range(0, UNIT - h + 1, h // part)
        for left in range(0, UNIT - w + 1, w // part)
    )


def _at(place: int, length: int) -> int:
    return round(place * length / UNIT)


def crop_features(
    model,
    images,
    *,
    grid: Literal["grid", "overlap"] = "grid",
    boxes: Sequence[Sequence[Box]] | None = None,
    batch_size: int | None = None,
    store: EmbeddingStore | str | os.PathLike | None = None,
) -> Regions:
    """Every crop of every picture through the model's own preprocessing and image tower: N pictures → `Regions`.

    `model` is a DualEncoder. `boxes` gives each picture's own crops, such as true object boxes, in place of the blind grid;
    what stands over the picture's edge is cut off. 86 crops cost 86 passes: a bar shows them. With a `store` (or its folder)
    what is there is read, and each picture is kept as soon as its crops are done; a second run encodes nothing. `images` are
    anything that `data.pictures.open_picture` opens, one or many. `batch_size` None: what keeps a CPU's caches warm, or 256 on
    a GPU. Raises ValueError for no pictures, a batch size below 1, a picture without a box, a box that is not four whole pixels
    or lies outside its picture, a crop that the model makes NaN of, and beside a store for a model with hooks.
    """
    batch_size = _fitting(model) if batch_size is None else batch_size
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size is {batch_size!r}; give how many crops to encode at a time, from 1")
    pictures = [open_picture(image).image for image in _listed(images)]
    boxes = [crop_boxes(*picture.size, grid) for picture in pictures] if boxes is None else list(boxes)
    if len(boxes) != len(pictures):
        raise ValueError(f"{len(boxes)} lists of boxes for {len(pictures)} pictures; give each its own")
    inside = tuple(_clipped(n, each, picture) for n, (each, picture) in enumerate(zip(boxes, pictures, strict=True)))
    everything = range(len(pictures))
    if store is None:
        vectors = list(_one_by_one(model, pictures, inside, everything, batch_size))
    else:
        vectors = _through(store, model, pictures, inside, batch_size)
    return Regions(*_padded(torch.cat(vectors), [len(each) for each in inside]), inside)


def _fitting(model) -> int:
    """256, on a CPU no more than 16 MiB of pixels: EfficientNets are twice as fast so, and small models no slower."""
    room = (16 << 20) // (3 * 4 * model.card.image_size**2)
    return 256 if model.device.type != "cpu" else min(max(room, 1), 256)


def _through(store, model, pictures: Sequence[Image.Image], boxes: Sequence[Sequence[Box]], batch_size: int):
    """Each picture's crops (R, d): what the store has is read, the others are encoded and put there."""
    from workbench.matching.crop_store import CropStore

    crops = CropStore(model, store)
    keys = [crops.key(picture, each) for picture, each in zip(pictures, boxes, strict=True)]
    found = {key: crops.get(key) for key in dict.fromkeys(keys)}
    lacking = {key: n for n, key in enumerate(keys) if found[key] is None}  # equal pictures once
    new = _one_by_one(model, pictures, boxes, lacking.values(), batch_size)
    for key, vectors in zip(lacking, new, strict=True):
        crops.put(key, vectors)
        found[key] = vectors
    return [found[key] for key in keys]


def _one_by_one(
    model, pictures: Sequence[Image.Image], boxes: Sequence[Sequence[Box]], which: Iterable[int], batch_size: int
) -> Iterator[Tensor]:
    """The crops (R, d) of pictures by number, each as soon as they are done; batches go across pictures."""
    which = list(which)
    pieces = [(n, box) for n in which for box in boxes[n]]
    counts, waiting = iter([len(boxes[n]) for n in which]), []
    need = next(counts, None)
    for i in bar(range(0, len(pieces), batch_size), f"{len(pieces)} crops"):
        some = pieces[i : i + batch_size]
        pixels = [model.preprocess(pictures[n].crop(box)) for n, box in some]
        waiting += _finite(model.encode_pixels(pixels).post.float().cpu(), some)
        while need is not None and len(waiting) >= need:
            yield torch.stack(waiting[:need])
            waiting, need = waiting[need:], next(counts, None)


def _finite(vectors: Tensor, pieces: Sequence[tuple[int, Box]]) -> Tensor:
    bad = (~torch.isfinite(vectors).all(1)).nonzero().flatten().tolist()
    if bad:
        n, box = pieces[bad[0]]
        raise ValueError(f"the model makes NaN or infinity of crop {box} of picture {n}; take dtype='float32'")
    return vectors


def segment_features(
    model,
    captions: Sequence[str] | Sequence[Sequence[str]],
    *,
    granularity: Literal["fine", "mid", "coarse"] = "mid",
) -> Segments:
    """Every segment encoded alone, each different text once: M captions → `Segments`.

    Strings are cut by `data.phrases.segments` at `granularity`; lists of strings are segments already. Raises ValueError
    for no captions, one without segments or another granularity, TypeError for one string, or strings beside lists.
    """
    texts = _cut(captions, granularity)
    different = list(dict.fromkeys(text for each in texts for text in each))
    place = {text: i for i, text in enumerate(different)}
    vectors = model.encode_text(different, batch_size=256).post
    rows = vectors[[place[text] for each in texts for text in each]]
    return Segments(*_padded(rows, [len(each) for each in texts]), texts)


def _cut(captions, granularity: str) -> tuple[tuple[str, ...], ...]:
    from workbench.data.phrases import segments

    if isinstance(captions, str) or not isinstance(captions, Iterable):
        what = "one string," if isinstance(captions, str) else type(captions).__name__
        raise TypeError(f"captions is {what} {captions!r}; give a list of captions, or of lists of their segments")
    captions = list(captions)
    if not captions:
        raise ValueError("no captions given; pass a list of them, or a list of segments for each")
    if all(isinstance(each, str) for each in captions):
        return tuple(segments(each, granularity) for each in captions)
    return tuple(_ready(m, each) for m, each in enumerate(captions))


def _ready(m: int, segments) -> tuple[str, ...]:
    if isinstance(segments, str):
        raise TypeError(f"caption {m} is a string, {segments!r}, beside lists; give [{segments!r}], or captions only")
    if not isinstance(segments, Iterable):
        raise TypeError(f"caption {m} is {type(segments).__name__} {segments!r}; give a list of its segments")
    segments = tuple(segments)
    if not segments:
        raise ValueError(f"caption {m} has no segments; give it at least its whole text")
    for each in segments:
        if not isinstance(each, str):
            raise TypeError(f"caption {m} has the segment {each!r}; segments are strings")
    return segments


def _padded(rows: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Rows one list after another → (lists, longest, d) and its mask."""
    parts = rows.split(list(counts))
    tokens = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
    return tokens, torch.arange(tokens.shape[1]) < torch.tensor(counts)[:, None]


def _listed(images) -> list:
    """One picture, in any form that a picture has, is a list of one."""
    array = getattr(images, "ndim", 4) < 4
    if array or not isinstance(images, Iterable) or isinstance(images, (str, bytes, bytearray, memoryview)):
        return [images]
    images = list(images)
    if not images:
        raise ValueError("no pictures given; pass at least one")
    return images


def _clipped(n: int, boxes, picture: Image.Image) -> tuple[Box, ...]:
    kept = tuple(_inside(n, box, picture) for box in (boxes if isinstance(boxes, Iterable) else [boxes]))
    if not kept:
        raise ValueError(f"picture {n} has no box; give each at least one, for example the whole picture")
    return kept


def _inside(n: int, box, picture: Image.Image) -> Box:
    (width, height), sides = picture.size, whole_box(box)
    if len(sides) != 4:
        raise ValueError(
            f"picture {n} of {width} × {height}: {box!r} is no box; give boxes=[[(left, top, right, bottom), …], …], one "
            "list for each picture, in whole pixels"
        )
    x0, y0, x1, y1 = max(sides[0], 0), max(sides[1], 0), min(sides[2], width), min(sides[3], height)
    if x0 >= x1 or y0 >= y1:
        raise ValueError(
            f"box {sides} is empty or lies outside picture {n} of {width} × {height}; give left, top, right, bottom"
        )
    return x0, y0, x1, y1


def whole_box(box) -> tuple[int, ...]:
    """Its sides as whole numbers, of whatever type they came; nothing where some side is none."""
    try:
        sides = tuple(int(side) for side in box)
        return sides if all(a == b for a, b in zip(sides, box, strict=True)) else ()
    except (TypeError, ValueError, OverflowError):  # no numbers; NaN; infinity
        return ()
