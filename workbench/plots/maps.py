"""Patch–word maps over the picture that the tower saw."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from PIL import Image

    from workbench.matching.words import WordMaps

CELL_HOVER = "row %{customdata[0]}, column %{customdata[1]}: %{z:.3f}<extra></extra>"


def spec(maps: WordMaps, seen: Image.Image, reading: int = 0, chosen: tuple[int, int] | None = None) -> dict:
    """What one reading's picture shows: the photo as JPEG, z (h, w), the limit shared by all readings, title, cells to mark.

    `chosen` is a patch (row, column) that somebody asked about, the strongest where nobody did.
    """
    h, w = maps.grid
    small = seen.convert("L").convert("RGB")  # grey, so that every colour in the figure belongs to the map
    small.thumbnail((320, 320))  # more pixels than the figure shows would only make notebooks heavy
    return {
        "photo": _jpeg(small),
        "size": small.size,
        "z": maps.values[reading].reshape(h, w).numpy(),
        "limit": maps.limit,
        "reading": theme.plain(maps.readings[reading]),
        "title": f"“{theme.plain(maps.readings[reading])}”, {maps.kind}",
        "best": maps.best_cell(reading),
        "chosen": chosen or maps.best_cell(reading),
    }


def figure(spec: dict) -> go.Figure:
    """The photo with its map on top; the strongest and the chosen cell carry marks, so that colour is not the only sign."""
    import plotly.graph_objects as go

    fig = go.Figure(_traces(spec))
    fig.update_layout(template=theme.template(), width=560, height=520, margin={"t": 45, "b": 10, "l": 10})
    fig.update_layout(title=spec["title"])
    _square(fig)
    return fig


def row(specs: list[dict]) -> go.Figure:
    """Several readings side by side on one scale."""
    from plotly.subplots import make_subplots

    fig = make_subplots(1, len(specs), subplot_titles=[each["reading"] for each in specs], horizontal_spacing=0.02)
    for column, each in enumerate(specs, 1):
        fig.add_traces(_traces(each), rows=1, cols=column)
    fig.update_traces(showscale=False, selector={"type": "heatmap"})
    fig.data[-2].showscale = True
    fig.update_layout(
        template=theme.template(), height=300, width=260 * len(specs) + 90, margin={"t": 40, "b": 10, "l": 10}
    )
    _square(fig)
    return fig


def redraw(fig: go.FigureWidget, spec: dict) -> None:
    """Bring a figure of `figure` to another spec in place, sending the browser only what changed."""
    with fig.batch_update():
        for trace, values in zip(fig.data, (_photo(spec), _map(spec), _marks(spec)), strict=True):
            if trace.type != "image" or trace.source != values["source"]:
                trace.update(values)
        fig.layout.title.text = spec["title"]


def _jpeg(image: Image.Image) -> str:
    """A data URI, a tenth of the bytes of PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


# The picture spans the unit square whatever its size and grid, so that axes never change.


def _photo(spec: dict) -> dict:
    width, height = spec["size"]
    return {"source": spec["photo"], "x0": 0.5 / width, "dx": 1 / width, "y0": 0.5 / height, "dy": 1 / height}


def _map(spec: dict) -> dict:
    h, w = spec["z"].shape
    cells = [[(row, column) for column in range(1, w + 1)] for row in range(1, h + 1)]
    place = {"x0": 0.5 / w, "dx": 1 / w, "y0": 0.5 / h, "dy": 1 / h}
    return {"z": spec["z"], "customdata": cells, "zmin": -spec["limit"], "zmax": spec["limit"], **place}


def _marks(spec: dict) -> dict:
    """A ring on the strongest patch, a square around the chosen one."""
    h, w = spec["z"].shape
    cells = (spec["best"], spec["chosen"])
    return {"x": [(column - 0.5) / w for _, column in cells], "y": [(row - 0.5) / h for row, _ in cells]}


def _traces(spec: dict) -> list:
    import plotly.graph_objects as go

    heatmap = go.Heatmap(
        **_map(spec),
        zmid=0,
        colorscale=theme.DIVERGING,
        opacity=0.5,
        colorbar={"title": {"text": "similarity", "side": "right"}, "thickness": 12},
        hovertemplate=CELL_HOVER,
    )
    ring = {"symbol": ["circle-open", "square-open"], "size": [16, 26], "color": "black", "line": {"width": 3}}
    mark = go.Scatter(**_marks(spec), mode="markers", marker=ring, hoverinfo="skip", showlegend=False)
    return [go.Image(**_photo(spec), hoverinfo="skip"), heatmap, mark]


def _square(fig: go.Figure) -> None:
    fig.update_xaxes(visible=False, range=[0, 1], constrain="domain")
    for axis in fig.select_yaxes():
        axis.update(visible=False, range=[1, 0], scaleanchor=axis.anchor or "x", constrain="domain")
