"""What a scene is asked, and the answers that are true of it: short and long captions, one word, colours, shapes, how many.

A captioner learns from these pairs (`recipes/scenes_lvlm.py`). The wordings stand here and nowhere else: each is asked of a
picture and of a sentence, so that one model answers both in the same words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from workbench.data.inflection import plural
from workbench.data.scenes.sampling import Draws
from workbench.data.scenes.world import (
    COLOURS,
    MATERIALS,
    NUMBERS,
    SHAPES,
    SIZES,
    TEMPLATES,
    Box,
    Scene,
    Thing,
)

# {} is what is asked about. The two with a colon are E5-V's (arXiv 2407.12580) and CAFe's (arXiv 2503.19900) wordings.
INSTRUCTIONS = {
    "short": (
        "describe the {}",
        "what does the {} show",
        "what is in the {}",
        "say what you see in the {}",
        "give a short caption of the {}",
        "tell me about the {}",
        "summarise the {}",
        "what is the {} about",
    ),
    "long": (
        "describe the {} in detail",
        "describe everything in the {}",
        "give a long caption of the {}",
        "tell me everything about the {}",
        "say what is where in the {}",
        "list all objects of the {} and where they are",
    ),
    "word": (
        "summary above {} in one word :",
        "compress this {} in one word :",
        "describe the {} in one word",
        "what do you see in the {} in one word",
        "say one word about the {}",
        "which word fits the {}",
        "name one thing of the {}",
        "the {} in one word",
    ),
    "colours": (
        "which colours does the {} show",
        "name the colours in the {}",
        "what colours are in the {}",
        "list all colours of the {}",
    ),
    "shapes": (
        "which shapes does the {} show",
        "name the shapes in the {}",
        "what shapes are in the {}",
        "list all shapes of the {}",
    ),
    "number": (
        "how many objects are in the {}",
        "count the objects of the {}",
        "how many things does the {} show",
        "give the number of objects in the {}",
    ),
}
ASKED_ABOUT = {"image": ("picture", "image"), "text": ("sentence", "caption")}
TOTALS = (*NUMBERS, "four")
PLACES = ("at the top left", "at the top right", "at the bottom left", "at the bottom right", "in the middle")
GROUNDS = {"A": "a light smooth ground", "B": "a dark grainy ground"}
_MIDDLE = 0.15  # how far from the middle a box's centre still is in it; objects of a quarter are 0.25 away


def prompts(modality: str) -> tuple[str, ...]:
    """Every wording asked of an "image" or of a "text", without the place of the picture or the sentence. Raises ValueError."""
    if modality not in ASKED_ABOUT:
        raise ValueError(f"modality={modality!r}; choose one of {', '.join(ASKED_ABOUT)}")
    wordings = (wording for each in INSTRUCTIONS.values() for wording in each)
    return tuple(wording.format(what) for wording in wordings for what in ASKED_ABOUT[modality])


def ask(draws: Draws, task: str, modality: str) -> str:
    """One wording of a task of INSTRUCTIONS. Raises ValueError for a task that does not exist."""
    if task not in INSTRUCTIONS:
        raise ValueError(f"task={task!r}; choose one of {', '.join(INSTRUCTIONS)}")
    return draws.one(INSTRUCTIONS[task]).format(draws.one(ASKED_ABOUT[modality]))


def answer(draws: Draws, task: str, scene: Scene) -> str:
    """A true answer: for "short" in a wording of its own, for "word" any word that is said of a thing.

    What is in the scene is named in the caption's order, but for "long", which goes by where it is. Raises ValueError for
    a task that does not exist.
    """
    if task == "short":
        return replace(scene, template=draws.one(TEMPLATES)).caption
    if task == "long":
        return long_caption(scene)
    if task == "word":
        thing = draws.one(scene.things)
        return draws.one((*thing.attributes, thing.shape))
    if task == "colours":
        return _listed([thing.colour for thing in scene.things if thing.colour])
    if task == "shapes":
        return _listed([thing.shape for thing in scene.things])
    if task == "number":
        return TOTALS[len(scene.boxes) - 1]
    raise ValueError(f"task={task!r}; choose one of {', '.join(INSTRUCTIONS)}")


def long_caption(scene: Scene) -> str:
    """Every object with its attributes and where it is, from the top left on, and the ground that all stands on.

    "two objects on a light smooth ground: a big red star at the top left, a small blue moon at the bottom right".
    """
    places = [
        sorted(_place(box) for box, owner in zip(scene.boxes, scene.owners, strict=True) if owner == i)
        for i in range(len(scene.things))
    ]
    order = sorted(range(len(places)), key=places.__getitem__)
    told = (f"{scene.things[i].phrase} {' and '.join(PLACES[place] for place in places[i])}" for i in order)
    total = len(scene.boxes)
    objects = "object" if total == 1 else "objects"
    return f"{TOTALS[total - 1]} {objects} on {GROUNDS[scene.domain]}: {', '.join(told)}"


def _place(box: Box) -> int:
    """Which of PLACES a box's centre is in."""
    x, y = box.x + box.side / 2, box.y + box.side / 2
    if max(abs(x - 0.5), abs(y - 0.5)) < _MIDDLE:
        return len(PLACES) - 1
    return 2 * (y > 0.5) + (x > 0.5)


def things_in(caption: str) -> list[Thing]:
    """The things that a caption names, read back from its words; "a" and "one" are the same, so count is 1 or more.

    What is no phrase of the scenes' grammar is passed over: an article or a number, attributes in any order, a shape.
    """
    return [_thing(*found.groups()) for found in _PHRASE.finditer(caption.lower())]


def words() -> set[str]:
    """Every word of instructions and answers, those that short captions hold left out."""
    said = (*prompts("image"), *prompts("text"), *PLACES, *TOTALS, *GROUNDS.values(), "object objects on and : ,")
    return {word for each in said for word in each.split()}


_NOUNS = {noun: (shape, many) for shape in SHAPES for noun, many in ((shape, False), (plural(shape), True))}
_ATTRIBUTES = (*SIZES, *MATERIALS[1:], *COLOURS)
_PHRASE = re.compile(rf"\b(an?|{'|'.join(NUMBERS)})((?: (?:{'|'.join(_ATTRIBUTES)}))*) ({'|'.join(_NOUNS)})\b")


def _thing(article: str, attributes: str, noun: str) -> Thing:
    said = attributes.split()
    size, material, colour = (next((w for w in said if w in known), None) for known in (SIZES, MATERIALS, COLOURS))
    count = NUMBERS.index(article) + 1 if article in NUMBERS else 1
    return Thing(_NOUNS[noun][0], colour, material or "plain", size, count)


def _listed(said: Sequence[str]) -> str:
    *first, last = dict.fromkeys(said)
    return f"{', '.join(first)} and {last}" if first else last
