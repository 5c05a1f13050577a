"""Pictures × captions: a similarity matrix that says which caption each picture picks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from workbench.evaluation.similarity import PairScores


def spec(scores: PairScores) -> dict:
    """Cosines z (N, M), shortened labels, and the mark of each row's best caption."""
    best = scores.values.argmax(1).tolist()
    return {
        "z": scores.values.numpy(),
        "images": [theme.plain(label) for label in scores.images],
        "texts": [theme.plain(label, 34) for label in scores.texts],
        "text": [
            [f"<b>{v:.2f} ✓</b>" if m == best[n] else f"{v:.2f}" for m, v in enumerate(row)]
            for n, row in enumerate(scores.values.tolist())
        ],
        "limit": float(scores.values.abs().max()),
    }


def figure(spec: dict) -> go.Figure:
    """A heatmap with its numbers written in; ✓ marks the caption that each picture picks."""
    import plotly.graph_objects as go

    heatmap = go.Heatmap(
        z=spec["z"],
        x=spec["texts"],
        y=spec["images"],
        text=spec["text"],
        texttemplate="%{text}",
        colorscale=theme.DIVERGING,
        zmid=0,
        zmin=-spec["limit"],
        zmax=spec["limit"],
        hovertemplate="%{y}<br>%{x}<br>cosine %{z:.3f}<extra></extra>",
        colorbar={"title": {"text": "cosine", "side": "right"}, "thickness": 12},
    )
    fig = go.Figure(heatmap)
    fig.update_layout(
        template=theme.template(),
        title="Cosine of each picture with each caption",
        height=440,
        margin={"l": 90, "b": 130},
    )
    fig.update_yaxes(autorange="reversed")
    fig.update_xaxes(tickangle=-30)
    return fig
