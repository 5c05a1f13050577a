"""Readers of published benchmarks in their own formats, from a folder of the user's."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

SUGARCREPE = ("add_att", "add_obj", "replace_att", "replace_obj", "replace_rel", "swap_att", "swap_obj")


@dataclass(frozen=True)
class Item:
    """One question: which of the captions is true of the picture? `caption` is, `negatives` are not."""

    id: str
    subset: str
    picture: Path
    caption: str
    negatives: tuple[str, ...]


def data_folder(root: str | Path | None = None) -> Path:
    """`root`, else $WORKBENCH_DATA, else ./data."""
    return Path(root or os.environ.get("WORKBENCH_DATA", "data")).expanduser()


def sugarcrepe(root: str | Path | None = None) -> tuple[Item, ...]:
    """SugarCrepe (arXiv 2306.14610): seven files of one true and one hard negative caption for pictures of COCO val2017.

    Looked for in `root`/sugarcrepe/<subset>.json (keys "0", "1" … with gaps, so items go by key) and
    `root`/coco/val2017/<file>; `root` as in `data_folder`. Raises FileNotFoundError that names what is missing and where it
    belongs, ValueError for a file of another format.
    """
    folder = data_folder(root)
    _must_be_there(folder)
    return tuple(item for subset in SUGARCREPE for item in _items(folder, subset))


def _must_be_there(folder: Path) -> None:
    texts, pictures = folder / "sugarcrepe", folder / "coco" / "val2017"
    missing = [str(texts / f"{subset}.json") for subset in SUGARCREPE if not (texts / f"{subset}.json").is_file()]
    missing += [] if pictures.is_dir() else [str(pictures)]
    if missing:
        raise FileNotFoundError(
            f"SugarCrepe needs {', '.join(missing)}; put the seven files of github.com/RAIVNLab/sugar-crepe and the pictures "
            "of COCO val2017 there, or name another folder in WORKBENCH_DATA"
        )


def _items(folder: Path, subset: str) -> list[Item]:
    file = folder / "sugarcrepe" / f"{subset}.json"
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return [
            Item(
                f"{subset}/{key}",
                subset,
                folder / "coco" / "val2017" / entry["filename"],
                entry["caption"],
                (entry["negative_caption"],),
            )
            for key, entry in stored.items()
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} is not SugarCrepe's format, a dict of filename, caption, negative_caption ({error}); get it again"
        ) from error
