"""Several models on many scores at a glance: a radar, every spoke from the lowest to the highest model drawn."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING

from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

MODELS, SPOKES = 6, 20  # what can still be told apart
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "pentagon")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_INNER = -0.3  # where the middle of the figure stands, so that the lowest model has a ring and not a point


def spec(models: Mapping[str, Mapping[str, float]]) -> dict:
    """spokes[k] = name, low, high in percent; models[m] = name, r (spokes,) from 0 at the lowest to 1 at the highest, percent.

    models[name][spoke] is a fraction; spokes come in the order of the first model; where all models are equal r is 0.5. After
    Figure 1 of FSC-CLIP (arXiv 2410.05210). The trap: a spoke looks the same whether its models lie 40 points apart or 0.4, and
    all change place when a model is added; its numbers say which. Areas mean nothing, as they depend on the order. Raises
    ValueError for fewer than two models or three spokes, more than six or 20, unequal spokes, or numbers outside 0 … 1.
    """
    if not 2 <= len(models) <= MODELS:
        raise ValueError(
            f"{len(models)} models; give two to {MODELS}, as each spoke runs from the lowest to the highest"
        )
    (first, scores), *others = models.items()
    for name, each in others:
        if odd := sorted(set(each) ^ set(scores)):
            raise ValueError(f"{name!r} and {first!r} differ in {', '.join(map(repr, odd))}; give both the same spokes")
    if not 3 <= len(scores) <= SPOKES:
        raise ValueError(f"{len(scores)} spokes; give three to {SPOKES}")
    for name, each in models.items():
        if wrong := [f"{spoke}: {value}" for spoke, value in each.items() if not (isfinite(value) and 0 <= value <= 1)]:
            raise ValueError(f"{name!r} has {wrong[0]}; give fractions from 0 to 1")
    ends = {spoke: [pick(each[spoke] for each in models.values()) for pick in (min, max)] for spoke in scores}
    return {
        "spokes": [
            {"name": theme.plain(spoke, 24), "low": 100 * low, "high": 100 * high}
            for spoke, (low, high) in ends.items()
        ],
        "models": [
            {
                "name": theme.plain(name, 30),
                "r": [_rescaled(each[spoke], *ends[spoke]) for spoke in scores],
                "percent": [100 * float(each[spoke]) for spoke in scores],
            }
            for name, each in models.items()
        ],
    }


def _rescaled(value: float, low: float, high: float) -> float:
    return 0.5 if low == high else (value - low) / (high - low)


def figure(spec: dict) -> go.Figure:
    """A closed line for each model; the inner ring is the lowest of each spoke, the outer one the highest, both in numbers."""
    import plotly.graph_objects as go

    spokes = spec["spokes"]
    angles = [360 * k / len(spokes) for k in range(len(spokes))]
    fig = go.Figure([_line(each, k, angles, spokes) for k, each in enumerate(spec["models"])])
    grid = {"gridcolor": "#D8D8D8", "linecolor": "#D8D8D8"}
    radial = {"range": [_INNER, 1.08], "tickvals": [0, 0.5, 1], "showticklabels": False, "showline": False, "ticks": ""}
    turned = {
        "direction": "clockwise",
        "rotation": 90,
        "tickvals": angles,
        "ticktext": [_told(each) for each in spokes],
    }
    polar = {
        "bgcolor": "white",
        "radialaxis": radial | grid,
        "angularaxis": turned | grid | {"tickfont": {"size": 11}, "showline": False, "ticks": ""},
    }
    said = "Each spoke, percent: the lowest model drawn is at the inner ring, the highest at the outer, equal ones between."
    below = {"yref": "container", "yanchor": "bottom"}
    note = {"text": said, "x": 0.5, "xanchor": "center", "y": 0.01, "font": {"size": 12}} | below
    legend = {"orientation": "h", "y": 0.06, "x": 0.5, "xanchor": "center"} | below
    fig.update_layout(template=theme.template(), polar=polar, legend=legend, title=note, height=560)
    fig.update_layout(margin={"t": 50, "b": 110, "l": 90, "r": 90}, showlegend=True)
    return fig


def _told(spoke: dict) -> str:
    return f"<b>{spoke['name']}</b><br>{spoke['low']:.1f} – {spoke['high']:.1f}"


def _line(model: dict, k: int, angles: list[float], spokes: list[dict]) -> go.Scatterpolar:
    """The first point again at the end closes the line."""
    import plotly.graph_objects as go

    said = [f"{spoke['name']}: {value:.1f}" for spoke, value in zip(spokes, model["percent"], strict=True)]
    return go.Scatterpolar(
        r=[*model["r"], model["r"][0]],
        theta=[*angles, angles[0]],
        mode="lines+markers",
        name=model["name"],
        line={"color": theme.COLOURS[k], "dash": DASHES[k], "width": 2},
        marker={"symbol": SYMBOLS[k], "size": 7},
        customdata=[*said, said[0]],
        hovertemplate=model["name"] + "<br>%{customdata}<extra></extra>",
    )
