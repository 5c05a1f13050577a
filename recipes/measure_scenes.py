"""Measure scenes-clip on fresh swap quads: a curve over training, and the shipped weights in full.

    python -m recipes.measure_scenes            # about 40 minutes on one core; resumes by row
    python -m recipes.measure_scenes free-seed1 # the rows whose names begin so

Along every run of `recipes/scenes_clip.py`, 300 quads per category: group score of the global cosine, of patch–token late
interaction, of blind crops and of true boxes against caption segments; beside them single-object accuracy and retrieval
among 500 fresh scenes. The shipped weights: 1,000 quads per category of trained combinations, 300 of held-out combinations,
of each domain alone and of unseen wordings; crops at 270 positions on 100. lite2-minilm on the same 1,000 at its own size.
Quads have their own seeds: none was trained on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from recipes.files import sha256, write_atomically, write_json
from recipes.scenes_clip import NAME, RUNS, Config, bits, model_folder, run_folder, step_file, write_configuration
from workbench import paths
from workbench.controlled import RULES, controlled
from workbench.data.scenes import draw, quads, scenes
from workbench.data.scenes.world import COLOURS, SHAPES, UNSEEN_TEMPLATES, Thing, held_out
from workbench.evaluation import bootstrap, retrieval_ranks
from workbench.models.dual_encoder import DualEncoder
from workbench.models.registry import load_model

RESULT = "scenes_clip.json"
CURVE, FULL, FINE = 300, 1000, 100
SEED = 1000  # of quads and scenes: training's are 0 to 2
SCRIPTS = ("measure_scenes.py",)
REAL = paths.assets() / "models" / "lite2-minilm" / "head.safetensors"


def checkpoint(config: Config, step: int) -> DualEncoder:
    """The model of a run as it was after `step` steps."""
    folder = run_folder(config) / "measured"
    write_configuration(config, folder)
    write_atomically(folder / "open_clip_model.safetensors", step_file(config, step).read_bytes())
    return load_model(f"local-dir:{folder}", device="cpu")


def single_objects(model: DualEncoder, n: int = 500) -> dict:
    """Zero-shot naming of close-ups: which of the trained colour–shape combinations? Chance is one in 96."""
    shown = scenes(n, SEED, kind="close-up")
    names = [Thing(shape, colour) for colour in COLOURS for shape in SHAPES if not held_out(colour, shape)]
    texts = F.normalize(model.encode_text([thing.phrase for thing in names]).post, dim=-1)
    images = F.normalize(model.encode_image([draw(each, model.card.image_size) for each in shown]).post, dim=-1)
    picked = [names[i] for i in (images @ texts.T).argmax(1).tolist()]
    truth = [each.things[0] for each in shown]
    right = {
        "colour": [a.colour == b.colour for a, b in zip(picked, truth, strict=True)],
        "shape": [a.shape == b.shape for a, b in zip(picked, truth, strict=True)],
    }
    right["both"] = [a and b for a, b in zip(right["colour"], right["shape"], strict=True)]
    return {name: _interval(values) for name, values in right.items()}


def retrieval(model: DualEncoder, n: int = 500) -> dict:
    """R@1 among n scenes of training's mixture, each scene's words its own: both directions."""
    shown = list({each.contents: each for each in scenes(2 * n, SEED)}.values())[:n]
    images = model.encode_image([draw(each, model.card.image_size) for each in shown]).post
    texts = model.encode_text([each.caption for each in shown]).post
    own = [[i] for i in range(len(shown))]
    return {
        "image_to_text": _interval(retrieval_ranks(images, texts, own) == 1),
        "text_to_image": _interval(retrieval_ranks(texts, images, own) == 1),
    }


def _interval(values) -> dict:
    found = bootstrap(torch.as_tensor(values).double())
    return {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n}


def along(config: Config, step: int) -> dict:
    model = checkpoint(config, step)
    groups = controlled(model, CURVE, SEED, rules=tuple(RULES), blind=False)
    named = [{**row, "model": f"{config.run}@{step}"} for row in groups.to_json()]
    return {
        "run": config.run,
        "step": step,
        "groups": named,
        "single": single_objects(model),
        "retrieval": retrieval(model),
    }


SETS = {
    "seen combinations": quads,
    "held-out combinations": partial(quads, held_out=True),
    "domain A": partial(quads, domain="A"),
    "domain B": partial(quads, domain="B"),
    "unseen wordings": partial(quads, templates=UNSEEN_TEMPLATES),
}


def in_full(name: str, model: str, n: int, rules: tuple[str, ...], grid: str = "grid") -> dict:
    found = controlled(load_model(model, device="cpu"), n, SEED, rules=rules, make=SETS[name], grid=grid)
    return {"set": name, "model": model, "grid": grid, "groups": found.to_json()}


@dataclass(frozen=True)
class Job:
    """One row: what makes it, and the weights that it is about."""

    make: Callable[[], dict]
    weights: Path


def jobs() -> dict[str, Job]:
    shipped = model_folder() / "open_clip_model.safetensors"
    found = {
        f"{config.run}@{step}": Job(partial(along, config, step), step_file(config, step))
        for config in RUNS
        for step in config.kept
    }
    every = tuple(RULES)
    found["lite2-minilm"] = Job(partial(in_full, "seen combinations", "lite2-minilm", FULL, ("global",)), REAL)
    for name in SETS:
        n = FULL if name == "seen combinations" else CURVE
        found[f"{NAME}, {name}"] = Job(partial(in_full, name, NAME, n, every), shipped)
    fine = partial(in_full, "seen combinations", NAME, FINE, ("crops",), "overlap")
    return {**found, f"{NAME}, 270 crops": Job(fine, shipped)}


def main(names: list[str]) -> None:
    """Row by row, all or those whose names begin so; what is done already with these weights and scripts stays."""
    torch.set_num_threads(1)
    place = Path(run_folder(RUNS[0])).parent / "measured"
    scripts = {"scenes": bits(), **{name: sha256(Path(__file__).parent / name) for name in SCRIPTS}}
    rows, all_jobs = {}, jobs()
    for name, job in all_jobs.items():
        file = place / f"{name.replace(' ', '_')}.json"
        stored = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        digests = {**scripts, "weights": sha256(job.weights)} if job.weights.is_file() else None
        if digests is not None and stored.get("digests") != digests and (not names or name.startswith(tuple(names))):
            stored = {"digests": digests, "row": job.make()}
            write_json(file, stored)
            print(name)
        if digests is not None and stored.get("digests") == digests:
            rows[name] = {**stored["row"], "weights": digests["weights"]}
    if len(rows) == len(all_jobs):
        result = {"made_by": "recipes/measure_scenes.py", "scripts": scripts, "rows": rows}
        write_json(paths.assets() / "results" / RESULT, result)
    else:
        print(f"{len(all_jobs) - len(rows)} rows are missing: {', '.join(all_jobs.keys() - rows.keys())}")


if __name__ == "__main__":
    main(sys.argv[1:])
