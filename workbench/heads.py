"""What is trained on top of frozen towers: maps from a tower's feature space into the joint space."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.features import Projector


class LinearHead(nn.Linear):
    """An affine map (…, d_in) → (…, d_out), and therefore an exact projector.

    It commutes with averaging: the head on the mean of patches is the mean of the head on patches.
    """

    @property
    def projection(self) -> LinearHead:
        """What holds the projector's weight; a head without it takes no other."""
        return self

    def projector(self) -> Projector:
        bias = None if self.bias is None else self.bias.detach()
        return Projector(self.weight.detach(), bias)


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
        return Projector(None, kind="none", reason="ConSE goes through a softmax over classes, which is not linear")


class Identity(nn.Identity):
    """The tower's own space is the joint space: a projector with an identity weight."""

    def __init__(self, d: int):
        super().__init__()
        self.d = d

    def projector(self) -> Projector:
        return Projector(torch.eye(self.d))
