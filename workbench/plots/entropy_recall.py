"""Does a prompt that leaves more open retrieve better? R@1 against the entropy of the next token, a point for each prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from workbench.evaluation.statistics import Correlation, Interval, spearman
from workbench.plots import theme
from workbench.plots.prompt_entropy import check_prompts, named, points, said

if TYPE_CHECKING:
    import plotly.graph_objects as go

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "pentagon", "triangle-down")
_WAYS = (("", theme.COLOURS[0]), ("-open", theme.COLOURS[1]))  # filled and hollow: colour is not the only sign


def spec(
    prompts: Sequence[str],
    entropy: Sequence[Interval],
    recalls: Mapping[str, Sequence[Interval]],
    *,
    groups: Sequence[str] | None = None,
    chance: float | None = None,
    correlations: Mapping[str, Correlation] | None = None,
) -> dict:
    """prompts[k] = words, group; entropy[k] = mean, low, high in nats, n; ways[j] = name, points in percent, r; groups; chance.

    Intervals of one prompt each, recalls[direction] of fractions; chance is a fraction. Figure 5 of VladVA (arXiv 2412.04378).
    r is Spearman's with its interval: that of `correlations`, else over prompts one by one. The trap: prompts of one task are
    no independent draws, so give `spearman(..., groups=tasks)` where there are enough tasks. Raises ValueError for no
    direction, more than two, more than eight groups, or as `prompt_entropy.spec` and `spearman`; TypeError for what is no
    `Interval`.
    """
    check_prompts(prompts, groups)
    known = list(dict.fromkeys(groups or ()))
    if not 1 <= len(recalls) <= len(_WAYS) or len(known) > len(SYMBOLS):
        raise ValueError(
            f"{len(recalls)} directions and {len(known)} groups; give one or two directions and up to {len(SYMBOLS)} groups"
        )
    if chance is not None and not 0 <= chance <= 1:
        raise ValueError(f"chance={chance}; give a fraction, such as 1 / captions")
    across = points("entropy", entropy, prompts)
    ways = {name: points(name, each, prompts, 100.0) for name, each in recalls.items()}
    return {
        "prompts": [named(prompts, groups, k) for k in range(len(prompts))],
        "entropy": across,
        "ways": [
            {"name": theme.plain(name, 30), "points": up, **_r((correlations or {}).get(name), across, up)}
            for name, up in ways.items()
        ],
        "groups": [theme.plain(group, 30) for group in known],
        "chance": None if chance is None else 100 * chance,
    }


def _r(given: Correlation | None, across: Sequence[dict], up: Sequence[dict]) -> dict:
    found = given or spearman(*([point["mean"] for point in side] for side in (across, up)))
    return {"r": {"mean": found.r, "low": found.low, "high": found.high, "n": found.n}}


def figure(spec: dict) -> go.Figure:
    """Two colours, filled and hollow, for the directions, a sign for each group; bars are 95 % both ways, dashes chance."""
    import plotly.graph_objects as go

    fig = go.Figure([trace for k in range(len(spec["ways"])) for trace in (_cloud(spec, k), _key(spec["ways"][k], k))])
    for k, group in enumerate(spec["groups"]):
        fig.add_trace(_sign(group, k))
    if spec["chance"] is not None:
        fig.add_hline(spec["chance"], line={"dash": "dash", "color": theme.GREY, "width": 1})
    fig.update_xaxes(title={"text": "entropy of the next token, nats", "standoff": 6}, zeroline=False)
    fig.update_yaxes(title="R@1, percent", zeroline=False)
    above = {"y": 1, "yanchor": "top", "yref": "container", "x": 0, "tracegroupgap": 0, "font": {"size": 12}}
    below = {"y": 0, "yanchor": "bottom", "yref": "container", "x": 0, "orientation": "h", "font": {"size": 12}}
    margin = {"t": 12 + 19 * len(spec["ways"]), "b": 50 + 30 * -(-len(spec["groups"]) // 6)}
    fig.update_layout(
        template=theme.template(), height=440, showlegend=True, legend=above, legend2=below, margin=margin
    )
    return fig


def _cloud(spec: dict, k: int) -> go.Scatter:
    import plotly.graph_objects as go

    way, across = spec["ways"][k], spec["entropy"]
    hollow, colour = _WAYS[k]
    bars = {"thickness": 0.8, "width": 0, "color": _pale(colour)}
    return go.Scatter(
        x=[point["mean"] for point in across],
        y=[point["mean"] for point in way["points"]],
        error_x=theme.of_points(across, "mean", **bars),
        error_y=theme.of_points(way["points"], "mean", **bars),
        mode="markers",
        name=way["name"],
        legendgroup=way["name"],
        showlegend=False,
        marker={"symbol": [_symbol(spec, prompt) + hollow for prompt in spec["prompts"]], "color": colour, "size": 9},
        customdata=[
            [said(prompt), x["low"], x["high"], y["low"], y["high"], x["n"], y["n"]]
            for prompt, x, y in zip(spec["prompts"], across, way["points"], strict=True)
        ],
        hovertemplate="%{customdata[0]}<br>R@1 %{y:.1f} [%{customdata[3]:.1f}, %{customdata[4]:.1f}], n %{customdata[6]}"
        "<br>%{x:.2f} nats [%{customdata[1]:.2f}, %{customdata[2]:.2f}], n %{customdata[5]}"
        f"<extra>{way['name']}</extra>",
    )


def _symbol(spec: dict, prompt: dict) -> str:
    return SYMBOLS[spec["groups"].index(prompt["group"])] if prompt["group"] else SYMBOLS[0]


def _pale(colour: str) -> str:
    from plotly.colors import hex_to_rgb

    return f"rgba{(*hex_to_rgb(colour), 0.45)}"


def _key(way: dict, k: int) -> go.Scatter:
    """The legend's entry of a direction, which the cloud of many signs has none of."""
    import plotly.graph_objects as go

    hollow, colour = _WAYS[k]
    r = " ".join(("{mean:.2f}", "[{low:.2f}, {high:.2f}]")).format(**way["r"]).replace("-", "−")
    return go.Scatter(
        x=[None],
        y=[None],
        mode="markers",
        marker={"symbol": "circle" + hollow, "color": colour, "size": 9},
        name=f"{way['name']}: Spearman’s ρ <b>{r.split(' ', 1)[0]}</b> {r.split(' ', 1)[1]}, {way['r']['n']} prompts",
        legendgroup=way["name"],
    )


def _sign(group: str, k: int) -> go.Scatter:
    import plotly.graph_objects as go

    marker = {"symbol": SYMBOLS[k], "color": theme.GREY, "size": 9}
    return go.Scatter(x=[None], y=[None], mode="markers", marker=marker, name=group, legend="legend2", hoverinfo="skip")
