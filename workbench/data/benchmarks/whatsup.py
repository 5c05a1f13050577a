"""What'sUp (arXiv 2310.19785): where one thing is to another, in four relations of the same two things, or in two."""

from __future__ import annotations

from pathlib import Path

from workbench.data.benchmarks.items import Item
from workbench.data.benchmarks.reading import format_of, inside, of_type, read_json, text
from workbench.data.benchmarks.record import Benchmark, Gathering

CONTROLLED = {
    "a": ("controlled_images_dataset.json", "controlled_images"),
    "b": ("controlled_clevr_dataset.json", "controlled_clevr"),
}
QUESTIONS = {
    f"{of}-{n}": (f"{of}_qa_{n}_obj.json", folders)
    for of, folders in (("coco", ("whatsup/val2017", "coco/val2017")), ("vg", ("whatsup/vg_images",)))
    for n in ("one", "two")
}
RELATIONS = ("left", "right", "on", "under", "in-front", "behind")


def read_controlled(of: str, folder: Path, name: str, **facts) -> Benchmark:
    """`of`: "a" (photos) or "b" (on a board). Group and subset are the two things and the relation, as the file is named."""
    found = Gathering(name)
    listed, pictures = CONTROLLED[of]
    file = folder / "whatsup" / listed
    with format_of(file, name, "a list of image_path, caption_options[4], the true one first"):
        for entry in of_type(read_json(file), list, "it"):
            picture = inside(folder / "whatsup" / pictures, text(entry, "image_path").rpartition("/")[2])
            things, relation = _parts(picture.stem)
            options = _options(entry["caption_options"])
            found.add(Item(picture.stem, relation, picture, options[0], tuple(options[1:]), group=things))
    return found.done("sets", **facts)


def _options(listed) -> list[str]:
    if len(of_type(listed, list, "caption_options")) != 4:
        raise ValueError(f"there are {len(listed)} caption_options, not 4")
    return [text(listed, k) for k in range(4)]


def _parts(stem: str) -> tuple[str, str]:
    """mug_left_of_table → "mug, table" and "left"."""
    first, relation, *_, last = stem.split("_")
    if relation not in RELATIONS:
        raise ValueError(f"the file name {stem!r} has no relation ({', '.join(RELATIONS)})")
    return f"{first}, {last}", relation


def read_questions(of: str, folder: Path, name: str, **facts) -> Benchmark:
    """`of`: coco-one, coco-two, vg-one or vg-two. An id is the place in the published list, which has no keys."""
    found = Gathering(name)
    listed, places = QUESTIONS[of]
    file = folder / "whatsup" / listed
    pictures = next((folder / place for place in places if (folder / place).is_dir()), folder / places[0])
    with format_of(file, name, "a list of [picture, right caption, wrong caption]"):
        for place, entry in enumerate(of_type(read_json(file), list, "it")):
            number = int(entry[0])
            picture = pictures / (f"{number:012}.jpg" if of.startswith("coco") else f"{number}.jpg")
            found.add(Item(f"{of}/{place}", of, picture, text(entry, 1), (text(entry, 2),)))
    return found.done("choice", **facts)
