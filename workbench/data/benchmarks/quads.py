"""Two pictures and two captions: Winoground and BiVLC, as a saved data set or as a folder of pictures."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from workbench.data.benchmarks.items import Quad
from workbench.data.benchmarks.reading import format_of, inside, looked_up, of_type, read_json, text
from workbench.data.benchmarks.record import Benchmark, Gathering
from workbench.data.benchmarks.tables import ENDINGS, InTable, find_tables, read_table
from workbench.data.samples import PICTURE_ENDINGS

PLAIN = ("examples.jsonl", "examples.json", "examples.csv", "data/examples.jsonl")
WINOGROUND = ("image_0", "image_1", "caption_0", "caption_1")
BIVLC = ("image", "negative_image", "caption", "negative_caption")


def read_winoground(folder: Path, name: str, **facts) -> Benchmark:
    """Winoground (arXiv 2204.03162): the same words in both captions."""
    return _read(folder / "winoground", name, WINOGROUND, "collapsed_tag", **facts)


def read_bivlc(folder: Path, name: str, **facts) -> Benchmark:
    """BiVLC (arXiv 2406.09952): SugarCrepe's captions with a picture made for the negative."""
    return _read(folder / "bivlc", name, BIVLC, "type", **facts)


def _read(folder: Path, name: str, fields: tuple[str, str, str, str], subset: str, **facts) -> Benchmark:
    found = Gathering(name)
    for file in find_tables(folder) or [
        next((path for each in PLAIN if (path := folder / each).is_file()), folder / PLAIN[0])
    ]:
        with format_of(file, name, f"rows of {', '.join(fields)}"):
            rows = read_table(file, fields[:2]) if file.suffix in ENDINGS else _plain(file)
            for place, row in enumerate(rows):
                found.add(_quad(file, f"{file.stem}/{place}", row, fields, subset))
    return found.done("quads", **facts)


def _quad(file: Path, place: str, row: dict, fields: tuple[str, str, str, str], subset: str) -> Quad:
    first, second = (_picture(file.parent, row[field]) for field in fields[:2])
    captions = text(row, fields[2]), text(row, fields[3])
    own = row.get("id")  # BiVLC has none: the row of its file stands in
    return Quad(place if own is None else str(own), str(row.get(subset) or ""), (first, second), captions)


def _picture(folder: Path, cell) -> Path | InTable:
    """A cell names a file in the folder or in its images/, with or without its ending."""
    if isinstance(cell, InTable):
        return cell
    name = of_type(cell, str, "a picture")
    endings = ("",) if name.lower().endswith(PICTURE_ENDINGS) else PICTURE_ENDINGS
    tried = [inside(below, name + ending) for below in (folder / "images", folder) for ending in endings]
    return next((path for path in tried if looked_up(path.is_file)), tried[0])


def _plain(file: Path) -> list[dict]:
    if file.suffix == ".jsonl":
        lines = file.read_text(encoding="utf-8-sig").splitlines()
        return [of_type(json.loads(line), dict, "a line") for line in lines if line.strip()]
    if file.suffix == ".csv":
        with file.open(newline="", encoding="utf-8-sig") as opened:
            return list(csv.DictReader(opened, strict=True))
    return of_type(read_json(file), list, "it")
