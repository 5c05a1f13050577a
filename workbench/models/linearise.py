"""Heads that are not a matrix: the residual MLP behind an attention pool (SigLIP, PE), as its first-order stand-in."""

from __future__ import annotations

import torch
from torch import nn

from workbench.features import Projector

GELU_SLOPE = 0.5  # the derivative of GELU at 0


def residual_mlp(norm: nn.LayerNorm, fc1: nn.Linear, fc2: nn.Linear) -> Projector:
    """`x + fc2(gelu(fc1(norm(x))))` with GELU replaced by 0.5 x and the norm by its affine part (IsoCLIP's treatment).

    W = I + 0.5 W2 W1 diag(gamma), b = 0.5 W2 (W1 beta + b1) + b2, both in (out, in) layout: `x W^T + b`. The trap: the
    published code of IsoCLIP (arXiv 2603.19862) uses W transposed, which square matrices hide. The norm's mean and
    standard deviation are dropped, so this says which directions pass, not how far they get.
    """
    gamma, beta, w1, b1, w2, b2 = (
        p.detach().float() for p in (norm.weight, norm.bias, *fc1.parameters(), *fc2.parameters())
    )
    weight = torch.eye(len(gamma), device=gamma.device) + GELU_SLOPE * (w2 @ w1) * gamma
    bias = GELU_SLOPE * (w2 @ (w1 @ beta + b1)) + b2
    return Projector(
        weight, bias, "linearised", "an attention pool's residual MLP, GELU at slope 0.5, LayerNorm as affine"
    )
