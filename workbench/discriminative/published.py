"""What VladVA printed (arXiv 2412.04378), in percent; what its tables say of each other, and what cannot be known from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass

from workbench.records import Table

PAPER = "arXiv 2412.04378"


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.replace("/", " ").split()))


RETRIEVAL_SETS = ("Flickr30k", "COCO", "nocaps")
RETRIEVAL = {
    name: _numbers(numbers)
    for name, numbers in {
        "CLIP ViT-B": "58.8/89.8 30.5/66.8 46.8/85.1 77.8/98.2 51.0/83.5 67.3/95.6",
        "CLIP ViT-L": "67.3/93.3 37.0/71.5 48.6/85.7 87.2/99.4 58.1/87.8 70.0/96.2",
        "OpenCLIP ViT-bigG": "79.5/97.1 51.3/83.0 65.1/93.5 92.9/97.1 67.3/92.6 82.3/98.8",
        "EVA-CLIP 8B": "80.3/97.2 52.0/82.9 65.3/93.2 94.5/99.7 70.1/93.1 83.5/98.6",
        "EVA-CLIP 18B": "83.3/97.9 55.6/85.2 69.3/94.8 95.3/99.8 72.8/94.2 85.6/99.2",
        "LLaVA-1.5-7B": "59.6/89.3 34.4/69.6 46.9/83.3 65.6/92.3 35.6/70.5 52.1/88.1",
        "E5-V, LLaVA-NeXT-8B": "79.5/97.6 52.0/84.7 65.9/94.3 88.2/99.4 62.0/89.7 74.9/98.3",
        "E5-V, LLaVA-1.5-7B": "76.7/96.9 48.2/82.1 62.0/93.0 86.6/99.0 57.4/88.4 71.9/97.0",
        "VladVA, LLaVA-1.5-7B": "85.0/98.5 59.0/88.6 72.3/96.5 94.3/99.9 72.9/94.4 85.7/99.5",
    }.items()
}
"""Table 1: R@1 and R@10, text → picture on the three sets, then picture → text; plain LLaVA is asked by a prompt alone."""

OTHER_MODELS = {
    "Qwen2-VL-2B": (_numbers("54.1 32.4 41.2 59.6 35.3 54.0"), _numbers("80.4 52.5 68.3 93.7 71.9 86.0")),
    "LLaVA-1.5-13B": (_numbers("61.7 37.9 48.4 66.9 35.3 48.0"), _numbers("85.6 58.2 74.0 94.5 75.0 85.4")),
}
"""The same, R@1 alone, by prompt and after VladVA."""

SUGARCREPE_TASKS = (
    "replace object",
    "replace attribute",
    "replace relation",
    "swap object",
    "swap attribute",
    "add object",
    "add attribute",
)
SUGARCREPE = {
    name: _numbers(numbers)
    for name, numbers in {
        "CLIP ViT-B": "90.9 80.1 69.2 61.4 64.0 77.2 68.8",
        "CLIP ViT-L": "94.1 79.2 65.2 60.2 62.3 78.3 71.5",
        "EVA-CLIP 18B": "97.5 88.8 76.1 65.3 76.0 92.4 85.0",
        "NegCLIP": "92.7 85.9 76.5 75.2 75.4 88.8 82.8",
        "LLaVA-1.5-7B": "88.0 81.6 76.1 60.9 58.8 67.0 62.4",
        "E5-V, LLaVA-1.5-7B": "95.8 86.6 81.6 62.9 64.0 93.5 88.0",
        "E5-V, LLaVA-NeXT-8B": "96.7 89.5 85.3 75.0 70.1 89.2 83.5",
        "VladVA, LLaVA-1.5-7B": "98.1 92.1 86.8 79.0 82.9 95.2 95.8",
        "VladVA, Qwen2-VL-2B": "97.9 89.7 81.5 76.5 82.6 93.6 95.4",
        "VladVA, LLaVA-1.5-13B": "98.1 93.9 89.8 81.1 86.0 95.2 97.0",
        "people": "100 99 97 99 100 99 99",
    }.items()
}
"""Table 2."""
SUGARCREPE_ITEMS = ((1652,), (788,), (1406,), (245, 246), (666,), (2062,), (692,))
"""Items of every task (arXiv 2306.14610); the released file of swapped objects has one fewer than the paper of it counts."""

SUGARCREPE_PP_TASKS = ("swap object", "swap attribute", "replace object", "replace attribute", "replace relation")
SUGARCREPE_PP = {
    name: _numbers(numbers)
    for name, numbers in {
        "CLIP ViT-B": "45.2/19.7 45.2/33.0 86.8/83.7 65.6/59.1 56.3/38.6",
        "EVA-CLIP 18B": "45.2/25.4 55.5/47.6 94.1/85.1 77.0/69.8 60.4/47.8",
        "NegCLIP": "55.3/34.7 58.0/56.5 89.5/94.5 69.4/76.3 52.3/51.6",
        "LLaVA-1.5-7B": "23.8/30.7 28.0/29.5 58.1/63.0 46.8/58.1 52.3/63.4",
        "E5-V, LLaVA-NeXT-8B": "50.8/48.4 49.7/56.9 93.1/97.6 76.1/87.1 74.7/84.4",
        "VladVA, LLaVA-1.5-7B": "56.1/36.7 63.0/62.5 95.0/93.0 78.2/82.3 71.1/66.3",
    }.items()
}
"""Table 3: picture and both true captions against the false one, and texts alone."""


@dataclass(frozen=True)
class Rung:
    """A row of Table 4: SugarCrepe by group, R@1 on Flickr30k both ways."""

    replace: float
    swap: float
    add: float
    to_image: float
    to_text: float

    def minus(self, other: Rung) -> Rung:
        """Points gained over `other`, rounded to the digit that the paper prints."""
        return Rung(*(round(a - b, 1) for a, b in zip(astuple(self), astuple(other), strict=True)))


_PARTS = ("replace", "swap", "add", "text → picture R@1", "picture → text R@1")
COMPONENTS = {
    "base": Rung(81.9, 59.8, 64.7, 59.6, 65.6),
    "+ soft prompt": Rung(86.4, 66.9, 89.3, 76.7, 91.7),
    "+ LoRA": Rung(87.0, 69.8, 88.8, 79.1, 91.4),
    "+ both": Rung(87.1, 72.0, 88.6, 79.6, 92.9),
    "+ both and next token": Rung(89.5, 75.5, 89.5, 80.6, 91.8),
}
"""Table 4, LLaVA-1.5-7B, a million samples, one training each."""

WINOGROUND = {
    name: _numbers(numbers)
    for name, numbers in {
        "CLIP ViT-B": "10.5 25.0 7.3",
        "CLIP ViT-L": "12.3 27.5 8.3",
        "OpenCLIP ViT-bigG": "15.5 35.5 12.0",
        "EVA-CLIP 18B": "15.0 35.8 10.5",
        "NegCLIP": "10.5 29.5 8.0",
        "LLaVA-1.5-7B": "11.3 18.5 6.5",
        "E5-V, LLaVA-1.5-7B": "17.4 31.3 10.5",
        "E5-V, LLaVA-NeXT-8B": "14.8 32.3 11.3",
        "VladVA, LLaVA-1.5-7B": "17.5 40.5 12.8",
    }.items()
}
"""Table 8: image, text and group score."""
WINOGROUND_SCORES, WINOGROUND_ITEMS = ("image", "text", "group"), (400,)

IMAGENET = {
    "CLIP ViT-B": (68.4, 91.9),
    "EVA-CLIP 18B": (83.5, 97.2),
    "LLaVA-1.5-7B": (42.0, 74.6),
    "E5-V, LLaVA-NeXT-8B": (48.2, 76.6),
    "VladVA, LLaVA-1.5-7B": (63.7, 88.3),
    "Qwen2-VL-2B": (54.7, None),
    "VladVA, Qwen2-VL-2B": (70.6, 91.1),
}
"""Table 9: top-1 and top-5; the paper's top-5 of the untuned Qwen2-VL is not known here."""

UNKNOWN = (
    (
        "the prompts",
        "their wording, and so how long the soft prompts are",
        "E5-V's words; the prompt's own words are soft",
    ),
    ("the summary", "before or after the final norm", "the last layer's state as the library gives it, after the norm"),
    (
        "contrast",
        "the temperature, and whether it learns",
        "0.05, fixed, as in E5-V and CAFe; the sum of both directions",
    ),
    ("next token", "mean or sum over tokens, and its weight", "the mean over all tokens of the batch, weight 1"),
    ("what learns", "whether image tower and projector do", "neither does"),
    ("training", "weight decay, warm-up, dropout, precision", "fields of DiscriminativeConfig"),
    ("Table 4", "how many trainings", "one a row, as far as one can tell: no spread is given"),
)
"""What a reader of the paper cannot know, and what is taken here."""

SUSPECTS = (
    (
        "Table 1, OpenCLIP ViT-bigG, Flickr30k, picture → text R@10",
        "97.1",
        "its text → picture R@10 is 97.1 too; CLIP ViT-B, 15 points behind at R@1, has 98.2",
    ),
    ("COCO, picture → text R@1 of LLaVA-1.5-13B by prompt", "35.3", "Qwen2-VL-2B by prompt has 35.3 too"),
    (
        "Table 4, add",
        "88.6 with both parts",
        "89.3 with soft prompts alone, 88.8 with adapters alone: both are not best here",
    ),
)
"""What looks like a slip, or does not go with the text, though nothing follows from anything: where, says, beside it."""

NOTES = (
    "The tables are the arXiv version's; no code and no weights of VladVA were found to compute any of them again.",
    "That the state of the last layer is read comes from readers' accounts of the paper and from E5-V's practice.",
    "Short captions below 30 tokens and long ones of 30 to 500, and an unweighted sum of both losses: two accounts that agree.",
    "Rank 16 and alpha 16 of the adapters, and soft prompts that start as the prompt's tokens, stand in a single account.",
    "Batches of 1,024, rate 1e-4, 7 epochs and some 8.1 million pictures, a million in Table 4: two accounts that agree.",
    "How much the data's size alone brings is shown in a table whose numbers are not known here.",
    "That retrieval suffers without the contrastive loss is told without numbers.",
    "Figures 2 to 7 are known by what they show, not by their values.",
)
"""How certain the rest is that this package takes from the paper."""


# Tables for a notebook ------------------------------------------------------------------------------------------------


def table(number: int) -> Table:
    """Table 1, 2, 3, 4, 8 or 9 as the paper prints it. Raises ValueError for another number."""
    made = {1: _retrieval, 2: _sugarcrepe, 3: _sugarcrepe_pp, 4: _components, 8: _winoground, 9: _imagenet}
    if number not in made:
        raise ValueError(f"Table {number} is not stored; there are {', '.join(map(str, made))} of {PAPER}")
    return made[number]()


def groups_of(tasks: Sequence[float]) -> tuple[float, float, float]:
    """Replace, swap and add of SugarCrepe's seven tasks: means that count each task alike, as Table 4's base row has them."""
    parts = tasks[:3], tasks[3:5], tasks[5:]
    return tuple(sum(part) / len(part) for part in parts)


def unknown() -> Table:
    """What cannot be known from the paper, and what is taken here."""
    return Table(f"{PAPER}: not said, or not found", ("of", "unknown", "taken here"), UNKNOWN)


def rung_of(model: str) -> Rung:
    """The columns of Table 4 for a model of Tables 1 and 2. The trap: VladVA's there saw all the data, Table 4 a million."""
    recall = RETRIEVAL[model]
    return Rung(*groups_of(SUGARCREPE[model]), recall[0], recall[6])


def gains() -> Table:
    """Points over the base: the other rows of Table 4, and VladVA of all the data as Tables 1 and 2 have it."""
    rows = {name: each.minus(COMPONENTS["base"]) for name, each in COMPONENTS.items() if name != "base"}
    rows["VladVA, all the data"] = rung_of("VladVA, LLaVA-1.5-7B").minus(rung_of("LLaVA-1.5-7B"))
    told = tuple((name, *(f"{x:+.1f}" for x in astuple(each))) for name, each in rows.items())
    return Table(f"{PAPER}: points over the base, SugarCrepe and R@1 on Flickr30k", ("row", *_PARTS), told)


@dataclass(frozen=True)
class Check:
    """A number of the paper, and what another of its places or arithmetic has for it."""

    where: str
    says: float
    elsewhere: str
    follows: float

    @property
    def fits(self) -> bool:
        """To half the last digit. The trap: a half falls either way, the paper prints 59.85 as 59.8."""
        return abs(self.says - self.follows) <= 0.05 + 1e-9


def check() -> tuple[Check, ...]:
    """What can be computed: Table 4's base from Tables 1 and 2, and every score of known items as a share of these."""
    return (*_base(), *_shares())


def inconsistencies() -> Table:
    """The checks that do not fit, and what looks like a slip. The tables here keep the paper's numbers."""
    found = (
        (each.where, f"{each.says:.1f}", f"{each.elsewhere}: {each.follows:.2f}") for each in check() if not each.fits
    )
    return Table(f"{PAPER}: what does not fit", ("where", "says", "beside it"), (*found, *SUSPECTS))


def _base() -> Iterator[Check]:
    follows = astuple(rung_of("LLaVA-1.5-7B"))
    sources = *["Table 2, mean of its tasks"] * 3, *["Table 1"] * 2
    for part, says, source, value in zip(_PARTS, astuple(COMPONENTS["base"]), sources, follows, strict=True):
        yield Check(f"Table 4, base, {part}", says, source, value)


def _shares() -> Iterator[Check]:
    for model, row in SUGARCREPE.items():
        for task, says, items in zip(SUGARCREPE_TASKS, row, SUGARCREPE_ITEMS, strict=True):
            if model != "people":  # who were not asked about every item
                yield _share(f"Table 2, {model}, {task}", says, items)
    for model, row in WINOGROUND.items():
        for score, says in zip(WINOGROUND_SCORES, row, strict=True):
            yield _share(f"Table 8, {model}, {score}", says, WINOGROUND_ITEMS)


def _share(where: str, says: float, items: Sequence[int]) -> Check:
    """A score and the nearest one that a whole number of the items gives."""
    value, n = min(((100 * round(says * n / 100) / n, n) for n in items), key=lambda each: abs(each[0] - says))
    return Check(where, says, f"nearest share of {n} items", value)


def _captioned(number: int, what: str) -> str:
    return f"Table {number} of {PAPER}: {what}, percent"


def _of_rows(number: int, what: str, header: Sequence[str], rows: Mapping[str, Sequence[float | None]]) -> Table:
    told = tuple((name, *("" if x is None else f"{x:.1f}" for x in values)) for name, values in rows.items())
    return Table(_captioned(number, what), ("model", *header), told)


def _retrieval() -> Table:
    ways = "text → picture", "picture → text"
    header = [f"{name}, {way}, R@{k}" for way in ways for name in RETRIEVAL_SETS for k in (1, 10)]
    return _of_rows(1, "zero-shot retrieval", header, RETRIEVAL)


def _sugarcrepe() -> Table:
    return _of_rows(2, "SugarCrepe", SUGARCREPE_TASKS, SUGARCREPE)


def _sugarcrepe_pp() -> Table:
    header = [f"{task}, {side}" for task in SUGARCREPE_PP_TASKS for side in ("with the picture", "texts alone")]
    return _of_rows(3, "SugarCrepe++", header, SUGARCREPE_PP)


def _components() -> Table:
    rows = {name: astuple(each) for name, each in COMPONENTS.items()}
    return _of_rows(4, "one part at a time, SugarCrepe and Flickr30k, 1 M samples", _PARTS, rows)


def _winoground() -> Table:
    return _of_rows(8, "Winoground", WINOGROUND_SCORES, WINOGROUND)


def _imagenet() -> Table:
    return _of_rows(9, "ImageNet", ("top-1", "top-5"), IMAGENET)
