"""The stored readings of prompts are of the weights and the scenes that stand here, and one read again is the same."""

import json
from pathlib import Path

import pytest

from recipes import measure_prompts
from recipes.files import sha256
from recipes.measure_prompts import correlations, fresh, stored, wordings
from recipes.scenes_clip import bits
from recipes.scenes_lvlm import NAME, model_folder
from workbench.data.scenes import draw
from workbench.data.scenes.asking import INSTRUCTIONS, prompts
from workbench.discriminative.prompts_read import read_prompts
from workbench.discriminative.readings import (
    RESULT,
    entropy_against_retrieval,
    stored_prompts,
    stored_tasks,
)
from workbench.models.lvlm import PRESETS
from workbench.models.registry import load_model
from workbench.paths import assets

AGAIN = "which word fits the picture"


@pytest.fixture(scope="module")
def kept():
    return json.loads((assets() / "results" / RESULT).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def readings():
    return stored_prompts()


def sides(readings):
    return [each for row in readings.rows.values() for each in (row.pictures, row.captions)]


def test_every_wording_is_asked_with_both_pairs_of_nouns():
    asked = wordings()
    assert len(asked) == 2 * sum(map(len, INSTRUCTIONS.values())) + len(PRESETS) == 70
    own = [prompts for name, (_, prompts) in asked.items() if name not in PRESETS]
    assert {each.image.removeprefix("<image>\n") for each in own} == set(prompts("image"))
    assert {each.text.removeprefix("<sent>\n") for each in own} == set(prompts("text"))
    assert asked["describe the image"][1].text == "<sent>\ndescribe the caption"
    assert {asked[name] for name in PRESETS} == {("word", each) for each in PRESETS.values()}


def test_scenes_are_all_different():
    shown = fresh()
    assert len({scene.contents for scene in shown}) == len({scene.caption for scene in shown}) == measure_prompts.PAIRS


def test_numbers_are_of_the_weights_and_the_world_that_stand_here(kept):
    assert kept["weights"] == sha256(model_folder() / "model.safetensors"), "run `make assets`"
    script = Path(measure_prompts.__file__)
    assert kept["scripts"] == {"scenes": bits(), script.name: sha256(script)}, "run `make assets`"


def test_every_prompt_is_there_with_its_task(kept, readings):
    assert list(readings.rows) == list(wordings())
    assert dict(zip(readings.rows, stored_tasks(), strict=True)) == {n: task for n, (task, _) in wordings().items()}
    assert readings.n == measure_prompts.PAIRS
    assert readings.chance == pytest.approx(1 / readings.n)


def test_every_number_is_one_that_can_be(readings):
    for side in sides(readings):
        for found in (side.entropy, side.recall):
            assert 0 <= found.low <= found.mean <= found.high
            assert found.n == readings.n
        assert side.recall.high <= 1
        assert 1 <= side.rank <= len(side.variance) <= 128
        assert side.variance[-1] == 1
        assert sum(side.probabilities) <= 1 + 1e-4


def test_what_is_stored_comes_back_as_it_was(kept, readings):
    assert stored(measure_prompts.asdict(readings)) == kept["readings"]


def test_stored_correlations_are_of_the_stored_numbers(kept, readings):
    tasks = dict(zip(readings.rows, stored_tasks(), strict=True))
    again = correlations(readings, tasks)
    for which in ("over prompts", "over tasks"):
        for name, found in kept["correlations"][which].items():
            assert again[which][name]["r"] == pytest.approx(found["r"], abs=0.01), "rounding makes ties"
            assert found["low"] <= found["r"] <= found["high"]
            assert found["n"] == len(readings.rows)
    assert set(kept["correlations"]["within"]) == set(INSTRUCTIONS)
    assert entropy_against_retrieval(readings, groups=list(tasks.values())).groups == len(INSTRUCTIONS)


def test_a_prompt_read_again_is_the_stored_one(readings):
    model, shown = load_model(NAME, device="cpu"), fresh()
    pictures, texts = [draw(scene, model.card.image_size) for scene in shown], [scene.caption for scene in shown]
    [again] = read_prompts(model, pictures, texts, {AGAIN: wordings()[AGAIN][1]}).rows.values()
    there = readings.rows[AGAIN]
    for found, wanted in ((again.pictures, there.pictures), (again.captions, there.captions)):
        assert found.entropy.mean == pytest.approx(wanted.entropy.mean, abs=1e-4)
        assert found.recall.mean == pytest.approx(wanted.recall.mean, abs=0.005)
        assert found.rank == pytest.approx(wanted.rank, abs=1e-3)
        assert found.probabilities == pytest.approx(wanted.probabilities, abs=1e-4)
