"""Discriminative fine-tuning of a generative model: the loop, exact resume, the model before as it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from workbench.discriminative.config import DiscriminativeConfig
from workbench.discriminative.learning import beside, merge, prepare
from workbench.discriminative.pairs import TwoCaptions
from workbench.discriminative.step import encode, loss_of, make_batch
from workbench.fine_tuning.adapters import Trained
from workbench.models.lvlm import LvlmEncoder
from workbench.models.lvlm.quantized import in_four_bits
from workbench.models.weights import weights_digest
from workbench.optim import warm_cosine
from workbench.records import Record, Table
from workbench.training import train

UNTOLD = ("every", "micro_batch")  # what may change between a run and its resumption


@dataclass(frozen=True, eq=False)
class Tuned(Record):
    """The tuned model, adapters folded in; what learned, the loss of every step, and the seconds of this call: its steps, what
    `on_step` did, and the folding.

    The trap: adapters are float32; folded into weights of bfloat16 they are rounded, which after a few steps at a small rate
    moves features by a good part of what tuning did.
    """

    model: LvlmEncoder
    config: DiscriminativeConfig
    trained: Trained
    losses: tuple[float, ...]
    seconds: float
    n: int

    def steps_until(self, loss: float, window: int = 20) -> int | None:
        """`steps_until` of this run's losses."""
        return steps_until(self.losses, loss, window)

    def table(self) -> Table:
        rows = (
            ("model", self.model.name),
            ("learns", f"{self.config.learns}, {self.trained.trainable:,} of {self.trained.total:,} parameters"),
            ("pictures", f"{self.n:,}"),
            ("steps", f"{len(self.losses):,} of {min(self.config.batch_size, self.n)} pictures"),
            ("loss, last 20 steps", f"{np.mean(self.losses[-20:]):.4g}"),
        )
        return Table("Tuned to tell apart", ("what", "value"), rows)


def steps_until(losses: Sequence[float], level: float, window: int = 20) -> int | None:
    """The first step after which the mean of the last `window` losses is below `level`; None where it never is."""
    below = np.flatnonzero(np.convolve(losses, np.ones(window) / window, "valid") < level)
    return int(below[0]) + window if len(below) else None


def fine_tune(
    model: LvlmEncoder,
    pairs: TwoCaptions,
    config: DiscriminativeConfig | None = None,
    *,
    folder: str | Path | None = None,
    at: Collection[int] = (),
    on_step: Callable[[int, Sequence[float], LvlmEncoder], None] = lambda step, losses, model: None,
    name: str | None = None,
) -> Tuned:
    """Tune a copy of `model` to tell apart pictures by short captions and to write long ones (VladVA, arXiv 2412.04378).

    AdamW on soft prompts and adapters alone; the copy shares all other weights with `model`, which stays as it was. Batches
    follow from seed and step. The model stays in evaluation, so nothing drops out. With a `folder` what learns is kept there
    every `config.every` steps and on Ctrl-C, and the same call goes on from it, to the same weights; one of another model,
    configuration or data is refused. `on_step(n, losses, model)` is called after n steps for every n in `at`.

    Raises TypeError for another kind of model, ValueError for one in float16 or 4 bits, no long caption where a next-token loss
    is asked for, prompts that are soft already, and for a loss that is not finite: it names the step and the first captions of
    its batch.
    """
    config = config or DiscriminativeConfig()
    tuned, trained = _prepared(model, pairs, config)
    steps = config.steps or config.epochs * pairs.steps_of(config.batch_size)
    began = time.perf_counter()
    losses = train(
        nn.ParameterList(trained.parameters.values()),
        lambda step: _loss(tuned, pairs, config, step),
        _optimiser(trained, config),
        steps=steps,
        factor=lambda step: warm_cosine(step, steps, min(config.warmup, steps)),
        folder=folder,
        run=_run_of(model, pairs, config),
        every=config.every,
        at=at,
        on_step=lambda step, losses: on_step(step, losses, tuned),
        title=f"{model.name}, {config.learns}",
    )
    merge(trained)
    seconds = time.perf_counter() - began
    if config.temperature is not None:
        tuned.prompts = replace(tuned.prompts, temperature=config.temperature)
    how = f"tuned from {model.name}: {config.learns}, {steps} steps on {len(pairs):,} pictures"
    tuned.card = replace(
        tuned.card,
        name=name or f"{model.name} + {config.learns}",
        digest=weights_digest(tuned.module),
        notes=(how, *tuned.card.notes),
    )
    return Tuned(tuned, config, trained, tuple(losses), seconds, len(pairs))


def _prepared(model: LvlmEncoder, pairs: TwoCaptions, config: DiscriminativeConfig) -> tuple[LvlmEncoder, Trained]:
    if isinstance(model, LvlmEncoder) and model.dtype == torch.float16:
        raise ValueError(
            f"{model.name} is in float16, where small gradients vanish; load it with dtype='bfloat16' or 'float32'"
        )
    if isinstance(model, LvlmEncoder) and in_four_bits(model.module):
        raise ValueError(
            f"{model.name} is in 4 bits, which are for reading: adapters stand on plain layers; load it with dtype='bfloat16'"
        )
    if config.next_token_weight and not any(getattr(pairs, "long", ())):
        raise ValueError(
            "next_token_weight is above 0 and no picture has a long caption; give TwoCaptions(…, long=…), or next_token_weight=0"
        )
    _check_captions(model, pairs, config)
    tuned = beside(model) if isinstance(model, LvlmEncoder) else model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # adapters are drawn
        return tuned, prepare(tuned, config)


def _check_captions(model: LvlmEncoder, pairs: TwoCaptions, config: DiscriminativeConfig) -> None:
    """Raises ValueError, before the first step and not when it is drawn, for a caption that no step could take."""
    long = pairs.long if config.next_token_weight else ()
    if not config.contrastive_weight and not all(long):
        row = next(row for row, text in enumerate(long) if not text)
        raise ValueError(
            f"contrastive_weight=0 and picture {row} has no long caption, so nothing is learned of it; leave it out"
        )
    if isinstance(model, LvlmEncoder):
        for row, own in enumerate(pairs.captions):
            for text in (*own, *filter(None, long[row : row + 1])):
                model.check_caption(text, f"a caption of picture {row}")


def _run_of(model: LvlmEncoder, pairs: TwoCaptions, config: DiscriminativeConfig) -> dict:
    """What makes this run this run."""
    return {
        "model": weights_digest(model.module),
        "prompts": asdict(model.prompts),
        "data": pairs.digest(model),
        "pictures": len(pairs),
        **{key: value for key, value in config.to_json().items() if key not in UNTOLD},
    }


def _loss(model: LvlmEncoder, pairs: TwoCaptions, config: DiscriminativeConfig, step: int) -> Tensor:
    rows, captions = pairs.drawn(config.batch_size, config.seed, step)
    long = [pairs.long[row] if config.next_token_weight else None for row in rows]
    batch = make_batch(model, pairs.each(model, rows), captions, long)
    try:
        loss = loss_of(encode(model, batch, config), config.temperature or model.prompts.temperature, config)
        if torch.isfinite(loss):
            return loss
        told = f"the loss is {loss.item()}"
    except ValueError as error:  # features that are not finite are refused before there is a loss
        raise ValueError(_said(step, rows, captions, str(error))) from error
    raise ValueError(_said(step, rows, captions, told))


def _said(step: int, rows: Sequence[int], captions: Sequence[str], told: str) -> str:
    return (
        f"step {step}, pictures {', '.join(map(str, rows[:5]))} … ({captions[0]!r:.80} …): {told}. Look at them; where "
        "numbers are not finite lower learning_rate, or take precision='float32'. The state that was kept last stays"
    )


def _optimiser(trained: Trained, config: DiscriminativeConfig) -> torch.optim.Optimizer:
    soft = [p for name, p in trained.parameters.items() if name.endswith(".soft")]
    others = [p for name, p in trained.parameters.items() if not name.endswith(".soft")]
    groups = [
        {"params": others, "lr": config.learning_rate, "weight_decay": config.weight_decay},
        {"params": soft, "lr": config.prompt_rate or config.learning_rate, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]])
