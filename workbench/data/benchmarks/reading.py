"""Reading published files: where they lie, what is missing, and what is not in their format, each said in one sentence."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

NOT_THE_FORMAT = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OverflowError, csv.Error)


def data_folder(root: str | Path | None = None) -> Path:
    """`root`, else $WORKBENCH_DATA, else ./data."""
    return Path(root or os.environ.get("WORKBENCH_DATA", "data")).expanduser()


def looked_up(look: Callable[[], bool]) -> bool:
    """What `path.is_file` or `path.is_dir` says; False where a name out of a file is too long to look up."""
    try:
        return look()
    except OSError:
        return False


# What has to be there --------------------------------------------------------------------------------------------------


def lacking(folder: Path, needs: Sequence[str]) -> list[str]:
    """The needs that `folder` does not meet. A need is a file, a folder (it ends in "/"), or several of which one is
    enough ("a.json | b.json"); "*" stands for any name."""
    return [need for need in needs if not any(_is_there(folder, one) for one in need.split(" | "))]


def _is_there(folder: Path, need: str) -> bool:
    if "*" in need:
        return folder.is_dir() and next(folder.glob(need), None) is not None
    return (folder / need).is_dir() if need.endswith("/") else (folder / need).is_file()


def must_be_there(folder: Path, title: str, needs: Sequence[str], put: str) -> None:
    """Raises FileNotFoundError that names what is missing, where it belongs and where it is published."""
    if missing := lacking(folder, needs):
        named = ", ".join(" or ".join(str(folder / one) for one in need.split(" | ")) for need in missing)
        raise FileNotFoundError(
            f"{title} needs {named}; put {put} there, or name another folder in WORKBENCH_DATA"
            f"{_other_level(folder, needs, len(missing))}"
        )


def _other_level(folder: Path, needs: Sequence[str], n: int) -> str:
    """What is missing here may lie one level up or down: the usual slip."""
    if not folder.is_dir():
        return f" (there is no folder {folder})"
    if len(lacking(folder.absolute().parent, needs)) < n:
        return f" ({folder} is one folder too deep: give {folder.absolute().parent})"
    below = min(
        (path for path in sorted(folder.iterdir()) if path.is_dir()),
        key=lambda path: len(lacking(path, needs)),
        default=None,
    )
    more = below is not None and len(lacking(below, needs)) < n
    return f" (more of it is in {below}: give that folder)" if more else ""


# Files of a known format -----------------------------------------------------------------------------------------------


@contextmanager
def format_of(file: Path, title: str, what: str) -> Iterator[None]:
    """Whatever a file of another format raises, as one ValueError."""
    try:
        yield
    except NOT_THE_FORMAT as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{file} is not {title}'s format, {what} ({reason}); get it again") from error


def read_json(file: Path):
    """Raises ValueError for a file that is cut short or no JSON, or where a key comes twice (the first would be lost)."""
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"), object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is cut short or no JSON: {error}") from error


def _unique(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} comes twice")
    return found


def of_type(value, kind: type, name: str):
    """`value` if it is a `kind`, with something in it where it is a dict or a list. Raises TypeError, ValueError."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{name} is {type(value).__name__}, not {kind.__name__}")
    if kind in (dict, list) and not value:
        raise ValueError(f"{name} is empty")
    return value


def text(entry, key: str) -> str:
    """The string at `key` (or index) of an entry. Raises KeyError, TypeError."""
    return of_type(entry[key], str, f"{key!r}").strip()


def inside(folder: Path, name: str) -> Path:
    """`folder`/`name`, for a name out of a file. Raises ValueError for a name that leads out of the folder."""
    path = PurePosixPath(of_type(name, str, "a picture's name"))
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"the picture {name!r} is not inside its folder")
    return folder / path
