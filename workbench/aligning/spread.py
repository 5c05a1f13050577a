"""One batch over several processes of torchrun: shares of its rows, gradients of the whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from workbench.models.paired import AlignmentHead
from workbench.training import CHECKPOINT


class Spread:
    """What a process does with a batch: alone, everything. In a group, its share of the rows through the heads, then the loss
    over all features, of which only its own carry gradients; those are summed over the processes.

    The loss itself is computed by every process: it costs three products of the batch, the heads many more.
    """

    def __init__(self, head: AlignmentHead):
        self.head = head
        together = dist.is_available() and dist.is_initialized()
        self.rank, self.size = (dist.get_rank(), dist.get_world_size()) if together else (0, 1)
        if self.size > 1:
            for parameter in head.parameters():
                dist.broadcast(parameter.data, 0)
                parameter.register_post_accumulate_grad_hook(lambda each: dist.all_reduce(each.grad))

    @property
    def first(self) -> bool:
        return self.rank == 0

    def check_folder(self, folder: str | Path | None) -> None:
        """Raises ValueError where not all processes see the same checkpoint: they would go on from different steps."""
        if self.size == 1 or folder is None:
            return
        file = Path(folder) / CHECKPOINT
        here = file.stat().st_size if file.is_file() else 0  # grows by a loss a step
        sizes = [int(size) for size in self._told(here)]
        if len(set(sizes)) > 1:
            raise ValueError(f"{file} has {sizes} bytes for the processes; give a folder that all of them share")

    def share(self, rows: np.ndarray) -> np.ndarray:
        """This process's rows of a batch. Raises ValueError for a batch that has no row for every process."""
        if len(rows) < self.size:
            raise ValueError(f"a batch of {len(rows)} for {self.size} processes; use fewer of them")
        return np.array_split(rows, self.size)[self.rank]

    def loss(self, images: Tensor, texts: list[Tensor], of: Callable) -> Tensor:
        """The loss of the whole batch, `of(image, texts, scale, bias)`, from this process's rows."""
        made = [self.head.image(images), *(self.head.text(text) for text in texts)]
        numbers = [self.head.log_scale.exp(), self.head.logit_bias]
        if self.size > 1:
            made = [self._whole(part) for part in made]
            # every process has the whole gradient of these two, and the sum over processes would count it `size` times
            numbers = [each if each is None else each.detach() + (each - each.detach()) / self.size for each in numbers]
        return of(made[0], made[1:], *numbers)

    def _whole(self, part: Tensor) -> Tensor:
        """The features of all processes in the batch's order; gradients flow into this one's alone."""
        sizes = self._told(len(part))
        most = max(int(size) for size in sizes)
        padded = part.detach().new_zeros(most, part.shape[1])
        padded[: len(part)] = part.detach()
        gathered = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(gathered, padded)
        rows = [each[: int(size)] for each, size in zip(gathered, sizes, strict=True)]
        rows[self.rank] = part
        return torch.cat(rows)

    def _told(self, number: int) -> list[torch.Tensor]:
        """A whole number of every process."""
        device = self.head.log_scale.device
        numbers = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(self.size)]
        dist.all_gather(numbers, torch.tensor([number], device=device))
        return numbers
