"""What to run a model with on this machine: device, dtype, batch size, workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.hardware.facts import Facts
from workbench.hardware.gpus import Gpu
from workbench.hardware.rates import fast_dtypes

_IMAGE_BYTES = 64 * 2**20
_UNKNOWN_MEMORY_BATCH = 16


@dataclass(frozen=True)
class Recommendation(Facts):
    """What to run a model with: torch's names of device and dtype, images per batch, data-loading workers, and why."""

    device: str
    dtype: str
    batch_size: int
    workers: int
    reason: str

    caption = "Recommended"

    def rows(self) -> tuple[tuple[str, str], ...]:
        settings = f"{self.dtype} on {self.device}, batches of {self.batch_size}, workers: {self.workers}"
        return (("recommended", settings), ("because", self.reason))


def recommend(gpus: Sequence[Gpu], *, mps: bool, free_memory: int, cores: int) -> Recommendation:
    """Settings for a model: the first visible GPU, else Apple's, else the CPU; `free_memory` is main memory's bytes.

    bfloat16 on CUDA from capability 8 on, float16 before it or where it is unknown, float32 elsewhere.
    """
    gpu = next((gpu for gpu in gpus if gpu.cuda_index == 0), None)
    if gpu is not None:
        dtype = fast_dtypes("cuda", capability=gpu.capability)[-1]  # bfloat16 where it is native
        device, free_memory = "cuda:0", gpu.memory_free
        reason = f"{gpu.name or 'The first visible GPU'} is visible to CUDA; {dtype} is fast on it and halves memory."
    elif mps:
        device, dtype, reason = "mps", "float32", "The Apple GPU shares main memory, and float32 is safe on it."
    else:
        device, dtype, reason = "cpu", "float32", "Torch can use no GPU here, and float32 is safe and fast on any CPU."
    size = batch_size(free_memory, device=device, dtype=dtype)
    return Recommendation(device, dtype, size, workers=min(8, max(0, cores - 1)), reason=reason)


def batch_size(free_memory: int | None, *, device: str, dtype: str) -> int:
    """Images per batch by a rule of thumb: half the free bytes at 64 MiB an image, 32 MiB in a 16-bit dtype.

    That is generous to a ViT-B with all its layers kept. Rounded down to a power of two, from 1 to 256, or to 64 on a
    CPU, where larger batches gain nothing; 16 where the free memory is unknown.
    """
    if free_memory is None:
        return _UNKNOWN_MEMORY_BATCH
    fitting = free_memory // 2 // (_IMAGE_BYTES if dtype == "float32" else _IMAGE_BYTES // 2)
    return min(1 << max(1, fitting).bit_length() - 1, 64 if device == "cpu" else 256)
