"""Two things timed in turn in one process, so that a machine that slows down slows both."""

from __future__ import annotations

import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def in_turn(ours: Callable[[], object], peer: Callable[[], object], repeats: int = 7) -> tuple[float, float, float]:
    """Median seconds of ours and of the peer, and the median of the ratios pair by pair, after one warm-up of each."""
    ours(), peer()
    pairs = [(seconds(ours), seconds(peer)) for _ in range(repeats)]
    a, b = zip(*pairs, strict=True)
    return statistics.median(a), statistics.median(b), statistics.median(x / y for x, y in pairs)


def row(what: str, measured: str, target: str) -> None:
    print(f"{what:<58} {measured:<46} target {target}")


def forget_peak() -> None:
    """Linux only: ru_maxrss would carry over what came before."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Bytes of memory at the peak since `forget_peak`; 0 where it is not told."""
    if sys.platform != "linux":
        return 0
    return 1024 * int(re.search(r"^VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)[1])
