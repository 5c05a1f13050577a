"""Scoring rules of single benchmarks on matrices made by hand, on constant scores and on random ones."""

import numpy as np
import pytest
import torch

from workbench.data.benchmarks.valse import PHENOMENA
from workbench.evaluation.benchmarks import (
    PAIRS,
    macro_over_groups,
    mean_of_subsets,
    picture_choice,
    set_accuracy,
    text_only,
    two_positives,
    valse_mean,
)
from workbench.evaluation.composition import Choice

N = 4000
A = ("left", "right", "on", "under")


def inside(interval, value):
    return interval[0] <= value <= interval[1]


# SugarCrepe++ ----------------------------------------------------------------------------------------------------------


def test_both_true_captions_have_to_win():
    scores = [[3, 2, 1], [3, 1, 2], [1, 3, 2], [2, 2, 2], [3, 2, 2]]
    found = two_positives(scores)
    assert (found.accuracy, found.tie_rate, found.n) == (0.2, 0.4, 5)


def test_texts_alone():
    found = text_only([0.9, 0.5, 0.5], [[0.8, 0.7], [0.6, 0.1], [0.5, 0.1]])
    assert found.accuracy == pytest.approx(1 / 3)
    assert found.tie_rate == pytest.approx(1 / 3)


def test_two_positives_by_chance():
    rng = np.random.default_rng(1)
    assert two_positives(np.ones((9, 3))).accuracy == 0
    assert inside(two_positives(rng.random((N, 3))).interval, 1 / 3)
    assert text_only(np.ones(9), np.ones((9, 2))).accuracy == 0
    assert inside(text_only(rng.random(N), rng.random((N, 2))).interval, 1 / 3)


# ARO -------------------------------------------------------------------------------------------------------------------


def test_groups_count_the_same_whatever_their_size():
    scores = [[1, 0]] * 8 + [[0, 1]] * 2  # nine tenths of "on" right, none of "under"
    found = macro_over_groups(scores, ["on"] * 9 + ["under"])
    assert found.mean == pytest.approx(8 / 9 / 2)
    assert found.micro == pytest.approx(0.8)
    assert found.groups == {"on": (pytest.approx(8 / 9), 9), "under": (0.0, 1)}
    assert "under" in str(found)


def test_small_groups_do_not_count():
    scores = [[1, 0]] * 25 + [[0, 1]] * 24
    found = macro_over_groups(scores, ["a"] * 25 + ["b"] * 24, least=25)
    assert (found.mean, found.n, found.small) == (1.0, 25, {"b": 24})
    assert "1 groups are too small" in str(found)
    with pytest.raises(ValueError, match=r"none of 2 groups has 26 items \(the largest: 25\)"):
        macro_over_groups(scores, ["a"] * 25 + ["b"] * 24, least=26)


def test_groups_by_chance():
    rng = np.random.default_rng(2)
    groups = rng.choice(list("abcde"), N, p=(0.5, 0.3, 0.1, 0.08, 0.02))
    assert macro_over_groups(np.ones((9, 2)), list("aaabbbccc")).mean == 0
    found = macro_over_groups(rng.random((N, 2)), list(groups))
    assert inside(found.interval, 0.5)
    assert inside(found.interval, found.mean)


def test_the_interval_of_a_macro_covers_as_often_as_it_says():
    rng = np.random.default_rng(3)
    groups = ["a"] * 200 + ["b"] * 40 + ["c"] * 30
    share = np.array([0.9] * 200 + [0.4] * 40 + [0.6] * 30)  # what the three are in truth
    runs = [
        macro_over_groups(np.c_[rng.random(270) < share, np.full(270, 0.5)], groups, seed=i).interval
        for i in range(200)
    ]
    assert 0.88 <= np.mean([inside(interval, 1.9 / 3) for interval in runs]) <= 0.99


# What'sUp --------------------------------------------------------------------------------------------------------------


def scores_of(right):
    """Four options each, the true one first: it wins, or it loses to the last."""
    return [[1, 0, 0, 0] if each else [0, 0, 0, 1] for each in right]


def test_pairs_and_sets():
    right = [True, True, True, True, True, True, True, False]  # one set whole, the other but for "under"
    found = set_accuracy(scores_of(right), ["mug"] * 4 + ["cup"] * 4, A * 2)
    assert found.individual.accuracy == 7 / 8
    assert (found.pair.mean, found.pair.n) == (3 / 4, 4)  # of N/2
    assert (found.whole.mean, found.whole.n) == (1 / 2, 2)  # of N/4
    assert found.incomplete == 0
    assert "set of four" in str(found)


def test_left_and_on_are_no_pair():
    found = set_accuracy(scores_of([True, False, True, False]), ["mug"] * 4, A)
    assert (found.individual.accuracy, found.pair.mean, found.whole.mean) == (0.5, 0.0, 0.0)


def test_pairs_and_sets_go_by_name_and_not_by_place():
    order = np.random.default_rng(0).permutation(8)
    right, things, relations = [True] * 7 + [False], ["mug"] * 4 + ["cup"] * 4, A * 2
    mixed = set_accuracy(*([list(each)[i] for i in order] for each in (scores_of(right), things, relations)))
    assert mixed.pair.mean == 3 / 4
    assert mixed.whole.mean == 1 / 2


def test_what_lacks_an_item_does_not_count():
    found = set_accuracy(scores_of([True] * 7), ["mug"] * 4 + ["cup"] * 3, (*A, *A[:3]))
    assert (found.pair.n, found.whole.n, found.incomplete) == (3, 1, 2)
    assert "2 pairs or sets are incomplete" in str(found)
    alone = set_accuracy(scores_of([True]), ["mug"], ["behind"])
    assert (alone.pair, alone.whole, alone.incomplete) == (None, None, 2)


def test_sets_by_chance():
    things = [f"thing {i // 4}" for i in range(8 * N)]
    found = set_accuracy(np.random.default_rng(4).random((8 * N, 4)), things, A * (2 * N))
    assert inside(found.individual.interval, 1 / 4)
    assert found.pair.low <= 1 / 16 <= found.pair.high
    assert found.whole.low <= 1 / 256 <= found.whole.high


def test_a_constant_scorer_earns_nothing_where_argmax_would_say_all():
    scores = np.ones((8, 4))
    assert (scores.argmax(1) == 0).all()  # the trap: the true caption comes first, and argmax takes the first of equals
    found = set_accuracy(scores, ["mug"] * 4 + ["cup"] * 4, A * 2)
    assert (found.individual.accuracy, found.pair.mean, found.whole.mean) == (0, 0, 0)
    assert found.individual.tie_rate == 1


@pytest.mark.parametrize("relation", ["near", "left"])
def test_unknown_and_double_relations_are_refused(relation):
    with pytest.raises(ValueError, match=f"'{relation}' of 'mug' is unknown or comes twice"):
        set_accuracy(scores_of([True, True]), ["mug", "mug"], ["left", relation])


# ImageCoDe, VALSE ------------------------------------------------------------------------------------------------------


def test_the_picture_that_is_meant():
    scores = [[1, 2, 3], [3, 2, 1], [0, 5, 5], [9, 0, 0]]
    found = picture_choice(scores, [2, 2, 1, 0])
    assert (found.accuracy, found.tie_rate) == (0.5, 0.25)


def test_pictures_by_chance():
    rng = np.random.default_rng(5)
    targets = rng.integers(0, 10, N)
    assert inside(picture_choice(rng.random((N, 10)), targets).interval, 1 / 10)
    assert picture_choice(np.zeros((9, 10)), np.zeros(9, int)).accuracy == 0


@pytest.mark.parametrize("targets", [[0], [0, 3], [-1, 0], [[0], [1]]])
def test_targets_outside_are_refused(targets):
    with pytest.raises(ValueError, match="give each the place of its picture, 0 to 2"):
        picture_choice(np.zeros((2, 3)), targets)


def test_valse_counts_phenomena_and_not_files():
    files = [file for files in PHENOMENA.values() for file in files]
    assert len(files) == 11
    none, whole = Choice(0.0, 0.0, 50, (0.0, 0.0)), Choice(1.0, 0.0, 50, (1.0, 1.0))
    subsets = dict.fromkeys(files, none) | {"existence": whole, "counting-hard": whole}
    assert valse_mean(subsets).mean == pytest.approx((1 + 1 / 3) / 7)
    assert mean_of_subsets(subsets).mean == pytest.approx(2 / 11)
    del subsets["plurals"]
    with pytest.raises(ValueError, match="plurals is missing"):
        valse_mean(subsets)
    with pytest.raises(ValueError, match="no subset to average"):
        mean_of_subsets({})


def test_a_mean_of_subsets_is_as_sure_as_its_items_make_it():
    found = mean_of_subsets({"a": Choice(0.5, 0.0, 100, (0.4, 0.6)), "b": Choice(0.5, 0.0, 100, (0.4, 0.6))})
    assert (found.mean, found.n) == (0.5, 200)
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 200), rel=0.1)


# Bad input -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scores", [[], np.zeros((0, 3)), np.zeros(3), np.zeros((2, 1)), np.zeros((2, 2, 2))])
def test_other_shapes_are_refused(scores):
    n = len(scores)
    for rule in (
        lambda: two_positives(scores),
        lambda: macro_over_groups(scores, ["a"] * n),
        lambda: set_accuracy(scores, ["a"] * n, ["on"] * n),
        lambda: picture_choice(scores, [0] * n),
    ):
        with pytest.raises(ValueError, match=r"scores \(.*; give \(n, K\)"):
            rule()


def test_nan_is_refused():
    scores = [[0.0, np.nan, 1.0]]
    for rule in (
        lambda: two_positives(scores),
        lambda: macro_over_groups(scores, ["a"]),
        lambda: set_accuracy(scores, ["a"], ["on"]),
        lambda: picture_choice(scores, [0]),
    ):
        with pytest.raises(ValueError, match="NaN"):
            rule()


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="1 groups for 2 items"):
        macro_over_groups(np.zeros((2, 2)), ["a"])
    with pytest.raises(ValueError, match="2 items, 1 things, 2 relations"):
        set_accuracy(np.zeros((2, 2)), ["a"], ["on", "under"])


def test_relations_are_opposites_in_pairs():
    assert len(frozenset().union(*PAIRS)) == 6


def test_more_bad_input_is_refused():
    for targets in ([0.5, 1.0], [True, False]):
        with pytest.raises(ValueError, match="give each the place of its picture"):
            picture_choice(np.zeros((2, 3)), targets)
    with pytest.raises(ValueError, match=r"different \(2, 1\); give \(n, 2\)"):
        text_only(np.zeros(2), np.zeros((2, 1)))
    for group in (None, 1):
        with pytest.raises(ValueError, match=f"the group {group} is no string"):
            macro_over_groups(np.zeros((2, 2)), ["1", group])


def test_tensors_of_any_kind_are_scores():
    scores = torch.tensor([[1.0, 0.0], [0.5, 0.0]], dtype=torch.bfloat16, requires_grad=True)
    assert macro_over_groups(scores, ["a", "b"]).mean == picture_choice(scores, [0, 0]).accuracy == 1


def test_items_of_one_picture_are_resampled_together():
    right = np.repeat(np.random.default_rng(0).random(60) < 0.5, 5)
    scores, pictures = np.c_[right, np.full(300, 0.5)], np.repeat(np.arange(60), 5)
    groups = [f"{i % 3}" for i in range(300)]
    alone, together = (macro_over_groups(scores, groups, pictures=each) for each in (None, pictures))
    assert alone.mean == together.mean
    assert np.diff(together.interval) > 1.6 * np.diff(alone.interval)
    by_item = macro_over_groups(scores, groups, pictures=np.arange(300))
    assert by_item.interval == alone.interval
    three = np.c_[right, right, np.full(300, 0.5)]
    for rule in (
        lambda names: two_positives(three, groups=names),
        lambda names: picture_choice(scores, np.zeros(300, int), groups=names),
        lambda names: text_only(scores[:, 0], three[:, 2:].repeat(2, 1), groups=names),
    ):
        assert np.diff(rule(pictures).interval) > 1.6 * np.diff(rule(None).interval)
