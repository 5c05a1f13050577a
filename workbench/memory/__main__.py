"""The child process of `measurement.py`: a spec on stdin, {"bytes": …} on stdout."""

from __future__ import annotations

import json
import re
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import torch

from workbench.memory.rehearsal import Task, rehearse
from workbench.models.dual_encoder import DualEncoder
from workbench.models.registry import load_model, skeleton


def main() -> None:
    spec = json.load(sys.stdin)
    with suppress(OSError):  # if memory runs out, the kernel should choose this process, not the notebook
        Path("/proc/self/oom_score_adj").write_text("1000")
    measured = _measure_cuda(spec) if spec["device"].startswith("cuda") else _measure_cpu(spec)
    print(json.dumps({"bytes": measured}))  # noqa: T201


def _load(spec: dict) -> DualEncoder:
    model = load_model(spec["name"], device=spec["device"], dtype=spec["dtype"])
    for name, p in model.module.named_parameters():
        p.requires_grad_(name in spec["trained"])
    return model


def _measure_cuda(spec: dict) -> int:
    model = _load(spec)
    torch.cuda.reset_peak_memory_stats(spec["device"])
    rehearse(model, Task(**spec["task"]), spec["device"])
    return torch.cuda.max_memory_allocated(spec["device"])


def _measure_cpu(spec: dict) -> int:
    skeleton(spec["name"])  # imports what loading imports: libraries are not the model's memory
    before = psutil.Process().memory_info().rss
    model = _load(spec)
    with suppress(OSError):  # Linux forgets the peak of loading here; elsewhere it stays in
        Path("/proc/self/clear_refs").write_text("5")
    rehearse(model, Task(**spec["task"]), spec["device"])
    return _peak_rss() - before


def _peak_rss() -> int:
    """The most resident bytes this process has had. On Linux from /proc: ru_maxrss inherits the parent's peak there."""
    with suppress(OSError, TypeError):
        return 1024 * int(re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)[1])
    info = psutil.Process().memory_info()
    if hasattr(info, "peak_wset"):  # Windows
        return info.peak_wset
    import resource  # which Windows lacks

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
