"""SugarCrepe and SugarCrepe++: hard negatives for pictures of COCO val2017."""

from __future__ import annotations

from pathlib import Path

from workbench.data.benchmarks.items import Item
from workbench.data.benchmarks.reading import data_folder, format_of, inside, must_be_there, of_type, read_json, text
from workbench.data.benchmarks.record import Benchmark, Gathering

SUGARCREPE = ("add_att", "add_obj", "replace_att", "replace_obj", "replace_rel", "swap_att", "swap_obj")
SUGARCREPE_PP = tuple(name for name in SUGARCREPE if not name.startswith("add"))
NEEDS = (*(f"sugarcrepe/{name}.json" for name in SUGARCREPE), "coco/val2017/")
NEEDS_PP = (*(f"sugarcrepe++/{name}.json" for name in SUGARCREPE_PP), "coco/val2017/")
PUT = "the seven files of github.com/RAIVNLab/sugar-crepe and the pictures of COCO val2017"


def sugarcrepe(root: str | Path | None = None) -> tuple[Item, ...]:
    """SugarCrepe (arXiv 2306.14610): seven files of one true and one hard negative caption for pictures of COCO val2017.

    Looked for in `root`/sugarcrepe/<subset>.json (keys "0", "1" … with gaps, so items go by key) and
    `root`/coco/val2017/<file>; `root` as in `data_folder`. The files and the folder of pictures have to be there, but all
    items come, even those whose own picture lacks: `load_benchmark("sugarcrepe")` counts these. Raises FileNotFoundError
    that names what is missing and where it belongs, ValueError for a file of another format.
    """
    folder = data_folder(root)
    must_be_there(folder, "SugarCrepe", NEEDS, PUT)
    return tuple(item for subset in SUGARCREPE for item in _items(folder, subset))


def _items(folder: Path, subset: str) -> list[Item]:
    file = folder / "sugarcrepe" / f"{subset}.json"
    with format_of(file, "SugarCrepe", "a dict of filename, caption, negative_caption"):
        return [
            Item(
                f"{subset}/{key}",
                subset,
                inside(folder / "coco" / "val2017", entry["filename"]),
                text(entry, "caption"),
                (text(entry, "negative_caption"),),
            )
            for key, entry in of_type(read_json(file), dict, "it").items()
        ]


def read_sugarcrepe(folder: Path, name: str, **facts) -> Benchmark:
    found = Gathering(name)
    for subset in SUGARCREPE:
        for item in _items(folder, subset):
            found.add(item)
    return found.done("choice", **facts)


def read_sugarcrepe_pp(folder: Path, name: str, **facts) -> Benchmark:
    """SugarCrepe++ (arXiv 2406.11171): two captions that mean the same, and one that does not; lists with an id each."""
    found = Gathering(name)
    for subset in SUGARCREPE_PP:
        file = folder / "sugarcrepe++" / f"{subset}.json"
        with format_of(file, "SugarCrepe++", "a list of id, filename, caption, caption2, negative_caption"):
            for entry in of_type(read_json(file), list, "it"):
                found.add(_two_positives(folder, subset, entry))
    return found.done("two positives", **facts)


def _two_positives(folder: Path, subset: str, entry: dict) -> Item:
    picture = inside(folder / "coco" / "val2017", entry["filename"])
    captions = text(entry, "caption"), (text(entry, "negative_caption"),)
    return Item(f"{subset}/{entry['id']}", subset, picture, *captions, also_true=text(entry, "caption2"))
