"""Fine-tuning a dual encoder on pictures with captions: negatives online, exact resume, the model as it was left alone."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from workbench.fine_tuning.adapters import Trained, prepare
from workbench.fine_tuning.config import FineTuneConfig
from workbench.fine_tuning.online import check_changeable, online_negatives
from workbench.fine_tuning.pairs import Pairs
from workbench.fine_tuning.step import encode, loss_of, make_batch
from workbench.models.dual_encoder import DualEncoder
from workbench.models.weights import weights_digest
from workbench.optim import warm_cosine
from workbench.records import Record, Table
from workbench.training import train

LARGEST_SCALE = 100.0  # CLIP's own limit of the exponentiated scale
BETAS, EPSILON = (0.9, 0.98), 1e-6


@dataclass(frozen=True, eq=False)
class FineTuned(Record):
    """The tuned model, adapters folded in; what learned, the loss of every step, and the seconds of this call's steps."""

    model: DualEncoder
    config: FineTuneConfig
    trained: Trained
    losses: tuple[float, ...]
    seconds: float
    n: int

    def table(self) -> Table:
        rows = (
            ("model", self.model.name),
            ("loss", self.config.loss),
            ("learns", self.config.parts),
            ("pictures", f"{self.n:,}"),
            ("steps", f"{len(self.losses):,} of {min(self.config.batch_size, self.n)} pictures"),
            ("loss, last 20 steps", f"{np.mean(self.losses[-20:]):.4g}"),
        )
        return Table("Fine-tuned", ("what", "value"), rows)


def fine_tune(
    model: DualEncoder,
    pairs: Pairs,
    config: FineTuneConfig | None = None,
    *,
    folder: str | Path | None = None,
    at: Collection[int] = (),
    on_step: Callable[[int, Sequence[float], DualEncoder], None] = lambda step, losses, model: None,
    name: str | None = None,
) -> FineTuned:
    """Fine-tune a copy of `model` on `pairs` as FSC-CLIP does (arXiv 2410.05210), or as the configuration says.

    AdamW (0.9, 0.98; eps 1e-6), no decay of what has fewer than two dimensions; the scale of the logits learns where all does
    and is kept from 1 to 100, or to where it was, if higher. Batches, captions and negatives follow from seed and step. The
    model stays in evaluation: no dropout, and statistics of batch norms as they were.

    With a `folder` what learns is kept there every `config.every` steps and on Ctrl-C, and the same call goes on from it, to
    the same weights; one of another model, configuration or data is refused. `on_step(n, losses, model)` is called after n
    steps for every n in `at`. Raises ValueError for a model that is not in float32, captions of which no operator changes any,
    and for a loss that is not finite: it names the step and the first captions of its batch, and the last state kept stays.
    """
    config = config or FineTuneConfig()
    if model.dtype != torch.float32:  # steps of 1e-6 are lost in weights of eight bits
        told = str(model.dtype).removeprefix("torch.")
        raise ValueError(
            f"{model.name} is in {told}; load it with dtype='float32', precision='bfloat16' still computes in halves"
        )
    if config.negatives:
        check_changeable([each for own in pairs.captions for each in own], config.operators)
    run = _run_of(model, pairs, config)
    tuned, most = copy.deepcopy(model), max(LARGEST_SCALE, model.logit_scale)  # SigLIP's is larger from the start
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # adapters are drawn
        trained = prepare(tuned, config.parts, rank=config.rank, alpha=config.alpha)
    steps = config.steps or config.epochs * pairs.steps_of(config.batch_size)
    began = time.perf_counter()
    losses = train(
        nn.ParameterList(trained.parameters.values()),
        lambda step: _loss(tuned, pairs, config, step, most),
        _optimiser(trained, config),
        steps=steps,
        factor=lambda step: warm_cosine(step, steps, min(config.warmup, steps)),
        folder=folder,
        run=run,
        every=config.every,
        at=at,
        on_step=lambda step, losses: on_step(step, losses, tuned),
        title=f"{model.name}, {config.loss}",
    )
    _limit_scale(tuned, most)
    trained.merge()
    digest = weights_digest(tuned.module)
    how = f"tuned from {model.name}: {config.loss}, {config.parts}, {steps} steps on {len(pairs):,} pictures"
    tuned.card = replace(
        tuned.card, name=name or f"{model.name} + {config.loss}", digest=digest, notes=(how, *tuned.card.notes)
    )
    return FineTuned(tuned, config, trained, tuple(losses), time.perf_counter() - began, len(pairs))


def _run_of(model: DualEncoder, pairs: Pairs, config: FineTuneConfig) -> dict:
    """What makes this run this run; of the words that operators know, only what they make of some captions."""
    some = [own[0] for own in pairs.captions[:64]]
    texts = online_negatives(some, config.k, operators=config.operators)[0] if config.negatives else []
    return {
        "model": weights_digest(model.module),
        "data": pairs.digest(model),
        "pictures": len(pairs),
        "negatives": texts,
        **{key: value for key, value in config.to_json().items() if key not in ("every", "micro_batch")},
    }


def _loss(model: DualEncoder, pairs: Pairs, config: FineTuneConfig, step: int, most: float = LARGEST_SCALE) -> Tensor:
    rows, captions = pairs.drawn(config.batch_size, config.seed, step)
    _limit_scale(model, most)
    pixels = pairs.pixels(model, rows)
    try:
        loss = _loss_on(model, pixels, captions, config, step)
        if torch.isfinite(loss):
            return loss
        told = f"the loss is {loss.item()}"
    except ValueError as error:  # features that are not finite are refused before there is a loss
        told = str(error)
    raise ValueError(
        f"step {step}, pictures {', '.join(map(str, rows[:5]))} … ({captions[0]!r:.80} …): {told}. Look at them, lower "
        "learning_rate, or take precision='float32'; the state that was kept last stays"
    )


def _loss_on(model: DualEncoder, pixels: Tensor, captions: Sequence[str], config: FineTuneConfig, step: int) -> Tensor:
    wrong, valid = [[]] * len(captions), torch.zeros(len(captions), 0, dtype=torch.bool)
    if config.negatives:
        wrong, valid = online_negatives(captions, config.k, seed=config.seed, step=step, operators=config.operators)
    scale = model.module.logit_scale.exp()
    batch = make_batch(model, pixels, captions, wrong, valid)
    return loss_of(encode(model, batch, scale, config), batch.valid, scale, config)


def _limit_scale(model: DualEncoder, most: float) -> None:
    scale = model.module.logit_scale
    if scale.requires_grad:
        with torch.no_grad():
            scale.clamp_(0, math.log(most))


def _optimiser(trained: Trained, config: FineTuneConfig) -> torch.optim.Optimizer:
    whole, bare = [], []
    for parameter in trained.parameters.values():
        (whole if parameter.ndim >= 2 else bare).append(parameter)
    groups = [{"params": whole, "weight_decay": config.weight_decay}, {"params": bare, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=config.learning_rate, betas=BETAS, eps=EPSILON
    )
