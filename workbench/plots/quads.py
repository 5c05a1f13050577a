"""Swap quads to look at: two pictures, and under each the caption that fits it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from workbench.data.scenes import Quad
    from workbench.data.scenes.drawing import Cutter


def spec(quads: Sequence[Quad], side: int = 160, *, cutter: Cutter | None = None) -> dict:
    """Pictures (2, n) as data URIs and captions (2, n), the first of every quad above."""
    from workbench.data.scenes import draw

    both = [[quad.scenes[row] for quad in quads] for row in range(2)]
    return {
        "side": side,
        "categories": [quad.category for quad in quads],
        "pictures": [[_jpeg(draw(scene, side, cutter=cutter)) for scene in row] for row in both],
        "captions": [[theme.shortened(scene.caption, 60) for scene in row] for row in both],
    }


def _jpeg(picture) -> str:
    """A data URI: the grain of a background makes PNG ten times larger."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def figure(spec: dict) -> go.Figure:
    """One column per quad; only who has which differs between its two rows."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    n = len(spec["categories"])
    fig = make_subplots(2, n, column_titles=spec["categories"], horizontal_spacing=0.02, vertical_spacing=0.16)
    for row, (pictures, captions) in enumerate(zip(spec["pictures"], spec["captions"], strict=True), 1):
        for column, (picture, caption) in enumerate(zip(pictures, captions, strict=True), 1):
            fig.add_trace(go.Image(source=picture, hoverinfo="skip"), row, column)
            fig.update_xaxes(title={"text": _wrapped(caption), "font": {"size": 12}}, row=row, col=column)
    fig.update_xaxes(showticklabels=False)
    fig.update_yaxes(showticklabels=False)
    margin = {"t": 40, "b": 50, "l": 10, "r": 10}
    fig.update_layout(template=theme.template(), height=470, width=158 * n, margin=margin)
    return fig


def _wrapped(caption: str, width: int = 22) -> str:
    import textwrap

    return "<br>".join(theme.plain(line) for line in textwrap.wrap(caption, width))
