"""Which dtypes are fast on a device, and how fast: the measured rate of a matrix product."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from workbench.hardware.facts import Facts
from workbench.hardware.gpus import Gpu

_MATRIX_SIDE = {"cpu": 1024, "mps": 2048, "cuda": 4096}  # one product takes milliseconds, far above launch cost


@dataclass(frozen=True)
class Rate(Facts):
    """A dtype that is fast on a device, with its measured matrix-product rate in GFLOP/s, or why there is none."""

    device: str
    dtype: str
    gflops: float | None = None
    problem: str = "not measured"

    caption = "Matrix product"

    def rows(self) -> tuple[tuple[str, str], ...]:
        # Two digits are all that repeats from run to run.
        value = self.problem if self.gflops is None else f"{float(f'{self.gflops:.2g}'):,.10g} GFLOP/s"
        return ((f"{self.dtype} on {self.device}", value),)


def fast_dtypes(kind: str, *, capability: tuple[int, int] | None = None, cpu_bfloat16: bool = False) -> tuple[str, ...]:
    """The dtypes worth using on a "cpu", "cuda" or "mps" device, float32 first.

    Never float16 on a CPU: most have no instructions for it, and torch then is tens of times slower than in float32.
    """
    if kind == "cpu":
        return ("float32", "bfloat16") if cpu_bfloat16 else ("float32",)
    native_bfloat16 = kind == "cuda" and capability is not None and capability >= (8, 0)
    return ("float32", "float16", "bfloat16") if native_bfloat16 else ("float32", "float16")


def fast_rates(gpus: Sequence[Gpu], *, mps: bool) -> tuple[Rate, ...]:
    """An unmeasured rate for every fast dtype of the CPU, Apple's GPU if `mps`, and the visible ones of `gpus`."""
    devices = {"cpu": fast_dtypes("cpu", cpu_bfloat16=_cpu_bfloat16())}
    if mps:
        devices["mps"] = fast_dtypes("mps")
    for gpu in sorted((gpu for gpu in gpus if gpu.visible), key=lambda gpu: gpu.cuda_index):
        devices[f"cuda:{gpu.cuda_index}"] = fast_dtypes("cuda", capability=gpu.capability)
    return tuple(Rate(device, dtype) for device, dtypes in devices.items() for dtype in dtypes)


def measured(rate: Rate, seconds: float) -> Rate:
    """The rate timed for about `seconds`; a device that cannot compute is a finding about the machine, no error."""
    try:
        return replace(rate, gflops=measure_rate(rate.device, rate.dtype, seconds), problem="")
    except RuntimeError as error:
        return replace(rate, problem=f"not measured: {str(error).partition(chr(10))[0]}")


def measure_rate(device: str, dtype: str, seconds: float) -> float:
    """Median rate of a square matrix product in GFLOP/s (2 n^3 operations), timed for about `seconds`.

    Warms up once and times at least three products. Raises RuntimeError where torch cannot compute it.
    """
    import torch

    end = time.perf_counter() + seconds
    side = _MATRIX_SIDE[device.partition(":")[0]]
    generator = torch.Generator(device).manual_seed(0)  # its own, so that the caller's random numbers stay the same
    matrix = torch.randn(side, side, generator=generator, device=device, dtype=getattr(torch, dtype))
    out = torch.empty_like(matrix)
    _product_seconds(matrix, out)
    times: list[float] = []
    while len(times) < 3 or time.perf_counter() < end:
        times.append(_product_seconds(matrix, out))
    return 2 * side**3 / statistics.median(times) / 1e9


def _product_seconds(matrix, out) -> float:
    import torch

    start = time.perf_counter()
    torch.mm(matrix, matrix, out=out)
    if matrix.device.type == "cuda":  # a GPU answers before it has computed
        torch.cuda.synchronize(matrix.device)
    elif matrix.device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter() - start


def _cpu_bfloat16() -> bool:
    """Whether oneDNN has bfloat16 kernels for this CPU; without them torch falls back to slow scalar code."""
    import torch

    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return torch.backends.mkldnn.is_available() and supported is not None and supported()
