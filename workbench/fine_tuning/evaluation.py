"""Both sides of fine-tuning on controlled scenes: what it teaches of composition, and what it must not break."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.data.negatives import OPERATORS
from workbench.data.scenes import CATEGORIES, Scene, draw, quads, scene
from workbench.data.scenes.world import COLOURS, MATERIALS, SHAPES, TEMPLATES, UNSEEN_TEMPLATES, Thing, held_out
from workbench.evaluation import class_vectors, retrieval_ranks
from workbench.evaluation.composition import levelled
from workbench.evaluation.statistics import Interval, bootstrap
from workbench.models.dual_encoder import DualEncoder
from workbench.records import Record, Table

COMPOSITION, ZERO_SHOT, TO_TEXT, TO_IMAGE = "composition", "zero-shot", "picture to text", "text to picture"
SIDES = (COMPOSITION, ZERO_SHOT, TO_TEXT, TO_IMAGE)
CHOICES = ("swap_nouns", "swap_attributes", "replace_colour", "replace_count", "replace_size", "replace_relation")
CHOICES += ("negate", "shuffle_bigrams")
FRAMES = ("{}", "a picture of {}", "an image of {}")
_TRIES = 100_000


@dataclass(frozen=True, eq=False)
class TradeOff(Record):
    """Which items a model gets right: `right[side][measure]` (n,) of 0 … 1; a side's mean counts each of its measures alike.

    `beside` is what counts for no side: choices where each picture is another's, which wording alone can win.
    """

    model: str
    right: dict[str, dict[str, np.ndarray]]
    beside: dict[str, np.ndarray]

    def side(self, side: str) -> Interval:
        return bootstrap(evenly(self.right[side]))

    def measure(self, side: str, name: str) -> Interval:
        return bootstrap(self.right[side][name])

    def table(self) -> Table:
        rows = []
        for side, measures in self.right.items():
            rows.append((side, f"mean of {len(measures)}", *_cells(self.side(side))))
            rows += [("", name, *_cells(self.measure(side, name))) for name in measures]
        return Table(f"{self.model}: percent right", ("side", "measure", "percent [95 %]", "n"), tuple(rows))


def _cells(found: Interval) -> tuple[str, str]:
    return found.percent(), f"{found.n:,}"


def evenly(measures: Mapping[str, np.ndarray]) -> np.ndarray:
    """All items of several measures, weighted so that their mean is the unweighted mean of the measures' means."""
    total = sum(len(each) for each in measures.values())
    return np.concatenate([each * (total / (len(measures) * len(each))) for each in measures.values()])


class Trial:
    """The questions, drawn once for many models: `n` items of each measure, all from `seed`.

    Composition: swap quads of every category (group score), and choices between a caption of an unseen wording and what one
    operator makes of it. Zero-shot: colour, shape and surface of single objects by prompts, and which of all colour–shape
    combinations, on combinations that no training showed (negatives made by rules may name them, always as wrong). Retrieval: n
    scenes, three captions each, two of unseen wording; a caption that leaves a surface unsaid may fit another scene too, which
    caps it.
    """

    def __init__(self, n: int = 400, seed: int = 5000, *, side: int = 64):
        if n < 2:
            raise ValueError(f"n={n}; give two items of each measure or more")
        self.n, self.seed, self.side = n, seed, side

    @cached_property
    def quads(self) -> dict[str, list]:
        return {category: quads(category, self.n, self.seed) for category in CATEGORIES}

    @cached_property
    def choices(self) -> dict[str, tuple[list[Scene], list[str]]]:
        """Per operator n scenes that it can change, and their negatives."""
        return {name: self._changed(name) for name in CHOICES}

    def _changed(self, name: str) -> tuple[list[Scene], list[str]]:
        shown, wrong = [], []
        for number in range(_TRIES):
            drawn = scene(f"{self.seed}/{name}", number, templates=UNSEEN_TEMPLATES)
            made = OPERATORS[name](drawn.caption, self.seed)
            if made:
                shown.append(drawn)
                wrong.append(made.text)
            if len(shown) == self.n:
                return shown, wrong
        raise ValueError(f"{name} changes {len(shown)} of {_TRIES} captions; {self.n} are needed")

    @cached_property
    def close_ups(self) -> dict[str, list[Scene]]:
        """Single objects: as training shows them, with a surface, and in combinations it never shows."""
        plain = self._single("single", lambda thing: True)
        surface = self._single("surface", lambda thing: thing.material != "plain")
        return {"single": plain, "surface": surface, "held out": [_held_out(each, i) for i, each in enumerate(plain)]}

    def _single(self, name: str, wanted) -> list[Scene]:
        drawn = (scene(f"{self.seed}/{name}", i, kind="close-up") for i in count())
        found: list[Scene] = []
        while len(found) < self.n:
            each = next(drawn)
            if wanted(each.things[0]):
                found.append(each)
        return found

    @cached_property
    def told(self) -> tuple[list[Scene], list[str]]:
        """Scenes of which no two have the same words, and three captions of each."""
        kept: dict = {}
        for number in count():
            each = scene(f"{self.seed}/told", number)
            kept.setdefault(each.contents, each)
            if len(kept) == self.n:
                break
        shown = list(kept.values())
        return shown, [caption for each in shown for caption in _three(each)]

    @cached_property
    def _drawn(self) -> dict[Scene, np.ndarray]:
        return {}

    def pictures(self, shown: Sequence[Scene]) -> list[np.ndarray]:
        return [self._picture(each) for each in shown]

    def _picture(self, shown: Scene) -> np.ndarray:
        if shown not in self._drawn:
            self._drawn[shown] = draw(shown, self.side)
        return self._drawn[shown]

    def measure(self, model: DualEncoder) -> TradeOff:
        """What a model gets right. The trap: choices can be won by wording; `beside` says how far."""
        choices, blind = {}, {}
        for name in CHOICES:
            choices[f"choose: {name}"], blind[name] = self._choose(model, name)
        swaps = {f"swap quads: {category}": self._quad(model, category) for category in CATEGORIES}
        to_text, to_image = self._retrieved(model)
        sides = {
            COMPOSITION: swaps | choices,
            ZERO_SHOT: dict(self._named(model)),
            TO_TEXT: {"R@1": to_text},
            TO_IMAGE: {"R@1": to_image},
        }
        return TradeOff(model.name, sides, blind)

    def _quad(self, model: DualEncoder, category: str) -> np.ndarray:
        shown = [each for quad in self.quads[category] for each in quad.scenes]
        image, text = self._unit(model, shown, [each.caption for each in shown])
        scores = levelled(torch.einsum("npd,ncd->npc", *(side.unflatten(0, (-1, 2)) for side in (image, text))).numpy())
        s = np.asarray(scores)
        both = (
            (s[:, 0, 0] > s[:, 0, 1]) & (s[:, 1, 1] > s[:, 1, 0]),
            (s[:, 0, 0] > s[:, 1, 0]) & (s[:, 1, 1] > s[:, 0, 1]),
        )
        return (both[0] & both[1]).astype(float)

    def _choose(self, model: DualEncoder, name: str) -> tuple[np.ndarray, np.ndarray]:
        shown, wrong = self.choices[name]
        image, text = self._unit(model, shown, [each.caption for each in shown] + wrong)
        texts = text.unflatten(0, (2, -1))  # true ones, wrong ones
        found = []
        for pictures in (image, image.roll(1, 0)):
            scores = levelled(torch.einsum("nd,knd->nk", pictures, texts).numpy())
            found.append((scores[:, 0] > scores[:, 1]).astype(float))
        return found[0], found[1]

    def _named(self, model: DualEncoder) -> Iterator[tuple[str, np.ndarray]]:
        single, surface, unseen = (self.close_ups[name] for name in ("single", "surface", "held out"))
        every = [Thing(shape, colour) for colour in COLOURS for shape in SHAPES]
        combined = _classes(model, [[thing] for thing in every])
        of_colour = [[Thing(shape, colour) for shape in SHAPES] for colour in COLOURS]
        of_shape = [[Thing(shape, colour) for colour in COLOURS] for shape in SHAPES]
        of_surface = [[Thing(s, c, m) for s in SHAPES for c in list(COLOURS)[::3]] for m in MATERIALS[1:]]
        pictures = self._images(model, single)
        things = [each.things[0] for each in single]
        yield "colour", _first(pictures, _classes(model, of_colour), [list(COLOURS).index(t.colour) for t in things])
        yield "shape", _first(pictures, _classes(model, of_shape), [SHAPES.index(t.shape) for t in things])
        materials = [MATERIALS.index(each.things[0].material) - 1 for each in surface]
        yield "surface", _first(self._images(model, surface), _classes(model, of_surface), materials)
        kinds = [(thing.shape, thing.colour) for thing in every]
        own = [kinds.index((each.things[0].shape, each.things[0].colour)) for each in unseen]
        yield "unseen combination", _first(self._images(model, unseen), combined, own)

    def _retrieved(self, model: DualEncoder) -> tuple[np.ndarray, np.ndarray]:
        shown, captions = self.told
        image, text = self._unit(model, shown, captions)
        three = [[3 * i, 3 * i + 1, 3 * i + 2] for i in range(len(shown))]
        to_text = retrieval_ranks(image, text, three) == 1
        to_image = retrieval_ranks(text, image, [[i // 3] for i in range(len(text))]) == 1
        return to_text.double().numpy(), to_image.double().view(-1, 3).mean(1).numpy()

    def _unit(self, model: DualEncoder, shown: Sequence[Scene], captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message="caption .* has .* tokens"
            )  # one in a hundred, by a word at its end
            texts = model.encode_text(captions, batch_size=256).post
        return self._images(model, shown), F.normalize(texts, dim=-1)

    def _images(self, model: DualEncoder, shown: Sequence[Scene]) -> Tensor:
        return F.normalize(model.encode_image(self.pictures(shown), batch_size=128).post, dim=-1)


def _held_out(shown: Scene, number: int) -> Scene:
    """The same object in a colour that its shape never has in training."""
    thing = shown.things[0]
    colours = [colour for colour in COLOURS if held_out(colour, thing.shape)]
    made = Thing(thing.shape, colours[number % len(colours)])
    return replace(shown, things=(made,))


def names_unseen(caption: str) -> bool:
    """Whether a caption names a colour–shape combination that no training picture shows: "two big red moons", too."""
    return any(
        held_out(colour, shape) and f"{colour} {noun}" in caption
        for colour in COLOURS
        for shape in SHAPES
        for noun in (shape, Thing(shape, count=2).noun)
    )


def _three(shown: Scene) -> list[str]:
    """One caption of a trained wording, two of unseen ones with different frames."""
    place = sum(map(ord, shown.caption))
    seen = TEMPLATES[place % len(TEMPLATES)]
    frames = [UNSEEN_TEMPLATES[(2 * (place + k) + place // 3 % 2) % len(UNSEEN_TEMPLATES)] for k in (0, 1)]
    return [replace(shown, template=each).caption for each in (seen, *frames)]


def _classes(model: DualEncoder, classes: Sequence[Sequence[Thing]]) -> Tensor:
    """A unit vector for each class: the mean over its things and `FRAMES`."""
    prompts = [[frame.format(thing.phrase) for thing in own for frame in FRAMES] for own in classes]
    texts = model.encode_text([text for own in prompts for text in own], batch_size=256).post
    return class_vectors(list(texts.split([len(own) for own in prompts])))


def _first(images: Tensor, classes: Tensor, labels: Sequence[int]) -> np.ndarray:
    return (retrieval_ranks(images, classes, [[label] for label in labels]) == 1).double().numpy()
