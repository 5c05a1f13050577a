"""What a run of alignment is: every choice a field."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from math import isfinite
from numbers import Integral, Real

from torch import nn

from workbench.heads import GatedHead, LinearHead, MLPHead
from workbench.models.paired import AlignmentHead
from workbench.optim import OPTIMISERS

HEADS = ("linear", "mlp", "gated")
LOSSES = ("sigmoid", "infonce")
LARGEST_SCALE = 100
_CHOICES = {
    "head": HEADS,
    "loss": LOSSES,
    "reduction": ("pairs", "batch"),
    "captions": (1, 2),
    "multi_positive": ("sum", "half"),
    "optimiser": OPTIMISERS,
}
_WHOLE = {"width": 1, "d": 1, "batch_size": 2, "steps": 1, "every": 1, "warmup": 0, "patience": 1, "seed": 0}
_MAY_BE_NONE = ("warmup", "patience")
_NUMBERS = {
    "learning_rate": (lambda x: x > 0, "a number above 0"),
    "weight_decay": (lambda x: x >= 0, "a number from 0 on"),
    "logit_scale": (
        lambda x: 1 <= x <= LARGEST_SCALE,
        f"a number from 1 to {LARGEST_SCALE}, within which training keeps it",
    ),
    "logit_bias": (lambda x: True, "a number, such as -10"),
}


@dataclass(frozen=True)
class AlignConfig:
    """SAIL's main run where it is known (arXiv 2412.04616); `steps` is ours, its number of epochs is not settled.

    `head` "linear", "mlp" or "gated" of `width` times d_in, LayerNorm in front; `d` the joint width. `captions` 2 gives every
    picture a second caption set, `multi_positive` "sum" as in the paper or "half" as in its code. `warmup` None: a tenth of
    the steps. `patience`: how many validations in a row below the best recall end the run; None: none do. At this rate (1e-5) a
    small set learns nothing in an afternoon: 1e-3 is usual there, which is another regime, in which scale and bias move.
    """

    head: str = "gated"
    width: int = 8
    d: int = 1024
    layer_norm: bool = True
    loss: str = "sigmoid"
    reduction: str = "pairs"
    captions: int = 1
    multi_positive: str = "sum"
    batch_size: int = 32768
    steps: int = 7000
    optimiser: str = "lion"
    learning_rate: float = 1e-5
    weight_decay: float = 1e-4
    warmup: int | None = None
    logit_scale: float = 20.0
    logit_bias: float = -10.0
    seed: int = 0
    every: int = 200
    patience: int | None = None

    def __post_init__(self):
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed or isinstance(value, (bool, float)):  # True and 1.0 are equal to 1 and no count
                raise ValueError(f"{name}={value!r}; choose one of {', '.join(map(str, allowed))}")
        for name, least in _WHOLE.items():
            value = getattr(self, name)
            if not (_is(Integral, value) and value >= least) and not (value is None and name in _MAY_BE_NONE):
                none = ", or None" if name in _MAY_BE_NONE else ""
                raise ValueError(f"{name}={value!r}; give a whole number from {least} on{none}")
        for name, (fits, words) in _NUMBERS.items():
            value = getattr(self, name)
            if not (_is(Real, value) and isfinite(value) and fits(value)):
                raise ValueError(f"{name}={value!r}; give {words}")
        if not isinstance(self.layer_norm, bool):
            raise ValueError(f"layer_norm={self.layer_norm!r}; choose True or False")

    @classmethod
    def from_json(cls, stored: dict) -> AlignConfig:
        """From a configuration file. Raises ValueError for a field that does not exist."""
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(stored) - set(known)):
            raise ValueError(f"no field {unknown[0]!r} in a configuration; there are {', '.join(known)}")
        return cls(**stored)

    def to_json(self) -> dict:
        return asdict(self)

    def build(self, d_i: int, d_t: int) -> AlignmentHead:
        """The untrained head for towers of these widths, from torch's random state. InfoNCE has no use for a bias."""
        bias = self.logit_bias if self.loss == "sigmoid" else None
        sides = (self._side(width) for width in (d_i, d_t))
        return AlignmentHead(*sides, logit_scale=self.logit_scale, logit_bias=bias)

    def _side(self, d_in: int) -> nn.Module:
        if self.head == "linear":
            return LinearHead(d_in, self.d, layer_norm=self.layer_norm)
        kind = MLPHead if self.head == "mlp" else GatedHead
        return kind(d_in, self.d, self.width, layer_norm=self.layer_norm)


def _is(kind: type, value) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
