"""Scorers that do not look earn what they should, and give away what a benchmark gives away."""

import numpy as np
import pytest
import torch

from workbench.evaluation import (
    blind_baselines,
    choice_accuracy,
    constant_scores,
    group_scores,
    random_scores,
    recall_at_k,
    shuffled_images,
    text_only_scores,
)


def quads(n=200, d=16, seed=0):
    """Pictures and captions that know each other well."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(n, 2, d, generator=generator)
    return image, image + 0.5 * torch.randn(n, 2, d, generator=generator)


def test_constant_and_random_scores():
    assert choice_accuracy(constant_scores(9), constant_scores(9, 3)).accuracy == 0
    assert group_scores(constant_scores(9, 2, 2)).interaction_sign == 0
    assert recall_at_k(torch.from_numpy(constant_scores(9, 9)), [[i] for i in range(9)], ks=(8,)) == {8: 0.0}
    found = choice_accuracy(random_scores(3000), random_scores(3000, 1, seed=1))
    assert found.interval[0] <= 0.5 <= found.interval[1]
    assert np.array_equal(random_scores(4, seed=3), random_scores(4, seed=3))


def test_a_text_only_scorer_cannot_be_right_from_picture_to_text():
    captions = np.random.default_rng(0).random((500, 2))
    found = group_scores(text_only_scores(captions, 2))
    assert (found.image_to_text, found.text_to_image, found.group, found.interaction_sign) == (0, 0, 0, 0)


@pytest.mark.parametrize("n", [2, 3, 10, 57])
def test_no_picture_stays_where_it_was(n):
    for seed in range(20):
        moved = shuffled_images(np.arange(n), seed=seed)
        assert (moved != np.arange(n)).all()
        assert sorted(moved) == list(range(n))


def test_pictures_that_come_twice_move_together():
    ids = np.array(["a", "b", "a", "c", "b", "a"])
    moved = shuffled_images(ids, ids=ids, seed=1)
    assert (moved != ids).all()
    assert len({(old, new) for old, new in zip(ids, moved, strict=True)}) == 3


def test_quads_without_pictures_are_worth_chance_or_nothing():
    found = blind_baselines(*quads()).rows
    assert found["model"].group > 0.9
    for name, chance in found["model"].chance.items():
        low, high = found["other pictures"].intervals[name]
        assert low - 0.03 <= chance <= high + 0.03
        assert getattr(found["constant"], name) == getattr(found["captions only"], name) == 0


def test_wording_that_tells_the_negatives_shows():
    """True captions that lie nearer to all pictures than negatives do: a blind scorer solves such a benchmark."""
    image, text = quads(seed=1)
    image, style = image[:, 0] + 2, torch.ones(16)
    text = torch.stack([text[:, 0] + style, text[:, 1] - style], 1)
    found = blind_baselines(image, text)
    assert found.rows["captions only"].accuracy > 0.9
    assert found.rows["other pictures"].accuracy > 0.9
    assert found.rows["constant"].accuracy == 0


def test_the_table_puts_the_model_beside_the_blind():
    for image, text in (quads(), (quads()[0][:, 0], quads()[1])):
        lines = str(blind_baselines(image, text)).splitlines()
        assert [line.split("  ")[0] for line in lines[2:7]] == [
            "model",
            "other pictures",
            "captions only",
            "random",
            "constant",
        ]


def test_repeated_pictures_are_named_by_their_ids():
    image, text = quads(6)
    image = image[:, 0].repeat_interleave(2, 0)[:6]
    ids = [0, 0, 1, 1, 2, 2]
    apart = shuffled_images(image, ids=ids)
    assert not (apart == image).all(1).any()
    assert blind_baselines(image, text, ids=ids).rows["model"].n == 6


@pytest.mark.parametrize(
    ("image", "text", "message"),
    [
        (torch.ones(3, 4), torch.ones(3, 1, 4), r"\(n, 1 \+ K, d\) for choices"),
        (torch.ones(3, 2, 4), torch.ones(3, 3, 4), "twice for quads"),
        (torch.ones(3, 4), torch.ones(2, 2, 4), r"image \(3, 4\), text \(2, 2, 4\)"),
        (torch.ones(1, 4), torch.ones(1, 2, 4), "n ≥ 2"),
        (torch.full((2, 4), torch.nan), torch.ones(2, 2, 4), "NaN"),
    ],
)
def test_refusals(image, text, message):
    with pytest.raises(ValueError, match=message):
        blind_baselines(image, text)


def test_more_refusals():
    with pytest.raises(ValueError, match="1 picture cannot be shuffled"):
        shuffled_images(torch.ones(3, 2), ids=["a", "a", "a"])
    with pytest.raises(ValueError, match=r"groups of shape \(2,\) for 3 items"):
        shuffled_images(torch.ones(3, 2), ids=["a", "b"])
    with pytest.raises(ValueError, match=r"captions \(3,\), images=2"):
        text_only_scores(np.ones(3), 2)


def test_arrays_are_features():
    image, text = quads(20)
    assert blind_baselines(image.numpy(), text.numpy()) == blind_baselines(image, text)


def test_rows_of_zeros_are_named():
    image, text = quads(4)
    image[2, 1] = 0
    with pytest.raises(ValueError, match="row 2 of image holds zeros"):
        blind_baselines(image, text)
