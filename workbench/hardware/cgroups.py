"""The memory and CPU limits that Linux control groups (v1 and v2) put on this process.

Everywhere `proc` is the process's /proc/self/cgroup and `root` where the hierarchies are mounted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

PROC = Path("/proc/self/cgroup")
ROOT = Path("/sys/fs/cgroup")
_UNLIMITED = 2**60  # v1 writes "no limit" as the largest page-aligned int64


def cgroup_memory(proc: Path = PROC, root: Path = ROOT) -> tuple[int | None, int | None]:
    """(limit, headroom) in bytes: the tightest between the process's cgroup and the root; None where none limits."""
    levels = [(level, _memory_limit(level)) for level in _levels("memory", proc, root)]
    limited = [(level, limit) for level, limit in levels if limit is not None]
    rooms = (max(0, limit - _memory_in_use(level)) for level, limit in limited)
    return min((limit for _, limit in limited), default=None), min(rooms, default=None)


def cgroup_cores(proc: Path = PROC, root: Path = ROOT) -> float | None:
    """The tightest CPU quota between the process's cgroup and the root, in cores; None where none limits."""
    quotas = (_quota(level) for level in _levels("cpu", proc, root))
    return min((quota for quota in quotas if quota is not None), default=None)


def _levels(controller: str, proc: Path, root: Path) -> Iterator[Path]:
    """The directories that may govern `controller`, from the process's cgroup up to the root of each hierarchy."""
    for line in read(proc).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        base = root / controller if controllers else root  # v2's one hierarchy names no controllers
        inside = PurePosixPath(path.lstrip("/"))
        if ".." in inside.parts:  # a cgroup outside this namespace's root: only the root can be seen
            inside = PurePosixPath()
        yield from (base / level for level in (inside, *inside.parents))


def _memory_limit(level: Path) -> int | None:
    limits = (_number(level / name) for name in ("memory.max", "memory.limit_in_bytes"))
    return next((limit for limit in limits if limit is not None and limit < _UNLIMITED), None)


def _memory_in_use(level: Path) -> int:
    """Bytes the cgroup holds less the page cache that the kernel drops before it refuses memory."""
    used = _number(level / "memory.current") or _number(level / "memory.usage_in_bytes") or 0
    stat = dict(re.findall(r"^(\w+) (\d+)$", read(level / "memory.stat"), re.MULTILINE))
    cache = stat.get("total_inactive_file") or stat.get("inactive_file") or 0  # v1's total_ counts the children too
    return max(0, used - int(cache))


def _quota(level: Path) -> float | None:
    quota, period = _number(level / "cpu.cfs_quota_us"), _number(level / "cpu.cfs_period_us")
    words = read(level / "cpu.max").split()
    if len(words) == 2 and words[0] != "max":
        quota, period = map(int, words)
    return quota / period if quota and period and quota > 0 else None


def _number(path: Path) -> int | None:
    text = read(path).strip()
    return int(text) if re.fullmatch(r"-?\d+", text) else None


def read(path: Path) -> str:
    """The file's text, empty where it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
