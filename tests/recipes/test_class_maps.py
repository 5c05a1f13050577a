"""The stored numbers of class maps belong to the script and the weights that stand here, and one of them is measured again."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from recipes import measure_class_maps as recipe
from workbench.claims import Ledger
from workbench.data.scenes import draw
from workbench.data.scenes.cutouts import cut_outs, photo_cutter
from workbench.data.stamps import ROOT
from workbench.matching import class_map
from workbench.models.registry import load_model
from workbench.paths import assets

FILE = assets() / "results" / recipe.RESULT
needs_stamps = pytest.mark.skipif(not Path(ROOT).is_dir(), reason="apt-get install tuxpaint-stamps-default")


@pytest.fixture(scope="module")
def stored():
    return json.loads(FILE.read_text(encoding="utf-8"))


def test_numbers_are_of_the_script_and_weights_that_stand_here(stored):
    assert stored["digests"] == recipe.digests(), "run `python -m recipes.measure_class_maps`"


def test_every_row_says_n_and_an_interval_that_holds_it(stored):
    wanted = [(model, reading) for model in recipe.MODELS for reading in (*recipe.READINGS, recipe.BOXES)]
    assert [(row["model"], row["reading"]) for row in stored["rows"]] == wanted
    for row in (*stored["rows"], stored["everywhere"]):
        assert row["n"] == len(recipe.SEEDS) * recipe.PICTURES
        assert 0 <= row["low"] <= row["accuracy"] <= row["high"] <= 1
        assert row["accuracy"] == pytest.approx(np.mean(row["per_seed"]))
    for row in stored["rows"]:
        assert row["iou_low"] <= row["iou"] <= row["iou_high"]


def test_verdicts_beside_the_claims_are_those_of_the_numbers(stored):
    ledger = Ledger.stored(FILE)
    assert [claim.verdict for claim in ledger.claims] == [each["verdict"] for each in stored["claims"]]
    assert [claim.id for claim in ledger.claims if claim.verdict == "needs weights"] == ["M5", "M6", "M7"]


def test_claims_are_differences_of_the_rows(stored):
    accuracy = {(row["model"], row["reading"]): row["accuracy"] for row in stored["rows"]}
    measured = {claim["id"]: claim["measured"] for claim in stored["claims"]}
    for model in recipe.MODELS:
        one, fine, twice, windows = (accuracy[model, reading] for reading in recipe.READINGS)
        assert measured[f"M1-{model}"] == pytest.approx(one - stored["everywhere"]["accuracy"])
        assert measured[f"M2-{model}"] == pytest.approx(fine - one)
        assert measured[f"M3-{model}"] == pytest.approx(windows - one)
        assert measured[f"M4-{model}"] == pytest.approx(windows - twice)


@needs_stamps
def test_a_cheap_row_measured_again(stored):
    """One pass of the smallest model is cheap: the first seed of the first row."""
    model, cutter = load_model("lite0-minilm", device="cpu"), photo_cutter(cut_outs())
    vectors = model.encode_text([recipe.PROMPT.format(name) for name in recipe.NAMES]).post
    scores = []
    for number in range(recipe.PICTURES):
        scene = recipe.composed(0, number)
        told = class_map(model, draw(scene, recipe.SIDE, cutter=cutter), recipe.NAMES, vectors=vectors).pixels()
        scores.append(recipe.accuracies(recipe.confusion(recipe.truth(scene, cutter), told.numpy())))
    assert stored["rows"][0]["per_seed"][0] == pytest.approx(np.mean(scores), abs=0.003)


@needs_stamps
def test_composed_pictures_hold_four_objects_where_the_truth_says():
    cutter = photo_cutter(cut_outs())
    for number in range(3):
        scene = recipe.composed(1, number)
        true, picture = recipe.truth(scene, cutter), draw(scene, recipe.SIDE, cutter=cutter).astype(int)
        shown = {recipe.NAMES.index(thing.shape) for thing in scene.things}
        assert set(np.unique(true)) == {-1, *shown}
        assert len(shown) == recipe.OBJECTS
        background = draw(recipe.Scene((), (), (), background=scene.background), recipe.SIDE).astype(int)
        changed = np.abs(picture - background).max(-1) > 0
        assert changed[true >= 0].mean() > 0.95
        assert changed[true < 0].mean() < 0.05  # soft edges


def test_scores_of_a_confusion_by_hand():
    confusions = np.zeros((1, 2, 3, 3), int)
    confusions[0, 0] = [[6, 2, 0], [0, 2, 0], [0, 0, 0]]
    confusions[0, 1] = [[0, 0, 0], [0, 4, 0], [4, 0, 0]]
    assert recipe.accuracies(confusions).tolist() == [[0.8, 0.5]]
    found = recipe.mean_iou(confusions[0])
    assert found.mean == pytest.approx((6 / 12 + 6 / 8 + 0) / 3)
    assert found.low <= found.mean <= found.high


def test_one_class_everywhere_is_the_share_of_its_pixels():
    n = len(recipe.NAMES)
    confusions = np.zeros((1, 2, n, n), int)
    confusions[0, 0, 3, 5], confusions[0, 0, 4, 4] = 30, 10
    confusions[0, 1, 3, 3], confusions[0, 1, 7, 0] = 10, 10
    name, scores = recipe.everywhere(confusions)
    assert name == recipe.NAMES[3]
    assert scores.tolist() == [[0.75, 0.5]]


@needs_stamps
def test_true_boxes_are_read_one_by_one():
    class Told:
        """Says class 2 of the first crop, 0 of all others."""

        def encode_image(self, crops):
            rows = torch.eye(3)[[2] + [0] * (len(crops) - 1)]
            return type("Features", (), {"post": rows})

    scene = recipe.composed(0, 0)
    told = recipe.boxes_map(Told(), np.zeros((recipe.SIDE, recipe.SIDE, 3), np.uint8), scene, torch.eye(3))
    left, top, right, bottom = scene.pixel_boxes(recipe.SIDE)[0]
    assert (told[top:bottom, left:right] == 2).all()
    assert (told == 2).sum() == (bottom - top) * (right - left)
