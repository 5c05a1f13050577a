"""VALSE (arXiv 2112.07566): a caption and its foil, in eleven pieces."""

from __future__ import annotations

from pathlib import Path

from workbench.data.benchmarks.items import Item
from workbench.data.benchmarks.reading import format_of, inside, looked_up, of_type, read_json, text
from workbench.data.benchmarks.record import Benchmark, Gathering

PHENOMENA = {
    "existence": ("existence",),
    "plurals": ("plurals",),
    "counting": ("counting-hard", "counting-small-quant", "counting-adversarial"),
    "relations": ("relations",),
    "actions": ("action-replacement", "actant-swap"),
    "coreference": ("coreference-standard", "coreference-hard"),
    "foil-it": ("foil-it",),
}
PIECES = tuple(piece for pieces in PHENOMENA.values() for piece in pieces)
AGREED = 2  # of three annotators, that the caption and not the foil is true
DISPUTED = "fewer than two annotators for the caption (mturk.caption < 2)"
SHARED = ("coco/val2014", "coco/val2017")  # pictures that other benchmarks need as well


def read_valse(folder: Path, name: str, **facts) -> Benchmark:
    found = Gathering(name)
    for piece in PIECES:
        file = folder / "valse" / f"{piece}.json"
        with format_of(file, "VALSE", "a dict of image_file, dataset, caption, foil, mturk"):
            for key, entry in of_type(read_json(file), dict, "it").items():
                if of_type(entry["mturk"]["caption"], int, "mturk.caption") < AGREED:
                    found.skipped[DISPUTED] += 1
                else:
                    found.add(_item(folder, piece, key, entry))
    return found.done("choice", **facts)


def _item(folder: Path, piece: str, key: str, entry: dict) -> Item:
    caption = entry["caption"]
    true = text(caption, 0) if isinstance(caption, list) else text(entry, "caption")
    return Item(f"{piece}/{key}", piece, _picture(folder, piece, entry), true, (text(entry, "foil"),))


def _picture(folder: Path, piece: str, entry: dict) -> Path:
    """Five data sets lend the pictures; they may lie together, by data set, by piece, or where COCO lies."""
    name, images = entry["image_file"], folder / "valse" / "images"
    inside(images, str(entry.get("dataset", ".")))
    places = (images, images / str(entry.get("dataset", ".")), images / piece, *(folder / each for each in SHARED))
    tried = [inside(place, name) for place in places]
    return next((path for path in tried if looked_up(path.is_file)), tried[0])
