"""One shard: pictures or captions in, arrays and failures out. What runs here is the same in every engine."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from workbench.data.pictures import open_picture
from workbench.data.samples import Sample
from workbench.models.dual_encoder import DualEncoder, check_caption
from workbench.store import EmbeddingStore, ShardKey

KINDS = {"image": ("pre", "post", "tokens"), "text": ("pre", "post", "tokens", "mask")}
UNREADABLE = (OSError, ValueError, TypeError)  # what opening a picture or checking a caption raises
AHEAD = 2  # batches that are opened while one is encoded

Found = tuple[dict[str, np.ndarray], dict[int, str]]


@dataclass(frozen=True)
class Task:
    """What to extract: the options of `embeddings`, checked."""

    modality: str
    kinds: tuple[str, ...]
    layer: int = -1
    dense: str = "raw"
    image_size: int | None = None
    batch_size: int = 32

    def __post_init__(self):
        if self.modality not in KINDS:
            raise ValueError(f"modality={self.modality!r}; choose 'image' or 'text'")
        unknown = [kind for kind in self.kinds if kind not in KINDS[self.modality]]
        if unknown or not self.kinds:
            raise ValueError(f"kinds={self.kinds!r}; choose among {', '.join(KINDS[self.modality])}")
        if type(self.batch_size) is not int or self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size!r}; give a positive whole number")


class Worker:
    """A model and a task. `compute` is free of side effects but for the batch size, which halves when memory runs out."""

    def __init__(self, model: DualEncoder, task: Task):
        self.model, self.task, self.batch_size = model, task, task.batch_size
        if task.modality == "image":
            model.input_size(task.image_size)  # else every picture would fail for the same reason

    def facts(self) -> dict[str, dict[str, str | int | None]]:
        """By kind, everything besides the samples that decides the numbers: what the store's keys are made of."""
        task, card = self.task, self.model.card
        shared = {"modality": task.modality, "layer": task.layer, "dtype": str(self.model.dtype)}
        if task.modality == "image":
            shared |= {"preprocess": card.preprocess, "image_size": task.image_size or card.image_size}
        else:
            shared |= {"context_length": card.context_length}
        dense = {"dense": task.dense} if task.modality == "image" else {}
        weights = self._identities()
        return {
            kind: {**shared, **(dense if kind == "tokens" else {}), "kind": kind, "weights": weights[kind]}
            for kind in task.kinds
        }

    def _identities(self) -> dict[str, str]:
        """By kind; a module that decides several kinds is read once."""
        modality, known = self.task.modality, {}
        for kind in self.task.kinds:
            module = id(self.model.deciding(modality, kind))
            if module not in known:
                known[module] = self.model.identity(modality, kind)
            known[kind] = known[module]
        return known

    def compute(
        self, samples: Sequence[Sample], *, before: Callable[[int], None] | None = None, skip=frozenset()
    ) -> Found:
        """Arrays by kind, one row for each sample that could be opened, and by index why the others could not.

        `before(i)` is called right before sample i is opened, one at a time; `skip` holds indices to leave closed.
        """
        failed: dict[int, str] = {}
        parts: dict[str, list[np.ndarray]] = {kind: [] for kind in self.task.kinds}
        for opened in self._opened(samples, failed, before, skip):
            for kind, rows in self._encoded(opened).items():
                parts[kind].append(rows)
        return {kind: np.concatenate(rows) if rows else self._empty(kind) for kind, rows in parts.items()}, failed

    def _empty(self, kind: str) -> np.ndarray:
        card = self.model.card
        width = {"pre": card.d_i if self.task.modality == "image" else card.d_t, "post": card.d}.get(kind, 0)
        return np.zeros((0, width), np.float32)

    # Opening ---------------------------------------------------------------------------------------------------------

    def _opened(self, samples, failed, before, skip) -> Iterator[list]:
        """Batches of what could be opened; batches are cut before anything fails, so one failure moves no other sample."""
        size = self.task.batch_size
        indices = [i for i in range(len(samples)) if i not in skip]
        batches = [indices[start : start + size] for start in range(0, len(indices), size)]
        if before is not None:
            for batch in batches:
                yield self._good(batch, (self._one(samples[i], before, i) for i in batch), failed)
            return
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            waiting: deque[tuple[list[int], list[Future]]] = deque()
            for batch in batches:
                waiting.append((batch, [pool.submit(self._open, samples[i]) for i in batch]))
                if len(waiting) > AHEAD:
                    first, futures = waiting.popleft()
                    yield self._good(first, (future.result() for future in futures), failed)
            for first, futures in waiting:
                yield self._good(first, (future.result() for future in futures), failed)

    def _one(self, sample: Sample, before, i: int):
        before(i)
        return self._open(sample)

    def _good(self, batch, results, failed: dict[int, str]) -> list:
        good = []
        for i, result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                failed[i] = str(result)
            else:
                good.append(result)
        return good

    def _open(self, sample: Sample):
        """A picture's pixels or a caption, or the error that says why not."""
        try:
            if self.task.modality == "text":
                check_caption(sample.text)
                return sample.text
            return self.model.preprocess(open_picture(sample.read(), name=sample.id), self.task.image_size)
        except UNREADABLE as error:
            return error

    # Encoding --------------------------------------------------------------------------------------------------------

    def _encoded(self, opened: list) -> dict[str, np.ndarray]:
        """One batch as arrays, in smaller pieces once memory has run out."""
        if not opened:
            return {}
        pieces, rest = [], opened
        while rest:
            try:
                pieces.append(self._forward(rest[: self.batch_size]))
                rest = rest[self.batch_size :] if len(rest) > self.batch_size else []
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                self._halve(error)
        return {kind: np.concatenate([piece[kind] for piece in pieces]) for kind in self.task.kinds}

    def _halve(self, error: RuntimeError) -> None:
        if self.batch_size == 1:
            raise MemoryError(
                f"{self.model.name} does not fit one sample into memory; free some, or take a smaller model, image_size "
                "or dtype"
            ) from error
        self.batch_size //= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _forward(self, batch: list) -> dict[str, np.ndarray]:
        tokens = bool({"tokens", "mask"} & set(self.task.kinds))
        if self.task.modality == "image":
            features = self.model.encode_pixels(batch, tokens=tokens, layer=self.task.layer, dense=self.task.dense)
        else:
            features = self.model.encode_text(batch, tokens=tokens, layer=self.task.layer, batch_size=len(batch))
        return {kind: self._array(getattr(features, kind), kind) for kind in self.task.kinds}

    def _array(self, rows: torch.Tensor, kind: str) -> np.ndarray:
        rows = rows.cpu()
        rows = rows if rows.dtype == torch.bool else rows.float()
        if self.task.modality == "text" and kind in (
            "tokens",
            "mask",
        ):  # batches are padded to their own longest caption
            missing = self.model.card.context_length - rows.shape[1]
            rows = torch.cat([rows, rows.new_zeros(len(rows), missing, *rows.shape[2:])], 1)
        return rows.numpy()


def out_of_memory(error: RuntimeError) -> bool:
    said = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in said or "can't allocate memory" in said


@dataclass(frozen=True)
class Job:
    """One shard of a run: its samples, and by kind the key that each will be kept under."""

    samples: tuple[Sample, ...]
    keys: dict[str, ShardKey]

    def missing(self, store: EmbeddingStore) -> tuple[str, ...]:
        return tuple(kind for kind, key in self.keys.items() if store.get(key) is None)
