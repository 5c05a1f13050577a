"""COCO-Order and Flickr-Order: shuffles that are made here, the same for everybody and never the caption itself."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from tests.benchmark_files import save, write
from workbench.data.benchmarks import load_benchmark
from workbench.data.benchmarks.order import cleaned, order_negatives, word_kinds
from workbench.evaluation import choice_accuracy

CAPTION = "two small brown dogs chase a red ball across the wet green grass of a park"


@pytest.mark.parametrize(
    ("caption", "clean"),
    [
        ('A Man (with "a dog"): sits; there!', "a man with a dog sits there"),
        ("one, two - three's #4 ~ *five*.", "one, two - three's 4 five"),
        ("  \n.", ""),
        (" ".join(f"W{i}" for i in range(40)), " ".join(f"w{i}" for i in range(30))),
    ],
)
def test_captions_are_cleaned_as_published(caption, clean):
    assert cleaned(caption) == clean


def test_each_shuffle_moves_what_it_should():
    words = CAPTION.split()
    kinds = word_kinds(words)
    content, rest, within, whole = (each.split() for each in order_negatives(CAPTION, "0"))
    for one in ("noun", "adjective"):  # each among their own places
        assert Counter(w for w, k in zip(content, kinds, strict=True) if k == one) == Counter(
            w for w, k in zip(words, kinds, strict=True) if k == one
        )
    assert all(a == b for a, b, kind in zip(content, words, kinds, strict=True) if kind == "other")
    assert all(a == b for a, b, kind in zip(rest, words, kinds, strict=True) if kind != "other")
    trigrams = [words[i : i + 3] for i in range(0, len(words), 3)]
    assert [sorted(within[i : i + 3]) for i in range(0, len(words), 3)] == [sorted(each) for each in trigrams]
    assert all(" ".join(each) in " ".join(whole) for each in trigrams)


@pytest.mark.parametrize("seed", range(30))
def test_no_shuffle_is_the_caption(seed):
    for caption in (CAPTION, "a cat", "the dog and the dog", "dogs dogs cats", "a man's dog, and a cat"):
        for each in order_negatives(caption, str(seed)):
            assert each != caption
            assert Counter(each.split()) == Counter(caption.split())


@pytest.mark.parametrize(("caption", "n"), [("cat", 0), ("dogs dogs dogs", 0), ("", 0), ("a cat", 1), ("a red cat", 1)])
def test_what_has_no_other_order_has_fewer_options(caption, n):
    assert len(order_negatives(caption, "0")) == n


def test_the_seed_decides_and_nothing_else():
    assert order_negatives(CAPTION, "0") == order_negatives(CAPTION, "0") != order_negatives(CAPTION, "1")
    code = f"from workbench.data.benchmarks.order import order_negatives; print(order_negatives({CAPTION!r}, '0'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(order_negatives(CAPTION, "0"))


def test_kinds_of_words():
    words = "a brown dog and a very large cat are sitting on the wooden table".split()
    kinds = dict(zip(words, word_kinds(words), strict=True))
    assert {word for word, kind in kinds.items() if kind == "noun"} == {"dog", "cat", "table"}
    assert {word for word, kind in kinds.items() if kind == "adjective"} == {"brown", "large", "wooden"}


def test_odd_words_have_a_kind_each():
    for words in (["-", ",", "cat"], ["日本", "の", "猫"], ["man's", "half-eaten", "pizza,"], []):
        assert len(word_kinds(words)) == len(words)


def test_another_tagger_may_be_given():
    found = order_negatives("x y z", "0", kinds=lambda words: ["noun", "noun", "other"])
    assert found[0] == "y x z"
    with pytest.raises(ValueError, match="kinds gave 1 for 3 words"):
        order_negatives("x y z", "0", kinds=lambda words: ["noun"])


@pytest.mark.parametrize("name", ["aro-coco-order", "aro-flickr-order"])
def test_five_captions_of_a_picture_are_five_items(name, tmp_path):
    write[name](tmp_path)
    found = load_benchmark(name, tmp_path)
    assert len(found) == 10
    assert [item.id.rpartition("#")[2] for item in found.items] == list("01234") * 2
    assert len({item.picture for item in found.items}) == 2
    assert all(len(item.negatives) == 4 and item.caption == item.caption.lower() for item in found.items)
    assert found.notes == ("shuffled here, seed 0",)
    other = load_benchmark(name, tmp_path, seed=1)
    assert other.notes == ("shuffled here, seed 1",)
    assert other.items[0].negatives != found.items[0].negatives
    assert other.items[0].caption == found.items[0].caption


def test_a_caption_keeps_its_shuffles_when_others_go(tmp_path):
    write["aro-coco-order"](tmp_path)
    before = {item.id: item for item in load_benchmark("aro-coco-order", tmp_path).items}
    (tmp_path / "coco/val2014/COCO_val2014_0.jpg").unlink()
    after = load_benchmark("aro-coco-order", tmp_path)
    assert after.skipped == {"picture missing": 5}
    assert all(before[item.id] == item for item in after.items)


def test_captions_that_cannot_be_shuffled_are_counted(tmp_path):
    write["aro-coco-order"](tmp_path)
    entries = [{"image": "val2014/COCO_val2014_0.jpg", "caption": [CAPTION, "Dogs.", "A cat.", "", "..."]}]
    save(tmp_path / "coco/coco_karpathy_test.json", entries)
    found = load_benchmark("aro-coco-order", tmp_path)
    assert [item.caption for item in found.items] == [CAPTION, "a cat"]
    assert found.skipped == {"caption without another order of its words": 1, "empty caption": 2}
    assert "1 captions have fewer than four shuffles that differ from them" in found.notes


def test_constant_and_random_scores():
    scores = np.ones((50, 5))
    assert (scores.argmax(1) == 0).all()  # what the published scripts would call 100 %
    assert choice_accuracy(scores[:, 0], scores[:, 1:]).accuracy == 0
    scores = np.random.default_rng(0).random((5000, 5))
    low, high = choice_accuracy(scores[:, 0], scores[:, 1:]).interval
    assert low <= 0.2 <= high
