"""How close two pictures lie that differ in one attribute, space by space, beside pictures of two quads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.plots import theme
from workbench.sail import EDGES, PairCosines, Spread

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST = 10  # rows that can still be read under each other
_SIDES = {
    "own": ("two pictures of a quad", theme.COLOURS[0], ""),
    "other": ("pictures of two quads", theme.COLOURS[1], "/"),
}


def spec(found: PairCosines, spaces: Sequence[str] | None = None) -> dict:
    """rows[k] = name, own and other: shares of all pairs (40,), mean, low, high, quartiles, n; over common edges (41,).

    Figure G5 of SAIL (arXiv 2412.04616, pairs of MMVP), with a reference that it lacks. The trap: where all pictures lie in a
    narrow cone, a high cosine within a quad is no sign that its pictures look alike to the model; look at how far the two lie
    apart. Raises ValueError for a space that was not measured, none or more than ten; TypeError for what is no `PairCosines`.
    """
    if not isinstance(found, PairCosines):
        raise TypeError(f"a {type(found).__name__}; give what `workbench.sail.measured_cosines` returns")
    names = list(found.own) if spaces is None else list(spaces)
    if unknown := [name for name in names if name not in found.own]:
        raise ValueError(f"no space {unknown[0]!r}; there are {', '.join(map(repr, found.own))}")
    if not 1 <= len(names) <= MOST:
        raise ValueError(f"{len(names)} spaces; give one to {MOST} by name, and the rest to another figure")
    rows = [
        {"name": theme.plain(name, 44), "own": _side(found.own[name]), "other": _side(found.other[name])}
        for name in names
    ]
    return {"edges": list(EDGES), "rows": rows, "range": _range(rows)}


def _side(each: Spread) -> dict:
    shares = each.counts / each.counts.sum()
    mean = {"mean": each.mean.mean, "low": each.mean.low, "high": each.mean.high, "n": each.mean.n}
    return {"shares": shares.tolist(), "quartiles": list(each.quartiles), **mean}


def _range(rows: Sequence[dict]) -> tuple[float, float]:
    """From the first bin that any row fills to 1."""
    filled = np.any([np.array(row[side]["shares"]) > 0 for row in rows for side in _SIDES], axis=0)
    return float(EDGES[int(np.argmax(filled))]), float(EDGES[-1])


def figure(spec: dict) -> go.Figure:
    """A row per space: both histograms, each as high as its row at its fullest bin, and a line at each mean."""
    from plotly.subplots import make_subplots

    n = len(spec["rows"])
    fig = make_subplots(n, 1, shared_xaxes=True, vertical_spacing=0.18 / n)
    for number, row in enumerate(spec["rows"], 1):
        for side, (told, colour, pattern) in _SIDES.items():
            fig.add_trace(_bars(spec["edges"], row[side], told, colour, pattern, number == 1), number, 1)
            fig.add_vline(row[side]["mean"], line={"color": colour, "width": 2, "dash": "dot"}, row=number, col=1)
        at = {"x": 0, "xref": "x domain", "xanchor": "right", "y": 0.5, "yref": "y domain", "yanchor": "middle"}
        fig.add_annotation(text=_told(row), showarrow=False, align="right", font={"size": 11}, **at, row=number, col=1)
    fig.update_xaxes(range=spec["range"], zeroline=False)
    fig.update_xaxes(title={"text": "cosine of two pictures", "font": {"size": 13}, "standoff": 6}, row=n)
    fig.update_yaxes(showticklabels=False, showgrid=False, zeroline=False)
    legend = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0}
    layout = {"height": 110 + 56 * n, "legend": legend, "margin": {"t": 15, "b": 85, "l": 235, "r": 15}}
    fig.update_layout(template=theme.template(), barmode="overlay", bargap=0, **layout)
    return fig


def _told(row: dict) -> str:
    own, other = row["own"], row["other"]
    numbers = f"{own['mean']:.2f} within a quad, {other['mean']:.2f} between two, n {own['n']}".replace("-", "−")
    return f"<b>{row['name']}</b><br>{numbers}"


def _bars(edges: Sequence[float], side: dict, told: str, colour: str, pattern: str, named: bool) -> go.Bar:
    import plotly.graph_objects as go

    edges, shares = np.array(edges), np.array(side["shares"])
    return go.Bar(
        x=(edges[:-1] + edges[1:]) / 2,
        y=shares / (shares.max() or 1),
        width=float(edges[1] - edges[0]),
        marker={"color": colour, "opacity": 0.55, "pattern": {"shape": pattern, "size": 5}, "line": {"width": 0}},
        name=told,
        legendgroup=told,
        showlegend=named,
        customdata=100 * shares,
        hovertemplate="around %{x:.2f}: %{customdata:.1f} %<extra>" + told + "</extra>",
    )
