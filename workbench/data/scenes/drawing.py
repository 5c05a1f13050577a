"""Scenes as pixels: shapes cut out of a surface, laid over a background, in whole numbers so that a seed gives the same bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, lru_cache

import numpy as np
from PIL import Image, ImageDraw

from workbench.data.scenes.world import COLOURS, DOMAINS, MATERIALS, SHAPES, Scene, Thing, pixel_box

_SMALL = 64  # pixels
BACKGROUNDS = 64
_LIGHT = {"A": (195, 240), "B": (100, 150)}  # brightness of the backgrounds

# (thing, pixels, domain) → alpha (h, w, 1) of 0 to 256 and colours (h, w, 3) of 0 to 255
Cutter = Callable[[Thing, int, str], tuple[np.ndarray, np.ndarray]]


def draw(scene: Scene, side: int = 64, *, cutter: Cutter | None = None) -> np.ndarray:
    """The picture of a scene: uint8 (side, side, 3), the same bits for the same scene.

    `cutter` brings other cut-outs than the drawn shapes. Objects stand in the order of `boxes`, later ones in front. Raises
    ValueError for a side below 16 pixels or an unknown domain.
    """
    if side < 16:
        raise ValueError(f"side={side}; give 16 pixels or more, or the shapes cannot be told apart")
    if scene.domain not in DOMAINS:
        raise ValueError(f"domain {scene.domain!r}; choose one of {', '.join(DOMAINS)}")
    canvas = _background(scene.domain, scene.background, side).copy()
    for x, y, grey in scene.clutter:
        _lay(canvas, round(x * side), round(y * side), *_mark(side, int(grey * 256), scene.domain))
    cut = cutter or cut_shape
    for box, owner in zip(scene.boxes, scene.owners, strict=True):
        left, top, right, _ = pixel_box(box, side)
        _lay(canvas, left, top, *cut(scene.things[owner], right - left, scene.domain))
    return canvas


def _lay(canvas: np.ndarray, left: int, top: int, alpha: np.ndarray, colours: np.ndarray) -> None:
    """Put a cut-out on the canvas, what stands over the edge is cut off."""
    side = len(canvas)
    h, w = alpha.shape[:2]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + w, side), min(top + h, side)
    if x0 >= x1 or y0 >= y1:
        return
    inside = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    under = canvas[y0:y1, x0:x1].astype(np.int32)
    canvas[y0:y1, x0:x1] = under + ((colours[inside] - under) * alpha[inside] >> 8)


def cut_shape(thing: Thing, pixels: int, domain: str) -> tuple[np.ndarray, np.ndarray]:
    """A drawn shape with a dark rim: flat in domain A, lit from the top left and of less contrast in domain B."""
    alpha, pattern, shade = _surface(thing.shape, thing.material, pixels, domain)
    colour, tone = _colours(thing.colour, thing.material, domain)
    return alpha, (colour * (256 - pattern) + tone * pattern >> 8) * shade >> 8


@cache
def _colours(name: str, material: str, domain: str) -> tuple[np.ndarray, np.ndarray]:
    """A colour and its second tone: dark stripes and spots, a white gleam; the opposite where that would not show."""
    colour = np.asarray(COLOURS[name], dtype=np.int32)
    dark = colour // 4 if colour.max() > 60 else colour + 130
    light = colour + (255 - colour) * 4 // 5 if colour.min() < 200 else colour // 4
    tone = light if material == "shiny" else dark
    return (colour, tone) if domain == "A" else ((colour * 200 >> 8) + 28, (tone * 200 >> 8) + 28)


def _surface(shape: str, material: str, pixels: int, domain: str) -> tuple[np.ndarray, ...]:
    """The three of `_made`; kept only while small, since there is one for every size in pixels."""
    return (_kept if pixels <= _SMALL else _made)(shape, material, pixels, domain)


def _made(shape: str, material: str, pixels: int, domain: str) -> tuple[np.ndarray, ...]:
    """Cover, share of the second tone, and light, all of 256: (p, p, 1) each."""
    finer = 4 if pixels <= _SMALL else 2  # drawn this many times larger and averaged
    fine = pixels * finer
    mask = _mask(shape, fine)
    rim = mask & ~_mask(shape, fine, inset=0.10)
    pattern = _pattern(material, fine, domain) & ~rim
    y, x = np.mgrid[0:fine, 0:fine] / fine
    lit = np.ones((fine, fine)) if domain == "A" else np.minimum(1.25 - 0.6 * (x + y) / 2, 1)
    shade = np.where(rim, 0.35, lit)
    return tuple(np.rint(_smaller(each, finer) * 256).astype(np.int32)[..., None] for each in (mask, pattern, shade))


_kept = lru_cache(maxsize=8192)(_made)  # 50 kB each at most


def _smaller(large: np.ndarray, times: int) -> np.ndarray:
    h, w = large.shape
    return large.astype(np.float64).reshape(h // times, times, w // times, times).mean((1, 3))


def _mask(shape: str, pixels: int, inset: float = 0.0) -> np.ndarray:
    image = Image.new("1", (pixels, pixels))
    pen = ImageDraw.Draw(image)
    for fill, outline in _outlines(shape):
        pen.polygon([_place(point, pixels, inset) for point in outline], fill=fill)
    return np.asarray(image)


def _place(point: tuple[float, float], pixels: int, inset: float) -> tuple[int, int]:
    """A point of the unit disc on the canvas, drawn in towards the middle."""
    x, y = (round((0.5 + (0.5 - inset) * each) * (pixels - 1)) for each in point)
    return x, y


def _ring(n: int, radius: float = 0.9, start: float = -90, x: float = 0, y: float = 0) -> list[tuple[float, float]]:
    angles = [math.radians(start + 360 * k / n) for k in range(n)]
    return [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]


def _outlines(shape: str) -> list[tuple[int, list[tuple[float, float]]]]:
    """Polygons within the unit disc, y downwards, drawn one over the other: 1 fills, 0 cuts out."""
    if shape == "circle":
        return [(1, _ring(48))]
    if shape == "square":
        return [(1, _ring(4, 1.0, 45))]
    if shape == "triangle":
        return [(1, _ring(3, 1.0))]
    if shape == "star":
        points = zip(_ring(5, 1.0), _ring(5, 0.42, -54), strict=True)
        return [(1, [point for pair in points for point in pair])]
    if shape == "heart":
        lobes = [(1, _ring(32, 0.47, x=x, y=-0.35)) for x in (-0.42, 0.42)]
        return [*lobes, (1, [(-0.83, -0.12), (0.83, -0.12), (0.0, 0.92)])]
    if shape == "cross":
        return [
            (1, [(-0.3, -0.92), (0.3, -0.92), (0.3, 0.92), (-0.3, 0.92)]),
            (1, [(-0.92, -0.3), (0.92, -0.3), (0.92, 0.3), (-0.92, 0.3)]),
        ]
    if shape == "diamond":
        return [(1, [(0, -1), (0.6, 0), (0, 1), (-0.6, 0)])]
    if shape == "moon":
        return [(1, _ring(48, 0.9)), (0, _ring(48, 0.7, x=0.6))]
    if shape == "arrow":
        return [(1, [(-0.95, -0.25), (0.1, -0.25), (0.1, -0.75), (0.98, 0), (0.1, 0.75), (0.1, 0.25), (-0.95, 0.25)])]
    if shape == "drop":
        return [(1, _ring(40, 0.6, y=0.35)), (1, [(-0.56, 0.14), (0.56, 0.14), (0, -1)])]
    raise ValueError(f"no shape {shape!r}; there are {', '.join(SHAPES)}")


def _pattern(material: str, pixels: int, domain: str) -> np.ndarray:
    """Where a surface shows its second tone: (p, p), as large as the object allows, so that it is seen on a small one."""
    y, x = np.mgrid[0:pixels, 0:pixels] / pixels
    if material == "plain":
        return np.zeros((pixels, pixels), dtype=bool)
    if material == "striped":
        return ((y if domain == "A" else y + x / 3) * 4) % 1 < 0.45
    if material == "spotted":
        return ((x * 3) % 1 - 0.5) ** 2 + ((y * 3) % 1 - 0.5) ** 2 < 0.12
    if material == "shiny":
        return abs(x + y - 0.85) < (0.12 if domain == "A" else 0.15)
    raise ValueError(f"no material {material!r}; there are {', '.join(MATERIALS)}")


@lru_cache(maxsize=1024)
def _mark(side: int, grey: int, domain: str) -> tuple[np.ndarray, np.ndarray]:
    """Clutter: a soft grey speck."""
    pixels = max(side * 3 // 64, 2)
    low, high = _LIGHT[domain]
    tone = low + (high - low) * grey // 256 + (-60 if domain == "A" else 60)
    return np.full((pixels, pixels, 1), 150, np.int32), np.full((pixels, pixels, 3), tone, np.int32)


@lru_cache(maxsize=512)
def _background(domain: str, number: int, side: int) -> np.ndarray:
    """A gradient in a faint tint, smooth in A and grainy in B. RandomState: its stream is promised never to change."""
    rng = np.random.RandomState(number % BACKGROUNDS + (1000 if domain == "B" else 0))
    low, high = _LIGHT[domain]
    corners = rng.uniform(low, high, (2, 2, 1)) + rng.uniform(-15, 15, (1, 1, 3))
    t = np.linspace(0, 1, side)
    y, x = t[:, None, None], t[None, :, None]
    smooth = (1 - y) * ((1 - x) * corners[0, 0] + x * corners[0, 1]) + y * ((1 - x) * corners[1, 0] + x * corners[1, 1])
    grain = rng.uniform(-1, 1, (64, 64, 1)) * (2 if domain == "A" else 14)
    cells = np.arange(side) * 64 // side
    return np.clip(np.rint(smooth + grain[cells][:, cells]), 0, 255).astype(np.uint8)
