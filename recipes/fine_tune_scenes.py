"""Fine-tune scenes-clip with hard negatives by every setting of FSC-CLIP's Table 2, and measure both sides of it.

    python -m recipes.fine_tune_scenes              # an hour and a quarter on one core; resumes by row, and within a row by step
    python -m recipes.fine_tune_scenes "setting 6"  # the rows whose names begin so

All runs start from scenes-clip after 1,000 steps, when it knows the objects and hardly who has which. They see 5,120 scenes of
domain A, five epochs of batches of 128, three negatives a caption, made anew at every step: the eight settings, LoRA, NegCLIP's
loss and contrast alone with three seeds, gamma, beta, the local weight and the attention's normaliser with one. One learning
rate for all but LoRA, which has its own: of three, the one after which setting 1, the plainest loss with negatives, is best at
composition on questions of its own. Then each model is asked (`workbench.fine_tuning.Trial`): scenes
of both domains, no wording or combination but as the measure says. WiSE-FT mixes the tuned weights with those before.

What follows from the answers is `recipes/fine_tune_claims.py`; seed 0 of FSC-CLIP and of NegCLIP ship as models.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save

from recipes.files import sha256, write_atomically, write_json
from recipes.fine_tune_claims import claims, summary
from recipes.scenes_clip import bits
from workbench import paths
from workbench.data.scenes import draw, scenes
from workbench.fine_tuning import SETTINGS, FineTuneConfig, Pairs, TradeOff, Trial, fine_tune
from workbench.models.registry import load_model

RESULT = "fine_tuning.json"
BASE = "scenes-clip@1000"
WEIGHTS = "scenes-clip/steps/1000.safetensors"
SCRIPTS = ("fine_tune_scenes.py",)
SEEDS = (0, 1, 2)
SIZE = {"batch_size": 128, "epochs": 5, "warmup": 20, "every": 50}
PICTURES, TRAIN_SEED = 5120, 3000
RATES, CHOICE_SEED = {"full": (1e-4, 3e-4, 1e-3), "lora": (1e-3, 3e-3, 1e-2)}, 10
ITEMS, TEST_SEED, VALIDATION = 400, 5000, (200, 6000)
ALPHAS = tuple(round(0.1 * k, 1) for k in range(1, 10))
PATHS = ("setting 6", "LoRA", "NegCLIP")

FSC = SETTINGS["6"]
HEADLINE: dict[str, FineTuneConfig] = {
    **{f"setting {row}": config for row, config in SETTINGS.items()},
    "LoRA": replace(FSC, parts="lora"),
    "NegCLIP": FineTuneConfig(loss="negclip"),
    "contrast alone": FineTuneConfig(loss="clip"),
}
SWEEPS: dict[str, FineTuneConfig] = {
    **{f"gamma {gamma}": replace(FSC, gamma=float(gamma)) for gamma in (1, 5)},
    **{f"beta {beta}": replace(FSC, smoothing=beta) for beta in (0.05, 0.1)},
    **{f"local weight {weight}": replace(FSC, local_weight=weight) for weight in (0.1, 0.5)},
    **{f"all, {name}": replace(FSC, normalizer=name) for name in ("sparse", "softmax")},
    **{f"local alone, {name}": replace(SETTINGS["2"], normalizer=name) for name in ("sparse", "softmax")},
}


def run_folder() -> Path:
    return Path(os.environ.get("WORKBENCH_RUNS", "runs")) / "fine-tuning"


@cache
def base():
    return load_model(BASE, device="cpu")


@cache
def pairs() -> Pairs:
    shown = scenes(PICTURES, TRAIN_SEED, domain="A")
    return Pairs([draw(each, 64) for each in shown], [each.caption for each in shown])


@cache
def trial(n: int = ITEMS, seed: int = TEST_SEED) -> Trial:
    return Trial(n, seed)


def config_of(name: str, seed: int, rate: float) -> FineTuneConfig:
    return replace({**HEADLINE, **SWEEPS}[name], **SIZE, seed=seed, learning_rate=rate)


# Rows -------------------------------------------------------------------------------------------------------------------


def answers(found: TradeOff) -> dict:
    """Every item as a digit: 0 or 1, for text to picture how many of its three captions."""
    times = {"text to picture": 3}

    def digits(values: np.ndarray, factor: int) -> str:
        return "".join(str(round(each * factor)) for each in values)

    sides = {
        side: {name: digits(values, times.get(side, 1)) for name, values in measures.items()}
        for side, measures in found.right.items()
    }
    return {"right": sides, "beside": {name: digits(values, 1) for name, values in found.beside.items()}}


def before() -> dict:
    return {"setting": "before", **answers(trial().measure(base()))}


def rates(parts: str) -> dict:
    """Composition after setting 1 at each of RATES, on questions of its own; the first of the best is taken."""
    asked, found = trial(*VALIDATION), {}
    for rate in RATES[parts]:
        config = replace(config_of("setting 1", CHOICE_SEED, rate), parts=parts)
        found[f"{rate:g}"] = asked.measure(fine_tune(base(), pairs(), config).model).side("composition").mean
    return {"parts": parts, "rates": found, "rate": float(max(found, key=found.get))}


def tuned(name: str, seed: int, rate: float) -> dict:
    config = config_of(name, seed, rate)
    found = fine_tune(base(), pairs(), config, folder=run_folder() / "training" / slug(f"{name}, seed {seed}"))
    weights = {key: value.detach().contiguous() for key, value in found.model.module.state_dict().items()}
    write_atomically(weights_file(name, seed), save(weights))
    return {
        "setting": name,
        "seed": seed,
        "config": config.to_json(),
        "trained": sum(each.numel() for each in found.trained.parameters.values()),
        "steps": len(found.losses),
        "seconds": round(found.seconds, 1),
        "loss": float(np.mean(found.losses[-20:])),
        **answers(trial().measure(found.model)),
    }


def mixed(name: str, seed: int) -> dict:
    """What a mixture of the weights before and after gets right, for each share of those after."""
    from workbench.fine_tuning.wise import wise_ft

    after = load_model(BASE, device="cpu")
    after.module.load_state_dict(load_file(weights_file(name, seed)))
    found = {f"{alpha:g}": answers(trial().measure(wise_ft(base(), after, alpha)))["right"] for alpha in ALPHAS}
    return {"path": name, "seed": seed, "at": found}


def weights_file(name: str, seed: int) -> Path:
    return run_folder() / "weights" / f"{slug(name)}-{seed}.safetensors"


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower())


@dataclass(frozen=True)
class Job:
    name: str
    make: Callable[[], dict]

    @property
    def file(self) -> Path:
        return run_folder() / "rows" / f"{slug(self.name)}.json"


CHOICES = {parts: Job(f"rate, {parts}", partial(rates, parts)) for parts in RATES}


def jobs() -> Iterator[Job]:
    yield Job("before", before)
    yield from CHOICES.values()
    for seed in SEEDS:
        yield from (Job(f"{name}, seed {seed}", partial(_at_rate, name, seed)) for name in HEADLINE)
    yield from (Job(f"{name}, seed 0", partial(_at_rate, name, 0)) for name in SWEEPS)
    yield from (Job(f"path of {name}, seed {seed}", partial(mixed, name, seed)) for name in PATHS for seed in SEEDS)


def _at_rate(name: str, seed: int) -> dict:
    parts = {**HEADLINE, **SWEEPS}[name].parts
    return tuned(name, seed, measured(CHOICES[parts], True)["rate"])


def digests() -> dict[str, str]:
    weights = paths.assets() / "models" / WEIGHTS
    return {
        **{name: sha256(Path(__file__).parent / name) for name in SCRIPTS},
        "weights": sha256(weights),
        "scenes": bits(),
    }


def measured(job: Job, wanted: bool) -> dict | None:
    """The row as it is kept, or made where it is wanted and not there; None where it is neither."""
    stored = json.loads(job.file.read_text(encoding="utf-8")) if job.file.is_file() else {}
    if stored.get("digests") != digests() and wanted:
        began = time.monotonic()
        stored = {"digests": digests(), "row": job.make()}
        write_json(job.file, stored)
        print(f"{job.name}: {time.monotonic() - began:.0f} s", flush=True)
    return stored["row"] if stored.get("digests") == digests() else None


def main(names: list[str]) -> None:
    """Row by row, all or those whose names begin so; what is done already with this script and these weights stays."""
    torch.set_num_threads(1)  # so small a model is hardly faster on two, and on one a run repeats itself bit by bit
    every = list(jobs())
    if unknown := [name for name in names if not any(job.name.startswith(name) for job in every)]:
        raise ValueError(f"no row begins with {unknown[0]!r}; there are {', '.join(job.name for job in every)}")
    rows = {job.name: measured(job, not names or job.name.startswith(tuple(names))) for job in every}
    if missing := [name for name, row in rows.items() if row is None]:
        print(f"not assembled yet, to be measured: {', '.join(missing)}")
        return
    found = summary(list(rows.values()))
    result = {
        "title": "What hard negatives teach and what they cost, by every setting of FSC-CLIP's Table 2",
        "made_by": "recipes/fine_tune_scenes.py",
        "digests": {**digests(), "fine_tune_claims.py": sha256(Path(__file__).parent / "fine_tune_claims.py")},
        "rows": found,
        "claims": claims(found),
    }
    write_json(paths.assets() / "results" / RESULT, result)


if __name__ == "__main__":
    main(sys.argv[1:])
