"""The recipe of the ablation: its rows, what they are summed up to, one row in small, and what ships."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recipes import fine_tune_claims, fine_tune_models, fine_tune_scenes
from recipes.files import sha256
from recipes.fine_tune_claims import PARTS, answers, values
from workbench.claims import Ledger
from workbench.data.scenes import draw, scenes
from workbench.fine_tuning import FineTuneConfig, Pairs, TradeOff, Trial, measured_ablation
from workbench.fine_tuning.evaluation import COMPOSITION, SIDES, TO_IMAGE, TO_TEXT, evenly
from workbench.fine_tuning.published import COMPONENTS
from workbench.models.registry import load_model
from workbench.paths import assets

RESULT = assets() / "results" / fine_tune_scenes.RESULT
FOLDER = Path(fine_tune_scenes.__file__).parent


@pytest.fixture(scope="module")
def stored():
    return json.loads(RESULT.read_text(encoding="utf-8"))


def small(name: str, seed: int, tmp_path, monkeypatch, **other) -> dict:
    """Three steps of a setting on 32 scenes, asked 4 items of each measure."""
    shown = scenes(32, 3000, domain="A")
    few = Pairs([draw(each, 64) for each in shown], [each.caption for each in shown])
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path))
    monkeypatch.setattr(fine_tune_scenes, "pairs", lambda: few)
    monkeypatch.setattr(fine_tune_scenes, "trial", lambda *_: Trial(4))
    monkeypatch.setattr(fine_tune_scenes, "SIZE", {"batch_size": 8, "steps": 3, "warmup": 1, "every": 1, **other})
    return fine_tune_scenes.tuned(name, seed, 1e-3)


def test_every_row_has_a_name_and_a_file_of_its_own():
    found = list(fine_tune_scenes.jobs())
    assert len(found) == 1 + 2 + 11 * 3 + 10 + 3 * 3
    assert len({job.name for job in found}) == len({job.file for job in found}) == len(found)


def test_an_unknown_row_is_refused():
    with pytest.raises(ValueError, match="no row begins with 'setting 9'"):
        fine_tune_scenes.main(["setting 9"])


def test_settings_are_those_of_table_2():
    for row, published in COMPONENTS.items():
        config = fine_tune_scenes.config_of(f"setting {row}", 0, 1e-3)
        assert (config.global_weight > 0, config.local_weight > 0) == (published.global_loss, published.local_loss)
        assert (config.gamma > 0, config.smoothing > 0) == (published.focal, published.smoothing)
        assert (config.global_weight or 0.5, config.local_weight or 0.2) == (0.5, 0.2)
    full = fine_tune_scenes.config_of("setting 6", 1, 1e-3)
    assert (full.gamma, full.smoothing, full.k, full.seed) == (2.0, 0.02, 3, 1)
    assert fine_tune_scenes.config_of("LoRA", 0, 1e-2) == replace(full, parts="lora", learning_rate=1e-2, seed=0)


def test_answers_come_back_as_they_were():
    rng = np.random.default_rng(0)
    right = {COMPOSITION: {"swap quads: A": rng.integers(0, 2, 9).astype(float), "choose: b": np.ones(3)}}
    right |= {TO_IMAGE: {"R@1": rng.integers(0, 4, 7) / 3}}
    kept = fine_tune_scenes.answers(TradeOff("m", right, {"b": np.zeros(4)}))
    np.testing.assert_allclose(values(kept["right"][TO_IMAGE]["R@1"], TO_IMAGE), right[TO_IMAGE]["R@1"])
    assert answers(kept["right"], COMPOSITION).mean() == pytest.approx(
        (right[COMPOSITION]["swap quads: A"].mean() + 1) / 2
    )
    assert answers(kept["right"], "choices").mean() == 1
    assert set(PARTS) == {"swap quads", "choices"}


@pytest.mark.parametrize("name", ["setting 6", "LoRA", "NegCLIP", "contrast alone"])
def test_a_row_in_small(name, tmp_path, monkeypatch):
    row = small(name, 0, tmp_path, monkeypatch)
    assert row["steps"] == 3
    assert set(row["right"]) == set(SIDES)
    assert FineTuneConfig.from_json(row["config"]) == replace(fine_tune_scenes.config_of(name, 0, 1e-3))
    assert fine_tune_scenes.weights_file(name, 0).is_file()
    assert row["trained"] == (19_712 if name == "LoRA" else 264_321)
    path = fine_tune_scenes.mixed(name, 0)
    assert list(path["at"]) == [f"{alpha:g}" for alpha in fine_tune_scenes.ALPHAS]


def test_a_rate_is_the_first_of_the_best(tmp_path, monkeypatch):
    small("setting 1", 0, tmp_path, monkeypatch)
    monkeypatch.setattr(fine_tune_scenes, "RATES", {"full": (1e-9, 2e-9)})
    found = fine_tune_scenes.rates("full")
    assert found["rates"]["1e-09"] == found["rates"]["2e-09"]
    assert found["rate"] == 1e-9


# Stored ------------------------------------------------------------------------------------------------------------------


def test_numbers_are_of_the_scripts_weights_and_scenes_that_stand_here(stored):
    assert stored["digests"] == {
        **fine_tune_scenes.digests(),
        "fine_tune_claims.py": sha256(FOLDER / "fine_tune_claims.py"),
    }, "run `make assets`"


def test_claims_follow_from_the_rows(stored):
    assert json.loads(json.dumps(fine_tune_claims.claims(stored["rows"]))) == stored["claims"]
    ledger = Ledger.stored(RESULT)
    assert [claim.verdict for claim in ledger.claims] == [each["verdict"] for each in stored["claims"]]
    assert {claim.id for claim in ledger.claims} == {*(f"C{k}" for k in range(1, 8)), "Table 1"}


def test_headline_rows_have_three_seeds_and_enough_items(stored):
    for name, row in stored["rows"]["settings"].items():
        for side, found in row["sides"].items():
            assert len(found["by_seed"]) == (3 if name in fine_tune_scenes.HEADLINE else 1), name
            assert found["low"] <= found["mean"] <= found["high"]
            assert found["mean"] == pytest.approx(np.mean(found["by_seed"]), abs=2e-5), side
        assert row["sides"][COMPOSITION]["n"] == 13 * fine_tune_scenes.ITEMS >= 2000


def test_the_model_before_is_measured_again(stored):
    """The cheap measures: one category of quads, one operator, retrieval."""
    model, trial = load_model(fine_tune_scenes.BASE, device="cpu"), Trial(fine_tune_scenes.ITEMS)
    before = stored["rows"]["settings"]["before"]["measures"]
    assert trial._quad(model, "Colour").mean() == pytest.approx(
        before[COMPOSITION]["swap quads: Colour"]["mean"], abs=0.006
    )
    told, _ = trial._choose(model, "swap_attributes")
    assert told.mean() == pytest.approx(before[COMPOSITION]["choose: swap_attributes"]["mean"], abs=0.006)
    to_text, to_image = trial._retrieved(model)
    assert to_text.mean() == pytest.approx(before[TO_TEXT]["R@1"]["mean"], abs=0.006)
    assert to_image.mean() == pytest.approx(before[TO_IMAGE]["R@1"]["mean"], abs=0.006)


# What ships --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "setting"), fine_tune_models.SHIPPED.items())
def test_a_shipped_model_is_the_row_it_says(name, setting, stored):
    model, trial = load_model(name, device="cpu"), Trial(fine_tune_scenes.ITEMS)
    measured = stored["rows"]["settings"][setting]["measures"][COMPOSITION]
    found = trial._quad(model, "Colour").mean()
    assert found == pytest.approx(measured["swap quads: Colour"]["by_seed"][fine_tune_models.SEED], abs=0.006)
    assert any(fine_tune_scenes.BASE in note for note in model.card.notes)


@pytest.mark.parametrize("name", fine_tune_models.SHIPPED)
def test_a_shipped_model_is_small_and_its_card_says_what_is_stored(name, stored):
    folder = fine_tune_models.model_folder(name)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 5e6
    training = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert (folder / "README.md").read_text(encoding="utf-8") == fine_tune_models.card(name, training, stored)


def test_what_the_page_shows_is_what_is_stored(stored):
    found = measured_ablation()
    assert set(found.labelled()) == set(found.seeds())
    assert len(found.labelled()) == len(fine_tune_scenes.HEADLINE)
    path = found.path("setting 6")
    assert [alpha for alpha, *_ in path] == [0.0, *fine_tune_scenes.ALPHAS, 1.0]
    assert path[0][2].mean == found.before()[COMPOSITION]
    assert set(found.spokes(("before", "LoRA"))) == {"before tuning", "FSC-CLIP by LoRA"}
    with pytest.raises(ValueError, match="no path 'setting 1'"):
        found.path("setting 1")
    with pytest.raises(ValueError, match="no difference"):
        found.against("setting 1 − setting 9")


def test_the_readme_says_what_is_stored(stored):
    written = (assets().parent / "README.md").read_text(encoding="utf-8")
    rows = stored["rows"]
    sides = {name: row["sides"] for name, row in rows["settings"].items()}

    def mean(setting, side=COMPOSITION):
        return f"{100 * sides[setting][side]['mean']:.1f}"

    said = f"raises composition from {mean('before')} to {mean('setting 1')} percent (contrast alone: {mean('contrast alone')})"
    assert said in written
    assert f"({mean('before', TO_IMAGE)} to {mean('setting 1', TO_IMAGE)})" in written
    assert f"keeps retrieval ({mean('setting 6', TO_IMAGE)}) at a composition of {mean('setting 6')}" in written
    alone = rows["differences"]["setting 2 − contrast alone"][COMPOSITION]
    assert f"(−{-100 * alone['mean']:.1f} [−{-100 * alone['low']:.1f}, {100 * alone['high']:.1f}])" in written
    mixed = rows["path against path"][TO_IMAGE]["setting 6 − NegCLIP"]
    assert mixed["alphas"] == [1.0, 0.7]
    told = f"{-100 * mixed['mean']:.1f} [{-100 * mixed['high']:.1f}, {-100 * mixed['low']:.1f}] points better at composition"
    assert told in written
    for setting, tail in (("setting 1", "points over contrast alone"), ("setting 6", "points of the quads")):
        quads = rows["differences"][f"{setting} − contrast alone"]["swap quads"]
        ends = (quads[key] for key in ("mean", "low", "high"))
        assert "{:.1f} [{:.1f}, {:.1f}] {}".format(*(100 * each for each in ends), tail) in written


def test_measures_count_alike():
    mixed = evenly({"a": np.ones(3), "b": np.zeros(9)})
    assert mixed.mean() == pytest.approx(0.5)
