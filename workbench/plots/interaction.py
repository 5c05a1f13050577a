"""Group score against the sign of the interaction: what is told apart, and what strict comparisons leave of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.evaluation.composition import Groups
from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from workbench.controlled import ControlledScores

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "pentagon", "x")
MOST = len(SYMBOLS)


def spec(scores: ControlledScores, scorers: Sequence[str] | None = None) -> dict:
    """scorers[k] = name and points: category, sign and group in percent with [low, high]; categories; both chances.

    The sign asks whether the two right pairs together score above the two wrong ones, so what a picture or a caption scores on
    its own cancels. The trap: its chance is 50, the group score's 16.7, and whoever is right in a group has the sign as well,
    so no point lies above the diagonal. Raises ValueError for scorers that are not there, none, or more than eight, and for
    scores of several models.
    """
    models = dict.fromkeys(model for model, _, _ in scores.groups)
    there = list(dict.fromkeys(scorer for _, _, scorer in scores.groups))
    scorers = there if scorers is None else list(scorers)
    if len(models) != 1:
        raise ValueError(f"scores of {len(models)} models ({', '.join(models)}); draw one at a time")
    if unknown := [name for name in scorers if name not in there]:
        raise ValueError(f"no scorer {unknown[0]!r}; there are {', '.join(there)}")
    if not 1 <= len(scorers) <= MOST:
        raise ValueError(f"{len(scorers)} scorers; give one to {MOST}, which can be told apart")
    categories = list(dict.fromkeys(category for _, category, _ in scores.groups))
    return {
        "categories": [theme.plain(name, 20) for name in categories],
        "scorers": [
            {
                "name": theme.plain(name, 40),
                "points": [
                    {"category": k, **_point(scores.groups[next(iter(models)), category, name])}
                    for k, category in enumerate(categories)
                ],
            }
            for name in scorers
        ],
        "chance": {"sign": 100 * Groups.chance["interaction_sign"], "group": 100 * Groups.chance["group"]},
    }


def _point(groups: Groups) -> dict:
    found = {"n": groups.n}
    for name, score in (("sign", "interaction_sign"), ("group", "group")):
        low, high = groups.intervals[score]
        found[name] = {"mean": 100 * getattr(groups, score), "low": 100 * low, "high": 100 * high}
    return found


def figure(spec: dict) -> go.Figure:
    """A colour for each scorer, a sign for each category, 95 % intervals both ways; above the diagonal there is nothing."""
    import plotly.graph_objects as go

    fig = go.Figure()
    fig.add_scatter(x=[0, 100], y=[0, 100], mode="lines", line={"color": theme.GREY, "width": 1}, hoverinfo="skip")
    fig.data[0].showlegend = False
    for k, scorer in enumerate(spec["scorers"]):
        fig.add_trace(_points(scorer, spec["categories"], theme.COLOURS[k % len(theme.COLOURS)]))
    for k, category in enumerate(spec["categories"]):
        marker = {"symbol": SYMBOLS[k % MOST], "color": theme.GREY, "size": 9}
        fig.add_scatter(x=[None], y=[None], mode="markers", name=category, marker=marker, legend="legend2")
    dashed = {"dash": "dash", "color": theme.GREY}
    fig.add_hline(spec["chance"]["group"], line=dashed)
    fig.add_vline(spec["chance"]["sign"], line=dashed)
    fig.update_xaxes(title="interaction sign, percent", range=[-2, 104], zeroline=False)
    fig.update_yaxes(title="group score, percent", range=[-4, 104], zeroline=False)
    beside = {"x": 1.01, "xanchor": "left"}
    legends = {"legend": {**beside, "y": 1}, "legend2": {**beside, "y": 0.35}}
    fig.update_layout(template=theme.template(), height=420, margin={"t": 15}, **legends)
    return fig


def _points(scorer: dict, categories: list[str], colour: str) -> go.Scatter:
    import plotly.graph_objects as go

    points = scorer["points"]
    bars = {
        f"error_{axis}": theme.of_points([each[name] for each in points], "mean", thickness=1, width=0)
        for axis, name in (("x", "sign"), ("y", "group"))
    }
    return go.Scatter(
        x=[each["sign"]["mean"] for each in points],
        y=[each["group"]["mean"] for each in points],
        **bars,
        mode="markers",
        name=scorer["name"],
        marker={"symbol": [SYMBOLS[each["category"] % MOST] for each in points], "color": colour, "size": 10},
        customdata=[[categories[each["category"]], each["n"]] for each in points],
        hovertemplate=f"{scorer['name']}<br>%{{customdata[0]}}: sign %{{x:.1f}}, group %{{y:.1f}}"
        "<br>n %{customdata[1]}<extra></extra>",
    )
