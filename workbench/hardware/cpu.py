"""The processor: its name, the cores this process may use, its vector extensions."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from workbench.hardware.cgroups import PROC, ROOT, cgroup_cores, read
from workbench.hardware.facts import Facts, known

# The extensions that decide how fast a model runs, by torch.cpu.get_capabilities()'s names; the rest is noise.
_EXTENSIONS = (
    *("avx2", "avx512_f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16", "amx_fp16"),
    *("neon", "fp16_arith", "bf16", "i8mm", "sve", "sve2", "sme", "sme2"),
)


@dataclass(frozen=True)
class Cpu(Facts):
    """The processor: `usable` cores are those that affinity and the cgroup quota leave this process.

    `kernels` is the vector level torch's own kernels were picked for ("AVX512"); `extensions` what the chip has.
    """

    name: str
    physical: int | None
    logical: int
    usable: int
    kernels: str
    extensions: tuple[str, ...]

    caption = "CPU"

    def rows(self) -> tuple[tuple[str, str], ...]:
        physical = known("physical", self.physical, "{} physical".format)
        vectors = f"{', '.join(self.extensions) or 'unknown'} (torch kernels: {self.kernels})"
        return (
            ("CPU", self.name),
            ("cores", f"{physical}, {self.logical} logical, {self.usable} usable here"),
            ("vector extensions", vectors),
        )


def probe_cpu() -> Cpu:
    """The processor, with the cores this process may use (at least 1)."""
    import psutil
    import torch

    has = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}  # older torch has none
    return Cpu(
        name=cpu_name(),
        physical=psutil.cpu_count(logical=False),
        logical=os.cpu_count() or 1,
        usable=usable_cores(),
        kernels=torch.backends.cpu.get_cpu_capability(),
        extensions=tuple(name for name in _EXTENSIONS if has.get(name)),
    )


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's model name, or what little the platform says of it."""
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        name = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    else:
        found = re.search(r"^model name\s*:\s*(\S.*)$", read(cpuinfo), re.MULTILINE)
        name = found[1].strip() if found else ""
    return name or platform.processor() or platform.machine() or "unknown"


def usable_cores(proc: Path = PROC, root: Path = ROOT) -> int:
    """Cores this process may use: its affinity mask, cut to the whole cores of the cgroup's quota, at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_cores(proc, root)
    return allowed if quota is None else max(1, min(allowed, int(quota)))
