"""How far weights end from themselves when the loss is multiplied: a line for each optimiser, 0 on a shelf of its own."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor, isfinite, log10
from typing import TYPE_CHECKING

from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

SYMBOLS = ("circle", "square", "diamond", "triangle-up")


def spec(found: Mapping[str, Mapping[float, float]]) -> dict:
    """series[k] = name, factor, distance; `shelf` is where 0, which has no logarithm, is drawn: a decade below the rest.

    `found` is what `workbench.sail.loss_scales` gives. Raises ValueError for nothing, more than four optimisers, a factor that
    is not positive or a distance below 0.
    """
    if not 1 <= len(found) <= len(SYMBOLS):
        raise ValueError(f"{len(found)} optimisers; give one to {len(SYMBOLS)}, {{name: {{factor: distance}}}}")
    for name, each in found.items():
        if wrong := [
            f"{f:g}: {d:g}" for f, d in each.items() if not (f > 0 and isfinite(f) and d >= 0 and isfinite(d))
        ]:
            raise ValueError(f"{name} has {wrong[0]}; factors are above 0, distances 0 or more")
    seen = [d for each in found.values() for d in each.values() if d > 0]
    return {
        "shelf": 10.0 ** (floor(log10(min(seen, default=1e-6))) - 1),
        "series": [
            {
                "name": theme.plain(name, 30),
                "factor": sorted(map(float, each)),
                "distance": [each[f] for f in sorted(each)],
            }
            for name, each in found.items()
        ],
    }


def figure(spec: dict) -> go.Figure:
    """Both axes logarithmic, the lowest tick is 0 itself."""
    import plotly.graph_objects as go

    shelf = spec["shelf"]
    largest = max([d for each in spec["series"] for d in each["distance"]] + [10 * shelf])
    decades = range(round(log10(shelf)) + 1, floor(log10(largest)) + 2)
    fig = go.Figure([_line(each, k, shelf) for k, each in enumerate(spec["series"])])
    ticks = {"tickvals": [shelf, *(10.0**d for d in decades)], "ticktext": ["0", *(f"1e{d}" for d in decades)]}
    fig.update_xaxes(
        type="log",
        title={"text": "the loss times", "font": {"size": 13}},
        exponentformat="power",
        tickfont={"size": 12},
    )
    fig.update_yaxes(type="log", title={"text": "largest difference of a weight", "font": {"size": 13}}, **ticks)
    fig.update_layout(template=theme.template(), height=320, legend={"orientation": "h", "y": 1.12})
    return fig


def _line(series: dict, k: int, shelf: float) -> go.Scatter:
    import plotly.graph_objects as go

    distance = series["distance"]
    return go.Scatter(
        x=series["factor"],
        y=[d or shelf for d in distance],
        customdata=[[d] for d in distance],
        hovertemplate="the loss times %{x:g}: %{customdata[0]:.3g}<extra>" + series["name"] + "</extra>",
        name=series["name"],
        mode="lines+markers",
        line={"color": theme.COLOURS[k]},
        marker={"symbol": SYMBOLS[k], "size": 9},
    )
