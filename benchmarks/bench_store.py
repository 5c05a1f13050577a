"""The store beside one NumPy file of the same numbers: writing, opening, random rows. Page cache warm."""

import os
import tempfile
from pathlib import Path

import numpy as np
from timing import in_turn, row, seconds

from workbench.store import EmbeddingStore, Rows, ShardKey, plan_shards, sample_digest

N, D, ASKED = 100_000, 512, 256
FACTS = {"weights": "0123456789abcdef", "preprocessing": "resize 224", "kind": "post", "layer": -1, "dtype": "float32"}

rng = np.random.default_rng(0)
features = rng.standard_normal((N, D), dtype=np.float32)
digests = [sample_digest(str(i).encode()) for i in range(N)]
grown = [*digests[: N // 3], sample_digest(b"one more"), *digests[N // 3 :]]


def keys(samples):
    return [ShardKey(FACTS, samples[part]) for part in plan_shards(samples)]


def write(store):
    for part, key in zip(plan_shards(digests), keys(digests), strict=True):
        store.put(key, features[part])


def write_npy(path):
    with path.open("wb") as file:
        np.save(file, features)
        os.fsync(file.fileno())


def opened(root, its_keys, verify=False):
    store = EmbeddingStore(root)
    return Rows([store.get(key, verify=verify) for key in its_keys])


def compared(ours, peer, ratio):
    return f"{1000 * ours:.1f} ms, npy {1000 * peer:.1f} ms, ratio {ratio:.1f}"


with tempfile.TemporaryDirectory() as folder:
    root, npy = Path(folder) / "store", Path(folder) / "rows.npy"
    writing, plain = seconds(lambda: write(EmbeddingStore(root))), seconds(lambda: write_npy(npy))
    named = keys(digests)
    row(f"write {N:,} × {D} in {len(named)} shards, fsync", compared(writing, plain, writing / plain), "none")
    measured = in_turn(lambda: opened(root, named, verify=True), lambda: np.load(npy), 5)
    row("open and read every byte's digest; npy: read all", compared(*measured), "none: once")
    measured = in_turn(lambda: opened(root, named), lambda: np.load(npy, mmap_mode="r"))
    row("open again, keys known; npy: map", compared(*measured), "≤ 50 ms")
    measured = in_turn(lambda: opened(root, keys(digests)), lambda: np.load(npy, mmap_mode="r"))
    row("open again from the digests: plan, keys, entries", compared(*measured), "≤ 50 ms")

    stored, mapped = opened(root, named), np.load(npy, mmap_mode="r")
    assert np.array_equal(stored[:], features)
    picks = iter([rng.integers(0, N, ASKED) for _ in range(100)])
    measured = in_turn(lambda: stored[next(picks)], lambda: np.array(mapped[next(picks)]), 31)
    row(f"{ASKED} random rows, others each time", compared(*measured), "≤ 5 ms")
    row("all rows into memory", compared(*in_turn(lambda: stored[:], lambda: np.load(npy))), "ratio ≤ 3")

    store = EmbeddingStore(root)
    missing = [key for key in keys(grown) if key not in store]
    row("one picture more: shards to compute", f"{len(missing)} of {len(keys(grown))}", "≤ 4")
    row("why_missing()", f"{1000 * seconds(lambda: store.why_missing(missing[0])):.0f} ms", "≤ 200 ms")
    row("describe()", f"{1000 * seconds(store.describe):.0f} ms", "≤ 200 ms")
