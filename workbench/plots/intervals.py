"""Means with their intervals, row by row: a table of scores or differences as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING

from workbench.evaluation.statistics import Interval
from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

ROWS, PANELS = 18, 4  # what can still be read in one figure
_WRAPPED = 26  # characters of a row's name on one line
_ROOM = (
    0.3,
    0.6,
    0.3,
    0.4,
)  # for the numbers, in widths of what is drawn, by panels; from three on without the interval

Rows = Mapping[str, Interval]


def spec(
    rows: Rows | Mapping[str, Rows],
    *,
    unit: str | Mapping[str, str] = "mAP, percent",
    zero: float | Mapping[str, float] | None = None,
    zero_name: str | Mapping[str, str] = "",
    marks: Mapping[str, str] | None = None,
) -> dict:
    """names in order, and panels[k] = title, unit, zero, zero_name, points: rows {name: Interval}, or panels of such rows.

    Intervals are fractions, points percent: [row, mean, low, high, n]. `zero` is a fraction as well, where to draw a line,
    such as chance or the 0 of differences, `zero_name` what is written at it; these and `unit` may differ by panel. `marks`
    names rows to emphasise and says in a word why. A row may be missing from a panel. Raises ValueError for no rows, more
    than 18, more than four panels, numbers that are not finite, or a mark or panel that does not exist; TypeError for
    what is no `Interval`.
    """
    panels = _panels(rows)
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    if not 1 <= len(names) <= ROWS or len(panels) > PANELS:
        raise ValueError(
            f"{len(names)} rows in {len(panels)} panels; give one to {ROWS} rows in up to {PANELS} panels, and what is more "
            "to another figure"
        )
    marks = dict(marks or {})
    _check_known("marks", marks, names)
    settings = {"unit": unit, "zero": zero, "zero_name": zero_name}
    for what, value in settings.items():
        _check_known(what, value if isinstance(value, Mapping) else {}, panels)
    return {
        "names": [theme.plain(name, 2 * _WRAPPED) for name in names],
        "marks": [theme.plain(marks[name], 24) if name in marks else None for name in names],
        "panels": [
            {
                "title": theme.plain(title, 30),
                "points": [_point(names.index(name), name, each) for name, each in panel.items()],
            }
            | _settings(settings, title)
            for title, panel in panels.items()
        ],
    }


def _panels(rows: Rows | Mapping[str, Rows]) -> dict[str, dict[str, Interval]]:
    """Rows that are not in panels become one panel without a title."""
    nested = [isinstance(each, Mapping) for each in rows.values()]
    if any(nested) and not all(nested):
        raise TypeError("some rows are intervals and some are panels of them; give one kind or the other")
    panels = {title: dict(panel) for title, panel in rows.items()} if any(nested) else {"": dict(rows)}
    for panel in panels.values():
        for name, each in panel.items():
            if not isinstance(each, Interval):
                raise TypeError(f"{name!r} is a {type(each).__name__}; give an Interval, as `bootstrap` returns")
            if not all(map(isfinite, (each.mean, each.low, each.high))):
                raise ValueError(f"{name!r} is {each}; an interval to draw has three finite numbers")
    return panels


def _check_known(what: str, given: Mapping, known) -> None:
    if unknown := [name for name in given if name not in known]:
        raise ValueError(f"{what} names {unknown[0]!r}, which is not there; there are {', '.join(map(repr, known))}")


def _settings(settings: dict, title: str) -> dict:
    found = {what: each.get(title) if isinstance(each, Mapping) else each for what, each in settings.items()}
    if found["zero"] is not None and not abs(found["zero"]) <= 1:
        raise ValueError(f"zero={found['zero']}; give a fraction, as the intervals are, such as chance or 0")
    return {
        "unit": theme.plain(found["unit"] or "percent", 40),
        "zero": None if found["zero"] is None else 100 * found["zero"],
        "zero_name": theme.plain(found["zero_name"] or "", 20),
    }


def _point(row: int, name: str, each: Interval) -> dict:
    mean, low, high = (100 * value for value in (each.mean, each.low, each.high))
    return {"row": row, "name": theme.plain(name), "mean": mean, "low": low, "high": high, "n": each.n}


def figure(spec: dict) -> go.Figure:
    """A dot for the mean, a bar for the 95 % interval, both in numbers beside it; a marked row has a diamond and its word."""
    from plotly.subplots import make_subplots

    panels, n = spec["panels"], len(spec["names"])
    fig = make_subplots(
        1,
        len(panels),
        shared_yaxes=True,
        horizontal_spacing=0.03,
        subplot_titles=[f"<b>{panel['title']}</b>" if panel["title"] else "" for panel in panels],
    )
    fig.update_annotations(font_size=13, yshift=14 if any(panel["zero_name"] for panel in panels) else 0)
    for column, panel in enumerate(panels, 1):
        _draw(fig, panel, spec["marks"], column, len(panels))
    fig.update_yaxes(range=[n - 0.4, -0.6], showgrid=False, zeroline=False)
    fig.update_yaxes(tickvals=list(range(n)), ticktext=_labels(spec), automargin=True, col=1)
    fig.update_xaxes(zeroline=False, nticks=6, title_standoff=6)
    titled = 20 * any(panel["title"] for panel in panels) + 18 * any(panel["zero_name"] for panel in panels)
    margin = {"t": 12 + titled, "b": 45, "l": 20, "r": 10}
    height = min(420, margin["t"] + margin["b"] + max(34 * n, 90))
    fig.update_layout(template=theme.template(), height=height, margin=margin, showlegend=False)
    return fig


def _draw(fig: go.Figure, panel: dict, marks: list, column: int, columns: int) -> None:
    points, place = panel["points"], {"row": 1, "col": column, "showarrow": False, "font": {"size": 11}}
    marked = [marks[point["row"]] is not None for point in points]
    for chosen, symbol, colour in ((False, "circle", theme.COLOURS[0]), (True, "diamond", theme.COLOURS[1])):
        if drawn := [point for point, mark in zip(points, marked, strict=True) if mark == chosen]:
            fig.add_trace(_dots(drawn, symbol, colour), 1, column)
    if panel["zero"] is not None:
        fig.add_vline(panel["zero"], line={"dash": "dash", "color": theme.GREY}, row=1, col=column)
        if panel["zero_name"]:
            at = {"x": panel["zero"], "y": 1, "yref": "y domain", "yanchor": "bottom"} | place
            fig.add_annotation(text=panel["zero_name"], **at)
    for point in points:
        at = {"x": 1, "xref": "x domain", "xanchor": "right", "y": point["row"], "bgcolor": "white"} | place
        fig.add_annotation(text=_written(point, columns > 2), **at)
    fig.update_xaxes(
        title={"text": panel["unit"], "font": {"size": 12}}, range=_range(panel, columns), row=1, col=column
    )


def _dots(points: list[dict], symbol: str, colour: str) -> go.Scatter:
    import plotly.graph_objects as go

    return go.Scatter(
        x=[point["mean"] for point in points],
        y=[point["row"] for point in points],
        error_x=theme.of_points(points, "mean", thickness=3, width=0),
        mode="markers",
        marker={"symbol": symbol, "color": colour, "size": 9},
        customdata=[[point["name"], point["low"], point["high"], point["n"]] for point in points],
        hovertemplate="%{customdata[0]}<br>%{x:.2f} [%{customdata[1]:.2f}, %{customdata[2]:.2f}]"
        "<br>n %{customdata[3]}<extra></extra>",
    )


def _range(panel: dict, columns: int) -> tuple[float, float]:
    """All bars and the line, and to the right of them room for the numbers."""
    ends = [value for point in panel["points"] for value in (point["low"], point["mean"], point["high"])]
    ends += [] if panel["zero"] is None else [panel["zero"]]
    low, high = min(ends, default=0), max(ends, default=1)
    span = high - low or 1.0
    return low - 0.05 * span, high + (_ROOM[columns - 1] + 0.05) * span


def _written(point: dict, brief: bool) -> str:
    mean, low, high = (f"{round(point[key], 1) + 0.0:.1f}".replace("-", "−") for key in ("mean", "low", "high"))
    return mean if brief else f"<b>{mean}</b> [{low}, {high}]"


def _labels(spec: dict) -> list[str]:
    """Names, long ones on two lines where rows leave room; a mark's word beside."""
    roomy = len(spec["names"]) <= 10
    named = zip(spec["names"], spec["marks"], strict=True)
    return [_label(name, mark, roomy) for name, mark in named]


def _label(name: str, mark: str | None, roomy: bool) -> str:
    lines = _halves(name) if roomy and len(name) > _WRAPPED else [name]
    if mark:
        lines = [f"<b>{line}</b>" for line in lines]
        lines[-1] += f" ({mark})"
    return "<br>".join(lines)


def _halves(name: str) -> list[str]:
    """Two lines of about equal length; a name without spaces stays whole."""
    import textwrap

    return textwrap.wrap(name, max(_WRAPPED, len(name) // 2 + 4), break_long_words=False, break_on_hyphens=False)
