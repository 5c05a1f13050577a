"""`embeddings`: samples → digests → shards → what the store lacks → rows by id."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from workbench.data.samples import Sample, read_samples
from workbench.extract.attempts import REASON, attempt
from workbench.extract.result import Embeddings
from workbench.extract.work import Job, Task, Worker
from workbench.models.dual_encoder import DualEncoder
from workbench.progress import bar
from workbench.store import EmbeddingStore, Rows, ShardKey, plan_shards, sample_digest

ROWS, ROWS_OF_TOKENS = 1024, 128  # of a shard, on average: a few MB, or some dozen


def embeddings(
    model: DualEncoder,
    samples,
    *,
    modality: str = "image",
    kinds: Sequence[str] = ("post",),
    layer: int = -1,
    dense: str = "raw",
    image_size: int | None = None,
    batch_size: int = 32,
    store: EmbeddingStore | str | os.PathLike | None = None,
    engine: str = "local",
    workers: int | None = None,
    shard_size: int | None = None,
) -> Embeddings:
    """Features of many pictures or captions, by id; what the store has is read, the rest computed and kept shard by shard.

    `samples`: whatever `data.samples.read_samples` takes. `kinds`: "pre", "post", "tokens" (and "mask" for text); `layer`,
    `dense`, `image_size` as in `encode_image`. Without a `store` all rows stay in memory and nothing is kept. Pictures that
    cannot be opened end in `failed`, not in an error. When memory runs out the batch is halved. Stopped at any moment, the
    next call goes on behind the last finished shard. `engine="ray"` spreads the shards over `workers` processes (or over the
    cluster that RAY_ADDRESS names) and needs a store. Raises ValueError for unknown options, MemoryError where a single
    sample does not fit, and what `read_samples` raises.
    """
    task = Task(modality, tuple(dict.fromkeys(kinds)), layer, dense, image_size, batch_size)
    if engine not in ("local", "ray"):
        raise ValueError(f"engine={engine!r}; choose 'local' or 'ray'")
    if store is None and engine == "ray":
        raise ValueError("engine='ray' hands its shards over through a store; give store=<folder>")
    if store is not None and not isinstance(store, EmbeddingStore):
        store = EmbeddingStore(store)
    worker = Worker(model, task)
    whole, unreadable = _digested(read_samples(samples, modality=modality))
    jobs = _jobs(worker, whole, shard_size or (ROWS_OF_TOKENS if {"tokens", "mask"} & set(task.kinds) else ROWS))
    if store is None:
        return _in_memory(worker, jobs, unreadable)
    todo = [job for job in jobs if job.missing(store)]
    if engine == "ray" and todo:
        from workbench.extract.ray_engine import run_on_ray

        run_on_ray(worker, store, todo, workers)
    else:
        _run_here(worker, store, todo)
    return _from_store(store, jobs, task.kinds, unreadable, len(todo))


def keep(worker: Worker, store: EmbeddingStore, job: Job) -> None:
    """Compute a shard and keep it, one entry for each kind."""
    with attempt(store.root, next(iter(job.keys.values())).hex) as this:
        arrays, failed = worker.compute(job.samples, before=this.before if this.careful else None, skip=this.skip)
        failed |= dict.fromkeys(this.skip, REASON)
        for kind, key in job.keys.items():
            store.put(key, arrays[kind], failed=failed)


def _run_here(worker: Worker, store: EmbeddingStore, jobs: list[Job]) -> None:
    with _bar(sum(len(job.samples) for job in jobs), worker.task.modality) as done:
        for job in jobs:
            keep(worker, store, job)
            done.update(len(job.samples))


def _bar(total: int, modality: str):
    return bar(what="pictures" if modality == "image" else "captions", total=total)


def _digested(samples: list[Sample]) -> tuple[list[tuple[Sample, str]], dict[str, str]]:
    """Samples with the digest of their bytes, and by id why others could not be read at all."""
    whole, unreadable = [], {}
    with ThreadPoolExecutor(4) as pool:
        for sample, found in zip(samples, bar(pool.map(_digest, samples), "reading", total=len(samples)), strict=True):
            if isinstance(found, Exception):
                unreadable[sample.id] = str(found)
            else:
                whole.append((sample, found))
    return whole, unreadable


def _digest(sample: Sample) -> str | Exception:
    try:
        return sample_digest(sample.read())
    except (OSError, ValueError) as error:  # half a character in a caption is a ValueError
        return error


def _jobs(worker: Worker, whole: list[tuple[Sample, str]], size: int) -> list[Job]:
    facts = worker.facts() if whole else {}
    digests = [digest for _, digest in whole]
    return [
        Job(
            tuple(sample for sample, _ in whole[part]),
            {kind: ShardKey(of_kind, tuple(digests[part])) for kind, of_kind in facts.items()},
        )
        for part in plan_shards(digests, size)
    ]


# Results ---------------------------------------------------------------------------------------------------------------


def _in_memory(worker: Worker, jobs: list[Job], failed: dict[str, str]) -> Embeddings:
    ids, parts = [], {kind: [] for kind in worker.task.kinds}
    with _bar(sum(len(job.samples) for job in jobs), worker.task.modality) as done:
        for job in jobs:
            arrays, bad = worker.compute(job.samples)
            ids += _kept_ids(job, bad, failed)
            for kind, rows in arrays.items():
                parts[kind].append(rows)
            done.update(len(job.samples))
    arrays = {kind: _joined(rows) for kind, rows in parts.items()}
    return Embeddings(tuple(ids), arrays, failed, len(jobs), len(jobs))


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    parts = [rows for rows in parts if len(rows)] or parts[:1]
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def _from_store(
    store: EmbeddingStore, jobs: list[Job], kinds: tuple[str, ...], failed: dict[str, str], computed: int
) -> Embeddings:
    ids, shards = [], {}
    for job in jobs:
        found = {kind: _there(store, key) for kind, key in job.keys.items()}
        ids += _kept_ids(job, next(iter(found.values())).failed, failed)
        for kind, shard in found.items():
            if len(shard.rows):
                shards.setdefault(kind, []).append(shard)
    nothing = dict.fromkeys(kinds, np.zeros((0, 0), np.float32))
    arrays = nothing | {kind: Rows(each) for kind, each in shards.items()}
    return Embeddings(tuple(ids), arrays, failed, len(jobs), computed)


def _there(store: EmbeddingStore, key: ShardKey):
    shard = store.get(key)
    if shard is None:
        raise OSError(
            f"a shard of this run is no longer in {store.root} ({store.why_missing(key)}); a cap (max_bytes) smaller than "
            "the run makes it push out its own rows: raise it, then run again"
        )
    return shard


def _kept_ids(job: Job, bad: Iterable[int], failed: dict[str, str]) -> list[str]:
    """Ids of the samples that have rows; the others join `failed`."""
    failed |= {job.samples[i].id: bad[i] for i in bad}
    return [sample.id for i, sample in enumerate(job.samples) if i not in bad]


def default_store() -> Path:
    """Where the command line keeps embeddings: $WORKBENCH_STORE, else the user's cache folder."""
    return EmbeddingStore().root
