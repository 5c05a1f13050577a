"""Keys change with everything that changes numbers, and long lists are cut where their contents say."""

import random

import numpy as np
import pytest

from workbench.store import ShardKey, keys, plan_shards, sample_digest

FACTS = {"weights": "ab12", "preprocessing": "resize 224", "kind": "post", "layer": -1, "dense": None}


def digests(n: int, seed: int = 0) -> list[str]:
    return [sample_digest(f"{seed} {i}".encode()) for i in range(n)]


def test_a_key_stays_what_it_was():
    key = ShardKey({"kind": "post", "layer": -1, "dense": None}, [sample_digest(b"a"), sample_digest(b"b")])
    assert key.hex == "f4ed5ae98893953f76d7a5ce64847b4d42d36942ac1bcf9c597998d93a74a2a4"


def test_the_order_of_facts_does_not_matter():
    backwards = tuple(reversed(FACTS.items()))
    assert ShardKey(FACTS, digests(3)) == ShardKey(backwards, tuple(digests(3)))
    assert ShardKey(FACTS, digests(3)).hex == ShardKey(backwards, digests(3)).hex


def test_every_change_is_another_key():
    samples = digests(4)
    changed = [ShardKey({**FACTS, name: "other"}, samples) for name in FACTS]
    changed += [ShardKey({k: v for k, v in FACTS.items() if k != name}, samples) for name in FACTS]
    changed += [ShardKey({**FACTS, "layer": value}, samples) for value in ("-1", 0, None)]
    changed += [ShardKey(FACTS, part) for part in (samples[::-1], samples[:3], [*samples, samples[0]], [])]
    assert len({key.hex for key in [ShardKey(FACTS, samples), *changed]}) == 1 + len(changed)


@pytest.mark.parametrize("name", ["FORMAT", "NUMBERS"])
def test_a_new_way_of_computing_is_another_key(name, monkeypatch):
    before = ShardKey(FACTS, digests(2)).hex
    monkeypatch.setattr(keys, name, getattr(keys, name) + 1)
    assert ShardKey(FACTS, digests(2)).hex != before


@pytest.mark.parametrize(
    ("facts", "error", "message"),
    [
        ({"layer": True}, TypeError, r"fact 'layer' is True \(bool\); give a str, an int or None"),
        ({"scale": 0.5}, TypeError, "fact 'scale' is 0.5"),
        ({"layer": np.int64(1)}, TypeError, "int64"),
        ({"": "x"}, TypeError, "names are text"),
        ([("a", 1), ("a", 2)], ValueError, "named twice"),
    ],
)
def test_facts_that_are_none(facts, error, message):
    with pytest.raises(error, match=message):
        ShardKey(facts, [])


@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        ("ab" * 32, TypeError, "one text; give a sequence"),
        ([b"ab" * 32], TypeError, "a sample digest is b'abab"),
        (["cat.png"], ValueError, "'cat.png' is no sample digest; give 64 lower-case hex digits"),
        (["AB" * 32], ValueError, "no sample digest"),
        (["ab" * 31 + "\n\n"], ValueError, "no sample digest"),
        (["ab" * 31 + "é0"], ValueError, "no sample digest"),
        (["ab" * 33, "ab" * 31], ValueError, "no sample digest"),
        ([*digests(1500), "ab"], ValueError, "'ab' is no sample digest"),
    ],
)
def test_samples_that_are_no_digests(samples, error, message):
    with pytest.raises(error, match=message):
        ShardKey(FACTS, samples)
    with pytest.raises(error, match=message):
        plan_shards(samples)


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "1024"])
def test_shard_sizes_that_are_none(size):
    with pytest.raises(ValueError, match=r"size is .*whole number of rows from 1"):
        plan_shards(digests(3), size)


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 1000, 5000])
@pytest.mark.parametrize("size", [1, 3, 64, 1024])
def test_shards_cover_everything_once(n, size):
    shards = plan_shards(digests(n), size)
    assert [i for part in shards for i in range(n)[part]] == list(range(n))
    lengths = [part.stop - part.start for part in shards]
    assert all(max(1, size // 4) <= length <= 4 * size for length in lengths[:-1])
    assert all(1 <= length <= 4 * size for length in lengths[-1:])


def test_equal_samples_still_make_shards_of_bounded_size():
    """The same picture 1,000 times offers either no place to cut or every place."""
    for digest in (sample_digest(b"x"), "0" * 64):
        lengths = {part.stop - part.start for part in plan_shards([digest] * 1000, 64)[:-1]}
        assert lengths in ({16}, {256})


def contents(samples, size):
    return {tuple(samples[part]) for part in plan_shards(samples, size)}


def test_one_sample_more_or_less_changes_few_shards():
    """Of about 52. Over 500 seeds each: 1.1 new shards on average for a change anywhere, at most 4; appending always 1."""
    counts = []
    for seed in range(100):
        chance, samples = random.Random(seed), digests(4000, seed)
        before, at = contents(samples, 64), chance.randrange(len(samples))
        for changed in (
            [*samples[:at], sample_digest(b"new"), *samples[at:]],
            [*samples[:at], *samples[at + 1 :]],
            [*samples, sample_digest(b"new")],
        ):
            counts.append(len(contents(changed, 64) - before))
    assert max(counts) <= 5
    assert np.mean(counts) < 1.2
