"""A picture that ends the process that opens it (a decoder's crash, a kill for memory) must not do so for ever.

While a shard is worked on, each process keeps a note in the store. Who finds the note of a dead process knows that an
attempt was cut off, opens one picture at a time and notes which is open; a picture that was open at two such ends is left
out, with that reason. What kills a process between two pictures blames none.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from workbench.store.folders import is_abandoned, this_process

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

    def opening(self, i: int | None) -> None:
        """Sample i is about to be opened, or None is open any more."""
        _write(self.note, self.ends, i)


@contextmanager
def attempt(root: Path, name: str) -> Iterator[Attempt]:
    """Note that work on `name` has begun; the note goes when it ends in any way that Python survives.

    Notes are advice: where they cannot be written, the work goes on and the store says what is wrong with the place.
    """
    cut_off = _of_the_dead(root / FOLDER, name)
    ends = Counter()
    for found in cut_off.values():
        ends.update({int(i): times for i, times in found.get("ends", {}).items()})
        if found.get("open") is not None:
            ends[found["open"]] += 1
    note = root / FOLDER / f"{name}.{this_process()}.json"
    _write(note, ends, None)
    for old in cut_off:
        with suppress(OSError):
            old.unlink()
    try:
        yield Attempt(note, ends, careful=bool(cut_off))
    finally:
        with suppress(OSError):
            note.unlink()


def _of_the_dead(folder: Path, name: str) -> dict[Path, dict]:
    """What the notes on `name` say whose processes are gone; one that was cut off while it was written says nothing more."""
    found = {}
    for note in folder.glob(f"{name}.*.json"):
        if is_abandoned(note, note.name.removeprefix(f"{name}.").removesuffix(".json")):
            try:
                found[note] = json.loads(note.read_text())
            except FileNotFoundError:
                continue  # another process took it over
            except (OSError, ValueError):
                found[note] = {}
    return found


def _write(note: Path, ends: Counter, i: int | None) -> None:
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        temporary = note.with_suffix(".tmp")
        temporary.write_text(json.dumps({"ends": dict(ends), "open": i}))
        temporary.replace(note)
