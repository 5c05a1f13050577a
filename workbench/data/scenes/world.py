"""What there is in a scene, and how it is said: things with a shape, a colour, a surface, a size and a number."""

from __future__ import annotations

from dataclasses import dataclass, field

from workbench.data.inflection import article, plural

COLOURS = {
    "red": (214, 39, 40),
    "orange": (255, 140, 0),
    "yellow": (250, 220, 40),
    "green": (30, 130, 50),
    "blue": (40, 90, 250),
    "purple": (120, 40, 170),
    "pink": (255, 130, 200),
    "brown": (120, 70, 30),
    "black": (12, 12, 12),
    "white": (245, 245, 245),
    "turquoise": (50, 210, 210),
    "lime": (160, 245, 30),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "diamond", "moon", "arrow", "drop")
MATERIALS = ("plain", "striped", "spotted", "shiny")  # the surface; "plain" is not said
SIZES = ("small", "big")
NUMBERS = ("one", "two", "three")
RELATIONS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}  # where the first stands
DOMAINS = ("A", "B")
MOST = 4  # objects in a scene


def held_out(colour: str, shape: str) -> bool:
    """A fifth of the colour–shape combinations is never shown in training; every colour and every shape is."""
    return (list(COLOURS).index(colour) + 2 * SHAPES.index(shape)) % 5 == 0


@dataclass(frozen=True)
class Thing:
    """One phrase of a caption and the one to three equal objects it names; what is None is not said."""

    shape: str
    colour: str | None = None
    material: str = "plain"
    size: str | None = None
    count: int | None = None  # None: one object, said as "a"

    @property
    def objects(self) -> int:
        return self.count or 1

    @property
    def noun(self) -> str:
        *before, last = self.shape.split()
        return self.shape if self.objects == 1 else " ".join((*before, plural(last) or last))

    @property
    def attributes(self) -> tuple[str, ...]:
        said = (self.size, None if self.material == "plain" else self.material, self.colour)
        return tuple(word for word in said if word)

    @property
    def name(self) -> str:
        """Attributes and noun: "small striped red stars"."""
        return " ".join((*self.attributes, self.noun))

    @property
    def phrase(self) -> str:
        """The name with its article or number: "a red star", "two red stars"."""
        return f"{self._article(self.name)} {self.name}"

    @property
    def bare(self) -> str:
        """The object without attributes: "a star", "two stars"."""
        return f"{self._article(self.noun)} {self.noun}"

    def _article(self, following: str) -> str:
        if self.count is not None:
            return NUMBERS[self.count - 1]
        return article(following)


@dataclass(frozen=True)
class Template:
    """How a caption is put together: `frame` around the list, `joiner` before its last phrase."""

    frame: str = "{}"
    joiner: str = "and"


TEMPLATES = tuple(
    Template(frame, joiner)
    for frame in ("{}", "a picture of {}", "an image of {}", "we see {}", "{} in a picture")
    for joiner in ("and", "with", "next to")
)
# Known words in an order never trained.
UNSEEN_TEMPLATES = tuple(
    Template(frame, joiner)
    for frame in ("in a picture we see {}", "in an image we see {}", "we see an image of {}")
    for joiner in ("and next to", "and with")
)


@dataclass(frozen=True)
class Box:
    """Left, top and side of a square, in fractions of the picture's side, y downwards."""

    x: float
    y: float
    side: float


@dataclass(frozen=True)
class Scene:
    """A picture to be drawn and its caption. `boxes[k]` holds one object, an example of things[owners[k]].

    `background` and `clutter` (left, top, brightness of every speck) are what stands behind them.
    """

    things: tuple[Thing, ...]
    boxes: tuple[Box, ...]
    owners: tuple[int, ...]
    domain: str = "A"
    relation: str | None = None
    template: Template = field(default_factory=Template)
    background: int = 0
    clutter: tuple[tuple[float, float, float], ...] = ()

    @property
    def caption(self) -> str:
        return self.template.frame.format(self._listed())

    def _listed(self) -> str:
        *first, last = (thing.phrase for thing in self.things)
        if not first:
            return last
        joiner = self.relation or self.template.joiner
        return f"{', '.join(first)} {joiner} {last}"

    def segments(self, granularity: str = "mid") -> tuple[str, ...]:
        """The caption's parts as they were put together, its whole last.

        "fine": objects, phrases, caption; "mid": phrases, caption; "coarse": the caption without its frame, caption. The
        first two levels are those of structure-guided inference (arXiv 2506.09691); its third is not stated there.
        """
        parts = {
            "fine": [*(thing.bare for thing in self.things), *(thing.phrase for thing in self.things)],
            "mid": [thing.phrase for thing in self.things],
            "coarse": [self._listed()],
        }
        if granularity not in parts:
            raise ValueError(f"granularity={granularity!r}; choose one of {', '.join(parts)}")
        return tuple(dict.fromkeys((*parts[granularity], self.caption)))

    @property
    def contents(self) -> tuple:
        """What a bag of words knows: all attributes, numbers and shapes, sorted; who has which is left out."""
        said = (word for thing in self.things for word in (*thing.attributes, f"count {thing.objects}", thing.shape))
        return tuple(sorted(said))

    @property
    def unseen(self) -> bool:
        """Whether it shows a colour–shape combination that training never does."""
        return any(thing.colour is not None and held_out(thing.colour, thing.shape) for thing in self.things)

    def pixel_boxes(self, side: int) -> tuple[tuple[int, int, int, int], ...]:
        """(left, top, right, bottom) of every object in a picture of `side` pixels, right and bottom not included."""
        return tuple(pixel_box(box, side) for box in self.boxes)


def pixel_box(box: Box, side: int) -> tuple[int, int, int, int]:
    length = max(round(box.side * side), 3)
    left, top = round(box.x * side), round(box.y * side)
    return left, top, left + length, top + length
