"""Group scores along training: one panel per category, one line per rule, chance dashed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.evaluation.composition import Groups
from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from workbench.controlled import ControlledScores


def spec(points: Sequence[tuple[int, ControlledScores]]) -> dict:
    """lines[category][rule] = steps, percent, low, high; of one run's scores after so many steps each."""
    lines: dict = {}
    for step, scores in sorted(points, key=lambda point: point[0]):
        for (_, category, rule), groups in scores.groups.items():
            low, high = groups.intervals["group"]
            line = lines.setdefault(category, {}).setdefault(rule, {"steps": [], "percent": [], "low": [], "high": []})
            for key, value in (
                ("steps", step),
                ("percent", 100 * groups.group),
                ("low", 100 * low),
                ("high", 100 * high),
            ):
                line[key].append(value)
    return {"lines": lines, "chance": 100 * Groups.chance["group"]}


def figure(spec: dict) -> go.Figure:
    """Steps on a logarithmic axis; bars are 95 % intervals over quads."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    categories = list(spec["lines"])
    fig = make_subplots(1, len(categories), subplot_titles=categories, shared_yaxes=True, horizontal_spacing=0.02)
    for column, category in enumerate(categories, 1):
        for k, (rule, line) in enumerate(spec["lines"][category].items()):
            fig.add_trace(
                go.Scatter(
                    x=line["steps"],
                    y=line["percent"],
                    error_y=theme.whiskers(line["percent"], line["low"], line["high"]),
                    name=rule,
                    legendgroup=rule,
                    showlegend=column == 1,
                    mode="lines+markers",
                    line={"color": theme.COLOURS[k % len(theme.COLOURS)]},
                    marker={"symbol": ("circle", "square", "diamond", "cross")[k % 4], "size": 8},
                ),
                1,
                column,
            )
    fig.add_hline(y=spec["chance"], line={"dash": "dash", "color": theme.GREY})
    fig.update_xaxes(type="log", tickvals=[600, 1000, 2000, 4000, 8000], ticktext=["600", "1k", "2k", "4k", "8k"])
    fig.update_yaxes(range=[-2, 102])
    fig.update_yaxes(title="group score, percent", col=1)
    fig.update_layout(template=theme.template(), height=360, legend={"orientation": "h", "y": -0.15})
    return fig
