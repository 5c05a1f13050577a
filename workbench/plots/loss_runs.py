"""Losses of several runs by step, smoothed, and the step from which a run has nothing more to learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

RUNS = 6
_POINTS = 400  # that a line is drawn with; more only weigh
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_MARKS = ("circle", "square", "diamond", "triangle-up", "cross", "star")


def spec(runs: Mapping[str, Sequence[float]], *, below: float = 0.05, window: int = 20) -> dict:
    """runs[k] = name, n, x and y: the mean of the last `window` losses at step x; first: the step where it falls under `below`.

    Losses of every step from 1 on, in nats; `first` is None for a run that never gets there. A run says when it saturates:
    VladVA (arXiv 2412.04378) saw a contrastive loss on long captions go to about 0 in a few hundred steps. The trap: chance is
    log(batch) each way, so compare runs of one batch size. Raises ValueError for no runs, more than six, losses below 0 or not
    finite, fewer of them than `window`, or a threshold that is not above 0.
    """
    if not 1 <= len(runs) <= RUNS:
        raise ValueError(f"{len(runs)} runs; give one to {RUNS}, which can be told apart")
    if not (np.isfinite(below) and below > 0):
        raise ValueError(f"below={below}; give a loss above 0, such as 0.05")
    found = {name: running_mean(losses, window, name) for name, losses in runs.items()}
    return {
        "runs": [{"name": theme.plain(name, 50), **_run(means, below, window)} for name, means in found.items()],
        "below": float(below),
        "window": int(window),
    }


def running_mean(losses: Sequence[float], window: int = 20, name: str = "the run") -> np.ndarray:
    """Means (n - window + 1,) of `window` losses each, the first at step `window`. Raises ValueError as `spec`."""
    losses = np.asarray(losses, dtype=np.float64)
    if losses.ndim != 1 or window < 1 or len(losses) < window:
        raise ValueError(
            f"{name!r} has losses of shape {losses.shape}; give (steps,) with at least window={window} of them"
        )
    if not np.isfinite(losses).all() or (losses < 0).any():
        raise ValueError(f"{name!r} holds losses below 0, NaN or infinite; leave a run that broke out and say so")
    return np.lib.stride_tricks.sliding_window_view(losses, window).mean(1)


def _run(means: np.ndarray, below: float, window: int) -> dict:
    under = np.flatnonzero(means < below)
    kept = set(np.linspace(0, len(means) - 1, min(_POINTS, len(means))).round().astype(int).tolist())
    at = sorted(kept | set(under[:1].tolist()))
    return {
        "n": len(means) + window - 1,
        "x": [k + window for k in at],
        "y": means[at].tolist(),
        "first": int(under[0]) + window if len(under) else None,
    }


def figure(spec: dict) -> go.Figure:
    """The loss on a logarithmic axis; a sign where a run first falls under the dashed line, and when, in the legend."""
    import plotly.graph_objects as go

    fig = go.Figure([trace for k, run in enumerate(spec["runs"]) for trace in _traces(run, k, spec)])
    fig.add_hline(spec["below"], line={"dash": "dash", "color": theme.GREY, "width": 1.5})
    place = {"xref": "paper", "x": 1, "xanchor": "right", "y": np.log10(spec["below"]), "yanchor": "bottom"}
    fig.add_annotation(text=f"{spec['below']:g}", showarrow=False, font={"size": 12, "color": "#555555"}, **place)
    fig.update_xaxes(title={"text": "step", "standoff": 6}, rangemode="tozero", zeroline=False)
    fig.update_yaxes(title=f"loss, mean of the last {spec['window']}", type="log", **_ticks(spec))
    legend = {"tracegroupgap": 0, "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "font": {"size": 12}}
    below = 55 + 19 * len(spec["runs"])
    layout = {"height": 310 + below, "margin": {"t": 15, "b": below, "l": 60}, "legend": legend}
    fig.update_layout(template=theme.template(), showlegend=True, **layout)
    return fig


def _ticks(spec: dict) -> dict:
    """Powers of ten; their doubles and halves as well where less than two decades are shown."""
    values = [value for run in spec["runs"] for value in run["y"] if value > 0] + [spec["below"]]
    steps = (1, 2, 5) if max(values) < 100 * min(values) else (1,)
    return {"tickvals": [step * 10.0**power for power in range(-8, 4) for step in steps], "exponentformat": "power"}


def _traces(run: dict, k: int, spec: dict) -> list:
    import plotly.graph_objects as go

    colour, first = theme.COLOURS[k], run["first"]
    when = (
        f"not under {spec['below']:g} in {run['n']:,} steps"
        if first is None
        else f"first under {spec['below']:g} at step {first:,}"
    )
    line = go.Scatter(
        x=run["x"],
        y=run["y"],
        mode="lines",
        name=f"{run['name']}: {when}",
        legendgroup=str(k),
        line={"color": colour, "dash": _DASHES[k], "width": 2},
        hovertemplate="step %{x}: %{y:.4f}<extra>" + run["name"] + "</extra>",
    )
    if first is None:
        return [line]
    sign = {"symbol": _MARKS[k], "size": 12, "color": colour, "line": {"width": 1.5, "color": "white"}}
    mark = go.Scatter(
        x=[first],
        y=[run["y"][run["x"].index(first)]],
        mode="markers",
        marker=sign,
        legendgroup=str(k),
        showlegend=False,
        hovertemplate=f"step %{{x}}: the mean of the last {spec['window']} is under {spec['below']:g} for the first time"
        f"<extra>{run['name']}</extra>",
    )
    return [line, mark]
