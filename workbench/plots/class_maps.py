"""Which class wins where on a photo: the photo in grey, classes in colours, a legend of names and shares of the area."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.data.pictures import open_picture
from workbench.matching.class_maps import ClassMap
from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from PIL import Image

MOST = len(theme.COLOURS) - 1  # classes that can be told apart by colour; black would hide the photo
NAMED = 0.04  # share of the area from which a class has its name written on it
_HIGH = 300  # px of a panel
_WIDEST = 2400  # px of a figure: a strip of a photo gets a lower panel instead
_SIDE = 320  # px of the photo's longer side: more would only make notebooks heavy
_OPACITY = 0.55


def spec(found: ClassMap, picture, *, title: str | None = None) -> dict:
    """What a class map shows, in JSON's types: the whole photo as JPEG, and the map where its cells lie.

    `names`, as they were given, and `shares` are of the classes that win or come second somewhere; winner, runner_up (h, w)
    count in them, cosine and margin (h, w) are numbers; `box` is the map's place and `labels` the innermost cell of every larger
    class, all in pixels of the photo. `picture` is the photo that `class_map` read. Raises TypeError for what is no `ClassMap`,
    ValueError for a photo of another size.
    """
    if not isinstance(found, ClassMap):
        raise TypeError(f"a {type(found).__name__}; give what `workbench.matching.class_map` returns")
    photo = open_picture(picture).image
    if photo.size != found.size:
        raise ValueError(f"the map is of a photo of {found.size} pixels and this one has {photo.size}; give that photo")
    used = np.union1d(found.winner.numpy(), found.runner_up.numpy())
    shares = found.shares.numpy()[used]
    winner, runner_up = (np.searchsorted(used, each.numpy()) for each in (found.winner, found.runner_up))
    small = photo.convert("L").convert("RGB")  # grey, so that every colour in the figure belongs to the map
    small.thumbnail((_SIDE, _SIDE))
    return {
        "title": title or found.kind,
        "photo": _jpeg(small),
        "photo_size": list(small.size),
        "size": list(photo.size),
        "box": list(found.box),
        "names": [found.classes[c] for c in used],
        "shares": shares.tolist(),
        "winner": winner.tolist(),
        "runner_up": runner_up.tolist(),
        "cosine": np.round(found.cosine.numpy().astype(float), 3).tolist(),
        "margin": np.round(found.margin.numpy().astype(float), 3).tolist(),
        "labels": [_innermost(winner == k, k, found.box) for k in np.flatnonzero(shares >= NAMED).tolist()],
    }


def figure(spec: dict) -> go.Figure:
    """One map over its photo."""
    return row([spec])


def row(specs: Sequence[dict]) -> go.Figure:
    """Maps side by side, such as one pass beside windows: a class has one colour in all, in order of its area.

    The legend says each class's share in every panel. Classes behind the seventh share one grey. Raises ValueError for no specs.
    """
    from plotly.subplots import make_subplots

    if not specs:
        raise ValueError("no specs; give one or more that spec() made")
    order = _by_area(specs)
    shown = order[:MOST]
    aspects = [width / height for width, height in (each["size"] for each in specs)]
    fig = make_subplots(
        1,
        len(specs),
        subplot_titles=[theme.plain(each["title"], 70) for each in specs],
        column_widths=aspects,
        horizontal_spacing=0.02,
    )
    for column, each in enumerate(specs, 1):
        fig.add_traces(_panel(each, shown), rows=1, cols=column)
        for label in each["labels"]:
            fig.add_annotation(**_label(each, label), row=1, col=column)
    fig.add_traces(_legend(specs, shown, len(order) - len(shown)))
    for each, axes in zip(specs, zip(fig.select_xaxes(), fig.select_yaxes(), strict=True), strict=True):
        _frame(axes, each["size"])
    _layout(fig, sum(aspects), len(specs), len(shown) + 1)
    return fig


def _by_area(specs: Sequence[dict]) -> list[str]:
    """Names of all classes that win somewhere, the largest area first."""
    area: dict[str, float] = defaultdict(float)
    for each in specs:
        for name, share in zip(each["names"], each["shares"], strict=True):
            area[name] += share
    return sorted((name for name in area if area[name] > 0), key=lambda name: (-area[name], name))


def _panel(spec: dict, shown: list[str]) -> list:
    import plotly.graph_objects as go

    (width, height), (left, top, right, bottom) = spec["size"], spec["box"]
    winner = np.array(spec["winner"])
    h, w = winner.shape
    number = np.array([shown.index(name) if name in shown else len(shown) for name in spec["names"]])
    colours = [*theme.COLOURS[: len(shown)], theme.GREY]
    # each colour twice, at both ends of its step, so that none blends into the next
    steps = [(edge / len(colours), colour) for k, colour in enumerate(colours) for edge in (k, k + 1)]
    wide, high = spec["photo_size"]
    photo = go.Image(
        source=spec["photo"],
        x0=width / wide / 2,
        dx=width / wide,
        y0=height / high / 2,
        dy=height / high,
        hoverinfo="skip",
    )
    names = np.array([_told(name) for name in spec["names"]], dtype=object)
    cells = go.Heatmap(
        z=number[winner],
        zmin=-0.5,
        zmax=len(colours) - 0.5,
        colorscale=steps,
        showscale=False,
        opacity=_OPACITY,
        x0=left + (right - left) / w / 2,
        dx=(right - left) / w,
        y0=top + (bottom - top) / h / 2,
        dy=(bottom - top) / h,
        text=names[winner],
        customdata=np.dstack([names[np.array(spec["runner_up"])], spec["cosine"], spec["margin"]]),
        hovertemplate="<b>%{text}</b><br>cosine %{customdata[1]:.3f}<br>"
        "%{customdata[2]:.3f} above %{customdata[0]}<extra></extra>",
    )
    return [photo, cells]


def _legend(specs: Sequence[dict], shown: list[str], others: int) -> list:
    import plotly.graph_objects as go

    shares = [dict(zip(each["names"], each["shares"], strict=True)) for each in specs]
    told = [(name, [each.get(name, 0.0) for each in shares]) for name in shown]
    if others:
        rest = [sum(share for name, share in each.items() if name not in shown) for each in shares]
        told.append((f"{others} others", rest))
    colours = [*theme.COLOURS[: len(shown)], theme.GREY]
    return [
        go.Scatter(
            x=[None],
            y=[None],
            mode="markers",
            marker={"symbol": "square", "size": 13, "color": colour, "opacity": 0.8},
            name=f"{_told(name)} {' | '.join(f'{100 * share:.0f} %' for share in each)}",
        )
        for (name, each), colour in zip(told, colours, strict=False)
    ]


def _label(spec: dict, label: dict) -> dict:
    """Colour is not the only sign: the name stands on the class as well."""
    across = label["x"] / spec["size"][0]
    return {
        "x": label["x"],
        "y": label["y"],
        "xanchor": "left" if across < 0.2 else "right" if across > 0.8 else "center",  # names stay on the photo
        "text": theme.plain(spec["names"][label["class"]], 18),
        "showarrow": False,
        "font": {"size": 11, "color": "black"},
        "bgcolor": "rgba(255,255,255,0.75)",
        "borderpad": 1,
    }


def _innermost(mask: np.ndarray, k: int, box: Sequence[int]) -> dict:
    """The middle of the cell of a class that is farthest from all others."""
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), mask.shape)
    left, top, right, bottom = box
    x = left + (column + 0.5) * (right - left) / mask.shape[1]
    y = top + (row + 0.5) * (bottom - top) / mask.shape[0]
    return {"class": k, "x": float(x), "y": float(y)}


def _told(name: str) -> str:
    return theme.plain(name, 40)


def _jpeg(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=60)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _frame(axes, size: Sequence[int]) -> None:
    """Every panel shows its whole photo, undistorted, the top above."""
    x, y = axes
    x.update(visible=False, range=[0, size[0]], constrain="domain")
    y.update(visible=False, range=[size[1], 0], scaleanchor=y.anchor or "x", constrain="domain")


def _layout(fig: go.Figure, aspect: float, panels: int, entries: int) -> None:
    width = min(max(round(_HIGH * aspect * (1 + 0.02 * panels)) + 20, 420), _WIDEST)
    rows = -(-entries * 190 // width)
    legend = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "font": {"size": 12}}
    legend |= {"itemclick": False, "itemdoubleclick": False}
    margin = {"t": 32, "b": 16 + 22 * rows, "l": 10, "r": 10}
    fig.update_annotations(selector={"yanchor": "bottom"}, font_size=13)
    fig.update_layout(
        template=theme.template(),
        width=width,
        height=_HIGH + margin["t"] + margin["b"],
        legend=legend,
        margin=margin,
        dragmode=False,
    )
