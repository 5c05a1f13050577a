"""What each band buys: mean average precision over both cuts, as a difference from no filtering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.plots import theme
from workbench.spectral import BandSweep

if TYPE_CHECKING:
    import plotly.graph_objects as go

_TICKS = 20  # numbers that fit along an axis
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "star", "hexagon")
_EMPTY = "#DDDDDD"  # what was not swept: a difference of zero is nearly white


def spec(sweep: BandSweep, marks: Mapping[str, Sequence[int]] | None = None) -> dict:
    """Tops (x,) and bottoms (y,), over them difference (y, x) in percentage points and mean (y, x) in percent, NaN where
    nothing was swept; marks[k] = name, band, cell (the swept band nearest to it) and whether the band itself was swept.

    `limit` ends the colours at three times the best gain where losses are far larger, because gains would pale beside them.

    The sweep that IsoCLIP (arXiv 2603.19862) chose its bands by and does not show. The trap: the best of hundreds of bands
    flatters itself (`BandSweep.choose`). Raises ValueError for a sweep without (0, 0), or whose precisions do not belong to
    its bands, and for more than six marks or one that keeps nothing; TypeError for what is no `BandSweep`.
    """
    _check(sweep)
    tops, bottoms = (sorted({int(band[side]) for band in sweep.bands}) for side in (0, 1))
    mean = np.full((len(bottoms), len(tops)), np.nan)
    for (top, bottom), value in zip(sweep.bands, 100 * sweep.means, strict=True):
        mean[bottoms.index(bottom), tops.index(top)] = value
    marks, none = dict(marks or {}), float(mean[0, 0])  # of (0, 0), which nothing stands before
    difference = mean - none
    if len(marks) > len(_SYMBOLS):
        raise ValueError(f"{len(marks)} marks; up to {len(_SYMBOLS)} can be told apart")
    return {
        "tops": tops,
        "bottoms": bottoms,
        "mean": mean,
        "difference": difference,
        "limit": _limit(difference),
        "none": none,
        "r": sweep.r,
        "marks": [_mark(name, band, sweep) for name, band in marks.items()],
        "title": f"{sweep.modality}, {sweep.precisions.shape[1]:,} queries, {len(sweep.bands)} bands of {sweep.r} directions",
    }


def _check(sweep: BandSweep) -> None:
    if not isinstance(sweep, BandSweep):
        raise TypeError(f"a {type(sweep).__name__}; give what `workbench.spectral.band_sweep` returns")
    found = np.asarray(sweep.precisions)
    if found.ndim != 2 or len(found) != len(sweep.bands) or found.size == 0:
        raise ValueError(f"precisions of shape {found.shape} for {len(sweep.bands)} bands; give (bands, queries)")
    if not np.isfinite(found).all():
        raise ValueError("precisions hold NaN or infinite values; sweep again without the queries that made them")
    sweep.of((0, 0))  # raises where there is nothing to compare with


def _limit(difference: np.ndarray) -> float:
    best, most = float(np.nanmax(difference)), float(np.nanmax(np.abs(difference)))
    return max(min(3 * best, most), most / 10) if best > 0 else most or 1.0


def _mark(name: str, band: Sequence[int], sweep: BandSweep) -> dict:
    top, bottom = map(int, band)
    if min(top, bottom) < 0 or top + bottom >= sweep.r:
        raise ValueError(f"mark {name!r} at ({top}, {bottom}); a band of {sweep.r} directions has to keep one or more")
    nearest = min(sweep.bands, key=lambda each: ((each[0] - top) ** 2 + (each[1] - bottom) ** 2, *each))
    cell = tuple(map(int, nearest))
    return {"name": theme.plain(name, 24), "band": (top, bottom), "cell": cell, "swept": cell == (top, bottom)}


def figure(spec: dict) -> go.Figure:
    """A cell for each band that was swept, at equal widths whatever the steps; grey ones were not."""
    import plotly.graph_objects as go

    fig = go.Figure([_cells(spec), *_marks(spec)])
    for label in _labels(spec):
        fig.add_annotation(label)
    for update, values, name in (
        (fig.update_xaxes, spec["tops"], "k_top, leading directions left out"),
        (fig.update_yaxes, spec["bottoms"], "k_bottom, trailing ones"),
    ):
        every = -(-len(values) // _TICKS)
        ticks = {"tickvals": list(range(0, len(values), every)), "ticktext": [str(k) for k in values[::every]]}
        update(title=name, range=[-0.5, len(values) - 0.5], showgrid=False, zeroline=False, title_standoff=6, **ticks)
    fig.update_xaxes(title_font_size=13)
    fig.update_yaxes(title_font_size=13, tickfont_size=11, ticklabelstandoff=3)
    below = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0}
    bottom = 50 + 22 * -(-len(spec["marks"]) // 2)  # two entries in a row where the figure is narrow
    margin = {"t": 40, "b": bottom, "r": 10}
    layout = {"height": 420, "plot_bgcolor": _EMPTY, "legend": below, "showlegend": True, "margin": margin}
    fig.update_layout(template=theme.template(), title={"text": spec["title"], "font": {"size": 13}}, **layout)
    return fig


def _cells(spec: dict) -> go.Heatmap:
    import plotly.graph_objects as go

    limit = spec["limit"]
    clipped = f"<br>(darkest: {limit:.2g} or more)" if np.nanmax(np.abs(spec["difference"])) > limit else ""
    tops, bottoms = np.meshgrid(spec["tops"], spec["bottoms"])
    return go.Heatmap(
        z=spec["difference"],
        x=list(range(len(spec["tops"]))),
        y=list(range(len(spec["bottoms"]))),
        customdata=np.dstack([tops, bottoms, spec["r"] - tops - bottoms, spec["mean"]]),
        colorscale=theme.DIVERGING,
        zmid=0,
        zmin=-limit,
        zmax=limit,
        xgap=1,
        ygap=1,
        hoverongaps=False,
        colorbar={
            "title": {"text": f"mAP minus no filtering, points{clipped}", "side": "right", "font": {"size": 12}},
            "thickness": 12,
        },
        hovertemplate="k_top %{customdata[0]}, k_bottom %{customdata[1]}: keeps %{customdata[2]}"
        f" of {spec['r']}<br>mAP %{{customdata[3]:.2f}}, %{{z:+.2f}} points from {spec['none']:.2f}<extra></extra>",
    )


def _cells_marked(spec: dict) -> dict[tuple[int, int], list[dict]]:
    """Marks by the place (column, row) that they share."""
    shared: dict = {}
    for mark in spec["marks"]:
        place = spec["tops"].index(mark["cell"][0]), spec["bottoms"].index(mark["cell"][1])
        shared.setdefault(place, []).append(mark)
    return shared


def _marks(spec: dict) -> list:
    """A white sign for each marked cell; the legend says its bands and what they buy."""
    import plotly.graph_objects as go

    drawn = []
    for symbol, ((column, row), marks) in zip(_SYMBOLS, _cells_marked(spec).items(), strict=False):
        gain = _signed(spec["difference"][row, column])
        said = [_said(mark) for mark in marks]
        drawn.append(
            go.Scatter(
                x=[column],
                y=[row],
                mode="markers",
                marker={"symbol": symbol, "size": 11, "color": "white", "line": {"width": 2.5, "color": "black"}},
                name=f"{'; '.join(said)}: {gain}",
                hovertemplate="<br>".join(said) + f"<br>{gain} points<extra></extra>",
            )
        )
    return drawn


def _said(mark: dict) -> str:
    return f"{mark['name']} {mark['band']}" + ("" if mark["swept"] else f", not swept, nearest {mark['cell']}")


def _signed(value: float) -> str:
    return f"{round(float(value), 1) + 0.0:+.1f}".replace("-", "−")


def _labels(spec: dict) -> list[dict]:
    """Names beside the signs, towards the middle; higher or lower where the words of another one are next to it."""
    columns, labels, used = len(spec["tops"]), [], []
    for (column, row), marks in _cells_marked(spec).items():
        near = sum(abs(other - row) <= 1 and abs(left - column) < columns / 2 for left, other in used)
        left = column > columns / 2
        labels.append(
            {
                "text": "; ".join(mark["name"] for mark in marks),
                "x": column,
                "y": row,
                "xanchor": "right" if left else "left",
                "xshift": -9 if left else 9,
                "yshift": (0, 17, -17)[min(near, 2)],
                "showarrow": False,
                "font": {"size": 11, "color": "black"},
                "bgcolor": "rgba(255, 255, 255, 0.8)",
                "borderpad": 1,
            }
        )
        used.append((column, row))
    return labels
