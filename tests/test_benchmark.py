"""SugarCrepe from a folder in its own format, with a model whose right answers are known."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from workbench.benchmark import SubsetChoices, choices, sugarcrepe_claim
from workbench.data.benchmarks import SUGARCREPE, Item, sugarcrepe
from workbench.evaluation import Choice, choice_accuracy
from workbench.models.registry import load_model


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sugarcrepe").mkdir()
    pictures = tmp_path / "coco/val2017"
    pictures.mkdir(parents=True)
    for i in range(3):
        Image.new("RGB", (40, 30), (80 * i, 20, 90)).save(pictures / f"{i}.jpg")
    for subset in SUGARCREPE:
        entries = {
            str(key): {
                "filename": f"{key % 3}.jpg",
                "caption": f"a {key} red cube",
                "negative_caption": f"a {key} blue cat",
            }
            for key in (0, 1, 3, 4)  # the real files have gaps, too
        }
        (tmp_path / f"sugarcrepe/{subset}.json").write_text(json.dumps(entries))
    return tmp_path


@pytest.fixture(scope="module")
def model(clip_folder):
    return load_model(f"local-dir:{clip_folder}", device="cpu")


def test_items_go_by_key(folder, monkeypatch):
    items = sugarcrepe(folder)
    assert len(items) == 28
    assert items[2] == Item("add_att/3", "add_att", folder / "coco/val2017/0.jpg", "a 3 red cube", ("a 3 blue cat",))
    monkeypatch.setenv("WORKBENCH_DATA", str(folder))
    assert sugarcrepe() == items


def test_choices_are_the_models_own_cosines(folder, model, tmp_path):
    items = sugarcrepe(folder)
    found = choices(model, items, store=tmp_path / "store")
    expected = []
    for item in items[:4]:
        image, texts = model.encode_image(item.picture).post, model.encode_text([item.caption, *item.negatives]).post
        cosines = (image / image.norm() @ (texts / texts.norm(dim=1, keepdim=True)).T)[0]
        expected.append(bool(cosines[0] > cosines[1]))
    assert found.subsets["add_att"].accuracy == pytest.approx(np.mean(expected))
    assert list(found.subsets) == list(SUGARCREPE)
    assert found.macro == pytest.approx(np.mean([choice.accuracy for choice in found.subsets.values()]))
    assert "macro" in str(found)


def test_what_cannot_be_read_is_left_out_and_counted(folder, model):
    (folder / "coco/val2017/0.jpg").write_bytes(b"gone")
    found = choices(model, sugarcrepe(folder))
    assert found.failed == 14  # keys 0 and 3 of seven files
    assert found.subsets["add_att"].n == 2
    assert "14 items could not be read" in str(found)
    for path in (folder / "coco/val2017").iterdir():
        path.write_bytes(b"gone")
    with pytest.raises(ValueError, match="none of 28 items could be read"):
        choices(model, sugarcrepe(folder))


def test_what_is_missing_is_named_with_its_place(folder, tmp_path):
    (folder / "sugarcrepe/swap_obj.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"swap_obj\.json; put the seven files"):
        sugarcrepe(folder)
    with pytest.raises(FileNotFoundError, match=r"val2017.*WORKBENCH_DATA"):
        sugarcrepe(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["[]", "{", '{"0": {"filename": "x.jpg"}}'])
def test_another_format_is_refused(folder, content):
    (folder / "sugarcrepe/add_att.json").write_text(content)
    with pytest.raises(ValueError, match="is not SugarCrepe's format"):
        sugarcrepe(folder)


def test_the_published_number_waits_for_its_weights_or_is_met_or_not(folder, model):
    assert sugarcrepe_claim(None).verdict == "needs weights"
    found = choices(model, sugarcrepe(folder))
    claim = sugarcrepe_claim(found)
    assert (claim.n, claim.measured) == (28, found.macro)
    assert claim.verdict == "contradicted"  # a random model does not meet it
    met = {name: Choice(0.7305, 0.0, 10, (0.7, 0.8)) for name in SUGARCREPE}
    assert sugarcrepe_claim(SubsetChoices("x", met, 0)).verdict == "reproduced"


def test_no_items(model):
    with pytest.raises(ValueError, match="there are no items"):
        choices(model, [])


# Choice accuracy -------------------------------------------------------------------------------------------------------


def test_ties_are_wrong_and_counted():
    found = choice_accuracy([1.0, 2.0, 3.0, 4.0], [[0.0, 0.5], [2.0, 0.0], [9.0, 0.0], [1.0, 3.9]])
    assert (found.accuracy, found.tie_rate, found.n) == (0.5, 0.25, 4)
    assert found.interval[0] <= 0.5 <= found.interval[1]


def test_a_constant_scorer_scores_nothing_and_a_random_one_lands_on_chance():
    assert choice_accuracy(np.ones(50), np.ones((50, 1))).accuracy == 0
    rng = np.random.default_rng(0)
    low, high = choice_accuracy(rng.random(4000), rng.random((4000, 1))).interval
    assert low < 0.5 < high


@pytest.mark.parametrize(
    ("positive", "negatives", "message"),
    [
        ([], np.zeros((0, 1)), "n ≥ 1"),
        ([1.0], [[1.0], [2.0]], "give"),
        ([1.0], np.zeros((1, 0)), "K ≥ 1"),
        ([np.nan], [[1.0]], "NaN"),
    ],
)
def test_bad_scores(positive, negatives, message):
    with pytest.raises(ValueError, match=message):
        choice_accuracy(positive, negatives)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (lambda item: [item, item], "'add_att/0' comes twice"),
        (
            lambda item: [item, replace(item, id="x", negatives=("a", "b"))],
            "'x' has 2 negatives; give every item of a subset",
        ),
        (lambda item: [replace(item, negatives=())], "has 0 negatives"),
    ],
)
def test_items_that_cannot_be_scored_are_refused(folder, model, items, message):
    with pytest.raises(ValueError, match=message):
        choices(model, items(sugarcrepe(folder)[0]))


def test_items_may_come_one_by_one(folder, model):
    assert choices(model, iter(sugarcrepe(folder))).failed == 0
