"""Which part of a picture a model's preprocessing keeps, so that its cells can be put where they belong."""

from __future__ import annotations

import numpy as np
from PIL import Image

from workbench.matching.crops import Box

LEAST = 16  # pixels each way: with fewer nobody can say where a crop ends


def seen_box(model, size: tuple[int, int], image_size: int | None = None) -> Box:
    """The part of a picture of `size` (width, height) that a model's preprocessing keeps, in whole pixels of the picture.

    Read off what the model makes of a picture whose colours say where they are, so it holds for any crop and resize. Raises
    ValueError for less than 16 pixels a side, or where preprocessing is something else, such as padding.
    """
    width, height = size
    if min(size) < LEAST:
        raise ValueError(f"a picture of {width} × {height} pixels; give {LEAST} or more each way")
    ends = [(0.0, float(n)) for n in size]
    for _ in range(3):  # of 4000 pixels a colour tells 16 from each other; once it is known about where, all of them
        places = _places_seen(model, size, ends, image_size)
        lines = [_line(place) for place in places]
        ends = [_around(start, start + slope, *old) for (slope, start), old in zip(lines, ends, strict=True)]
    for place, (slope, start) in zip(places, lines, strict=True):
        if slope <= 0 or np.abs(start + slope * _at(place) - place).max() > 0.05 * slope + 1:
            raise ValueError(
                f"{model.name} does more to a picture of {width} × {height} than crop and resize it, so its cells have no "
                "known place; give window= for square pieces"
            )
    (left, right), (top, bottom) = (
        (max(round(start), 0), min(round(start + slope), n)) for (slope, start), n in zip(lines, size, strict=True)
    )
    return left, top, right, bottom


def _places_seen(model, size: tuple[int, int], ends: list[tuple[float, float]], image_size: int | None) -> list:
    """The x in the photo of every column, and the y of every row, that a tower is given: colours from 0 to 255 between ends."""
    ramps = np.zeros((size[1], size[0], 3), np.uint8)
    shades = (((np.arange(n) + 0.5 - low) / (high - low)).clip(0, 1) for n, (low, high) in zip(size, ends, strict=True))
    across, down = (np.rint(255 * shade).astype(np.uint8) for shade in shades)
    ramps[..., 0], ramps[..., 1] = across, down[:, None]  # broadcast: a mesh of floats takes 16 bytes a pixel
    seen = np.asarray(model.seen(Image.fromarray(ramps), image_size)) / 255
    return [low + (high - low) * seen[..., axis].mean(axis) for axis, (low, high) in enumerate(ends)]


def _line(place: np.ndarray) -> tuple[float, float]:
    """Slope and start of the line through the middle of a row: a filter bends it at the ends."""
    edge = max(len(place) // 8, 1)
    slope, start = np.polyfit(_at(place)[edge:-edge], place[edge:-edge], 1)
    return float(slope), float(start)


def _at(places: np.ndarray) -> np.ndarray:
    """The middles of columns or rows, in fractions of what a tower is given."""
    return (np.arange(len(places)) + 0.5) / len(places)


def _around(begin: float, end: float, low: float, high: float) -> tuple[float, float]:
    """A little more than from begin to end, by what two shades of the last look can hide, and 2 pixels."""
    slack = 2 * (high - low) / 255 + 2
    return begin - slack, end + slack
