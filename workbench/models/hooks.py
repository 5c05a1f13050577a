"""Seeing what passes inside a model without patching it."""

from __future__ import annotations

from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def inputs_of(module: nn.Module | None):
    """What the module is called with while the context is open; nothing is seen of a module that is not there."""
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, args: seen.append(args[0])) if module is not None else None
    try:
        yield seen
    finally:
        if handle is not None:
            handle.remove()
