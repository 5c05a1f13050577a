"""The recipe of the pair heads: its rows, what it counts as right, and one row of each kind in small."""

import json

import numpy as np
import pytest
import torch

from recipes import pair_heads
from workbench.data.scenes import CATEGORIES
from workbench.evaluation import group_scores

FEW = (3, 2)  # quads of each category to train on, and to ask for


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """The frozen cosine and both heads after two steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_RUNS", str(tmp_path_factory.mktemp("runs")))
        encoder = pair_heads.ENCODERS[0]
        small = {"n": FEW, "steps": 2, "batch_size": 4}
        heads = {
            kind: pair_heads.trained(encoder, kind, "equal steps", 0, pair_heads.run_folder() / kind, **small)
            for kind in pair_heads.HEADS
        }
        yield {"cosine": pair_heads.cosine(encoder, FEW[1]), **heads}
    pair_heads.features.cache_clear()


def test_every_row_has_a_name_and_a_file_of_its_own():
    found = list(pair_heads.jobs())
    assert len(found) == 2 * (1 + 2 * 2 * 3)
    assert len({job.name for job in found}) == len({job.file for job in found}) == len(found)


def test_what_is_right_is_what_the_package_counts():
    scores = torch.randint(0, 3, (200, 2, 2), generator=torch.Generator().manual_seed(0)).float()
    found, groups = pair_heads.hits(scores), group_scores(scores)
    for name in pair_heads.SCORES:
        assert found[name].count("1") / 200 == pytest.approx(getattr(groups, name)), name


def test_additive_scores_have_no_interaction():
    picture, caption = torch.randn(2, 100, 2, generator=torch.Generator().manual_seed(0))
    found = pair_heads.hits(picture[:, :, None] + caption[:, None])
    assert set(found["interaction_sign"]) == set(found["group"]) == {"0"}


def test_both_heads_have_the_same_size_and_are_asked_the_same(rows):
    local, control = rows["local"], rows["global"]
    assert local["parameters"] == control["parameters"] == 108_417
    assert local["steps"] == control["steps"] == 2
    assert list(local["sets"]) == list(control["sets"]) == [*pair_heads.SETS, "domain A, other pictures"]
    for categories in local["sets"].values():
        assert list(categories) == list(CATEGORIES)
        assert {len(right) for each in categories.values() for right in each.values()} == {FEW[1]}


def test_a_shortlist_of_one_is_the_cosine_for_every_head(rows):
    local, control = rows["local"]["two_stage"], rows["global"]["two_stage"]
    assert local["gallery"] == 2 * FEW[1]
    assert local["at"]["1"] == control["at"]["1"]
    assert local["pairs"]["2"] == 2


def test_training_sees_domain_a_and_none_of_what_is_asked():
    training = {quad.id for quad in pair_heads.drawn("training", 3)}
    asked = {quad.id for name in pair_heads.SETS for quad in pair_heads.drawn(name, 3)}
    assert not training & asked
    assert {scene.domain for quad in pair_heads.drawn("training", 3) for scene in quad.scenes} == {"A"}
    assert not any(scene.unseen for quad in pair_heads.drawn("training", 3) for scene in quad.scenes)


def test_rows_survive_json_and_make_intervals_that_hold_their_means(rows):
    rows = json.loads(json.dumps(rows))
    whole = {
        job.name: rows["cosine"]
        if job.name.endswith("cosine")
        else rows["local" if ": local" in job.name else "global"]
        for job in pair_heads.jobs()
    }
    found = pair_heads.summary(whole)
    assert list(found) == list(pair_heads.ENCODERS)
    cells = found[pair_heads.ENCODERS[1]]["equal time"]["local"]["sets"]["domain B"]
    assert list(cells) == [*CATEGORIES, "all"]
    assert cells["all"]["group"]["n"] == FEW[1] * len(CATEGORIES)
    for category in cells.values():
        for each in category.values():
            assert each["low"] <= each["mean"] <= each["high"]
    means = [cells[category]["group"]["mean"] for category in CATEGORIES]
    assert cells["all"]["group"]["mean"] == pytest.approx(np.mean(means))
