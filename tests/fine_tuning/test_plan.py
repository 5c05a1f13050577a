"""The plan of a fine-tuning step: what learns of it, how many captions, how many pictures at a time."""

import copy

import pytest

from workbench.fine_tuning import FineTuneConfig
from workbench.fine_tuning.adapters import holds_adapters, prepare
from workbench.fine_tuning.plan import plan
from workbench.memory import plan_memory
from workbench.models.registry import load_model
from workbench.records import human_bytes


@pytest.fixture(scope="module")
def model():
    return load_model("scenes-clip", device="cpu")


def config(**options):
    return FineTuneConfig(**{"batch_size": 64, **options})


def test_a_step_is_planned_with_its_negatives_and_tokens(model):
    found = plan(model, config())
    assert (found.batch_size, found.captions, found.tokens, found.training) == (64, 4, True, True)
    assert found.measured is None
    bare = plan_memory(model, 64, training=True, captions=4, tokens=True, measure=False)
    assert found.predicted == bare.predicted
    assert found.largest_batch > 64


@pytest.mark.parametrize(
    ("options", "captions", "tokens"),
    [({"loss": "clip"}, 1, False), ({"loss": "negclip", "k": 2}, 3, False), ({"local_weight": 0.0}, 4, False)],
)
def test_what_a_loss_does_not_take_is_not_planned(model, options, captions, tokens):
    found = plan(model, config(**options))
    assert (found.captions, found.tokens) == (captions, tokens)
    assert found.predicted < plan(model, config()).predicted


def test_adapters_have_gradients_and_states_and_nothing_else(model):
    before = [each.requires_grad for each in model.module.parameters()]
    trained = prepare(copy.deepcopy(model), "lora")
    found = plan(model, config(parts="lora"))
    assert found.optimiser == 3 * 4 * trained.trainable
    assert found.optimiser < plan(model, config()).optimiser / 5
    assert not holds_adapters(model.module)
    assert [each.requires_grad for each in model.module.parameters()] == before


def test_a_micro_batch_takes_less_and_the_rest_is_said(model):
    whole, part = plan(model, config()), plan(model, config(micro_batch=8))
    assert part.batch_size == 8
    assert part.activations < whole.activations / 3
    kept = human_bytes(4 * 64 * 5 * model.embed_dim)
    assert f"features of all 64 pictures and their captions stay: {kept} more" in part.notes
    assert not any("features of all" in note for note in whole.notes)
    assert any(note.startswith("the local score's maps take up to about") for note in part.notes)
    assert plan(model, config(micro_batch=1)).batch_size == 2


def test_no_larger_part_than_the_batch(model):
    assert plan(model, config(micro_batch=500)).batch_size == 64


def test_what_cannot_be_prepared_cannot_be_planned(model):
    with pytest.raises(ValueError, match="rank=65"):
        plan(model, config(parts="lora", rank=65))
