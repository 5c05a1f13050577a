"""The house look, set once: colours that survive colour blindness, a diverging scale for signed maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Okabe & Ito (2008), black last: distinct under the common colour-vision deficiencies.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
DIVERGING = "RdBu_r"  # red answers, blue the opposite; always centred on zero
GREY = "#8C8C8C"
_DRAWN = ("bar", "scatter")  # traces whose defaults the template keeps
_ELSEWHERE = ("polar", "ternary", "scene", "geo", "coloraxis", "colorscale")  # unused here


def template() -> go.layout.Template:
    """plotly's white template with our colours and margins; white stays readable in Lab's dark theme.

    Only what our figures use of it: every figure that a notebook stores carries its template, 5 kB of it for nothing.
    """
    import plotly.graph_objects as go
    import plotly.io as pio

    white = pio.templates["plotly_white"].to_plotly_json()
    data = {kind: white["data"][kind] for kind in _DRAWN}
    layout = {name: value for name, value in white["layout"].items() if name not in _ELSEWHERE}
    house = go.layout.Template(data=data, layout=layout)
    house.layout.update(
        colorway=COLOURS,
        margin={"l": 50, "r": 20, "t": 50, "b": 45},
        font={"size": 13},
        title={"x": 0, "xanchor": "left", "font": {"size": 15}},
        hoverlabel={"align": "left"},
    )
    return house


def whiskers(middle: Sequence[float], low: Sequence[float], high: Sequence[float], **style) -> dict:
    """Intervals as plotly's error bars. A percentile interval may leave out its own mean: no bar has a negative length."""
    return {
        "array": [max(top - mean, 0) for mean, top in zip(middle, high, strict=True)],
        "arrayminus": [max(mean - bottom, 0) for mean, bottom in zip(middle, low, strict=True)],
        **style,
    }


def of_points(points: Sequence[Mapping[str, float]], middle: str, **style) -> dict:
    """`whiskers` of points that have `middle`, "low" and "high"."""
    return whiskers(*([each[name] for each in points] for name in (middle, "low", "high")), **style)


def shortened(text: str, limit: int) -> str:
    """Text on one line, cut with an ellipsis at `limit` characters."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def plain(text: str, limit: int = 60) -> str:
    """Untrusted text for a plotly label: shortened, its pseudo-HTML escaped."""
    return escape(shortened(text, limit), quote=False)
