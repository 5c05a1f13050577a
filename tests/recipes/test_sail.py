"""The stored ladder, swap quads and cosines belong to the script that stands here, and its claims to the stored rows."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from recipes import measure_sail, sail_claims
from recipes.files import sha256
from workbench.claims import Ledger
from workbench.controlled import controlled
from workbench.evaluation import group_scores, levelled
from workbench.models.registry import load_model
from workbench.paths import assets
from workbench.sail import NAMING, RESULT, RUNGS, SCORES, measured_ladder

FILE = assets() / "results" / RESULT
RECIPES = FILE.parents[2] / "recipes"


@pytest.fixture(scope="module")
def stored():
    return json.loads(FILE.read_text(encoding="utf-8"))


def numbers(row):
    """Every row with a mean, however deep it stands."""
    if isinstance(row, dict) and "mean" in row:
        yield row
    elif isinstance(row, dict):
        for each in row.values():
            yield from numbers(each)


def test_numbers_are_of_the_scripts_that_stand_here(stored):
    known = {**measure_sail.digests(), "sail_claims.py": sha256(RECIPES / "sail_claims.py")}
    assert stored["digests"] == known, "run `python -m recipes.measure_sail`"


@pytest.mark.parametrize("name", [*measure_sail.SHIPPED, "scenes-clip"])
def test_scores_are_of_the_weights_that_ship(stored, name):
    assert stored["weights"][f"quads: {name}"] == measure_sail._weights(name), "run `python -m recipes.measure_sail`"


def test_every_rung_and_every_step_is_there(stored):
    rows = stored["rows"]
    names = [rung.name for rung in RUNGS]
    assert list(rows["ladder"]) == [*names, sail_claims.OWN_RATE]
    assert list(rows["steps"]) == [*names[1:], *(each[0] for each in sail_claims.BESIDE)]
    assert len(measure_sail.LAYERS) == len(measure_sail.CAPTIONS) == len(names)


def test_every_number_says_n_and_an_interval_that_holds_it(stored):
    found = list(numbers(stored["rows"]))
    assert len(found) > 300
    for row in found:
        assert row["low"] <= row["mean"] <= row["high"]
        assert row["n"] in (1084, 403, 500, 100)


def test_scores_are_means_over_seeds(stored):
    """Thirds of the titles differ by one title at most, so seeds weigh the same to three digits."""
    for row in stored["rows"]["ladder"].values():
        for each in row["recalls"].values():
            assert len(each["by_seed"]) == 3
            assert np.mean(each["by_seed"]) == pytest.approx(each["mean"], abs=2e-3)


def test_steps_add_up_to_the_ladder(stored):
    steps, names = stored["rows"]["steps"], [rung.name for rung in RUNGS]
    for what in (NAMING, "drawings: both ways, R@10"):
        added = sum(steps[name][what]["mean"] for name in names[1:])
        assert added == pytest.approx(steps["the whole ladder"][what]["mean"], abs=1e-9)


def test_one_setting_for_all_rungs_and_it_is_the_best_of_the_choice(stored):
    choice = stored["rows"]["choice"]
    best = max(choice["settings"][choice["chosen_by"]], key=lambda each: each["recall"])
    assert choice["used"].items() <= best.items()
    for name in (rung.name for rung in RUNGS):
        config = stored["rows"]["ladder"][name]["config"]
        assert {**choice["common"], **choice["used"]}.items() <= config.items()
    assert choice["chosen_by"] not in (RUNGS[0].name, RUNGS[-1].name)


def test_another_power_of_the_batch_changes_nothing_under_lion(stored):
    rows = stored["rows"]["no-op"]
    assert rows["lion, batch 256"]["largest"] == 0.0
    assert rows["adamw, batch 256"]["largest"] > 0
    ladder = stored["rows"]["ladder"]
    same = ladder["+ sigmoid"]["weights"] == ladder["+ |B| → |B|²"]["weights"]
    assert same == (stored["rows"]["choice"]["used"]["optimiser"] == "lion")


def test_histograms_count_every_pair(stored):
    for row in stored["rows"]["pair cosines"].values():
        for side in ("own", "other"):
            assert sum(row[side]["counts"]) == row[side]["n"] == 500
            assert row[side]["quartiles"] == sorted(row[side]["quartiles"])


def test_verdicts_are_those_of_the_numbers(stored):
    ledger = Ledger.stored(FILE)
    assert [claim.verdict for claim in ledger.claims] == [each["verdict"] for each in stored["claims"]]


def test_claims_follow_from_the_rows(stored):
    again = sail_claims.claims(stored["rows"])
    assert json.loads(json.dumps(again)) == stored["claims"]


def test_every_step_is_claimed_with_the_sign_of_the_paper(stored):
    long = next(each for each in stored["claims"] if each["statement"].startswith(f"+ long captions, {NAMING}"))
    assert long["expected"] == pytest.approx(-0.034)
    assert {f"L{k}" for k in range(1, 8)} <= {each["id"] for each in stored["claims"]}


def test_swap_quads_measured_again_are_what_is_stored(stored):
    """By the workbench's own call, of a model that needs no features of openclipart."""
    options = {"categories": ("Colour",), "blind": False}
    found = controlled(load_model("scenes-clip", device="cpu"), measure_sail.QUADS, measure_sail.QUAD_SEED, **options)
    (groups,) = found.groups.values()
    row = stored["rows"]["swap quads"]["scenes-clip"]
    again = groups.image_to_text, groups.text_to_image, groups.group
    assert [row[score]["Colour"]["mean"] for score in SCORES] == pytest.approx(list(again), abs=0.02)


# What numbers are made of -----------------------------------------------------------------------------------------------


def test_no_title_is_trained_on_and_asked_for():
    asked = []
    for seed in measure_sail.SEEDS:
        train, validation, test = (set(each.tolist()) for each in measure_sail.parts(700, seed))
        assert len(train) + len(validation) + len(test) == len(train | validation | test) == 700
        asked += test
    assert len(asked) == len(set(asked)) == 700 - measure_sail.VALIDATION
    assert not set(asked) & validation


def test_winogrounds_scores_are_those_of_the_workbench():
    torch.manual_seed(0)
    image, text = torch.randn(40, 6), torch.randn(40, 6)
    image[2:4] = image[2]  # ties
    found = measure_sail.scored(image, text).mean(0)
    both = (F.normalize(each, dim=-1).unflatten(0, (-1, 2)) for each in (image, text))
    image, text = both
    groups = group_scores(levelled(image @ text.mT))
    assert found == pytest.approx([groups.image_to_text, groups.text_to_image, groups.group])


def test_cosines_are_of_a_quads_two_pictures_and_of_two_quads():
    features = torch.eye(20)[torch.arange(10).repeat_interleave(2)]  # ten quads, two in each category
    found = measure_sail.pair_cosines(features)
    assert found["own"] == [1.0] * 10
    assert found["other"] == [0.0] * 10


def test_weights_that_differ_by_one_number_are_told_apart():
    from workbench.aligning import AlignConfig

    torch.manual_seed(0)
    one, two = (AlignConfig(head="linear", d=4).build(5, 3) for _ in range(2))
    two.load_state_dict(one.state_dict())
    assert measure_sail.apart(one, two) == {"largest": 0.0, "relative": 0.0, "differing": 0.0}
    assert measure_sail.weights(one) == measure_sail.weights(two)
    two.image.weight.data[0, 0] += 0.5
    assert measure_sail.apart(one, two)["largest"] == pytest.approx(0.5)
    assert measure_sail.weights(one) != measure_sail.weights(two)


def ranked(rank: int, n: int) -> dict:
    """A seed whose every rank is `rank`."""
    ways = {way: [rank] * n for way in sail_claims.DIRECTIONS}
    return {"drawings": ways, "stamps": ways, "naming": [rank] * n}


def test_steps_are_paired_and_drawings_are_of_all_seeds():
    before = sail_claims.right([ranked(11, 4), ranked(1, 4), ranked(1, 4)])
    after = sail_claims.right([ranked(1, 4), ranked(1, 4), ranked(1, 4)])
    found = sail_claims.stepped(before, after)
    assert found["drawings: both ways, R@10"]["n"] == 12
    assert found["stamps: both ways, R@10"]["n"] == found[NAMING]["n"] == 4
    for each in found.values():
        assert each["mean"] == pytest.approx(1 / 3)
        assert each["by_seed"] == [1, 0, 0]
    stamps = found["stamps: both ways, R@10"]
    assert stamps["low"] == pytest.approx(stamps["high"]), "every stamp gains the same"


def test_a_rung_is_climbed_on_what_it_names(monkeypatch):
    """Eight rungs on planted pairs, two steps each: captions, loss and heads are those of the table."""
    generator = torch.Generator().manual_seed(0)
    images, title, keywords = (torch.randn(330, width, generator=generator) for width in (12, 6, 6))
    names = [str(k) for k in range(330)]
    monkeypatch.setattr(measure_sail, "drawings", lambda: (images, {"title": title, "keywords": keywords}, names))
    monkeypatch.setattr(measure_sail, "COMMON", {"d": 4, "batch_size": 16, "steps": 2, "every": 1, "patience": None})
    seen = []
    monkeypatch.setattr(measure_sail, "align", lambda pairs, config, **more: seen.append((pairs, config, more)))
    for rung in range(len(RUNGS)):
        measure_sail.trained(rung, 1, {"optimiser": "lion", "learning_rate": 1e-3})
    heads = [(config.head, config.width if config.head != "linear" else 1) for _, config, _ in seen]
    assert heads == [("linear", 1), ("mlp", 4), ("gated", 4), *[("gated", 8)] * 5]
    assert [config.loss for _, config, _ in seen] == ["infonce"] * 4 + ["sigmoid"] * 4
    assert [config.reduction for _, config, _ in seen][4:6] == ["batch", "pairs"]
    train = measure_sail.parts(330, 1)[0]
    assert torch.equal(seen[5][0].texts[0], title[train])
    assert torch.equal(seen[6][0].texts[0], keywords[train])
    assert [len(pairs.texts) for pairs, *_ in seen] == [1] * 7 + [2]
    assert seen[7][1].captions == 2


def test_the_readme_says_what_is_stored():
    written = (assets().parent / "README.md").read_text(encoding="utf-8")
    found = measured_ladder().added("stamps: both ways, R@10", beside=True)["stamps: both ways, R@10"]
    gain = found["GLU × 8 against linear at its own rate"]
    assert f"{100 * gain.mean:.1f} [{100 * gain.low:.1f}, {100 * gain.high:.1f}] points" in written
    sigmoid = measured_ladder().added("drawings: both ways, R@10")["drawings: both ways, R@10"]["+ sigmoid"]
    assert sigmoid.high < 0, "the sentence on the sigmoid loss"
