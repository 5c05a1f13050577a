"""Hard negatives: how often a model prefers the true caption, by subset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workbench.benchmark.encoded import Encoded
from workbench.claims import Claim
from workbench.data.benchmarks import Item
from workbench.evaluation.composition import Choice, choice_accuracy
from workbench.models.dual_encoder import DualEncoder
from workbench.records import Record, Table


@dataclass(frozen=True)
class SubsetChoices(Record):
    """Choice accuracy of every subset; `macro` is their unweighted mean; `failed` pictures or captions left items out."""

    model: str
    subsets: dict[str, Choice]
    failed: int

    @property
    def macro(self) -> float:
        return float(np.mean([choice.accuracy for choice in self.subsets.values()]))

    def table(self) -> Table:
        rows = [(name, *choice.table().rows[0]) for name, choice in self.subsets.items()]
        rows.append(("macro", f"{100 * self.macro:.2f}", "", str(sum(c.n for c in self.subsets.values()))))
        left_out = f"; {self.failed} items could not be read" if self.failed else ""
        header = ("subset", "accuracy [95 %]", "ties", "n")
        return Table(f"Choice accuracy of {self.model}, percent{left_out}", header, tuple(rows))


def choices(model: DualEncoder, items: Sequence[Item], *, store=None, batch_size: int = 32) -> SubsetChoices:
    """How often the model prefers each picture's true caption over its negatives, by cosine. `store` as in `embeddings`.

    Every item needs as many negatives as the others of its subset. Raises ValueError for no items, or none that can be read.
    """
    items = list(items)
    _check_items(items)
    encoded = Encoded(model, items, store=store, batch_size=batch_size)
    scores = encoded.options(encoded.whole)
    found = by_subset(encoded.whole, scores)
    return SubsetChoices(model.name, found, len(items) - len(encoded.whole))


def _check_items(items: Sequence) -> None:
    if not items:
        raise ValueError("there are no items; read a benchmark first")
    twice = [name for name, n in Counter(item.id for item in items).items() if n > 1]
    if twice:
        raise ValueError(f"item {twice[0]!r} comes twice; give each its own id")
    widths: dict[str, int] = {}
    for item in items:
        if not item.negatives or widths.setdefault(item.subset, len(item.negatives)) != len(item.negatives):
            raise ValueError(
                f"item {item.id!r} has {len(item.negatives)} negatives; give every item of a subset as many, at least one"
            )


def by_subset(items: Sequence, scores: np.ndarray) -> dict[str, Choice]:
    """Choices of every subset; items of one picture are resampled together."""
    subsets, pictures = np.array([item.subset for item in items]), pictures_of(items)
    parts = {name: subsets == name for name in dict.fromkeys(item.subset for item in items)}
    return {name: choice_accuracy(scores[of, 0], scores[of, 1:], groups=pictures[of]) for name, of in parts.items()}


def pictures_of(items: Sequence) -> np.ndarray:
    """What items have in common: their picture, even where each looks at another box of it, or their set of pictures."""
    return np.array([str(item.pictures[0]) for item in items])


def sugarcrepe_claim(found: SubsetChoices | None) -> Claim:
    """The published number that the whole path has to meet: OpenAI ViT-B/32 on SugarCrepe, macro accuracy 0.7308 ± 0.001.

    A wrong activation or resizing moves it by more. None where weights or pictures are missing.
    """
    return Claim(
        id="B-sugarcrepe",
        paper="2306.14610",
        statement="macro accuracy of OpenAI ViT-B/32 over SugarCrepe's seven subsets",
        kind="exact",
        expected=0.7308,
        measured=None if found is None else found.macro,
        n=0 if found is None else sum(choice.n for choice in found.subsets.values()),
        seeds=(),
        interval=None,
        scale="SugarCrepe, COCO val2017",
        margin=0.001,
    )
