"""A ladder of ablations: how three scores rise and fall from rung to rung, published beside measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.evaluation.statistics import Interval
from workbench.plots import theme
from workbench.sail import NAMING, RUNGS, Ladder

if TYPE_CHECKING:
    import plotly.graph_objects as go

SYMBOLS = ("circle", "square", "diamond", "triangle-up")
MOST = len(SYMBOLS)
PUBLISHED = {
    "naming": "ImageNet, top 1",
    "text_to_image": "COCO, text to image, R@1",
    "image_to_text": "COCO, image to text, R@1",
}
SHOWN = (NAMING, "drawings: text to image, R@1", "drawings: image to text, R@1")
_NAMED = {NAMING: "stamps, folder named, top 1"}


def spec(found: Ladder, shown: Sequence[str] = SHOWN) -> dict:
    """rungs in order; panels[k] = title, series[j] = name, points: [row, mean, low, high, n], percent, published ones without
    interval and n.

    Figure G6 of SAIL (arXiv 2412.04616, Table 1), and its rungs as they were measured here. The trap: the panels have other
    towers, data, galleries and scales; what compares is whether a step goes up or down. Raises ValueError for a score that was
    not asked, none or more than four; TypeError for what is no `Ladder`.
    """
    if not isinstance(found, Ladder):
        raise TypeError(f"a {type(found).__name__}; give what `workbench.sail.measured_ladder` returns")
    if not 1 <= len(shown) <= MOST:
        raise ValueError(f"{len(shown)} scores; give one to {MOST} of {', '.join(map(repr, found.asked))}")
    names = [rung.name for rung in RUNGS]
    here = [(_NAMED.get(what, what), [found.scores(what)[name] for name in names]) for what in shown]
    there = [(told, [getattr(rung, column) for rung in RUNGS]) for column, told in PUBLISHED.items()]
    return {
        "rungs": [theme.plain(name, 30) for name in names],
        "panels": [
            {"title": "published: DINOv2-L, GTE-large, CC3M", "series": [_series(*each, _bare) for each in there]},
            {
                "title": "here: EfficientNet-Lite2, MiniLM, drawings",
                "series": [_series(*each, _measured) for each in here],
            },
        ],
    }


def _series(name: str, values: Sequence, point) -> dict:
    return {"name": theme.plain(name, 40), "points": [{"row": row, **point(each)} for row, each in enumerate(values)]}


def _bare(percent: float) -> dict:
    return {"mean": percent, "low": None, "high": None, "n": None}


def _measured(each: Interval) -> dict:
    return {"mean": 100 * each.mean, "low": 100 * each.low, "high": 100 * each.high, "n": each.n}


def figure(spec: dict) -> go.Figure:
    """Rungs from left to right as they are climbed, a line per score; bars are 95 % intervals, over items of one ladder."""
    from plotly.subplots import make_subplots

    titles = [f"<b>{panel['title']}</b>" for panel in spec["panels"]]
    fig = make_subplots(1, len(spec["panels"]), horizontal_spacing=0.06, subplot_titles=titles)
    for column, panel in enumerate(spec["panels"], 1):
        for k, series in enumerate(panel["series"]):
            fig.add_trace(_line(series, spec["rungs"], k, column), 1, column)
    rungs = spec["rungs"]
    fig.update_xaxes(tickvals=list(range(len(rungs))), ticktext=rungs, tickangle=-40, range=[-0.4, len(rungs) - 0.6])
    fig.update_xaxes(tickfont={"size": 11}, showgrid=False, zeroline=False)
    fig.update_yaxes(rangemode="tozero", zeroline=False)
    fig.update_yaxes(title={"text": "percent", "font": {"size": 12}}, col=1)
    fig.update_annotations(font_size=13)
    layout = {f"legend{k}" if k > 1 else "legend": _legend(fig, k) for k in range(1, len(spec["panels"]) + 1)}
    fig.update_layout(template=theme.template(), height=450, margin={"t": 40, "b": 150, "l": 50, "r": 15}, **layout)
    return fig


def _legend(fig: go.Figure, column: int) -> dict:
    """Below the panel's own half: the panels have other scores."""
    left, _ = fig.layout["xaxis" if column == 1 else f"xaxis{column}"].domain
    return {"x": left, "xanchor": "left", "yref": "container", "y": 0, "yanchor": "bottom", "font": {"size": 12}}


def _line(series: dict, rungs: Sequence[str], k: int, column: int) -> go.Scatter:
    import plotly.graph_objects as go

    points = series["points"]
    bars = None
    if points[0]["low"] is not None:
        bars = theme.of_points(points, "mean", thickness=1.5, width=3)
    told = "%{y:.1f}" if bars is None else "%{y:.1f} [%{customdata[0]:.1f}, %{customdata[1]:.1f}], n %{customdata[2]}"
    return go.Scatter(
        x=[point["row"] for point in points],
        y=[point["mean"] for point in points],
        error_y=bars,
        mode="lines+markers",
        line={"color": theme.COLOURS[k], "width": 2, "dash": ("solid", "dash", "dot", "dashdot")[k]},
        marker={"symbol": SYMBOLS[k], "size": 9},
        name=series["name"],
        legend="legend" if column == 1 else f"legend{column}",
        customdata=[[point["low"], point["high"], point["n"]] for point in points],
        hovertemplate=f"{series['name']}<br>%{{text}}: {told}<extra></extra>",
        text=[rungs[point["row"]] for point in points],
    )
