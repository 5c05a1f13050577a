"""NVIDIA GPUs as the driver describes them (NVML), and which of them CUDA sees in this process."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from workbench.hardware.facts import Facts, known
from workbench.records import human_bytes


@dataclass(frozen=True)
class Gpu(Facts):
    """An NVIDIA GPU, or one MIG instance of it (`mig_index` set); None is unknown.

    Memory is in bytes, `utilisation` in percent of the last sample period, `capability` is (major, minor),
    `processes` counts compute processes. `index` is the driver's number (PCI order); `cuda_index` the number CUDA
    gives the device in this process, None where CUDA does not see it.
    """

    index: int
    mig_index: int | None = None
    name: str | None = None
    uuid: str | None = None
    driver: str | None = None
    capability: tuple[int, int] | None = None
    memory_total: int | None = None
    memory_free: int | None = None
    memory_used: int | None = None
    utilisation: int | None = None
    mig_mode: bool | None = None
    processes: int | None = None
    cuda_index: int | None = None

    caption = "GPU"

    @property
    def visible(self) -> bool:
        """Whether CUDA sees the device in this process."""
        return self.cuda_index is not None

    def rows(self) -> tuple[tuple[str, str], ...]:
        facts = (
            known("name", self.name),
            known("memory", self.memory_total, human_bytes),
            known("free memory", self.memory_free, lambda free: f"{human_bytes(free)} free"),
            known("capability", self.capability, "capability {0[0]}.{0[1]}".format),
            known("driver", self.driver, "driver {}".format),
            known("utilisation", self.utilisation, "{} % busy".format),
            known("compute processes", self.processes, "compute processes: {}".format),
            *(["MIG mode"] if self.mig_mode and self.mig_index is None else []),
            f"cuda:{self.cuda_index}" if self.visible else "not visible to CUDA",
        )
        what = f"GPU {self.index}" if self.mig_index is None else f"GPU {self.index}, MIG {self.mig_index}"
        return ((what, ", ".join(facts)),)


def probe_gpus(nvml: Any = None) -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    """All NVIDIA GPUs, each followed by its MIG instances, and notes; no driver is an empty answer with a note.

    `nvml` stands in for the pynvml module.
    """
    if nvml is None:
        import pynvml as nvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        missing = isinstance(error, nvml.NVMLError_LibraryNotFound)
        return (), (f"{'no NVIDIA driver' if missing else 'NVIDIA driver not usable'}: {error}",)
    try:
        return tuple(gpu for index in range(nvml.nvmlDeviceGetCount()) for gpu in _gpu_and_instances(nvml, index)), ()
    except nvml.NVMLError as error:
        return (), (f"the NVIDIA driver does not count its GPUs: {error}",)
    finally:
        _ask(nvml, "nvmlShutdown")


def visible_devices(env_value: str | None, devices: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """The devices CUDA enumerates, in its order, when CUDA_VISIBLE_DEVICES is `env_value` (None: unset).

    As CUDA and torch read it: indices, or `GPU-<uuid>`, or `MIG-<uuid>` (an unambiguous beginning will do); the
    first entry decides which kind, the first invalid one ends the list, a repeated one empties it.
    """
    if env_value is None:
        return _enumerated([device for device in devices if device.mig_index is None], devices)
    prefix = next((p for p in ("GPU-", "MIG-") if env_value.strip().startswith(p)), "")
    chosen: list[Gpu] = []
    for entry in map(str.strip, env_value.split(",")):
        found = [device for device in devices if _names(entry, prefix, device)]
        if len(found) != 1:
            break
        if found[0] in chosen:
            return ()
        chosen += found
    return _enumerated(chosen, devices)


def mark_visible(env_value: str | None, gpus: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """The same GPUs with the `cuda_index` they have when CUDA_VISIBLE_DEVICES is `env_value`."""
    seen = visible_devices(env_value, gpus)
    return tuple(replace(gpu, cuda_index=seen.index(gpu) if gpu in seen else None) for gpu in gpus)


def _names(entry: str, prefix: str, device: Gpu) -> bool:
    if prefix:
        return entry.startswith(prefix) and (device.uuid or "").startswith(entry)
    number = re.match(r"\+?[0-9]+", entry)  # CUDA reads the leading digits and ignores what follows: "1x" is 1
    return number is not None and device.mig_index is None and device.index == int(number[0])


def _enumerated(chosen: Sequence[Gpu], devices: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """What CUDA makes of the chosen devices: one MIG instance and nothing else, or all the undivided GPUs."""
    instances = [
        device
        for gpu in chosen
        for device in devices
        if device.mig_index is not None and device.index == gpu.index and gpu.mig_index in (None, device.mig_index)
    ]
    return tuple(instances[:1]) or tuple(gpu for gpu in chosen if not gpu.mig_mode)


def _gpu_and_instances(nvml: Any, index: int) -> Iterator[Gpu]:
    handle = _ask(nvml, "nvmlDeviceGetHandleByIndex", index)
    gpu = _gpu(nvml, handle, index)
    yield gpu
    for slot in range(_ask(nvml, "nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
        instance = _ask(nvml, "nvmlDeviceGetMigDeviceHandleByIndex", handle, slot)
        if instance is not None:
            # These two belong to the whole chip, and the driver may refuse them for an instance.
            shared = {"capability": gpu.capability, "mig_mode": gpu.mig_mode}
            yield replace(_gpu(nvml, instance, index), mig_index=slot, **shared)


def _gpu(nvml: Any, handle: Any, index: int) -> Gpu:
    capability = _ask(nvml, "nvmlDeviceGetCudaComputeCapability", handle)
    memory = _ask(nvml, "nvmlDeviceGetMemoryInfo", handle)
    mig = _ask(nvml, "nvmlDeviceGetMigMode", handle)
    processes = _ask(nvml, "nvmlDeviceGetComputeRunningProcesses", handle)
    return Gpu(
        index=index,
        name=_ask(nvml, "nvmlDeviceGetName", handle),
        uuid=_ask(nvml, "nvmlDeviceGetUUID", handle),
        driver=_ask(nvml, "nvmlSystemGetDriverVersion"),
        capability=None if capability is None else tuple(capability),
        memory_total=getattr(memory, "total", None),
        memory_free=getattr(memory, "free", None),
        memory_used=getattr(memory, "used", None),
        utilisation=getattr(_ask(nvml, "nvmlDeviceGetUtilizationRates", handle), "gpu", None),
        mig_mode=None if mig is None else bool(mig[0]),
        processes=None if processes is None else len(processes),
    )


def _ask(nvml: Any, function: str, *args: Any) -> Any:
    """The answer, or None where the driver has none or an argument is itself unknown."""
    if any(arg is None for arg in args):
        return None
    try:
        return getattr(nvml, function)(*args)
    except nvml.NVMLError:
        return None
