"""ARO's Visual Genome halves (arXiv 2210.01936): relations and attributes in a box, averaged over their groups."""

from __future__ import annotations

from pathlib import Path

from workbench.data.benchmarks.items import Box, Item
from workbench.data.benchmarks.reading import format_of, inside, of_type, read_json, text
from workbench.data.benchmarks.record import Benchmark, Gathering

# The authors' notebook also drops relations that read the same both ways; the published averages keep them, as we do.
LEAST = {"relation": 1, "attribution": 25}  # a pair of attributes with fewer items counts nowhere, a relation always
EMPTY_BOX = "empty box"


def read_aro(half: str, folder: Path, name: str, **facts) -> Benchmark:
    """`half`: relation or attribution. An id is the place in the published list, which has no keys."""
    found = Gathering(name)
    file = folder / "aro" / f"visual_genome_{half}.json"
    with format_of(file, "ARO", "a list of image_path, bbox_x, bbox_y, bbox_w, bbox_h, true_caption, false_caption"):
        for place, entry in enumerate(of_type(read_json(file), list, "it")):
            box = _box(entry)
            if box[0] >= box[2] or box[1] >= box[3]:
                found.skipped[EMPTY_BOX] += 1
            else:
                found.add(_item(folder, half, place, entry, box))
    return found.done("groups", least_group=LEAST[half], **facts)


def _item(folder: Path, half: str, place: int, entry: dict, box: Box) -> Item:
    return Item(
        f"{half}/{place}",
        half,
        inside(folder / "aro" / "images", entry["image_path"]),
        text(entry, "true_caption"),
        (text(entry, "false_caption"),),
        box=box,
        group=text(entry, "relation_name") if half == "relation" else _pair(entry["attributes"]),
    )


def _box(entry: dict) -> Box:
    x, y, w, h = (_number(entry, f"bbox_{side}") for side in "xywh")
    return x, y, x + w, y + h


def _number(entry: dict, key: str) -> int:
    if isinstance(entry[key], bool) or not isinstance(entry[key], int | float):
        raise TypeError(f"{key} is {entry[key]!r}, no number of pixels")
    return round(entry[key])


def _pair(attributes) -> str:
    if len(of_type(attributes, list, "attributes")) != 2:
        raise ValueError(f"there are {len(attributes)} attributes, not 2")
    return f"{text(attributes, 0)}_{text(attributes, 1)}"
