"""A picture that ends the process that opens it (a decoder's crash, a kill for memory) must not do so for ever.

While a shard is worked on, a note lies in the store. Whoever finds one knows that the last attempt was cut off, opens one
picture at a time and notes which; a picture that was open at two such ends is left out, with that reason.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

FOLDER = ".attempts"
ENDS = 2
REASON = f"opening it ended the process {ENDS} times; open it elsewhere and save it again"


@dataclass
class Attempt:
    """`careful`: an earlier attempt was cut off. `skip`: samples that ended two of them."""

    note: Path
    ends: Counter
    careful: bool

    @property
    def skip(self) -> frozenset[int]:
        return frozenset(i for i, times in self.ends.items() if times >= ENDS)

    def before(self, i: int) -> None:
        _write(self.note, self.ends, i)


@contextmanager
def attempt(root: Path, name: str) -> Iterator[Attempt]:
    """Note that work on `name` has begun; the note goes when it ends in any way that Python survives."""
    note = root / FOLDER / f"{name}.json"
    found = _read(note)
    ends = Counter({int(i): times for i, times in (found or {}).get("ends", {}).items()})
    if found and found.get("open") is not None:
        ends[found["open"]] += 1
    _write(note, ends, None)
    try:
        yield Attempt(note, ends, careful=found is not None)
    finally:
        with suppress(OSError):
            note.unlink()


def _read(note: Path) -> dict | None:
    try:
        return json.loads(note.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        return {}  # cut off while it was written: an attempt all the same


def _write(note: Path, ends: Counter, i: int | None) -> None:
    note.parent.mkdir(parents=True, exist_ok=True)
    temporary = note.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps({"ends": dict(ends), "open": i}))
    temporary.replace(note)
