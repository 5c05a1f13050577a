"""Child processes that fail or chat, and one real measurement."""

import re
import sys

import pytest

from workbench.memory import measurement, plan_memory
from workbench.memory.measurement import Measurement, measure_in_child


@pytest.mark.parametrize(
    ("code", "out_of_memory", "says"),
    [
        ("import os; os.kill(os.getpid(), 9)", True, r"ran out of memory \(was killed\); try a smaller batch"),
        ("raise MemoryError", True, r"ran out of memory \(MemoryError\)"),
        ("raise RuntimeError('DefaultCPUAllocator: can\\'t allocate memory')", True, "DefaultCPUAllocator"),
        ("raise ValueError('no such model')", False, r"failed \(ValueError: no such model\); see whether load_model"),
        ("import os; os.kill(os.getpid(), 11)", False, "was stopped by signal 11"),
        ("print('hello')", False, "failed"),
    ],
)
def test_a_child_that_fails_is_an_answer(code, out_of_memory, says):
    found = measure_in_child({}, (sys.executable, "-c", code))
    assert found.bytes is None
    assert found.out_of_memory is out_of_memory
    assert re.search(says, found.note)


def test_a_child_that_takes_too_long_is_given_up(monkeypatch):
    monkeypatch.setattr(measurement, "PATIENCE", 0.2)
    found = measure_in_child({}, (sys.executable, "-c", "import time; time.sleep(60)"))
    assert (found.bytes, found.note) == (None, "not measured: no answer in 0.2 s; try a smaller batch")


def test_libraries_may_chat_before_the_answer():
    chatty = "import json; print('loading…'); print(json.dumps({'bytes': 12})); print('bye')"
    assert measure_in_child({}, (sys.executable, "-c", chatty)) == Measurement(12)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux forgets the peak of loading")
def test_the_prediction_against_a_real_measurement():
    plan = plan_memory("lite0-minilm", 16, device="cpu")
    assert plan.measured is not None, plan.notes
    assert 0.4 < plan.ratio < 3
