"""The processor and main memory."""

import sys

import pytest

from workbench.hardware import available_memory, cgroup_cores, cpu_name, usable_cores


@pytest.mark.parametrize(("quota", "cores"), [("50000 100000\n", 0.5), ("150000 100000\n", 1.5)])
def test_only_whole_cores_count_but_at_least_one(tmp_path, quota, cores):
    (tmp_path / "proc").write_text("0::/\n")
    (tmp_path / "cpu.max").write_text(quota)
    assert cgroup_cores(tmp_path / "proc", tmp_path) == cores
    assert usable_cores(tmp_path / "proc", tmp_path) == 1


def test_cores_without_a_quota(tmp_path):
    assert usable_cores(tmp_path / "proc", tmp_path) >= 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/cpuinfo")
@pytest.mark.parametrize(
    ("cpuinfo", "known"),
    [
        ("processor : 0\nmodel\t\t: 2\nmodel name\t: A  CPU \nmodel name\t: B\n", True),
        ("BogoMIPS : 1\n", False),
        (None, False),
    ],
)
def test_cpu_name(tmp_path, cpuinfo, known):
    if cpuinfo is not None:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    name = cpu_name(tmp_path / "cpuinfo")
    assert name == "A  CPU" if known else name not in ("", "1")


def test_available_memory_heeds_the_cgroup(monkeypatch):
    monkeypatch.setattr("workbench.hardware.memory.cgroup_memory", lambda: (2000, 1000))
    assert available_memory("cpu") == 1000
    monkeypatch.setattr("workbench.hardware.memory.cgroup_memory", lambda: (2**62, 2**62))
    assert 1000 < available_memory("cpu") < 2**50


def test_an_unknown_device_has_no_memory():
    with pytest.raises(ValueError, match="tpu"):
        available_memory("tpu")


def test_cuda_memory_without_cuda(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(RuntimeError, match="cuda:0"):
        available_memory("cuda:0")
