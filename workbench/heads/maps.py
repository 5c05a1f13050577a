"""Maps from a tower's feature space into the joint space."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.features import Projector
from workbench.heads.widths import whole

CLIP = 1e3  # SAIL's bound on what enters the gate's product: 6 · 1e3 still fits into float16


class LinearHead(nn.Linear):
    """An affine map (…, d_in) → (…, d_out), and therefore an exact projector.

    It commutes with averaging: the head on the mean of patches is the mean of the head on patches. `layer_norm=True` puts a
    LayerNorm in front, which makes it the layer that SAIL probes alignment with (Zhang et al. 2025, arXiv 2412.04616) and
    takes both properties away. Raises TypeError or ValueError for a width that is no whole number from 1 on.
    """

    def __init__(self, d_in: int, d_out: int, bias: bool = True, *, layer_norm: bool = False):
        super().__init__(*whole(d_in=d_in, d_out=d_out), bias=bias)
        self.norm = _front(d_in, layer_norm)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.norm(x))

    @property
    def projection(self) -> LinearHead | None:
        """What holds the projector's weight; a head without it takes no other."""
        return None if isinstance(self.norm, nn.LayerNorm) else self

    def projector(self) -> Projector:
        if isinstance(self.norm, nn.LayerNorm):
            return _no_matrix(
                "a LayerNorm stands in front, which divides each row by that row's own standard deviation"
            )
        bias = None if self.bias is None else self.bias.detach()
        return Projector(self.weight.detach(), bias)


class MLPHead(nn.Module):
    """One hidden layer of width · d_in under GELU: (…, d_in) → (…, d_out); SAIL's `mlp` (arXiv 2412.04616).

    SAIL has width 4 and a LayerNorm in front: give `layer_norm=True`. Weights start Xavier-uniform and biases at 0, as
    those of `GatedHead`, so that a comparison of the two is one of the gate. Errors as for `LinearHead`.
    """

    def __init__(self, d_in: int, d_out: int, width: int = 4, *, layer_norm: bool = False):
        super().__init__()
        d_in, d_out, width = whole(d_in=d_in, d_out=d_out, width=width)
        self.norm = _front(d_in, layer_norm)
        self.hidden = _xavier(d_in, width * d_in)
        self.out = _xavier(width * d_in, d_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.gelu(self.hidden(self.norm(x))))

    def projector(self) -> Projector:
        return _no_matrix("a hidden layer goes through GELU, which is not linear")


class GatedHead(nn.Module):
    """SAIL's gated layer (Zhang et al. 2025, arXiv 2412.04616, "GLU × 8"): (…, d_in) → (…, d_out).

    `out = W3 (ReLU6(a) ⊙ b) + b3` with `a = clip(W1 h + b1)`, `b = clip(W2 h + b2)` to ±1e3 and h = x, or LayerNorm(x) with
    `layer_norm=True`, which SAIL has. One block without a residual; hidden width m = width · d_in, of d_in and not of d_out.
    W1, W2, W3 are `gate`, `value`, `out`; weights start Xavier-uniform, biases at 0. The traps: "× 8" counts widths and not
    layers, the gate is no sigmoid, and with two large towers the head is larger than many a tower. A NaN goes through:
    looking for it here would make a GPU wait at every step, and `training.train` refuses a loss that has one. Errors as for
    `LinearHead`.
    """

    def __init__(self, d_in: int, d_out: int, width: int = 8, *, layer_norm: bool = False):
        super().__init__()
        d_in, d_out, width = whole(d_in=d_in, d_out=d_out, width=width)
        self.norm = _front(d_in, layer_norm)
        self.gate = _xavier(d_in, width * d_in)
        self.value = _xavier(d_in, width * d_in)
        self.out = _xavier(width * d_in, d_out)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        # In place, for these are the largest tensors of a training step. Clipping a first would change nothing: ReLU6 is
        # flat from 6 on, in its value and in its gradient.
        gate = F.relu6(self.gate(h), inplace=True)
        value = F.hardtanh(self.value(h), -CLIP, CLIP, inplace=True)
        return self.out(gate * value)

    def projector(self) -> Projector:
        return _no_matrix("a hidden layer is multiplied by a gate of the same features, which is not linear")


class ConseHead(nn.Module):
    """Training-free ConSE (Norouzi et al. 2014, arXiv 1312.5650): class posteriors weigh the texts of the k likeliest classes.

    `forward(x (…, d_in))` = sum over the k largest p_c of softmax(x W^T + b) of p_c · prototype_c, (…, d). The prototypes
    (C, d) are unit-norm text embeddings of the classes. The softmax is not linear, so patches do not average to the
    image and there is no projector.
    """

    def __init__(self, weight: Tensor, bias: Tensor, prototypes: Tensor, k: int = 10):
        super().__init__()
        if len(weight) != len(prototypes):
            raise ValueError(f"{len(weight)} classes but {len(prototypes)} prototypes; give one text per class")
        self.k = k
        for name, value in (("weight", weight), ("bias", bias), ("prototypes", prototypes)):
            self.register_buffer(name, value.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        posterior, classes = (x @ self.weight.T + self.bias).softmax(-1).topk(self.k)  # (…, k)
        return (posterior[..., None] * self.prototypes[classes]).sum(-2)

    def projector(self) -> Projector:
        return _no_matrix("ConSE goes through a softmax over classes, which is not linear")


class Identity(nn.Identity):
    """The tower's own space is the joint space: a projector with an identity weight."""

    def __init__(self, d: int):
        super().__init__()
        self.d = d

    def projector(self) -> Projector:
        return Projector(torch.eye(self.d))


def _front(d_in: int, layer_norm: bool) -> nn.Module:
    """What a head's features pass first: SAIL's LayerNorm, which starts at scale 1 and shift 0, or nothing."""
    return nn.LayerNorm(d_in, eps=1e-5) if layer_norm else nn.Identity()


def _xavier(d_in: int, d_out: int) -> nn.Linear:
    layer = nn.Linear(d_in, d_out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _no_matrix(reason: str) -> Projector:
    return Projector(None, kind="none", reason=reason)
