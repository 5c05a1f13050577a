"""What FSC-CLIP printed (arXiv 2410.05210), in percent, and where it contradicts itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass

from workbench.records import Table

PAPER = "arXiv 2410.05210"
CODE = "github.com/ytaek-oh/fsc-clip"

BENCHMARKS = (
    "ARO",
    "CREPE",
    "EqBen",
    "ImageCoDe",
    "SugarCrepe",
    "SVO",
    "VALSE",
    "VL-CheckList",
    "WhatsUp",
    "Winoground",
    "SPEC",
)
MEANS = ("Composition", "Zero-shot", "picture → text", "text → picture")


@dataclass(frozen=True)
class Means:
    """Percent: mean of 11 compositional benchmarks, top-1 of 21 zero-shot tasks, R@1 both ways of 3 retrieval sets."""

    composition: float
    zero_shot: float
    image_to_text: float
    text_to_image: float

    def minus(self, other: Means) -> Means:
        """Points gained over `other`, rounded to the digit that the paper prints."""
        return Means(*(round(a - b, 1) for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class Model:
    """A row of Table 1: what it was fine-tuned on, its 11 benchmarks in the order of `BENCHMARKS`, its four means."""

    data: str
    name: str
    benchmarks: tuple[float, ...]
    means: Means


def _model(data: str, name: str, numbers: str) -> Model:
    *benchmarks, composition, zero_shot, image_to_text, text_to_image = map(float, numbers.split())
    return Model(data, name, tuple(benchmarks), Means(composition, zero_shot, image_to_text, text_to_image))


MODELS = (
    _model("", "CLIP", "57.5 23.8 26.5 21.7 73.1 84.1 67.5 70.8 41.5 8.8 31.9 46.1 57.1 60.0 45.8"),
    _model("COCO 100K", "NegCLIP", "80.9 30.3 30.3 26.4 83.7 90.8 73.7 74.9 42.9 8.0 34.6 52.4 55.9 66.8 58.4"),
    _model("COCO 100K", "CE-CLIP", "76.3 34.7 26.8 24.5 85.7 90.1 76.7 76.9 41.7 5.2 33.0 52.0 49.9 59.2 57.4"),
    _model("COCO 100K", "GNM-CLIP", "57.1 17.4 28.3 25.0 78.7 89.2 71.1 70.6 42.1 10.2 33.1 47.5 56.3 66.1 55.5"),
    _model("COCO 100K", "NegCLIP again", "85.0 34.7 29.8 26.2 84.5 90.6 74.7 75.4 41.2 8.2 34.2 53.1 55.1 66.1 57.9"),
    _model("COCO 100K", "FSC-CLIP", "85.1 42.2 29.8 26.3 85.1 90.9 75.3 76.7 40.6 9.5 34.2 54.2 55.7 66.3 58.3"),
    _model("COCO 100K", "FSC-CLIP LoRA", "85.2 42.9 29.7 26.5 82.1 90.4 75.0 77.2 41.7 6.0 33.2 53.6 55.6 65.3 57.2"),
    _model("CC3M 3M", "TSVLC RB", "83.5 36.1 27.4 24.0 76.9 89.8 69.3 77.5 40.9 6.8 31.6 51.2 54.9 54.9 52.1"),
    _model("CC3M 3M", "TSVLC RB+LLM", "82.7 33.1 27.6 24.6 73.2 89.7 72.2 79.2 39.9 5.8 31.4 50.9 55.4 55.1 52.3"),
    _model("CC3M 3M", "DAC-LLM", "86.4 60.6 25.6 22.8 85.3 88.9 70.5 83.5 42.6 4.8 30.8 54.7 51.1 36.9 52.4"),
    _model("CC3M 3M", "DAC-SAM", "83.3 63.7 25.3 24.3 83.8 88.5 70.2 84.7 42.4 8.5 29.9 55.0 51.9 41.1 49.0"),
    _model("CC3M 100K", "NegCLIP again", "86.5 50.5 25.8 24.6 83.4 88.6 72.4 79.0 43.2 7.0 32.8 54.0 52.6 51.8 54.1"),
    _model("CC3M 100K", "FSC-CLIP", "78.8 44.0 28.5 25.2 84.3 88.2 74.9 77.4 42.6 6.8 34.2 53.2 53.5 55.8 54.6"),
    _model("CC3M 100K", "FSC-CLIP LoRA", "84.4 50.6 27.7 24.5 82.3 88.8 74.5 80.3 42.1 5.0 32.2 53.9 53.6 56.1 54.0"),
    _model("LAION-COCO 600M", "CLoVe", "83.0 41.7 26.9 25.3 84.6 87.9 71.8 66.6 41.8 6.5 31.7 51.6 51.0 53.1 56.0"),
    _model("LAION-COCO 100K", "NegCLIP again", "86.4 48.7 27.2 25.3 80.9 89.6 70.9 76.0 43.0 7.8 32.3 53.5 54.1 52.3 54.1"),
    _model("LAION-COCO 100K", "FSC-CLIP", "82.8 46.8 29.1 24.7 82.6 90.1 73.6 75.7 42.4 6.8 33.4 53.5 55.3 58.2 55.5"),
    _model("LAION-COCO 100K", "FSC-CLIP LoRA", "85.5 54.4 29.1 24.9 80.6 89.7 72.6 78.4 42.8 5.8 32.5 54.2 55.9 57.3 54.3"),
)  # fmt: skip
"""Table 1, ViT-B/32; "NegCLIP again" is the authors' own training of it."""


@dataclass(frozen=True)
class Setting:
    """A row of Table 2 (LAION-COCO 100K): which of the four parts of the loss were on."""

    global_loss: bool
    local_loss: bool
    focal: bool
    smoothing: bool
    means: Means


COMPONENTS = {
    1: Setting(True, False, False, False, Means(54.0, 53.6, 47.4, 53.7)),
    2: Setting(False, True, False, False, Means(51.7, 55.7, 61.6, 54.5)),
    3: Setting(True, True, False, False, Means(54.4, 52.6, 46.9, 53.8)),
    4: Setting(True, True, True, False, Means(54.2, 54.2, 53.1, 54.8)),
    5: Setting(True, True, False, True, Means(53.9, 53.8, 51.7, 54.9)),
    6: Setting(True, True, True, True, Means(53.5, 55.3, 58.2, 55.5)),
    7: Setting(True, False, True, True, Means(52.8, 55.3, 57.1, 55.6)),
    8: Setting(False, True, True, True, Means(50.2, 55.9, 63.2, 55.1)),
}
"""Table 2; row 6 is FSC-CLIP."""

SENSITIVITY = {
    "local_weight": {
        0.0: Means(52.9, 55.8, 57.5, 55.5),
        0.1: Means(53.0, 55.7, 57.4, 55.4),
        0.2: Means(53.5, 55.3, 58.2, 55.5),
        0.5: Means(53.5, 55.7, 57.3, 55.4),
    },
    "gamma": {
        0.0: Means(53.9, 53.8, 51.7, 54.9),
        1.0: Means(53.4, 54.9, 54.7, 55.1),
        2.0: Means(53.5, 55.3, 58.2, 55.5),
        5.0: Means(52.3, 55.6, 60.2, 55.5),
    },
    "smoothing": {
        0.0: Means(54.2, 54.2, 53.1, 54.8),
        0.02: Means(53.5, 55.3, 58.2, 55.5),
        0.05: Means(53.1, 55.2, 59.0, 55.1),
        0.1: Means(52.3, 55.2, 58.7, 55.3),
    },
}
"""Table 3: one of λ_l, γ and β varies, the others stay at 0.2, 2 and 0.02; 0 leaves that part out."""

VIT_B16 = {
    "CLIP": Means(46.2, 60.3, 62.9, 49.0),
    "NegCLIP again": Means(54.1, 55.9, 53.8, 58.1),
    "FSC-CLIP": Means(54.1, 57.0, 59.7, 59.3),
    "FSC-CLIP LoRA": Means(54.6, 57.4, 59.9, 58.8),
}
"""Table 4."""

DATACOMP = {
    "CLIP": Means(44.3, 63.0, 63.8, 51.2),
    "NegCLIP again": Means(53.5, 59.2, 52.1, 52.3),
    "FSC-CLIP": Means(52.9, 61.1, 56.8, 53.8),
    "FSC-CLIP LoRA": Means(54.0, 60.7, 56.8, 53.1),
}
"""Table 5: ViT-B/32 trained on DataComp-XL."""

NORMALISERS = {
    "local loss alone": {
        "minmax": Means(51.7, 55.7, 61.6, 54.5),
        "sparse": Means(51.6, 55.5, 61.1, 54.8),
        "softmax": Means(52.0, 55.4, 60.9, 54.6),
    },
    "whole loss": {
        "minmax": Means(53.5, 55.3, 58.2, 55.5),
        "sparse": Means(53.4, 55.1, 57.8, 55.4),
        "softmax": Means(53.3, 55.5, 57.1, 55.7),
    },
}
"""Table 7: how a word's similarities to patches become weights, in the settings of rows 2 and 6 of Table 2."""

SEEDS = {
    "FSC-CLIP": (Means(53.4, 55.6, 57.8, 55.3), Means(0.09, 0.32, 0.52, 0.20)),
    "FSC-CLIP LoRA": (Means(54.0, 56.1, 57.3, 54.4), Means(0.17, 0.18, 0.13, 0.08)),
}
"""Table 8: mean and standard deviation of three seeds. The trap: no other table of the paper has more than one seed."""


@dataclass(frozen=True)
class Recall:
    """R@1 in percent, (picture → text, text → picture) on each set of Table 10."""

    coco: tuple[float, float]
    flickr: tuple[float, float]
    counterfactuals: tuple[float, float]


RETRIEVAL = {
    "CLIP": Recall((50.1, 30.4), (78.8, 58.7), (51.0, 48.1)),
    "NegCLIP": Recall((59.3, 45.2), (85.7, 71.6), (55.3, 58.3)),
    "DAC-LLM": Recall((29.9, 37.3), (52.9, 64.6), (28.1, 55.2)),
    "CLoVe": Recall((48.3, 42.7), (69.5, 68.7), (41.5, 56.5)),
    "FSC-CLIP": Recall((49.7, 40.4), (75.6, 68.2), (49.2, 57.9)),
    "FSC-CLIP LoRA": Recall((48.2, 39.0), (75.1, 66.9), (48.5, 57.1)),
}
"""Table 10; Flickr30k, and COCO-Counterfactuals."""

FIGURE_3 = {0.3: 0.49, 0.6: 0.08}
"""The factor that Figure 3 writes at two examples of p. (1 − p)² is 0.49 and 0.16; 0.08 is the focal loss itself at 0.6."""


@dataclass(frozen=True)
class Annotations:
    """What Figure 4 writes beside its curves, points; alpha runs from 0, the model before, to 1 in eleven steps."""

    zero_shot_gaps: tuple[float, float] = (4.9, 2.1)
    composition_gains: tuple[float, float] = (0.5, 2.9)
    lora_midway: tuple[float, float] = (58.0, 50.0)
    """FSC-CLIP LoRA passes about here, zero-shot and composition: above the zero-shot mean of the model before, 57.1."""


FIGURE_4 = Annotations()


@dataclass(frozen=True)
class Inconsistency:
    """A number of the paper, what another place has for it, and what to make of it."""

    where: str
    says: str
    elsewhere: str
    taken: str


INCONSISTENCIES = (
    Inconsistency(
        "section 4.1", "zero-shot 55.9 without LoRA", "Table 1: 55.3; 55.9 is the row with LoRA", "the table's number"
    ),
    Inconsistency(
        "Table 2, row 7",
        "52.8, 55.3, 57.1, 55.6",
        "Table 3, λ_l = 0, the same setting: 52.9, 55.8, 57.5, 55.5",
        "half a point is noise of one training",
    ),
    Inconsistency(
        "Figure 3", "a factor of 0.08 at p = 0.6", "equation 9: (1 − 0.6)² = 0.16; 0.08 is the loss", "the equation"
    ),
    Inconsistency(
        "Table 4, FSC-CLIP", "54.1, 57.0, 59.7, 59.3", "the released weights: 54.3, 57.0, 60.1, 59.4", "the table's numbers"
    ),
)  # fmt: skip


# Tables for a notebook ------------------------------------------------------------------------------------------------


def table(number: int) -> Table:
    """Table 1, 2, 3, 4, 5, 7, 8 or 10 as the paper prints it. Raises ValueError for another number."""
    made = {1: _models, 2: _components, 3: _sensitivity, 4: _b16, 5: _datacomp, 7: _normalisers, 8: _seeds, 10: _recall}
    if number not in made:
        raise ValueError(f"Table {number} is not stored; there are {', '.join(map(str, made))} of {PAPER}")
    return made[number]()


def inconsistencies() -> Table:
    """Where the paper contradicts itself or its code, and what is taken here."""
    rows = tuple(astuple(each) for each in INCONSISTENCIES)
    return Table(f"{PAPER}: what does not fit", ("where", "says", "elsewhere", "taken here"), rows)


def _captioned(number: int, what: str) -> str:
    return f"Table {number} of {PAPER}: {what}, percent"


def _cells(means: Means) -> tuple[str, ...]:
    return tuple(f"{value:.1f}" for value in astuple(means))


def _of_rows(number: int, what: str, header: str, rows: Mapping[str, Means]) -> Table:
    return Table(
        _captioned(number, what), (header, *MEANS), tuple((name, *_cells(each)) for name, each in rows.items())
    )


def _models() -> Table:
    rows = (
        (each.name, each.data, *(f"{value:.1f}" for value in each.benchmarks), *_cells(each.means)) for each in MODELS
    )
    return Table(_captioned(1, "CLIP ViT-B/32"), ("model", "fine-tuned on", *BENCHMARKS, *MEANS), tuple(rows))


def _components() -> Table:
    rows = (
        (str(k), *_ticks((s.global_loss, s.local_loss, s.focal, s.smoothing)), *_cells(s.means))
        for k, s in COMPONENTS.items()
    )
    header = ("row", "global", "local", "focal", "smoothing", *MEANS)
    return Table(_captioned(2, "parts of the loss, LAION-COCO 100K"), header, tuple(rows))


def _ticks(parts: Iterable[bool]) -> tuple[str, ...]:
    return tuple("✓" if on else "" for on in parts)


def _sensitivity() -> Table:
    letters = {"local_weight": "λ_l", "gamma": "γ", "smoothing": "β"}
    rows = {
        f"{letters[what]} = {value:g}": each for what, found in SENSITIVITY.items() for value, each in found.items()
    }
    return _of_rows(3, "one setting varied, LAION-COCO 100K", "setting", rows)


def _b16() -> Table:
    return _of_rows(4, "CLIP ViT-B/16", "model", VIT_B16)


def _datacomp() -> Table:
    return _of_rows(5, "ViT-B/32 of DataComp-XL", "model", DATACOMP)


def _normalisers() -> Table:
    rows = {f"{loss}, {name}": each for loss, found in NORMALISERS.items() for name, each in found.items()}
    return _of_rows(7, "weights over patches", "setting", rows)


def _seeds() -> Table:
    rows = (
        (name, *(f"{a:.1f} ± {b:.2f}" for a, b in zip(astuple(mean), astuple(sd), strict=True)))
        for name, (mean, sd) in SEEDS.items()
    )
    return Table(_captioned(8, "mean ± standard deviation of three seeds"), ("model", *MEANS), tuple(rows))


def _recall() -> Table:
    sets = ("COCO", "Flickr30k", "COCO-Counterfactuals")
    header = ("model", *(f"{name}, {way}" for name in sets for way in MEANS[2:]))
    rows = ((name, *(f"{value:.1f}" for pair in astuple(each) for value in pair)) for name, each in RETRIEVAL.items())
    return Table(_captioned(10, "R@1"), header, tuple(rows))
