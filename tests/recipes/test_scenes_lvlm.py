"""scenes-lvlm: what ships fits its recipe, loads by name, tells what scenes show, and the stored numbers are of its weights."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from recipes import measure_scenes_lvlm, scenes_lvlm
from recipes.files import sha256
from recipes.measure_scenes_lvlm import ASKED, captioned, f1, fresh
from recipes.scenes_clip import bits, pixels
from recipes.scenes_lvlm import (
    IMAGE,
    NAME,
    PROMPTS,
    RUN,
    Config,
    Writer,
    answers_loss,
    build,
    make_processor,
    model_folder,
    of_a_step,
    vocabulary,
)
from recipes.scenes_lvlm_card import card
from workbench.data.scenes import Thing, draw, scenes
from workbench.data.scenes.asking import long_caption, prompts
from workbench.memory import plan_memory
from workbench.models.lvlm import PRESETS
from workbench.models.registry import list_models, load_model, skeleton
from workbench.paths import assets

RESULT = assets() / "results" / measure_scenes_lvlm.RESULT
TINY = Config(steps=4, batch_size=4, warmup=1, width=32, layers=1)


@pytest.fixture(scope="module")
def model():
    return load_model(NAME, device="cpu")


@pytest.fixture(scope="module")
def stored():
    return json.loads(RESULT.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def training():
    return json.loads((model_folder() / "training.json").read_text(encoding="utf-8"))


def test_what_ships_is_small_and_of_the_recipe(training, model):
    assert {key: value for key, value in training.items() if key != "recipe"} == json.loads(json.dumps(asdict(RUN)))
    assert sum(file.stat().st_size for file in model_folder().rglob("*") if file.is_file()) < 16 << 20
    log = [json.loads(line) for line in (model_folder() / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == RUN.steps
    assert log[-1]["loss"] < log[0]["loss"] / 4
    assert model.prompts == PROMPTS


def test_it_is_transformers_own_llava(model):
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    plain = LlavaForConditionalGeneration.from_pretrained(model_folder())
    shown = scenes(3, 5)
    made = AutoProcessor.from_pretrained(model_folder())(
        images=[draw(each, 64) for each in shown],
        text=[f"<s> user : {IMAGE} summary above image in one word : assistant :"] * 3,
        return_tensors="pt",
    )
    with torch.no_grad():
        states = plain.model(**made).last_hidden_state[:, -1]
    assert torch.allclose(model.encode_image([draw(each, 64) for each in shown]).post, states, atol=1e-5)


def test_it_is_listed_planned_and_described(model):
    assert NAME in set(list_models())
    assert skeleton(NAME).card.parameters == model.card.parameters
    assert plan_memory(NAME, 4, measure=False).predicted > 4 * model.card.parameters
    assert "trained here on drawn scenes (recipes/scenes_lvlm.py)" in str(model.card)
    assert model.card.licence == "MIT"


def test_every_caption_and_prompt_is_in_the_vocabulary(model):
    said = {text for each in scenes(500, 5) for text in (each.caption, long_caption(each))}
    ids = model.tokenizer([*said, *prompts("image"), *prompts("text"), "user : assistant :"]).input_ids
    assert not any(model.tokenizer.unk_token_id in row for row in ids)
    longest = max(said, key=lambda text: len(text.split()))
    assert model.tokenize(longest).full_lengths[0] < model.card.context_length


def test_training_saw_what_the_chat_template_writes():
    processor, writer = make_processor(RUN), Writer(RUN)
    ids, answered = writer.batch([None, "a red star"], ["describe the picture", "name the colours"], ["a star", "red"])
    turns = [
        [{"type": "image"}, {"type": "text", "text": "describe the picture"}],
        [{"type": "text", "text": "a red star"}, {"type": "text", "text": "name the colours"}],
    ]
    for row, where, content, answer in zip(ids, answered, turns, ["a star", "red"], strict=True):
        chat = [
            {"role": "user", "content": content},
            {"role": "assistant", "content": [{"type": "text", "text": answer}]},
        ]
        picture = {"images": [draw(scenes(1, 0)[0], 64)]} if content[0]["type"] == "image" else {}
        whole = processor(text=[processor.apply_chat_template(chat)], return_tensors="pt", **picture).input_ids[0]
        asked = processor.apply_chat_template(chat[:1], add_generation_prompt=True)
        start = processor(text=[asked], return_tensors="pt", **picture).input_ids.shape[1]
        assert row[: len(whole)].tolist() == whole.tolist()
        assert where.nonzero()[:, 0].tolist() == list(range(start, len(whole)))


def test_training_saw_what_the_models_preprocessing_makes(model):
    shown = scenes(6, 5)
    prepared = torch.stack([model.preprocess(draw(each, 64)) for each in shown])
    assert torch.allclose(pixels(shown, 64), prepared, atol=1e-6)


def test_the_image_tower_starts_as_that_of_scenes_clip():
    clip, shown = load_model("scenes-clip", device="cpu"), pixels(scenes(4, 5), 64)
    with torch.no_grad():
        pooled = build(TINY).model.vision_tower(shown).pooler_output
        assert torch.allclose(pooled, clip.forward_image(shown).pre, atol=1e-5)


def test_the_loss_is_the_librarys_own():
    network, writer = build(TINY), Writer(TINY)
    shown, (told, _, text) = of_a_step(TINY, 3, writer)
    assert len(text[0]) == len(shown) // 2
    ids, answered = told
    features = torch.stack(tuple(network.model.get_image_features(pixels(shown, 64)).pooler_output))
    with torch.no_grad():
        ours = answers_loss(network, ids, answered, features)
        theirs = network(input_ids=ids, pixel_values=pixels(shown, 64), labels=ids.masked_fill(~answered, -100)).loss
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)


def test_a_run_is_stopped_and_resumed(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path))
    _, losses = scenes_lvlm.train_run(TINY)
    again, same = scenes_lvlm.train_run(TINY)
    assert same == losses
    assert not again.training
    with pytest.raises(ValueError, match=r"learning_rate 0\.002 there, 0\.5 here"):
        scenes_lvlm.train_run(replace(TINY, learning_rate=0.5))


def test_f1_counts_whole_things():
    red, blue = Thing("star", "red"), Thing("moon", "blue", count=2)
    assert f1([red, blue], [blue, red]) == 1
    assert f1([Thing("star", "red", count=1)], [red]) == 1
    assert f1([red], [red, blue]) == pytest.approx(2 / 3)
    assert f1([Thing("star", "blue"), blue], [red, blue]) == pytest.approx(1 / 2)
    assert f1([], [red]) == 0


# Stored numbers ----------------------------------------------------------------------------------------------------------


def test_numbers_are_of_the_weights_and_the_world_that_stand_here(stored):
    assert stored["weights"] == sha256(model_folder() / "model.safetensors"), "run `make assets`"
    script = Path(measure_scenes_lvlm.__file__)
    assert stored["scripts"] == {"scenes": bits(), script.name: sha256(script)}, "run `make assets`"


def test_one_object_is_told_right_nine_times_of_ten(stored):
    for how in ("briefly", "at length"):
        assert stored["rows"]["1"][how]["f1"]["mean"] >= 0.9


def test_every_number_says_n_and_an_interval_that_holds_it(stored):
    rows = [row[how][what] for row in stored["rows"].values() for how in ("briefly", "at length") for what in row[how]]
    rows += [way for each in stored["retrieval"]["rows"].values() for way in each.values()]
    assert all(row["low"] <= row["mean"] <= row["high"] for row in rows)
    assert {row["n"] for row in stored["rows"].values()} == {measure_scenes_lvlm.EACH}


def test_the_summary_token_knows_something_untuned(stored):
    assert set(stored["retrieval"]["rows"]) == set(PRESETS)
    assert all(way["low"] > 5 / stored["retrieval"]["n"] for way in stored["retrieval"]["rows"]["E5-V"].values())


def test_a_cheap_row_measured_again_is_the_stored_one(model, stored):
    shown = fresh(1, 40)
    again = captioned(model, shown)["at length"]["f1"]["mean"]
    assert again == pytest.approx(stored["rows"]["1"]["at length"]["f1"]["mean"], abs=0.15)
    said = model.generate([draw(each, 64) for each in shown[:3]], ASKED["at length"])
    assert said == [pair[1] for pair in stored["rows"]["1"]["examples"]]


def test_the_card_says_what_is_stored(model, training, stored):
    written = (model_folder() / "README.md").read_text(encoding="utf-8")
    assert written == card(model, training, stored), "run `python -m recipes.scenes_lvlm_card`"


def test_the_vocabulary_is_small():
    assert len(vocabulary()) == len(set(vocabulary())) < 200
