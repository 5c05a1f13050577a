"""What the store takes; everything else is refused with what is allowed."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping

import numpy as np

from workbench.store.entry import DTYPES
from workbench.store.keys import ShardKey


def checked_limit(name: str, limit: int | None) -> int | None:
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise ValueError(f"{name} is {limit!r}; give a whole number of bytes, such as 20 * 2**30, or None for no limit")
    return limit


def checked_failed(failed: Mapping[int, str] | None, n: int) -> dict[int, str]:
    failed = {operator.index(index): str(reason) for index, reason in (failed or {}).items()}
    outside = [index for index in failed if not 0 <= index < n]
    if outside:
        raise ValueError(f"failed names sample {outside[0]}; the key has {n:,} samples, counted from 0")
    return failed


def checked_rows(key: ShardKey, rows: np.ndarray, failed: Mapping[int, str]) -> np.ndarray:
    dtype = rows.dtype if isinstance(rows, np.ndarray) else type(rows).__name__
    if not isinstance(rows, np.ndarray) or rows.dtype.name not in DTYPES or not rows.dtype.isnative:
        raise TypeError(f"rows are {dtype}; give a NumPy array of {', '.join(DTYPES)} (bfloat16 as float32)")
    expected = len(key.samples) - len(failed)
    if rows.ndim == 0 or len(rows) != expected:
        raise ValueError(
            f"rows of shape {rows.shape} for {len(key.samples):,} samples of which {len(failed):,} failed; give "
            f"{expected:,} rows, in the order of the samples"
        )
    _check_finite(key, rows, failed)
    return np.ascontiguousarray(rows)


def _check_finite(key: ShardKey, rows: np.ndarray, failed: Mapping[int, str]) -> None:
    step = max(1, 2**22 // max(1, math.prod(rows.shape[1:])))  # patch tokens are large: no second array of their size
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        bad = np.flatnonzero(~np.isfinite(block).all(axis=tuple(range(1, block.ndim))))
        if len(bad):
            row = start + int(bad[0])
            sample = [digest for index, digest in enumerate(key.samples) if index not in failed][row]
            hint = "; float16 ends at 65,504, keep float32" if rows.dtype == np.float16 else ""
            raise ValueError(
                f"row {row} (sample {sample[:12]}…) holds NaN or infinite values{hint}; leave it out and name the sample "
                "in failed= with a reason"
            )
