"""Processes that are killed while they write, and processes that write the same at once."""

import os
import random
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from tests.store.writer import ROUNDS, SMALL, key, rows
from workbench.store import EmbeddingStore

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")


def child(*arguments) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.store.writer", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen) -> str:
    said, complaint = process.communicate(timeout=60)
    assert process.returncode == 0, complaint
    return said


def whole(store: EmbeddingStore, number: int) -> bool:
    """Whether an entry is there; if so, it is what was put. Nothing may be found broken."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shard = store.get(key(number), verify=True)
    assert shard is None or np.array_equal(shard.rows, rows(number))
    return shard is not None


def test_killed_at_any_moment(tmp_path):
    """`kill -9` while one entry after the other is written: what is offered is whole, and what was said to be kept is."""
    chance, leftovers = random.Random(0), 0
    for number in range(5):
        root = tmp_path / str(number)
        process = child("one_after_the_other", root)
        assert process.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.02, 0.2))
        process.kill()
        kept = len(process.communicate(timeout=60)[0].split())
        leftovers += len(list(root.glob(".tmp-*")))
        store = EmbeddingStore(root)
        assert list(root.glob(".*")) == []
        there = [whole(store, n) for n in range(kept + 2)]
        assert all(there[:kept])
        assert not there[-1]
        assert store.describe().broken == 0
        store.put(key(kept), rows(kept))
        assert whole(store, kept)
    assert leftovers  # at least one was hit in the middle


def test_killed_at_every_stage(tmp_path):
    """Before each folder, each wait for the disk and the final rename."""
    stages = [[*map(int, line.split())] for line in finished(child("killed_at_every_stage", tmp_path)).splitlines()]
    assert [killed for _, killed, _ in stages] == [1] * (len(stages) - 1) + [0]
    assert len(stages) > 8
    there = []
    for stage, _, _ in stages:
        store = EmbeddingStore(tmp_path / str(stage))
        assert list(store.root.glob(".*")) == []
        there.append(whole(store, stage))
        store.put(key(stage), rows(stage))
        assert whole(store, stage)
    assert there == sorted(there)  # nothing up to the rename, all of it from there on
    assert not there[0]
    assert sum(leftovers for _, _, leftovers in stages) >= 5


@pytest.mark.parametrize("broken", [False, True], ids=["nothing there", "a broken one there"])
def test_two_write_the_same_key_at_once(tmp_path, broken):
    """Both come back with the rows, one good copy stays, and nothing else."""
    store = EmbeddingStore(tmp_path)
    for number in range(ROUNDS) if broken else ():
        data = store.put(key(number), rows(number)).file
        data.write_bytes(data.read_bytes()[:-1])
    both = [child("at_once", tmp_path, name) for name in "ab"]
    for process in both:
        finished(process)
    assert all(whole(store, number) for number in range(ROUNDS))
    assert len(list(tmp_path.glob("??/*"))) == ROUNDS
    assert list(tmp_path.glob(".*")) == []


def test_two_share_a_store_that_is_too_small(tmp_path):
    """Each removes what the other may be reading: rows stay right, the cap holds, nothing is called broken."""
    both = [child("too_small", tmp_path, seed) for seed in (1, 2)]
    assert all(int(finished(process)) > 10 for process in both)
    report = EmbeddingStore(tmp_path).describe()
    assert report.bytes <= SMALL + 12 * 200  # verified.json comes with the first reading
    assert report.broken == 0
    assert list(tmp_path.glob(".*")) == []
