"""`plan_memory`: a prediction, where possible a measurement, and the largest batch that fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from workbench.hardware import available_memory
from workbench.memory.measurement import Measurement, try_to_measure
from workbench.records import Record, Table, human_bytes

if TYPE_CHECKING:
    from workbench.memory.rehearsal import Task
    from workbench.models.dual_encoder import DualEncoder

MARGIN = 0.8  # of the free memory is used: allocators fragment, and others want some too


@dataclass(frozen=True)
class MemoryPlan(Record):
    """Predicted and measured memory of one batch, in bytes, and the largest batch that fits.

    `parameters` counts buffers too; `optimiser` the gradients and AdamW's two states of what is trained, 0 in inference;
    `activations` what a pass needs at its peak beyond those two (inputs and outputs too). `predicted` is their sum,
    `ratio` measured / predicted, `available` what is free on `device` for all of it.
    """

    name: str
    batch_size: int
    training: bool
    tokens: bool
    captions: int
    device: str
    parameters: int
    optimiser: int
    activations: int
    predicted: int
    measured: int | None
    ratio: float | None
    available: int
    largest_batch: int
    fits: bool
    notes: tuple[str, ...] = ()

    def table(self) -> Table:
        trained = [("gradients and AdamW", human_bytes(self.optimiser))] if self.training else []
        rows = [
            ("parameters", human_bytes(self.parameters)),
            *trained,
            ("activations", human_bytes(self.activations)),
            ("predicted", human_bytes(self.predicted)),
            ("measured", "not measured" if self.measured is None else human_bytes(self.measured)),
            ("measured / predicted", "unknown" if self.ratio is None else f"{self.ratio:.2f}"),
            (f"available on {self.device}", human_bytes(self.available)),
            ("largest batch", str(self.largest_batch)),
            *(("note", note) for note in self.notes),
            ("advice", self._advice()),
        ]
        mode = "training" if self.training else "inference"
        size = str(self.batch_size) if self.captions == 1 else f"{self.batch_size} of {self.captions} captions each"
        return Table(f"Memory plan: {self.name}, batch {size}, {mode}", ("what", "value"), tuple(rows))

    def _advice(self) -> str:
        if self.fits:
            return "fits"
        if self.largest_batch:
            return f"does not fit: use batch ≤ {self.largest_batch}"
        return "does not fit at any batch size: free memory, or choose a smaller model or another device"


def plan_memory(
    model_or_name: str | DualEncoder,
    batch_size: int,
    *,
    tokens: bool = False,
    training: bool = False,
    captions: int = 1,
    measure: bool = True,
    device: str = "auto",
) -> MemoryPlan:
    """Memory that `batch_size` pictures with `captions` each take, predicted, then measured in a child process.

    A name is planned before anything is loaded; a loaded model is planned as it stands (its dtype, what requires grad),
    and measured only where its name loads. Inference is one picture pass and one caption pass; `training` is a step of
    AdamW on every parameter that requires grad, with CLIP's loss, in which captions beyond the first (K negatives: 1 + K)
    get a gradient too. `device` "auto" is the model's own, for a name that of `load_model`.

    The prediction counts tensors, exactly; it knows nothing of kernels' workspaces, of tokenizers, nor of what an
    allocator keeps of freed memory. On a CPU, measured means resident memory, where those weigh: on Linux, with 200 MiB
    or more predicted, ratios were 1.06 to 1.4 (the shipped models, a ViT of 50 M parameters; ten settings, run to run
    0.15 apart), and larger for smaller models. On CUDA, measured is the
    allocator's peak, without the context. Loading has a peak of its own, which is left out of both (on macOS and
    Windows it stays in the measured). The largest batch keeps within 0.8 of the free memory; a measurement scales it.

    Raises TypeError or ValueError for bad input; for an unknown name as `load_model` does. A measurement that fails
    does not raise: `measured` is None and a note says what happened.
    """
    from workbench.memory.prediction import on_meta, predict
    from workbench.memory.rehearsal import Task, assumptions, trained
    from workbench.models.placement import pick_device

    task = Task(batch_size, tokens, training, captions)
    model, home = on_meta(model_or_name)
    if training and not trained(model):
        raise ValueError(f"{model.name} has no parameter that requires grad; unfreeze one, or plan with training=False")
    device = home if device == "auto" and home else pick_device(device)
    predicted = cache(lambda size: predict(model, replace(task, batch_size=size)))
    one = predicted(task.batch_size)
    # What a loaded model holds already is part of the prediction, and no more needs to be found for it.
    available = available_memory(device) + (one.parameters if device == home else 0)
    found = Measurement(None)
    if measure:
        found = try_to_measure(model, task, device, one.total, available, loaded=home is not None)
    largest = _largest_batch(task, lambda size: predicted(size).total, found, MARGIN * available)
    return MemoryPlan(
        name=model.name,
        device=device,
        **vars(task),
        **vars(one),
        predicted=one.total,
        measured=found.bytes,
        ratio=None if found.bytes is None else found.bytes / one.total,
        available=available,
        largest_batch=largest,
        fits=task.batch_size <= largest,
        notes=(*assumptions(model), *filter(None, [found.note])),
    )


def _largest_batch(task: Task, total: Callable[[int], int], found: Measurement, budget: float) -> int:
    """The largest batch whose predicted `total` is within `budget` bytes, 0 where not even the smallest fits.

    A measurement scales the predictions. A line through a batch and its double leads to the next guess, until the guess
    lies between the two: AdamW's step hides the activations of small batches, so the first line may be nearly flat.
    """
    budget *= total(task.batch_size) / found.bytes if found.bytes else 1.0
    size, smallest = task.batch_size, 2 if task.training else 1  # training takes two pairs
    for _ in range(64):  # predictions are convex in the batch, so a few steps are enough
        one, growth = total(size), (total(2 * size) - total(size)) / size
        largest = size + int((budget - one) // growth) if growth else 4 * size * (one <= budget)
        if size <= largest <= 2 * size or largest < size == smallest:
            break
        size = max(smallest, -(-largest // 2))
    if found.out_of_memory:
        largest = min(largest, task.batch_size - 1)
    return largest if largest >= smallest else 0
