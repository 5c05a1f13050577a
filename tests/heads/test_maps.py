"""Heads against plain references, SAIL's sizes, and what a projector may claim."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from workbench.heads import ConseHead, GatedHead, Identity, LinearHead, MLPHead
from workbench.models.paired import AlignmentHead

LEARNED = (LinearHead, MLPHead, GatedHead)


def drawn(head, std=0.7):
    """The head in float64 with every parameter drawn: at their start biases are 0 and norms do nothing."""
    generator = torch.Generator().manual_seed(0)
    for parameter in head.double().parameters():
        parameter.data.normal_(std=std, generator=generator)
    return head


def rows(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3 + 1


def plain(head, x):
    """SAIL's layers (arXiv 2412.04616) once more, in NumPy and from the equations."""
    p = {name: value.detach().numpy() for name, value in head.state_dict().items()}
    h = x.numpy()
    if "norm.weight" in p:
        centred = h - h.mean(-1, keepdims=True)
        h = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p["norm.weight"] + p["norm.bias"]

    def layer(name, x):
        return x @ p[f"{name}weight"].T + p[f"{name}bias"]

    if isinstance(head, LinearHead):
        return layer("", h)
    if isinstance(head, MLPHead):
        hidden = layer("hidden.", h)
        erf = torch.erf(torch.from_numpy(hidden / np.sqrt(2))).numpy()
        return layer("out.", hidden * (1 + erf) / 2)
    a, b = np.clip(layer("gate.", h), -1e3, 1e3), np.clip(layer("value.", h), -1e3, 1e3)
    return layer("out.", np.minimum(np.maximum(a, 0), 6) * b)


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("kind", LEARNED)
def test_forward_is_the_definition(kind, layer_norm):
    head, x = drawn(kind(7, 5, layer_norm=layer_norm)), rows(4, 3, 7)
    out = head(x)
    assert out.shape == (4, 3, 5)
    np.testing.assert_allclose(out.detach().numpy(), plain(head, x), rtol=1e-12, atol=1e-12)


def test_the_gate_ends_at_six_and_the_value_at_a_thousand():
    head, x = drawn(GatedHead(7, 5), std=300.0), rows(40, 7)
    assert (head.gate(x).abs() > 1e3).any()
    assert (head.value(x).abs() > 1e3).any()
    np.testing.assert_allclose(head(x).detach().numpy(), plain(head, x), rtol=1e-12)
    assert (head(x) - head.out.bias).abs().max() <= head.out.weight.abs().sum(1).max() * 6e3


def test_gradients_are_those_of_both_clips():
    head, x = drawn(GatedHead(7, 5), std=300.0), rows(40, 7)
    head(x).sum().backward()
    ours = [p.grad.clone() for p in head.parameters()]
    head.zero_grad()
    a, b = head.gate(x).clamp(-1e3, 1e3), head.value(x).clamp(-1e3, 1e3)
    head.out(F.relu6(a) * b).sum().backward()
    assert all(torch.equal(one, p.grad) for one, p in zip(ours, head.parameters(), strict=True))


def test_the_gate_is_not_a_residual_and_has_its_width_from_the_input():
    head = GatedHead(6, 4, 3)
    assert head.gate.weight.shape == head.value.weight.shape == (18, 6)
    assert head.out.weight.shape == (4, 18)
    for layer in (head.gate, head.value, head.out):
        torch.nn.init.zeros_(layer.weight)
    assert torch.equal(head(torch.ones(2, 6)), torch.zeros(2, 4))


@pytest.mark.parametrize("kind", [MLPHead, GatedHead])
def test_weights_start_xavier_uniform_and_biases_at_zero(kind):
    torch.manual_seed(0)
    head = kind(40, 30, layer_norm=True)
    for name, layer in head.named_children():
        if name == "norm":
            assert layer.eps == 1e-5
            assert torch.equal(layer.weight, torch.ones(40))
        else:
            bound = (6 / sum(layer.weight.shape)) ** 0.5
            assert layer.weight.abs().max() <= bound
            assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
        assert not layer.bias.any()


# Widths of the features, how each side is made, joint width, millions of trained parameters as SAIL's sizes come out
DINOV2_L, DINOV2_B, GTE, NV2 = 2048, 1536, 1024, 4096


@pytest.mark.parametrize(
    ("d_i", "d_t", "kind", "width", "d", "millions"),
    [
        (DINOV2_L, GTE, LinearHead, {}, 1024, "3.15"),
        (DINOV2_L, GTE, LinearHead, {}, 2048, "6.30"),
        (DINOV2_L, GTE, GatedHead, {"width": 4}, 1024, "54.6"),
        (DINOV2_L, GTE, GatedHead, {"width": 8}, 1024, "109.1"),
        (DINOV2_L, NV2, GatedHead, {"width": 8}, 1024, "386.0"),
        (DINOV2_B, NV2, GatedHead, {"width": 8}, 1024, "352.4"),
    ],
)
def test_sails_sizes(d_i, d_t, kind, width, d, millions):
    with torch.device("meta"):
        sides = (kind(d_in, d, layer_norm=True, **width) for d_in in (d_i, d_t))
        head = AlignmentHead(*sides, logit_scale=20.0, logit_bias=-10.0)
    counted = sum(parameter.numel() for parameter in head.parameters()) / 1e6
    assert f"{counted:.{len(millions.partition('.')[2])}f}" == millions


def test_linear_head_is_its_projector():
    head, x = drawn(LinearHead(5, 3)), rows(7, 5)
    assert torch.allclose(head(x), head.projector()(x), atol=1e-15)
    assert head.projection is head
    assert LinearHead(5, 3, bias=False).projector().bias is None


def test_linear_head_commutes_with_averaging():
    head, x = drawn(LinearHead(5, 3)), rows(2, 9, 5)
    assert torch.allclose(head(x).mean(1), head(x.mean(1)), atol=1e-13)


def test_a_linear_head_is_stored_as_before():
    assert list(LinearHead(5, 3).state_dict()) == ["weight", "bias"]
    assert list(LinearHead(5, 3, bias=False).state_dict()) == ["weight"]
    assert set(LinearHead(5, 3, layer_norm=True).state_dict()) == {"weight", "bias", "norm.weight", "norm.bias"}
    torch.manual_seed(0)
    ours = LinearHead(5, 3)
    torch.manual_seed(0)
    assert torch.equal(ours.weight, torch.nn.Linear(5, 3).weight)  # recipes draw the same heads as before


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (LinearHead(5, 3, layer_norm=True), "LayerNorm stands in front, which divides each row"),
        (MLPHead(5, 3), "GELU"),
        (GatedHead(5, 3), "multiplied by a gate"),
    ],
)
def test_what_is_no_matrix_says_why(head, reason):
    projector = head.projector()
    assert (projector.kind, projector.weight) == ("none", None)
    assert reason in projector.reason
    assert getattr(head, "projection", None) is None


def test_a_layer_norm_is_in_fact_no_matrix():
    """Twice the features are not twice the output, and patches do not average to the image."""
    head, x = drawn(LinearHead(5, 3, layer_norm=True)), rows(2, 9, 5)
    assert torch.allclose(head(1e3 * x), head(x), atol=1e-3)
    assert not torch.allclose(head(x).mean(1), head(x.mean(1)), atol=0.1)


@pytest.mark.parametrize("kind", LEARNED)
def test_a_copy_gives_the_same_and_gradients_reach_all(kind):
    head, x = drawn(kind(7, 5, layer_norm=True)), rows(9, 7)
    assert torch.equal(copy.deepcopy(head)(x), head(x))
    head(x).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in head.parameters())


def test_half_precision_does_not_overflow_in_the_product():
    head = GatedHead(4, 2, 1).half()
    for layer in (head.gate, head.value):
        torch.nn.init.constant_(layer.weight, 1000.0)
    torch.nn.init.constant_(head.out.weight, 1.0)
    assert torch.equal(head(torch.ones(1, 4, dtype=torch.float16)), torch.full((1, 2), 24e3, dtype=torch.float16))


@pytest.mark.parametrize("kind", LEARNED)
@pytest.mark.parametrize(
    ("d_in", "d_out", "error", "message"),
    [
        (0, 4, ValueError, "d_in=0; give a whole number from 1 on"),
        (4, -1, ValueError, "d_out=-1"),
        (4.0, 4, TypeError, "d_in is float 4.0; give a whole number"),
        (4, "8", TypeError, "d_out is str '8'"),
        (True, 4, TypeError, "d_in is bool True"),
    ],
)
def test_widths_that_are_none(kind, d_in, d_out, error, message):
    with pytest.raises(error, match=message):
        kind(d_in, d_out)


@pytest.mark.parametrize("kind", [MLPHead, GatedHead])
@pytest.mark.parametrize(("width", "error"), [(0, ValueError), (-8, ValueError), (1.5, TypeError), (True, TypeError)])
def test_width_factors_that_are_none(kind, width, error):
    with pytest.raises(error, match=r"width( is|=)"):
        kind(4, 4, width)


def test_conse_takes_only_the_likeliest_classes():
    prototypes = torch.eye(4)
    head = ConseHead(torch.eye(4) * 10, torch.zeros(4), prototypes, k=1)
    out = head(torch.tensor([[0.0, 1, 0, 0]]))
    assert out.argmax() == 1
    assert (out > 0).sum() == 1


def test_conse_needs_one_text_per_class():
    with pytest.raises(ValueError, match="4 classes but 3 prototypes"):
        ConseHead(torch.eye(4), torch.zeros(4), torch.zeros(3, 2))


def test_a_bias_of_the_logits_is_a_parameter_only_where_it_is_asked_for():
    sides = (Identity(3), Identity(3))
    assert list(AlignmentHead(*sides).state_dict()) == ["log_scale"]
    head = AlignmentHead(*sides, logit_scale=20.0, logit_bias=-10)
    assert head.state_dict()["logit_bias"] == torch.tensor(-10.0)
    assert {name for name, _ in head.named_parameters()} == {"log_scale", "logit_bias"}
