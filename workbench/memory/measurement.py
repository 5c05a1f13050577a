"""The rehearsal for real, in a child process (`__main__.py`), whose failure is an answer too."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.memory.rehearsal import Task
    from workbench.models.dual_encoder import DualEncoder

PATIENCE = 600  # seconds until a measurement is given up


@dataclass(frozen=True)
class Measurement:
    """Bytes at the peak, or None and a note that says what happened."""

    bytes: int | None
    note: str = ""
    out_of_memory: bool = False


def try_to_measure(
    model: DualEncoder, task: Task, device: str, predicted: int, available: int, *, loaded: bool
) -> Measurement:
    """What a child process measures, unless something speaks against starting one."""
    if device.startswith("mps"):
        return Measurement(None, "not measured: mps keeps no peak; leave more room than the plan does")
    if predicted > available:  # trying would push out other programs, this one included
        return Measurement(None, "not measured: the prediction is more than is available")
    if loaded and not _loads_by_name(model.name):
        return Measurement(None, "not measured: a child process can only load a model by name")
    trained = [name for name, p in model.module.named_parameters() if p.requires_grad]
    dtype = str(model.dtype).removeprefix("torch.")
    spec = {"name": model.name, "device": device, "dtype": dtype, "trained": trained, "task": vars(task)}
    return measure_in_child(spec)


def _loads_by_name(name: str) -> bool:
    from workbench.models.registry import skeleton

    try:
        skeleton(name)
    except (ValueError, OSError):
        return False
    return True


def measure_in_child(spec: dict, command: tuple[str, ...] = (sys.executable, "-m", "workbench.memory")) -> Measurement:
    """Run the rehearsal of `spec` in a child process and read its answer."""
    paths = [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    said = {"capture_output": True, "text": True, "encoding": "utf-8", "errors": "replace"}
    try:
        child = subprocess.run(command, input=json.dumps(spec), env=env, timeout=PATIENCE, check=False, **said)
    except subprocess.TimeoutExpired:
        return Measurement(None, f"not measured: no answer in {PATIENCE} s; try a smaller batch")
    answer = re.search(r'^{"bytes": (\d+)}$', child.stdout, re.MULTILINE)
    return Measurement(int(answer[1])) if answer else _failure(child.returncode, child.stderr)


def _failure(code: int, stderr: str) -> Measurement:
    """A killed process says nothing; one that raised says it in its last line."""
    last = next((line.strip() for line in reversed(stderr.splitlines()) if line.strip()), "")[:300]
    if code == -9 or re.search(r"out of memory|memory ?error|allocate memory", last, re.IGNORECASE):
        why = "was killed" if code == -9 else last
        note = f"not measured: the child process ran out of memory ({why}); try a smaller batch"
        return Measurement(None, note, out_of_memory=True)
    why = f"was stopped by signal {-code}" if code < 0 else f"failed ({last})"
    return Measurement(None, f"not measured: the child process {why}; see whether load_model opens it here")
