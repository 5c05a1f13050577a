"""workbench.memory: bytes counted by hand, plans on faked machines, and one measurement in a child process."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from workbench import memory
from workbench.heads import LinearHead
from workbench.memory import MARGIN, Measurement, MemoryPlan, Task, measure_in_child, peak_bytes, plan_memory, predict
from workbench.models.paired import AlignmentHead, pair
from workbench.models.registry import load_model, skeleton
from workbench.models.towers import image_tower, text_tower

GIB = 2**30
PREPROCESS = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}


@pytest.fixture(scope="module")
def vit(tmp_path_factory) -> str:
    """The name of a tiny random CLIP of open_clip, every parameter trainable."""
    import open_clip

    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 64, "patch_size": 8, "layers": 3, "width": 64, "head_width": 32},
        "text_cfg": {"context_length": 16, "vocab_size": 100, "layers": 2, "width": 32, "heads": 2},
    }
    folder = tmp_path_factory.mktemp("vit")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": PREPROCESS}))
    weights = open_clip.CLIP(**config).state_dict()
    save_file({key: value.contiguous() for key, value in weights.items()}, folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


@pytest.fixture
def room(monkeypatch):
    """A machine with as many bytes free as the test says."""

    def set_room(n: int) -> None:
        monkeypatch.setattr(memory, "available_memory", lambda device: n)

    set_room(64 * GIB)
    return set_room


@pytest.fixture
def answer(monkeypatch):
    """A child process that answers what the test says; its specs are kept."""
    specs = []

    def set_answer(found: Measurement) -> list:
        monkeypatch.setattr(memory, "measure_in_child", lambda spec: specs.append(spec) or found)
        return specs

    return set_answer


# Counting -------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["cpu", "meta"])
def mlp(request):
    """(3, 4) → 8 → ReLU → 2 without biases, its input made in the pass."""
    device = request.param
    net = nn.Sequential(nn.Linear(4, 8, bias=False), nn.ReLU(), nn.Linear(8, 2, bias=False)).to(device)
    return net, lambda: torch.ones(3, 4, device=device)


def test_inference_of_an_mlp_counted_by_hand(mlp):
    net, make_input = mlp

    def run():
        x = make_input()
        with torch.no_grad():
            net(x)

    x, hidden, rectified = 3 * 4 * 4, 3 * 8 * 4, 3 * 8 * 4  # the ReLU's input lives until its output is made
    assert peak_bytes(run, net.parameters()) == x + hidden + rectified


def test_training_of_an_mlp_counted_by_hand(mlp):
    net, make_input = mlp

    def run():
        x = make_input()
        net(x).sum().backward()

    x, rectified, scalars = 3 * 4 * 4, 3 * 8 * 4, 4 + 4  # the loss and its gradient
    # The peak is inside the ReLU's backward: its saved output, both gradients of its width, the second layer's gradient.
    assert peak_bytes(run, net.parameters()) == x + rectified + 2 * (3 * 8 * 4) + 8 * 2 * 4 + scalars


def test_a_storage_counts_once_and_only_while_it_lives():
    def run():
        first = torch.zeros(1000, device="meta")
        views = [first[10:], first.view(10, 100), first.detach()]
        del first, views
        torch.zeros(600, device="meta")

    assert peak_bytes(run) == 4000


def test_parameters_and_their_views_cost_nothing_more():
    weight = torch.zeros(100, 100, device="meta")
    assert peak_bytes(lambda: weight.view(-1)[:5].detach(), [weight]) == 0


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_attention_does_not_hold_its_weights(device):
    attention = nn.MultiheadAttention(16, 2, batch_first=True, device=device)
    x = torch.zeros(1, 512, 16, device=device)
    usual = F.scaled_dot_product_attention
    peak = peak_bytes(lambda: attention(x, x, x, need_weights=False), [x, *attention.parameters()])
    assert 512 * 16 * 4 < peak < 512 * 512 * 4
    assert F.scaled_dot_product_attention is usual


@pytest.mark.parametrize("training", [False, True])
def test_meta_counts_what_the_real_tensors_take(vit, training):
    model, task = load_model(vit, device="cpu"), Task(4, tokens=True, training=training)
    held = [*model.module.parameters(), *model.module.buffers()]
    real = peak_bytes(lambda: memory.rehearse(model, task, "cpu"), held)
    predicted = predict(skeleton(vit), task)
    assert real == predicted.optimiser + predicted.activations


def test_meta_counts_what_the_shipped_model_takes():
    model, task = load_model("lite0-minilm", device="cpu"), Task(2)
    held = [*model.module.parameters(), *model.module.buffers()]
    real = peak_bytes(lambda: memory.rehearse(model, task, "cpu"), held)
    assert real == predict(skeleton("lite0-minilm"), task).activations


# Predictions ----------------------------------------------------------------------------------------------------------


def test_parameters_are_exact(vit):
    weights = load_model(vit, device="cpu").module
    exact = sum(p.nbytes for p in weights.parameters()) + sum(b.nbytes for b in weights.buffers())
    assert predict(skeleton(vit), Task(1)).parameters == exact


@pytest.mark.parametrize("training", [False, True])
def test_a_larger_batch_takes_more(vit, training):
    model = skeleton(vit)
    totals = [predict(model, Task(n, training=training)).total for n in (2, 8, 32, 128)]
    assert totals == sorted(set(totals))


def test_training_takes_more(vit):
    model = skeleton(vit)
    plain = predict(model, Task(16))
    assert predict(model, Task(16, tokens=True)).total >= plain.total
    training = predict(model, Task(16, training=True))
    assert training.activations > plain.activations
    assert training.optimiser == 3 * sum(p.nbytes for p in model.module.parameters())


def test_frozen_towers_cost_no_gradient():
    model = skeleton("lite0-minilm")
    inference, training = predict(model, Task(8)), predict(model, Task(8, training=True))
    assert training.optimiser == 3 * sum(p.nbytes for p in model.head.parameters() if p.requires_grad)
    assert training.activations < 1.05 * inference.activations
    model.module.requires_grad_(True)
    assert predict(model, Task(8, training=True)).activations > 2 * inference.activations


# Plans ----------------------------------------------------------------------------------------------------------------


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
    room(predict(model, Task(100, training=training)).total)
    largest = plan_memory(vit, 16, training=training, measure=False).largest_batch
    budget = MARGIN * predict(model, Task(100, training=training)).total
    assert 2 < largest < 100
    assert predict(model, Task(largest, training=training)).total <= budget * 1.02
    assert predict(model, Task(largest + 2, training=training)).total > budget
    assert plan_memory(vit, largest, training=training, measure=False).fits
    too_large = plan_memory(vit, largest + 2, training=training, measure=False)
    assert not too_large.fits
    assert too_large.table().rows[-1] == ("advice", f"does not fit: use batch ≤ {too_large.largest_batch}")


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


# The child process ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "out_of_memory", "says"),
    [
        ("import os; os.kill(os.getpid(), 9)", True, r"ran out of memory \(was killed\); try a smaller batch"),
        ("raise MemoryError", True, r"ran out of memory \(MemoryError\)"),
        ("raise RuntimeError('DefaultCPUAllocator: can\\'t allocate memory')", True, "DefaultCPUAllocator"),
        ("raise ValueError('no such model')", False, r"failed \(ValueError: no such model\); see whether load_model"),
        ("import os; os.kill(os.getpid(), 11)", False, "was stopped by signal 11"),
        ("print('hello')", False, "failed"),
    ],
)
def test_a_child_that_fails_is_an_answer(code, out_of_memory, says):
    found = measure_in_child({}, (sys.executable, "-c", code))
    assert found.bytes is None
    assert found.out_of_memory is out_of_memory
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(found.note)


def test_a_child_that_takes_too_long_is_given_up(monkeypatch):
    monkeypatch.setattr(memory, "PATIENCE", 0.2)
    found = measure_in_child({}, (sys.executable, "-c", "import time; time.sleep(60)"))
    assert (found.bytes, found.note) == (None, "not measured: no answer in 0.2 s; try a smaller batch")


def test_libraries_may_chat_before_the_answer():
    chatty = "import json; print('loading…'); print(json.dumps({'bytes': 12})); print('bye')"
    assert measure_in_child({}, (sys.executable, "-c", chatty)) == Measurement(12)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux forgets the peak of loading")
def test_the_prediction_against_a_real_measurement():
    plan = plan_memory("lite0-minilm", 16, device="cpu")
    assert plan.measured is not None, plan.notes
    assert 0.4 < plan.ratio < 3
    assert isinstance(plan, MemoryPlan)


def test_planning_imports_torch_only_when_asked():
    code = "import sys, workbench.memory; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
