"""What each part of a loss buys and breaks: settings × scores as small multiples, every seed and the model before beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING

from workbench.evaluation.statistics import Interval
from workbench.plots import intervals, theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

_NUMBERS = 0.4  # of what is drawn, kept free on the right for the means

Seeds = Mapping[str, Mapping[str, Sequence[float]]]


def spec(
    rows: Mapping[str, Mapping[str, Interval]],
    seeds: Seeds | None = None,
    base: Mapping[str, float] | None = None,
    *,
    base_name: str = "before",
) -> dict:
    """A spec of `intervals`, a panel for each score, and in each panel seeds: [row, percent] of every training.

    rows[setting][score] is an interval of fractions, seeds[setting][score] that of each seed, base[score] where the model
    stood before; up to 18 settings, up to four scores. After Table 2 of FSC-CLIP (arXiv 2410.05210). The trap: an interval over
    items does not hold what another seed would change, which the dots show; where they lie further apart than the bar is long,
    believe the dots. Raises ValueError for seeds or a base of what has no row, or numbers that are not finite, besides what
    `intervals.spec` raises.
    """
    panels: dict[str, dict[str, Interval]] = {}
    for setting, scores in rows.items():
        for score, each in scores.items():
            panels.setdefault(score, {})[setting] = each
    base = dict(base or {})
    _check_numbers("base", base)
    drawn = intervals.spec(panels, unit="percent", zero=base, zero_name=dict.fromkeys(base, base_name))
    order = list(dict.fromkeys(setting for panel in panels.values() for setting in panel))
    for panel in drawn["panels"]:
        panel["seeds"] = []
    for setting, scores in (seeds or {}).items():
        _check_known(setting, scores, panels)
        for score, values in scores.items():
            _check_numbers(f"seeds of {setting!r}", dict(enumerate(values)))
            panel = drawn["panels"][list(panels).index(score)]
            panel["seeds"] += [[order.index(setting), 100 * float(value)] for value in values]
    return drawn


def _check_known(setting: str, scores: Mapping, panels: Mapping[str, Mapping]) -> None:
    for score in scores:
        if setting not in panels.get(score, {}):
            raise ValueError(
                f"seeds of {setting!r} in {score!r}, which no row has; give that setting's interval as well"
            )


def _check_numbers(what: str, values: Mapping) -> None:
    if wrong := [value for value in values.values() if not isfinite(value)]:
        raise ValueError(f"{what} holds {wrong[0]}; give finite fractions")


def figure(spec: dict) -> go.Figure:
    """The figure of `intervals` with a small open circle for each seed; the dashed line is the model before."""
    fig = intervals.figure(spec)
    fig.update_traces(showlegend=False)
    drawn = [(column, panel["seeds"]) for column, panel in enumerate(spec["panels"], 1) if panel["seeds"]]
    for k, (column, seeds) in enumerate(drawn):
        fig.add_trace(_dots(seeds, named=k == 0), 1, column)
        _make_room(fig, seeds, column)
    if drawn:
        _add_legend(fig)
    return fig


def _dots(seeds: Sequence[Sequence[float]], *, named: bool) -> go.Scatter:
    """Just above their row's bar, so that neither hides the other."""
    import plotly.graph_objects as go

    return go.Scatter(
        x=[value for _, value in seeds],
        y=[row - 0.27 for row, _ in seeds],
        mode="markers",
        marker={"symbol": "circle-open", "color": theme.COLOURS[-1], "size": 5},
        name="one seed",
        showlegend=named,
        hovertemplate="one seed: %{x:.2f}<extra></extra>",
    )


def _make_room(fig: go.Figure, seeds: Sequence[Sequence[float]], column: int) -> None:
    """Seeds may lie outside every interval."""
    (axis,) = fig.select_xaxes(row=1, col=column)
    low, high = axis.range
    values = [value for _, value in seeds]
    left, right = min(low, *values), max(high, *values)
    if left < low:
        left -= 0.05 * (right - left)
    axis.range = left, max(right, max(values) + _NUMBERS * (max(values) - left))


def _add_legend(fig: go.Figure) -> None:
    below = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 1, "xanchor": "right"}
    margin = fig.layout.margin
    fig.update_layout(showlegend=True, legend=below, height=fig.layout.height + 22, margin={"b": margin.b + 22})
