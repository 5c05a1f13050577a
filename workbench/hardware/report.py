"""The whole machine in one report."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.hardware.cpu import Cpu, probe_cpu
from workbench.hardware.facts import Facts
from workbench.hardware.gpus import Gpu, mark_visible, probe_gpus
from workbench.hardware.memory import Memory, probe_memory
from workbench.hardware.rates import Rate, fast_rates, measured
from workbench.hardware.recommendation import Recommendation, recommend


@dataclass(frozen=True)
class HardwareReport(Facts):
    """Everything `probe_hardware` found; `gpus` lists hidden devices too, `rates` every fast dtype of every device."""

    cpu: Cpu
    memory: Memory
    gpus: tuple[Gpu, ...]
    mps: bool
    rates: tuple[Rate, ...]
    recommendation: Recommendation
    notes: tuple[str, ...] = ()

    caption = "This machine"

    def rows(self) -> tuple[tuple[str, str], ...]:
        found = [row for part in (self.cpu, self.memory, *self.gpus) for row in part.rows()]
        apple = [("Apple GPU", "mps")] if self.mps else []
        advice = [row for part in (*self.rates, self.recommendation) for row in part.rows()]
        return (*found, *apple, *advice, *(("note", note) for note in self.notes))


def probe_hardware(*, measure_seconds: float = 2.0, nvml: Any = None) -> HardwareReport:
    """Look at the machine, time matrix products for about `measure_seconds` in all, and recommend settings.

    The probe asks the driver through NVML and creates no CUDA context. Measuring does create one on every visible
    GPU, so it comes last; `measure_seconds=0` skips it. float32 is timed at torch's current matmul precision.
    `nvml` stands in for the pynvml module. Raises ValueError for a negative or endless `measure_seconds`; whatever the
    machine does not tell is None or a note, never an error.
    """
    if not 0 <= measure_seconds < float("inf"):
        raise ValueError(f"measure_seconds is {measure_seconds}; it must be 0 (do not measure) or a number of seconds")
    import torch

    gpus, notes = probe_gpus(nvml)
    gpus = mark_visible(os.environ.get("CUDA_VISIBLE_DEVICES"), gpus)
    # Asked only when the driver shows a GPU: the question starts the CUDA driver, though no context.
    cuda = any(gpu.visible for gpu in gpus) and torch.cuda.is_available()
    mps = torch.backends.mps.is_available()
    usable = gpus if cuda else ()
    cpu, memory = probe_cpu(), probe_memory()
    recommendation = recommend(usable, mps=mps, free_memory=memory.available, cores=cpu.usable)
    notes = (*notes, *_cuda_notes(gpus, cuda))
    rates = fast_rates(usable, mps=mps)
    if measure_seconds > 0:
        rates = tuple(measured(rate, measure_seconds / len(rates)) for rate in rates)
    return HardwareReport(cpu, memory, gpus, mps, rates, recommendation, notes)


def _cuda_notes(gpus: Sequence[Gpu], cuda: bool) -> Iterator[str]:
    visible = [gpu for gpu in gpus if gpu.visible]
    if visible and not cuda:
        import torch

        yield f"the driver shows a GPU, but torch {torch.__version__} cannot use it"
    if len({gpu.name for gpu in visible}) > 1 and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        yield "the GPUs differ: CUDA may number them otherwise than the driver unless CUDA_DEVICE_ORDER=PCI_BUS_ID"
