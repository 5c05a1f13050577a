"""Ship two of the tuned models: FSC-CLIP's and NegCLIP's, seed 0 of `recipes/fine_tune_scenes.py`, with log and card.

python -m recipes.fine_tune_models
"""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path

from safetensors import safe_open

from recipes.files import sha256, write_atomically, write_json
from recipes.fine_tune_scenes import BASE, RESULT, run_folder, slug, weights_file
from recipes.scenes_card import table
from workbench import paths
from workbench.fine_tuning.evaluation import SIDES
from workbench.fine_tuning.stored import intervals
from workbench.models.open_clip_folder import CONFIG
from workbench.models.registry import load_model

SHIPPED = {"scenes-clip-fsc": "setting 6", "scenes-clip-neg": "NegCLIP"}
SEED = 0
OF_THE_BASE = (CONFIG, "tokenizer.json", "tokenizer_config.json")
WHAT = {
    "scenes-clip-fsc": "FSC-CLIP's loss (arXiv 2410.05210): contrast, and each picture's own hard negatives globally and word by "
    "word, with focal weights and smoothed labels",
    "scenes-clip-neg": "NegCLIP's loss (arXiv 2210.01936): contrast, with the negatives of all pictures among each picture's "
    "captions",
}


def model_folder(name: str) -> Path:
    return paths.assets() / "models" / name


def ship(name: str) -> None:
    """Weights, configuration, tokenizer, what it was trained with, and the loss along the way."""
    folder, row = model_folder(name), stored_row(SHIPPED[name])
    for file in OF_THE_BASE:
        write_atomically(folder / file, (model_folder(BASE.partition("@")[0]) / file).read_bytes())
    write_json(
        folder / "training.json",
        {**row["config"], "recipe": "recipes/fine_tune_scenes.py", "base": BASE, "steps": row["steps"]},
    )
    losses = [round(loss, 4) for loss in all_losses(SHIPPED[name])]
    rows = [{"step": i + 10, "loss": round(sum(losses[i : i + 10]) / 10, 4)} for i in range(0, len(losses), 10)]
    write_atomically(folder / "log.jsonl", "".join(json.dumps(each) + "\n" for each in rows))
    write_atomically(folder / "open_clip_model.safetensors", weights_file(SHIPPED[name], SEED).read_bytes())


def stored_row(setting: str) -> dict:
    file = run_folder() / "rows" / f"{slug(f'{setting}, seed {SEED}')}.json"
    return json.loads(file.read_text(encoding="utf-8"))["row"]


def all_losses(setting: str) -> list[float]:
    file = run_folder() / "training" / slug(f"{setting}, seed {SEED}") / "checkpoint.safetensors"
    with safe_open(file, framework="pt") as kept:
        return kept.get_tensor("losses").tolist()


def card(name: str, training: dict, result: dict) -> str:
    setting = result["rows"]["settings"][SHIPPED[name]]
    facts = table(("what", "value"), load_model(name, device="cpu").card.table().rows)
    before, after = (intervals(result["rows"]["settings"][each]["sides"]) for each in ("before", SHIPPED[name]))
    difference = intervals(result["rows"]["differences"][f"{SHIPPED[name]} − before"])
    over = _over_contrast(result, SHIPPED[name])
    lines = [
        (
            side,
            told(before[side]),
            f"{100 * setting['sides'][side]['by_seed'][SEED]:.1f}",
            told(after[side]),
            told(difference[side]),
        )
        for side in (*SIDES, "swap quads", "choices")
    ]
    numbers = table(("side", BASE, "this model", "mean of 3 seeds", "difference, 3 seeds"), lines)
    return f"""# {name}

`{BASE}` tuned on drawn scenes with hard negatives: {WHAT[name]}.

{facts}

## How it was made

`{training["recipe"]}`, seed {training["seed"]}: from {BASE}, which knows the objects and hardly who has which; 5,120 scenes of
domain A, batches of {training["batch_size"]}, {training["steps"]} steps, AdamW at {training["learning_rate"]:g} after
{training["warmup"]} steps of warm-up, falling to 0. {training["k"]} negatives a caption, made anew at every step by
`data/negatives.py`. The log is `log.jsonl`. Another machine gives other last bits: expect the numbers to within their
intervals, not the digest.

## What was measured

Percent right [95 % over items]. Composition is the mean of swap quads (group score, chance 16.7) and of choices between a
caption and what one operator makes of it (chance 50, and wording helps); zero-shot names single objects; retrieval is R@1 among
400 scenes, three captions each.

{numbers}

Contrast without negatives, for as many steps, gains too. Over it this loss gains {told(over["swap quads"])} points of swap quads
and {told(over["choices"])} of choices; text to picture {told(over["text to picture"])} (three seeds).

## What it cannot do

What `scenes-clip` cannot: it knows its few words and no photograph. Choices ask for negatives of the kind that training showed,
and wording alone decides some. Of the negatives of training one in ten names a colour and shape that no picture shows together,
so such combinations are learned as wrong.
"""


def _over_contrast(result: dict, setting: str) -> dict:
    return intervals(result["rows"]["differences"][f"{setting} − contrast alone"])


def told(found) -> str:
    mean, low, high, _ = astuple(found)
    return f"{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def main() -> None:
    file = paths.assets() / "results" / RESULT
    result = json.loads(file.read_text(encoding="utf-8"))
    for name in SHIPPED:
        if all_weights_there(name):
            ship(name)
        training = json.loads((model_folder(name) / "training.json").read_text(encoding="utf-8"))
        write_atomically(model_folder(name) / "README.md", card(name, training, result))
        print(f"{name}: {sha256(model_folder(name) / 'open_clip_model.safetensors')}")


def all_weights_there(name: str) -> bool:
    """Whether the run is on this machine; without it only the card is written."""
    return weights_file(SHIPPED[name], SEED).is_file()


if __name__ == "__main__":
    main()
