"""A picture and two captions, read by one rule: what is encoded once, which rules there are, and what there is to see."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import torch
from PIL import Image

from workbench.data.negatives import OPERATORS
from workbench.data.photos import photo, shipped_photos
from workbench.data.pictures import Picture, open_picture
from workbench.data.scenes import CATEGORIES, draw, quads
from workbench.matching.breakdown import Duel, breakdown
from workbench.matching.crops import Box, Regions, Segments, crop_features, segment_features
from workbench.matching.rules import RULES
from workbench.matching.seen import seen_box

if TYPE_CHECKING:
    from workbench.features import ImageFeatures, TextFeatures
    from workbench.models.dual_encoder import DualEncoder
    from workbench.store import EmbeddingStore

MAX_CAPTION = 2000
CENTRES = 4  # other pictures that a centred rule takes the mean find of
_KEPT_TEXTS = 200


@dataclass(frozen=True)
class Example:
    """A picture (whatever `open_picture` opens), two captions to tell apart, and the boxes of its objects where known."""

    picture: object
    captions: tuple[str, str]
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Reading:
    """One position of the rule switch: a rule of `RULES` and its options."""

    rule: str
    title: str
    exclusive: bool = False
    centred: bool = False


def _readings() -> dict[str, Reading]:
    found = {}
    for name, rule in RULES.items():
        found[name] = Reading(name, rule.title)
        if name == "crops":
            found["crops exclusive"] = Reading(name, "no two segments take the same crop", exclusive=True)
            found["crops centred"] = Reading(name, "less what a segment finds in other pictures", centred=True)
    return found


READINGS = _readings()
"""name → Reading, in the order of `RULES`."""


@dataclass(frozen=True)
class State:
    """What the controls say; `piece` is (0 for caption A or 1 for B, its number from 0), None for the one that decides."""

    picture: str
    captions: tuple[str, str]
    rule: str = "crops"
    granularity: str = "mid"
    grid: str = "grid"
    piece: tuple[int, int] | None = None


@dataclass(frozen=True)
class View:
    """What there is to see of a state: both scores taken apart, the regions' names and pixels, the piece that is shown."""

    state: State
    duel: Duel
    names: tuple[str, ...]
    boxes: tuple[Box, ...]
    picture: Image.Image
    piece: tuple[int, int]

    @property
    def chosen(self) -> tuple[str, int]:
        """What the piece says, and the region that it takes."""
        side, k = self.piece
        shown = (self.duel.a, self.duel.b)[side]
        return shown.pieces[k], shown.winners[k]

    def crop(self) -> Image.Image:
        """What stands in the region of the piece that is shown."""
        return self.picture.crop(self.boxes[self.chosen[1]])


class SegmentedPictures:
    """What a segments panel computes: `judged(state)` is a pure function of the state; pictures and texts are encoded once.

    Crops of a picture stay in memory, and in `store` where there is one; a changed caption costs its texts only. `background`
    are the pictures that centre, by default the first of the shipped photos that are not the picture itself. Raises ValueError
    for an example without two captions.
    """

    def __init__(
        self,
        model: DualEncoder,
        examples: Mapping[str, Example],
        *,
        store: EmbeddingStore | str | os.PathLike | None = None,
        background: Sequence | None = None,
    ):
        self.model, self.store, self._background = model, store, background
        self.examples = {name: _checked(name, example) for name, example in examples.items()}
        if not self.examples:
            raise ValueError("there are no examples; give at least one {name: Example(picture, (caption, other))}")
        self._pictures: dict[str, Picture] = {}
        self._crops: dict[tuple[int, str], Regions] = {}  # by the identity of a Picture, which is kept beside it
        self._images: dict[str, ImageFeatures] = {}
        self._frames: dict[str, Box | None] = {}
        self._texts: dict[tuple[str, str], TextFeatures | Segments] = {}
        self._others: list[Picture] | None = None
        self._lacks = _lacks(model)

    def add(self, name: str, example: Example) -> None:
        """One more picture. Raises as the constructor does."""
        self.examples[name] = _checked(name, example)

    # Rules ----------------------------------------------------------------------------------------------------------

    def refused(self, name: str) -> dict[str, str]:
        """The readings that this model, or this picture, does not have, with the reason."""
        return {key: reason for key, each in READINGS.items() if (reason := self._why_not(each, name))}

    def check_rule(self, name: str, picture: str) -> None:
        """Raises ValueError for a picture or a rule that is not there, or a rule that is not for this picture."""
        self.picture(picture)
        if name not in READINGS:
            raise ValueError(f"rule={name!r}; choose one of {', '.join(READINGS)}")
        if reason := self._why_not(READINGS[name], picture):
            raise ValueError(f"rule {name!r} is not for {picture!r} with {self.model.name}: {reason}")

    def _why_not(self, reading: Reading, name: str) -> str:
        rule = RULES[reading.rule]
        if rule.head:
            return f"it needs a trained {rule.head}"
        for side in ("image", "text"):
            if "tokens" in getattr(rule, side) and self._lacks[side]:
                return self._lacks[side]
        if "boxes" in rule.required and not self.examples[name].boxes:
            return "no boxes of objects are known for this picture"
        if "tokens" in rule.image and self._frame(name) is None:
            return "this model does more to the picture than crop and resize it, so its patches have no known place"
        return ""

    # What is encoded once -------------------------------------------------------------------------------------------

    def picture(self, name: str) -> Picture:
        if name not in self.examples:
            raise ValueError(f"no picture {name!r}; choose one of {', '.join(self.examples)}")
        if name not in self._pictures:
            self._pictures[name] = open_picture(self.examples[name].picture)
        return self._pictures[name]

    def waiting(self, state: State) -> int:
        """How many pictures' crops a state has still to encode."""
        reading = READINGS.get(state.rule)
        if reading is None or reading.rule != "crops":
            return 0
        needed = [self.picture(state.picture), *(self.centres(state.picture) if reading.centred else ())]
        return sum((id(each), state.grid) not in self._crops for each in needed)

    def centres(self, name: str) -> list[Picture]:
        """The pictures that centre this one."""
        if self._others is None:
            names = list(shipped_photos())[: CENTRES + 1]
            given = [_photo(each) for each in names] if self._background is None else self._background
            self._others = [open_picture(each) for each in given]
        others = [each for each in self._others if each is not self.picture(name)]
        return others[:CENTRES] if self._background is None else others

    def _regions(self, picture: Picture, grid: str) -> Regions:
        key = id(picture), grid
        if key not in self._crops:
            options = {"grid": grid, "store": self.store}
            self._crops[key] = crop_features(self.model, picture.image, **options)
        return self._crops[key]

    def _centring(self, name: str, grid: str) -> Regions:
        parts = [self._regions(each, grid) for each in self.centres(name)]
        boxes = tuple(part.boxes[0] for part in parts)
        return Regions(torch.cat([part.tokens for part in parts]), torch.cat([part.mask for part in parts]), boxes)

    def _image(self, name: str) -> ImageFeatures:
        if name not in self._images:
            tokens = not self._lacks["image"]
            self._images[name] = self.model.encode_image(self.picture(name).image, tokens=tokens)
        return self._images[name]

    def _frame(self, name: str) -> Box | None:
        """The part of the picture that the tower sees, where that is a crop of it."""
        if name not in self._frames:
            try:
                self._frames[name] = seen_box(self.model, self.picture(name).image.size)
            except ValueError:
                self._frames[name] = None
        return self._frames[name]

    def _text(self, caption: str, granularity: str) -> TextFeatures | Segments:
        """Its tokens for granularity "", else its segments."""
        key = caption, granularity
        if key not in self._texts:
            if len(self._texts) >= _KEPT_TEXTS:
                self._texts.clear()
            if granularity:
                self._texts[key] = segment_features(self.model, [caption], granularity=granularity)
            else:
                self._texts[key] = self.model.encode_text(caption, tokens=not self._lacks["text"])
        return self._texts[key]

    # Views ----------------------------------------------------------------------------------------------------------

    def judged(self, state: State) -> View:
        """The view of a state. Raises ValueError for an empty or overlong caption, or a picture, rule, granularity, grid or
        piece that is not there."""
        self._check(state)
        reading, picture = READINGS[state.rule], self.picture(state.picture).image
        image, options, names, boxes = self._image_side(state, reading)
        granularity = state.granularity if "segments" in RULES[reading.rule].text else ""
        sides = [
            breakdown(reading.rule, image, self._text(caption, granularity), **options) for caption in state.captions
        ]
        duel = Duel(*sides)
        piece = state.piece or duel.deciding() or (0, 0)
        if not (piece[0] in (0, 1) and 0 <= piece[1] < len(sides[piece[0]].pieces)):
            raise ValueError(f"piece={piece}; caption A has {len(duel.a.pieces)} pieces and B {len(duel.b.pieces)}")
        return View(state, duel, names, boxes, picture, piece)

    def _check(self, state: State) -> None:
        for letter, caption in zip("AB", state.captions, strict=True):
            if not caption.strip():
                raise ValueError(f"caption {letter} is empty; type at least one word")
            if len(caption) > MAX_CAPTION:
                raise ValueError(
                    f"caption {letter} has {len(caption)} characters; this panel reads up to {MAX_CAPTION}, shorten it"
                )
        self.check_rule(state.rule, state.picture)

    def _image_side(self, state: State, reading: Reading) -> tuple:
        """What the rule reads of the picture, its options, and the names and pixels of its regions."""
        name, (width, height) = state.picture, self.picture(state.picture).image.size
        if reading.rule == "crops":
            regions = self._regions(self.picture(name), state.grid)
            options = {"exclusive": reading.exclusive}
            if reading.centred:
                options["background"] = self._centring(name, state.grid)
            return regions, options, _crop_names(regions.boxes[0], (width, height)), regions.boxes[0]
        image, frame = self._image(name), self._frame(name) or (0, 0, width, height)
        if reading.rule == "roi":
            boxes = self.examples[name].boxes
            names = tuple(f"box {i}" for i in range(1, len(boxes) + 1))
            return image, {"boxes": [boxes], "frames": [frame]}, names, boxes
        if "tokens" not in RULES[reading.rule].image:
            return image, {}, ("whole picture",), (frame,)
        return image, {}, *_cells(frame, image.grid)


def _lacks(model: DualEncoder) -> dict[str, str]:
    """Why there are no patch tokens ("image") or word tokens ("text"), "" where there are; found by trying, as models differ."""
    tries = {
        "image": lambda: model.encode_image(Image.new("RGB", (64, 64), "grey"), tokens=True).tokens,
        "text": lambda: model.encode_text("a grey square", tokens=True).tokens,
    }
    return {side: _reason(attempt, f"{model.name} has no {side} tokens") for side, attempt in tries.items()}


def _reason(attempt: Callable, without: str) -> str:
    try:
        return "" if attempt() is not None else without
    except ValueError as error:
        return str(error)


def _crop_names(boxes: Sequence[Box], size: tuple[int, int]) -> tuple[str, ...]:
    return tuple(
        "whole picture" if box == (0, 0, *size) else f"crop {i} ({_share(box, size)})" for i, box in enumerate(boxes, 1)
    )


def _share(box: Box, size: tuple[int, int]) -> str:
    """Its sides as percentages of the picture's."""
    width, height = ((box[k + 2] - box[k]) / size[k] for k in (0, 1))
    return f"{100 * width:.0f} × {100 * height:.0f} %"


def _cells(frame: Box, grid: tuple[int, int]) -> tuple[tuple[str, ...], tuple[Box, ...]]:
    """Names and pixels of a patch grid over a frame, row by row."""
    (left, top, right, bottom), (h, w) = frame, grid
    across = [left + round(k * (right - left) / w) for k in range(w + 1)]
    down = [top + round(k * (bottom - top) / h) for k in range(h + 1)]
    places = [(row, column) for row in range(h) for column in range(w)]
    names = tuple(f"row {row + 1}, column {column + 1}" for row, column in places)
    return names, tuple((across[c], down[r], across[c + 1], down[r + 1]) for r, c in places)


# Examples -----------------------------------------------------------------------------------------------------------


@cache
def _photo(name: str) -> Picture:
    return photo(name)


def _checked(name: str, example: Example) -> Example:
    if not isinstance(example, Example):
        raise TypeError(
            f"example {name!r} is {type(example).__name__}; give Example(picture, (caption, other caption))"
        )
    captions = example.captions
    if isinstance(captions, str) or len(captions) != 2 or not all(isinstance(each, str) for each in captions):
        raise ValueError(f"example {name!r} has the captions {captions!r}; give two, (caption, other caption)")
    return replace(example, captions=tuple(captions), boxes=tuple(example.boxes))


def photo_examples() -> dict[str, Example]:
    """Every shipped photo with its true caption and a wrong one of the same words where there is one."""
    return {name: Example(_photo(name), (each.caption, wrong(each.caption))) for name, each in shipped_photos().items()}


def wrong(caption: str) -> str:
    """The first negative of `data.negatives` that applies: attributes exchanged, nouns exchanged, something replaced."""
    # None that asks for data from elsewhere: the same captions on every machine.
    offline = (make for name, make in OPERATORS.items() if name != "replace_noun_wordnet")
    swaps = OPERATORS["swap_attributes"], OPERATORS["swap_nouns"]
    made = (make(caption, 0) for make in (*swaps, *offline))
    return next((each.text for each in made if each is not None), f"no {caption}")


def quad_examples(n: int = 1, seed: int = 0, *, side: int = 224) -> dict[str, Example]:
    """The first n swap quads of every category, drawn at `side` pixels: both pictures with both captions and their boxes.

    A is the caption that fits. Raises ValueError as `data.scenes.quads` and `data.scenes.draw` do.
    """
    return {
        f"{category} {i + 1}, picture {1 + k}": Example(
            Picture(Image.fromarray(draw(scene, side)), f"{category} {i + 1}, picture {1 + k}"),
            quad.captions[:: -1 if k else 1],
            tuple((x0, y0, min(x1, side), min(y1, side)) for x0, y0, x1, y1 in scene.pixel_boxes(side)),
        )
        for category in CATEGORIES
        for i, quad in enumerate(quads(category, n, seed))
        for k, scene in enumerate(quad.scenes)
    }
