"""The README of scenes-clip, written from what its training and its measurement stored.

python -m recipes.scenes_card
"""

from __future__ import annotations

import json

from recipes.files import write_atomically
from recipes.measure_scenes import CURVE, FULL, RESULT, SETS
from recipes.scenes_clip import NAME, RUNS, model_folder
from workbench import paths
from workbench.controlled import RULES, ControlledScores
from workbench.data.scenes import CATEGORIES
from workbench.evaluation.statistics import percent
from workbench.models.registry import load_model

HOW = {
    "global": "cosine of the whole picture with the whole caption",
    "late": "patch–token late interaction (each word's best patch, averaged)",
    "crops": "86 blind crops, re-encoded, × caption segments",
    "boxes": "true boxes, re-encoded, × caption segments (an oracle)",
}


def card(model, training: dict, stored: dict) -> str:
    facts = "\n".join(f"| {what} | {value} |" for what, value in model.card.table().rows)
    steps = ", ".join(map(str, training["kept"][:-1]))
    return f"""# {NAME}

A small CLIP of open_clip's architecture that saw nothing but drawn scenes: one to four shapes, whose colours, surfaces,
sizes, numbers, relations and boxes are known (`workbench.data.scenes`). It is there to fail as large ones do, where the
truth is known.

| what | value |
|---|---|
{facts}

## How it was made

`{training["recipe"]}`: symmetric InfoNCE on fresh scenes, batch {training["batch_size"]}, AdamW, learning rate
{training["learning_rate"]} after {training["warmup"]} steps of warm-up, {training["steps"]} steps, seed {training["seed"]}, one
thread. No two scenes of a batch share all their words (collision-free), so who has which never has to be known to solve a
batch. 35 % are close-ups of one object. A fifth of the 120 colour–shape combinations is never shown. Two renderings: A flat on
a light ground, B lit, of less contrast, on a grainy ground.

The last weights ship in full, those after {steps} steps in half precision: `load_model("{NAME}@1000")`. The log is
`log.jsonl`. Another machine gives other last bits, and after thousands of steps other weights: expect the tables below to
within their intervals, not the digests.

## What was measured

{stored["made_by"]}; quads have seeds of their own. Group score, percent [95 % over quads]: both pictures prefer their own
caption and both captions their own picture, strictly; chance 16.7, and near 0 for what adds a score of the picture to one of
the caption. Rules: {"; ".join(f"**{rule}**, {told}" for rule, told in HOW.items())}.

### Along training, {CURVE} quads per category, seed 0

{curve(stored, RUNS[0])}

### After 2,000 steps, three seeds and the naive sampler

{seeds(stored)}

### The shipped weights, {FULL} quads per category of trained combinations, {CURVE} of the others

{in_full(stored)}

### What it says

Colour and Material: what is read from crops is far above what one vector for the whole tells, from the first checkpoint to the
last, on the same frozen weights. Size and Quantity: true boxes fall below chance, since an enlarged crop has neither; the
global cosine learns both. Relation: no rule reaches chance. Patch–token late interaction of one pass is below chance
everywhere. Held-out combinations and unseen wordings change little. The naive sampler makes no clear difference here: in a
world of so many attributes swap partners hardly meet in a batch of 128 as it is.

### The scenes themselves

{simple(stored)}

## Definitions

Colour, Material (surface pattern) and Size swap the attribute of two objects. **Quantity** swaps the numbers of two groups, one
and two or one and three; the papers do not define theirs. Relation swaps the places: "a red star left of a blue moon" against
"a blue moon left of a red star". Both pictures of a quad have the same boxes and ground, both captions the same template.

## What it cannot do

It knows {len(words())} words and no photograph. Words outside its vocabulary are one unknown token to it.
"""


def words() -> list[str]:
    from recipes.scenes_clip import vocabulary

    return [word for word in vocabulary() if not word.startswith("<")]


def rows_of(stored: dict) -> dict[tuple[str, int], dict]:
    return {(row["run"], row["step"]): row for row in stored["rows"].values() if "run" in row}


def curve(stored: dict, config) -> str:
    rows = rows_of(stored)
    header = ("steps", "rule", *CATEGORIES)
    lines = [
        (str(step), rule, *(cell(found(rows[config.run, step], category, rule)) for category in CATEGORIES))
        for step in config.kept
        for rule in RULES
    ]
    return table(header, lines)


def seeds(stored: dict) -> str:
    rows, step = rows_of(stored), 2000
    lines = [
        (config.run, rule, *(cell(found(rows[config.run, step], category, rule)) for category in CATEGORIES))
        for config in RUNS
        for rule in RULES
    ]
    return table(("run", "rule", *CATEGORIES), lines)


def in_full(stored: dict) -> str:
    lines = []
    for name in SETS:
        scores = ControlledScores.from_json(stored["rows"][f"{NAME}, {name}"]["groups"])
        shown = [row for row in scores.table().rows if name == next(iter(SETS)) or row[1] in RULES]
        lines += [(name, *row[1:]) for row in shown]  # who does not look scores the same on all sets
    fine = ControlledScores.from_json(stored["rows"][f"{NAME}, 270 crops"]["groups"])
    lines += [("seen, 270 crops (n = 100)", *row[1:]) for row in fine.table().rows if row[1] == "crops"]
    return table(("set", "scorer", *CATEGORIES), lines)


def simple(stored: dict) -> str:
    lines = []
    for (run, step), row in rows_of(stored).items():
        told = [row["single"][name] for name in ("colour", "shape", "both")]
        told += [row["retrieval"][name] for name in ("image_to_text", "text_to_image")]
        lines.append((f"{run}@{step}", *(share(each) for each in told)))
    header = ("run@step", "close-ups: colour", "shape", "both (chance 1.0)", "R@1 of 500, image→text", "text→image")
    return (
        "Percent [95 %], 500 fresh scenes; close-ups are named by colour and shape, though 60 % have a surface.\n\n"
        + table(header, lines)
    )


def found(row: dict, category: str, rule: str) -> dict:
    return next(each for each in row["groups"] if (each["category"], each["scorer"]) == (category, rule))


def cell(groups: dict) -> str:
    return percent(groups["group"], groups["intervals"]["group"], digits=1)


def share(interval: dict) -> str:
    return percent(interval["mean"], (interval["low"], interval["high"]), digits=1)


def table(header, lines) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    stored = json.loads((paths.assets() / "results" / RESULT).read_text(encoding="utf-8"))
    training = json.loads((model_folder() / "training.json").read_text(encoding="utf-8"))
    write_atomically(model_folder() / "README.md", card(load_model(NAME, device="cpu"), training, stored))


if __name__ == "__main__":
    main()
