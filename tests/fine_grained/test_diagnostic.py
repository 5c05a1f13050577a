"""The free rules on parts of quads against calls one by one, and controls that take away what they say."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from workbench.controlled import quad_scores
from workbench.data.scenes import quads
from workbench.evaluation import group_scores
from workbench.fine_grained import CONTROLS, FREE, SCORERS, corrupted, diagnose, quad_parts, rule_scores
from workbench.fine_grained.diagnostic import ONE, TRUE, random_places, tied, with_crops
from workbench.matching import RULES, Regions, crop_boxes, score
from workbench.models.registry import load_model


@pytest.fixture(scope="module")
def model(clip_folder):
    return load_model(f"local-dir:{clip_folder}", device="cpu")


@pytest.fixture(scope="module")
def drawn():
    return quads("Colour", 10, 0)  # more than are scored at once


@pytest.fixture(scope="module")
def parts(model, drawn):
    return quad_parts(model, drawn)


def test_every_rule_without_a_head_is_asked():
    assert set(FREE) == {name for name, rule in RULES.items() if "head" not in rule.needs}
    assert len(FREE) == 13
    assert len(SCORERS) == 16


@pytest.mark.parametrize("scorer", SCORERS)
def test_a_quad_scores_the_same_alone(parts, scorer):
    whole = rule_scores(parts, scorer)
    assert whole.shape == (10, 2, 2)
    assert torch.allclose(whole[9:], rule_scores(parts[9:10], scorer), atol=2e-4)


@pytest.mark.parametrize(
    ("scorer", "rule"), [("global", "global"), ("late", "late"), ("crops", "crops"), (TRUE, "boxes")]
)
def test_scores_are_those_of_the_live_diagnostic(model, drawn, parts, scorer, rule):
    assert torch.allclose(rule_scores(parts, scorer), quad_scores(model, drawn, rule), atol=1e-5)


def test_a_quad_meets_its_own_captions(parts):
    one = parts[4:5]
    expected = score("text_pooling", one.image, one.text)
    assert torch.allclose(rule_scores(parts, "text_pooling")[4], expected, atol=1e-5)


def test_one_crop_and_one_segment_is_the_global_cosine(parts):
    alone = replace(parts.segments, tokens=parts.segments.tokens[:, -1:], mask=parts.segments.mask[:, -1:])
    assert torch.allclose(rule_scores(replace(parts, segments=alone), ONE), rule_scores(parts, "global"), atol=1e-5)


def test_order_of_segments_and_crops_does_not_matter(parts):
    turned = replace(parts.segments, tokens=parts.segments.tokens.flip(1))
    crops = replace(parts.crops, tokens=parts.crops.tokens.flip(1))
    found = rule_scores(replace(parts, segments=turned, crops=crops), "crops")
    assert torch.allclose(found, rule_scores(parts, "crops"), atol=1e-6)


@pytest.mark.parametrize("control", CONTROLS)
def test_controls_are_repeatable_and_finite(parts, control):
    found = CONTROLS[control](parts, seed=3)
    assert found.shape == (10, 2, 2)
    assert torch.isfinite(found).all()
    assert torch.equal(found, CONTROLS[control](parts, seed=3))


def planted(parts):
    """Crops and segments in which each caption's phrases and whole are in its own picture only, and in no other quad."""
    rows = len(parts.image)
    segments = torch.eye(3 * rows).unflatten(0, (rows, 3))
    crops = torch.cat([segments, torch.zeros(rows, 83, 3 * rows) + 1e-3], 1)
    wide = replace(parts.segments, tokens=segments)
    return replace(parts, segments=wide, crops=replace(parts.crops, tokens=crops))


def right(scores):
    s = np.asarray(scores)
    return ((s[:, 0, 0] > s[:, 0, 1]) & (s[:, 1, 1] > s[:, 1, 0])).mean()


def test_controls_take_away_what_they_say(parts):
    found = planted(parts)
    assert right(rule_scores(found, "crops")) == 1
    assert right(CONTROLS["other pictures"](found)) == 0
    assert right(CONTROLS["phrases alone"](found)) == right(CONTROLS["caption alone"](found)) == 1
    own, permuted = rule_scores(found, "crops")[:, 0, 0], CONTROLS["permuted segments"](found)[:, 0, 0]
    assert torch.allclose(own, torch.ones(10))
    assert (permuted < 0.5).all()  # the whole caption alone is found
    assert (CONTROLS["random crops"](found)[:, 0, 0] < 0.9).all()


def test_wrong_segments_grow_with_their_share_and_spare_the_caption(parts):
    found = planted(parts)
    wrong = [(corrupted(found, share).segments.tokens != found.segments.tokens).any(-1) for share in (0, 0.3, 0.7, 1)]
    assert [int(each.sum()) for each in wrong] == sorted(int(each.sum()) for each in wrong)
    assert int(wrong[0].sum()) == 0
    assert bool(wrong[3][:, :2].all())
    assert not any(bool(each[:, 2].any()) for each in wrong)
    for less, more in pairwise(wrong):
        assert not bool((less & ~more).any())


def test_random_places_have_the_grids_sizes_and_stay_inside():
    grid = crop_boxes(64, 64)
    found = random_places(64, grid, 0)
    assert [(c - a, d - b) for a, b, c, d in found] == [(c - a, d - b) for a, b, c, d in grid]
    assert all(0 <= a < c <= 64 and 0 <= b < d <= 64 for a, b, c, d in found)
    assert (0, 0, 64, 64) in found
    assert found == random_places(64, grid, 0) != random_places(64, grid, 1)


def test_ties_are_those_of_the_scores_own_scale():
    close = np.array([[[100.0, 100.0 + 2e-5], [50.0, 51.0]]])
    assert tied(close)[0, 0, 0] == tied(close)[0, 0, 1]
    small = np.array([[[0.1, 0.1 + 2e-5], [0.5, 0.51]]])
    assert tied(small)[0, 0, 0] < tied(small)[0, 0, 1]


def test_bad_input_is_named(parts):
    with pytest.raises(ValueError, match="scorer='dense_map'; choose one of global"):
        rule_scores(parts, "dense_map")
    with pytest.raises(ValueError, match="share=2"):
        corrupted(parts, 2)
    with pytest.raises(ValueError, match="two or more"):
        CONTROLS["other pictures"](parts[:1])
    uneven = replace(parts.segments, mask=parts.segments.mask.clone())
    uneven.mask[0, -1] = False
    with pytest.raises(ValueError, match="different numbers of segments"):
        CONTROLS["permuted segments"](replace(parts, segments=uneven))
    bare = replace(parts, image=replace(parts.image, tokens=None, grid=None))
    with pytest.raises(ValueError, match="needs image tokens"):
        rule_scores(bare, "late")
    assert rule_scores(bare, "crops").shape == (10, 2, 2)


def test_other_crops_take_the_place_of_the_grid(parts):
    one = Regions(parts.crops.tokens[:, -1:], parts.crops.mask[:, -1:], tuple(each[-1:] for each in parts.crops.boxes))
    assert rule_scores(with_crops(parts, one), "crops").shape == (10, 2, 2)


# The whole of it on a model ---------------------------------------------------------------------------------------------


def test_diagnose_asks_every_scorer_and_control_of_the_same_quads(model, drawn, parts):
    found = diagnose(model, 10, 0, categories=["Colour"], controls=True).groups
    names = [scorer for _, _, scorer in found]
    assert names == [*SCORERS, *(f"control: {name}" for name in CONTROLS)]
    for name in ("crops", "roi", "global"):
        own = found[model.name, "Colour", name]
        assert own.group == group_scores(tied(rule_scores(parts, name))).group
        assert own.n == 10


def test_a_model_without_patches_is_asked_what_it_can_answer(clip_folder):
    bare = load_model(f"local-dir:{clip_folder}", device="cpu")
    bare.card = replace(bare.card, grid=None)
    found = diagnose(bare, 1, 0, categories=["Colour"], scorers=("global", "late", "roi", "crops")).groups
    assert [scorer for _, _, scorer in found] == ["global", "crops"]


def test_diagnose_refuses(model):
    with pytest.raises(ValueError, match="scorer='boxes'; choose one of global"):
        diagnose(model, 1, scorers=["boxes"])
    with pytest.raises(ValueError, match="leave nothing to ask"):
        diagnose(model, 1, scorers=[])
    with pytest.raises(ValueError, match="category='Shape'"):
        diagnose(model, 1, categories=["Shape"])
