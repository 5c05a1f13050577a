"""One shard: pictures or captions in, arrays and failures out. What runs here is the same in every engine."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from workbench.data.pictures import open_picture
from workbench.data.samples import Sample
from workbench.models.batches import check_caption
from workbench.models.dual_encoder import DualEncoder
from workbench.models.reading import check_dense, layer_index
from workbench.store import EmbeddingStore, ShardKey, sample_digest

KINDS = {"image": ("pre", "post", "tokens"), "text": ("pre", "post", "tokens", "mask")}
NOT_FINITE = "the model gave NaN or infinite values for it; take dtype='float32'"
USUAL_LIMIT = Image.MAX_IMAGE_PIXELS
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
        self.cut = 0  # captions longer than the context
        self.layer = self._checked_layer()

    def _checked_layer(self) -> int:
        """The layer, -1 for the last however it is named, so that one block has one key. What the model lacks is refused
        here, at the door: else every sample would fail for the same reason."""
        task, model = self.task, self.model
        layers = model.text_layers
        if task.modality == "image":
            layers = model.image_layers
            model.input_size(task.image_size)
            check_dense(task.dense, model.dense_variants)
        k = layer_index(task.layer, layers)
        return -1 if k == layers - 1 else k

    def facts(self) -> dict[str, dict[str, str | int | None]]:
        """By kind, everything besides the samples that decides the numbers: what the store's keys are made of."""
        task, card = self.task, self.model.card
        shared = {"modality": task.modality, "layer": self.layer, "dtype": str(self.model.dtype)}
        if task.modality == "image":
            shared |= {"preprocess": card.preprocess, "image_size": int(task.image_size or card.image_size)}
            if Image.MAX_IMAGE_PIXELS != USUAL_LIMIT:  # who raises it wants to try again what was too large
                shared |= {"largest_picture": Image.MAX_IMAGE_PIXELS}
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
        self, job: Job, *, opening: Callable[[int | None], None] | None = None, skip: frozenset[int] = frozenset()
    ) -> Found:
        """Arrays by kind, one row for each sample that could be opened and encoded, and by index why the others could not.

        With `opening`, samples are opened one at a time and each is announced; `skip` holds indices to leave closed.
        Raises OSError where a sample can no longer be read or is not what it was when the run began.
        """
        failed: dict[int, str] = {}
        kept: list[int] = []
        parts: dict[str, list[np.ndarray]] = {kind: [] for kind in self.task.kinds}
        for indices, opened in self._opened(job, failed, opening, skip):
            for kind, rows in self._encoded(opened).items():
                parts[kind].append(rows)
            kept += indices
        arrays = {kind: np.concatenate(rows) if rows else self.empty(kind) for kind, rows in parts.items()}
        return self._finite(arrays, kept, failed)

    def empty(self, kind: str) -> np.ndarray:
        """No rows of a kind."""
        card = self.model.card
        width = {"pre": card.d_i if self.task.modality == "image" else card.d_t, "post": card.d}.get(kind, 0)
        return np.zeros((0, width), bool if kind == "mask" else np.float32)

    def _finite(self, arrays: dict[str, np.ndarray], kept: list[int], failed: dict[int, str]) -> Found:
        """Rows with NaN or infinite entries, in whatever kind, are failures of their sample."""
        good = np.ones(len(kept), bool)
        for rows in arrays.values():
            good &= np.array([np.isfinite(row).all() for row in rows], bool)
        if good.all():
            return arrays, failed
        bad = {kept[i]: NOT_FINITE for i in np.flatnonzero(~good)}
        return {kind: rows[good] for kind, rows in arrays.items()}, failed | bad

    # Opening ---------------------------------------------------------------------------------------------------------

    def _opened(self, job: Job, failed, opening, skip) -> Iterator[tuple[list[int], list]]:
        """Batches of what could be opened; they are cut before anything fails, so one failure moves no other sample."""
        size = self.task.batch_size
        indices = [i for i in range(len(job.samples)) if i not in skip]
        batches = [indices[start : start + size] for start in range(0, len(indices), size)]
        # Filters are one for all threads, so decoding threads cannot set their own.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            warnings.filterwarnings("ignore", message=r".*scaled down")
            for batch, results in self._one_by_one(job, batches, opening) if opening else self._ahead(job, batches):
                yield self._good(batch, results, failed)

    def _ahead(self, job: Job, batches: list[list[int]]) -> Iterator[tuple[list[int], list]]:
        """Threads open the next batches while one is encoded."""
        pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1))
        waiting: deque[tuple[list[int], list[Future]]] = deque()
        try:
            for batch in batches:
                waiting.append((batch, [pool.submit(self._open, job, i) for i in batch]))
                if len(waiting) > AHEAD:
                    first, futures = waiting.popleft()
                    yield first, [future.result() for future in futures]
            for first, futures in waiting:
                yield first, [future.result() for future in futures]
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for what nobody wants any more

    def _one_by_one(self, job: Job, batches: list[list[int]], opening) -> Iterator[tuple[list[int], list]]:
        for batch in batches:
            results = []
            for i in batch:
                opening(i)
                results.append(self._open(job, i))
            opening(None)  # what ends the process from here on is no picture's fault
            yield batch, results

    def _good(self, batch: list[int], results: list, failed: dict[int, str]) -> tuple[list[int], list]:
        indices, good = [], []
        for i, result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                failed[i] = _reason(result)
            else:
                indices.append(i)
                good.append(result)
        return indices, good

    def _open(self, job: Job, i: int):
        """A picture's pixels or a caption, or the error that says why not."""
        sample = job.samples[i]
        raw = sample.read()
        if sample_digest(raw) != job.digests[i]:
            raise OSError(f"{sample.id} changed while the run went on; finished shards are kept: run again")
        try:
            if self.task.modality == "text":
                check_caption(sample.text, "it")
                return sample.text
            return self.model.preprocess(open_picture(raw, name="it"), self.task.image_size)
        except Exception as error:  # a decoder may fail at a forged file in any way there is
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
                rest = rest[self.batch_size :]
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
            features = self.model.encode_pixels(batch, tokens=tokens, layer=self.layer, dense=self.task.dense)
        else:
            features = self._texts(batch, tokens=tokens, layer=self.layer, batch_size=len(batch))
        return {kind: self._array(getattr(features, kind), kind) for kind in self.task.kinds}

    def _texts(self, batch: list[str], **options):
        """Captions that are cut are counted; each of millions in a warning of its own would help nobody."""
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            features = self.model.encode_text(batch, **options)
        self.cut += len([each for each in said if "were dropped" in str(each.message)])
        return features

    def _array(self, rows: torch.Tensor, kind: str) -> np.ndarray:
        rows = rows.cpu()
        rows = rows if rows.dtype == torch.bool else rows.float()
        # Batches of text are padded to their own longest caption; rows that are stored together have one length.
        if self.task.modality == "text" and kind in ("tokens", "mask"):
            missing = self.model.card.context_length - rows.shape[1]
            rows = torch.cat([rows, rows.new_zeros(len(rows), missing, *rows.shape[2:])], 1)
        return rows.numpy()


def _reason(error: Exception) -> str:
    known = isinstance(error, (ValueError, TypeError, OSError))
    return str(error) if known else f"it cannot be opened ({type(error).__name__}: {str(error)[:200]})"


def out_of_memory(error: RuntimeError) -> bool:
    said = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in said or "can't allocate memory" in said


@dataclass(frozen=True)
class Job:
    """One shard of a run: its samples with the digests of their bytes, and by kind the key that its rows are kept under."""

    samples: tuple[Sample, ...]
    digests: tuple[str, ...]
    keys: dict[str, ShardKey]

    def missing(self, store: EmbeddingStore) -> tuple[str, ...]:
        return tuple(kind for kind, key in self.keys.items() if store.get(key) is None)
