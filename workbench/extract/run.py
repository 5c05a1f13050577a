"""`embeddings`: samples → digests → shards → what the store lacks → rows by id."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from workbench.data.samples import Sample, read_samples
from workbench.extract.attempts import REASON, attempt
from workbench.extract.result import Embeddings
from workbench.extract.work import Job, Task, Worker
from workbench.models.dual_encoder import DualEncoder
from workbench.models.hooks import foreign_hooks
from workbench.progress import bar
from workbench.store import EmbeddingStore, Rows, ShardKey, plan_shards, sample_digest

WINDOW = 4096  # samples that are handed to the reading threads at a time
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
    cluster that RAY_ADDRESS names) and needs a store, in a folder that all of them see. Raises ValueError for unknown
    options, MemoryError where a single sample does not fit, and what `read_samples` raises.
    """
    kinds = (kinds,) if isinstance(kinds, str) else tuple(dict.fromkeys(kinds))
    task = Task(modality, kinds, layer, dense, image_size, batch_size)
    if engine not in ("local", "ray"):
        raise ValueError(f"engine={engine!r}; choose 'local' or 'ray'")
    if store is None and engine == "ray":
        raise ValueError("engine='ray' hands its shards over through a store; give store=<folder>")
    if store is not None and not isinstance(store, EmbeddingStore):
        store = EmbeddingStore(store)
    if workers is not None and (type(workers) is not int or workers < 1):
        raise ValueError(f"workers={workers!r}; give a positive whole number, or leave it out")
    if store is not None and (hooked := foreign_hooks(model.module)):
        raise ValueError(
            f"{hooked[0]} of {model.name} has a hook, which may change numbers under the same key; remove it, or leave store out"
        )
    worker = Worker(model, task)
    whole, unreadable = _digested(read_samples(samples, modality=modality))
    usual = ROWS_OF_TOKENS if {"tokens", "mask"} & set(task.kinds) else ROWS
    jobs = _jobs(worker, whole, usual if shard_size is None else shard_size)
    kept = (store, jobs, unreadable, engine, workers)
    found = _in_memory(worker, jobs, unreadable) if store is None else _kept(worker, *kept)
    if worker.cut:
        room = f"the {model.card.context_length} tokens that {model.name} reads"
        warnings.warn(f"{worker.cut} captions are longer than {room}, and were cut there", stacklevel=2)
    return found


def _kept(
    worker: Worker, store: EmbeddingStore, jobs: list[Job], failed: dict[str, str], engine: str, workers
) -> Embeddings:
    todo = [job for job in jobs if job.missing(store)]
    if engine == "ray" and todo:
        from workbench.extract.ray_engine import run_on_ray

        run_on_ray(worker, store, todo, workers)
    else:
        _run_here(worker, store, todo)
    return _from_store(store, worker, jobs, failed, len(todo))


def keep(worker: Worker, store: EmbeddingStore, job: Job) -> None:
    """Compute a shard and keep it, one entry for each kind."""
    with attempt(store.root, next(iter(job.keys.values())).hex) as this:
        arrays, failed = worker.compute(job, opening=this.opening if this.careful else None, skip=this.skip)
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
    with ThreadPoolExecutor(4) as pool, bar(what="reading", total=len(samples)) as done:
        for start in range(0, len(samples), WINDOW):
            some = samples[start : start + WINDOW]
            for sample, found in zip(some, pool.map(_digest, some), strict=True):
                if isinstance(found, Exception):
                    unreadable[sample.id] = str(found)
                else:
                    whole.append((sample, found))
            done.update(len(some))
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
            tuple(digests[part]),
            {kind: ShardKey(of_kind, tuple(digests[part])) for kind, of_kind in facts.items()},
        )
        for part in plan_shards(digests, size)
    ]


# Results ---------------------------------------------------------------------------------------------------------------


def _in_memory(worker: Worker, jobs: list[Job], failed: dict[str, str]) -> Embeddings:
    ids, parts = [], {kind: [worker.empty(kind)] for kind in worker.task.kinds}
    with _bar(sum(len(job.samples) for job in jobs), worker.task.modality) as done:
        for job in jobs:
            arrays, bad = worker.compute(job)
            ids += _kept_ids(job, bad, failed)
            for kind, rows in arrays.items():
                parts[kind].append(rows)
            done.update(len(job.samples))
    arrays = {kind: _joined(rows) for kind, rows in parts.items()}
    return Embeddings(tuple(ids), arrays, failed, len(jobs), len(jobs))


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([rows for rows in parts if len(rows)] or parts[:1])


def _from_store(store: EmbeddingStore, worker: Worker, jobs: list[Job], failed: dict[str, str], n: int) -> Embeddings:
    ids, shards, same = [], {kind: [] for kind in worker.task.kinds}, True
    for job in jobs:
        found = {kind: _there(store, key) for kind, key in job.keys.items()}
        bad = {i: reason for shard in found.values() for i, reason in shard.failed.items()}
        same &= all(len(shard.failed) == len(bad) for shard in found.values())
        ids += _kept_ids(job, bad, failed)
        for kind, shard in found.items():
            shards[kind].append((shard, bad))
    join = _rows if same else _chosen
    arrays = {kind: join(each, worker.empty(kind)) for kind, each in shards.items()}
    return Embeddings(tuple(ids), arrays, failed, len(jobs), n)


def _rows(shards: list, empty: np.ndarray) -> Rows | np.ndarray:
    filled = [shard for shard, _ in shards if len(shard.rows)]
    return Rows(filled) if filled else empty


def _chosen(shards: list, empty: np.ndarray) -> np.ndarray:
    """Kinds that were kept at different times may have failed at different samples: what all of them have, in memory."""
    return _joined([empty, *(shard.rows[~np.isin(shard.kept, list(bad))] for shard, bad in shards)])


def _there(store: EmbeddingStore, key: ShardKey):
    shard = store.get(key)
    if shard is None:
        raise OSError(
            f"a shard of this run is no longer in {store.root} ({store.why_missing(key)}); a cap (max_bytes) smaller than "
            "the run makes it push out its own rows: raise it, then run again"
        )
    return shard


def _kept_ids(job: Job, bad: Mapping[int, str], failed: dict[str, str]) -> list[str]:
    """Ids of the samples that have rows; the others join `failed`."""
    failed |= {job.samples[i].id: reason for i, reason in bad.items()}
    return [sample.id for i, sample in enumerate(job.samples) if i not in bad]
