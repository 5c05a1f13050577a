"""Time that says something of the code: a collector's pause or a busy machine does not come three times in a row."""

import time
from collections.abc import Callable


def quickest(work: Callable[[], object], times: int = 3) -> float:
    """Processor seconds of the quickest of some runs; the guards that use it stand far above what is usual."""

    def once() -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    return min(once() for _ in range(times))
