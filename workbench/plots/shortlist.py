"""Two-stage retrieval: recall at 1 against the length of the list that a slower scorer puts in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.evaluation.statistics import Interval
from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star")

Curve = Mapping[int, Sequence[Interval]]


def spec(heads: Mapping[str, Curve], reached: Curve) -> dict:
    """k in order; lines[k] = name, percent, low, high by length; `reached` percent on the list, and every line's n.

    heads[name][k] = an interval for each seed; means of seeds are drawn, with the lowest and highest end of their intervals.
    `reached` is what no order of a list can exceed. A list of one is the first stage alone. Raises ValueError for no heads, more
    than six, or lengths that differ between them.
    """
    if not 1 <= len(heads) <= len(SYMBOLS):
        raise ValueError(f"{len(heads)} heads; give one to {len(SYMBOLS)}, which can be told apart")
    lengths = sorted(reached)
    for name, each in heads.items():
        if sorted(each) != lengths:
            raise ValueError(f"{name} has lists of {sorted(each)}, the share reached of {lengths}; give the same")
    return {
        "k": lengths,
        "lines": [{"name": theme.plain(name, 30), **_line([each[k] for k in lengths])} for name, each in heads.items()],
        "reached": _line([reached[k] for k in lengths])["percent"],
        "n": next(iter(reached[lengths[0]])).n,
    }


def _line(found: Sequence[Sequence[Interval]]) -> dict[str, list[float]]:
    return {
        "percent": [100 * float(np.mean([each.mean for each in seeds])) for seeds in found],
        "low": [100 * min(each.low for each in seeds) for seeds in found],
        "high": [100 * max(each.high for each in seeds) for seeds in found],
    }


def figure(spec: dict) -> go.Figure:
    """Lengths on a logarithmic axis; grey is the ceiling."""
    import plotly.graph_objects as go

    line = {"color": theme.GREY, "dash": "dash"}
    fig = go.Figure(go.Scatter(x=spec["k"], y=spec["reached"], mode="lines", line=line, name="on the list"))
    for k, each in enumerate(spec["lines"]):
        fig.add_scatter(
            x=spec["k"],
            y=each["percent"],
            error_y=theme.whiskers(each["percent"], each["low"], each["high"], thickness=1, width=3),
            mode="lines+markers",
            name=each["name"],
            line={"color": theme.COLOURS[k]},
            marker={"symbol": SYMBOLS[k], "size": 8},
            hovertemplate=f"{each['name']}, list of %{{x}}: %{{y:.1f}}<br>n {spec['n']}<extra></extra>",
        )
    fig.update_xaxes(type="log", tickvals=spec["k"], ticktext=[str(k) for k in spec["k"]], title="length of the list")
    fig.update_yaxes(title="recall at 1, percent", rangemode="tozero", zeroline=False)
    fig.update_layout(template=theme.template(), height=380, margin={"t": 15})
    return fig
