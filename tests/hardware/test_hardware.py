"""The whole probe, of faked machines and of this one, and its report."""

import dataclasses
import subprocess
import sys

import pytest

from workbench import hardware
from workbench.hardware import Gpu, Rate
from workbench.records import Record

GIB = 2**30


def test_importing_is_cheap():
    code = (
        "import sys, workbench.hardware; print([m for m in ('torch', 'pynvml', 'psutil', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_this_machine():
    import torch

    before, threads = torch.get_rng_state(), torch.get_num_threads()
    report = hardware.probe_hardware(measure_seconds=0.2)
    rates = {(rate.device, rate.dtype): rate.gflops for rate in report.rates}
    assert rates["cpu", "float32"] > 0.1
    assert ("cpu", "float16") not in rates
    advice = report.recommendation
    assert advice.device.startswith(("cpu", "mps", "cuda:"))
    assert (advice.device, advice.dtype) in rates
    assert 1 <= advice.batch_size <= 256
    assert 0 <= advice.workers <= 8
    assert 1 <= report.cpu.usable <= report.cpu.logical
    assert 0 < report.memory.available <= report.memory.total
    assert report.cpu.name
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("gpus", [None, 2])
def test_without_measuring_nothing_is_timed_and_no_context_made(monkeypatch, gpus, fake_nvml):
    import torch

    monkeypatch.setattr("workbench.hardware.rates.measure_rate", lambda *args: pytest.fail("measured"))
    monkeypatch.setattr("torch.cuda._lazy_init", lambda: pytest.fail("made a CUDA context"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    before = torch.cuda.is_initialized()  # False, unless another test of this process computed on a GPU
    report = hardware.probe_hardware(measure_seconds=0, nvml=gpus and fake_nvml(gpus))
    assert torch.cuda.is_initialized() == before
    assert report.rates
    assert all(rate.gflops is None for rate in report.rates)


def test_hidden_gpus_stay_in_the_report(monkeypatch, fake_nvml):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    report = hardware.probe_hardware(measure_seconds=0, nvml=fake_nvml(3))
    assert [gpu.cuda_index for gpu in report.gpus] == [1, None, 0]
    assert [gpu.visible for gpu in report.gpus] == [True, False, True]
    assert list(dict.fromkeys(rate.device for rate in report.rates)) == ["cpu", "cuda:0", "cuda:1"]
    assert report.recommendation.device == "cuda:0"
    assert "Card 2" in report.recommendation.reason
    assert any("CUDA_DEVICE_ORDER" in note for note in report.notes)


def test_with_every_gpu_hidden_cuda_is_not_even_asked(monkeypatch, fake_nvml):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("torch.cuda.is_available", lambda: pytest.fail("asked"))
    report = hardware.probe_hardware(measure_seconds=0, nvml=fake_nvml())
    assert [gpu.visible for gpu in report.gpus] == [False]
    assert report.recommendation.device in ("cpu", "mps")


def test_a_gpu_torch_cannot_use_is_a_note(monkeypatch, fake_nvml):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    report = hardware.probe_hardware(measure_seconds=0, nvml=fake_nvml())
    assert report.gpus[0].visible
    assert report.recommendation.device in ("cpu", "mps")
    assert not any(rate.device.startswith("cuda") for rate in report.rates)
    assert len(report.notes) == 1
    assert "cannot use it" in report.notes[0]


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_measure_seconds_is_checked(seconds):
    with pytest.raises(ValueError, match="measure_seconds"):
        hardware.probe_hardware(measure_seconds=seconds)


@pytest.fixture
def report(whole_gpu):
    return hardware.HardwareReport(
        cpu=hardware.Cpu("A <fast> CPU", 2, 4, 3, "AVX2", ("avx2",)),
        memory=hardware.Memory(8 * GIB, GIB, 2 * GIB),
        gpus=(dataclasses.replace(whole_gpu, cuda_index=0), Gpu(1)),
        mps=False,
        rates=(Rate("cpu", "float32", 66.6), Rate("cuda:0", "float16")),
        recommendation=hardware.Recommendation("cpu", "float32", 8, 2, "It is there."),
        notes=("something odd",),
    )


def test_the_table_reads(report):
    table = report.table()
    assert (table.caption, table.header) == ("This machine", ("what", "value"))
    assert table.rows == (
        ("CPU", "A <fast> CPU"),
        ("cores", "2 physical, 4 logical, 3 usable here"),
        ("vector extensions", "avx2 (torch kernels: AVX2)"),
        ("memory", "8.0 GiB, 1.0 GiB available, limited to 2.0 GiB by the cgroup"),
        (
            "GPU 0",
            "Card 0, 80.0 GiB, 79.0 GiB free, capability 9.0, driver 580.1, 3 % busy, compute processes: 2, cuda:0",
        ),
        (
            "GPU 1",
            "name unknown, memory unknown, free memory unknown, capability unknown, driver unknown, "
            "utilisation unknown, compute processes unknown, not visible to CUDA",
        ),
        ("float32 on cpu", "67 GFLOP/s"),
        ("float16 on cuda:0", "not measured"),
        ("recommended", "float32 on cpu, batches of 8, workers: 2"),
        ("because", "It is there."),
        ("note", "something odd"),
    )


@pytest.mark.parametrize("limit", [None, 8 * GIB, 99 * GIB])
def test_a_limit_above_the_machine_is_not_shown(report, limit):
    assert "cgroup" not in str(dataclasses.replace(report, memory=hardware.Memory(8 * GIB, GIB, limit)))


def test_it_shows_in_a_notebook(report):
    bundle = report._repr_mimebundle_()
    assert bundle["text/plain"].startswith("This machine\nwhat ")
    assert "A &lt;fast&gt; CPU" in bundle["text/html"]


def test_every_part_is_a_record_with_a_table(report):
    for part in (report, report.cpu, report.memory, *report.gpus, *report.rates, report.recommendation):
        assert isinstance(part, Record)
        assert part.table().rows == part.rows() != ()
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.mps = True
