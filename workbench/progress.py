"""Progress of long work: one bar, the same everywhere."""

from __future__ import annotations

import os
from collections.abc import Iterable


def bar(work: Iterable | None = None, what: str = "", *, total: int | None = None):
    """A tqdm bar that appears after a second and goes when the work is done; a widget in JupyterLab, a line in a shell.

    TQDM_DISABLE=1 switches it off. The trap: tqdm's own widget does not listen to that variable.
    """
    from tqdm.auto import tqdm

    off = os.environ.get("TQDM_DISABLE", "").lower() not in ("", "0", "false")
    return tqdm(work, desc=what, total=total, delay=1, leave=False, disable=off)
