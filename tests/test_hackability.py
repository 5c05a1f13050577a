"""The blind classifier: sees through a giveaway, is at a loss without one, and never sees its own test pairs."""

import random

import pytest

from workbench.data.edits import Negative
from workbench.hackability import blind_scores

COLOURS = "red blue green yellow black white brown pink".split()
THINGS = "dog cat ball cube car hat cup box bird fish".split()
PLACES = "mat table shelf road lawn roof".split()


def _captions(n=160):
    draw = random.Random(0)
    made = [
        f"A {draw.choice(COLOURS)} {draw.choice(THINGS)} on a {draw.choice(COLOURS)} {draw.choice(PLACES)}."
        for _ in range(n)
    ]
    return list(dict.fromkeys(made))


def _own(text):
    return lambda caption, seed: Negative(text(caption), "own", (0, 0), (0, 0), seed)


def test_a_giveaway_is_seen_and_a_fair_swap_is_not():
    record = blind_scores(_captions(), ["negate", "replace_colour", "swap_attributes"])
    negate, colour, swap = (record.scores[name] for name in ("negate", "replace_colour", "swap_attributes"))
    assert negate.accuracy == 1
    assert negate.interval[0] > 0.95
    assert swap.interval[0] < 0.5 < swap.interval[1] + 0.1
    assert swap.accuracy < 0.65
    assert colour.accuracy < negate.accuracy
    assert negate.n == record.changed["negate"] == record.n == len(_captions())


def test_the_same_words_are_a_tie_and_wrong():
    record = blind_scores(_captions(), {"shouted": _own(str.upper)})
    assert record.scores["shouted"].accuracy == 0
    assert record.scores["shouted"].tie_rate == 1


def test_seeds_decide_and_equal_captions_count_once():
    captions = _captions(60)
    once = blind_scores(captions, ["replace_colour"], seed=4)
    assert once == blind_scores([*captions, f" {captions[0].upper()}"], ["replace_colour"], seed=4)
    assert once.scores != blind_scores(captions, ["replace_colour"], seed=5).scores


def test_a_label_that_only_memory_knows_is_not_learnt():
    """Nonsense of its own for every pair: only a classifier that saw the pair could tell it."""
    captions = [f"{'ab'[i % 2]}{i} w{i}" for i in range(120)]
    record = blind_scores(captions, {"nonsense": _own(lambda caption: caption.replace("w", "v"))})
    assert record.scores["nonsense"].accuracy <= 0.1


def test_too_few_are_counted_and_not_scored():
    record = blind_scores(["A red dog", "cat", "!!!"], ["replace_colour"])
    assert record.scores["replace_colour"] is None
    assert record.changed == {"replace_colour": 1}
    assert "replace_colour  1  too few" in str(record)


def test_bad_input():
    with pytest.raises(ValueError, match="there are no captions; give at least one"):
        blind_scores([])
    with pytest.raises(TypeError, match="captions is one string, 'a dog'"):
        blind_scores("a dog")
    with pytest.raises(ValueError, match="folds is 1; give a whole number from 2"):
        blind_scores(["a dog"], folds=1)
    with pytest.raises(ValueError, match="no operator 'nothing'"):
        blind_scores(["a dog"], ["nothing"])
    with pytest.raises(ValueError, match="seed is -1; give a whole number from 0"):
        blind_scores(_captions(30), ["replace_colour"], seed=-1)
    for seed in (0.5, None, True):
        with pytest.raises(TypeError, match=f"seed is {seed}; give a whole number from 0"):
            blind_scores(_captions(30), {"shouted": _own(str.upper)}, seed=seed)
