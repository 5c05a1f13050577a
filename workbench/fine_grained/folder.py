"""A user's SugarCrepe, Winoground or BiVLC by several rules: the cosine of `benchmark.evaluate` beside rules that read parts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from workbench.benchmark.encoded import samples_of
from workbench.benchmark.rules import RULES as MEASURES
from workbench.benchmark.scores import BenchmarkScores
from workbench.data.benchmarks import Benchmark, Item, Quad
from workbench.data.phrases import GRANULARITIES
from workbench.data.pictures import open_picture
from workbench.fine_grained.diagnostic import FREE, tied
from workbench.fine_grained.parts import some
from workbench.matching.crop_store import CropStore
from workbench.matching.crops import Box, Regions, crop_boxes, crop_features, segment_features
from workbench.matching.rules import RULES, score
from workbench.matching.seen import seen_box
from workbench.progress import bar
from workbench.records import Record, Table
from workbench.store import EmbeddingStore

if TYPE_CHECKING:
    from workbench.models.dual_encoder import DualEncoder

KINDS = ("choice", "quads")
_PICTURES, _ITEMS = 8, 128  # of a block: what is in memory at a time


@dataclass(frozen=True, eq=False)
class FolderRules(Record):
    """What a model reaches on a benchmark by each rule, on the same items: `found[rule]` is what `benchmark.evaluate` gives.

    `without` says of rules that were asked why the model cannot serve them. `found[rule].scores` and `.ids` are what paired
    comparisons between rules start from.
    """

    model: str
    benchmark: str
    found: Mapping[str, BenchmarkScores]
    without: Mapping[str, str]

    def __getitem__(self, rule: str) -> BenchmarkScores:
        if rule not in self.found:
            raise KeyError(f"no rule {rule!r} here; there are {', '.join(self.found)}")
        return self.found[rule]

    def table(self) -> Table:
        first = next(iter(self.found.values()))
        empty = ("",) * len(self.found)
        rows = [
            (name, *(each[name].cells()[0] for each in self.found.values()), *_cells(measure))
            for name, measure in first.measures.items()
        ]
        rows += [(f"left out: {reason}", *empty, "", f"{n:,}") for reason, n in first.left_out.items()]
        told = [*first.notes, *(f"without {rule}: {reason}" for rule, reason in self.without.items())]
        rows += [(f"note: {each}", *empty, "", "") for each in told]
        title = f"{self.model} on {self.benchmark} by rule, percent [95 %]; strict: ties are wrong"
        return Table(title, ("measure", *self.found, "chance", "n"), tuple(rows))


def _cells(measure) -> tuple[str, str]:
    _, chance, _, n = measure.cells()
    return chance, n


def folder_rules(
    model: DualEncoder,
    benchmark: Benchmark,
    rules: Sequence[str] = ("global", "late", "segments", "roi", "crops"),
    *,
    grid: Literal["grid", "overlap"] = "grid",
    granularity: Literal["fine", "mid", "coarse"] = "mid",
    store: EmbeddingStore | str | os.PathLike | None = None,
    n: int | None = None,
    batch_size: int = 16,
) -> FolderRules:
    """A model's scores on `load_benchmark("sugarcrepe")`, "winoground", "bivlc" or another of their kind by rules of FREE.

    Choices are measured by subset, quads as picture to text, text to picture, group and interaction sign; a tie is wrong.
    Captions are cut by `data.phrases.segments` at `granularity`, the whole last; one without phrases is its only segment.
    Crops (`grid`) cost 86 or 270 passes a picture: with a `store` each picture's are kept as soon as they are done, and a
    second run, or the next after Ctrl-C, encodes none of them again. "roi" pools the same boxes out of one pass. `n` draws at
    most so many items of each subset, the same for the same n. Pictures are read eight at a time, and items that cannot be
    read are left out of every rule and counted. Rules that need patches or words that the model does not give are left out
    and said. Raises TypeError for what is no Benchmark or one string as rules, ValueError for an unknown rule, another kind of
    benchmark, an option that does not exist, no rule that the model can serve, or no item that can be read.
    """
    _check(model, benchmark, rules, grid, granularity, store, n, batch_size)
    without = _without(model, tuple(dict.fromkeys(rules)))
    served = [rule for rule in dict.fromkeys(rules) if rule not in without]
    if not served:
        raise ValueError(f"{model.name} serves none of {', '.join(rules)}: {next(iter(without.values()))}")
    reader = _Reader(model, served, grid, granularity, store, batch_size)
    items = _drawn(benchmark.items, n)
    tables, failed = _scored(reader, items)
    whole = [item for item in items if item.id in tables]
    if not whole:
        raise ValueError(f"none of {len(items)} items could be read, for example {next(iter(failed.items()))}")
    left_out = {**benchmark.skipped, **({"could not be read": len(failed)} if failed else {})}
    found = {}
    for k, rule in enumerate(served):
        scored = _Scored(whole, {item.id: tables[item.id][k] for item in whole})
        measures, notes, scores = MEASURES[benchmark.rule](scored, benchmark)
        ids, notes = tuple(item.id for item in whole), (*benchmark.notes, *notes)
        found[rule] = BenchmarkScores(model.name, benchmark.name, measures, left_out, notes, ids, scores)
    return FolderRules(model.name, benchmark.name, found, without)


# At the door ------------------------------------------------------------------------------------------------------------


def _check(model, benchmark, rules, grid, granularity, store, n, batch_size) -> None:
    if not isinstance(benchmark, Benchmark):
        raise TypeError(f"{type(benchmark).__name__} is no Benchmark; give data.benchmarks.load_benchmark(name)")
    if benchmark.rule not in KINDS:
        raise ValueError(
            f"{benchmark.name} asks by {benchmark.rule!r}; rules of parts read benchmarks that ask by 'choice', such as "
            "sugarcrepe, or by 'quads': winoground and bivlc. For the others there is benchmark.evaluate"
        )
    if isinstance(rules, str):
        raise TypeError(f"rules is one string, {rules!r}; give a list of names, such as ['global', {rules!r}]")
    if unknown := [rule for rule in rules if rule not in FREE]:
        raise ValueError(f"rule {unknown[0]!r}; choose from {', '.join(FREE)}")
    if not rules:
        raise ValueError(f"no rules given; choose from {', '.join(FREE)}")
    if granularity not in GRANULARITIES:
        raise ValueError(f"granularity={granularity!r}; choose one of {', '.join(GRANULARITIES)}")
    for name, value in (("n", n), ("batch_size", batch_size)):
        if value is not None and (type(value) is not int or value < 1):
            raise ValueError(f"{name}={value!r}; give a whole number from 1")
    crop_boxes(224, 224, grid)  # raises for another grid
    if store is not None and "crops" in rules:
        CropStore(model, store)  # raises for a model with hooks


def _without(model: DualEncoder, rules: Sequence[str]) -> dict[str, str]:
    """Of the rules, those that need what the model does not give, and why; found by trying, as models differ."""
    blank = Image.new("RGB", (64, 64), "grey")
    lacks = {
        "image": _reason(lambda: model.encode_image(blank, tokens=True).tokens, f"{model.name} has no patch tokens"),
        "text": _reason(lambda: model.encode_text("a grey square", tokens=True).tokens, f"{model.name} has no words"),
        "boxes": _reason(lambda: seen_box(model, blank.size), "") if "roi" in rules else "",
    }
    needs = {
        rule: (
            *(side for side in ("image", "text") if "tokens" in getattr(RULES[rule], side)),
            *(["boxes"] if "boxes" in RULES[rule].required else []),
        )
        for rule in rules
    }
    return {rule: why for rule in rules if (why := next((lacks[each] for each in needs[rule] if lacks[each]), ""))}


def _reason(attempt: Callable, without: str) -> str:
    try:
        return "" if attempt() is not None else without
    except ValueError as error:
        return str(error)


def _drawn(items: Sequence[Item | Quad], n: int | None) -> list[Item | Quad]:
    """At most n of each subset, in their order."""
    items = list(items)
    if n is None:
        return items
    place = {items[i].id: rank for rank, i in enumerate(np.random.default_rng(0).permutation(len(items)))}
    taken: Counter[str] = Counter()
    kept = set()
    for item in sorted(items, key=lambda item: place[item.id]):
        if taken[item.subset] < n:
            taken[item.subset] += 1
            kept.add(item.id)
    return [item for item in items if item.id in kept]


# Block by block ---------------------------------------------------------------------------------------------------------

Tables = dict[str, list[np.ndarray]]  # by item: of every rule its scores (pictures, texts)


def _scored(reader: _Reader, items: Sequence[Item | Quad]) -> tuple[Tables, dict[str, str]]:
    """Tables of every item that can be read, and why the others cannot."""
    tables: Tables = {}
    failed: dict[str, str] = {}
    with bar(what=f"{len(items):,} items", total=len(items)) as done:
        for block in _blocks(items):
            _take(reader, block, tables, failed)
            done.update(len(block))
    return tables, failed


def _take(reader: _Reader, block: list, tables: Tables, failed: dict[str, str]) -> None:
    """A block at once; item by item where something in it cannot be read."""
    pictures, unread = _opened(block)
    failed |= unread
    readable = [item for item in block if item.id not in unread]
    try:
        tables |= reader.tables(readable, pictures) if readable else {}
    except ValueError as error:
        if len(readable) == 1:
            failed[readable[0].id] = str(error)
            return
        for item in readable:
            _take(reader, [item], tables, failed)


def _opened(block: Sequence) -> tuple[dict[str, Image.Image], dict[str, str]]:
    """Pictures of a block by their sample's id, and of items whose picture cannot be opened, why."""
    pictures, unread = {}, {}
    for item in block:
        for sample in samples_of(item):
            try:
                if sample.id not in pictures:
                    pictures[sample.id] = open_picture(sample.read()).image
            except (OSError, ValueError) as error:
                unread[item.id] = str(error)
    return pictures, unread


def _blocks(items: Sequence[Item | Quad]) -> Iterator[list]:
    """Items of the same picture side by side, so that it is encoded once, and few pictures at a time."""
    block: list = []
    seen: set[str] = set()
    first: dict[str, int] = {}
    for place, item in enumerate(items):
        first.setdefault(samples_of(item)[0].id, place)
    for item in sorted(items, key=lambda item: first[samples_of(item)[0].id]):
        own = {sample.id for sample in samples_of(item)}
        if block and (len(seen | own) > _PICTURES or len(block) == _ITEMS):
            yield block
            block, seen = [], set()
        block.append(item)
        seen |= own
    if block:
        yield block


class _Reader:
    """A model with the rules that it serves, and what these read."""

    def __init__(self, model, rules: Sequence[str], grid: str, granularity: str, store, batch_size: int):
        self.model, self.rules, self.grid, self.granularity = model, list(rules), grid, granularity
        self.store = EmbeddingStore(store) if store is not None and not isinstance(store, EmbeddingStore) else store
        self.batch_size = batch_size
        self._frames: dict[tuple[int, int], Box] = {}

    def _reads(self, side: str, kind: str) -> bool:
        return any(kind in getattr(RULES[rule], side) for rule in self.rules)

    def tables(self, items: Sequence[Item | Quad], opened: Mapping[str, Image.Image]) -> Tables:
        """Scores of each item's own pictures with its own texts. Raises ValueError where one of them cannot be encoded."""
        names = list(dict.fromkeys(sample.id for item in items for sample in samples_of(item)))
        texts = list(dict.fromkeys(text for item in items for text in item.texts))
        sides = {**self._images([opened[name] for name in names]), **self._texts(texts)}
        image_row, text_row = ({each: row for row, each in enumerate(every)} for every in (names, texts))
        return {
            item.id: self._table(
                sides, [image_row[sample.id] for sample in samples_of(item)], [text_row[each] for each in item.texts]
            )
            for item in items
        }

    def _images(self, pictures: list[Image.Image]) -> dict:
        tokens = self._reads("image", "tokens")
        found = {"image": self.model.encode_image(pictures, tokens=tokens, batch_size=self.batch_size)}
        if self._reads("image", "crops"):
            options = {"grid": self.grid, "batch_size": self.batch_size, "store": self.store}
            found["crops"] = crop_features(self.model, pictures, **options)
        if "roi" in self.rules:
            found["boxes"] = [crop_boxes(*picture.size, self.grid) for picture in pictures]
            found["frames"] = [self._frame(picture.size) for picture in pictures]
        return found

    def _frame(self, size: tuple[int, int]) -> Box:
        if size not in self._frames:
            self._frames[size] = seen_box(self.model, size)
        return self._frames[size]

    def _texts(self, texts: list[str]) -> dict:
        tokens = self._reads("text", "tokens")
        found = {"text": self.model.encode_text(texts, tokens=tokens, batch_size=64)}
        if self._reads("text", "segments"):
            found["segments"] = segment_features(self.model, texts, granularity=self.granularity)
        return found

    def _table(self, sides: dict, pictures: list[int], texts: list[int]) -> list[np.ndarray]:
        picked = {name: some(sides[name], pictures) for name in ("image", "crops") if name in sides}
        picked |= {name: some(sides[name], texts) for name in ("text", "segments") if name in sides}
        options = {name: [sides[name][row] for row in pictures] for name in ("boxes", "frames") if name in sides}
        return [_by(rule, picked, options) for rule in self.rules]


def _by(name: str, picked: dict, options: dict[str, list]) -> np.ndarray:
    rule = RULES[name]
    image: Regions = picked["crops" if "crops" in rule.image else "image"]
    text = picked["segments" if "segments" in rule.text else "text"]
    return score(name, image, text, **(options if rule.required else {})).double().numpy()


class _Scored:
    """What the measures of `benchmark` ask of encoded items, answered by scores that are there already."""

    def __init__(self, whole: Sequence[Item | Quad], tables: Mapping[str, np.ndarray]):
        self.whole, self._tables = list(whole), tables

    def options(self, items: Sequence[Item]) -> np.ndarray:
        """Scores (n, K) of each picture with its captions, the true one first; the last again where others have more."""
        wide = max(self._tables[item.id].shape[1] for item in items)
        return tied(np.stack([np.pad(self._tables[i.id][0], (0, wide - len(i.texts)), "edge") for i in items]))

    def grid(self, items: Sequence[Quad]) -> np.ndarray:
        """Scores (n, pictures, texts)."""
        return tied(np.stack([self._tables[item.id] for item in items]))
