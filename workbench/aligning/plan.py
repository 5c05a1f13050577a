"""What a run will hold in memory, said before it begins."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from workbench.aligning.config import AlignConfig
from workbench.aligning.step import loss_of
from workbench.memory.prediction import peak_bytes
from workbench.optim import optimiser
from workbench.records import Record, Table, human_bytes


@dataclass(frozen=True)
class AlignPlan(Record):
    """Bytes: the most that a step holds at once, the part of it that stays (weights, gradients, optimiser), and the embeddings,
    which stay on the disk."""

    parameters: int
    step: int
    stays: int
    embeddings: int

    def table(self) -> Table:
        rows = (
            (f"one step: {self.parameters:,} parameters, a batch through them, the loss", human_bytes(self.step)),
            ("of it weights, gradients and optimiser", human_bytes(self.stays)),
            ("embeddings, memory-mapped: on disk, read batch by batch", human_bytes(self.embeddings)),
        )
        return Table("What the run will hold in memory", ("what", "bytes"), rows)


def plan_alignment(n: int, d_i: int, d_t: int, config: AlignConfig, *, itemsize: int = 2) -> AlignPlan:
    """Memory of `align` on n pairs of widths d_i and d_t; embeddings of `itemsize` bytes a number.

    Predicted by two steps without numbers, on torch's meta device. The trap it is for: SAIL's code (arXiv 2412.04616) holds
    all embeddings in the host's memory, 471 GB for 23 M pairs of widths 2,048 and 4,096 with two caption sets (`embeddings`
    here); a memory-mapped store holds a batch.
    """
    rows, found = min(config.batch_size, n), []

    def rehearse() -> None:
        head = config.build(d_i, d_t)
        rule = optimiser(config.optimiser, head.parameters(), lr=config.learning_rate)
        for _ in range(2):  # the optimiser makes its states at the end of the first
            texts = [torch.empty(rows, d_t) for _ in range(config.captions)]
            loss = loss_of(head, config, torch.empty(rows, d_i), texts)
            rule.zero_grad(set_to_none=True)
            loss.backward()
            rule.step()
        found.append(sum(p.numel() for p in head.parameters()))

    with torch.device("meta"):
        peak = peak_bytes(rehearse)
    (parameters,) = found
    states = {"lion": 1, "adamw": 2}[config.optimiser]
    numbers = n * (d_i + config.captions * d_t)
    return AlignPlan(parameters, peak, 4 * parameters * (2 + states), numbers * itemsize)
