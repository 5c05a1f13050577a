"""Fine-tuning whole: what learns and what stays, a run in two parts beside one in one go, and runs that cannot be."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from workbench.data.scenes import draw, scenes
from workbench.fine_tuning import FineTuneConfig, Pairs, fine_tune
from workbench.fine_tuning.adapters import holds_adapters
from workbench.models.registry import load_model
from workbench.models.weights import weights_digest

SHOWN = scenes(8, 31)
PICTURES = [draw(each, 64) for each in SHOWN]
CAPTIONS = [each.caption for each in SHOWN]
CONFIG = FineTuneConfig(batch_size=4, steps=4, warmup=1, learning_rate=1e-3, every=2)


@pytest.fixture(scope="module")
def model():
    return load_model("scenes-clip@1000", device="cpu")


@pytest.fixture(scope="module")
def pairs():
    return Pairs(PICTURES, CAPTIONS)


@pytest.fixture(scope="module")
def tuned(model, pairs):
    return fine_tune(model, pairs, CONFIG)


def weights(model):
    return {name: each.detach().clone() for name, each in model.module.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_copy_learns_and_the_given_model_stays(model, pairs):
    before, asked = weights(model), [each.requires_grad for each in model.module.parameters()]
    found = fine_tune(model, pairs, CONFIG)
    assert same(weights(model), before)
    assert [each.requires_grad for each in model.module.parameters()] == asked
    changed = {name for name, each in weights(found.model).items() if not torch.equal(each, before[name])}
    assert changed >= {name for name, _ in model.module.named_parameters()} - {"logit_scale"}
    assert len(found.losses) == 4
    assert found.seconds > 0


def test_a_tuned_model_is_a_model(model, tuned):
    image, text = tuned.model.encode_image(PICTURES[:2]).post, tuned.model.encode_text(CAPTIONS[:2]).post
    assert image.shape == text.shape == (2, model.embed_dim)
    assert tuned.model.name == "scenes-clip@1000 + fsc"
    assert tuned.model.card.digest == weights_digest(tuned.model.module) != model.card.digest
    assert not tuned.model.module.training
    assert type(tuned.model) is type(model)


def test_the_table_says_what_was_done(tuned):
    rows = dict(tuned.table().rows)
    assert (rows["loss"], rows["learns"], rows["pictures"]) == ("fsc", "full", "8")
    assert rows["steps"] == "4 of 4 pictures"
    assert float(rows["loss, last 20 steps"]) == pytest.approx(np.mean(tuned.losses), rel=1e-3)


def test_the_same_seed_learns_the_same_and_another_does_not(model, pairs, tuned):
    assert fine_tune(model, pairs, CONFIG).losses == tuned.losses
    assert fine_tune(model, pairs, replace(CONFIG, seed=1)).losses != tuned.losses


def test_the_loss_falls(model):
    """Captions of the wrong pictures, which it first has to believe."""
    wrong = Pairs(PICTURES, [*CAPTIONS[1:], CAPTIONS[0]])
    losses = fine_tune(model, wrong, replace(CONFIG, batch_size=8, steps=10)).losses
    assert losses[0] > 2
    assert losses[-1] < losses[0] / 2


RUNS = {
    "full": CONFIG,
    "lora": replace(CONFIG, parts="lora", rank=2, learning_rate=1e-2),
    "halves, in parts": replace(CONFIG, precision="bfloat16", micro_batch=3),
}


class KilledError(Exception):
    """Not KeyboardInterrupt itself, which would also be kept: a process that dies keeps nothing."""


@pytest.mark.parametrize("error", [KeyboardInterrupt, KilledError])
@pytest.mark.parametrize("name", RUNS)
def test_a_run_in_two_parts_is_one_run(model, pairs, tmp_path, name, error):
    """KilledError after step 3, it goes on from what was kept after step 2, to the same bits."""
    once = fine_tune(model, pairs, RUNS[name])

    def stop(step, losses, model):
        raise error

    with pytest.raises(error):
        fine_tune(model, pairs, RUNS[name], folder=tmp_path, at=(3,), on_step=stop)
    torch.manual_seed(12345)  # whatever happened meanwhile
    seen = []
    again = fine_tune(
        model, pairs, RUNS[name], folder=tmp_path, at=(1, 3, 4), on_step=lambda step, losses, _: seen.append(step)
    )
    assert seen == [3, 4]
    assert again.losses == once.losses
    assert same(weights(again.model), weights(once.model))
    finished = fine_tune(model, pairs, RUNS[name], folder=tmp_path)
    assert same(weights(finished.model), weights(once.model))


def test_micro_batches_of_another_size_may_go_on(model, pairs, tmp_path):
    once = fine_tune(model, pairs, CONFIG)
    _killed(model, pairs, CONFIG, tmp_path)
    again = fine_tune(model, pairs, replace(CONFIG, micro_batch=2, every=1), folder=tmp_path)
    assert again.losses == pytest.approx(once.losses, rel=1e-4)


def _killed(model, pairs, config, folder):
    def stop(step, losses, model):
        raise KilledError

    with pytest.raises(KilledError):
        fine_tune(model, pairs, config, folder=folder, at=(3,), on_step=stop)


def test_a_folder_of_another_run_is_refused(model, pairs, tmp_path):
    _killed(model, pairs, CONFIG, tmp_path)
    other_model = copy.deepcopy(model)
    with torch.no_grad():
        other_model.module.ln_final.bias.add_(1e-3)
    others = {
        "model": (other_model, pairs, CONFIG),
        "learning_rate": (model, pairs, replace(CONFIG, learning_rate=1e-4)),
        "loss": (model, pairs, replace(CONFIG, loss="negclip")),
        "parts": (model, pairs, replace(CONFIG, parts="lora")),
        "pictures": (model, Pairs(PICTURES[:7], CAPTIONS[:7]), CONFIG),
        "data": (model, Pairs(PICTURES, [*CAPTIONS[:7], "a red star"]), CONFIG),
    }
    kept = (tmp_path / "checkpoint.safetensors").read_bytes()
    for what, given in others.items():
        with pytest.raises(ValueError, match=rf"is of another run \(.*{what} .* there, .* here.*give another folder"):
            fine_tune(*given, folder=tmp_path)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == kept


def test_a_checkpoint_of_another_architecture_is_refused(model, pairs, tmp_path, clip_folder):
    _killed(load_model(f"local-dir:{clip_folder}", device="cpu"), pairs, CONFIG, tmp_path)
    with pytest.raises(ValueError, match=r"is of another run \(.*model '.*' there, '.*' here"):
        fine_tune(model, pairs, CONFIG, folder=tmp_path)


def test_a_checkpoint_cut_short_is_refused(model, pairs, tmp_path):
    (tmp_path / "checkpoint.safetensors").write_bytes(b"half of it")
    with pytest.raises(ValueError, match="is no whole checkpoint of this loop"):
        fine_tune(model, pairs, CONFIG, folder=tmp_path)


# What learns, and what stays ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("parts", "other"), [("image", "text"), ("text", "image")])
def test_a_frozen_tower_is_frozen(model, pairs, parts, other):
    tuned = fine_tune(model, pairs, replace(CONFIG, parts=parts, steps=2)).model

    def features(each, side):
        return each.encode_image(PICTURES).post if side == "image" else each.encode_text(CAPTIONS).post

    assert torch.equal(features(tuned, other), features(model, other))
    assert not torch.allclose(features(tuned, parts), features(model, parts), atol=1e-3)
    assert tuned.logit_scale == model.logit_scale


def test_adapters_are_folded_in(model, pairs):
    found = fine_tune(model, pairs, replace(RUNS["lora"], steps=2))
    assert not holds_adapters(found.model.module)
    assert list(found.model.module.state_dict()) == list(model.module.state_dict())
    before, after = weights(model), weights(found.model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not changed & {"logit_scale", "positional_embedding", "token_embedding.weight", "text_projection"}


@pytest.mark.parametrize(("theta", "limit"), [(9.0, 100.0), (-3.0, 1.0)])
def test_the_scale_stays_between_1_and_100(model, pairs, theta, limit):
    """Wherever a step leaves it: it is brought back before the next loss sees it, and after the last step."""

    def tuned(value):
        def leave_it(step, losses, model):
            with torch.no_grad():
                model.module.logit_scale.fill_(value)

        return fine_tune(model, pairs, replace(CONFIG, loss="clip"), at=(2, 4), on_step=leave_it)

    found, expected = tuned(theta), tuned(np.log(limit))
    assert found.losses == expected.losses
    assert found.model.logit_scale == pytest.approx(limit, rel=1e-6)


def test_a_frozen_scale_above_100_is_the_models_own(model, pairs):
    """SigLIP's is 118."""
    given = copy.deepcopy(model)
    with torch.no_grad():
        given.module.logit_scale.fill_(np.log(118.0))
    found = fine_tune(given, pairs, replace(RUNS["lora"], steps=2)).model
    assert found.logit_scale == given.logit_scale == pytest.approx(118.0)


@pytest.mark.parametrize("loss", ["clip", "negclip"])
def test_other_losses_train_too(model, pairs, loss):
    found = fine_tune(model, pairs, replace(CONFIG, loss=loss, steps=2))
    assert all(np.isfinite(found.losses))
    assert found.model.name == f"scenes-clip@1000 + {loss}"


def test_contrast_alone_needs_no_operator(model):
    stubborn = Pairs(PICTURES[:4], ["zzz", "qqq", "xxx", "jjj"])
    assert len(fine_tune(model, stubborn, replace(CONFIG, loss="clip", steps=2)).losses) == 2
    with pytest.raises(ValueError, match=r"no operator changes any of the 4 captions .* or take loss='clip'"):
        fine_tune(model, stubborn, CONFIG)


def test_a_batch_in_which_no_caption_can_be_changed(model):
    """One caption of eight can; the batches without it train on contrast alone."""
    odd = Pairs(PICTURES, [CAPTIONS[0], *("zzz", "qqq", "xxx", "jjj", "vvv", "www", "yyy")])
    for loss in ("fsc", "negclip"):
        found = fine_tune(model, odd, replace(CONFIG, loss=loss, batch_size=2))
        assert all(np.isfinite(found.losses))


# What cannot be ----------------------------------------------------------------------------------------------------------


def test_a_rate_too_high_names_the_step_and_keeps_what_was_good(model, pairs, tmp_path):
    """Good up to step 2, where it is kept; then the rate of another world, as a run that diverges."""
    _killed(model, pairs, CONFIG, tmp_path)
    kept = (tmp_path / "checkpoint.safetensors").read_bytes()

    def explode(step, losses, model):
        with torch.no_grad():
            model.module.ln_final.weight.fill_(torch.nan)

    with pytest.raises(ValueError, match=r"step 3, pictures \d, \d, \d, \d … \('.* kept last stays"):
        fine_tune(model, pairs, CONFIG, folder=tmp_path, at=(3,), on_step=explode)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == kept
    assert fine_tune(model, pairs, CONFIG, folder=tmp_path).losses == fine_tune(model, pairs, CONFIG).losses


@pytest.mark.parametrize("loss", ["fsc", "negclip", "clip"])
def test_a_huge_rate_is_named(model, pairs, loss):
    config = replace(CONFIG, loss=loss, learning_rate=1e30, warmup=0)
    with pytest.raises(ValueError, match=r"step \d, pictures .*lower learning_rate, or take precision='float32'"):
        fine_tune(model, pairs, config)


def test_a_picture_of_nan_is_named(model):
    """Through a model whose preprocessing gives NaN for one picture, which its step and batch tell."""
    broken = copy.deepcopy(model)
    usual = broken._preprocess

    def preprocess(image):
        pixels = usual(image)
        return torch.full_like(pixels, torch.nan) if image.getpixel((0, 0)) == (1, 2, 3) else pixels

    broken._preprocess = preprocess
    marked = [each.copy() for each in PICTURES]
    marked[5][:] = (1, 2, 3)
    pairs = Pairs(marked, CAPTIONS)
    bad = next(step for step in range(2) if 5 in pairs.drawn(4, 0, step)[0])
    rows = ", ".join(map(str, pairs.drawn(4, 0, bad)[0]))
    with pytest.raises(ValueError, match=f"step {bad}, pictures {rows} … "):
        fine_tune(broken, pairs, CONFIG)


def test_a_rank_larger_than_a_layer(model, pairs):
    with pytest.raises(ValueError, match=r"rank=65: visual\.conv1 .* give a rank from 1 to 64"):
        fine_tune(model, pairs, replace(RUNS["lora"], rank=65))


def test_two_towers_with_a_head_are_no_one_model(pairs):
    with pytest.raises(TypeError, match=r"PairedEncoder, not one model with two towers"):
        fine_tune(load_model("lite0-minilm", device="cpu"), pairs, CONFIG)


def test_weights_in_halves_are_refused(pairs):
    halves = load_model("scenes-clip@1000", device="cpu", dtype="bfloat16")
    with pytest.raises(ValueError, match=r"bfloat16.*dtype='float32'.*precision='bfloat16'"):
        fine_tune(halves, pairs, CONFIG)


def test_more_steps_of_warming_up_than_steps(model, pairs):
    assert len(fine_tune(model, pairs, replace(CONFIG, steps=2, warmup=50)).losses) == 2
