"""The stand-in for an attention pool's MLP: right where its two approximations hold, and the right way round."""

import pytest
import torch
from torch import nn

from workbench.models.linearise import residual_mlp


class Affine(nn.Module):
    """LayerNorm without its mean and deviation."""

    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, x):
        return x * self.norm.weight + self.norm.bias


@pytest.fixture
def parts():
    torch.manual_seed(0)
    norm, fc1, fc2 = nn.LayerNorm(6), nn.Linear(6, 10), nn.Linear(10, 6)
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    return norm, fc1, fc2


def test_equals_the_head_where_gelu_is_half_and_the_norm_affine(parts):
    norm, fc1, fc2 = parts
    x = torch.randn(5, 6)
    head = x + fc2(0.5 * fc1(Affine(norm)(x)))
    projector = residual_mlp(*parts)
    assert projector.kind == "linearised"
    assert torch.allclose(projector(x), head, atol=1e-6)


def test_the_transpose_would_be_wrong(parts):
    norm, fc1, fc2 = parts
    x, projector = torch.randn(5, 6), residual_mlp(*parts)
    head = x + fc2(0.5 * fc1(Affine(norm)(x)))
    assert not torch.allclose(x @ projector.weight + projector.bias, head, atol=0.1)


def test_is_the_slope_of_the_real_head_at_zero(parts):
    """Without the norm, the derivative of the head at fc1's zero is the projector's weight."""
    _, fc1, fc2 = parts
    fc1.bias.data.zero_()
    norm = nn.LayerNorm(6)
    slope = torch.autograd.functional.jacobian(lambda x: x + fc2(nn.functional.gelu(fc1(x))), torch.zeros(6))
    assert torch.allclose(residual_mlp(norm, fc1, fc2).weight, slope, atol=1e-6)
