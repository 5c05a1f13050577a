"""Training a scorer of pairs on cached features of quads: batches, a budget of steps or of time, an exact resume."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from numbers import Integral
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from workbench.binding.features import QuadFeatures
from workbench.binding.scoring import CAPTIONS, PICTURES
from workbench.losses import quad_loss
from workbench.optim import OPTIMISERS, optimiser, warm_cosine
from workbench.records import Record, Table
from workbench.training import train

Objective = Callable[[nn.Module, QuadFeatures, np.ndarray, str], Tensor]
"""(head, a batch of quads, its mismatches as rows of captions (k, 2 · size), device) → loss ()."""


@dataclass(frozen=True)
class QuadConfig:
    """A run of `fit`, every choice a field. All are ours: those of arXiv 2604.11496 are not published.

    `batch_size` quads a step, of which each picture also meets `mismatches` captions of other quads, and each caption as many
    pictures: batch_size · (4 + 2 · mismatches) pairs. `warmup` None: a tenth of the steps; half a cosine to 0 follows.

    `seconds` ends the run after that many seconds of steps, or after `steps`, whichever comes first; warm-up and decay then
    follow the share of the time that is used up. Give many steps with it. The trap: how many of them fit depends on the
    machine and on what else runs there, so neither a second run nor a resumed one gives the same weights. Without `seconds`
    both do, to the bit, on one machine and as many threads.
    """

    batch_size: int = 64
    steps: int = 2000
    seconds: float | None = None
    mismatches: int = 2
    optimiser: str = "adamw"
    learning_rate: float = 1e-4
    weight_decay: float = 0.05
    warmup: int | None = None
    seed: int = 0
    every: int = 200

    def __post_init__(self):
        for name, least in {"batch_size": 1, "steps": 1, "every": 1, "mismatches": 0, "seed": 0}.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
                raise ValueError(f"{name}={value!r}; give a whole number from {least} on")
        for name in ("learning_rate", "seconds"):
            value = getattr(self, name)
            if value is None and name == "seconds":
                continue
            if value is None or not (isfinite(value) and value > 0):
                raise ValueError(f"{name}={value!r}; give a number above 0")
        if self.optimiser not in OPTIMISERS:
            raise ValueError(f"optimiser={self.optimiser!r}; choose one of {', '.join(OPTIMISERS)}")
        warm_cosine(0, self.steps, self.warmup)

    def to_json(self) -> dict:
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Fitted(Record):
    """A trained head, the loss of every step, and the `seconds` those steps took on n quads (what ran between them is not in)."""

    head: nn.Module
    config: QuadConfig
    losses: tuple[float, ...]
    seconds: float
    n: int

    @property
    def pairs_per_step(self) -> int:
        size = min(self.config.batch_size, self.n)
        return size * (4 + 2 * self.config.mismatches)

    def table(self) -> Table:
        parameters = sum(p.numel() for p in self.head.parameters())
        rows = (
            ("head", f"{_named(self.head)}, {parameters:,} parameters"),
            ("quads", f"{self.n:,} to train on"),
            ("steps", f"{len(self.losses)} of {self.config.steps}, {self.pairs_per_step:,} pairs each"),
            ("loss, last 20 steps", f"{np.mean(self.losses[-20:]):.4g}"),
            ("seconds of steps", f"{self.seconds:.1f}"),
        )
        return Table("A scorer of pairs on frozen features", ("what", "value"), rows)


def fit(
    make: Callable[[], nn.Module],
    features: QuadFeatures,
    config: QuadConfig,
    *,
    objective: Objective | None = None,
    folder: str | Path | None = None,
    at: Collection[int] = (),
    on_step: Callable[[int, Sequence[float], nn.Module], None] = lambda step, losses, head: None,
    device: str = "cpu",
) -> Fitted:
    """Train the head that `make()` builds, after the seed is set, by `pair_loss` or another objective on quads of `features`.

    The head is a module with `forward(images: Side, texts: Side) -> (B,)`: `OnTokens` or `OnGlobals` of one that takes
    tensors. Batches and mismatches follow from seed and step alone, so all heads of a seed see the same pairs; a caption of
    another quad is taken to be wrong, which in a small world it is not always.

    With a `folder` state is kept there every `config.every` steps and on Ctrl-C: the same call goes on, to the same weights
    where no time is limited (`QuadConfig`), and a call with another head, configuration or other features is refused.
    `on_step(n, losses, head)` is called after n steps for every n in `at`, and at the end of a run that time ended. Raises
    ValueError for features that `QuadFeatures.check` refuses, a batch that leaves no other quads for mismatches, a head that
    gives another shape, or a loss that is not finite.
    """
    features.check()
    objective = objective or pair_loss
    size = min(config.batch_size, len(features))
    if config.mismatches >= size:
        raise ValueError(
            f"mismatches={config.mismatches} of other quads in a batch of {size}; give fewer, or more quads"
        )
    torch.manual_seed(config.seed)
    timed = _Timed(make().to(device).train())

    def loss(step: int) -> Tensor:
        timed.begin()
        rows, pairing = _drawn(len(features), size, step, config)
        return objective(timed.head, features[rows], pairing, device)

    def after(step: int, losses: Sequence[float]) -> bool:
        timed.end()
        over = config.seconds is not None and float(timed.seconds) >= config.seconds
        if step in at or over:
            on_step(step, losses, timed.head)
        return over

    losses = train(
        timed,
        loss,
        optimiser(config.optimiser, timed.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay),
        steps=config.steps,
        factor=lambda step: warm_cosine(timed.reached(step, config), config.steps, config.warmup),
        folder=folder,
        run={
            **config.to_json(),
            "head": repr(timed.head),
            "loss": _named(objective),
            "quads": len(features),
            "data": _digest(features),
        },
        every=config.every,
        at=range(1, config.steps + 1),
        on_step=after,
        title=_named(timed.head),
    )
    return Fitted(timed.head.eval(), config, tuple(losses), float(timed.seconds), len(features))


class _Timed(nn.Module):
    """A head, and beside it in every checkpoint the seconds that its steps have taken."""

    def __init__(self, head: nn.Module):
        super().__init__()
        self.head = head
        self.register_buffer("seconds", torch.zeros((), dtype=torch.float64))
        self.began = 0.0

    def begin(self) -> None:
        self.began = time.perf_counter()

    def end(self) -> None:
        self.seconds += time.perf_counter() - self.began

    def reached(self, step: int, config: QuadConfig) -> int:
        """The step to schedule by: this one or, where time is limited, the one at the same share of the time."""
        if config.seconds is None:
            return step
        return min(max(step, int(config.steps * float(self.seconds) / config.seconds)), config.steps - 1)


def _drawn(n: int, size: int, step: int, config: QuadConfig) -> tuple[np.ndarray, np.ndarray]:
    """Quads of a step, and for each kind of mismatch (k, 2 · size) the caption that each picture of the batch is put beside.

    Each kind is a permutation: the quads of the batch turned by some number of places, two captions at times exchanged. So one
    evaluation serves a picture's choice and a caption's.
    """
    rng = np.random.default_rng((config.seed, step))
    rows = rng.choice(n, size, replace=False)
    turns = 1 + rng.choice(size - 1, config.mismatches, replace=False) if config.mismatches else np.zeros(0, int)
    quad = (np.arange(size) + turns[:, None]) % size  # (k, size)
    crossed = rng.integers(0, 2, quad.shape)
    which = np.stack([crossed, 1 - crossed], -1)
    return rows, (2 * quad[..., None] + which).reshape(config.mismatches, 2 * size)


def pair_loss(head: nn.Module, batch: QuadFeatures, pairing: np.ndarray, device: str) -> Tensor:
    """`losses.quad_loss` of a batch of quads, whose pairs go through the head at once."""
    images, texts = batch.images.flat().to(device), batch.texts.flat().to(device)
    first = np.arange(0, 2 * len(batch), 2)[:, None]
    pictures = np.concatenate([(first + PICTURES).ravel(), np.tile(np.arange(2 * len(batch)), len(pairing))])
    captions = np.concatenate([(first + CAPTIONS).ravel(), pairing.ravel()])
    found = head(images[pictures], texts[captions])
    if found.shape != pictures.shape:
        raise ValueError(f"the head gave scores of shape {tuple(found.shape)} for {len(pictures)} pairs; give (B,)")
    own, others = found.split([4 * len(batch), pairing.size])
    if not len(pairing):
        return quad_loss(own.view(-1, 2, 2))
    by_picture = others.view(pairing.shape)
    by_caption = by_picture.gather(1, torch.from_numpy(pairing.argsort(1)).to(found.device))
    rows, columns = (each.T.reshape(len(batch), 2, -1) for each in (by_picture, by_caption))
    return quad_loss(own.view(-1, 2, 2), rows, column_mismatches=columns)


def _named(what: nn.Module | Objective) -> str:
    """A head by its class, an objective by its name."""
    return type(getattr(what, "head", what)).__name__ if isinstance(what, nn.Module) else what.__name__


def _digest(features: QuadFeatures) -> str:
    """Of a few quads: enough to notice other features of the same shape."""
    few = features[np.unique(np.linspace(0, len(features) - 1, 16).astype(int))]
    whole = hashlib.sha256()
    for side in (few.images, few.texts):
        for name, part in side.to("cpu").parts().items():
            whole.update(f"{name} {tuple(part.shape)}".encode() + part.contiguous().numpy().tobytes())
    return whole.hexdigest()[:16]
