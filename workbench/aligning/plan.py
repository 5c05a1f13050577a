"""What a run will hold in memory, said before it begins."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from workbench.aligning.config import AlignConfig
from workbench.records import Record, Table, human_bytes


@dataclass(frozen=True)
class AlignPlan(Record):
    """Bytes: the head with gradients and optimiser, one batch through it, the loss; and the embeddings, which stay on disk."""

    parameters: int
    head: int
    batch: int
    loss: int
    embeddings: int
    as_lists: int

    @property
    def total(self) -> int:
        return self.head + self.batch + self.loss

    def table(self) -> Table:
        rows = (
            (f"head, {self.parameters:,} parameters, with gradients and optimiser", human_bytes(self.head)),
            ("one batch through it, kept for the gradients", human_bytes(self.batch)),
            ("the loss, in chunks", human_bytes(self.loss)),
            ("together", human_bytes(self.total)),
            ("embeddings, memory-mapped: on disk, read batch by batch", human_bytes(self.embeddings)),
        )
        return Table("What the run will hold in memory", ("what", "bytes"), rows)


def plan_alignment(n: int, d_i: int, d_t: int, config: AlignConfig, *, itemsize: int = 2) -> AlignPlan:
    """Predicted memory of `align` on n pairs of widths d_i and d_t; embeddings of `itemsize` bytes a number.

    The trap it is for: SAIL's code (arXiv 2412.04616) holds all embeddings in the host's memory, 471 GB for 23 M pairs of
    widths 2,048 and 4,096 with two caption sets (`embeddings` here); a memory-mapped store holds a batch.
    """
    with torch.device("meta"):
        head = config.build(d_i, d_t)
    parameters = sum(p.numel() for p in head.parameters())
    states = 1 if config.optimiser == "lion" else 2
    rows = min(config.batch_size, n)
    per_row = sum(_kept(config, d_in) * times for d_in, times in ((d_i, 1), (d_t, config.captions)))
    numbers = n * (d_i + config.captions * d_t)
    loss = (1 + config.captions) * rows * config.d * 4 * 3 + (256 << 20)
    return AlignPlan(
        parameters, 4 * parameters * (2 + states), 4 * rows * per_row, loss, numbers * itemsize, numbers * itemsize
    )


def _kept(config: AlignConfig, d_in: int) -> int:
    """Numbers per row that a side keeps for its backward pass: input, norm, hidden layers, output."""
    hidden = {"linear": 0, "mlp": 2, "gated": 4}[config.head] * config.width * d_in
    return d_in * (2 + config.layer_norm) + hidden + config.d
