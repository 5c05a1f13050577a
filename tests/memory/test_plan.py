"""Plans on faked machines."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from workbench.heads import LinearHead
from workbench.memory import plan_memory
from workbench.memory.measurement import Measurement
from workbench.memory.plan import MARGIN, _largest_batch
from workbench.memory.prediction import predict
from workbench.memory.rehearsal import Task
from workbench.models.paired import AlignmentHead, pair
from workbench.models.registry import load_model, skeleton
from workbench.models.towers import image_tower, text_tower

GIB = 2**30


def test_a_plan_adds_up_and_shows_itself(vit, room, answer):
    predicted = plan_memory(vit, 8, measure=False).predicted
    answer(Measurement(int(1.25 * predicted)))
    plan = plan_memory(vit, np.int64(8), training=False, device="cpu")
    assert plan.predicted == plan.parameters + plan.optimiser + plan.activations
    assert plan.ratio == pytest.approx(1.25, abs=1e-4)
    table = plan.table()
    assert table.caption == f"Memory plan: {vit}, batch 8, inference"
    assert ("measured / predicted", "1.25") in table.rows
    assert ("available on cpu", "64.0 GiB") in table.rows
    assert table.rows[-1] == ("advice", "fits")
    assert not plan.notes  # open_clip always reads its whole context, nothing is assumed
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.fits = False


def test_a_training_plan_has_a_row_for_its_states(vit, room):
    rows = dict(plan_memory(vit, 8, training=True, measure=False).table().rows)
    assert "gradients and AdamW" in rows
    assert rows["measured"] == "not measured"
    assert rows["measured / predicted"] == "unknown"


@pytest.mark.parametrize("training", [False, True])
def test_the_largest_batch_is_the_largest_that_fits(vit, room, training):
    model = skeleton(vit)
    free = predict(model, Task(100, training=training)).total
    room(free)
    largest, budget = plan_memory(vit, 16, training=training, measure=False).largest_batch, MARGIN * free
    assert 2 < largest < 100
    assert predict(model, Task(largest, training=training)).total <= budget * 1.02
    assert predict(model, Task(largest + 2, training=training)).total > budget
    assert plan_memory(vit, largest, training=training, measure=False).fits
    too_large = plan_memory(vit, largest + 2, training=training, measure=False)
    assert not too_large.fits
    assert too_large.table().rows[-1] == ("advice", f"does not fit: use batch ≤ {too_large.largest_batch}")


@pytest.mark.parametrize("start", [2, 3, 64, 300, 1000])
@pytest.mark.parametrize(("budget", "largest"), [(3400, 300), (3409, 300), (999, 0)])
def test_the_largest_batch_is_the_same_wherever_the_search_starts(start, budget, largest):
    """AdamW's step takes 1000 however small the batch: up to 60 pairs, the prediction does not grow with the batch."""

    def total(size):
        return max(1000, 400 + 10 * size)

    assert _largest_batch(Task(start, training=True), total, Measurement(None), budget) == largest


def test_captions_of_each_picture_are_planned(vit, room, answer):
    room(GIB // 8)
    specs = answer(Measurement(GIB))
    one, four = (plan_memory(vit, 8, training=True, captions=captions) for captions in (1, 4))
    assert (one.captions, four.captions) == (1, 4)
    assert plan_memory(vit, 8, training=True, measure=False) == plan_memory(
        vit, 8, training=True, captions=1, measure=False
    )
    assert four.activations > one.activations
    assert (four.parameters, four.optimiser) == (one.parameters, one.optimiser)
    assert [spec["task"]["captions"] for spec in specs] == [1, 4]
    assert one.table().caption == f"Memory plan: {vit}, batch 8, training"
    assert four.table().caption == f"Memory plan: {vit}, batch 8 of 4 captions each, training"


def test_more_captions_leave_room_for_fewer_pictures(vit, room):
    room(predict(skeleton(vit), Task(100, training=True, captions=4)).total)
    one, four = (plan_memory(vit, 16, training=True, captions=n, measure=False).largest_batch for n in (1, 4))
    assert 16 < four < 1.02 * MARGIN * 100
    assert four < one


def test_nothing_fits_where_the_weights_do_not(vit, room):
    room(1000)
    plan = plan_memory(vit, 1)
    assert (plan.largest_batch, plan.fits, plan.measured) == (0, False, None)
    assert plan.notes == ("not measured: the prediction is more than is available",)
    assert plan.table().rows[-1][1].startswith("does not fit at any batch size")


def test_a_measurement_above_the_prediction_lowers_the_largest_batch(vit, room, answer):
    plan = plan_memory(vit, 16, measure=False)
    room(4 * plan.predicted)
    unmeasured = plan_memory(vit, 16, measure=False)
    answer(Measurement(2 * plan.predicted))
    measured = plan_memory(vit, 16)
    assert 16 <= measured.largest_batch < unmeasured.largest_batch
    answer(Measurement(int(3.3 * plan.predicted)))  # 0.8 of 4 is 3.2
    assert not plan_memory(vit, 16).fits


def test_running_out_of_memory_is_not_fitting(vit, room, answer):
    answer(Measurement(None, "not measured: out of memory", out_of_memory=True))
    plan = plan_memory(vit, 16)
    assert (plan.fits, plan.largest_batch, plan.measured, plan.ratio) == (False, 15, None, None)
    assert "not measured: out of memory" in plan.notes


def test_shipped_models_say_what_is_assumed_of_captions(room):
    notes = plan_memory("lite0-minilm", 4, measure=False).notes
    assert notes == ("captions of 32 tokens assumed; it reads up to 256",)


def test_a_loaded_model_is_planned_as_it_stands(vit, room, answer):
    specs = answer(Measurement(GIB))
    model = load_model(vit, device="cpu", dtype="bfloat16")
    model.module.visual.requires_grad_(False)
    plan = plan_memory(model, 4, training=True)
    named = plan_memory(vit, 4, training=True, measure=False)
    assert plan.parameters == named.parameters / 2
    assert plan.optimiser < named.optimiser / 2
    assert plan.available == 64 * GIB + plan.parameters  # these bytes are paid already
    assert specs[0]["dtype"] == "bfloat16"
    assert not any(name.startswith("visual.") for name in specs[0]["trained"])
    assert all(p.device.type == "cpu" for p in model.module.parameters())


def test_a_pair_is_planned_but_not_measured(room):
    head = AlignmentHead(LinearHead(1280, 8), LinearHead(384, 8))
    plan = plan_memory(pair(image_tower("efficientnet_lite0"), text_tower("minilm"), head), 4, training=True)
    assert plan.optimiser == 3 * 4 * (1280 * 8 + 8 + 384 * 8 + 8 + 1)
    assert plan.measured is None
    assert plan.notes[-1] == "not measured: a child process can only load a model by name"


@pytest.mark.parametrize(
    ("batch_size", "training", "error", "says"),
    [
        (0, False, ValueError, "batch_size=0; give 1 or more"),
        (-3, False, ValueError, "batch_size=-3"),
        (1, True, ValueError, "one pair has no negatives; give 2 or more"),
        (2.0, False, TypeError, "float 2.0; give a whole number"),
        (True, False, TypeError, "bool True"),
        ("8", False, TypeError, "str '8'"),
    ],
)
def test_bad_batch_sizes(batch_size, training, error, says):
    with pytest.raises(error, match=says):
        plan_memory("lite0-minilm", batch_size, training=training)


@pytest.mark.parametrize(
    ("captions", "error", "says"),
    [
        (0, ValueError, "captions=0; give 1 or more"),
        (4.0, TypeError, "captions is float 4.0; give a whole number"),
        (True, TypeError, "captions is bool True"),
    ],
)
def test_bad_numbers_of_captions(captions, error, says):
    with pytest.raises(error, match=says):
        plan_memory("lite0-minilm", 4, captions=captions)


def test_bad_models_and_devices(vit):
    with pytest.raises(ValueError, match="did you mean 'lite0-minilm'"):
        plan_memory("lite0-minlm", 4)
    with pytest.raises(TypeError, match="a model or its name is planned, not int 3"):
        plan_memory(3, 4)
    with pytest.raises(ValueError, match="device 'abacus' is not here"):
        plan_memory(vit, 4, device="abacus")
    frozen = load_model(vit, device="cpu")
    frozen.module.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter that requires grad; unfreeze one"):
        plan_memory(frozen, 4, training=True)


def test_planning_imports_torch_only_when_asked():
    code = "import sys, workbench.memory; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
