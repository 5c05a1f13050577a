"""Optimisers by name, and the schedule that SAIL trains under."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral

import torch
from torch import Tensor

OPTIMISERS = ("lion", "adamw")


def optimiser(
    name: str, parameters: Iterable[Tensor] | Iterable[dict], *, lr: float, weight_decay: float = 0.0
) -> torch.optim.Optimizer:
    """The optimiser "lion" (timm's; betas 0.9, 0.99) or "adamw" (torch's; betas 0.9, 0.999), both with decoupled decay.

    Lion (Chen et al. 2023, arXiv 2302.06675): p ← (1 - lr · wd) p - lr · sign(0.9 m + 0.1 g), then m ← 0.99 m + 0.01 g. SAIL
    (arXiv 2412.04616) trains all of its parameters with it, scale and bias of the logits too, at lr 1e-5 and a decay of 1e-7
    (probing) or 1e-4. Only signs count, so a loss multiplied by any positive number trains the same weights: "sum" or
    "mean" are one choice. The trap: a gradient that is 0 but for rounding moves its parameter by a full step all the same.
    Raises ValueError for another name, a rate that is not positive or a negative decay.
    """
    if name not in OPTIMISERS:
        raise ValueError(f"no optimiser {name!r}; choose one of {', '.join(OPTIMISERS)}")
    if not 0 < lr < math.inf or not 0 <= weight_decay < math.inf:
        raise ValueError(f"lr={lr!r}, weight_decay={weight_decay!r}; give a rate above 0 and a decay of 0 or more")
    if name == "adamw":
        return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)
    from timm.optim import Lion

    return Lion(parameters, lr=lr, betas=(0.9, 0.99), weight_decay=weight_decay)


def warm_cosine(step: int, steps: int, warmup: int | None = None) -> float:
    """What the learning rate is multiplied by at `step` of 0 … steps: up to 1 in a line, then to 0 along half a cosine.

    `warmup` steps rise, (step + 1) / warmup each, so that none is lost at a rate of 0; None is SAIL's tenth of all, rounded
    up. 0 is reached at step = steps, one after the last. For `training.train`: `factor=lambda step: warm_cosine(step, n)`.
    Raises TypeError for what is no whole number, ValueError for a step or a warm-up outside the run.
    """
    for what, value in (("step", step), ("steps", steps), ("warmup", 0 if warmup is None else warmup)):
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise TypeError(f"{what} is {type(value).__name__} {value!r}; give a whole number")
    warmup = -(-steps // 10) if warmup is None else warmup
    if not 0 <= warmup <= steps or not 0 <= step <= steps or steps < 1:
        raise ValueError(
            f"step={step}, steps={steps}, warmup={warmup}; give steps from 1 on and the others within them"
        )
    if step < warmup:
        return (step + 1) / warmup
    return (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2 if step < steps else 0.0


def drift_bound(lr: float, factors: Iterable[float], *, weight_decay: float = 0.0, start: float = 0.0) -> float:
    """How far Lion can carry one number from where it started: Σ lr · factor, times 1 + weight_decay · |start|.

    For it steps by its rate and no more: at SAIL's rates (arXiv 2412.04616) log t and b move by 0.034 at most in 6,700 steps
    and by 0.35 in 70,000, so they stay what they were set to. A bound for exact arithmetic: in float32 numbers near 10 lie
    9.5e-7 apart, so a step of 1e-5 is rounded by up to 5 % and one below 4.8e-7 is none at all.
    Raises ValueError for a rate, a factor or a decay below 0.
    """
    factors = list(factors)
    if not 0 <= lr < math.inf or not 0 <= weight_decay < math.inf or not all(0 <= each < math.inf for each in factors):
        raise ValueError(f"lr={lr!r}, weight_decay={weight_decay!r}; give rates, factors and a decay of 0 or more")
    return math.fsum(lr * each for each in factors) * (1 + weight_decay * abs(start))
