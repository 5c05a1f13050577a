"""A benchmark as it was found on disk: its items, and what had to be left out of them, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from workbench.data.benchmarks.items import Captioned, Item, PictureChoice, Quad
from workbench.data.benchmarks.reading import looked_up
from workbench.data.samples import Sample
from workbench.records import Record, Table

MISSING = "picture missing"
EMPTY = "empty caption"
SAME = "caption that is its own negative"  # nothing could be right
SHOWN = 5


@dataclass(frozen=True)
class Benchmark(Record):
    """Items to score by `rule`. `missing` pictures and `skipped` items by reason are what the folder lacks; `expected` is
    how many items the authors publish. Groups smaller than `least_group` items count nowhere (ARO's attributes)."""

    name: str
    rule: str
    items: tuple[Item | Quad | PictureChoice | Captioned, ...]
    missing: tuple[Path, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    expected: int | None = None
    notes: tuple[str, ...] = ()
    least_group: int = 1

    def __len__(self) -> int:
        return len(self.items)

    def table(self) -> Table:
        published = "" if self.expected is None else f"of {self.expected:,} published"
        rows = [("items", f"{len(self):,}", published)]
        subsets = Counter(item.subset for item in self.items if hasattr(item, "subset"))
        rows += [(f"  {_printable(name)}", f"{n:,}", "") for name, n in subsets.items() if 1 < len(subsets) <= 16]
        rows += [("left out", f"{n:,}", reason) for reason, n in self.skipped.items()]
        rows += [("missing", "", _printable(str(path))) for path in self.missing[:SHOWN]]
        if len(self.missing) > SHOWN:
            rows.append(("missing", f"{len(self.missing):,}", f"pictures in all, {len(self.missing) - SHOWN:,} more"))
        rows += [("note", "", note) for note in self.notes]
        return Table(f"Benchmark {self.name}", ("what", "n", ""), tuple(rows))


def _printable(name: str) -> str:
    """Names out of files are untrusted: control characters are shown, not sent to the terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in name)


class Gathering:
    """Items on their way into a Benchmark: each is checked once, and what cannot be asked is counted."""

    def __init__(self, name: str):
        self.name = name
        self.items: dict[str, Item | Quad | PictureChoice | Captioned] = {}
        self.missing: dict[Path, None] = {}
        self.skipped: Counter[str] = Counter()
        self.seen: set[str] = set()
        self._there: dict[Path, bool] = {}

    def add(self, item) -> None:
        """Take an item, or count why not. Raises ValueError for an id that comes twice."""
        if item.id in self.seen:
            raise ValueError(f"the id {item.id!r} comes twice; each item needs its own")
        self.seen.add(item.id)
        if not all(text.strip() for text in item.texts):
            self.skipped[EMPTY] += 1
        elif _asks_nothing(item):
            self.skipped[SAME] += 1
        elif lacking := [picture for picture in item.pictures if not self.there(picture)]:
            self.lack(lacking)
        else:
            self.items[item.id] = item

    def lack(self, pictures: Iterable[Path]) -> None:
        """One item less, for want of these pictures."""
        self.missing |= dict.fromkeys(pictures)
        self.skipped[MISSING] += 1

    def there(self, picture: Path | Sample) -> bool:
        if isinstance(picture, Sample):  # inside a table that was read
            return True
        if picture not in self._there:
            self._there[picture] = looked_up(picture.is_file)
        return self._there[picture]

    def done(self, rule: str, **facts) -> Benchmark:
        """Raises FileNotFoundError where every picture is missing, ValueError where nothing else is left."""
        if not self.items and self.missing:
            first = next(iter(self.missing))
            raise FileNotFoundError(
                f"{self.name}: none of its {len(self.missing):,} pictures is there, such as {first}{_elsewhere(first)}; put "
                "the pictures there"
            )
        if not self.items:
            why = ", ".join(f"{n:,} × {reason}" for reason, n in self.skipped.items())
            raise ValueError(f"{self.name} has no items{f' ({why})' if why else ''}; get its files again")
        return Benchmark(self.name, rule, tuple(self.items.values()), tuple(self.missing), dict(self.skipped), **facts)


def _asks_nothing(item) -> bool:
    if isinstance(item, Item):
        return not {item.caption, item.also_true}.isdisjoint(item.negatives)
    return isinstance(item, Quad) and item.texts[0] == item.texts[1]


def _elsewhere(picture: Path) -> str:
    """Archives like to unpack into one folder more, or one less."""
    folder = picture.parent
    below = sorted(folder.iterdir()) if looked_up(folder.is_dir) else []
    near = (each / picture.name for each in (*below, folder.parent))
    found = next((path for path in near if looked_up(path.is_file)), None)
    return f" (but there is {found}: move the pictures by one folder)" if found else ""
