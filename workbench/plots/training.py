"""Live curves of a training: the loss of every step, and the recall on validation pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

_POINTS = 400  # that a curve is drawn with; more only weigh


def spec(losses: Sequence[float], recalls: Sequence[tuple[int, float]], steps: int) -> dict:
    """Steps done of all, the loss (x, y) as means over equal spans of steps, and recall (x, percent)."""
    losses = np.asarray(losses, dtype=np.float64)
    spans = np.array_split(losses, min(_POINTS, len(losses))) if len(losses) else []
    ends = np.cumsum([len(span) for span in spans])
    return {
        "steps": steps,
        "done": len(losses),
        "loss": {"x": ends, "y": np.array([span.mean() for span in spans])},
        "recall": {
            "x": np.array([step for step, _ in recalls]),
            "y": np.array([100 * recall for _, recall in recalls]),
        },
    }


RECALL = "mean R@10 on validation pairs"


def figure(spec: dict, score: str = RECALL) -> go.Figure:
    """Two panels over the same steps; the loss on a logarithmic axis, and what `score` names."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    fig = make_subplots(1, 2, subplot_titles=["loss", f"{score}, percent"], horizontal_spacing=0.1)
    line = {"color": theme.COLOURS[0]}
    fig.add_trace(go.Scatter(x=spec["loss"]["x"], y=spec["loss"]["y"], mode="lines", line=line, name="loss"), 1, 1)
    marks = {
        "mode": "lines+markers",
        "line": {"color": theme.COLOURS[1], "dash": "dot"},
        "marker": {"symbol": "square"},
    }
    fig.add_trace(go.Scatter(x=spec["recall"]["x"], y=spec["recall"]["y"], name=score, **marks), 1, 2)
    fig.update_xaxes(title="step", range=[0, spec["steps"]])
    fig.update_yaxes(type="log", col=1)
    fig.update_yaxes(rangemode="tozero", col=2)
    fig.update_layout(template=theme.template(), height=300, showlegend=False)
    return fig


def redraw(fig: go.FigureWidget, spec: dict) -> None:
    """Bring a figure of `figure` to another spec in place."""
    with fig.batch_update():
        for trace, name in zip(fig.data, ("loss", "recall"), strict=True):
            trace.update(x=spec[name]["x"], y=spec[name]["y"])
