"""Bytes counted by hand, and meta tensors against real ones."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from workbench.memory.prediction import peak_bytes, predict
from workbench.memory.rehearsal import Task, rehearse
from workbench.models.registry import load_model, skeleton


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


@pytest.mark.parametrize("captions", [1, 4])
@pytest.mark.parametrize("training", [False, True])
def test_meta_counts_what_the_real_tensors_take(vit, training, captions):
    model, task = load_model(vit, device="cpu"), Task(4, tokens=True, training=training, captions=captions)
    held = [*model.module.parameters(), *model.module.buffers()]
    real = peak_bytes(lambda: rehearse(model, task, "cpu"), held)
    predicted = predict(skeleton(vit), task)
    assert real == predicted.optimiser + predicted.activations


def test_meta_counts_what_the_shipped_model_takes():
    model, task = load_model("lite0-minilm", device="cpu"), Task(2)
    held = [*model.module.parameters(), *model.module.buffers()]
    real = peak_bytes(lambda: rehearse(model, task, "cpu"), held)
    assert real == predict(skeleton("lite0-minilm"), task).activations


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


def test_captions_cost_what_a_text_tower_takes(vit):
    """Three more captions of each picture: as much as three more batches of captions, and no more pictures."""
    model = skeleton(vit)
    one, four = (predict(model, Task(64, training=True, captions=n)) for n in (1, 4))
    model.module.visual.requires_grad_(False)
    texts = predict(model, Task(64, training=True)).activations
    assert one.activations < four.activations < one.activations + 4 * texts
    assert four.optimiser == one.optimiser


def test_frozen_towers_cost_no_gradient():
    model = skeleton("lite0-minilm")
    inference, training = predict(model, Task(8)), predict(model, Task(8, training=True))
    assert training.optimiser == 3 * sum(p.nbytes for p in model.head.parameters() if p.requires_grad)
    assert training.activations < 1.05 * inference.activations
    model.module.requires_grad_(True)
    assert predict(model, Task(8, training=True)).activations > 2 * inference.activations
