"""The README of scenes-lvlm, written from what its training and its measurement stored.

python -m recipes.scenes_lvlm_card
"""

from __future__ import annotations

import json

from recipes.files import write_atomically
from recipes.measure_scenes_lvlm import EACH, GALLERY, PARTS, RESULT
from recipes.scenes_card import share, table
from recipes.scenes_lvlm import NAME, PROMPTS, SPECIAL, model_folder, vocabulary
from workbench import paths
from workbench.data.scenes.asking import INSTRUCTIONS, TOTALS
from workbench.models.registry import load_model

COLUMNS = {
    "F1, briefly": ("briefly", "f1"),
    "F1, at length": ("at length", "f1"),
    "every thing right, at length": ("at length", "all things right"),
    "and every place and the ground": ("at length", "and all places and the ground"),
}


def card(model, training: dict, stored: dict) -> str:
    facts = "\n".join(f"| {what} | {value} |" for what, value in model.card.table().rows)
    return f"""# {NAME}

A small LLaVA (transformers' own class: a CLIP image tower, a projector of two layers, a Llama) that tells what drawn scenes show
(`workbench.data.scenes`) and answers what it is asked of them. It is there to be read as a dual encoder, untuned and tuned,
where the truth is known.

| what | value |
|---|---|
{facts}

## How it was made

`{training["recipe"]}`: next-token cross-entropy on the answers, {training["steps"]} steps of {training["batch_size"]} fresh
scenes, AdamW, learning rate {training["learning_rate"]} after {training["warmup"]} steps of warm-up and then along half a cosine
to 0, seed {training["seed"]}, one thread. The image tower ({training["vision_layers"]} layers of {training["vision_width"]},
patches of {training["patch_size"]} px in pictures of {training["image_size"]}) starts as that of scenes-clip, as LLaVA's is that
of a CLIP, and learns at {training["vision_rate"]} of the rate; the language model ({training["layers"]} layers of
{training["width"]}, heads of 32) and the projector start from nothing. At every step each scene is told at length, and is asked
something else; half of the scenes are asked something of their caption alone, without the picture, at every fourth step of their
long one. A fifth of the 120 colour–shape combinations is never shown. The log is `log.jsonl`. Another machine gives other last
bits, and so other weights: expect the tables to within their intervals.

It was asked in {sum(map(len, INSTRUCTIONS.values()))} wordings, each of a "picture" or an "image", a "sentence" or a "caption":

{wordings()}

It is read with the words of {PROMPTS.source} at a temperature of {PROMPTS.temperature}; `with_prompts` takes others.

## What was measured

`{stored["made_by"]}`: {EACH} fresh scenes of each number of objects, greedy decoding, percent [95 % over scenes]. A thing is
right where shape, colour, surface, size and number all are; F1 is of the things named and the things there, of each scene.

{captions(stored)}

Of one object, at length: {parts(stored)}. Counted right, asked for the number alone: {counted(stored)}.

What it says at length, and what is there:

{examples(stored)}

### As a dual encoder, before anything tunes it

R@1 among {GALLERY} fresh scenes and their short captions, no two of the same words; chance {100 / GALLERY:.1f}.

{retrieval(stored)}

## What it cannot do

It knows {len(vocabulary()) - len(SPECIAL)} words and no photograph; any other word is one unknown token to it. It has never seen
two pictures in one conversation, nor a second turn.
"""


def wordings() -> str:
    return "\n".join(f"* {task}: {'; '.join(each)}" for task, each in INSTRUCTIONS.items())


def captions(stored: dict) -> str:
    lines = [
        (objects, *(share(row[how][what]) for how, what in COLUMNS.values())) for objects, row in stored["rows"].items()
    ]
    return table(("objects", *COLUMNS), lines)


def parts(stored: dict) -> str:
    named = {"material": "surface"}
    return ", ".join(f"{named.get(part, part)} {share(stored['rows']['1']['parts'][part])}" for part in PARTS)


def counted(stored: dict) -> str:
    return ", ".join(f"{TOTALS[int(n) - 1]} {share(row['number'])}" for n, row in stored["rows"].items())


def examples(stored: dict) -> str:
    lines = [pair[::-1] for row in stored["rows"].values() for pair in row["examples"][:1]]
    return table(("said", "there"), lines)


def retrieval(stored: dict) -> str:
    rows = stored["retrieval"]["rows"].items()
    return table(
        ("prompts", "image→text", "text→image"),
        [(name, share(row["image_to_text"]), share(row["text_to_image"])) for name, row in rows],
    )


def main() -> None:
    stored = json.loads((paths.assets() / "results" / RESULT).read_text(encoding="utf-8"))
    training = json.loads((model_folder() / "training.json").read_text(encoding="utf-8"))
    write_atomically(model_folder() / "README.md", card(load_model(NAME, device="cpu"), training, stored))


if __name__ == "__main__":
    main()
