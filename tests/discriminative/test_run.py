"""Tuning whole: what learns and what stays, a run in two parts beside one in one go, and runs that cannot be."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.discriminative.pictures import LONG, PICTURES, SHORT
from workbench.discriminative import LADDER, DiscriminativeConfig, Tuned, TwoCaptions, fine_tune
from workbench.discriminative.learning import beside, prepare, targets_of
from workbench.fine_tuning.adapters import holds_adapters
from workbench.models.lvlm import save_lvlm
from workbench.models.registry import load_model
from workbench.models.weights import weights_digest

CONFIG = DiscriminativeConfig(rank=4, batch_size=4, steps=4, warmup=1, learning_rate=1e-2, prompt_rate=1e-1, every=2)


@pytest.fixture(scope="module")
def pairs():
    return TwoCaptions(PICTURES, SHORT, LONG)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def weights(model):
    return {name: each.detach().clone() for name, each in model.module.state_dict().items()}


@pytest.mark.parametrize("rung", LADDER)
def test_what_learns(model, pairs, rung):
    before, asked = weights(model), [each.requires_grad for each in model.module.parameters()]
    config = replace(
        LADDER[rung], **{k: getattr(CONFIG, k) for k in ("rank", "batch_size", "steps", "learning_rate", "prompt_rate")}
    )
    found = fine_tune(model, pairs, config)
    assert same(weights(model), before)
    assert [each.requires_grad for each in model.module.parameters()] == asked
    assert not holds_adapters(found.model.module)
    assert bool(found.model.soft_prompts) == config.soft_prompts
    now = {name.replace("embed_tokens.words.", "embed_tokens."): each for name, each in weights(found.model).items()}
    changed = {name for name, each in before.items() if not torch.equal(each, now[name])}
    adapted = {f"{target.name}.weight" for target in targets_of(model)}
    assert changed == (adapted if config.lora else set())
    assert all("language_model" in name for name in changed)
    assert found.model.card.digest == weights_digest(found.model.module) != model.card.digest
    assert len(found.losses) == 4


def test_adapters_stand_on_every_linear_layer_of_the_language_model(model):
    names = {target.name.rpartition(".")[2] for target in targets_of(model)}
    assert names == {f"{part}_proj" for part in ("q", "k", "v", "o", "gate", "up", "down")}
    assert len(targets_of(model)) == 14
    trained = prepare(beside(model), CONFIG)
    assert {name.rpartition(".")[2] for name in trained.parameters} >= {"soft"}
    assert trained.trainable < trained.total


def test_nothing_changes_before_the_first_step(model):
    tuned = beside(model)
    prepare(tuned, CONFIG)
    assert torch.equal(tuned.encode_image(PICTURES).post, model.encode_image(PICTURES).post)
    assert torch.equal(tuned.encode_text(SHORT).post, model.encode_text(SHORT).post)


def test_frozen_weights_are_shared(llava):
    tuned = beside(llava)
    here, there = (dict(each.module.named_parameters()) for each in (llava, tuned))
    assert all(there[name].data_ptr() == each.data_ptr() for name, each in here.items())


def test_it_learns_to_tell_apart_and_to_write(llava, pairs):
    found = fine_tune(llava, pairs, replace(CONFIG, steps=60))
    assert np.mean(found.losses[-5:]) < 0.5 * np.mean(found.losses[:5])
    assert found.model.generate(PICTURES[:1], found.model.prompts.image, max_new_tokens=12)[0]
    assert "soft prompts + LoRA" in found.table().rows[1][1]
    assert found.table().rows[3] == ("steps", "60 of 4 pictures")


def test_a_stopped_run_goes_on_to_the_same_weights(llava, pairs, tmp_path):
    whole = fine_tune(llava, pairs, CONFIG)

    def stop(step, losses, model):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune(llava, pairs, CONFIG, folder=tmp_path, at=[3], on_step=stop)
    again = fine_tune(llava, pairs, CONFIG, folder=tmp_path)
    assert again.losses == whole.losses
    assert same(weights(again.model), weights(whole.model))
    with pytest.raises(ValueError, match="of another run"):
        fine_tune(llava, pairs, replace(CONFIG, seed=1), folder=tmp_path)
    other = TwoCaptions(PICTURES, SHORT, LONG[::-1])
    with pytest.raises(ValueError, match="of another run"):
        fine_tune(llava, other, CONFIG, folder=tmp_path)


def test_a_tuned_model_is_saved_and_opens_the_same(model, pairs, tmp_path):
    found = fine_tune(model, pairs, CONFIG, name="mine")
    assert found.model.name == "mine"
    again = load_model(f"lvlm:{save_lvlm(found.model, tmp_path / 'mine')}", device="cpu")
    assert torch.equal(again.encode_image(PICTURES).post, found.model.encode_image(PICTURES).post)
    assert torch.equal(again.encode_text(SHORT).post, found.model.encode_text(SHORT).post)
    assert again.card.digest == found.model.card.digest


def test_a_loaded_model_with_soft_prompts_is_not_softened_twice(llava, pairs):
    found = fine_tune(llava, pairs, CONFIG)
    with pytest.raises(ValueError, match="holds soft prompts already"):
        fine_tune(found.model, pairs, CONFIG)
    assert fine_tune(found.model, pairs, replace(CONFIG, soft_prompts=False)).model.soft_prompts


def test_steps_until():
    told = Tuned(None, CONFIG, None, (1.0, 1.0, 0.1, 0.0, 0.0, 0.0), 0.0, 2)
    assert told.steps_until(0.2, window=2) == 4
    assert told.steps_until(0.2, window=3) == 5
    assert told.steps_until(0.01, window=4) is None


def test_refused(llava, pairs):
    with pytest.raises(ValueError, match="no picture has a long caption"):
        fine_tune(llava, TwoCaptions(PICTURES, SHORT), CONFIG)
    with pytest.raises(TypeError, match="only a generative vision–language model is tuned here"):
        fine_tune(load_model("scenes-clip@1000", device="cpu"), pairs, CONFIG)
    with pytest.raises(ValueError, match="rank=40"):
        fine_tune(llava, pairs, replace(CONFIG, rank=40))
    halves = load_model(llava.name, device="cpu", dtype="float16")
    with pytest.raises(ValueError, match="float16, where small gradients vanish"):
        fine_tune(halves, pairs, CONFIG)
    with pytest.raises(ValueError, match=r"step \d, pictures .*lower learning_rate"):
        fine_tune(llava, pairs, replace(CONFIG, learning_rate=1e30, prompt_rate=1e30))


def test_bfloat16_weights_learn_in_float32(llava, pairs):
    halves = load_model(llava.name, device="cpu", dtype="bfloat16")
    found = fine_tune(halves, pairs, CONFIG)
    assert all(each.dtype == torch.float32 for each in found.trained.parameters.values())
    assert found.model.encode_image(PICTURES).post.isfinite().all()


def test_a_tuned_model_asked_in_other_words_is_tuned_anew(llava, pairs, tmp_path):
    first = fine_tune(llava, pairs, CONFIG)
    before = first.model.encode_text(SHORT).post
    second = fine_tune(first.model.with_prompts("CAFe"), pairs, CONFIG)
    assert torch.equal(first.model.encode_text(SHORT).post, before)
    again = load_model(f"lvlm:{save_lvlm(second.model, tmp_path / 'two')}", device="cpu")
    assert torch.equal(again.encode_text(SHORT).post, second.model.encode_text(SHORT).post)


def test_captions_that_no_step_could_take_are_refused_before_the_first(llava, pairs):
    bad = TwoCaptions(PICTURES, [*SHORT[:5], "a cat </s> ball"], LONG)
    with pytest.raises(ValueError, match=r"a caption of picture 5: .* holds '</s>'"):
        fine_tune(llava, bad, CONFIG)
    bad = TwoCaptions(PICTURES, SHORT, [*LONG[:3], "an <image>", *LONG[4:]])
    with pytest.raises(ValueError, match=r"a caption of picture 3: .* holds '<image>'"):
        fine_tune(llava, bad, CONFIG)
    assert fine_tune(llava, bad, replace(CONFIG, next_token_weight=0.0, steps=1)).losses
    some = TwoCaptions(PICTURES, SHORT, [*LONG[:5], None])
    with pytest.raises(ValueError, match="contrastive_weight=0 and picture 5 has no long caption"):
        fine_tune(llava, some, replace(CONFIG, contrastive_weight=0.0))
    assert fine_tune(llava, pairs, replace(CONFIG, contrastive_weight=0.0, steps=1)).losses


def test_the_temperature_of_the_run_stays_with_the_model(llava, pairs):
    found = fine_tune(llava, pairs, replace(CONFIG, temperature=0.5, steps=1))
    assert found.model.logit_scale == 2
    assert llava.logit_scale == 20


def test_captions_that_are_cut_are_told(llava):
    long = " ".join(["red"] * 90)
    with pytest.warns(UserWarning, match="some short captions are longer than the context"):
        fine_tune(
            llava,
            TwoCaptions(PICTURES, [long, *SHORT[1:]]),
            replace(CONFIG, next_token_weight=0.0, batch_size=6, steps=1),
        )
    with pytest.warns(UserWarning, match="some long captions are longer than what a prompt leaves"):
        fine_tune(llava, TwoCaptions(PICTURES, SHORT, [long, *LONG[1:]]), replace(CONFIG, batch_size=6, steps=1))
