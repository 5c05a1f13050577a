"""What an extraction gives: rows by kind, an id for each, and what could not be read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from workbench.records import Record, Table


@dataclass(frozen=True, eq=False)
class Embeddings(Record):
    """`arrays[kind]` has one row for each of `ids`; `failed` says of every other sample why it has none.

    From a store the arrays are `store.Rows`: read when indexed, whole as `numpy.asarray(rows)`. `computed` of all `shards`
    were not in the store yet.
    """

    ids: tuple[str, ...]
    arrays: Mapping[str, np.ndarray]
    failed: Mapping[str, str] = field(default_factory=dict)
    shards: int = 0
    computed: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, kind: str):
        if kind not in self.arrays:
            raise KeyError(f"no {kind!r} was extracted; there are {', '.join(self.arrays)}")
        return self.arrays[kind]

    def save(self, folder: str | os.PathLike) -> Path:
        """Write ids.json (in the rows' order), failed.json and <kind>.npy for each kind; the files arrive whole.

        Raises ValueError for a folder that holds rows of another extraction.
        """
        folder = Path(folder).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        others = sorted(path.name for path in folder.glob("*.npy") if path.stem not in self.arrays)
        if others:
            raise ValueError(f"{folder} holds {', '.join(others)} of another extraction; choose an empty folder")
        for kind, rows in self.arrays.items():
            with _whole(folder / f"{kind}.npy") as path:
                _write_rows(path, rows)
        for name, value in (("failed.json", dict(self.failed)), ("ids.json", list(self.ids))):
            with _whole(folder / name) as path:
                path.write_text(json.dumps(value, indent=0))
        return folder

    def table(self) -> Table:
        rows = [(kind, " × ".join(map(str, array.shape)), str(array.dtype)) for kind, array in self.arrays.items()]
        rows.append(("shards", f"{self.shards}, of which {self.computed} computed now", ""))
        shown = [*self.failed.items()][:10]
        rows += [("failed", _printable(f"{name}: {reason}"), "") for name, reason in shown]
        if len(self.failed) > len(shown):
            rows.append(("failed", f"and {len(self.failed) - len(shown)} more", ""))
        return Table(f"Embeddings of {len(self):,} samples", ("what", "shape", "dtype"), tuple(rows))


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A place beside a file, which gets the file's name when it is done."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _write_rows(path: Path, rows, step: int = 1024) -> None:
    """Rows of a store as one .npy, some at a time."""
    out = np.lib.format.open_memmap(path, mode="w+", dtype=rows.dtype, shape=rows.shape) if len(rows) else None
    if out is None:
        with path.open("wb") as file:
            np.save(file, np.asarray(rows))
        return
    for start in range(0, len(rows), step):
        out[start : start + step] = rows[start : start + step]
    out.flush()


def _printable(text: str) -> str:
    """Names of files are untrusted: control characters and half characters are shown, not sent to the terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def match(image_ids: Sequence[str], text_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of pictures and captions that belong together, by id: (K,) and (K,) int64, in the captions' order.

    A caption belongs to the picture of its own id or of the part before its last "#". What has no partner is left out.
    Raises ValueError where nothing matches, or where a caption could belong to two pictures.
    """
    row = {name: i for i, name in enumerate(image_ids)}
    for name in text_ids:
        if name in row and name.rpartition("#")[0] in row:
            raise ValueError(
                f"caption {name!r} could belong to {name!r} or to {name.rpartition('#')[0]!r}; rename one picture"
            )
    partners = [row.get(name, row.get(name.rpartition("#")[0], -1)) for name in text_ids]
    texts = np.array([m for m, partner in enumerate(partners) if partner >= 0], dtype=np.int64)
    if not len(texts):
        raise ValueError(
            f"no caption belongs to a picture (ids such as {list(text_ids)[:1]} and {list(image_ids)[:1]}); "
            "a caption's id is its picture's, '#' and a number"
        )
    return np.array([partners[m] for m in texts], dtype=np.int64), texts
