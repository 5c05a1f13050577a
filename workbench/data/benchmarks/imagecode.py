"""ImageCoDe (arXiv 2203.15867): which of ten similar pictures a text means; frames of a video, or photos."""

from __future__ import annotations

import re
from pathlib import Path

from workbench.data.benchmarks.items import PictureChoice
from workbench.data.benchmarks.reading import format_of, inside, looked_up, of_type, read_json, text
from workbench.data.benchmarks.record import Benchmark, Gathering

PICTURES = 10
FOLDERS = ("image-sets", "games")


def read_imagecode(folder: Path, name: str, **facts) -> Benchmark:
    """The validation set, the one with public answers that others report. Pictures go by the number in their names, so
    that a missing one moves no other."""
    found = Gathering(name)
    base = folder / "imagecode"
    file = base / "valid_data.json"
    sets = next((base / each for each in FOLDERS if (base / each).is_dir()), base / FOLDERS[0])
    with format_of(file, "ImageCoDe", "a dict of folders of {number of the picture: text}"):
        for each, queries in of_type(read_json(file), dict, "it").items():
            pictures = _numbered(inside(sets, each))
            for number in of_type(queries, dict, each):
                found.add(
                    PictureChoice(f"{each}/{number}", _kind(each), text(queries, number), pictures, _target(number))
                )
    return found.done("pictures", **facts)


def _kind(folder: str) -> str:
    return "static" if "open-images" in folder else "video"


def _target(number: str) -> int:
    if not number.isdecimal() or int(number) >= PICTURES:
        raise ValueError(f"the picture {number!r} is none of 0 to {PICTURES - 1}")
    return int(number)


def _numbered(folder: Path) -> tuple[Path, ...]:
    """img0 … img9 in order, whatever their ending; one that is not there under the name it should have."""
    there = {}
    for path in folder.iterdir() if looked_up(folder.is_dir) else ():
        if match := re.fullmatch(r"img(\d+)\.(?:jpe?g|png)", path.name):
            there[int(match[1])] = path
    return tuple(there.get(k, folder / f"img{k}.jpg") for k in range(PICTURES))
