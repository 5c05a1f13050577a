"""Read swap quads by every rule that needs no training, along the training of scenes-clip, and take apart what crops buy.

    python -m recipes.measure_rules             # about 45 minutes on one core; resumes by row, and within one by category
    python -m recipes.measure_rules free-seed1  # the rows whose names begin so

Runs of three seeds of `recipes/scenes_clip.py`, after 600, 1,000 and 2,000 steps, and seed 0 after 4,000 and 8,000 as well: 300
quads per category of trained combinations; in full, 1,000, after 1,000 steps: the middle of those that all seeds have, and where
`recipes/pair_heads.py` trains its heads. The curve of four of the rules was known when that was chosen.
There also 300 of held-out combinations and of domain B (training draws that domain too: another look, not an unseen one), and on
100 quads one crop, 86, 270 and 86 at random places, encodings counted and timed. Quads are those of `recipes/measure_scenes.py`,
on which none was trained. Every part of a quad is encoded once and kept; rules, controls and wrong segments are read off that.

What follows from the answers (means over seeds, intervals, differences, claims) is `recipes/rules_claims.py`.
"""

from __future__ import annotations

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

from recipes.files import sha256, write_json
from recipes.measure_scenes import SEED, checkpoint, single_objects
from recipes.rules_claims import claims, summary
from recipes.scenes_clip import RUNS, Config, bits, step_file
from workbench import paths
from workbench.data.scenes import CATEGORIES, Quad, draw, quads
from workbench.evaluation import linear_probe
from workbench.fine_grained import CONTROLS, RESULT, SCORERS, QuadParts, corrupted, quad_parts, rule_scores
from workbench.fine_grained.diagnostic import random_places, tied, with_crops
from workbench.matching import crop_boxes, crop_features, roi_features

SCRIPTS = ("measure_rules.py",)
SETS = {
    "trained combinations": quads,
    "held-out combinations": partial(quads, held_out=True),
    "domain B": partial(quads, domain="B"),
}
TRAINED = next(iter(SETS))
CURVE, FULL, FINE = 300, 1000, 100
AT = 1000  # steps, where more is asked
WRONG = (0.0, 0.25, 0.5, 0.59, 0.75, 1.0)  # share of segments; the authors of arXiv 2506.09691 count 59 %
PROBE_SEED = 3000
SCORES = ("image_to_text", "text_to_image", "group", "interaction_sign")


# Parts ------------------------------------------------------------------------------------------------------------------


def run_folder() -> Path:
    return Path(os.environ.get("WORKBENCH_RUNS", "runs")) / "fine-grained"


@cache
def model_of(config: Config, step: int):
    return checkpoint(config, step)


def kept_parts(config: Config, step: int, which: str, category: str, n: int) -> QuadParts:
    """As they are kept, of these weights and drawings; encoded and kept where they are not."""
    key = f"{sha256(step_file(config, step))} {bits()} {SEED} {n}"
    file = run_folder() / "parts" / f"{config.run}@{step}" / f"{_slug(which)}-{category.lower()}.safetensors"
    found = QuadParts.load(file, key)
    if found is None:
        found = quad_parts(model_of(config, step), SETS[which](category, n, SEED))
        found.save(file, key)
    return found


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


# Rows -------------------------------------------------------------------------------------------------------------------


def judged(scores) -> dict[str, dict]:
    """Each of SCORES, quad by quad, as a string: 1 right, t where only a tie kept it from being right, 0 wrong."""
    s = tied(scores)
    between = {
        "image_to_text": (s[:, 0, 0] - s[:, 0, 1], s[:, 1, 1] - s[:, 1, 0]),
        "text_to_image": (s[:, 0, 0] - s[:, 1, 0], s[:, 1, 1] - s[:, 0, 1]),
    }
    between["group"] = between["image_to_text"] + between["text_to_image"]
    sign = s[:, 0, 0] + s[:, 1, 1] - s[:, 0, 1] - s[:, 1, 0]
    between["interaction_sign"] = (np.where(np.abs(sign) > 2.0**-21 * np.abs(s).max((1, 2)), sign, 0),)
    return {name: _told(np.stack(between[name], 1)) for name in SCORES}


def _told(gaps: np.ndarray) -> str:
    won, kept = (gaps > 0).all(1), (gaps >= 0).all(1)
    return "".join("1" if w else "t" if k else "0" for w, k in zip(won, kept, strict=True))


def read(config: Config, step: int, which: str, n: int) -> dict:
    """Answers of every rule and control to one set of quads at one checkpoint, by category."""
    found: dict[str, dict] = {"scores": {}, "wrong segments": {}}
    for category in CATEGORIES:
        parts = kept_parts(config, step, which, category, n)
        own = {scorer: judged(rule_scores(parts, scorer)) for scorer in SCORERS}
        controls = {f"control: {name}": judged(control(parts, seed=config.seed)) for name, control in CONTROLS.items()}
        found["scores"][category] = own | controls
        if n == FULL:
            found["wrong segments"][category] = wrong_segments(parts, config.seed)
        print(f"  {category}", end="", flush=True)
    more = {}
    if which == TRAINED:
        more = {"single": single_objects(model_of(config, step)), "probe": probed(config, step)}
    print()
    return {"run": config.run, "seed": config.seed, "step": step, "set": which, "n": n, **found, **more}


def wrong_segments(parts: QuadParts, seed: int) -> dict[str, str]:
    """Group answers of "crops" by the share of phrases that are another caption's."""
    return {f"{share:g}": judged(rule_scores(corrupted(parts, share, seed), "crops"))["group"] for share in WRONG}


def probed(config: Config, step: int) -> str:
    """Of each Colour quad, whether a linear probe on patches names all four objects' colours: 1 or 0.

    Patches of one pass pooled under true boxes; trained on as many quads of other draws. A bag of words that knows both
    colours of a picture and not who has which would be right in a quarter.
    """
    train, shown = (quads("Colour", CURVE, seed) for seed in (PROBE_SEED, SEED))
    model = model_of(config, step)
    found = linear_probe(*_objects(model, train), *_objects(model, shown), strengths=(0.01, 0.1, 1.0))
    return "".join("01"[int(each)] for each in found.right.reshape(len(shown), -1).all(1))


def _objects(model, drawn: list[Quad]) -> tuple[torch.Tensor, np.ndarray]:
    """Features of every object (4n, d), from one pass, and its colour."""
    side = model.card.image_size
    scenes = [scene for quad in drawn for scene in quad.scenes]
    image = model.encode_image([draw(each, side) for each in scenes], tokens=True, batch_size=64)
    frames = [(0, 0, side, side)] * len(scenes)
    regions = roi_features(image, [each.pixel_boxes(side) for each in scenes], frames, normalize="whole")
    return regions.tokens.flatten(0, 1), np.array([each.things[k].colour for each in scenes for k in each.owners])


class Counting:
    """A model that counts the pictures and crops that it encodes."""

    def __init__(self, model):
        self._model, self.encoded = model, 0

    def __getattr__(self, name: str):
        return getattr(self._model, name)

    def encode_pixels(self, pixels, **options):
        self.encoded += len(pixels)
        return self._model.encode_pixels(pixels, **options)


def crop_costs(config: Config, n: int = FINE) -> dict:
    """Group answers with one crop, 86, 270, and 86 at random places; what was encoded, and in how many seconds."""
    side = model_of(config, AT).card.image_size
    layouts = {
        "1": ((0, 0, side, side),),
        "86": crop_boxes(side, side, "grid"),
        "270": crop_boxes(side, side, "overlap"),
        "86 at random places": random_places(side, crop_boxes(side, side, "grid"), SEED),
    }
    found: dict[str, dict] = {name: {"encoded": 0, "seconds": 0.0, "group": {}} for name in layouts}
    for category in CATEGORIES:
        parts = kept_parts(config, AT, TRAINED, category, FULL)[:n]
        drawn = SETS[TRAINED](category, n, SEED)
        pictures = [draw(scene, side) for quad in drawn for scene in quad.scenes]
        for name, boxes in layouts.items():
            counting, began = Counting(model_of(config, AT)), time.perf_counter()
            crops = crop_features(counting, pictures, boxes=[boxes] * len(pictures))
            found[name]["seconds"] += time.perf_counter() - began
            found[name]["encoded"] += counting.encoded
            found[name]["group"][category] = judged(rule_scores(with_crops(parts, crops), "crops"))["group"]
    crops = {name: {**each, "seconds": round(each["seconds"], 4)} for name, each in found.items()}
    asked = {"n": n, "pictures": 2 * n * len(CATEGORIES)}
    return {"run": config.run, "seed": config.seed, "step": AT, **asked, "crops": crops}


# Jobs -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One row: what makes it, and the weights that it is about."""

    name: str
    make: Callable[[], dict]
    weights: Path

    @property
    def file(self) -> Path:
        return run_folder() / "rows" / f"{_slug(self.name)}.json"


def jobs() -> Iterator[Job]:
    for config in RUNS:
        if not config.collision_free:
            continue
        for step in config.kept:
            for which in SETS:
                if step == AT or which == TRAINED:
                    n = FULL if (step, which) == (AT, TRAINED) else CURVE
                    make = partial(read, config, step, which, n)
                    yield Job(f"{config.run}@{step}, {which}", make, step_file(config, step))
        yield Job(f"{config.run}@{AT}, crops", partial(crop_costs, config), step_file(config, AT))


def digests() -> dict[str, str]:
    return {"scenes": bits(), **{name: sha256(Path(__file__).parent / name) for name in SCRIPTS}}


def measured(job: Job, wanted: bool) -> dict | None:
    """The row as it is kept, or made where it is wanted and not there; None where it is neither, or has no weights."""
    if not job.weights.is_file():
        return None
    key = {**digests(), "weights": sha256(job.weights)}
    stored = json.loads(job.file.read_text(encoding="utf-8")) if job.file.is_file() else {}
    if stored.get("digests") != key and wanted:
        began = time.monotonic()
        row = job.make()
        stored = {"digests": key, "row": {**row, "seconds": round(time.monotonic() - began, 1)}}
        write_json(job.file, stored)
        print(f"{job.name}: {stored['row']['seconds']:.0f} s", flush=True)
    return stored["row"] if stored.get("digests") == key else None


def main(names: list[str]) -> None:
    """Row by row, all or those whose names begin so; what is done already with these weights and this script stays."""
    torch.set_num_threads(1)
    every = list(jobs())
    if unknown := [name for name in names if not any(job.name.startswith(name) for job in every)]:
        raise ValueError(f"no row begins with {unknown[0]!r}; there are {', '.join(job.name for job in every)}")
    found = {job.name: measured(job, not names or job.name.startswith(tuple(names))) for job in every}
    if missing := [name for name, row in found.items() if row is None]:
        print(f"not assembled yet, to be measured (weights: recipes/scenes_clip.py): {'; '.join(missing)}")
        return
    rows = summary(list(found.values()))
    result = {
        "title": "Fine-grained alignment: rules without training, checkpoints, seeds",
        "made_by": "recipes/measure_rules.py",
        "digests": {**digests(), "rules_claims.py": sha256(Path(__file__).parent / "rules_claims.py")},
        "weights": {job.name.partition(",")[0]: sha256(job.weights) for job in every},
        "rows": rows,
        "claims": claims(rows),
    }
    write_json(paths.assets() / "results" / RESULT, result)


if __name__ == "__main__":
    main(sys.argv[1:])
