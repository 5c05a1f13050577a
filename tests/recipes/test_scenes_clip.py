"""scenes-clip: what ships fits its recipe, loads by name at every step, and the stored numbers are of its weights."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from recipes import measure_scenes, scenes_clip
from recipes.files import sha256
from recipes.scenes_card import card
from recipes.scenes_clip import NAME, RUNS, Config, bits, model_folder, pixels, vocabulary
from workbench.controlled import RULES, ControlledScores, controlled
from workbench.data.scenes import CATEGORIES, batch, draw, quads, scenes
from workbench.data.scenes.world import UNSEEN_TEMPLATES
from workbench.memory import plan_memory
from workbench.models.registry import list_models, load_model
from workbench.models.shipped import shipped_names, shipped_steps
from workbench.paths import assets

RESULT = assets() / "results" / measure_scenes.RESULT


@pytest.fixture(scope="module")
def model():
    return load_model(NAME, device="cpu")


@pytest.fixture(scope="module")
def training():
    return json.loads((model_folder() / "training.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def stored():
    return json.loads(RESULT.read_text(encoding="utf-8"))


def test_what_ships_is_small_and_of_the_recipe(training):
    assert {key: value for key, value in training.items() if key != "recipe"} == json.loads(json.dumps(asdict(RUNS[0])))
    assert sum(file.stat().st_size for file in model_folder().rglob("*") if file.is_file()) < 16 << 20
    assert shipped_steps(NAME) == RUNS[0].kept[:-1]
    log = [json.loads(line) for line in (model_folder() / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == RUNS[0].steps
    assert log[-1]["loss"] < log[0]["loss"] / 10


def test_it_is_a_model_of_open_clip(model):
    import open_clip

    plain, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{model_folder()}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{model_folder()}")
    shown = scenes(3, 5)
    with torch.no_grad():
        image = plain.encode_image(torch.stack([preprocess(_pil(each)) for each in shown]))
        text = plain.encode_text(tokenizer([each.caption for each in shown]))
    assert torch.allclose(model.encode_image([draw(each, 64) for each in shown]).post, image, atol=1e-5)
    assert torch.allclose(model.encode_text([each.caption for each in shown]).post, text, atol=1e-5)


def _pil(scene):
    from PIL import Image

    return Image.fromarray(draw(scene, 64))


def test_training_saw_what_the_models_preprocessing_makes(model):
    shown = scenes(6, 5)
    prepared = torch.stack([model.preprocess(draw(each, 64)) for each in shown])
    assert torch.equal(pixels(shown, 64), prepared)


def test_every_caption_is_in_the_vocabulary_and_fits(model):
    said = {each.caption for each in scenes(500, 5)}
    said |= {each.caption for each in scenes(200, 5, kind="many", templates=UNSEEN_TEMPLATES)}
    said |= {caption for category in CATEGORIES for quad in quads(category, 30, 5) for caption in quad.captions}
    ids = model._tokenizer(sorted(said))
    assert not (ids == vocabulary().index("<unk>")).any()
    assert (ids == len(vocabulary()) - 1).any(1).all(), "a caption was cut: its end is missing"


@pytest.mark.parametrize("step", RUNS[0].kept[:-1])
def test_weights_on_the_way_load_by_name(model, step):
    early = load_model(f"{NAME}@{step}", device="cpu")
    assert early.name == f"{NAME}@{step}"
    assert early.card.digest != model.card.digest
    assert f"{step} steps" in str(early.card)


def test_a_step_that_does_not_ship_is_named():
    with pytest.raises(ValueError, match=f"'{NAME}@7': {NAME} ships weights of @600, @1000"):
        load_model(f"{NAME}@7")
    with pytest.raises(ValueError, match="lite2-minilm ships weights of no step but its last"):
        load_model("lite2-minilm@7")
    assert NAME in set(list_models()) & set(shipped_names())


def test_memory_is_planned_by_name():
    plan = plan_memory(NAME, 4)
    assert 0 < plan.measured < 200 << 20


def test_a_run_is_stopped_and_resumed(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path))
    config = Config(seed=3, steps=4, kept=(2, 4), batch_size=8)
    losses = scenes_clip.train_run(config)
    assert scenes_clip.train_run(config) == losses
    assert scenes_clip.step_file(config, 2).is_file()
    with pytest.raises(ValueError, match=r"learning_rate 0\.001 there, 0\.5 here"):
        scenes_clip.train_run(replace(config, learning_rate=0.5))
    with pytest.raises(ValueError, match="no run free-seed9; there are free-seed0"):
        scenes_clip.main(["free-seed9"])


# Stored numbers ----------------------------------------------------------------------------------------------------------


def test_numbers_are_of_the_weights_and_the_world_that_stand_here(stored):
    shipped = sha256(model_folder() / "open_clip_model.safetensors")
    assert stored["scripts"]["scenes"] == bits(), "the scenes changed: run `make assets`"
    script = Path(measure_scenes.__file__)
    assert stored["scripts"][script.name] == sha256(script), "run `make assets`"
    assert {row["weights"] for name, row in stored["rows"].items() if name.startswith(f"{NAME},")} == {shipped}
    assert stored["rows"][f"{RUNS[0].run}@{RUNS[0].steps}"]["weights"] == shipped
    assert stored["rows"]["lite2-minilm"]["weights"] == sha256(measure_scenes.REAL)
    assert set(stored["rows"]) == set(measure_scenes.jobs())


def test_every_number_says_n_and_an_interval_that_holds_it(stored):
    for row in stored["rows"].values():
        for groups in row["groups"]:
            assert groups["n"] >= 100
            for name, (low, high) in groups["intervals"].items():
                assert low <= groups[name] <= high


@pytest.mark.parametrize("step", RUNS[0].kept)
def test_the_stored_curve_is_that_of_the_weights_that_ship(stored, step):
    """The same 300 quads again. Weights on the way ship in half precision, so an item or two may turn."""
    name = NAME if step == RUNS[0].steps else f"{NAME}@{step}"
    again = controlled(
        load_model(name, device="cpu"), measure_scenes.CURVE, measure_scenes.SEED, categories=["Colour"], blind=False
    )
    rows = ControlledScores.from_json(stored["rows"][f"{RUNS[0].run}@{step}"]["groups"]).groups
    there = rows[f"{RUNS[0].run}@{step}", "Colour", "global"].group
    assert again.groups[name, "Colour", "global"].group == pytest.approx(there, abs=3 / measure_scenes.CURVE)


def test_blind_scorers_earn_nothing_or_chance(stored):
    for name in (f"{NAME}, seen combinations", "lite2-minilm"):
        for (_, _, scorer), groups in ControlledScores.from_json(stored["rows"][name]["groups"]).groups.items():
            if scorer in ("constant", "captions only"):
                assert groups.group == 0
            if scorer == "random":
                assert abs(groups.group - 1 / 6) < 0.04


def test_what_the_card_and_the_page_say_in_words_holds(stored):
    """Intervals apart where one rule is said to be above another, below chance where that is said."""
    groups = ControlledScores.from_json(stored["rows"][f"{NAME}, seen combinations"]["groups"]).groups
    ends = {key[1:]: each.intervals["group"] for key, each in groups.items()}
    for category in ("Colour", "Material"):
        assert ends[category, "crops"][0] > ends[category, "global"][1]
    for category in ("Size", "Quantity"):
        assert ends[category, "boxes"][1] < 1 / 6 < ends[category, "global"][0]
    for category in CATEGORIES:
        assert ends[category, "late"][1] < 1 / 6
    assert all(ends["Relation", rule][1] < 1 / 6 for rule in RULES)
    real = ControlledScores.from_json(stored["rows"]["lite2-minilm"]["groups"]).groups
    assert all(each.intervals["group"][1] < 1 / 6 for (_, _, scorer), each in real.items() if scorer == "global")


def test_the_card_says_what_is_stored(model, training, stored):
    written = (model_folder() / "README.md").read_text(encoding="utf-8")
    assert written == card(model, training, stored), "run `python -m recipes.scenes_card`"


def test_batches_of_training_never_hold_a_swap_partner():
    for step in range(3):
        drawn = batch(0, step, 128)
        assert len({each.contents for each in drawn}) == 128
