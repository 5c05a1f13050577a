"""Between two sets of weights: WiSE-FT (Wortsman et al., arXiv 2109.01903), which trades what was learnt for what was known."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workbench.fine_tuning.adapters import holds_adapters

if TYPE_CHECKING:
    from workbench.models.dual_encoder import DualEncoder


def interpolate(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], alpha: float, *, factors: bool = False
) -> dict[str, Tensor]:
    """(1 - alpha) before + alpha after, name by name, in float32 or wider and then in the dtype of `after`; new tensors.

    0 gives `before` and 1 gives `after` to the bit, and what both share keeps its bits everywhere; whole numbers and booleans
    between come from `after`. `factors=True` is the path of FSC-CLIP's code for LoRA, which scales A and B each by alpha
    (arXiv 2410.05210): their product, merged here, then moves by alpha². Same ends, other steps.
    Raises ValueError for an alpha outside 0 to 1, and for other names or shapes.
    """
    share = _share(alpha) ** 2 if factors else _share(alpha)
    _check_same(before, after)
    if share in (0, 1):
        return {name: (after if share else before)[name].detach().clone() for name in after}
    return {name: _between(before[name].detach(), value.detach(), share) for name, value in after.items()}


def wise_ft(before: DualEncoder, after: DualEncoder, alpha: float, *, factors: bool = False) -> DualEncoder:
    """A new model with the weights of `interpolate`; neither of the two changes. For a while three are in memory.

    Raises ValueError as `interpolate` does, for another activation, and for adapters that were not merged.
    """
    for model in (before, after):
        if holds_adapters(model.module):
            raise ValueError(f"{model.name} still holds adapters; fold them in with merge() on what prepare returned")
    if before.card.activation != after.card.activation:
        raise ValueError(
            f"{before.name} uses {before.card.activation} and {after.name} {after.card.activation}: another architecture; "
            "give a model and what was tuned from it"
        )
    weights = interpolate(before.module.state_dict(), after.module.state_dict(), alpha, factors=factors)
    between = copy.deepcopy(after)
    between.module.load_state_dict(weights)
    between.card = replace(
        after.card,
        name=f"{before.name} → {after.name} at {alpha:g}",
        digest=between.digest(),
        notes=(*after.card.notes, _note(before, after, alpha, factors)),
    )
    return between


def _share(alpha: float) -> float:
    if isinstance(alpha, bool) or not isinstance(alpha, Real) or not 0 <= alpha <= 1:
        raise ValueError(f"alpha={alpha!r}; give a number from 0 (before) to 1 (after)")
    return float(alpha)


def _check_same(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> None:
    only = next((name for name in (*before, *after) if (name in before) != (name in after)), None)
    if only is not None:
        side = "before" if only in before else "after"
        raise ValueError(
            f"{only!r} is among the weights {side} only: another architecture; give a model and what was tuned from it"
        )
    for name, value in after.items():
        if value.shape != before[name].shape:
            raise ValueError(
                f"{name!r} is {tuple(before[name].shape)} before and {tuple(value.shape)} after: another architecture; "
                "give a model and what was tuned from it"
            )


def _between(before: Tensor, after: Tensor, share: float) -> Tensor:
    """lerp, and not the sum as it is written: where both are equal the sum would round."""
    if not after.is_floating_point():
        return after.clone()
    wide = torch.promote_types(torch.promote_types(before.dtype, after.dtype), torch.float32)
    return torch.lerp(before.to(after.device, wide), after.to(wide), share).to(after.dtype)


def _note(before: DualEncoder, after: DualEncoder, alpha: float, factors: bool) -> str:
    way = ", LoRA's factors each (the update by alpha²)" if factors else ""
    return f"weights between {before.name} and {after.name} at alpha {alpha:g}{way} (WiSE-FT, arXiv 2109.01903)"
