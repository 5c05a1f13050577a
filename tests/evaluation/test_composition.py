"""Quads and SugarCrepe's averages against hand-made scores, published numbers, and scorers that try to cheat."""

import numpy as np
import pytest
import torch

from workbench.evaluation import Choice, Groups, choice_accuracy, group_scores, levelled, sugarcrepe_averages, wilson

NAMES = ("image_to_text", "text_to_image", "group", "interaction_sign")


def four(scores):
    found = group_scores(scores)
    return tuple(getattr(found, name) for name in NAMES)


@pytest.mark.parametrize(
    ("quad", "expected"),
    [
        ([[1.0, 0.0], [0.0, 1.0]], (1, 1, 1, 1)),
        ([[0.0, 1.0], [1.0, 0.0]], (0, 0, 0, 0)),
        ([[0.5, 0.4], [0.8, 0.9]], (1, 0, 0, 1)),  # the second picture scores high with everything
        ([[0.5, 0.8], [0.4, 0.9]], (0, 1, 0, 1)),  # the second caption does
        ([[0.3, 0.2], [0.1, 0.0]], (0, 0, 0, 0)),  # no interaction at all
        ([[0.9, 0.5], [0.6, 0.4]], (0, 0, 0, 1)),
        ([[1.0, 1.0], [0.0, 1.0]], (0, 0, 0, 1)),
    ],
)
def test_scores_of_quads_by_hand(quad, expected):
    assert four([quad]) == expected


def test_turned_round_pictures_become_captions():
    scores = np.random.default_rng(0).random((500, 2, 2))
    straight, turned = four(scores), four(scores.transpose(0, 2, 1))
    assert straight[0] == turned[1]
    assert straight[1] == turned[0]
    assert straight[2:] == turned[2:]


def test_renaming_both_members_of_a_quad_changes_nothing():
    scores = np.random.default_rng(1).random((300, 2, 2))
    assert four(scores) == four(scores[:, ::-1, ::-1])


def test_a_group_is_right_where_both_directions_are():
    found = group_scores(np.random.default_rng(2).random((2000, 2, 2)))
    assert found.group <= min(found.image_to_text, found.text_to_image) <= found.interaction_sign


def test_random_scores_land_on_chance():
    found = group_scores(np.random.default_rng(3).random((6000, 2, 2)))
    for name in NAMES:
        low, high = found.intervals[name]
        assert low <= Groups.chance[name] <= high


def test_constant_scores_earn_nothing_and_are_all_ties():
    found = group_scores(torch.ones(50, 2, 2))
    assert four(np.ones((50, 2, 2))) == (0, 0, 0, 0)
    assert set(found.tie_rates.values()) == {1.0}


def test_a_tie_that_changes_nothing_is_none():
    found = group_scores([[[0.5, 0.5], [0.9, 0.1]]])  # the first picture ties, the second is wrong anyway
    assert found.tie_rates == dict.fromkeys(NAMES, 0.0)


def test_what_belongs_to_one_side_cancels_in_the_sign_only():
    rng = np.random.default_rng(4)
    interaction = np.where(np.eye(2, dtype=bool), 0.1, -0.1) + rng.normal(0, 0.01, (200, 2, 2))
    biased = interaction + 10 * rng.normal(size=(200, 2, 1)) + 10 * rng.normal(size=(200, 1, 2))
    assert four(interaction)[2:] == (1, 1)
    assert group_scores(biased).interaction_sign == 1
    assert group_scores(biased).group < 0.05


def test_the_table_says_chance_ties_and_n():
    text = str(group_scores(np.random.default_rng(5).random((40, 2, 2))))
    for told in ("40 quads", "chance", "25.0", "16.7", "50.0", "ties"):
        assert told in text


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros((0, 2, 2)), "n ≥ 1"),
        (np.zeros((3, 2)), r"shape \(3, 2\)"),
        (np.zeros((3, 2, 3)), "item by image by text"),
        (np.full((1, 2, 2), np.nan), "NaN"),
    ],
)
def test_quads_that_are_none(scores, message):
    with pytest.raises(ValueError, match=message):
        group_scores(scores)


SIZES = {
    "add_att": 692,
    "add_obj": 2062,
    "replace_att": 788,
    "replace_obj": 1652,
    "replace_rel": 1406,
    "swap_att": 666,
    "swap_obj": 246,
}
# OpenAI's ViT-B/32, percent, as issue 3 of SugarCrepe's repository gives them
PUBLISHED = {
    "add_att": 68.79,
    "add_obj": 77.21,
    "replace_att": 80.08,
    "replace_obj": 90.92,
    "replace_rel": 69.20,
    "swap_att": 63.96,
    "swap_obj": 61.38,
}


def choices(accuracies, sizes=SIZES):
    shares = {name: (accuracies[name] / 100, n) for name, n in sizes.items()}
    found = {name: wilson(round(share * n), n) for name, (share, n) in shares.items()}
    return {name: Choice(share, 0.0, n, (found[name].low, found[name].high)) for name, (share, n) in shares.items()}


def test_published_averages_come_out():
    found = sugarcrepe_averages(choices(PUBLISHED))
    assert 100 * found.macro == pytest.approx(73.08, abs=0.01)
    assert 100 * found.micro == pytest.approx(76.56, abs=0.01)
    assert [100 * found.groups[name] for name in ("replace", "swap", "add")] == pytest.approx(
        [80.07, 62.67, 73.0], abs=0.01
    )
    assert found.groups_macro == pytest.approx(np.mean(list(found.groups.values())))
    assert found.n == 7512
    assert "over items (SugarCrepe)" in str(found)


def test_the_weights_of_groups_over_items():
    """Each subset's part of vl_compo's average, from the counts of its checkpoint table."""
    told = dict(zip(SIZES, (0.0838, 0.2496, 0.0683, 0.1432, 0.1219, 0.2437, 0.0896), strict=True))
    for name, weight in told.items():
        one = choices({each: 100.0 * (each == name) for each in SIZES}, SIZES | {"swap_obj": 245})
        assert sugarcrepe_averages(one).groups_micro == pytest.approx(weight, abs=1e-4)


def test_equal_accuracies_make_equal_averages_with_an_interval_around_them():
    found = sugarcrepe_averages(choices(dict.fromkeys(SIZES, 70.0)))
    assert (found.micro, found.macro, found.groups_micro, found.groups_macro) == pytest.approx((0.7,) * 4)
    low, high = found.intervals["micro"]
    closed = wilson(round(0.7 * 7512), 7512)
    assert (low, high) == pytest.approx((closed.low, closed.high), abs=0.002)
    assert found.intervals["macro"][1] - found.intervals["macro"][0] > high - low  # small subsets weigh more


def test_a_missing_subset_is_named():
    few = choices(PUBLISHED)
    del few["swap_obj"]
    with pytest.raises(ValueError, match=r"give all seven: .*swap_obj"):
        sugarcrepe_averages(few)


def test_scores_that_differ_by_rounding_are_levelled_and_others_stay():
    rounding = np.array([[0.3, 0.3 + 1e-7, 0.9, 0.3 - 1e-7], [0.1, 0.2, 0.3, 0.4]])
    level = levelled(rounding)
    assert level[0, 0] == level[0, 1] == level[0, 3]
    assert level[0, 2] == 0.9
    assert (level[1] == rounding[1]).all()
    assert np.abs(level - rounding).max() < 1e-6
    assert levelled(rounding.reshape(2, 2, 2)).shape == (2, 2, 2)


def test_the_same_words_summed_in_another_order_are_a_tie():
    rng = np.random.default_rng(0)
    words = rng.normal(size=(50, 4, 64)).astype(np.float32)
    a, b = words.sum(1), words[:, ::-1].sum(1)
    features = np.stack([a, b], 1).astype(np.float64)
    features /= np.linalg.norm(features, axis=2, keepdims=True)
    scores = np.einsum("nid,njd->nij", features, features)
    assert group_scores(scores).group > 0.5  # the last bits, taken for knowledge
    found = group_scores(levelled(scores))
    assert found.group == found.interaction_sign == 0
    assert found.tie_rates["group"] == 1


def test_a_broken_feature_is_no_tie():
    with pytest.raises(ValueError, match="a score is NaN"):
        levelled([[0.5, np.nan]])


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_rounding_gives_additive_scores_no_sign(scale):
    rng = np.random.default_rng(0)
    picture, caption = rng.normal(size=(2, 2000, 2)).astype(np.float32) * np.float32(scale)
    found = group_scores(picture[:, :, None] + caption[:, None])
    assert (found.interaction_sign, found.tie_rates["interaction_sign"]) == (0, 1)
    small = np.array([[[1, 0], [0, 1]]]) * 1e-5 * scale + scale
    assert group_scores(small).interaction_sign == 1  # small, but no rounding


def test_a_pair_may_be_ruled_out_and_no_score_be_infinite():
    found = group_scores([[[0.5, -np.inf], [0.1, 0.4]], [[-np.inf, 0.2], [0.3, 0.9]]])
    assert found.interaction_sign == 0.5
    with pytest.raises(ValueError, match=r"scores hold NaN or \+inf"):
        group_scores([[[np.inf, 0.2], [0.3, 0.9]]])


def test_items_of_one_picture_are_resampled_together():
    right = np.repeat(np.random.default_rng(0).random(60) < 0.5, 5)  # five captions that stand and fall together
    pictures = np.repeat(np.arange(60), 5)
    alone, together = (choice_accuracy(right, np.full((300, 1), 0.5), groups=each) for each in (None, pictures))
    assert alone.accuracy == together.accuracy
    assert np.diff(together.interval) > 1.8 * np.diff(alone.interval)


def test_averages_are_as_sure_as_the_subsets_say():
    wide = {name: Choice(0.7, 0.0, n, (0.6, 0.8)) for name, n in SIZES.items()}
    low, high = sugarcrepe_averages(wide).intervals["macro"]
    assert (low, high) == pytest.approx((0.7 - 0.1 / 7**0.5, 0.7 + 0.1 / 7**0.5))


def test_one_score_with_its_interval():
    found = group_scores(np.random.default_rng(0).random((50, 2, 2)))
    for name in found.chance:
        one = found.interval(name)
        assert (one.mean, (one.low, one.high), one.n) == (getattr(found, name), found.intervals[name], 50)
    with pytest.raises(ValueError, match="no score 'both'; there are image_to_text"):
        found.interval("both")
