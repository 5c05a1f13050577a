"""What the last layer's attention weighs, without keeping any other layer's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def last_attention(model: nn.Module, name: str) -> Iterator[list[Tensor]]:
    """The last layer's attention weights, (B, heads, T, T), one entry for every pass within.

    Fused kernels never form them, so the model computes attention step by step meanwhile. Raises ValueError for a last layer
    without attention.
    """
    layers = getattr(model.get_decoder(), "layers", None)
    attention = getattr(layers[-1], "self_attn", None) if layers else None
    if attention is None:
        raise ValueError(f"the last layer of {name} shows no attention (it may be no plain transformer layer)")
    seen: list[Tensor] = []
    before = model.config._attn_implementation
    hook = attention.register_forward_hook(lambda _, __, out: seen.append(out[1]))
    try:
        model.set_attn_implementation("eager")
        yield seen
    finally:
        model.set_attn_implementation(before)
        hook.remove()
