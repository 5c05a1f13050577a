"""What a run of alignment is: every choice a field."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from math import isfinite
from numbers import Integral

from torch import nn

from workbench.heads import GatedHead, LinearHead, MLPHead
from workbench.models.paired import AlignmentHead
from workbench.optim import OPTIMISERS

HEADS = ("linear", "mlp", "gated")
LOSSES = ("sigmoid", "infonce")
_CHOICES = {
    "head": HEADS,
    "loss": LOSSES,
    "reduction": ("pairs", "batch"),
    "captions": (1, 2),
    "multi_positive": ("sum", "half"),
    "optimiser": OPTIMISERS,
}


@dataclass(frozen=True)
class AlignConfig:
    """SAIL's main run where it is known (arXiv 2412.04616); `steps` is ours, its number of epochs is not settled.

    `head` "linear", "mlp" or "gated" of `width` times d_in, LayerNorm in front; `d` the joint width. `captions` 2 gives every
    picture a second caption set, `multi_positive` "sum" as in the paper or "half" as in its code. `warmup` None: a tenth of
    the steps. `patience`: how many validations without a better recall end the run; None: none do. At this rate (1e-5) a
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
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r}; choose one of {', '.join(map(str, allowed))}")
        for name in ("width", "d", "batch_size", "steps", "every"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
                raise ValueError(f"{name}={value!r}; give a whole number from 1 on")
        for name in ("learning_rate", "logit_scale"):
            if not isfinite(getattr(self, name)) or getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)!r}; give a number above 0")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience={self.patience!r}; give 1 or more validations, or None")

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
