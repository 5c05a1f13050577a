"""Open-vocabulary maps on composed photos whose objects are known pixel by pixel: one pass against sliding windows.

    apt-get install tuxpaint-stamps-default
    python -m recipes.measure_class_maps        # about 6 minutes on one core

SAIL classifies patches by the nearest class text and slides a window of 224 px by 112 (arXiv 2412.04616). Its benchmarks are
not here, so: four cut-outs, each in a quarter of 448 px and 116 to 188 px large, out of 20 (photos but for the hat) that were
taken for being unlike each other, before anything was measured. A pixel of an object is right if its cell's class, of all 20,
is that object; other pixels do not count, as in the benchmark without a background class (VOC20). Accuracy is the mean over
pictures; intervals are 95 % bootstrap over pictures, paired where two readings are compared. Seeds differ in objects, places
and backgrounds. One pass at twice the model's size enlarges the photo as much as the windows do, so what windows add to that is
theirs. The trap: some of them hold one whole object and nothing else, which photos seldom offer. The cut-outs are GPL-2 and
stay where Debian put them; only numbers are stored.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch

from recipes.files import sha256, write_json
from workbench import paths
from workbench.claims import Claim, to_json
from workbench.data.scenes import Scene, Thing, draw
from workbench.data.scenes.cutouts import cut_outs, photo_cutter
from workbench.data.scenes.drawing import BACKGROUNDS
from workbench.data.scenes.sampling import Draws, arrange
from workbench.evaluation import Interval, bootstrap
from workbench.matching import class_map
from workbench.models.registry import load_model
from workbench.progress import bar

RESULT = "class_maps.json"
MODELS = ("lite0-minilm", "lite2-minilm", "lite2-ensemble")
READINGS = ("one pass", "one pass at 448", "one pass at twice", "windows")
BOXES = "true boxes"  # each object's crop read as a picture of its own: what maps could have, were the boxes known
NAMES = (
    *("frog", "owl", "penguin", "clownfish", "bee", "gorilla", "elephant", "zebra", "banana", "strawberry"),
    *(
        "mushroom",
        "pineapple",
        "camera",
        "violin",
        "teapot",
        "hammer",
        "airplane",
        "fire truck",
        "soccer ball",
        "top hat",
    ),
)
PROMPT = "a photo of a {}"
SEEDS, PICTURES, SIDE, OBJECTS = (0, 1, 2), 40, 448, 4
SAIL = "arXiv 2412.04616"


# Pictures ---------------------------------------------------------------------------------------------------------------


def composed(seed: int, number: int) -> Scene:
    """Four different objects, each in a quarter of the picture, on a background of drawn scenes."""
    draws = Draws("class maps", seed, number)
    made = arrange(draws, [Thing(name) for name in draws.some(NAMES, OBJECTS)])
    return Scene(made.things, made.boxes, made.owners, background=int(draws.random() * BACKGROUNDS))


def truth(scene: Scene, cutter) -> np.ndarray:
    """The class (in NAMES) of every pixel that an object covers by more than half, else -1: (SIDE, SIDE)."""
    classes = np.full((SIDE, SIDE), -1)
    for (left, top, right, bottom), owner in zip(scene.pixel_boxes(SIDE), scene.owners, strict=True):
        thing = scene.things[owner]
        covered = cutter(thing, right - left, scene.domain)[0][..., 0] > 128
        classes[top:bottom, left:right][covered] = NAMES.index(thing.shape)
    return classes


# Readings ---------------------------------------------------------------------------------------------------------------


def confusion(true: np.ndarray, told: np.ndarray) -> np.ndarray:
    """Pixels of objects by true class and told class: (C, C)."""
    inside, n = true >= 0, len(NAMES)
    return np.bincount(true[inside] * n + told[inside], minlength=n * n).reshape(n, n)


def boxes_map(model, picture: np.ndarray, scene: Scene, vectors: torch.Tensor) -> np.ndarray:
    """Every object's box painted with the class of its crop."""
    boxes, told = scene.pixel_boxes(SIDE), np.zeros((SIDE, SIDE), int)
    crops = model.encode_image([picture[top:bottom, left:right] for left, top, right, bottom in boxes]).post
    classes = (torch.nn.functional.normalize(crops, dim=-1) @ vectors.T).argmax(1).tolist()
    for (left, top, right, bottom), c in zip(boxes, classes, strict=True):
        told[top:bottom, left:right] = c
    return told


def options(model) -> dict[str, dict]:
    """Of every reading. At twice the model's own size a cell is as many pixels of the photo as in a window of half its side."""
    twice = 2 * model.card.image_size
    sizes = ({}, {"image_size": 448}, {"image_size": twice}, {"window": SIDE // 2, "stride": SIDE // 4})
    return dict(zip(READINGS, sizes, strict=True))


def readings_of(model, picture: np.ndarray, scene: Scene, vectors: torch.Tensor) -> dict[str, np.ndarray]:
    """The class of every pixel (SIDE, SIDE) by each reading."""
    maps = {
        name: class_map(model, picture, NAMES, vectors=vectors, **each).pixels().numpy()
        for name, each in options(model).items()
    }
    return {**maps, BOXES: boxes_map(model, picture, scene, vectors)}


def measured(name: str) -> dict[str, np.ndarray]:
    """Confusions (seeds, pictures, C, C) of every reading of a model."""
    model, cutter = load_model(name, device="cpu"), photo_cutter(cut_outs())
    texts = model.encode_text([PROMPT.format(each) for each in NAMES]).post
    vectors = torch.nn.functional.normalize(texts, dim=-1)
    found = {reading: [] for reading in (*READINGS, BOXES)}
    for seed in SEEDS:
        for number in bar(range(PICTURES), f"{name}, seed {seed}"):
            scene = composed(seed, number)
            true = truth(scene, cutter)
            for reading, told in readings_of(model, draw(scene, SIDE, cutter=cutter), scene, vectors).items():
                found[reading].append(confusion(true, told))
    shape = (len(SEEDS), PICTURES, len(NAMES), len(NAMES))
    return {reading: np.stack(each).reshape(shape) for reading, each in found.items()}


# Numbers ----------------------------------------------------------------------------------------------------------------


def accuracies(confusions: np.ndarray) -> np.ndarray:
    """Share of each picture's object pixels that are right: (seeds, pictures)."""
    return np.trace(confusions, axis1=-2, axis2=-1) / confusions.sum((-2, -1))


def mean_iou(confusions: np.ndarray, resamples: int = 2000) -> Interval:
    """Mean over classes of intersection over union, all pictures (n, C, C) together, with its bootstrap over pictures."""
    rng = np.random.default_rng(0)
    counts = rng.multinomial(len(confusions), [1 / len(confusions)] * len(confusions), resamples)
    drawn = np.tensordot(counts, confusions, 1)
    low, high = np.percentile([_iou(each) for each in drawn], [2.5, 97.5])
    return Interval(float(_iou(confusions.sum(0))), float(low), float(high), len(confusions))


def _iou(confusion: np.ndarray) -> float:
    both, either = np.diag(confusion), confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    return (both[either > 0] / either[either > 0]).mean()


def everywhere(confusions: np.ndarray) -> tuple[str, np.ndarray]:
    """The class that painted over every picture is right most often, and its accuracies (seeds, pictures)."""
    shares = confusions.sum(-1) / confusions.sum((-2, -1))[..., None]  # of each picture's object pixels by true class
    best = int(shares.mean((0, 1)).argmax())
    return NAMES[best], shares[..., best]


def row(model: str, reading: str, scores: np.ndarray, confusions: np.ndarray | None = None) -> dict:
    found = bootstrap(scores.ravel())
    iou = {}
    if confusions is not None:
        union = mean_iou(confusions.reshape(-1, *confusions.shape[2:]))
        iou = {"iou": union.mean, "iou_low": union.low, "iou_high": union.high}
    numbers = {"accuracy": found.mean, "low": found.low, "high": found.high, "per_seed": scores.mean(1).tolist()}
    return {"model": model, "reading": reading, "n": found.n, **numbers, **iou}


# Claims -----------------------------------------------------------------------------------------------------------------


def direction(key: str, statement: str, difference: np.ndarray) -> Claim:
    """That a difference of accuracies (seeds, pictures) is above zero: our own question, no paper's."""
    found = bootstrap(difference.ravel())
    seeds, scale = tuple(difference.mean(1).tolist()), f"{found.n} composed photos, {len(NAMES)} classes"
    ends = (found.low, found.high)
    return Claim(key, "this workbench", statement, "direction", 1.0, found.mean, found.n, seeds, ends, scale)


def claims(found: dict[str, dict[str, np.ndarray]]) -> list[Claim]:
    made = []
    for model, each in found.items():
        scores = {reading: accuracies(confusions) for reading, confusions in each.items()}
        baseline = everywhere(each["windows"])[1]
        rest = (("one pass at 448", "one pass"), ("windows", "one pass"), ("windows", "one pass at twice"))
        told = f"{model}, pixels of objects:"
        made.append(
            direction(f"M1-{model}", f"{told} one pass minus one class everywhere", scores["one pass"] - baseline)
        )
        made += [
            direction(f"M{k}-{model}", f"{told} {one} minus {other}", scores[one] - scores[other])
            for k, (one, other) in enumerate(rest, 2)
        ]
    return [*made, *needs_data()]


def needs_data() -> list[Claim]:
    """The paper's numbers: its weights and the data sets are not here."""
    missing = lambda key, statement, kind, expected, scale: Claim(  # noqa: E731
        key, SAIL, statement, kind, expected, None, 0, (), None, scale, 0.005
    )
    return [
        missing("M5", "mIoU of SAIL-L (GTE), windows of 224 px, every 112", "equivalence", 0.135, "ADE20K"),
        missing("M6", "mIoU of SAIL-L (GTE), windows of 224 px, every 112", "equivalence", 0.652, "VOC20"),
        missing("M7", "mIoU of SAIL-L (GTE) minus MaskCLIP's 0.301, as quoted there", "direction", 0.351, "VOC20"),
    ]


def digests() -> dict[str, str]:
    models = paths.assets() / "models"
    weights = {name: sha256(models / name / "head.safetensors") for name in MODELS}
    return {**weights, Path(__file__).name: sha256(Path(__file__))}


def main() -> None:
    torch.set_num_threads(1)
    began = time.perf_counter()
    found = {name: measured(name) for name in MODELS}
    rows = [row(name, reading, accuracies(c), c) for name, each in found.items() for reading, c in each.items()]
    name, scores = everywhere(found[MODELS[0]]["windows"])
    write_json(
        paths.assets() / "results" / RESULT,
        {
            "title": "Open-vocabulary maps: one pass against sliding windows",
            "made_by": f"recipes/{Path(__file__).name}",
            "digests": digests(),
            "seeds": list(SEEDS),
            "pictures": PICTURES,
            "chance": 1 / len(NAMES),
            "everywhere": {"class": name, **row("none", "one class everywhere", scores)},
            "rows": rows,
            "claims": [to_json(claim) for claim in claims(found)],
        },
    )
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
