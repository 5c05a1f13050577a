"""What a machine is recommended to run a model with."""

import pytest

from workbench.hardware import Gpu, batch_size, recommend

GIB = 2**30


@pytest.mark.parametrize(
    ("free", "device", "dtype", "size"),
    [
        (None, "cuda:0", "bfloat16", 16),
        (0, "cpu", "float32", 1),
        (128 * 2**20, "cpu", "float32", 1),
        (2 * GIB, "cpu", "float32", 16),
        (3 * GIB, "cpu", "float32", 16),
        (2 * GIB, "cuda:0", "float16", 32),
        (99 * GIB, "cpu", "float32", 64),
        (99 * GIB, "cuda:0", "float16", 256),
    ],
)
def test_batch_size(free, device, dtype, size):
    assert batch_size(free, device=device, dtype=dtype) == size


@pytest.mark.parametrize(
    ("gpus", "mps", "device", "dtype"),
    [
        ([], False, "cpu", "float32"),
        ([Gpu(0, capability=(9, 0))], False, "cpu", "float32"),
        ([], True, "mps", "float32"),
        ([Gpu(0, capability=(9, 0), cuda_index=0)], True, "cuda:0", "bfloat16"),
        ([Gpu(0, capability=(7, 5), cuda_index=0)], False, "cuda:0", "float16"),
        ([Gpu(0, cuda_index=0)], False, "cuda:0", "float16"),
    ],
)
def test_recommended_device_and_dtype(gpus, mps, device, dtype):
    advice = recommend(gpus, mps=mps, free_memory=2 * GIB, cores=4)
    assert (advice.device, advice.dtype) == (device, dtype)
    assert advice.reason.endswith(".")


def test_the_gpus_own_memory_decides_its_batches():
    small = Gpu(0, cuda_index=1, memory_free=GIB)
    first = Gpu(1, cuda_index=0, memory_free=4 * GIB)
    assert recommend([small, first], mps=False, free_memory=99 * GIB, cores=4).batch_size == 64


@pytest.mark.parametrize(("cores", "workers"), [(1, 0), (2, 1), (9, 8), (64, 8)])
def test_workers(cores, workers):
    assert recommend([], mps=False, free_memory=GIB, cores=cores).workers == workers
