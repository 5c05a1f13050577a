"""Projectors and features in which the middle band is right by construction: where IsoCLIP must win, if it is built right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Planted:
    """W_i (d, d_i), W_t (d, d_t), features pre (N, d_i) with labels (N,), and the band that holds the classes."""

    W_i: Tensor
    W_t: Tensor
    pre: Tensor
    labels: np.ndarray
    k_top: int
    k_bottom: int


def planted(
    d: int = 32, d_in: int = 48, *, classes: int = 30, each: int = 20, k_top: int = 8, k_bottom: int = 8, seed: int = 0
) -> Planted:
    """Classes lie in directions k_top … d - k_bottom - 1 of Psi; those before and after carry strong class-free signals.

    W_i = A G U^T and W_t = A G^-1 S V^T with a random rotation A and gains G in random order, so that W_i^T W_t = U S V^T with S
    falling from 1 to 0.05, while neither projector alone shows that order. Winning here shows that the method is built right,
    nothing about trained models. float64. The trap: Psi is d_in wide and of rank d, and the band counts from the rank:
    decompose(…, rank="numerical"). Raises ValueError for a band that leaves nothing, d above d_in, or labels that come once.
    """
    if min(k_top, k_bottom) < 0 or not 0 < k_top + k_bottom < d <= d_in:
        raise ValueError(f"k_top={k_top}, k_bottom={k_bottom}, d={d}, d_in={d_in}; needs k_top + k_bottom < d ≤ d_in")
    if classes < 2 or each < 2:
        raise ValueError(f"classes={classes}, each={each}; needs two classes of two items or more")
    generator = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=generator)  # noqa: E731
    rotation = lambda rows, columns: torch.linalg.qr(normal(rows, columns)).Q  # noqa: E731
    A, U, V = rotation(d, d), rotation(d_in, d), rotation(d_in, d)
    S = torch.linspace(1, 0.05, d, dtype=torch.float64)
    gains = S.sqrt()[torch.randperm(d, generator=generator)]
    labels = np.arange(classes * each) % classes
    middle = d - k_top - k_bottom
    inside = normal(classes, middle)[labels] + 0.8 * normal(len(labels), middle)
    coordinates = torch.cat([6 * normal(len(labels), k_top), inside, 6 * normal(len(labels), k_bottom)], 1)
    return Planted((A * gains) @ U.T, (A * (S / gains)) @ V.T, coordinates @ U.T, labels, k_top, k_bottom)
