"""The recipe of what learns to read quads: its rows, what it counts as right, and one row of each kind in small."""

import json

import pytest
import torch

from recipes import pair_heads
from recipes.scenes_clip import model_folder, step_file
from workbench.data.scenes import CATEGORIES
from workbench.evaluation import group_scores
from workbench.files import write_whole

FEW = (3, 2)  # quads of each category to train on, and to ask for
SMALL = {"n": FEW, "steps": 2, "batch_size": 4}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Two steps of every system; the encoder is the one that ships, whichever seed is asked for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_RUNS", str(tmp_path_factory.mktemp("runs")))
        shipped = (model_folder() / "steps" / "1000.safetensors").read_bytes()
        file = step_file(pair_heads.config_of(0), pair_heads.AT)
        file.parent.mkdir(parents=True)
        write_whole(file, shipped)
        found = {
            system: pair_heads.trained(system, "equal steps", 0, 1e-3, pair_heads.run_folder() / system, **SMALL)
            for system in pair_heads.SYSTEMS
        }
        found["blind"] = pair_heads.blind(0, 1e-3, None, **SMALL)
        yield {"cosine": pair_heads.cosine(0, FEW[1]), **found}
    pair_heads.features.cache_clear()
    pair_heads.encoder.cache_clear()


def test_every_row_has_a_name_and_a_file_of_its_own():
    found = list(pair_heads.jobs())
    assert len(found) == 3 + 6 + 6 * 2 * 3 + 1 + 3
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


def test_what_learns_has_the_sizes_it_says_and_is_asked_the_same(rows):
    sizes = {name: row["parameters"] for name, row in rows.items() if "parameters" in row}
    assert sizes["local"] == sizes["global"] == sizes["blind"] == 108_417
    assert sizes["LABCLIP"] == 64**2
    assert sizes["fine-tuned"] == sizes["NegCLIP"] == 264_321
    for name, row in rows.items():
        others = [] if name == "cosine" else ["domain A, other pictures"]
        assert list(row["sets"]) == [*pair_heads.SETS, *others]
        for categories in row["sets"].values():
            assert list(categories) == list(CATEGORIES)
            assert {len(right) for each in categories.values() for right in each.values()} == {FEW[1]}


def test_a_shortlist_of_one_is_the_cosine_for_every_head(rows):
    retrieved = [row["two_stage"] for row in rows.values() if "two_stage" in row]
    assert len(retrieved) == 4, "the heads on frozen features"
    assert all(each["at"]["1"] == retrieved[0]["at"]["1"] for each in retrieved)
    assert retrieved[0]["gallery"] == 2 * FEW[1]
    assert retrieved[0]["pairs"]["2"] == 2


def test_towers_before_training_are_the_frozen_cosine(rows):
    """Raw quads through the model to be trained, and features kept before: the same pictures, captions and weights."""
    raw, frozen = (pair_heads.features(seed, "domain B", FEW[1]) for seed in (None, 0))
    towers = pair_heads.SYSTEMS["fine-tuned"].make(0).eval()
    with torch.no_grad():
        pictures, captions = towers.pictures(raw.images.flat()), towers.captions(raw.texts.flat())
    for ours, kept in ((pictures, frozen.images), (captions, frozen.texts)):
        expected = torch.nn.functional.normalize(kept.flat().post, dim=-1)
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


def test_training_sees_domain_a_and_none_of_what_is_asked_or_chosen_by():
    training, chosen = ({quad.id for quad in pair_heads.drawn(part, 3)} for part in ("training", "choice"))
    asked = {quad.id for name in pair_heads.SETS for quad in pair_heads.drawn(name, 3)}
    assert not training & asked
    assert not chosen & (asked | training)
    shown = [*pair_heads.drawn("training", 3), *pair_heads.drawn("choice", 3)]
    assert {scene.domain for quad in shown for scene in quad.scenes} == {"A"}
    assert not any(scene.unseen for quad in shown for scene in quad.scenes)


@pytest.mark.parametrize(("part", "share"), [("domain A", 0.588), ("domain B", 0.598), ("domain A, held out", 0)])
def test_how_many_colour_quads_swap_a_pair_that_training_showed_elsewhere(part, share):
    """The page says so; places and backgrounds are others."""

    def swaps(of):
        drawn = pair_heads.SETS.get(of, pair_heads.SETS["domain A"])
        seed = pair_heads.TRAIN_SEED if of == "training" else pair_heads.TEST_SEED
        return [frozenset(scene.contents for scene in quad.scenes) for quad in drawn("Colour", 1000, seed)]

    seen = set(swaps("training"))
    assert sum(each in seen for each in swaps(part)) / 1000 == pytest.approx(share)


def test_a_rate_is_chosen_by_quads_of_its_own(rows):
    found = pair_heads.chosen("LABCLIP", n=4, steps=2, batch_size=4)
    assert set(found["rates"]) == {f"{rate:g}" for rate in pair_heads.RATES}
    assert found["rates"][f"{found['rate']:g}"] == max(found["rates"].values())


def test_rows_survive_json(rows):
    assert json.loads(json.dumps(rows)) == rows
