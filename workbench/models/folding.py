"""Other projection weights in a model: what was found out about its joint space, at no cost when features are made.

The copy has the modules, shapes and names of the original, only other numbers; its state dict fits the same folder.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from workbench.features import Projector
from workbench.models.dual_encoder import DualEncoder
from workbench.models.paired import PairedEncoder
from workbench.models.reading import Projection, ReadEncoder

SUFFIX = " (projectors folded)"


def fold(
    model: DualEncoder, *, image: Projector | None = None, text: Projector | None = None, note: str = ""
) -> DualEncoder:
    """A copy of `model` whose projection weights are those given; a side left out stays as it is.

    `image`: weight (d, d_i), `text`: weight (d, d_t), each with a bias (d,) exactly where the model has one. The copy's card
    has the suffix "(projectors folded)", a digest of its own and `note` (or which sides were replaced) among its notes. The
    original keeps its numbers; for a while both are in memory. Raises TypeError or ValueError for a side without an exact
    projector whose weight can be replaced, and for a weight or bias that does not fit, is not finite, or overflows the
    model's dtype. The trap: the weights are rounded to that dtype.
    """
    given = {side: each for side, each in (("image", image), ("text", text)) if each is not None}
    _check_call(model, given, note)
    for side, projector in given.items():
        _check_side(model, side)
        _check_projector(model, side, projector)
    folded = copy.deepcopy(model)
    for side, projector in given.items():
        _write(folded.projection(side), projector)
    name = model.name.removesuffix(SUFFIX) + SUFFIX
    said = note or f"other weights in the {' and '.join(given)} projector{'s' * (len(given) - 1)}"
    folded.card = replace(model.card, name=name, digest=folded.digest(), notes=(*model.card.notes, said))
    return folded


def _write(layer: Projection, projector: Projector) -> None:
    with torch.no_grad():
        if not isinstance(layer, nn.Linear):
            layer.copy_(projector.weight.T)
            return
        layer.weight.copy_(projector.weight)
        if layer.bias is not None:
            layer.bias.copy_(projector.bias)


def _check_call(model: DualEncoder, given: dict[str, Projector], note: str) -> None:
    if not isinstance(model, (ReadEncoder, PairedEncoder)):
        raise TypeError(f"fold takes a loaded model, not {type(model).__name__} {model!r:.80}; load it with load_model")
    if not given:
        raise ValueError(
            f"image=None and text=None leave {model.name} as it is; give a Projector for one side or for both"
        )
    for side, projector in given.items():
        if not isinstance(projector, Projector):
            raise TypeError(f"{side} is a {type(projector).__name__}; give a Projector(weight, bias)")
    if not isinstance(note, str):
        raise TypeError(f"note is {type(note).__name__} {note!r:.80}; give a sentence for the card, or leave it out")
    if any(p.is_meta for p in model.module.parameters()):
        raise ValueError(f"{model.name} is a skeleton without weights; load it with load_model first")


def _check_side(model: DualEncoder, side: str) -> None:
    """Raises ValueError where a side has no weight of its own that could be another."""
    own = _projector(model, side)
    if own.kind != "exact":
        raise ValueError(
            f"the {side} projector of {model.name} is {own.kind!r}: {own.reason}. No weight of the model takes another one; "
            "use `projector(pre)` on the features instead"
        )
    layer = model.projection(side)
    if not isinstance(layer, Projection):
        head = type(getattr(model.head, side)).__name__
        raise ValueError(
            f"the {side} head of {model.name} ({head}) holds no weight that could be another; put LinearHeads there: "
            "pair(…, AlignmentHead(LinearHead(d_i, d), LinearHead(d_t, d)))"
        )
    _check_alone(model, side, layer)


def _check_alone(model: DualEncoder, side: str, layer: Projection) -> None:
    """Raises ValueError for a weight that stands elsewhere in the model too, or that is computed from others."""
    parts = (layer.weight, layer.bias) if isinstance(layer, nn.Linear) else (layer,)
    everything = list(model.module.named_parameters(remove_duplicate=False))
    for part in parts:
        names = [name for name, p in everything if p is part]
        if part is None or len(names) == 1:
            continue
        why = (
            f"stands in {' and '.join(names)}; give each a copy"
            if names
            else "is computed; take its parametrization off"
        )
        raise ValueError(f"a weight of the {side} projector of {model.name} cannot be replaced alone: it {why}")


def _check_projector(model: DualEncoder, side: str, projector: Projector) -> None:
    """Raises ValueError or TypeError for what cannot stand where the model's own projector stands."""
    if projector.weight is None:
        raise ValueError(f"{side} is a Projector without a weight ({projector.reason}); give one that has a weight")
    own = _projector(model, side)
    _check_values(f"the {side} weight", projector.weight, own.weight.shape, model)
    if (projector.bias is None) != (own.bias is None):
        there, wanted = ("no bias", "give one without") if own.bias is None else ("a bias", "give it, zeros for none")
        raise ValueError(
            f"the {side} Projector has {'no' if projector.bias is None else 'a'} bias and {model.name} has {there} there; "
            f"{wanted}"
        )
    if own.bias is not None:
        _check_values(f"the {side} bias", projector.bias, own.bias.shape, model)


def _check_values(what: str, value: Tensor, shape: torch.Size, model: DualEncoder) -> None:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{what} is {kind}; give a torch tensor of floats")
    if value.shape != shape:
        raise ValueError(f"{what} is {tuple(value.shape)}; that of {model.name} is {tuple(shape)}, give the same shape")
    if not torch.isfinite(value).all():
        raise ValueError(f"{what} has NaN or infinite entries; compute it again from finite features and weights")
    if not torch.isfinite(value.to(model.dtype)).all():
        dtype = str(model.dtype).removeprefix("torch.")
        raise ValueError(
            f"{what} has an entry of {value.abs().max().item():.3g}, and {model.name} is in {dtype}, which ends at "
            f"{torch.finfo(model.dtype).max:.6g}; load the model with dtype='float32'"
        )


def _projector(model: DualEncoder, side: str) -> Projector:
    return model.image_projector if side == "image" else model.text_projector
