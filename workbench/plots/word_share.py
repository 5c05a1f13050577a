"""Word by word, what a caption and its negative find in a picture: the terms of FSC-CLIP's local score, and where they look."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.plots import theme
from workbench.records import rounded

if TYPE_CHECKING:
    import plotly.graph_objects as go

WORDS = 16  # that can still be read beside each other
_WORD = 74  # pixels for each
_TILE = 66  # of them the map
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 90, 48, 20
_BARS, _GAP = 210, 36
_SIDES = (("caption", theme.COLOURS[0], ""), ("negative", theme.COLOURS[1], "/"))
# From nothing to a full colour: what a word does not look at shows the picture and nothing else.
_SCALE = [[0, "rgba(213, 94, 0, 0)"], [1, "rgba(213, 94, 0, 0.9)"]]

Both = tuple[Sequence, Sequence]


def spec(words: Both, terms: Both, maps: Both, picture: np.ndarray, *, scale: float) -> dict:
    """sides[k] = name, words (T,), terms (T,), differs (T,), log_sum, z (h, T·(w + 1) − 1) with NaN between words; x edges,
    limit, photo.

    Caption first, negative second: their words, the cosines cos(v̂_w, t_w), and the weights a_wp (T, h, w) from 0 on of
    FSC-CLIP's local score (arXiv 2410.05210, eq. 6 to 8); picture (H, W, 3) uint8 as the tower saw it; `scale` the
    exponentiated logit scale, so that log_sum = log Σ_w exp(scale · term). The traps: a longer negative has more terms and
    starts ahead; in a causal tower words before the first that differs have the same terms and maps. Raises ValueError for
    no words, more than 16, unequal numbers, weights below 0, numbers that are not finite, a scale that is not above 0, or
    another picture.
    """
    terms, maps = ([np.asarray(side, dtype=np.float64) for side in both] for both in (terms, maps))
    if not len(words) == len(terms) == len(maps) == 2:
        raise ValueError(
            f"{len(words)}, {len(terms)} and {len(maps)} sides; give words, terms and maps of caption and negative"
        )
    for (name, _, _), *side in zip(_SIDES, words, terms, maps, strict=True):
        _check_side(name, *side)
    if maps[0].shape[1:] != maps[1].shape[1:]:
        raise ValueError(
            f"maps on grids {maps[0].shape[1:]} and {maps[1].shape[1:]}; give both on the picture's one grid"
        )
    picture = np.asarray(picture)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(f"picture {picture.shape} of {picture.dtype}; give (H, W, 3) of uint8")
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"scale={scale!r}; give the exponentiated logit scale, above 0 (CLIP: 100)")
    columns = max(map(len, words))
    return {
        "sides": [
            _side(*each, words, scale) for each in zip((name for name, _, _ in _SIDES), words, terms, maps, strict=True)
        ],
        "columns": columns,
        "edges": _edges(columns, maps[0].shape[2]),
        "grid": maps[0].shape[1:],
        "limit": max(float(side.max()) for side in maps) or 1.0,
        "scale": float(scale),
        "ratio": picture.shape[0] / picture.shape[1],
        "photo": _strip(picture, columns),
    }


def _check_side(name: str, words: Sequence[str], terms: np.ndarray, maps: np.ndarray) -> None:
    if not 1 <= len(words) <= WORDS:
        raise ValueError(f"the {name} has {len(words)} words; give one to {WORDS}")
    if terms.shape != (len(words),) or maps.ndim != 3 or len(maps) != len(words) or not maps.size:
        raise ValueError(
            f"the {name} has {len(words)} words, terms {terms.shape} and maps {maps.shape}; give (T,) and (T, h, w) of T words"
        )
    if not np.isfinite(terms).all() or not np.isfinite(maps).all() or (maps < 0).any():
        raise ValueError(f"the {name} has terms or maps that are not finite, or maps below 0; give weights from 0 on")


def _side(name: str, words: Sequence[str], terms: np.ndarray, maps: np.ndarray, both: Sequence, scale: float) -> dict:
    other = both[1] if name == _SIDES[0][0] else both[0]
    return {
        "name": name,
        "words": [theme.plain(str(word), 10) for word in words],
        "differs": [k >= len(other) or other[k] != word for k, word in enumerate(words)],
        "terms": terms.tolist(),
        "log_sum": float(np.logaddexp.reduce(scale * terms)),
        "z": _tiled(maps),
    }


def _tiled(maps: np.ndarray) -> np.ndarray:
    """Maps beside each other with a column of nothing between: one trace for a whole caption."""
    t, h, w = maps.shape
    padded = np.full((t, h, w + 1), np.nan, dtype=np.float32)
    padded[:, :, :w] = maps
    return padded.transpose(1, 0, 2).reshape(h, -1)[:, :-1]


def _edges(columns: int, w: int) -> list[float]:
    """Where the cells of `_tiled` begin and end, when word k stands at k."""
    half = _TILE / _WORD / 2
    return np.concatenate([k + np.linspace(-half, half, w + 1) for k in range(columns)]).tolist()


def _strip(picture: np.ndarray, columns: int) -> str:
    """The picture, grey and pale so that all colour belongs to the map, once for each word, as one JPEG."""
    from PIL import Image

    height = max(round(_TILE * picture.shape[0] / picture.shape[1]), 1)
    small = Image.fromarray(picture).convert("L").resize((_TILE, height)).point(lambda value: 105 + value * 150 // 255)
    strip = Image.new("L", (_WORD * columns, height), 255)
    for k in range(columns):
        strip.paste(small, (_WORD * k + (_WORD - _TILE) // 2, 0))
    buffer = io.BytesIO()
    strip.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def figure(spec: dict) -> go.Figure:
    """Bars of both captions word by word above, a row of maps for each below; words that differ are bold."""
    from plotly.subplots import make_subplots

    tile = round(_TILE * spec["ratio"])
    heights = [_BARS, tile, tile]
    inner = sum(heights) + 2 * _GAP
    fig = make_subplots(3, 1, shared_xaxes=True, row_heights=heights, vertical_spacing=_GAP / inner)
    for row, (side, (_, colour, pattern)) in enumerate(zip(spec["sides"], _SIDES, strict=True), 2):
        fig.add_trace(_bars(side, colour, pattern, row - 2), 1, 1)
        fig.add_trace(_maps(side, spec), row, 1)
        _place(fig, side, spec, row)
    _lay_out(fig, spec, inner)
    return fig


def _bars(side: dict, colour: str, pattern: str, k: int) -> go.Bar:
    import plotly.graph_objects as go

    return go.Bar(
        x=list(range(len(side["terms"]))),
        y=side["terms"],
        offsetgroup=k,
        name=f"{side['name']} <b>{rounded(side['log_sum'])}</b>",
        marker={"color": colour, "pattern": {"shape": pattern, "size": 5}, "line": {"width": 0}},
        customdata=side["words"],
        hovertemplate="%{customdata}: cosine %{y:.3f}<extra>" + side["name"] + "</extra>",
    )


def _maps(side: dict, spec: dict) -> go.Heatmap:
    import plotly.graph_objects as go

    h, w = spec["grid"]
    rows, columns = np.mgrid[1 : h + 1, 0 : side["z"].shape[1]]
    said = np.array(side["words"], dtype=object)[columns // (w + 1)]
    half = spec["ratio"] / 2
    return go.Heatmap(
        z=side["z"],
        x=spec["edges"][: side["z"].shape[1] + 1],
        y=np.linspace(-half, half, h + 1),
        customdata=np.dstack([said, rows, columns % (w + 1) + 1]),
        colorscale=_SCALE,
        zmin=0,
        zmax=spec["limit"],
        showscale=side["name"] == _SIDES[0][0],
        colorbar=_bar_of_colours(spec),
        hoverongaps=False,
        hovertemplate="%{customdata[0]}, row %{customdata[1]}, column %{customdata[2]}: %{z:.3f}<extra></extra>",
    )


def _bar_of_colours(spec: dict) -> dict:
    """As high as both rows of maps, beside them."""
    title = {"text": "weight of a patch", "side": "right", "font": {"size": 12}}
    place = {
        "lenmode": "pixels",
        "len": 2 * round(_TILE * spec["ratio"]) + _GAP,
        "y": 0,
        "yanchor": "bottom",
        "ypad": 0,
    }
    return {"title": title, "thickness": 12, "nticks": 5, **place}


def _place(fig: go.Figure, side: dict, spec: dict, row: int) -> None:
    """The picture under the maps, and each word over its own."""
    half, n = spec["ratio"] / 2, spec["columns"]
    at = {"x": -0.5, "y": -half, "sizex": n, "sizey": 2 * half, "sizing": "stretch", "layer": "below"}
    fig.add_layout_image(source=spec["photo"], **at, row=row, col=1)
    if len(side["words"]) < n:  # a shorter caption has no more pictures than words
        empty = {"x0": len(side["words"]) - 0.5, "x1": n - 0.5, "y0": -half, "y1": half}
        fig.add_shape(type="rect", fillcolor="white", line={"width": 0}, **empty, row=row, col=1)
    for k, (word, differs) in enumerate(zip(side["words"], side["differs"], strict=True)):
        text = f"<b>{word}</b>" if differs else word
        said = {"x": k, "y": -half, "yanchor": "bottom", "showarrow": False, "font": {"size": 12}}
        fig.add_annotation(text=text, **said, row=row, col=1)


def _lay_out(fig: go.Figure, spec: dict, inner: int) -> None:
    half, n = spec["ratio"] / 2, spec["columns"]
    fig.update_xaxes(range=[-0.5, n - 0.5], showticklabels=False, showgrid=False, zeroline=False)
    fig.update_yaxes(title="cosine of word and what it finds", title_font_size=12, row=1)
    for row, (name, _, _) in enumerate(_SIDES, 2):
        blank = {"showticklabels": False, "showgrid": False, "zeroline": False}
        fig.update_yaxes(range=[half, -half], title={"text": name, "font": {"size": 12}}, **blank, row=row)
    title = {"text": f"log-sum at scale {spec['scale']:g}:", "font": {"size": 13}, "side": "left"}
    legend = {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "title": title}
    margin = {"l": _LEFT, "r": _RIGHT, "t": _TOP, "b": _BOTTOM}
    size = {"width": _LEFT + _RIGHT + _WORD * n, "height": inner + _TOP + _BOTTOM}
    fig.update_layout(template=theme.template(), barmode="group", bargap=0.25, legend=legend, margin=margin, **size)
