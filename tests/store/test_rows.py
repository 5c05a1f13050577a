"""Shards joined read like the array they were cut from."""

import numpy as np
import pytest

from workbench.store import EmbeddingStore, Rows, ShardKey, plan_shards, rows, sample_digest

SAMPLES = [sample_digest(str(i).encode()) for i in range(300)]


def stored(store, array, size=16):
    shards = []
    for part in plan_shards(SAMPLES[: len(array)], size):
        shards.append(store.put(ShardKey({"shape": str(array.shape)}, SAMPLES[part]), array[part]))
    return Rows(shards)


@pytest.fixture(scope="module", params=[(300,), (300, 5), (300, 2, 3)], ids=str)
def pair(request, tmp_path_factory):
    array = np.random.default_rng(0).standard_normal(request.param).astype(np.float32)
    return stored(EmbeddingStore(tmp_path_factory.mktemp("store")), array), array


INDICES = (
    0,
    -1,
    np.int64(7),
    slice(None),
    slice(10, 200),
    slice(200, 10, -3),
    slice(5, 5),
    [3, 299, 3, -300],
    np.array([250, 1], dtype=np.uint16),
    [],
    np.arange(300) % 7 == 0,
)


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_rows_are_those_of_the_array(pair, index):
    joined, array = pair
    expected = array[np.array(index, int) if index == [] else index] if isinstance(index, list) else array[index]
    assert np.array_equal(joined[index], expected)
    assert joined[index].dtype == array.dtype
    assert joined[index].shape == expected.shape


def test_many_random_choices(pair):
    joined, array = pair
    rng = np.random.default_rng(1)
    for _ in range(100):
        index = rng.integers(-300, 300, rng.integers(0, 50))
        assert np.array_equal(joined[index], array[index])


def test_it_says_what_it_is(pair):
    joined, array = pair
    assert (len(joined), joined.shape, joined.dtype, joined.ndim) == (300, array.shape, array.dtype, array.ndim)
    assert len(joined.shards) > 5
    assert np.array_equal(np.asarray(joined), array)
    assert np.asarray(joined, dtype=np.float64).dtype == np.float64


def test_an_answer_is_ones_own(pair):
    """The store's file is not changed by what somebody does with a row."""
    joined, array = pair
    joined[0:3][...] = 0
    assert np.array_equal(joined[0:3], array[0:3])
    with pytest.raises(ValueError, match="read-only"):
        joined.shards[0].rows[...] = 0


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (300, IndexError, "row 300 is asked for; there are 300"),
        ([0, -301], IndexError, "row -301"),
        (np.ones(299, bool), IndexError, r"mask of shape \(299,\) for 300 rows"),
        (True, IndexError, "mask"),
        (1.5, IndexError, "whole numbers"),
        ([[1, 2]], IndexError, r"shape \(1, 2\)"),
        ((0, 1), TypeError, r"read the rows first: rows\[i\]\[:, j\]"),
        ("a", IndexError, "whole numbers"),
    ],
)
def test_what_no_row_can_be_asked_by(pair, index, error, message):
    with pytest.raises(error, match=message):
        pair[0][index]


def test_no_view_without_a_copy(pair):
    with pytest.raises(ValueError, match="leave copy=False out"):
        np.asarray(pair[0], copy=False)


def test_shards_that_do_not_belong_together(store):
    def shard(name, array):
        return store.put(ShardKey({"kind": name}, SAMPLES[: len(array)]), array)

    wide, narrow = shard("a", np.ones((2, 5), np.float32)), shard("b", np.ones((2, 4), np.float32))
    half, none = shard("c", np.ones((2, 5), np.float16)), shard("d", np.ones((0,), np.float32))
    with pytest.raises(ValueError, match=r"float32 \(5,\) and of float32 \(4,\)"):
        Rows([wide, narrow])
    with pytest.raises(ValueError, match="float16"):
        Rows([wide, half])
    with pytest.raises(ValueError, match="at least one"):
        Rows([])
    with pytest.raises(TypeError, match=r"shard 1 is None; put\(\) what get\(\) has missed"):
        Rows([wide, store.get(ShardKey({}, []))])
    assert Rows([none, wide]).shape == (2, 5)  # a shard whose samples all failed knows no width
    assert Rows([none]).shape == (0,)


def test_more_shards_than_may_stay_open(store, monkeypatch):
    """Only the first ones hold a file open; the others are opened when they are read, and say so when they are gone."""
    monkeypatch.setattr(rows, "MAPS", len(rows._HOLDING) + 2)
    array = np.random.default_rng(0).standard_normal((300, 5)).astype(np.float32)
    joined = stored(store, array)
    assert [shard.held is not None for shard in joined.shards[:4]] == [True, True, False, False]
    assert np.array_equal(joined[:], array)
    store.prune(max_bytes=0)
    assert np.array_equal(joined[[0]], array[[0]])
    with pytest.raises(FileNotFoundError, match="removed after it was opened"):
        joined[-1]
