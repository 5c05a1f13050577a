"""Errors in callbacks: shown in the panel's status line, never swallowed, never half a redraw."""

from __future__ import annotations

from functools import wraps


def guarded(method):
    """A panel method whose error becomes the status line; the last good view stays. `panel.strict` raises it as well.

    ipywidgets drops exceptions of callbacks, so without this a bad caption would look like a panel that hangs.
    """

    @wraps(method)
    def run(self, *args, **kwargs):
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            self.say(
                f"{error}"
                if isinstance(error, (ValueError, TypeError, OSError))
                else f"{type(error).__name__}: {error}",
                error=True,
            )
            if self.strict:
                raise

    return run
