"""What test_processes.py runs in processes of its own: `python -m tests.store.writer <what> <folder> <more>`."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from pathlib import Path

import numpy as np

from workbench.store import EmbeddingStore, ShardKey, sample_digest

ROUNDS, SMALL = 30, 1_000_000  # bytes: room for seven entries


def key(number: int) -> ShardKey:
    """Entries that every process can compute again, by number."""
    return ShardKey({"kind": "post"}, [sample_digest(f"{number} {i}".encode()) for i in range(64)])


def rows(number: int) -> np.ndarray:
    shape = (64, 512) if number % 2 else (64, 16, 128)
    return np.random.default_rng(number).standard_normal(shape).astype(np.float32)


def one_after_the_other(root: Path) -> None:
    """Until somebody kills it."""
    store = EmbeddingStore(root)
    say("ready")
    for number in range(10_000):
        store.put(key(number), rows(number))
        say(number)


def killed_at_every_stage(root: Path) -> None:
    """A process for each stage dies there; says which, whether it was killed, and how many folders it left."""
    EmbeddingStore(root).put(key(0), rows(0))  # imports everything
    for stage in range(1, 30):
        place = root / str(stage)
        process = os.fork()
        if not process:
            die_at(stage)
            EmbeddingStore(place).put(key(stage), rows(stage))
            os._exit(0)
        status = os.waitpid(process, 0)[1]
        say(stage, int(os.WIFSIGNALED(status)), len(list(place.glob(".tmp-*"))))
        if not status:
            return


def die_at(stage: int) -> None:
    """Kill this process before its n-th new folder, wait for the disk, or rename."""
    calls = []

    def before(function):
        def counted(*arguments, **options):
            calls.append(function)
            if len(calls) == stage:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return counted

    os.fsync, os.mkdir, os.rename = before(os.fsync), before(os.mkdir), before(os.rename)


def at_once(root: Path, name: str) -> None:
    """The same keys as the other process, each started together with it."""
    warnings.simplefilter("ignore")
    store = EmbeddingStore(root)
    for number in range(ROUNDS):
        (root / f"ready {number} {name}").touch()
        while len(list(root.glob(f"ready {number} *"))) < 2:
            pass
        assert np.array_equal(store.put(key(number), rows(number)).rows, rows(number))


def too_small(root: Path, seed: str) -> None:
    """Read and write at random; how often something was there."""
    warnings.simplefilter("error")
    store, found = EmbeddingStore(root, max_bytes=SMALL), 0
    for number in np.random.default_rng(int(seed)).integers(0, 12, 150):
        shard = store.get(key(number))
        found += shard is not None
        if shard is None:
            shard = store.put(key(number), rows(number))
        assert np.array_equal(shard.rows, rows(number))
    say(found)


def say(*what) -> None:
    sys.stdout.write(" ".join(map(str, what)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    what, root, *more = sys.argv[1:]
    globals()[what](Path(root), *more)
