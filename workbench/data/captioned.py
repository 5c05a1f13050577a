"""Pictures with captions to try things on: stamps where they are installed, drawn scenes where not."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageOps

from workbench.data.pictures import open_picture
from workbench.data.stamps import ROOT, photo_stamps

SIDE = 260  # px: the largest input of the towers that ship


@dataclass(frozen=True)
class Captioned:
    """Picture n goes with captions[n]; every caption comes once. `name` says what they are."""

    name: str
    pictures: list[Image.Image]
    captions: list[str]

    def __len__(self) -> int:
        return len(self.captions)


def captioned(n: int = 400, seed: int = 0, *, root: str = ROOT) -> Captioned:
    """Tux Paint's captioned stamps, all usable ones, padded to squares; without them n drawn scenes, each of other contents.

    Stamps are mostly photo cut-outs (GPL-2, `apt-get install tuxpaint-stamps-default`): no head that ships has seen one. A
    centre crop would cut them, so they are padded with white. Raises ValueError for under two scenes.
    """
    try:
        found = photo_stamps(root)
    except FileNotFoundError:
        return _scenes(n, seed)
    squares = [ImageOps.pad(open_picture(each.path).image, (SIDE, SIDE), color="white") for each in found]
    return Captioned(f"{len(found)} Tux Paint stamps", squares, [each.caption for each in found])


def _scenes(n: int, seed: int) -> Captioned:
    from workbench.data.scenes import draw, scenes

    if n < 2:
        raise ValueError(f"n={n!r}; give two scenes or more")
    kept: dict = {}
    while len(kept) < n:
        for each in scenes(2 * n, seed):
            kept.setdefault(each.contents, each)
        seed += 1
    shown = list(kept.values())[:n]
    drawn = [Image.fromarray(draw(each, 64)) for each in shown]
    return Captioned(f"{n} drawn scenes (no stamps are installed)", drawn, [each.caption for each in shown])
