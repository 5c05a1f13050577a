"""The same shards on Ray Data: an actor pool on one machine, or on the cluster that RAY_ADDRESS names.

A Ray started here keeps to this machine. Left to itself its head process asks cloud metadata services on the network who
they are, even with usage statistics off, and its driver looks for an outward address; a private home with a cluster
configuration of type "local", loopback as the node's address and Ray's own switch for single machines stop both. Every
process of it wants the token of this start.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

from workbench.extract.work import Job, Worker
from workbench.hardware.cpu import usable_cores
from workbench.models.hooks import portable
from workbench.progress import bar
from workbench.store import EmbeddingStore

ATTEMPTS = 8  # of a shard whose worker dies; Ray's own default is no end
MARGIN = 256 << 20  # bytes that processes share besides the model
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # false: this is no cluster, so no address is looked for
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class ShardActor:
    """A process with the model, which computes shard after shard and writes each into the store itself."""

    def __init__(self, sent, root: str, threads: int):
        import ray

        torch.set_num_threads(threads)
        self.worker, self.jobs = ray.get(sent)[0]
        self.store = EmbeddingStore(root)

    def __call__(self, batch: dict) -> dict:
        from workbench.extract.run import keep

        for shard in batch["shard"]:
            job = self.jobs[shard]
            if job.missing(self.store):  # a block that is run again repeats nothing
                keep(self.worker, self.store, job)
        return batch


def run_on_ray(worker: Worker, store: EmbeddingStore, jobs: list[Job], workers: int | None) -> None:
    """Compute and keep all jobs. Raises ImportError without Ray, RuntimeError where a shard's worker died too often."""
    ray = import_ray()
    gpus = torch.cuda.device_count() if worker.model.device.type == "cuda" else 0
    pool = max(1, min(workers or gpus or usable_cores(), len(jobs)))
    # Rows travel through the store; only the model goes through what processes share.
    weights = sum(value.nbytes for value in worker.model.module.state_dict().values())
    with running(ray, pool, objects=2 * weights + MARGIN):
        try:
            _run(ray, worker, store, jobs, pool, bool(gpus))
        except ray.exceptions.RayError as error:
            raise RuntimeError(
                f"Ray gave up ({_cause(error):.300}); finished shards are kept: run again, or with engine='local' to see "
                "where it fails"
            ) from error


def _cause(error: Exception) -> str:
    """The line of Ray's long report that names what went wrong."""
    lines = str(error).strip().splitlines()
    return next((line for line in lines if re.match(r"[\w.]*(Error|Exception): ", line)), lines[-1])


def _run(ray, worker: Worker, store: EmbeddingStore, jobs: list[Job], pool: int, gpu: bool) -> None:
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False  # ours counts samples
    threads = max(1, usable_cores() // pool)
    with portable(worker.model.module):
        sent = ray.put((worker, jobs))
    numbered = ray.data.from_items([{"shard": i} for i in range(len(jobs))], override_num_blocks=len(jobs))
    with warnings.catch_warnings():  # Ray 2.60 calls these two outdated and has no others yet
        warnings.simplefilter("ignore", DeprecationWarning)
        shards = numbered.map_batches(
            ShardActor,
            fn_constructor_args=([sent], str(store.root), threads),
            compute=ray.data.ActorPoolStrategy(size=pool),
            batch_size=1,
            num_cpus=1,
            num_gpus=1 if gpu else 0,
            max_restarts=ATTEMPTS,
            max_task_retries=ATTEMPTS,
        )
    with bar(what="samples on Ray", total=sum(len(job.samples) for job in jobs)) as done:
        for row in shards.iter_rows():
            done.update(len(jobs[row["shard"]].samples))


def import_ray():
    """Ray, imported so that it can be started here in silence. Raises ImportError where it is not installed, RuntimeError
    where somebody imported it before, started none, and its settings can no longer be changed."""
    try:
        with _environment(QUIET):  # some of it is read once, at import
            import ray
            from ray._private import ray_constants
    except ImportError as error:
        raise ImportError("engine='ray' needs Ray Data: pip install 'ray[data]' (or engine='local')") from error
    if ray_constants.ENABLE_RAY_CLUSTER and not ray.is_initialized() and not os.environ.get("RAY_ADDRESS"):
        raise RuntimeError(
            "Ray was imported here before, with its look-ups on the network switched on; start your own with ray.init() and "
            "call again, or restart the kernel and let this start one"
        )
    return ray


@contextmanager
def running(ray, pool: int, objects: int) -> Iterator[None]:
    """A running Ray: the user's own where one is, else one that lives as long as this run and stays on this machine."""
    if ray.is_initialized():
        yield
        return
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
        try:
            yield
        finally:
            ray.shutdown()
        return
    try:
        _start_here(ray, pool, _home(), objects)
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(_home() / "t", ignore_errors=True)


@cache
def _home() -> Path:
    """A private home, one for as long as this process lives: Ray reads its token from there once."""
    home = Path(tempfile.mkdtemp(prefix="ray"))  # short: Ray's socket names hang below it
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    (home / "ray_bootstrap_config.yaml").write_text("provider: {type: local}\n")
    return home


def _start_here(ray, pool: int, home: Path, objects: int) -> None:
    with _environment({**QUIET, "HOME": str(home)}):  # the processes that start now inherit it
        ray.init(
            num_cpus=pool + 1,  # the pool holds one each, and whatever feeds it needs one too
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=objects,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(home / "t"),
        )


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
