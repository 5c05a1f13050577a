"""Precision at K against K: how long a list of neighbours stays of one label, by readout."""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from typing import TYPE_CHECKING

from workbench.evaluation.label_retrieval import LabelRetrieval
from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

# A mark and a dash for each as well: colour is never the only sign.
_MARKS = ("circle", "square", "diamond", "cross", "triangle-up", "star")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_LOGARITHMIC = 20  # largest over smallest K above which a linear axis would press the small ones together


def spec(found: Mapping[str, LabelRetrieval]) -> dict:
    """lines[k] = name, k (ascending), percent, low, high; chance and mAP in percent; `log` says how K is best drawn.

    Figure F3 of IsoCLIP (arXiv 2603.19862). The trap: where K passes the number of items of a label, precision has to fall
    for any readout. Raises ValueError for none or more than six readouts, one without precision, or readouts of other
    queries or galleries; TypeError for what is no `LabelRetrieval`.
    """
    _check(found)
    (one, *_) = found.values()
    ks = sorted({k for each in found.values() for k in each.precision})
    return {
        "lines": [_line(name, each) for name, each in found.items()],
        "ks": ks,
        "log": ks[-1] > _LOGARITHMIC * ks[0],
        "chance": 100 * one.chance,
        "title": f"{one.n:,} queries, gallery of {one.gallery:,}",
    }


def _check(found: Mapping[str, LabelRetrieval]) -> None:
    if not 1 <= len(found) <= len(_MARKS):
        raise ValueError(f"{len(found)} readouts; give one to {len(_MARKS)} by name, and the rest to another figure")
    of = {}
    for name, each in found.items():
        if not isinstance(each, LabelRetrieval):
            raise TypeError(f"{name!r} is a {type(each).__name__}; give what `label_retrieval` returns")
        if not each.precision:
            raise ValueError(f"{name!r} has no precision at any k; ask `label_retrieval` for some `ks`")
        of.setdefault((each.n, each.gallery, round(each.chance, 9)), name)
    if len(of) > 1:
        said = "; ".join(f"{name!r} {n} queries, gallery of {g}, chance {c:.4f}" for (n, g, c), name in of.items())
        raise ValueError(f"readouts of different items do not compare: {said}")


def _line(name: str, each: LabelRetrieval) -> dict:
    ks = sorted(each.precision)
    at = [each.precision[k] for k in ks]
    return {
        "name": theme.plain(name, 40),
        "map": 100 * each.mean_average_precision.mean,
        "k": ks,
        "percent": [100 * value.mean for value in at],
        "low": [100 * value.low for value in at],
        "high": [100 * value.high for value in at],
    }


def figure(spec: dict) -> go.Figure:
    """A line per readout with its 95 % interval over queries as a band; chance is dashed."""
    import plotly.graph_objects as go

    fig = go.Figure([trace for place, line in enumerate(spec["lines"]) for trace in _traces(place, line)])
    named = {"name": f"chance {spec['chance']:.1f}", "showlegend": True}
    fig.add_hline(spec["chance"], line={"dash": "dash", "color": theme.GREY}, layer="below", **named)
    ends = [value for line in spec["lines"] for value in (*line["low"], *line["high"])] + [spec["chance"]]
    pad = 0.06 * (max(ends) - min(ends)) or 1
    fig.update_yaxes(
        title="precision at K, percent", title_font_size=13, range=[min(ends) - pad, max(ends) + pad], zeroline=False
    )
    fig.update_xaxes(title="K, nearest neighbours looked at", title_font_size=13, zeroline=False, title_standoff=6)
    if spec["log"]:
        ticks = _ticks(spec["ks"])
        fig.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{k:,}" for k in ticks])
    below = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0}
    legend = 22 * -(-(len(spec["lines"]) + 1) // 2)  # two entries in a row where the figure is narrow
    layout = {"height": 320 + legend, "legend": below, "margin": {"t": 40, "b": 50 + legend}}
    fig.update_layout(template=theme.template(), title={"text": spec["title"], "font": {"size": 13}}, **layout)
    return fig


def _traces(place: int, line: dict) -> list:
    import plotly.graph_objects as go
    from plotly.colors import hex_to_rgb

    colour = theme.COLOURS[place]
    around = {"line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, "legendgroup": str(place)}
    band = go.Scatter(
        x=[*line["k"], *reversed(line["k"])],
        y=[*line["high"], *reversed(line["low"])],
        mode="lines",
        fill="toself",
        fillcolor=f"rgba{(*hex_to_rgb(colour), 0.18)}",
        **around,
    )
    middle = go.Scatter(
        x=line["k"],
        y=line["percent"],
        customdata=list(zip(line["low"], line["high"], strict=True)),
        hovertemplate="K %{x:,}: %{y:.1f} [%{customdata[0]:.1f}, %{customdata[1]:.1f}]",
        mode="lines+markers",
        name=f"{line['name']} (mAP {line['map']:.1f})",
        legendgroup=str(place),
        line={"color": colour, "dash": _DASHES[place]},
        marker={"symbol": _MARKS[place], "size": 8},
    )
    return [band, middle]


def _ticks(ks: list[int]) -> list[int]:
    """Those of ks whose labels stand clear of each other on a logarithmic axis."""
    clear, kept = log(ks[-1] / ks[0]) / 14, [ks[0]]
    for k in ks[1:]:
        if log(k / kept[-1]) >= clear:
            kept.append(k)
    return kept
