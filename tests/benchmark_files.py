"""Tiny benchmarks in the formats of the published ones, written for the tests: `write[name](root)` makes what it needs."""

import json
from functools import partial
from pathlib import Path

from PIL import Image

from workbench.data.benchmarks.sugar import SUGARCREPE, SUGARCREPE_PP
from workbench.data.benchmarks.valse import PIECES
from workbench.data.benchmarks.whatsup import CONTROLLED, QUESTIONS


def picture(path: Path, colour=(80, 20, 90), size=(40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def save(path: Path, value) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def coco_2017(root: Path) -> None:
    for i in range(3):
        picture(root / f"coco/val2017/{i}.jpg", (80 * i, 20, 90))


def sugarcrepe(root: Path) -> None:
    coco_2017(root)
    for subset in SUGARCREPE:
        entries = {
            str(key): {
                "filename": f"{key % 3}.jpg",
                "caption": f"a {key} red cube",
                "negative_caption": f"a {key} blue cat",
            }
            for key in (0, 1, 3, 4)  # the real files have gaps, too
        }
        save(root / f"sugarcrepe/{subset}.json", entries)


def sugarcrepe_pp(root: Path) -> None:
    coco_2017(root)
    for subset in SUGARCREPE_PP:
        entries = [
            {
                "id": key,
                "filename": f"{key % 3}.jpg",
                "caption": f"a {key} red cube",
                "caption2": f"one cube, {key}, in red",
                "negative_caption": f"a {key} blue cat",
            }
            for key in (0, 2)
        ]
        save(root / f"sugarcrepe++/{subset}.json", entries)


def aro(half: str, root: Path) -> None:
    picture(root / "aro/images/1.jpg")
    box = {"image_path": "1.jpg", "bbox_x": 4, "bbox_y": 6, "bbox_w": 20, "bbox_h": 10}
    groups = [("on", 26), ("under", 3)] if half == "relation" else [(("red", "big"), 26), (("old", "wet"), 3)]
    entries = [
        {
            **box,
            "true_caption": f"the {n} cat is {group} the mat",
            "false_caption": f"the mat is {group} the {n} cat",
            **({"relation_name": group} if half == "relation" else {"attributes": list(group)}),
        }
        for group, size in groups
        for n in range(size)
    ]
    save(root / f"aro/visual_genome_{half}.json", entries)


def coco_captions(root: Path) -> None:
    entries = []
    for i in range(2):
        picture(root / f"coco/val2014/COCO_val2014_{i}.jpg", (80 * i, 20, 90))
        captions = [
            f"A man {verb} his {i} red dogs near the big barn." for verb in ("walks", "pets", "feeds", "sees", "has")
        ]
        entries.append({"image": f"val2014/COCO_val2014_{i}.jpg", "caption": captions})
    save(root / "coco/coco_karpathy_test.json", entries)


def flickr_captions(root: Path) -> None:
    """Karpathy's own file; a training picture, which is not asked for, is not there."""
    entries = []
    for i, split in enumerate(("test", "train", "test")):
        if split == "test":
            picture(root / f"flickr30k/flickr30k-images/{i}.jpg", (80 * i, 20, 90))
        sentences = [{"raw": f"Two small {i} boys run {k} times across the green field."} for k in range(5)]
        entries.append({"filename": f"{i}.jpg", "split": split, "imgid": i, "sentences": sentences})
    save(root / "flickr30k/dataset_flickr30k.json", {"images": entries, "dataset": "flickr30k"})


def winoground(root: Path) -> None:
    lines = []
    for i in range(3):
        for k in (0, 1):
            picture(root / f"winoground/images/ex_{i}_img_{k}.png", (80 * i, 120 * k, 90))
        names = {f"image_{k}": f"ex_{i}_img_{k}" for k in (0, 1)}
        texts = {"caption_0": f"cat {i} on dog", "caption_1": f"dog {i} on cat"}
        lines.append(json.dumps({"id": i, **names, **texts, "collapsed_tag": ("Object", "Relation", "Object")[i]}))
    (root / "winoground/examples.jsonl").write_text("\n".join(lines) + "\n")


def bivlc(root: Path) -> None:
    entries = [
        {
            "image": f"{i}a.png",
            "negative_image": f"{i}b.png",
            "caption": f"cat {i} on dog",
            "negative_caption": f"dog {i} on cat",
            "type": "swap",
            "subtype": "obj",
        }
        for i in range(2)
    ]
    for entry in entries:
        picture(root / "bivlc/images" / entry["image"])
        picture(root / "bivlc/images" / entry["negative_image"], (0, 200, 0))
    save(root / "bivlc/examples.json", entries)


def controlled(of: str, root: Path) -> None:
    listed, folder = CONTROLLED[of]
    said = {"left_of": "to the left of", "right_of": "to the right of"}
    said |= {"on": "on", "under": "under"} if of == "a" else {"in-front_of": "in front of", "behind": "behind"}
    entries = []
    for n, things in enumerate((("mug", "table"), ("beer-bottle", "chair"))):
        for k, (relation, words) in enumerate(said.items()):
            name = f"{things[0]}_{relation}_{things[1]}.jpeg"
            picture(root / "whatsup" / folder / name, (60 * k, 100 * n, 90))
            others = [other for other in said.values() if other != words]
            options = [f"A {things[0]} {each} a {things[1]}" for each in (words, *others)]
            entries.append({"image_path": f"data/{folder}/{name}", "caption_options": options})
    save(root / "whatsup" / listed, entries)


def questions(of: str, root: Path) -> None:
    listed, folders = QUESTIONS[of]
    for number in (7, 12):
        picture(root / folders[0] / (f"{number:012}.jpg" if of.startswith("coco") else f"{number}.jpg"))
    entries = [[number, f"a cat {number} on the left", f"a cat {number} on the right"] for number in (7, 12)]
    save(root / "whatsup" / listed, entries)


def valse(root: Path) -> None:
    picture(root / "valse/images/v7w_1.jpg")
    picture(root / "valse/images/SWiG/a.jpg")
    picture(root / "coco/val2014/b.jpg")
    for piece in PIECES:
        entries = {
            f"{piece}_{k}": {
                "dataset": "SWiG",
                "image_file": name,
                "caption": f"There are {k} cats.",
                "foil": f"There are no {k} cats.",
                "mturk": {"foil": 0, "caption": votes, "other": 3 - votes},
            }
            for k, (name, votes) in enumerate((("v7w_1.jpg", 3), ("a.jpg", 2), ("b.jpg", 2), ("v7w_1.jpg", 1)))
        }
        save(root / f"valse/{piece}.json", entries)


def imagecode(root: Path) -> None:
    sets = {"open-images-1_a": {"5": "a deer head", "0": "some grass "}, "MSR-VTT-video7-shot1_0": {"9": "two girls"}}
    for folder in sets:
        for k in range(10):
            picture(root / f"imagecode/image-sets/{folder}/img{k}.jpg", (25 * k, 20, 90))
    save(root / "imagecode/valid_data.json", sets)


write = {
    "sugarcrepe": sugarcrepe,
    "sugarcrepe++": sugarcrepe_pp,
    "aro-relation": partial(aro, "relation"),
    "aro-attribution": partial(aro, "attribution"),
    "aro-coco-order": coco_captions,
    "aro-flickr-order": flickr_captions,
    "winoground": winoground,
    "bivlc": bivlc,
    "whatsup-a": partial(controlled, "a"),
    "whatsup-b": partial(controlled, "b"),
    **{f"whatsup-{of}": partial(questions, of) for of in QUESTIONS},
    "valse": valse,
    "imagecode": imagecode,
    "coco": coco_captions,
    "flickr30k": flickr_captions,
}
ITEMS = {
    "sugarcrepe": 28,
    "sugarcrepe++": 10,
    "aro-relation": 29,
    "aro-attribution": 29,
    "aro-coco-order": 10,
    "aro-flickr-order": 10,
    "winoground": 3,
    "bivlc": 2,
    "whatsup-a": 8,
    "whatsup-b": 8,
    **{f"whatsup-{of}": 2 for of in QUESTIONS},
    "valse": 33,
    "imagecode": 3,
    "coco": 2,
    "flickr30k": 2,
}
