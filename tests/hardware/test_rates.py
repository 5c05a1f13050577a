"""Fast dtypes and the rates measured for them."""

import pytest

from workbench.hardware import Rate, fast_dtypes, measure_rate, rates
from workbench.hardware.rates import measured


@pytest.mark.parametrize(
    ("kind", "known", "dtypes"),
    [
        ("cpu", {}, ("float32",)),
        ("cpu", {"cpu_bfloat16": True}, ("float32", "bfloat16")),
        ("mps", {}, ("float32", "float16")),
        ("cuda", {}, ("float32", "float16")),
        ("cuda", {"capability": (7, 5)}, ("float32", "float16")),
        ("cuda", {"capability": (8, 0)}, ("float32", "float16", "bfloat16")),
        ("cuda", {"capability": (12, 0)}, ("float32", "float16", "bfloat16")),
    ],
)
def test_fast_dtypes(kind, known, dtypes):
    assert fast_dtypes(kind, **known) == dtypes


def test_rate_is_the_median_after_warm_up(monkeypatch):
    seconds = iter([100.0, 1.0, 50.0, 2.0])
    monkeypatch.setattr(rates, "_product_seconds", lambda matrix, out: next(seconds))
    assert measure_rate("cpu", "float32", 0) == pytest.approx(2 * 1024**3 / 2 / 1e9)


def test_a_device_that_cannot_compute_is_reported(monkeypatch):
    def full(*args):
        raise RuntimeError("CUDA out of memory\nby 1 GiB")

    monkeypatch.setattr(rates, "measure_rate", full)
    rate = measured(Rate("cuda:0", "float32"), 1)
    assert rate == Rate("cuda:0", "float32", None, "not measured: CUDA out of memory")
    assert rate.rows() == (("float32 on cuda:0", "not measured: CUDA out of memory"),)


@pytest.mark.parametrize(("gflops", "text"), [(0.1234, "0.12"), (5.67, "5.7"), (87.6, "88"), (712345, "710,000")])
def test_rates_show_two_digits(gflops, text):
    assert Rate("cpu", "float32", gflops).rows()[0][1] == f"{text} GFLOP/s"
