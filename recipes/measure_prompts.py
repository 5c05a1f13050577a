"""Ask scenes-lvlm in every wording that it learned from, before anything tunes it: how open is the next word, what is retrieved?

    python -m recipes.measure_prompts   # two minutes on one core

Each wording is asked of "picture" and "sentence", and of "image" and "caption", and the two public prompts are asked beside
them: 500 scenes of a seed of their own, no two of the same contents, and their short captions. VladVA finds among prompts of
LLaVA-1.5 that those with a more open next word retrieve better (arXiv 2412.04378, figure 5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch

from recipes.files import sha256, write_json
from recipes.scenes_clip import bits
from recipes.scenes_lvlm import NAME, model_folder
from workbench import paths
from workbench.data.scenes import Scene, draw, scenes
from workbench.data.scenes.asking import ASKED_ABOUT, INSTRUCTIONS
from workbench.discriminative.prompts_read import read_prompts
from workbench.discriminative.readings import (
    RESULT,
    PromptReadings,
    entropy_against_retrieval,
    information_against_retrieval,
)
from workbench.evaluation.statistics import Correlation
from workbench.models.lvlm import PRESETS, Prompts
from workbench.models.registry import load_model

SEED, PAIRS = "prompts", 500
ONE_WORD = "word"  # the task of both public prompts


def wordings() -> dict[str, tuple[str, Prompts]]:
    """Task and prompts by the words that are asked of a picture: every wording with both pairs of nouns, and the public ones."""
    made = {
        wording.format(shown): (task, Prompts(f"<image>\n{wording.format(shown)}", f"<sent>\n{wording.format(told)}"))
        for task, each in INSTRUCTIONS.items()
        for wording in each
        for shown, told in zip(*ASKED_ABOUT.values(), strict=True)
    }
    return made | {name: (ONE_WORD, prompts) for name, prompts in PRESETS.items()}


def fresh() -> list[Scene]:
    return list({scene.contents: scene for scene in scenes(2 * PAIRS, SEED)}.values())[:PAIRS]


def correlations(readings: PromptReadings, tasks: Mapping[str, str]) -> dict:
    """Overall, with intervals over prompts and over tasks, and within each task."""
    found, told = (
        ask(readings, groups=list(tasks.values())) for ask in (entropy_against_retrieval, information_against_retrieval)
    )
    within = {}
    for task in dict.fromkeys(tasks.values()):
        names = [name for name in tasks if tasks[name] == task]
        within[task] = of_measures(entropy_against_retrieval(readings.only(names)).over_prompts)
    return {
        "over prompts": of_measures(found.over_prompts),
        "over tasks": of_measures(found.grouped),
        "information, over prompts": of_measures(told.over_prompts),
        "information, over tasks": of_measures(told.grouped),
        "within": within,
    }


def of_measures(found: Mapping[str, Correlation]) -> dict:
    return {name: asdict(each) for name, each in found.items()}


def stored(value):
    """The same nesting, every number rounded to 5 digits."""
    if isinstance(value, Mapping):
        return {key: stored(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return [stored(each) for each in value]
    return round(value, 5) if isinstance(value, float) else value


def main() -> None:
    torch.set_num_threads(1)
    model, shown, asked = load_model(NAME, device="cpu"), fresh(), wordings()
    pictures, texts = [draw(scene, model.card.image_size) for scene in shown], [scene.caption for scene in shown]
    readings = read_prompts(model, pictures, texts, {name: prompts for name, (_, prompts) in asked.items()})
    tasks = {name: task for name, (task, _) in asked.items()}
    result = {
        "made_by": "recipes/measure_prompts.py",
        "scripts": {"scenes": bits(), Path(__file__).name: sha256(Path(__file__))},
        "weights": sha256(model_folder() / "model.safetensors"),
        "tasks": tasks,
        "correlations": correlations(readings, tasks),
        "readings": asdict(readings),
    }
    write_json(paths.assets() / "results" / RESULT, stored(result))


if __name__ == "__main__":
    main()
