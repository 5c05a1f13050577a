"""Ship scenes-lvlm after VladVA's whole tuning from E5-V's words: seed 0 of `recipes/tune_scenes_lvlm.py`, with log and card.

python -m recipes.tuned_lvlm
"""

from __future__ import annotations

import json
from pathlib import Path

from recipes.discriminative_claims import ALL, BEFORE, BEHIND, START
from recipes.files import sha256, write_atomically, write_json
from recipes.look_into_lvlm import RESULT
from recipes.scenes_card import share, table
from recipes.tune_scenes_lvlm import BASE, ITEMS, model_of, name_of, rows
from workbench import paths
from workbench.fine_tuning.evaluation import SIDES
from workbench.models.registry import load_model

NAME, SEED = "scenes-lvlm-vladva", 0
FILES = ("config.json", "generation_config.json", "chat_template.jinja", "processor_config.json", "tokenizer.json")
FILES += ("tokenizer_config.json", "prompts.json", "soft_prompts.safetensors", "model.safetensors")


def model_folder() -> Path:
    return paths.assets() / "models" / NAME


def ship() -> None:
    """The saved model, what it was trained with, and the loss along the way."""
    run = name_of(START, ALL, SEED)
    for file in FILES:
        write_atomically(model_folder() / file, (model_of(run) / file).read_bytes())
    row = rows().row(run)
    write_json(
        model_folder() / "training.json",
        {**row["config"], "recipe": "recipes/tune_scenes_lvlm.py", "base": BASE, "steps": len(row["losses"])},
    )
    means = [sum(row["losses"][i : i + 10]) / 10 for i in range(0, len(row["losses"]), 10)]
    log = [{"step": 10 * (i + 1), "loss": round(mean, 4)} for i, mean in enumerate(means)]
    write_atomically(model_folder() / "log.jsonl", "".join(json.dumps(each) + "\n" for each in log))


def card(training: dict, result: dict) -> str:
    facts = table(("what", "value"), load_model(NAME, device="cpu").card.table().rows)
    own = result["rows"]["ladder"][START]
    inside = result["rows"]["inside"][START]
    lines = [line(side, *(own[row]["sides"][side] for row in (BEFORE, ALL))) for side in (*SIDES, "swap", "swap quads")]
    lines.append(line("F1 of captions, asked for detail", own[BEFORE]["f1"], own[ALL]["f1"]))
    lines.append(line("F1 of captions behind its own prompt", inside[BEFORE][BEHIND], inside[ALL][BEHIND]))
    numbers = table(("percent [95 % over items]", BASE, "this model", "mean of 3 seeds"), lines)
    return f"""# {NAME}

`{BASE}` tuned to tell pictures and captions apart, as VladVA (arXiv 2412.04378) tunes LLaVA: soft prompts and LoRA, contrast on
short captions, the next token on long ones.

{facts}

## How it was made

`{training["recipe"]}`, seed {training["seed"]}: from {BASE} asked in E5-V's words, which its training contained; 5,120 scenes, no
two with the same contents, batches of {training["batch_size"]}, {training["steps"]} steps, AdamW after {training["warmup"]}
steps of warm-up and along half a cosine to 0. Soft prompts learn at {training["prompt_rate"]:g}, adapters of rank
{training["rank"]} and alpha {training["alpha"]:g} on every linear layer of the language model at {training["learning_rate"]:g}.
Adapters are folded in; the soft prompts are `soft_prompts.safetensors`, without which it is asked in words. Image tower and
projector are {BASE}'s. The log is `log.jsonl`. Another machine gives other last bits: expect the numbers to within their
intervals, not the digest.

## What was measured

Retrieval is R@1 among {ITEMS} scenes, three captions each; swap quads are right where both pictures and both captions are
(chance 16.7), swap where a caption beats itself with nouns or attributes exchanged (chance 50).

{numbers}

## What it cannot do

What {BASE} cannot: it knows its few words and no photograph. Who has which it hardly tells: look at swap.
"""


def line(name: str, before: dict, after: dict) -> tuple[str, ...]:
    return name, share(before), f"{100 * after['by_seed'][SEED]:.1f}", share(after)


def main() -> None:
    result = json.loads((paths.assets() / "results" / RESULT).read_text(encoding="utf-8"))
    if (
        model_of(name_of(START, ALL, SEED)) / "model.safetensors"
    ).is_file():  # without the run only the card is written
        ship()
    training = json.loads((model_folder() / "training.json").read_text(encoding="utf-8"))
    write_atomically(model_folder() / "README.md", card(training, result))
    print(f"{NAME}: {sha256(model_folder() / 'model.safetensors')}")


if __name__ == "__main__":
    main()
