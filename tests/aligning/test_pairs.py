"""Embeddings row by row: what belongs together stays together, wherever it lies."""

import numpy as np
import pytest
import torch

from workbench.aligning import Pairs, matched
from workbench.extract.result import Embeddings


def drawn(n=12, d=4, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def test_rows_come_in_the_order_that_was_asked_for():
    images, texts = drawn(), drawn(d=6, seed=1)
    rows = np.array([7, 2, 11, 2])
    found, (words,) = Pairs(images, (texts,)).rows(rows)
    assert np.array_equal(found.numpy(), images[rows])
    assert np.array_equal(words.numpy(), texts[rows])


def test_memory_maps_and_half_precision_come_as_float32(tmp_path):
    np.save(tmp_path / "a.npy", drawn().astype(np.float16))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    found, _ = Pairs(mapped, (mapped,)).rows(np.array([3, 1]))
    assert found.dtype == torch.float32
    assert np.array_equal(found.numpy(), drawn().astype(np.float16)[[3, 1]].astype(np.float32))


def test_pictures_and_captions_are_matched_by_id():
    images = Embeddings(("a", "b", "c"), {"pre": drawn(3)})
    texts = Embeddings(("c#0", "a#0", "a#1", "c#1", "b#0"), {"pre": drawn(5, seed=1)})
    one = matched(images, texts)
    assert set(one.ids) == {"a", "b", "c"}
    two = matched(images, texts, captions=2)
    assert set(two.ids) == {"a", "c"}
    picture, words = two.rows(np.arange(2), 2)
    for k, name in enumerate(two.ids):
        assert np.array_equal(picture[k], images["pre"][images.ids.index(name)])
        for c in range(2):
            assert np.array_equal(words[c][k], texts["pre"][texts.ids.index(f"{name}#{c}")])
    with pytest.raises(ValueError, match="0 pictures have 3 captions"):
        matched(images, texts, captions=3)


def test_a_split_shares_no_picture():
    pairs = Pairs(drawn(20), (drawn(20, seed=1),), tuple(f"p{k}" for k in range(20)))
    kept, held = pairs.split(0.25, seed=3)
    assert (len(kept), len(held)) == (15, 5)
    assert not set(kept.ids) & set(held.ids)
    place = pairs.ids.index(held.ids[0])
    assert np.array_equal(held.images[0], pairs.images[place])
    with pytest.raises(ValueError, match="both parts need two or more"):
        pairs.split(0.01)


@pytest.mark.parametrize(
    ("images", "texts", "words"),
    [
        ("aab", ("a#0", "b#0"), "picture 'a' comes twice; give every picture an id"),
        ("ab", ("a#0", "b#0", "b#0"), "caption 'b#0' comes twice; a caption's id is"),
    ],
)
def test_an_id_that_comes_twice_is_not_matched(images, texts, words):
    sides = (Embeddings(tuple(ids), {"pre": drawn(len(ids))}) for ids in (images, texts))
    with pytest.raises(ValueError, match=words):
        matched(*sides)


def test_patch_tokens_are_no_embeddings_of_pictures():
    sides = [Embeddings(("a", "b", "c"), {"tokens": np.zeros((3, 4, 5), np.float32)}) for _ in range(2)]
    with pytest.raises(ValueError, match=r"shapes \[\(3, 4, 5\), \(3, 4, 5\)\]; give \(N, d_i\)"):
        matched(*sides, kind="tokens")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Pairs(drawn(5), drawn(5)), r"texts is ndarray; give a tuple of caption sets"),
        (lambda: Pairs([[1.0, 2.0]], (drawn(1),)), r"embeddings are list; give arrays or tensors"),
    ],
)
def test_what_is_no_array_is_refused(make, words):
    with pytest.raises(TypeError, match=words):
        make()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Pairs(drawn(5), (drawn(4),)), "5 pictures, \\[4\\] captions"),
        (lambda: Pairs(drawn(1), (drawn(1),)), "1 pair; a contrast needs two"),
        (lambda: Pairs(drawn(5), ()), "one or more of"),
        (lambda: Pairs(drawn(5), (drawn(5), drawn(5, 3))), "widths \\[4, 3\\]"),
        (lambda: Pairs(drawn(3), (drawn(3),), ("a", "b", "a")), "id 'a' comes twice"),
        (lambda: Pairs(drawn(3), (drawn(3),), ("a", "b")), "2 ids"),
    ],
)
def test_what_does_not_belong_together_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_broken_and_constant_embeddings_are_refused():
    broken = drawn()
    broken[7, 2] = np.nan
    with pytest.raises(ValueError, match="images, row 7, holds NaN"):
        Pairs(broken, (drawn(),)).check()
    with pytest.raises(ValueError, match=r"texts\[0\] are 12 times the same row"):
        Pairs(drawn(), (np.ones((12, 3), np.float32),)).check()
