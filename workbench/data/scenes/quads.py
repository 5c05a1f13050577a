"""Swap quadruples: two pictures and two captions of the same words, of which each fits one (after BiSCoR-Ctrl, arXiv 2604.11496).

Both pictures of a quad have the same boxes, background and clutter; both captions the same template and, but for Quantity, the
same words: only who has which differs, so that a bag of words ties. In Quantity a noun's form goes with its number ("one red
star and two blue moons"), so a bag of words that tells moon from moons can pass without knowing who has which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from workbench.data.scenes.sampling import Draws, arrange, dress
from workbench.data.scenes.world import (
    COLOURS,
    DOMAINS,
    MATERIALS,
    RELATIONS,
    SHAPES,
    TEMPLATES,
    Scene,
    Template,
    Thing,
)

Things = Callable[[Draws], list[Thing]]  # draws the two things of a quad

_TRIES = 10_000
CATEGORIES = ("Colour", "Material", "Size", "Quantity", "Relation")


@dataclass(frozen=True)
class Quad:
    """Two scenes: the first's caption fits the first picture only, the second's the second only."""

    id: str
    category: str
    scenes: tuple[Scene, Scene]

    @property
    def captions(self) -> tuple[str, str]:
        return self.scenes[0].caption, self.scenes[1].caption


def quads(
    category: str,
    n: int,
    seed: int,
    *,
    held_out: bool = False,
    domain: str | None = None,
    templates: Sequence[Template] = TEMPLATES,
    two: Things | None = None,
) -> list[Quad]:
    """`n` quads of one category: the same for the same seed, and quad i the same for every n.

    `held_out`: each picture shows a colour–shape combination that training never does; otherwise none does. `domain` "A" or
    "B", None for both in turn. `two` draws other things than coloured shapes. Raises ValueError for an unknown category or
    domain, or n below 1.

    Colour, Material and Size swap the attribute of two objects. Quantity swaps the numbers of two groups (one and two, or one
    and three): the papers do not define theirs. Relation swaps the places: "a red star left of a blue moon" against "a blue
    moon left of a red star".
    """
    if category not in CATEGORIES:
        raise ValueError(f"category={category!r}; choose one of {', '.join(CATEGORIES)}")
    if domain is not None and domain not in DOMAINS:
        raise ValueError(f"domain={domain!r}; choose one of {', '.join(DOMAINS)}")
    if n < 1:
        raise ValueError(f"n={n}; give the number of quads, from 1")
    name = f"{category}/{'held-out' if held_out else 'seen'}/{domain or 'AB'}/{seed}"
    return [
        _quad(f"{name}/{i}", category, held_out, domain or DOMAINS[i % len(DOMAINS)], templates, two or _two)
        for i in range(n)
    ]


def _quad(name: str, category: str, held_out: bool, domain: str, templates: Sequence[Template], two: Things) -> Quad:
    draws = Draws("quad", name)
    drawn = (_SWAPS[category](draws, two) for _ in range(_TRIES))
    pair = next((pair for pair in drawn if all(scene.unseen == held_out for scene in pair)), None)
    if pair is None:
        raise ValueError(f"held_out={held_out}: none of {_TRIES} draws was; only things with colours can be held out")
    first, second = pair
    first = dress(replace(first, domain=domain), draws, templates)
    look = {key: getattr(first, key) for key in ("domain", "template", "background", "clutter")}
    return Quad(name, category, (first, replace(second, **look)))


def _two(draws: Draws) -> list[Thing]:
    colours, shapes = draws.some(list(COLOURS), 2), draws.some(SHAPES, 2)
    return [Thing(shape, colour) for shape, colour in zip(shapes, colours, strict=True)]


def _swap(draws: Draws, things: list[Thing], attribute: str) -> tuple[Scene, Scene]:
    """The same boxes with the attribute of the two exchanged."""
    a, b = things
    first = arrange(draws, things)
    values = {attribute: getattr(b, attribute)}, {attribute: getattr(a, attribute)}
    return first, replace(first, things=(replace(a, **values[0]), replace(b, **values[1])))


def _colour(draws: Draws, two: Things) -> tuple[Scene, Scene]:
    return _swap(draws, two(draws), "colour")


def _material(draws: Draws, two: Things) -> tuple[Scene, Scene]:
    pair = zip(two(draws), draws.some(MATERIALS[1:], 2), strict=True)  # both are said: "plain" is not
    return _swap(draws, [replace(thing, material=material) for thing, material in pair], "material")


def _size(draws: Draws, two: Things) -> tuple[Scene, Scene]:
    """The boxes stay where they are and change hands: the small one is now the other object."""
    a, b = two(draws)
    first = arrange(draws, (replace(a, size="small"), replace(b, size="big")))
    if draws.random() < 0.5:  # the big one said first as often
        first = replace(first, things=first.things[::-1], owners=(1, 0))
    a, b = first.things
    swapped = replace(a, size=b.size), replace(b, size=a.size)
    return first, replace(first, things=swapped, boxes=first.boxes[::-1])


def _quantity(draws: Draws, two: Things) -> tuple[Scene, Scene]:
    """Three or four boxes: in the second picture one box more is the other group's."""
    a, b = two(draws)
    more = draws.one((2, 3))
    counts = draws.one(((1, more), (more, 1)))
    first = arrange(draws, (replace(a, count=counts[0]), replace(b, count=counts[1])))
    things = replace(a, count=counts[1]), replace(b, count=counts[0])
    return first, replace(first, things=things, owners=(0,) * counts[1] + (1,) * counts[0])


def _relation(draws: Draws, two: Things) -> tuple[Scene, Scene]:
    a, b = two(draws)
    first = arrange(draws, (a, b), draws.one(list(RELATIONS)))
    return first, replace(first, things=(b, a))


_SWAPS: dict[str, Callable[[Draws, Things], tuple[Scene, Scene]]] = {
    "Colour": _colour,
    "Material": _material,
    "Size": _size,
    "Quantity": _quantity,
    "Relation": _relation,
}
