"""How open each prompt leaves the next word: entropy at the summary, prompts in rising order, pictures beside captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING

from workbench.evaluation.statistics import Interval
from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST = 60  # prompts that can still be told apart
LONGEST = 60  # characters of a prompt
_LINES = (("circle", "solid"), ("square", "dash"))


def spec(
    prompts: Sequence[str], entropies: Mapping[str, Sequence[Interval]], *, groups: Sequence[str] | None = None
) -> dict:
    """prompts[k] = words, group; lines[j] = name, points: place (from 1), mean, low, high in nats, n.

    entropies[modality] holds an interval over inputs for each prompt, in the prompts' order; prompts are drawn in rising order
    of the modalities' mean. Figure 2 of VladVA (arXiv 2412.04378). The trap: a captioner's entropy says how many answers a
    prompt has, which need not be how much of the picture the summary knows. Raises ValueError for no prompts, more than 60, no
    modality, more than two, unequal numbers, or numbers that are not finite; TypeError for what is no `Interval`.
    """
    check_prompts(prompts, groups)
    if not 1 <= len(entropies) <= len(_LINES):
        raise ValueError(f"{len(entropies)} modalities; give entropies of pictures, of captions, or of both")
    found = {name: points(name, each, prompts) for name, each in entropies.items()}
    order = sorted(range(len(prompts)), key=lambda k: sum(line[k]["mean"] for line in found.values()))
    return {
        "prompts": [named(prompts, groups, k) for k in order],
        "lines": [
            {
                "name": theme.plain(name, 30),
                "points": [{"place": place, **line[k]} for place, k in enumerate(order, 1)],
            }
            for name, line in found.items()
        ],
    }


def check_prompts(prompts: Sequence[str], groups: Sequence[str] | None) -> None:
    """Raises ValueError for no prompts, too many, or groups that do not belong to them."""
    if not 1 <= len(prompts) <= MOST:
        raise ValueError(f"{len(prompts)} prompts; give one to {MOST}")
    if groups is not None and len(groups) != len(prompts):
        raise ValueError(f"{len(groups)} groups for {len(prompts)} prompts; give one for each")


def points(name: str, values: Sequence[Interval], prompts: Sequence[str], unit: float = 1.0) -> list[dict]:
    """An interval a prompt, each number `unit` times: mean, low, high, n. Raises as `spec`."""
    if len(values) != len(prompts):
        raise ValueError(f"{name!r} has {len(values)} intervals for {len(prompts)} prompts; give one for each")
    for each in values:
        if not isinstance(each, Interval):
            raise TypeError(f"{name!r} holds a {type(each).__name__}; give an Interval, as `bootstrap` returns")
        if not all(map(isfinite, (each.mean, each.low, each.high))):
            raise ValueError(f"{name!r} holds {each}; an interval to draw has three finite numbers")
    return [{"mean": unit * x.mean, "low": unit * x.low, "high": unit * x.high, "n": x.n} for x in values]


def named(prompts: Sequence[str], groups: Sequence[str] | None, k: int) -> dict:
    """Words and group of prompt k as a figure may show them."""
    group = None if groups is None else theme.plain(groups[k], 30)
    return {"words": theme.plain(prompts[k], LONGEST), "group": group}


def said(prompt: dict) -> str:
    """A prompt's words, and its group behind them, for hovers."""
    return f"“{prompt['words']}”" + (f", {prompt['group']}" if prompt["group"] else "")


def figure(spec: dict) -> go.Figure:
    """A line for each modality, bars of 95 % over inputs; the words at both ends stand above, all of them in the hovers."""
    import plotly.graph_objects as go

    prompts = spec["prompts"]
    fig = go.Figure([_line(line, prompts, k) for k, line in enumerate(spec["lines"])])
    fig.update_xaxes(title="prompts, by their mean entropy", range=[0.2, len(prompts) + 0.8], zeroline=False)
    top = max(point[end] for line in spec["lines"] for point in line["points"] for end in ("mean", "high"))
    fig.update_yaxes(title="entropy of the next token, nats", range=[-0.04 * top, 1.06 * top or 1.0], zeroline=False)
    told = {"lowest": 1, "highest": len(prompts)}
    ends = "<br>".join(f"{end} ({place}): “{prompts[place - 1]['words']}”" for end, place in told.items())
    above = {"xref": "paper", "x": 0, "xanchor": "left", "yref": "paper", "y": 1, "yanchor": "bottom", "yshift": 8}
    fig.add_annotation(text=ends, align="left", showarrow=False, font_size=12, **above)
    legend = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0}
    margin = {"t": 50, "b": 75}
    fig.update_layout(template=theme.template(), height=380, showlegend=True, legend=legend, margin=margin)
    return fig


def _line(line: dict, prompts: Sequence[dict], k: int) -> go.Scatter:
    import plotly.graph_objects as go

    symbol, dash = _LINES[k]
    drawn = line["points"]
    return go.Scatter(
        x=[point["place"] for point in drawn],
        y=[point["mean"] for point in drawn],
        error_y=theme.of_points(drawn, "mean", thickness=1.2, width=2),
        name=line["name"],
        mode="lines+markers",
        line={"color": theme.COLOURS[k], "dash": dash, "width": 1.5},
        marker={"symbol": symbol, "size": 7},
        customdata=[[said(prompts[point["place"] - 1]), point["low"], point["high"], point["n"]] for point in drawn],
        hovertemplate="%{customdata[0]}<br>%{y:.2f} nats [%{customdata[1]:.2f}, %{customdata[2]:.2f}], n %{customdata[3]}"
        f"<extra>{line['name']}</extra>",
    )
