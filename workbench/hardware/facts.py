"""Records that show as a list of facts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workbench.records import Record, Table


class Facts(Record):
    """A record that is a list of facts: one (what, value) row each."""

    caption = ""

    def rows(self) -> tuple[tuple[str, str], ...]:
        raise NotImplementedError(f"{type(self).__name__} has no rows()")

    def table(self) -> Table:
        return Table(self.caption, ("what", "value"), self.rows())


def known(what: str, value: Any, show: Callable[[Any], str] = str) -> str:
    """The value as `show` writes it; None is unknown."""
    return f"{what} unknown" if value is None else show(value)
