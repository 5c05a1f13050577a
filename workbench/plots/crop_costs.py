"""What crops cost and buy: group score against encodings of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.evaluation.composition import Groups
from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from workbench.fine_grained import CropCosts


def spec(found: CropCosts, layouts: Sequence[str] = ("1", "86", "270")) -> dict:
    """x[k] encodings of a picture and `ratios` seconds ÷ one pass (mean of seeds) of each layout; lines[category] = percent, low,
    high; chance.

    Figure of arXiv 2506.09691, whose A100 took 133 to 210 times as long; encodings are what a cache of crops saves. Raises
    ValueError for no layouts, or one that was not measured.
    """
    if not layouts:
        raise ValueError(f"no layouts; choose from {', '.join(found.group)}")
    if unknown := [name for name in layouts if name not in found.group]:
        raise ValueError(f"no layout {unknown[0]!r}; there are {', '.join(found.group)}")
    categories = list(found.group[layouts[0]])
    return {
        "layouts": [theme.plain(name, 30) for name in layouts],
        "x": [found.encodings[name] for name in layouts],
        "ratios": [float(np.mean(found.ratios[name])) for name in layouts],
        "lines": {
            theme.plain(category, 20): {
                "percent": [100 * found.group[name][category].mean for name in layouts],
                "low": [100 * found.group[name][category].low for name in layouts],
                "high": [100 * found.group[name][category].high for name in layouts],
                "n": found.group[layouts[0]][category].n,
            }
            for category in categories
        },
        "chance": 100 * Groups.chance["group"],
    }


def figure(spec: dict) -> go.Figure:
    """Encodings on a logarithmic axis, their seconds written below; bars are 95 % intervals over quads."""
    import plotly.graph_objects as go

    fig = go.Figure()
    for k, (category, line) in enumerate(spec["lines"].items()):
        fig.add_scatter(
            x=spec["x"],
            y=line["percent"],
            error_y=theme.whiskers(line["percent"], line["low"], line["high"], thickness=1),
            name=category,
            mode="lines+markers",
            line={"color": theme.COLOURS[k % len(theme.COLOURS)]},
            marker={"symbol": ("circle", "square", "diamond", "cross", "triangle-up")[k % 5], "size": 8},
            hovertemplate=f"{category}, %{{x}} crops: %{{y:.1f}}<br>n {line['n']}<extra></extra>",
        )
    fig.add_hline(spec["chance"], line={"dash": "dash", "color": theme.GREY})
    told = [f"{name}<br>{ratio:.0f} ×" for name, ratio in zip(spec["layouts"], spec["ratios"], strict=True)]
    title = "crops of a picture, and seconds as a multiple of one pass"
    fig.update_xaxes(type="log", tickvals=spec["x"], ticktext=told, title=title)
    fig.update_yaxes(title="group score, percent", range=[-2, 104], zeroline=False)
    fig.update_layout(template=theme.template(), height=360, margin={"t": 15})
    return fig
