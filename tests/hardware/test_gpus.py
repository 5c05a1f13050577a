"""The GPUs a driver describes, and the ones CUDA sees."""

import dataclasses

import pynvml
import pytest

from workbench.hardware import Gpu, probe_gpus, visible_devices

GIB = 2**30


def test_no_library_is_an_answer(fake_nvml):
    nvml = fake_nvml(init_error=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    gpus, notes = probe_gpus(nvml)
    assert gpus == ()
    assert notes == ("no NVIDIA driver: NVML Shared Library Not Found",)
    assert nvml.calls == []


def test_a_broken_driver_is_named(fake_nvml):
    gpus, (note,) = probe_gpus(fake_nvml(init_error=pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH))
    assert gpus == ()
    assert note.startswith("NVIDIA driver not usable: ")


@pytest.mark.parametrize("count", [0, 1, 8])
def test_gpus_are_listed_in_order(fake_nvml, count):
    nvml = fake_nvml(count)
    gpus, notes = probe_gpus(nvml)
    assert [gpu.index for gpu in gpus] == list(range(count))
    assert [gpu.name for gpu in gpus] == [f"Card {i}" for i in range(count)]
    assert notes == ()
    assert nvml.calls == ["init", "shutdown"]


def test_every_field_is_read(fake_nvml, whole_gpu):
    assert probe_gpus(fake_nvml())[0] == (whole_gpu,)


@pytest.mark.parametrize(
    ("function", "fields"),
    [
        ("nvmlDeviceGetName", ["name"]),
        ("nvmlDeviceGetUUID", ["uuid"]),
        ("nvmlSystemGetDriverVersion", ["driver"]),
        ("nvmlDeviceGetCudaComputeCapability", ["capability"]),
        ("nvmlDeviceGetMemoryInfo", ["memory_total", "memory_free", "memory_used"]),
        ("nvmlDeviceGetUtilizationRates", ["utilisation"]),
        ("nvmlDeviceGetMigMode", ["mig_mode"]),
        ("nvmlDeviceGetComputeRunningProcesses", ["processes"]),
        ("nvmlDeviceGetMaxMigDeviceCount", []),
    ],
)
def test_a_failing_field_is_unknown_and_the_others_stay(fake_nvml, whole_gpu, function, fields):
    nvml = fake_nvml(failing=[function])
    (gpu,), notes = probe_gpus(nvml)
    assert gpu == dataclasses.replace(whole_gpu, **dict.fromkeys(fields))
    assert notes == ()
    assert nvml.calls == ["init", "shutdown"]


def test_a_lost_gpu_keeps_its_place(fake_nvml):
    (gpu,), _ = probe_gpus(fake_nvml(failing=["nvmlDeviceGetHandleByIndex"]))
    assert gpu == Gpu(index=0, driver="580.1")


def test_an_uncounted_machine_is_a_note_and_is_shut_down(fake_nvml):
    nvml = fake_nvml(failing=["nvmlDeviceGetCount"])
    gpus, (note,) = probe_gpus(nvml)
    assert gpus == ()
    assert "Not Supported" in note
    assert nvml.calls == ["init", "shutdown"]


def test_the_library_is_shut_down_when_a_probe_breaks(fake_nvml):
    nvml = fake_nvml()
    nvml.nvmlDeviceGetName = lambda handle: 1 / 0
    with pytest.raises(ZeroDivisionError):
        probe_gpus(nvml)
    assert nvml.calls == ["init", "shutdown"]


def test_mig_instances_are_devices_with_their_own_memory(fake_nvml):
    gpus, _ = probe_gpus(fake_nvml(2, instances={1: 2}))
    assert [(gpu.index, gpu.mig_index, gpu.mig_mode) for gpu in gpus] == [
        (0, None, False),
        (1, None, True),
        (1, 0, True),
        (1, 1, True),
    ]
    assert [gpu.memory_total // GIB for gpu in gpus] == [80, 80, 10, 10]
    assert gpus[3].uuid == "MIG-1f"
    assert gpus[3].capability == (9, 0)  # the whole chip's: this driver refuses it for an instance


THREE = tuple(Gpu(index, uuid=uuid) for index, uuid in enumerate(["GPU-aa1", "GPU-ab2", "GPU-b3"]))
DIVIDED = (
    Gpu(0, uuid="GPU-aa", mig_mode=False),
    Gpu(1, uuid="GPU-bb", mig_mode=True),
    Gpu(1, 0, uuid="MIG-c1", mig_mode=True),
    Gpu(1, 1, uuid="MIG-d2", mig_mode=True),
)


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("1", [1]),
        ("2,0", [2, 0]),
        (" 2 , 0 ", [2, 0]),
        ("0,-1,1", [0]),
        ("0,7,1", [0]),
        ("0,,1", [0]),
        ("1x", [1]),
        ("1,1", []),
        ("GPU-ab2", [1]),
        ("GPU-b", [2]),
        ("GPU-b,GPU-aa", [2, 0]),
        ("GPU-a", []),
        ("GPU-b,GPU-a,GPU-aa", [2]),
        ("GPU-zz,GPU-b", []),
        ("GPU-b,0", [2]),
        ("0,GPU-b", [0]),
        ("MIG-c1", []),
    ],
)
def test_visible_devices(value, seen):
    assert [gpu.index for gpu in visible_devices(value, THREE)] == seen


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (None, [(1, 0)]),
        ("0", [(0, None)]),
        ("1", [(1, 0)]),
        ("0,1", [(1, 0)]),
        ("GPU-bb", [(1, 0)]),
        ("MIG-d2", [(1, 1)]),
        ("MIG-d2,MIG-c1", [(1, 1)]),
        ("MIG-zz", []),
    ],
)
def test_cuda_sees_one_mig_instance_and_nothing_else(value, seen):
    assert [(gpu.index, gpu.mig_index) for gpu in visible_devices(value, DIVIDED)] == seen


def test_a_gpu_in_mig_mode_without_instances_is_not_seen():
    assert visible_devices(None, DIVIDED[:2]) == DIVIDED[:1]


def test_devices_without_a_uuid_are_found_by_index_only():
    assert visible_devices("GPU-a", (Gpu(0),)) == ()
    assert visible_devices("0", (Gpu(0),)) == (Gpu(0),)
