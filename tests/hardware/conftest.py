"""A stand-in for pynvml, and the GPU it describes."""

from types import SimpleNamespace

import pynvml
import pytest

from workbench.hardware import Gpu

GIB = 2**30


def refuse(code=pynvml.NVML_ERROR_NOT_SUPPORTED):
    raise pynvml.NVMLError(code)


class FakeNvml:
    """pynvml with `gpus` GPUs, of which GPU i has `instances.get(i, 0)` MIG instances; `failing` functions refuse."""

    NVMLError = pynvml.NVMLError
    NVMLError_LibraryNotFound = pynvml.NVMLError_LibraryNotFound

    def __init__(self, gpus=1, instances=None, failing=(), init_error=None):
        self.instances, self.init_error = instances or {}, init_error
        self.calls = []
        answers = {
            "nvmlDeviceGetCount": lambda: gpus,
            "nvmlDeviceGetHandleByIndex": lambda index: (index, None),
            "nvmlDeviceGetMaxMigDeviceCount": lambda handle: 7 if handle[0] in self.instances else 0,
            "nvmlDeviceGetMigDeviceHandleByIndex": self.mig_handle,
            "nvmlDeviceGetName": lambda handle: f"Card {handle[0]}" + ("" if handle[1] is None else " 1g.10gb"),
            "nvmlDeviceGetUUID": lambda handle: f"GPU-{handle[0]}a" if handle[1] is None else f"MIG-{handle[1]}f",
            "nvmlSystemGetDriverVersion": lambda: "580.1",
            "nvmlDeviceGetCudaComputeCapability": self.capability,
            "nvmlDeviceGetMemoryInfo": self.memory,
            "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=3, memory=1),
            "nvmlDeviceGetMigMode": lambda handle: [int(handle[0] in self.instances), 0],
            "nvmlDeviceGetComputeRunningProcesses": lambda handle: [object(), object()],
        }
        for name, answer in answers.items():
            setattr(self, name, (lambda *args: refuse()) if name in failing else answer)
        assert all(hasattr(pynvml, name) for name in answers)

    def nvmlInit(self):  # noqa: N802
        if self.init_error is not None:
            refuse(self.init_error)
        self.calls.append("init")

    def nvmlShutdown(self):  # noqa: N802
        self.calls.append("shutdown")

    def mig_handle(self, handle, slot):
        return (handle[0], slot) if slot < self.instances[handle[0]] else refuse(pynvml.NVML_ERROR_NOT_FOUND)

    def capability(self, handle):
        return (9, 0) if handle[1] is None else refuse()

    def memory(self, handle):
        total = 80 * GIB if handle[1] is None else 10 * GIB
        return SimpleNamespace(total=total, free=total - GIB, used=GIB)


@pytest.fixture
def fake_nvml():
    return FakeNvml


@pytest.fixture
def whole_gpu():
    """What the probe makes of `FakeNvml`'s first GPU."""
    return Gpu(
        index=0,
        name="Card 0",
        uuid="GPU-0a",
        driver="580.1",
        capability=(9, 0),
        memory_total=80 * GIB,
        memory_free=79 * GIB,
        memory_used=GIB,
        utilisation=3,
        mig_mode=False,
        processes=2,
    )
