"""Photo cut-outs printed in one colour: the attribute that a photo can be given without drawing anything new.

What is in a tinted photo stays a photo's outline and light; only its own colours are gone. So "a red owl and a blue zebra" is
asked about two things that are told by form alone, and swapping the tints changes nothing but who has which.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from workbench.data.scenes.cutouts import _two_of, photo_cutter
from workbench.data.scenes.drawing import Cutter
from workbench.data.scenes.quads import Quad
from workbench.data.scenes.sampling import Draws, arrange, dress
from workbench.data.scenes.world import COLOURS, DOMAINS, TEMPLATES, Thing

TINTS = ("red", "orange", "yellow", "green", "blue", "purple", "pink")
"""Colours of drawn scenes that ink can have and that are not each other's neighbours: no black, white, brown, lime, turquoise."""

_LUMA = np.array((77, 150, 29))  # of 256, ITU-R BT.601
_MIDDLE = 128


def tinted_quads(n: int, seed: int, *, pictures: dict[str, Path], domain: str | None = None) -> list[Quad]:
    """`n` swap quads of two tinted photos: "a red owl and a blue zebra" against "a blue owl and a red zebra".

    As `quads("Colour", …)` makes them, of things that `pictures` (name → file with alpha) shows; quad i is the same for every n.
    Draw them with `draw(scene, side, cutter=tinted_cutter(pictures))`. Raises ValueError for n below 1, an unknown domain, or
    fewer than two pictures.
    """
    if n < 1:
        raise ValueError(f"n={n}; give the number of quads, from 1")
    if domain is not None and domain not in DOMAINS:
        raise ValueError(f"domain={domain!r}; choose one of {', '.join(DOMAINS)}")
    if len(pictures) < 2:
        raise ValueError(f"{len(pictures)} pictures; a quad shows two different things, so give two or more")
    two = _two_of(pictures)
    return [_quad(f"tinted/{domain or 'AB'}/{seed}/{i}", domain or DOMAINS[i % len(DOMAINS)], two) for i in range(n)]


def _quad(name: str, domain: str, two) -> Quad:
    draws = Draws("quad", name)
    (a, b), (one, other) = two(draws), draws.some(TINTS, 2)
    first = arrange(draws, [replace(a, colour=one), replace(b, colour=other)])
    first = dress(replace(first, domain=domain), draws, TEMPLATES)
    return Quad(name, "Colour", (first, replace(first, things=(replace(a, colour=other), replace(b, colour=one)))))


def tinted_cutter(pictures: dict[str, Path]) -> Cutter:
    """A cutter for `draw` that prints each thing's picture in its colour; a thing without one keeps the photo's. Errors as
    those of `photo_cutter`."""
    cutter = photo_cutter(pictures)

    def cut(thing: Thing, pixels: int, domain: str) -> tuple[np.ndarray, np.ndarray]:
        alpha, colours = cutter(thing, pixels, domain)
        return alpha, colours if thing.colour is None else tinted(alpha, colours, COLOURS[thing.colour])

    return cut


def tinted(alpha: np.ndarray, colours: np.ndarray, ink: tuple[int, int, int]) -> np.ndarray:
    """A cut-out in one ink: black where the photo is dark, the ink at its mean light, half way to white where it is lightest.

    alpha (p, p, 1) of 0 to 256, colours (p, p, 3) of 0 to 255, whole numbers, as a cutter gives them → (p, p, 3). The photo's
    light is moved so that its mean is the ink: a gorilla would otherwise be black in every colour.
    """
    grey = (colours @ _LUMA >> 8)[..., None]
    inside = alpha[..., 0] > _MIDDLE
    mean = int(grey[inside].mean()) if inside.any() else _MIDDLE
    grey = (grey + _MIDDLE - mean).clip(0, 255)
    colour = np.asarray(ink, dtype=np.int32)
    dark, light = colour * grey // _MIDDLE, colour + (255 - colour) * (grey - _MIDDLE) // 255
    return np.where(grey < _MIDDLE, dark, light).astype(np.int32)
