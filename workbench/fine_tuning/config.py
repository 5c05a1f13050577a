"""What a fine-tuning run is: every choice a field, with FSC-CLIP's values where the paper has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import isfinite
from numbers import Integral, Real
from typing import get_args

from workbench.data.negatives import chosen_operators
from workbench.matching.weights import Normalizer
from workbench.optim import warm_cosine

LOSSES = ("clip", "negclip", "fsc")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class FineTuneConfig:
    """One run of `fine_tune`; the fields' values are FSC-CLIP's (arXiv 2410.05210, section 4) for ViT-B/32.

    `loss`: "clip" without negatives, "negclip", or "fsc" = L_clip + global_weight · L_neg^g + local_weight · L_neg^l, each with
    gamma and smoothing; a weight of 0 leaves its term out. `k` operators of `operators` (none: all of `data.negatives`) make a
    negative each, anew at every step. `parts`: "full", "lora" of `rank` and `alpha`, or one tower alone ("image", "text").

    `batch_size` pictures contrast with each other; `micro_batch` of them are in memory at a time. `steps`, or else `epochs`;
    the rate rises for `warmup` steps and falls to 0 along half a cosine. `precision` "bfloat16" is autocast. The paper trains
    LoRA at 5e-5, ViT-B/16 with batches of 128 and larger models with local_weight 0.5.

    Raises ValueError for values outside what each allows.
    """

    loss: str = "fsc"
    k: int = 3
    operators: tuple[str, ...] = ()
    global_weight: float = 0.5
    local_weight: float = 0.2
    gamma: float = 2.0
    smoothing: float = 0.02
    normalizer: str = "minmax"
    missing: str = "mask"
    parts: str = "full"
    rank: int = 4
    alpha: float = 1.0
    batch_size: int = 256
    micro_batch: int | None = None
    epochs: int = 5
    steps: int | None = None
    learning_rate: float = 5e-6
    weight_decay: float = 0.1
    warmup: int = 50
    precision: str = "float32"
    seed: int = 0
    every: int = 200

    def __post_init__(self):
        _check_choices(self)
        _check_numbers(self)
        if self.loss != "clip" and self.operators:
            chosen_operators(self.operators)

    @property
    def negatives(self) -> int:
        """How many negatives a caption gets."""
        return 0 if self.loss == "clip" else self.k

    @property
    def local(self) -> bool:
        return self.loss == "fsc" and self.local_weight > 0

    def to_json(self) -> dict:
        return {**asdict(self), "operators": list(self.operators)}

    @classmethod
    def from_json(cls, stored: Mapping) -> FineTuneConfig:
        """What `to_json` gave."""
        return cls(**{**stored, "operators": tuple(stored["operators"])})


def _check_choices(config: FineTuneConfig) -> None:
    from workbench.fine_tuning.adapters import PARTS

    allowed = {
        "loss": LOSSES,
        "parts": PARTS,
        "precision": PRECISIONS,
        "normalizer": get_args(Normalizer),
        "missing": ("mask", "zero"),
    }
    if not isinstance(config.operators, tuple):  # a name alone would be read letter by letter
        raise TypeError(f"operators={config.operators!r}; give a tuple of names, () for all")
    for name, options in allowed.items():
        if getattr(config, name) not in options:
            raise ValueError(f"{name}={getattr(config, name)!r}; choose one of {', '.join(options)}")


def _check_numbers(config: FineTuneConfig) -> None:
    check_counts(config, "batch_size", "micro_batch", "epochs", "steps", "warmup", "seed", "every", "rank")
    if config.loss != "clip" and (not isinstance(config.k, Integral) or isinstance(config.k, bool) or config.k < 1):
        raise ValueError(f"k={config.k!r} negatives for loss={config.loss!r}; give 1 or more, or loss='clip' for none")
    check_above_zero(config, "learning_rate", "alpha")
    check_from_zero(config, "global_weight", "local_weight", "gamma", "smoothing", "weight_decay")
    if config.smoothing >= 1:
        raise ValueError(f"smoothing={config.smoothing!r}; give a share below 1 (FSC-CLIP: 0.02)")
    if config.loss == "fsc" and not config.global_weight and not config.local_weight:
        raise ValueError("global_weight and local_weight are both 0; give one above 0, or loss='clip'")
    if config.steps is not None:
        warm_cosine(0, config.steps, min(config.warmup, config.steps))


LEAST = {"batch_size": 2, "warmup": 0, "seed": 0}  # of counts, 1 where nothing else is said


def check_counts(config, *names: str) -> None:
    """Raises ValueError for a field that is no whole number, or too small; None passes where it is the field's own value."""
    for name in names:
        value, low = getattr(config, name), LEAST.get(name, 1)
        if _left_out(config, name):
            continue
        if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
            why = ": one pair has nothing to be told from" if name == "batch_size" else ""
            raise ValueError(f"{name}={value!r}; give a whole number from {low} on{why}")


def check_above_zero(config, *names: str) -> None:
    """Raises ValueError for a field that is no finite number above 0; None passes where it is the field's own value."""
    for name in names:
        if not _left_out(config, name) and not (_finite(value := getattr(config, name)) and value > 0):
            raise ValueError(f"{name}={value!r}; give a number above 0")


def check_from_zero(config, *names: str) -> None:
    """Raises ValueError for a field that is no finite number of 0 or more."""
    for name in names:
        if not (_finite(value := getattr(config, name)) and value >= 0):
            raise ValueError(f"{name}={value!r}; give 0 or more")


def _left_out(config, name: str) -> bool:
    return getattr(config, name) is None and type(config).__dataclass_fields__[name].default is None


def _finite(value) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)


FSC = FineTuneConfig()
PLAIN = {"gamma": 0.0, "smoothing": 0.0}
SETTINGS: dict[str, FineTuneConfig] = {
    "1": replace(FSC, local_weight=0.0, **PLAIN),
    "2": replace(FSC, global_weight=0.0, **PLAIN),
    "3": replace(FSC, **PLAIN),
    "4": replace(FSC, smoothing=0.0),
    "5": replace(FSC, gamma=0.0),
    "6": FSC,
    "7": replace(FSC, local_weight=0.0),
    "8": replace(FSC, global_weight=0.0),
}
"""Table 2 of FSC-CLIP by its row: 1 global alone, 2 local alone, 3 both, 4 with focal, 5 with smoothing, 6 all, 7 and 8 without
one of them."""
