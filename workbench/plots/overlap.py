"""How far cosines of pairs with one label and of pairs with two overlap: one panel per set of features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from workbench.plots import theme
from workbench.spectral import Overlap

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST = 6  # panels that can still be read side by side
_SEEN = 1 / 300  # of a density's peak: less than a line's width above the axis

# A dash and a pattern for each as well: colour is never the only sign.
_LINES = {
    "same": ("pairs of one label", theme.COLOURS[0], "solid"),
    "different": ("pairs of two labels", theme.COLOURS[1], "dot"),
}


def spec(found: Mapping[str, Overlap]) -> dict:
    """panels[k] = title, same, different, both, everything (bins,), over common edges (bins + 1,); `range` is where mass is.

    Densities are figures F2a, F2b and F4 of IsoCLIP (arXiv 2603.19862): `both` the smaller of the two, `everything` of all
    pairs. The trap: the IoU depends on the bins, so all panels need the same. Raises ValueError for none or more than six of
    them, or unequal edges; TypeError for what is no `Overlap`.
    """
    if not 1 <= len(found) <= MOST:
        raise ValueError(f"{len(found)} overlaps; give one to {MOST} by name, and the rest to another figure")
    if wrong := [
        f"{name!r} is a {type(each).__name__}" for name, each in found.items() if not isinstance(each, Overlap)
    ]:
        raise TypeError(f"{wrong[0]}; give what `workbench.spectral.overlap` returns")
    (first, one), *others = found.items()
    for name, each in others:
        if not np.array_equal(each.edges, one.edges):
            raise ValueError(
                f"{name!r} has {len(each.same)} bins from {each.edges[0]:g} to {each.edges[-1]:g} and {first!r} "
                f"{len(one.same)} from {one.edges[0]:g} to {one.edges[-1]:g}; their IoUs compare in equal bins only"
            )
    return {
        "edges": one.edges,
        "panels": [_panel(name, each) for name, each in found.items()],
        "range": _range(one.edges, [part for each in found.values() for part in (each.same, each.different)]),
    }


def _panel(name: str, each: Overlap) -> dict:
    low, high = each.interval
    return {
        "title": f"<b>{theme.plain(name, 28)}</b><br>IoU {each.iou:.2f} [{low:.2f}, {high:.2f}], n {each.n:,}",
        "same": each.same,
        "different": each.different,
        "both": np.minimum(each.same, each.different),
        "everything": each.everything,
    }


def _range(edges: np.ndarray, densities: list[np.ndarray]) -> tuple[float, float]:
    """From the first to the last bin that any density visibly fills, and one more on either side."""
    filled = np.flatnonzero(np.any([each > _SEEN * each.max() for each in densities], axis=0))
    return float(edges[max(filled[0] - 1, 0)]), float(edges[min(filled[-1] + 2, len(edges) - 1)])


def figure(spec: dict) -> go.Figure:
    """Each panel has its own height, because every density has the area 1; they share the cosine axis."""
    from plotly.subplots import make_subplots

    n = len(spec["panels"])
    columns = n if n <= 3 else (n + 1) // 2
    rows = -(-n // columns)
    fig = make_subplots(
        rows,
        columns,
        subplot_titles=[panel["title"] for panel in spec["panels"]],
        horizontal_spacing=0.03,
        vertical_spacing=0.24,
    )
    for k, panel in enumerate(spec["panels"]):
        fig.add_traces(_traces(spec["edges"], panel, k == 0), rows=k // columns + 1, cols=k % columns + 1)
    for k in range(n):
        last = k + columns >= n  # the lowest of its column
        fig.update_xaxes(title="cosine" if last else None, row=k // columns + 1, col=k % columns + 1)
    fig.update_xaxes(range=spec["range"], title_standoff=4, title_font_size=13, nticks=6)
    fig.update_yaxes(showticklabels=False, showgrid=False, rangemode="tozero")
    fig.update_yaxes(title="density", title_font_size=13, col=1)
    fig.update_annotations(font_size=12)
    below = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0.5, "xanchor": "center"}
    margin = {"l": 30, "r": 10, "t": 45, "b": 75}
    fig.update_layout(template=theme.template(), height=(280, 420)[rows - 1], legend=below, margin=margin)
    return fig


def _traces(edges: np.ndarray, panel: dict, named: bool) -> list:
    """The two densities as steps, and hatched below both what they share."""
    hatch = {"shape": "/", "size": 5, "solidity": 0.3, "fgcolor": theme.COLOURS[-1], "bgcolor": "rgba(0, 0, 0, 0)"}
    # The hatch is drawn first, so that both lines stay whole.
    shared = _steps(edges, panel["both"], line={"width": 0}, fillpattern=hatch, hoverinfo="skip")
    drawn = [shared.update(name="overlap", legendgroup="both", showlegend=named, legendrank=2000)]
    everything = _steps(edges, panel["everything"], line={"width": 1, "color": theme.GREY}, fill=None, hoverinfo="skip")
    drawn.append(everything.update(name="all pairs", legendgroup="all", showlegend=named))
    for key, (name, colour, dash) in _LINES.items():
        line = {"color": colour, "dash": dash, "width": 2}
        trace = _steps(edges, panel[key], line=line, fillcolor=_tint(colour))
        trace.hovertemplate = "cosine from %{x:.2f}: %{y:.2f}<extra>" + name + "</extra>"
        drawn.append(trace.update(name=name, legendgroup=key, showlegend=named))
    return drawn


def _steps(edges: np.ndarray, density: np.ndarray, **look) -> go.Scatter:
    import plotly.graph_objects as go

    look = {"fill": "tozeroy", **look, "line": {"shape": "hv", **look["line"]}}
    # a float32 has more digits than a picture has pixels, and a notebook keeps every number
    x, y = np.asarray(edges, np.float32), np.asarray([*density, 0.0], np.float32)
    return go.Scatter(x=x, y=y, mode="lines", **look)


def _tint(colour: str) -> str:
    from plotly.colors import hex_to_rgb

    return f"rgba{(*hex_to_rgb(colour), 0.15)}"
