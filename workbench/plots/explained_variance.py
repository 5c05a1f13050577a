"""How many directions embeddings need: the variance that leading components explain, a line for each prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

PROMPTS, PANELS = 6, 2
_POINTS = 160  # of a line, even on the logarithmic axis; a width of 4096 would only weigh
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_MARKS = ("circle", "square", "diamond", "triangle-up", "cross", "star")

Curve = tuple[Sequence[float], float]


def spec(panels: Mapping[str, Mapping[str, Curve]]) -> dict:
    """names of prompts; panels[k] = title, n (components), lines[j]: name, x, y, rank, at.

    panels[modality][prompt] = (share of the variance that the first 1, 2, … components explain, effective rank); `at` is the
    line's height at the rank. Figure 3 of VladVA (arXiv 2412.04378). The trap: the rank of these shares (exp of their
    entropy) is not `evaluation.effective_rank`, which takes singular values and leaves the mean in; give all lines one kind.
    Raises ValueError for no prompts, more than six, more than two modalities or different prompts of theirs, shares that do
    not rise from 0 to 1, or a rank below 1.
    """
    names = list(next(iter(panels.values()), {}))
    if not 1 <= len(panels) <= PANELS or not 1 <= len(names) <= PROMPTS:
        raise ValueError(
            f"{len(names)} prompts in {len(panels)} modalities; give one to {PROMPTS}, which can be told apart, in one or two"
        )
    for title, lines in panels.items():
        if list(lines) != names:
            raise ValueError(
                f"{title!r} has {_listed(lines)}, not {_listed(names)}; give all modalities the same prompts"
            )
    return {
        "names": [theme.plain(name, 50) for name in names],
        "panels": [
            {
                "title": theme.plain(title, 30),
                "n": max(len(each[0]) for each in lines.values()),
                "lines": [{"name": k, **_line(name, *each)} for k, (name, each) in enumerate(lines.items())],
            }
            for title, lines in panels.items()
        ],
    }


def _listed(names) -> str:
    return ", ".join(map(repr, names))


def _line(name: str, shares: Sequence[float], rank: float) -> dict:
    shares = np.asarray(shares, dtype=np.float64)
    if shares.ndim != 1 or not len(shares):
        raise ValueError(f"{name!r} has shares of shape {shares.shape}; give (components,), one or more")
    rising = np.diff(shares, prepend=0.0) >= -1e-9
    if not rising.all() or not shares[-1] <= 1 + 1e-6:  # NaN fails as well
        raise ValueError(
            f"{name!r} has shares that do not rise from 0 to 1; give the cumulative sum of variance shares"
        )
    if not (np.isfinite(rank) and rank >= 1 - 1e-6):  # one component's rank may round to a little less
        raise ValueError(f"{name!r} has the effective rank {rank}; give 1 or more")
    rank = max(float(rank), 1.0)
    x = np.unique(np.geomspace(1, len(shares), _POINTS).round().astype(int))
    at = np.interp(np.log(rank), np.log(x), shares[x - 1])  # straight between points where the axis is logarithmic
    return {"x": x.tolist(), "y": shares[x - 1].tolist(), "rank": rank, "at": float(at)}


def figure(spec: dict, *, log: bool = True) -> go.Figure:
    """Panels side by side, components by their logarithm; a sign where the effective rank is, its number in the legend."""
    from plotly.subplots import make_subplots

    panels = spec["panels"]
    titles = [f"<b>{panel['title']}</b>" for panel in panels]
    fig = make_subplots(1, len(panels), subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.04)
    for column, panel in enumerate(panels, 1):
        for line in panel["lines"]:
            fig.add_traces(_traces(line, spec, column == 1), rows=1, cols=column)
        fig.update_xaxes(_axis(panel["n"], log), row=1, col=column)
    fig.update_xaxes(title={"text": "principal components", "standoff": 6}, zeroline=False)
    fig.update_yaxes(range=[0, 1.03], zeroline=False)
    fig.update_yaxes(title="share of the variance explained", col=1)
    fig.update_annotations(font_size=13)
    below = 52 + 19 * (len(spec["names"]) + 1)
    layout = {"height": 320 + below, "margin": {"t": 35, "b": below}, "legend": _legend(panels)}
    fig.update_layout(template=theme.template(), showlegend=True, **layout)
    return fig


def _axis(n: int, log: bool) -> dict:
    if not log:
        return {"type": "linear", "range": [0, 1.03 * n]}
    ticks = [tick for k in range(6) for tick in (10**k, 3 * 10**k) if tick <= n]  # few, for a narrow panel
    return {"type": "log", "range": [-0.03, np.log10(n) + 0.03], "tickvals": ticks}


def _legend(panels: Sequence[dict]) -> dict:
    told = f"effective rank (the large sign): {', '.join(panel['title'] for panel in panels)}"
    place = {"yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "tracegroupgap": 0}
    return {**place, "font": {"size": 12}, "title": {"text": told, "font": {"size": 12}}}


def _traces(line: dict, spec: dict, first: bool) -> list:
    """The line, and a sign at its effective rank, which stands for both in the legend."""
    import plotly.graph_objects as go

    k = line["name"]
    ranks = ", ".join(f"{panel['lines'][k]['rank']:.1f}" for panel in spec["panels"])
    name = f"“{spec['names'][k]}”"
    look = {"legendgroup": str(k), "line": {"color": theme.COLOURS[k], "dash": _DASHES[k], "width": 2}}
    sign = {"symbol": _MARKS[k], "size": 12, "color": theme.COLOURS[k], "line": {"width": 1.5, "color": "white"}}
    curve = go.Scatter(x=line["x"], y=line["y"], mode="lines", showlegend=False, **look)
    curve.hovertemplate = f"first %{{x}} components: %{{y:.3f}}<extra>{name}</extra>"
    mark = go.Scatter(x=[line["rank"]], y=[line["at"]], mode="lines+markers", marker=sign, showlegend=first, **look)
    mark.update(
        name=f"{name} <b>{ranks}</b>",
        hovertemplate=f"effective rank %{{x:.1f}}, where %{{y:.3f}} is explained<extra>{name}</extra>",
    )
    return [curve, mark]
