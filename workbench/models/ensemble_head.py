"""Several heads side by side: one joint space in which the cosine is the weighted sum of their cosines."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.features import Projector


class EnsembleHead(nn.Module):
    """Heads (…, d_in) → (…, d_k) → (…, sum d_k): each output of unit length, times the root of its share, one after another.

    With an ensemble of the same shares on both sides, a cosine is sum over k of share_k · cos_k. The shares are scaled to
    add up to 1, so every output has length 1. Cells and words go through the same map one by one; because each is brought
    to unit length, they do not average to the whole and there is no projector. Raises ValueError for no heads, shares
    that are not one positive number a head, or heads of other widths in.
    """

    def __init__(self, heads: Sequence[nn.Module], shares: Sequence[float]):
        super().__init__()
        shares = [float(share) for share in shares]
        if not heads or len(heads) != len(shares):
            raise ValueError(
                f"{len(heads)} heads and {len(shares)} shares; give one share a head, and at least one head"
            )
        if not all(0 < share < math.inf for share in shares):
            raise ValueError(
                f"shares are {shares}; give positive numbers, and leave out a head that counts for nothing"
            )
        self.heads = nn.ModuleList(heads)
        self.shares = tuple(share / sum(shares) for share in shares)

    def forward(self, x: Tensor) -> Tensor:
        parts = zip(self.heads, self.shares, strict=True)
        return torch.cat([math.sqrt(share) * F.normalize(head(x), dim=-1) for head, share in parts], dim=-1)

    def projector(self) -> Projector:
        return Projector(
            None, kind="none", reason="an ensemble brings each of its parts to unit length, which is not linear"
        )
