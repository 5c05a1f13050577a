"""Measure scenes-lvlm as a captioner on fresh scenes, and what its summary token knows before anything tunes it.

    python -m recipes.measure_scenes_lvlm   # a few minutes on one core

300 scenes of each number of objects, one to four, are told briefly and at length by greedy decoding. A thing that a caption
names is right where its shape, colour, surface, size and number all are; F1 is of the things named and the things there, of
each scene, and the mean is over scenes. Scenes have a seed of their own: none was trained on.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import torch

from recipes.files import sha256, write_json
from recipes.scenes_clip import bits
from recipes.scenes_lvlm import NAME, model_folder
from workbench import paths
from workbench.data.scenes import Scene, draw, scenes
from workbench.data.scenes.asking import TOTALS, long_caption, things_in
from workbench.data.scenes.world import MOST, Thing
from workbench.evaluation import bootstrap, retrieval_ranks
from workbench.evaluation.statistics import Interval, share
from workbench.models.lvlm import PRESETS, LvlmEncoder
from workbench.models.registry import load_model

RESULT = "scenes_lvlm.json"
SEED, EACH, GALLERY = "scenes-lvlm", 300, 500
ASKED = {
    "briefly": "<image>\ndescribe the picture",
    "at length": "<image>\ndescribe the picture in detail",
    "number": "<image>\nhow many objects are in the picture",
}
PARTS = ("colour", "shape", "material")


def fresh(objects: int, n: int = EACH) -> list[Scene]:
    """The first n scenes of SEED that show so many objects."""
    found, start = [], 0
    while len(found) < n:
        found += [each for each in scenes(500, SEED, start=start) if len(each.boxes) == objects]
        start += 500
    return found[:n]


def f1(said: list[Thing], there: list[Thing]) -> float:
    """F1 of two bags of things; a thing is right only as a whole, "a" and "one" being the same."""
    a, b = Counter(map(whole, said)), Counter(map(whole, there))
    return 2 * sum((a & b).values()) / (sum(a.values()) + sum(b.values()))


def whole(thing: Thing) -> tuple:
    return thing.shape, thing.colour, thing.material, thing.size, thing.objects


def captioned(model: LvlmEncoder, shown: list[Scene]) -> dict:
    """One number of objects: F1 and the share of captions without a fault, briefly and at length, and what is counted."""
    pictures = [draw(scene, model.card.image_size) for scene in shown]
    said = {how: model.generate(pictures, prompt) for how, prompt in ASKED.items()}
    row = {"n": len(shown)}
    for how in ("briefly", "at length"):
        scores = [f1(things_in(text), scene.things) for text, scene in zip(said[how], shown, strict=True)]
        row[how] = {"f1": stored(bootstrap(scores)), "all things right": stored(share([each == 1 for each in scores]))}
    told = [
        as_words(text) == as_words(long_caption(scene)) for text, scene in zip(said["at length"], shown, strict=True)
    ]
    row["at length"]["and all places and the ground"] = stored(share(told))
    counted = [text == TOTALS[len(scene.boxes) - 1] for text, scene in zip(said["number"], shown, strict=True)]
    row["number"] = stored(share(counted))
    if len(shown[0].boxes) == 1:
        row["parts"] = {part: stored(share(of_part(part, said["at length"], shown))) for part in PARTS}
    row["examples"] = [[long_caption(scene), text] for scene, text in zip(shown, said["at length"], strict=True)][:3]
    return row


def of_part(part: str, said: list[str], shown: list[Scene]) -> list[bool]:
    """Whether the only thing of a scene has the right colour, shape or surface; False where none or several are named."""
    named = [things_in(text) for text in said]
    truth = [scene.things[0] for scene in shown]
    return [len(n) == 1 and getattr(n[0], part) == getattr(t, part) for n, t in zip(named, truth, strict=True)]


def as_words(text: str) -> str:
    return " ".join(text.replace(",", " , ").replace(":", " : ").split())


def retrieved(model: LvlmEncoder) -> dict:
    """R@1 among fresh scenes and their short captions, by every public wording."""
    shown = list({each.contents: each for each in scenes(2 * GALLERY, f"{SEED} gallery")}.values())[:GALLERY]
    pictures, texts = [draw(scene, model.card.image_size) for scene in shown], [scene.caption for scene in shown]
    rows = {}
    for name in PRESETS:
        asked = model.with_prompts(name)
        sides = asked.encode_image(pictures).post, asked.encode_text(texts).post
        own = [[i] for i in range(GALLERY)]
        ways = {"image_to_text": sides, "text_to_image": sides[::-1]}
        rows[name] = {way: stored(share(retrieval_ranks(*pair, own) == 1)) for way, pair in ways.items()}
    return {"n": GALLERY, "rows": rows}


def stored(interval: Interval) -> dict:
    return {key: round(getattr(interval, key), 5) for key in ("mean", "low", "high")}


def main() -> None:
    torch.set_num_threads(1)
    model = load_model(NAME, device="cpu")
    result = {
        "made_by": "recipes/measure_scenes_lvlm.py",
        "scripts": {"scenes": bits(), Path(__file__).name: sha256(Path(__file__))},
        "weights": sha256(model_folder() / "model.safetensors"),
        "rows": {str(objects): captioned(model, fresh(objects)) for objects in range(1, MOST + 1)},
        "retrieval": retrieved(model),
    }
    write_json(paths.assets() / "results" / RESULT, result)


if __name__ == "__main__":
    main()
