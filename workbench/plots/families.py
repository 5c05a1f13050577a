"""What a correlation leans on: r when each family of towers is left out, a dot for each probe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.evaluation.alignment_probes import KINDS, ProbeCorrelations
from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST = 4  # probes that can still be told apart in one row
EVERY = "none left out"
_SYMBOLS = ("circle", "square", "diamond", "triangle-up")


def spec(found: ProbeCorrelations) -> dict:
    """rows in order, the first of all towers; panels[k] = kind, series[j] = probe, points: [row, r, low, high, n].

    Figure G8, ours, beside G1 and G2 of SAIL (arXiv 2412.04616). A family without which fewer than three towers remain has
    no point. Raises ValueError for more than four probes, TypeError for what is no `ProbeCorrelations`.
    """
    if not isinstance(found, ProbeCorrelations):
        raise TypeError(f"a {type(found).__name__}; give what `workbench.evaluation.probe_correlations` returns")
    if len(found.probes) > MOST:
        raise ValueError(f"{len(found.probes)} probes; up to {MOST} can be told apart")
    families = list(dict.fromkeys(found.families))
    names = [f"{theme.plain(each, 24)} ({found.families.count(each)})" for each in families]
    return {
        "title": theme.plain(found.title, 70),
        "rows": [f"{EVERY} ({len(found.names)})", *names],
        "panels": [
            {"kind": kind, "series": [_series(found, kind, probe, families) for probe in found.probes]}
            for kind in KINDS
        ],
    }


def _series(found: ProbeCorrelations, kind: str, probe: str, families: list[str]) -> dict:
    each = [found.r[kind][probe], *(found.without[kind][probe].get(family) for family in families)]
    points = [
        {"row": row, "r": one.r, "low": one.low, "high": one.high, "n": one.n} for row, one in enumerate(each) if one
    ]
    return {"probe": theme.plain(probe, 30), "points": points}


def figure(spec: dict) -> go.Figure:
    """A row for each family, its probes a little above and below each other; the dotted line is r of all towers."""
    from plotly.subplots import make_subplots

    n = len(spec["rows"])
    fig = make_subplots(
        1,
        len(spec["panels"]),
        shared_yaxes=True,
        horizontal_spacing=0.04,
        subplot_titles=[f"<b>{each['kind']}</b>" for each in spec["panels"]],
    )
    for column, panel in enumerate(spec["panels"], 1):
        for k, series in enumerate(panel["series"]):
            fig.add_trace(_dots(series, k, len(panel["series"]), column == 1), 1, column)
            line = {"dash": "dot", "color": theme.COLOURS[k], "width": 1}
            fig.add_vline(series["points"][0]["r"], line=line, row=1, col=column)
    fig.update_annotations(font_size=13)
    fig.update_yaxes(range=[n - 0.5, -0.5], showgrid=False, zeroline=False)
    fig.update_yaxes(tickvals=list(range(n)), ticktext=spec["rows"], automargin=True, col=1)
    fig.update_yaxes(title={"text": "without the family (towers)", "font": {"size": 12}}, col=1)
    fig.update_xaxes(
        title={"text": "r with alignment [95 %]", "font": {"size": 12}, "standoff": 6}, zeroline=False, matches="x"
    )
    legend = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0}
    layout = {"height": 150 + 36 * n, "legend": legend, "margin": {"t": 70, "b": 80, "l": 20, "r": 15}}
    fig.update_layout(template=theme.template(), title=spec["title"], **layout)
    return fig


def _dots(series: dict, k: int, of: int, named: bool) -> go.Scatter:
    import plotly.graph_objects as go

    points, beside = series["points"], 0.24 * (k - (of - 1) / 2)
    return go.Scatter(
        x=[point["r"] for point in points],
        y=[point["row"] + beside for point in points],
        error_x=theme.of_points(points, "r", thickness=2, width=0),
        mode="markers",
        marker={"symbol": _SYMBOLS[k], "color": theme.COLOURS[k], "size": 9},
        name=series["probe"],
        showlegend=named,
        customdata=[[point["low"], point["high"], point["n"]] for point in points],
        hovertemplate=f"{series['probe']}<br>r %{{x:.3f}} [%{{customdata[0]:.3f}}, %{{customdata[1]:.3f}}], n %{{customdata[2]}}"
        "<extra></extra>",
    )
