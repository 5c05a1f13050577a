"""How close a caption lies to its negative before and after tuning: a row of two histograms for each operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

ROWS = 6  # that can still be read under each other
_SIDES = {"before": ("before tuning", theme.COLOURS[0], "dot"), "after": ("after tuning", theme.COLOURS[1], "solid")}


def spec(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], *, bins: int = 40) -> dict:
    """edges (bins + 1,) shared by all; rows[k] = name, n, before and after: shares (bins,) in percent, and the median.

    before[operator] and after[operator] are cosines (n,) of the same captions with the same negatives, in the same order. The
    trap: tuning may push all texts apart; then these cosines fall and no word is told from another better than before, so look
    at the cosines of other captions as well. Raises ValueError for no operator, more than six, unequal operators or numbers of
    captions, none of them, or values that are no cosines.
    """
    if not 1 <= len(before) <= ROWS:
        raise ValueError(f"{len(before)} operators; give one to {ROWS}, or all captions as one")
    if set(before) != set(after):
        odd = ", ".join(map(repr, sorted(set(before) ^ set(after))))
        raise ValueError(f"before and after differ in {odd}; give both the same operators")
    if bins < 1:
        raise ValueError(f"bins={bins}; give one or more")
    found = {name: [_cosines(name, side[name]) for side in (before, after)] for name in before}
    for name, (first, second) in found.items():
        if len(first) != len(second):
            raise ValueError(
                f"{name!r} has {len(first)} cosines before and {len(second)} after; give the same captions"
            )
    edges = _edges(np.concatenate([values for both in found.values() for values in both]), bins)
    rows = [
        {
            "name": theme.plain(name, 40),
            "n": len(both[0]),
            **dict(zip(_SIDES, (_side(x, edges) for x in both), strict=True)),
        }
        for name, both in found.items()
    ]
    return {"edges": edges, "rows": rows}


def _cosines(name: str, values) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"{name!r} has cosines of shape {values.shape}; give (n,), n from 1")
    if not (np.abs(values) <= 1 + 1e-5).all():  # NaN fails as well
        worst = values[np.argmax(~(np.abs(values) <= 1 + 1e-5))]
        raise ValueError(f"{name!r} holds {worst:g}; give cosines from -1 to 1")
    return values.clip(-1, 1)


def _edges(values: np.ndarray, bins: int) -> np.ndarray:
    """Over all that there is, whichever side or operator; a little room where all are equal."""
    low, high = values.min(), values.max()
    if high - low < 1e-6:
        low, high = low - 0.01, high + 0.01
    return np.linspace(low, high, bins + 1)


def _side(values: np.ndarray, edges: np.ndarray) -> dict:
    counts, _ = np.histogram(values.clip(edges[0], edges[-1]), edges)
    return {"shares": 100 * counts / len(values), "median": float(np.median(values))}


def figure(spec: dict) -> go.Figure:
    """Same bins, each row as high as its fullest; a line at each median, which the row's label says in numbers."""
    from plotly.subplots import make_subplots

    n, edges = len(spec["rows"]), spec["edges"]
    fig = make_subplots(n, 1, shared_xaxes=True, vertical_spacing=0.2 / n)
    for number, row in enumerate(spec["rows"], 1):
        for side, (told, colour, dash) in _SIDES.items():
            fig.add_trace(_steps(edges, row[side]["shares"], told, colour, dash, number == 1), number, 1)
            fig.add_vline(row[side]["median"], line={"color": colour, "width": 2, "dash": dash}, row=number, col=1)
        at = {"x": 0, "xref": "x domain", "xanchor": "right", "xshift": -55, "y": 0.5, "yref": "y domain"}
        look = {"showarrow": False, "align": "right", "font": {"size": 11}}
        fig.add_annotation(text=_said(row), **at, **look, row=number, col=1)
    fig.update_xaxes(range=[edges[0], edges[-1]], zeroline=False)
    fig.update_xaxes(title={"text": "cosine of a caption and its negative", "font": {"size": 13}, "standoff": 6}, row=n)
    fig.update_yaxes(rangemode="tozero", nticks=4, title={"text": "percent", "font": {"size": 11}, "standoff": 4})
    legend = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0}
    layout = {"height": 120 + 80 * n, "legend": legend, "margin": {"t": 15, "b": 85, "l": 230, "r": 15}}
    fig.update_layout(template=theme.template(), **layout)
    return fig


def _said(row: dict) -> str:
    medians = f"{row['before']['median']:.2f} → {row['after']['median']:.2f}".replace("-", "−")
    return f"<b>{row['name']}</b><br>median {medians}<br>n {row['n']:,}"


def _steps(edges: np.ndarray, shares: np.ndarray, told: str, colour: str, dash: str, named: bool) -> go.Scatter:
    import plotly.graph_objects as go
    from plotly.colors import hex_to_rgb

    # a float32 has more digits than a picture has pixels, and a notebook keeps every number
    x, y = np.asarray(edges, np.float32), np.asarray([*shares, 0.0], np.float32)
    return go.Scatter(
        x=x,
        y=y,
        mode="lines",
        line={"shape": "hv", "color": colour, "dash": dash, "width": 2},
        fill="tozeroy",
        fillcolor=f"rgba{(*hex_to_rgb(colour), 0.15)}",
        name=told,
        legendgroup=told,
        showlegend=named,
        hovertemplate="from %{x:.2f}: %{y:.1f} %<extra>" + told + "</extra>",
    )
