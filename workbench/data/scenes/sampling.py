"""Scenes by seed and number: what training shows, close-ups included, and batches in which a bag of words always suffices.

Everything is drawn with `random.Random(...).random()`, whose stream is promised never to change, and from the seed and the
scene's number alone: scene 7 is the same whoever asks for it, in whatever order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

from workbench.data.scenes.drawing import BACKGROUNDS
from workbench.data.scenes.world import (
    COLOURS,
    DOMAINS,
    MATERIALS,
    MOST,
    RELATIONS,
    SHAPES,
    SIZES,
    TEMPLATES,
    Box,
    Scene,
    Template,
    Thing,
    held_out,
)

# What training shows, and how often. Close-ups: without them an enlarged crop is nothing the model has ever seen.
KINDS = {"close-up": 0.35, "pair": 0.25, "relation": 0.1, "size": 0.1, "quantity": 0.1, "many": 0.1}
SIDES = {"small": (0.19, 0.23), "big": (0.38, 0.44), None: (0.26, 0.42)}  # of an object, in fractions of the picture
_SLOTS = ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5))


class Draws:
    """Random choices from `random()` alone."""

    def __init__(self, *seed):
        self.random = Random("/".join(map(str, seed))).random

    def one(self, options: Sequence):
        return options[int(self.random() * len(options))]

    def some(self, options: Sequence, k: int) -> list:
        left = list(options)
        return [left.pop(int(self.random() * len(left))) for _ in range(k)]

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.random()

    def weighted(self, weights: dict):
        point = self.random() * sum(weights.values())
        for option, weight in weights.items():
            point -= weight
            if point < 0:
                return option
        return option


def scene(
    seed: int,
    number: int,
    *,
    kind: str | None = None,
    domain: str | None = None,
    templates: Sequence[Template] = TEMPLATES,
) -> Scene:
    """Scene `number` of `seed`, of training's mixture or of one `kind`, without held-out combinations.

    Raises ValueError for a kind or domain that does not exist.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind={kind!r}; choose one of {', '.join(KINDS)}")
    if domain is not None and domain not in DOMAINS:
        raise ValueError(f"domain={domain!r}; choose one of {', '.join(DOMAINS)}")
    draws = Draws("scene", seed, number)
    kind = draws.weighted(KINDS) if kind is None else kind
    made = _close_up(draws) if kind == "close-up" else _arranged(draws, kind)
    return dress(replace(made, domain=domain or draws.one(DOMAINS)), draws, templates)


def scenes(n: int, seed: int, *, start: int = 0, **options) -> list[Scene]:
    """Scenes `start` to `start + n - 1` of `seed`; options as in `scene`."""
    return [scene(seed, start + i, **options) for i in range(n)]


def batch(seed: int, step: int, size: int, *, collision_free: bool = True) -> list[Scene]:
    """The scenes of one training step: no two with the same `contents`, so that who has which never helps.

    With `collision_free=False` scenes come as they are drawn, and now and then a swap partner stands in the same batch. Raises
    ValueError for a size below 1.
    """
    if size < 1:
        raise ValueError(f"size={size}; give the number of scenes in a batch, from 1")
    kept: dict = {}
    for i, drawn in enumerate(_stream(seed, step)):
        kept.setdefault(drawn.contents if collision_free else i, drawn)
        if len(kept) == size:
            return list(kept.values())


def _stream(seed: int, step: int) -> Iterator[Scene]:
    number = 0
    while True:
        yield scene(f"{seed}/{step}", number)
        number += 1


def dress(made: Scene, draws: Draws, templates: Sequence[Template]) -> Scene:
    """Give a scene its wording, background and clutter."""
    if not templates:
        raise ValueError("templates is empty; give at least one Template")
    specks = int(draws.random() * 9) - 3
    return replace(
        made,
        template=draws.one(templates),
        background=int(draws.random() * BACKGROUNDS),
        clutter=tuple((draws.random(), draws.random(), draws.random()) for _ in range(specks)),
    )


def _close_up(draws: Draws) -> Scene:
    """One object at any scale, from a quarter of the picture to all of it, near the middle or in a quarter of its own."""
    thing = Thing(*_combination(draws), material=_material(draws))
    if draws.random() < 0.25:
        return arrange(draws, (thing,))
    side = draws.between(0.4, 1.0)
    return Scene((thing,), (_around(draws, 0.5, 0.5, side, min((1 - side) / 3, 0.05)),), (0,))


def _arranged(draws: Draws, kind: str) -> Scene:
    things = _things(draws, kind)
    relation = draws.one(list(RELATIONS)) if kind == "relation" else None
    return arrange(draws, things, relation)


def _things(draws: Draws, kind: str) -> tuple[Thing, ...]:
    if kind == "quantity":
        counts = draws.one([(1, 2), (2, 1), (1, 3), (3, 1), (2,), (3,)])
    elif kind == "many":
        counts = (None,) * draws.one([3, 4])
    else:
        counts = (None, None)
    sizes = draws.some(SIZES, 2) if kind == "size" else [None] * len(counts)
    shapes, colours = draws.some(SHAPES, len(counts)), draws.some(list(COLOURS), len(counts))
    while any(held_out(colour, shape) for colour, shape in zip(colours, shapes, strict=True)):
        shapes, colours = draws.some(SHAPES, len(counts)), draws.some(list(COLOURS), len(counts))
    surface = _material if kind in ("pair", "quantity") else lambda _: "plain"
    return tuple(
        Thing(shape, colour, surface(draws), size, count)
        for shape, colour, size, count in zip(shapes, colours, sizes, counts, strict=True)
    )


def arrange(draws: Draws, things: Sequence[Thing], relation: str | None = None) -> Scene:
    """Every object in a quarter of the picture of its own, at random, or as the relation says."""
    owners = tuple(i for i, thing in enumerate(things) for _ in range(thing.objects))
    if len(owners) > MOST:
        raise ValueError(f"{len(owners)} objects; a scene holds {MOST} at most")
    slots = draws.some(_SLOTS, len(owners)) if relation is None else _related(draws, relation)
    boxes = tuple(_into(draws, slot, things[owner].size) for slot, owner in zip(slots, owners, strict=True))
    return Scene(tuple(things), boxes, owners, relation=relation)


def _related(draws: Draws, relation: str) -> list[tuple[float, float]]:
    """Quarters of the first and the second: beside each other, or one over the other."""
    dx, dy = RELATIONS[relation]
    across = draws.one((0.0, 0.5))
    first, second = (0.0, 0.5) if dx + dy < 0 else (0.5, 0.0)
    return [(first, across), (second, across)] if dx else [(across, first), (across, second)]


def _into(draws: Draws, slot: tuple[float, float], size: str | None) -> Box:
    return _around(draws, slot[0] + 0.25, slot[1] + 0.25, draws.between(*SIDES[size]), 0.015)


def _around(draws: Draws, x: float, y: float, side: float, slack: float) -> Box:
    """A box about a point, moved by up to `slack` each way."""
    x, y = x + draws.between(-slack, slack), y + draws.between(-slack, slack)
    return Box(x - side / 2, y - side / 2, side)


def _combination(draws: Draws) -> tuple[str, str]:
    shape, colour = draws.one(SHAPES), draws.one(list(COLOURS))
    while held_out(colour, shape):
        shape, colour = draws.one(SHAPES), draws.one(list(COLOURS))
    return shape, colour


def _material(draws: Draws) -> str:
    return draws.one(MATERIALS[1:]) if draws.random() < 0.6 else "plain"
