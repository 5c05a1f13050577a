"""Does what was learned at home hold elsewhere? A point for each system: its score in the domain of training, and away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from workbench.evaluation.composition import Groups
from workbench.evaluation.statistics import Interval
from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "pentagon", "x")
PANELS = 3

Points = Mapping[str, tuple[Interval, Interval]]


def spec(panels: Mapping[str, Points], *, chance: float = Groups.chance["group"]) -> dict:
    """names; panels[k] = title, points: name, home and away, each [mean, low, high] in percent, n of both; chance.

    panels[title][name] = (at home, away), fractions; after the scatter of arXiv 2604.11496. The trap: a point below the diagonal
    lost something, and says nothing of how much it had gained: compare with the point of what was not trained. Raises
    ValueError for no points, more than eight names, or more than three panels.
    """
    names = list(dict.fromkeys(name for points in panels.values() for name in points))
    if not 1 <= len(names) <= len(SYMBOLS) or len(panels) > PANELS:
        raise ValueError(
            f"{len(names)} names in {len(panels)} panels; give one to {len(SYMBOLS)} names, which can be told apart, in up to "
            f"{PANELS} panels"
        )
    return {
        "names": [theme.plain(name, 30) for name in names],
        "panels": [
            {
                "title": theme.plain(title, 30),
                "points": [{"name": names.index(name), **_point(*both)} for name, both in points.items()],
            }
            for title, points in panels.items()
        ],
        "chance": 100 * chance,
    }


def _point(home: Interval, away: Interval) -> dict:
    ends = {
        which: [100 * x for x in (each.mean, each.low, each.high)] for which, each in (("home", home), ("away", away))
    }
    return {**ends, "n": [home.n, away.n]}


def figure(spec: dict, *, home: str = "in the domain of training", away: str = "in another domain") -> go.Figure:
    """Side by side, same axes; bars are 95 % intervals, dashes chance, the line is where nothing is lost."""
    from plotly.subplots import make_subplots

    panels = spec["panels"]
    fig = make_subplots(1, len(panels), subplot_titles=[each["title"] for each in panels], shared_yaxes=True)
    dashed = {"dash": "dash", "color": theme.GREY, "width": 1}
    for k, panel in enumerate(panels, 1):
        line = {"color": theme.GREY, "width": 1}
        fig.add_scatter(
            x=[0, 100], y=[0, 100], mode="lines", line=line, hoverinfo="skip", showlegend=False, row=1, col=k
        )
        fig.add_hline(spec["chance"], line=dashed, row=1, col=k)
        fig.add_vline(spec["chance"], line=dashed, row=1, col=k)
        for point in panel["points"]:
            fig.add_trace(_marker(point, spec["names"][point["name"]], k == 1), row=1, col=k)
    fig.update_xaxes(title=f"group score {home}, percent", range=[-4, 104], zeroline=False)
    fig.update_yaxes(range=[-4, 104], zeroline=False)
    fig.update_yaxes(title=f"group score {away}, percent", col=1)
    fig.update_layout(template=theme.template(), height=420, margin={"t": 40})
    return fig


def _marker(point: dict, name: str, first: bool) -> go.Scatter:
    import plotly.graph_objects as go

    bars = {
        f"error_{axis}": theme.whiskers(*([each] for each in ends), thickness=1, width=0)
        for axis, ends in (("x", point["home"]), ("y", point["away"]))
    }
    k = point["name"]
    return go.Scatter(
        x=point["home"][:1],
        y=point["away"][:1],
        **bars,
        mode="markers",
        name=name,
        legendgroup=name,
        showlegend=first,
        marker={"symbol": SYMBOLS[k], "color": theme.COLOURS[k], "size": 11, "line": {"width": 1, "color": theme.GREY}},
        customdata=[point["n"]],
        hovertemplate=f"{name}: %{{x:.1f}} at home, %{{y:.1f}} away<br>n %{{customdata[0]}}, %{{customdata[1]}}<extra></extra>",
    )
