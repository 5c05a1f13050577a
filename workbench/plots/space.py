"""Where pictures and captions sit in the joint space."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from workbench.layout import Layout

# A shape for each group as well: colour is never the only sign.
_MARKS = {"picture": ("square", theme.COLOURS[0]), "caption": ("diamond", theme.COLOURS[1])}


def spec(layout: Layout, groups: list[str], labels: list[str], pairs: list[tuple[int, int]] = ()) -> dict:
    """Points by group ("picture", "caption") with labels, and lines between pairs of items.

    Raises ValueError for unequal lengths or an unknown group.
    """
    if not len(layout.xy) == len(groups) == len(labels):
        raise ValueError(
            f"{len(layout.xy)} points, {len(groups)} groups, {len(labels)} labels; give one of each per item"
        )
    if unknown := set(groups) - set(_MARKS):
        raise ValueError(f"groups {sorted(unknown)} are not known; use {', '.join(_MARKS)}")
    return {
        "points": {
            group: {
                "xy": layout.xy[[g == group for g in groups]],
                "labels": [theme.plain(label) for label, g in zip(labels, groups, strict=True) if g == group],
            }
            for group in _MARKS
            if group in groups
        },
        "lines": [layout.xy[[a, b]] for a, b in pairs],
        "title": f"{layout.method.upper()} of {len(labels)} items, trustworthiness {layout.trust:.2f}",
    }


def figure(spec: dict) -> go.Figure:
    """One marker per item, pictures joined to their captions; pictures are named, captions on hover."""
    import plotly.graph_objects as go

    fig = go.Figure()
    grey = {"color": theme.GREY, "width": 1}
    for line in spec["lines"]:
        fig.add_scatter(x=line[:, 0], y=line[:, 1], mode="lines", line=grey, hoverinfo="skip", showlegend=False)
    for group, points in spec["points"].items():
        symbol, colour = _MARKS[group]
        fig.add_scatter(
            x=points["xy"][:, 0],
            y=points["xy"][:, 1],
            mode="markers+text" if group == "picture" else "markers",
            text=points["labels"],
            textposition="top center",
            hovertemplate="%{text}<extra>" + group + "</extra>",
            marker={"symbol": symbol, "color": colour, "size": 10},
            name=group,
        )
    fig.update_layout(template=theme.template(), title=spec["title"], height=480)
    fig.update_xaxes(showticklabels=False, title="first axis")
    fig.update_yaxes(showticklabels=False, title="second axis", scaleanchor="x")
    return fig
