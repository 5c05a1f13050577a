"""What a store holds, and why it does not hold a key, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from workbench.records import Record, Table, human_bytes
from workbench.store.entry import BrokenEntryError, read_entry, read_manifest, read_samples
from workbench.store.folders import folder_bytes
from workbench.store.keys import NUMBERS, ShardKey

_WIDEST = 40  # characters of a fact that a table or a sentence shows


@dataclass(frozen=True)
class Group:
    """Entries with equal facts; `last_used` in seconds of the epoch."""

    facts: tuple[tuple[str, str | int | None], ...]
    entries: int
    rows: int
    bytes: int
    last_used: float


@dataclass(frozen=True)
class StoreReport(Record):
    """What a store holds. `broken` entries are counted in `bytes` and in no group."""

    root: Path
    groups: tuple[Group, ...]
    broken: int
    bytes: int
    max_bytes: int | None = None

    def table(self) -> Table:
        cap = "" if self.max_bytes is None else f" of at most {human_bytes(self.max_bytes)}"
        broken = f"; broken entries: {self.broken}, prune() removes them" if self.broken else ""
        rows = tuple(_row(group) for group in self.groups)
        caption = f"Embeddings in {self.root}: {human_bytes(self.bytes)}{cap}{broken}"
        return Table(caption, ("facts", "entries", "rows", "bytes", "last used"), rows)


def _row(group: Group) -> tuple[str, ...]:
    facts = ", ".join(f"{name} {_short(value)}" for name, value in group.facts)
    used = datetime.fromtimestamp(group.last_used, UTC).date().isoformat()
    return facts or "none", f"{group.entries:,}", f"{group.rows:,}", human_bytes(group.bytes), used


def _short(value: str | int | None) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def summarise(
    folders: Iterable[Path], asides: Iterable[Path], root: Path, max_bytes: int | None, *, used: Callable[[Path], float]
) -> StoreReport:
    """The entries in `folders` by facts; those in `asides` were found broken before."""
    groups: dict[tuple, list[tuple[int, int, float]]] = {}
    sizes = [folder_bytes(folder) for folder in asides]
    broken = len(sizes)
    for folder in folders:
        sizes.append(folder_bytes(folder))
        try:
            manifest = read_entry(folder).manifest
        except (BrokenEntryError, OSError):
            broken += 1
            continue
        facts = tuple(sorted(manifest["facts"].items()))
        groups.setdefault(facts, []).append((manifest["shape"][0], sizes[-1], used(folder)))
    merged = (_merged(facts, entries) for facts, entries in groups.items())
    by_size = sorted(merged, key=lambda group: (-group.bytes, str(group.facts)))
    return StoreReport(root, tuple(by_size), broken, sum(sizes), max_bytes)


def _merged(facts: tuple, entries: list[tuple[int, int, float]]) -> Group:
    rows, sizes, uses = zip(*entries, strict=True)
    return Group(facts, len(entries), sum(rows), sum(sizes), max(uses))


def explain_miss(key: ShardKey, folders: Iterable[Path], root: Path) -> str:
    """Why none of the entries in `folders` is the key's: other samples, other facts, or nothing like it."""
    stored = [(folder, manifest) for folder in folders if (manifest := _manifest(folder)) is not None]
    if not stored:
        return f"nothing is stored yet in {root}"
    same_facts = [(folder, manifest) for folder, manifest in stored if manifest["facts"] == dict(key.facts)]
    same_samples = [manifest for _, manifest in stored if manifest["samples"] == key.samples_digest]
    both = [manifest for _, manifest in same_facts if manifest["samples"] == key.samples_digest]
    if both:
        numbers = f"{both[0]['numbers']}, now {NUMBERS}"
        return f"it was stored by a version of the workbench that computed other numbers (numbers {numbers})"
    if same_samples:
        return f"the same samples are stored with other facts: {_nearest_facts(key, same_samples)}"
    if same_facts:
        return _other_samples(key, same_facts)
    nearest = _nearest_facts(key, [manifest for _, manifest in stored])
    return f"neither these facts nor these samples are stored; in the nearest entry {nearest}"


def _manifest(folder: Path) -> dict | None:
    try:
        return read_manifest(folder)
    except (BrokenEntryError, OSError):
        return None


def _nearest_facts(key: ShardKey, manifests: list[dict]) -> str:
    """The differences to the entry with the fewest."""
    return "; ".join(min((_differences(dict(key.facts), manifest["facts"]) for manifest in manifests), key=len))


def _differences(asked: dict, stored: dict) -> list[str]:
    absent = object()
    names = [name for name in sorted({*asked, *stored}) if asked.get(name, absent) != stored.get(name, absent)]
    pairs = [[repr(facts[name]) if name in facts else "absent" for facts in (stored, asked)] for name in names]
    return [
        f"{name} is {there}, asked for is {here}" for name, (there, here) in zip(names, map(_cut, pairs), strict=True)
    ]


def _cut(texts: list[str]) -> list[str]:
    """Long texts (preprocessing) only around the place where they begin to differ."""
    if max(map(len, texts)) <= 2 * _WIDEST:
        return texts
    same = next((i for i, letters in enumerate(zip(*texts, strict=False)) if len({*letters}) > 1), min(map(len, texts)))
    start = max(0, same - _WIDEST // 2)
    return [
        f"{'…' if start else ''}{text[start : start + _WIDEST]}{'…' if text[start + _WIDEST :] else ''}"
        for text in texts
    ]


def _other_samples(key: ShardKey, entries: list[tuple[Path, dict]]) -> str:
    asked = set(key.samples)
    listings = [read_samples(folder, manifest) for folder, manifest in entries]
    nearest = max(listings, key=lambda samples: len(asked.intersection(samples)))
    shared = len(asked.intersection(nearest))
    if not shared:
        return "the same facts are stored, but for none of these samples"
    if sorted(nearest) == sorted(key.samples):
        return "the same facts are stored for these samples in another order"
    return (
        f"the same facts are stored for other samples: of the {len(asked):,} asked for, the nearest entry has {shared:,} "
        f"among its {len(nearest):,}"
    )
