"""Climb SAIL's ablation ladder on drawings, and put its two other figures beside it: swap quads, and cosines within a quad.

    apt-get install openclipart-png openclipart-svg tuxpaint-stamps-default
    python -m recipes.align_features            # once
    python -m recipes.measure_sail              # 45 minutes on one core; resumes by row
    python -m recipes.measure_sail choice       # the rows whose names begin so

Table 1 of arXiv 2412.04616 adds one thing at a time to a linear head under InfoNCE. Here EfficientNet-Lite2 and MiniLM stand in
for DINOv2-L and GTE-large, and 1,284 drawings for 2.2 M photos: one drawing per title, so that no caption is right for
another's picture. The short caption is the title, the long one title and keywords. 200 titles are set apart to validate on, the
same for all. Seed s holds out the s-th third of the others, starts its own weights and draws its own batches; so every one of
them is asked for once, by its title, among those of its third. Optimiser and rate are chosen once, by rung 2 on the titles set
apart (row "choice"), and are those of all rungs; a run ends three validations after its best and keeps that. Beside them 403
captioned stamps, which no rung and no choice has seen.

What follows from the ranks (intervals, differences, claims) is `recipes/sail_claims.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recipes import self_supervised
from recipes.align_features import clipart_captions, kept, picture_features, square, text_features, towers, usable
from recipes.files import sha256, write_json
from recipes.sail_claims import claims, summary
from recipes.scenes_clip import bits, model_folder
from workbench import paths
from workbench.aligning import AlignConfig, Aligned, Pairs, align
from workbench.data.scenes import CATEGORIES, draw, quads
from workbench.data.stamps import photo_stamps
from workbench.evaluation import class_vectors, levelled, retrieval_ranks
from workbench.models.efficientnet import LITE
from workbench.models.paired import AlignmentHead
from workbench.models.registry import load_model
from workbench.sail import RESULT, RUNGS

SCRIPTS = ("measure_sail.py",)
TOWER = "efficientnet_lite2"
SEEDS, VALIDATION = (0, 1, 2), 200
# A power of two, so that dividing a loss by it is exact; the rest is what a core can afford.
COMMON = {"d": 512, "batch_size": 256, "steps": 80, "every": 10, "patience": 3}
LAYERS = (
    {"head": "linear", "loss": "infonce"},
    {"head": "mlp", "width": 4, "loss": "infonce"},
    {"head": "gated", "width": 4, "loss": "infonce"},
    {"head": "gated", "width": 8, "loss": "infonce"},
    {"head": "gated", "width": 8, "loss": "sigmoid", "reduction": "batch"},
    {"head": "gated", "width": 8, "loss": "sigmoid", "reduction": "pairs"},
    {"head": "gated", "width": 8, "loss": "sigmoid", "reduction": "pairs"},
    {"head": "gated", "width": 8, "loss": "sigmoid", "reduction": "pairs", "captions": 2},
)
CAPTIONS = (*(("title",),) * 6, ("keywords",), ("title", "keywords"))
CHOSEN_BY = 2  # neither the first rung nor the last
SETTINGS = tuple(
    {"optimiser": name, "learning_rate": rate}
    for name, rates in (("lion", (3e-5, 1e-4, 3e-4)), ("adamw", (1e-4, 3e-4, 1e-3)))
    for rate in rates
)
STEEPER = ({"optimiser": "lion", "learning_rate": 1e-3}, {"optimiser": "adamw", "learning_rate": 3e-3})
NO_OP_STEPS = 16
QUADS, QUAD_SEED = 100, 4000
AT_ONCE = 25  # quads
SHIPPED = ("lite0-minilm", "lite2-minilm", "lite2-ensemble", "lite2-conse")


# Pairs ------------------------------------------------------------------------------------------------------------------


@cache
def drawings() -> tuple[Tensor, dict[str, Tensor], list[str]]:
    """Pictures (n, 1280), their captions by kind (n, 384), and titles: the first drawing of every title."""
    first: dict[str, int] = {}
    for row, each in enumerate(usable()):
        first.setdefault(each.title, row)
    rows = torch.tensor(list(first.values()))
    told = {kind: each[rows] for kind, each in clipart_captions().items()}
    return picture_features(TOWER)[rows, 0], told, list(first)


def parts(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows to train on, to validate on and to ask for: seed s asks for the s-th third of what is not set apart."""
    order = np.random.default_rng(0).permutation(n)
    thirds = np.array_split(order[VALIDATION:], len(SEEDS))
    rest = np.concatenate(thirds[:seed] + thirds[seed + 1 :])
    return np.sort(rest), np.sort(order[:VALIDATION]), np.sort(thirds[seed])


def pairs(rows: np.ndarray, kinds: tuple[str, ...]) -> Pairs:
    images, told, titles = drawings()
    return Pairs(images[rows], tuple(told[kind][rows] for kind in kinds), tuple(titles[row] for row in rows))


@cache
def stamps() -> tuple[Tensor, Tensor]:
    """Pictures and captions of the stamps, padded with white to a square: (n, 1280), (n, 384)."""
    found, model = photo_stamps(), towers(TOWER)
    key = "\n".join(f"{each.path} {each.path.stat().st_size}" for each in found)
    blocks = [found[at : at + 64] for at in range(0, len(found), 64)]
    read = [partial(_encoded, model, [each.path for each in block]) for block in blocks]
    return kept(f"stamps-{TOWER}", read, f"{TOWER}\n{key}"), text_features("stamps", [each.caption for each in found])


def _encoded(model, files: list[Path]) -> Tensor:
    return model.encode_image([square(file) for file in files]).pre


@cache
def folders() -> tuple[Tensor, np.ndarray]:
    """Prompts of the stamps' folders (C, 80, 384), and the number of each stamp's folder (n,)."""
    from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES

    found = [each.folder for each in photo_stamps()]
    names = sorted(set(found))
    told = [{"naturalforces": "natural forces"}.get(name, name) for name in names]
    prompts = [template(name) for name in told for template in OPENAI_IMAGENET_TEMPLATES]
    rows = text_features("folders", prompts).unflatten(0, (len(names), -1))
    return rows, np.array([names.index(each) for each in found])


# The ladder -------------------------------------------------------------------------------------------------------------


def trained(rung: int, seed: int, setting: dict, **other) -> Aligned:
    """The heads of a rung. Validation asks by title, whatever the rung was trained on: so does the test."""
    train, validation, _ = parts(len(drawings()[2]), seed)
    config = AlignConfig(**{**COMMON, **LAYERS[rung], **setting, "seed": seed, **other})
    patient = {} if config.patience is None else {"validation": pairs(validation, ("title",))}
    return align(pairs(train, CAPTIONS[rung]), config, **patient)


def climbed(rung: int, seed: int, setting: dict) -> dict:
    """Ranks of one rung and seed, everywhere it is asked: lists, one number for each item."""
    began = time.monotonic()
    found = trained(rung, seed, setting)
    head, test = found.head.eval(), parts(len(drawings()[2]), seed)[2]
    images, told, _ = drawings()
    shown, said = stamps()
    prompts, labels = folders()
    with torch.no_grad():
        names = class_vectors(head.text(prompts.flatten(0, 1)).unflatten(0, prompts.shape[:2]))
        named = retrieval_ranks(head.image(shown), names, labels)
        pictures, captions = quad_features(TOWER)
        scores, cosines = scored(head.image(pictures), head.text(captions)), pair_cosines(head.image(pictures))
    return {
        "rung": RUNGS[rung].name,
        "seed": seed,
        "config": found.config.to_json(),
        "parameters": sum(each.numel() for each in head.parameters()),
        "steps": len(found.losses),
        "best_step": found.best_step,
        "validation": dict(found.recalls)[found.best_step],
        "weights": weights(head),
        "drawings": both_ways(head, images[test], told["title"][test]),
        "stamps": both_ways(head, shown, said),
        "naming": named.tolist(),
        "quads": scores.tolist(),
        "cosines": cosines,
        "seconds": round(time.monotonic() - began, 1),
    }


def both_ways(head: AlignmentHead, images: Tensor, texts: Tensor) -> dict[str, list[int]]:
    own = np.arange(len(images))
    with torch.no_grad():
        image, text = head.image(images), head.text(texts)
    return {
        "image to text": retrieval_ranks(image, text, own).tolist(),
        "text to image": retrieval_ranks(text, image, own).tolist(),
    }


def weights(head: AlignmentHead) -> str:
    """A digest of every number of a head: the same digest, the same weights."""
    whole = b"".join(each.detach().numpy().tobytes() for each in head.state_dict().values())
    return hashlib.sha256(whole).hexdigest()[:16]


def choice() -> dict:
    """Mean R@10 among the titles set apart, seed 0. The linear rung is asked too, for a comparison beside the ladder."""
    found = {}
    for rung, settings in ((CHOSEN_BY, SETTINGS), (0, SETTINGS + STEEPER)):
        found[RUNGS[rung].name] = []
        for setting in settings:
            one = trained(rung, 0, setting)
            recall = dict(one.recalls)[one.best_step]
            found[RUNGS[rung].name].append({**setting, "recall": recall, "best_step": one.best_step})
            print(RUNGS[rung].name, setting, recall, one.best_step, flush=True)
    return {"chosen_by": RUNGS[CHOSEN_BY].name, "n": VALIDATION, "common": COMMON, "settings": found}


def best(row: dict, rung: int) -> dict:
    found = max(row["settings"][RUNGS[rung].name], key=lambda each: each["recall"])
    return {name: found[name] for name in ("optimiser", "learning_rate")}


def no_op(setting: dict) -> dict:
    """The same steps under a loss over |B| and over |B|², by both optimisers; for Lion also in batches of no power of two."""
    found = {}
    for optimiser, batch in (("lion", 256), ("adamw", 256), ("lion", 250)):
        rate = {"optimiser": optimiser, "learning_rate": setting["learning_rate"]}
        other = {"steps": NO_OP_STEPS, "patience": None, "batch_size": batch}
        one, two = (trained(rung, 0, rate, **other).head for rung in (4, 5))
        found[f"{optimiser}, batch {batch}"] = {**rate, "batch": batch, "steps": NO_OP_STEPS, **apart(one, two)}
    return found


def apart(one: AlignmentHead, two: AlignmentHead) -> dict:
    """The largest difference of any weight, that of all against how far they are from zero, and the share that differ."""
    a, b = (torch.cat([each.detach().flatten().double() for each in head.parameters()]) for head in (one, two))
    return {
        "largest": float((a - b).abs().max()),
        "relative": float((a - b).norm() / a.norm()),
        "differing": float((a != b).double().mean()),
    }


# Swap quads -------------------------------------------------------------------------------------------------------------


@cache
def all_quads() -> list:
    return [quad for category in CATEGORIES for quad in quads(category, QUADS, QUAD_SEED)]


def quad_features(tower: str, kind: str = "pre") -> tuple[Tensor, Tensor]:
    """Pictures and captions of all quads, two by two: (1000, d_i) and (1000, d_t); `tower` an EfficientNet, or a model's name."""
    drawn = all_quads()
    model = cache(lambda: towers(tower) if tower.startswith("efficientnet") else load_model(tower, device="cpu"))
    key = f"{tower} {kind} {bits()} {QUADS} {QUAD_SEED} {_weights(tower)}"

    def shown(block) -> Tensor:
        side = model().card.image_size
        pictures = [draw(scene, side) for quad in block for scene in quad.scenes]
        return getattr(model().encode_image(pictures, batch_size=50), kind)

    def said(block) -> Tensor:
        return getattr(model().encode_text([each for quad in block for each in quad.captions]), kind)

    blocks = [drawn[at : at + AT_ONCE] for at in range(0, len(drawn), AT_ONCE)]
    sides = (("pictures", shown), ("captions", said))
    return tuple(kept(f"quads-{what}-{tower}-{kind}", [partial(f, each) for each in blocks], key) for what, f in sides)


def _weights(name: str) -> str:
    if name == "scenes-clip":
        return sha256(model_folder() / "open_clip_model.safetensors")
    head = paths.assets() / "models" / name / "head.safetensors"
    return sha256(head) if head.is_file() else ""


def scored(image: Tensor, text: Tensor) -> np.ndarray:
    """Right (n, 3) as Winoground asks: each picture its caption (text), each caption its picture (image), both (group)."""
    image, text = (F.normalize(each, dim=-1).unflatten(0, (-1, 2)) for each in (image, text))
    s = levelled(image @ text.mT)
    by_text = (s[:, 0, 0] > s[:, 0, 1]) & (s[:, 1, 1] > s[:, 1, 0])
    by_image = (s[:, 0, 0] > s[:, 1, 0]) & (s[:, 1, 1] > s[:, 0, 1])
    return np.stack([by_text, by_image, by_text & by_image], 1).astype(int)


def pair_cosines(image: Tensor) -> dict[str, list[float]]:
    """Of a quad's two pictures, and of its first with the second of the next quad of its category: (n,) each."""
    both = F.normalize(image, dim=-1).unflatten(0, (len(CATEGORIES), -1, 2))
    other = both[:, :, 1].roll(-1, 1)
    found = {"own": (both[:, :, 0] * both[:, :, 1]).sum(-1), "other": (both[:, :, 0] * other).sum(-1)}
    return {name: [round(each, 6) for each in values.flatten().tolist()] for name, values in found.items()}


def swapped(name: str) -> dict:
    """Scores of a shipped model: its tower's features, which its relatives share, through its own head."""
    if name == "scenes-clip":
        image, text = quad_features(name, "post")
        return {"quads": scored(image, text).tolist(), "cosines": pair_cosines(image)}
    model = load_model(name, device="cpu")
    pictures, captions = quad_features(name.partition("-")[0].replace("lite", "efficientnet_lite"))
    with torch.no_grad():
        image, text = model.head.image(pictures), model.head.text(captions)
    return {"quads": scored(image, text).tolist(), "cosines": pair_cosines(image)}


def self_taught(objective: str) -> dict:
    config = next(each for each in self_supervised.RUNS if (each.objective, each.seed) == (objective, 0))
    trunk = self_supervised.trained(config, config.kept[-1])
    drawn = np.stack([draw(scene, self_supervised.SIDE) for quad in all_quads() for scene in quad.scenes])
    with torch.no_grad():
        x = self_supervised.pixels(torch.from_numpy(drawn).permute(0, 3, 1, 2))
        return {"cosines": pair_cosines(torch.cat([trunk.forward_features(each)[:, 0] for each in x.split(100)]))}


# Rows -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One row, and what it depends on beside this script."""

    name: str
    needs: dict
    make: Callable[[], dict]

    @property
    def file(self) -> Path:
        return run_folder() / f"{re.sub(r'[^a-z0-9]+', '-', self.name)}.json"


def run_folder() -> Path:
    return Path(os.environ.get("WORKBENCH_RUNS", "runs")) / "sail"


def jobs(chosen: dict | None) -> Iterator[Job]:
    """`chosen` is the row "choice", which all others of the ladder need; without it, what can be measured before."""
    yield Job("choice", {}, choice)
    for name in (*SHIPPED, "scenes-clip"):
        yield Job(f"quads: {name}", {"weights": _weights(name)}, partial(swapped, name))
    lite, clip = (lambda: quad_features(TOWER)[0]), (lambda: quad_features("scenes-clip", "pre")[0])
    for name, digest, make in ((TOWER, LITE[TOWER].sha256[:16], lite), ("scenes-clip", _weights("scenes-clip"), clip)):
        yield Job(f"cosines: {name}, pre", {"weights": digest}, partial(_only_cosines, make))
    for objective in ("contrastive", "distilled"):
        config = next(each for each in self_supervised.RUNS if (each.objective, each.seed) == (objective, 0))
        file = self_supervised.step_file(config, config.kept[-1])
        if file.is_file():
            yield Job(f"cosines: {config.run}, pre", {"weights": sha256(file)}, partial(self_taught, objective))
    if chosen is None:
        return
    setting = best(chosen, CHOSEN_BY)
    for seed in SEEDS:
        for rung in range(len(LAYERS)):
            yield Job(f"ladder: rung {rung}, seed {seed}", setting, partial(climbed, rung, seed, setting))
        own = best(chosen, 0)
        yield Job(f"ladder: rung 0 at its own rate, seed {seed}", own, partial(climbed, 0, seed, own))
    yield Job("no-op", setting, partial(no_op, setting))


def _only_cosines(make: Callable[[], Tensor]) -> dict:
    return {"cosines": pair_cosines(make())}


def digests() -> dict[str, str]:
    return {**{name: sha256(Path(__file__).parent / name) for name in SCRIPTS}, "scenes": bits()}


def measured(job: Job, wanted: bool) -> dict | None:
    """The row as it is kept, or made where it is wanted and not there; None where it is neither."""
    key = {**digests(), **job.needs}
    stored = json.loads(job.file.read_text(encoding="utf-8")) if job.file.is_file() else {}
    if stored.get("digests") != key and wanted:
        began = time.monotonic()
        stored = {"digests": key, "row": job.make()}
        write_json(job.file, stored)
        print(f"{job.name}: {time.monotonic() - began:.0f} s", flush=True)
    return stored["row"] if stored.get("digests") == key else None


def main(names: list[str]) -> None:
    """Row by row, all or those whose names begin so; what is done already with this script stays."""
    torch.set_num_threads(1)
    wanted = lambda job: not names or job.name.startswith(tuple(names))  # noqa: E731
    first = next(jobs(None))
    chosen = measured(first, wanted(first))
    found = {job.name: measured(job, wanted(job)) for job in jobs(chosen)}
    if missing := [name for name, row in found.items() if row is None]:
        print(f"not assembled yet, to be measured: {', '.join(missing)}")
        return
    rows = summary(found, best(found["choice"], CHOSEN_BY))
    result = {
        "title": "SAIL's ladder, swap quads and cosines within a quad",
        "made_by": "recipes/measure_sail.py",
        "digests": {**digests(), "sail_claims.py": sha256(Path(__file__).parent / "sail_claims.py")},
        "weights": {job.name: job.needs["weights"] for job in jobs(None) if "weights" in job.needs},
        "rows": rows,
        "claims": claims(rows),
    }
    write_json(paths.assets() / "results" / RESULT, result)


if __name__ == "__main__":
    main(sys.argv[1:])
