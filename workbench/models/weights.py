"""Weights, however they were stored: their identity, and whether they are whole."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def weights_digest(model: nn.Module) -> str:
    """sha256 over every tensor by name, first 16 hex digits: the same for the same weights in any file format."""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        raw = value.detach().cpu().contiguous().view(-1).view(torch.uint8)
        digest.update(key.encode() + raw.numpy().tobytes())
    return digest.hexdigest()[:16]


def check_finite(name: str, model: nn.Module) -> None:
    """Raises ValueError that names the first weight with a NaN or an infinity."""
    for key, value in model.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(
                f"weight {key!r} of {name} has NaN or infinite entries; the checkpoint is damaged, get it again"
            )
