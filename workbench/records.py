"""How a result shows itself: rounded, stable text (what nbval compares) and an escaped HTML table."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape


@dataclass(frozen=True)
class Table:
    """A captioned table of strings; every row is as long as `header`. Cells are untrusted text: HTML escapes them."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...] = field(default_factory=tuple)

    def __post_init__(self):
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"row {row!r} has {len(row)} cells; the header {self.header!r} has {len(self.header)}")

    def text(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in (self.header, *self.rows)
        ]
        return "\n".join([self.caption, *(line.rstrip() for line in lines)])

    def html(self) -> str:
        head = "".join(f'<th scope="col" style="text-align:left">{escape(cell)}</th>' for cell in self.header)
        body = "".join(f"<tr>{_html_row(row)}</tr>" for row in self.rows)
        return f"<table><caption>{escape(self.caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def markdown(self) -> str:
        """The rows without the caption, for a file that people read."""
        rows = (self.header, ("---",) * len(self.header), *self.rows)
        return "\n".join(f"| {' | '.join(map(plain_markdown, row))} |" for row in rows)

    def __str__(self) -> str:
        return self.text()

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/plain": self.text(), "text/html": self.html()}


def plain_markdown(text: str) -> str:
    """Text in one line that can neither end its cell nor become markup."""
    return " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def _html_row(row: tuple[str, ...]) -> str:
    first, *rest = row
    cells = "".join(f'<td dir="auto" style="text-align:left">{escape(cell)}</td>' for cell in rest)
    return f'<th scope="row" dir="auto" style="text-align:left">{escape(first)}</th>{cells}'


class Record:
    """Base of frozen result dataclasses: subclasses say `table()`, notebooks and terminals show it."""

    def table(self) -> Table:
        raise NotImplementedError(f"{type(self).__name__} has no table()")

    def __str__(self) -> str:
        return self.table().text()

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return self.table()._repr_mimebundle_()


def rounded(value: float, digits: int = 2) -> str:
    """A number for a table, without the sign of a zero: -0.001 -> '0.00'."""
    return f"{round(float(value), digits) + 0.0:.{digits}f}"


def human_bytes(n: float) -> str:
    """Bytes with a binary unit, three significant figures: 17179869184 -> '16.0 GiB'."""
    units = ["TiB", "GiB", "MiB", "KiB", "B"]
    while abs(n) >= 1000 and len(units) > 1:
        n, _ = n / 1024, units.pop()
    return f"{n:.0f} {units[-1]}" if units[-1] == "B" or abs(n) >= 100 else f"{n:.1f} {units[-1]}"
