"""The same composer with real photos: cut-outs with an alpha channel in place of drawn shapes, known boxes, known captions.

What a photo shows cannot be recoloured, so photo quads come in the categories Size, Quantity and Relation.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from workbench.data.inflection import plural
from workbench.data.scenes.drawing import Cutter
from workbench.data.scenes.quads import Quad, Things, quads
from workbench.data.scenes.sampling import Draws
from workbench.data.scenes.world import Thing
from workbench.data.stamps import ROOT, photo_stamps

PHOTO_CATEGORIES = ("Size", "Quantity", "Relation")
_NAME = re.compile(r"an? ((?:[a-z-]+ ){0,2}[a-z-]+)\.?")
_ODD = re.compile(r"\b(very|tiny|small|little|big|large|huge|of|at|with|in|on)\b")  # quads speak of size themselves
_ROOT = re.compile(r"[a-z]+")  # "grave" of grave-c.png and grave-d.png


def cut_outs(root: str | Path = ROOT) -> dict[str, Path]:
    """Name → picture of every photo stamp whose caption is a plain noun phrase ("A green apple.") with a plural.

    Raises as `stamps` does where Tux Paint's stamps are not installed.
    """
    found = {}
    for stamp in photo_stamps(root):
        match = _NAME.fullmatch(stamp.caption.lower())
        if match and not _ODD.search(match[1]) and plural(match[1].split()[-1]):
            found.setdefault(match[1], stamp.path)
    return found


def photo_quads(
    category: str, n: int, seed: int, *, pictures: dict[str, Path], domain: str | None = None
) -> list[Quad]:
    """`n` swap quads as `quads` makes them, of things that `pictures` (name → file with alpha) shows.

    Draw them with `draw(scene, side, cutter=photo_cutter(pictures))`. Raises ValueError for a category that photos cannot
    have, or fewer than two pictures.
    """
    if category not in PHOTO_CATEGORIES:
        raise ValueError(
            f"category={category!r}: photos come in {', '.join(PHOTO_CATEGORIES)}; what they show keeps its colour"
        )
    if len(pictures) < 2:
        raise ValueError(f"{len(pictures)} pictures; a quad shows two different things, so give two or more")
    return quads(category, n, seed, domain=domain, two=_two_of(pictures))


def _two_of(pictures: dict[str, Path]) -> Things:
    """Draws two things that are not each other: no orange beside a sliced orange, no gravestone beside a headstone."""
    kinds = {name: {name.split()[-1], *_ROOT.findall(path.stem.lower())[:1]} for name, path in sorted(pictures.items())}

    def two(draws: Draws) -> list[Thing]:
        first = draws.one(list(kinds))
        others = [name for name in kinds if not kinds[name] & kinds[first]]
        if not others:
            raise ValueError(f"nothing differs from {first!r} by its noun and its file; give more kinds of pictures")
        return [Thing(first), Thing(draws.one(others))]

    return two


def photo_cutter(pictures: dict[str, Path]) -> Cutter:
    """A cutter for `draw` that takes each thing's picture. KeyError says which name has none."""

    def cut(thing: Thing, pixels: int, domain: str) -> tuple[np.ndarray, np.ndarray]:
        if thing.shape not in pictures:
            raise KeyError(f"no picture of {thing.shape!r}; there are {', '.join(sorted(pictures)[:8])} …")
        return _cut(pictures[thing.shape], pixels)

    return cut


@lru_cache(maxsize=256)
def _cut(path: Path, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """The opaque part of a picture, scaled into a square of `pixels`: alpha (p, p, 1) of 0 to 256, colours (p, p, 3)."""
    whole = _trimmed(path)
    scale = pixels / max(whole.size)
    small = whole.resize([max(round(side * scale), 1) for side in whole.size], Image.Resampling.LANCZOS)
    square = Image.new("RGBa", (pixels, pixels))
    square.paste(small, ((pixels - small.width) // 2, (pixels - small.height) // 2))
    values = np.asarray(square.convert("RGBA"), dtype=np.int32)
    alpha = values[..., 3:]
    return alpha + (alpha >> 7), values[..., :3]


@lru_cache(maxsize=64)
def _trimmed(path: Path) -> Image.Image:
    """Without its transparent margin, at most 512 pixels; colours premultiplied, so that scaling leaves no fringe."""
    with Image.open(path) as image:
        whole = image.convert("RGBA")
    box = whole.getchannel("A").getbbox()
    if box is None:
        raise ValueError(f"{path} is transparent all over; take another picture")
    whole = whole.crop(box)
    whole.thumbnail((512, 512), Image.Resampling.LANCZOS)
    return whole.convert("RGBa")
