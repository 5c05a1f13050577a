"""Tune scenes-lvlm to tell pictures and captions apart, by every row of VladVA's Table 4, and measure what it gains and pays.

    python -m recipes.tune_scenes_lvlm           # an hour on one core; resumes by row, and within a row by step
    python -m recipes.tune_scenes_lvlm "E5-V"    # the rows whose names begin so

The ladder (arXiv 2412.04378, Table 4), three seeds each, from two prompts: E5-V's words, which the captioner's training
contained, as a stand-in for the prompt that the paper picked by hand; and the first of all instructions, "describe the picture"
and "describe the sentence", as one that nobody picked. All see the same 5,120 scenes, no two with the same contents, five epochs
of batches of 128. Soft prompts and adapters have a rate each: of three, the one after which that part alone finds most among
scenes of its own. One more run contrasts long captions instead of short ones (claim V3).

Each tuned model is asked what FSC-CLIP's are (`workbench.fine_tuning.Trial`), how it is surprised by true long captions, and to
write its own. The models stay in the run folder, where `recipes/look_into_lvlm.py` looks inside them; seed 0 of all of VladVA
from E5-V's words ships. What follows is `recipes/discriminative_claims.py`.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from recipes.files import sha256
from recipes.fine_tune_scenes import answers
from recipes.measure_scenes_lvlm import f1, fresh
from recipes.rows import Rows, run_folder, slug
from recipes.scenes_clip import bits
from workbench import paths
from workbench.data.scenes import Scene, draw, scene
from workbench.data.scenes.asking import INSTRUCTIONS, long_caption, things_in
from workbench.discriminative import LADDER, DiscriminativeConfig, TwoCaptions, fine_tune, perplexity
from workbench.fine_tuning import Trial
from workbench.fine_tuning.evaluation import COMPOSITION, TO_IMAGE, TO_TEXT
from workbench.models.lvlm import PRESETS, LvlmEncoder, Prompts, save_lvlm
from workbench.models.registry import load_model

BASE = "scenes-lvlm"
SCRIPTS = ("tune_scenes_lvlm.py", "rows.py")
SEEDS = (0, 1, 2)
SIZE = {"batch_size": 128, "epochs": 5, "warmup": 20, "every": 50}
PICTURES, TRAIN_SEED = 5120, "tune-lvlm"
PLAIN = INSTRUCTIONS["short"][0]
STARTS = {
    "E5-V": PRESETS["E5-V"],
    "plain": Prompts(f"<image>\n{PLAIN.format('picture')}", f"<sent>\n{PLAIN.format('sentence')}"),
}
RATES, RATE_SEED = {"soft prompts": (1e-2, 3e-2, 1e-1), "LoRA": (3e-3, 1e-2, 3e-2)}, 10
ITEMS, TEST_SEED, VALIDATION = 400, 7000, (300, 8000)
WRITTEN, TOLD = 500, 300
CAPTION = "<image>\ndescribe the picture in detail"
LONG = "long captions in the contrast"


@cache
def base(start: str) -> LvlmEncoder:
    return load_model(BASE, device="cpu").with_prompts(replace(STARTS[start], caption=CAPTION))


def distinct(n: int, seed: str) -> list[Scene]:
    """The first n scenes of a seed of which no two have the same contents."""
    kept: dict = {}
    number = 0
    while len(kept) < n:
        each = scene(seed, number)
        kept.setdefault(each.contents, each)
        number += 1
    return list(kept.values())


@cache
def pairs(contrasted: str = "short") -> TwoCaptions:
    shown = distinct(PICTURES, TRAIN_SEED)
    long = [long_caption(each) for each in shown]
    return TwoCaptions(_pictures(shown), long if contrasted == "long" else [each.caption for each in shown], long)


@cache
def trial(n: int = ITEMS, seed: int = TEST_SEED) -> Trial:
    return Trial(n, seed)


@cache
def to_write() -> tuple[list[Scene], list[np.ndarray]]:
    shown = distinct(WRITTEN, "write-lvlm")
    return shown, _pictures(shown)


@cache
def to_tell() -> tuple[list[Scene], list[np.ndarray]]:
    """As many scenes of each number of objects, one to four."""
    shown = [each for objects in range(1, 5) for each in fresh(objects, TOLD // 4)]
    return shown, _pictures(shown)


def _pictures(shown: list[Scene]) -> list[np.ndarray]:
    return [draw(each, 64) for each in shown]


# Rows -------------------------------------------------------------------------------------------------------------------


def asked(model: LvlmEncoder) -> dict:
    """What a model gets right, its surprise at true long captions (nats and tokens of each), and the F1 of what it tells."""
    shown, pictures = to_write()
    surprise = perplexity(model, pictures, [long_caption(each) for each in shown])
    there, drawn = to_tell()
    told = model.generate(drawn)
    return {
        **answers(trial().measure(model)),
        "nats": [round(float(each), 4) for each in surprise.nats],
        "tokens": surprise.tokens.tolist(),
        "f1": [round(f1(things_in(text), each.things), 4) for text, each in zip(told, there, strict=True)],
        "told": [[long_caption(there[i]), told[i]] for i in range(0, len(told), len(told) // 12)],
    }


def before(start: str) -> dict:
    return {"start": start, "row": "before", **asked(base(start))}


def rates(part: str) -> dict:
    """Retrieval both ways, after a part alone at each of RATES, among scenes of its own; the first of the best is taken."""
    found = {}
    for rate in RATES[part]:
        config = replace(LADDER[part], **SIZE, learning_rate=rate, prompt_rate=rate, seed=RATE_SEED)
        right = trial(*VALIDATION).measure(fine_tune(base("E5-V"), pairs(), config).model)
        found[f"{rate:g}"] = {side: right.side(side).mean for side in (TO_TEXT, TO_IMAGE, COMPOSITION)}
    best = max(found, key=lambda rate: found[rate][TO_TEXT] + found[rate][TO_IMAGE])
    return {"part": part, "rates": found, "rate": float(best)}


def config_of(rung: str, seed: int) -> DiscriminativeConfig:
    soft, lora = (rows().row(f"rate, {part}")["rate"] for part in RATES)
    return replace(LADDER[rung], **SIZE, seed=seed, learning_rate=lora, prompt_rate=soft)


def tuned(name: str, start: str, rung: str, seed: int, contrasted: str = "short") -> dict:
    config = config_of(rung, seed)
    found = fine_tune(base(start), pairs(contrasted), config, folder=folder() / "training" / slug(name), name=name)
    shutil.rmtree(model_of(name), ignore_errors=True)
    save_lvlm(found.model, model_of(name))
    return {
        "start": start,
        "row": rung if contrasted == "short" else LONG,
        "seed": seed,
        "config": config.to_json(),
        "trained": found.trained.trainable,
        "seconds": round(found.seconds, 1),
        "losses": [round(each, 4) for each in found.losses],
        **asked(found.model),
    }


def folder() -> Path:
    return run_folder("discriminative")


def model_of(name: str) -> Path:
    return folder() / "models" / slug(name)


@cache
def rows() -> Rows:
    make = {f"{start}: before": partial(before, start) for start in STARTS}
    make |= {f"rate, {part}": partial(rates, part) for part in RATES}
    runs = ((start, rung, seed) for seed in SEEDS for start in STARTS for rung in LADDER)
    make |= {name_of(*each): partial(tuned, name_of(*each), *each) for each in runs}
    make |= {f"{start}: {LONG}": partial(tuned, f"{start}: {LONG}", start, "both", 0, "long") for start in STARTS}
    return Rows(folder(), make, digests())


def name_of(start: str, rung: str, seed: int) -> str:
    return f"{start}: {rung}, seed {seed}"


def digests() -> dict[str, str]:
    here, weights = Path(__file__).parent, paths.assets() / "models" / BASE / "model.safetensors"
    return {**{name: sha256(here / name) for name in SCRIPTS}, "weights": sha256(weights), "scenes": bits()}


def main(names: list[str]) -> None:
    """Row by row, all or those whose names begin so; what is done already with this script and these weights stays."""
    torch.set_num_threads(1)  # so small a model is hardly faster on two, and on one a run repeats itself bit by bit
    rows().all(names)


if __name__ == "__main__":
    main(sys.argv[1:])
