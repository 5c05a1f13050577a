"""Memory: the machine's, and what is free on a device."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.hardware.cgroups import cgroup_memory
from workbench.hardware.facts import Facts
from workbench.records import human_bytes


@dataclass(frozen=True)
class Memory(Facts):
    """Main memory in bytes: `available` is what this process can still take, `limit` the cgroup's (None: none)."""

    total: int
    available: int
    limit: int | None

    caption = "Memory"

    def rows(self) -> tuple[tuple[str, str], ...]:
        limited = self.limit is not None and self.limit < self.total
        limit = f", limited to {human_bytes(self.limit)} by the cgroup" if limited else ""
        return (("memory", f"{human_bytes(self.total)}, {human_bytes(self.available)} available{limit}"),)


def probe_memory() -> Memory:
    """Main memory in bytes, as much of it as the cgroup leaves this process."""
    import psutil

    machine = psutil.virtual_memory()
    limit, headroom = cgroup_memory()
    return Memory(machine.total, machine.available if headroom is None else min(machine.available, headroom), limit)


def available_memory(device: str) -> int:
    """Bytes free right now on "cpu" or "mps" (both main memory, within the cgroup's limit) or a CUDA device.

    Asking about a CUDA device creates a context on it. Raises RuntimeError where torch has no CUDA, ValueError for
    any other device.
    """
    kind = device.partition(":")[0]
    if kind == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise RuntimeError(f"no memory of {device!r} to ask for: torch {torch.__version__} finds no CUDA device")
        return torch.cuda.mem_get_info(device)[0]
    if kind not in ("cpu", "mps"):
        raise ValueError(f"unknown device {device!r}; expected 'cpu', 'mps' or 'cuda:<index>'")
    return probe_memory().available
