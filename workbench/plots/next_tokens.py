"""The words that would come next at the summary, likeliest first: what a reading has on its mind."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

PANELS, TOKENS = 4, 20
_ROW = 21  # pixels of a bar
_LEFT = 85  # pixels for labels
_WRAPPED = (60, 42, 32)  # characters of a panel's name on one line, by columns
_UNSEEN = {"": "(nothing)", " ": "(space)", "\n": "(line end)", "\t": "(tab)"}


class Reading(NamedTuple):
    """The likeliest tokens with their probabilities, and the entropy of the whole distribution in nats."""

    tokens: Sequence[str]
    probabilities: Sequence[float]
    entropy: float


def spec(readings: Mapping[str, tuple[Sequence[str], Sequence[float], float]]) -> dict:
    """panels[k] = title, tokens, probabilities (falling), entropy in nats, rest: what all other tokens share; limit.

    readings[name] = (tokens, probabilities, entropy), as `NextTokens` has them (`mean_tokens`, `mean_probabilities`,
    `mean_entropy`, or those of one input). Figure 4 of VladVA (arXiv 2412.04378). The trap: a mean over inputs is flat where
    inputs differ as well as where each is unsure; its own entropy is no mean of theirs. Raises ValueError for no readings, more
    than four, none or more than 20 tokens, or numbers that are no probabilities.
    """
    if not 1 <= len(readings) <= PANELS:
        raise ValueError(f"{len(readings)} readings; give one to {PANELS}, such as before and after tuning")
    panels = [_panel(name, Reading(*each)) for name, each in readings.items()]
    return {"panels": panels, "limit": max(panel["probabilities"][0] for panel in panels)}


def _panel(name: str, found: Reading) -> dict:
    probabilities = [float(p) for p in found.probabilities]
    if not 1 <= len(probabilities) <= TOKENS or len(found.tokens) != len(probabilities):
        raise ValueError(
            f"{name!r} has {len(found.tokens)} tokens and {len(probabilities)} probabilities; give one to {TOKENS} of both"
        )
    if not all(0 <= p <= 1 for p in probabilities) or sum(probabilities) > 1 + 1e-4 or not max(probabilities):
        raise ValueError(f"{name!r} has {probabilities}; give probabilities of different tokens, 1 or less together")
    if not (isfinite(found.entropy) and found.entropy >= 0):
        raise ValueError(f"{name!r} has the entropy {found.entropy}; give nats, 0 or more")
    order = sorted(range(len(probabilities)), key=lambda k: -probabilities[k])
    return {
        "title": theme.plain(name, 64),
        "tokens": [_shown(found.tokens[k]) for k in order],
        "probabilities": [probabilities[k] for k in order],
        "entropy": float(found.entropy),
        "rest": max(1 - sum(probabilities), 0.0),
    }


def _shown(token: str) -> str:
    """A token as a label: what has no ink is named, what cannot be printed is a box; spaces around a word are left out."""
    if token in _UNSEEN:
        return _UNSEEN[token]
    printable = "".join(letter if letter.isprintable() or letter.isspace() else "\ufffd" for letter in token)
    return theme.plain(printable, 14) or "(spaces)"


def figure(spec: dict) -> go.Figure:
    """Bars on one scale, four panels as two rows; the title says the entropy and what is left for all other tokens."""
    from plotly.subplots import make_subplots

    panels = spec["panels"]
    columns = 2 if len(panels) == PANELS else len(panels)
    rows = -(-len(panels) // columns)
    titles = [_title(panel, columns) for panel in panels]
    over = 10 + 16 * max(title.count("<br>") + 1 for title in titles)
    bars = max(len(panel["tokens"]) for panel in panels) * _ROW
    inner = rows * bars + (rows - 1) * (over + 25)
    gap = {"vertical_spacing": (over + 25) / inner if rows > 1 else 0, "horizontal_spacing": 0.16}
    fig = make_subplots(rows, columns, subplot_titles=titles, shared_xaxes="all", **gap)
    for k, panel in enumerate(panels):
        row, column = divmod(k, columns)
        fig.add_trace(_bars(panel), row + 1, column + 1)
        labels = {"tickvals": list(range(len(panel["tokens"]))), "ticktext": panel["tokens"]}
        fig.update_yaxes(range=[len(panel["tokens"]) - 0.4, -0.6], **labels, row=row + 1, col=column + 1)
    room = 0.18 if columns < 3 else 0.4  # for the numbers behind the bars
    fig.update_xaxes(range=[0, (1 + room) * spec["limit"]], nticks=5, zeroline=False, showticklabels=True)
    fig.update_xaxes(title={"text": "probability", "font": {"size": 12}, "standoff": 4}, row=rows)
    _lay_out(fig, over, inner)
    return fig


def _title(panel: dict, columns: int) -> str:
    lines = textwrap.wrap(panel["title"], _WRAPPED[columns - 1], break_long_words=False)
    told = f"entropy {panel['entropy']:.2f} nats, all others {panel['rest']:.2f}"
    return "<br>".join([*(f"<b>{line}</b>" for line in lines), told])


def _bars(panel: dict) -> go.Bar:
    import plotly.graph_objects as go

    return go.Bar(
        x=panel["probabilities"],
        y=list(range(len(panel["tokens"]))),
        orientation="h",
        marker={"color": theme.COLOURS[0], "line": {"width": 0}},
        text=["< 0.001" if p < 0.001 else f"{p:.3f}" for p in panel["probabilities"]],
        textposition="outside",
        textfont={"size": 11},
        cliponaxis=False,
        customdata=panel["tokens"],
        hovertemplate="%{customdata}: %{x:.4f}<extra></extra>",
    )


def _lay_out(fig: go.Figure, over: int, inner: int) -> None:
    """Titles begin where the labels of their panel do: what is long has room to the right only."""
    fig.update_yaxes(showgrid=False, ticklabelstandoff=4, tickfont={"size": 12})
    for title, axis in zip(fig.layout.annotations, fig.select_xaxes(), strict=False):
        title.update(x=axis.domain[0], xanchor="left", xshift=5 - _LEFT, align="left", font_size=12)
    margin = {"t": over, "b": 45, "l": _LEFT, "r": 15}
    layout = {"height": inner + over + 45, "margin": margin, "bargap": 0.25, "showlegend": False}
    fig.update_layout(template=theme.template(), **layout)
