"""Where the summary looks in a picture, head by head, before and after tuning."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

HEADS, PICTURES = 8, 4  # that can still be seen beside and under each other
_WIDTH, _LABEL, _BAR = 690, 22, 98  # pixels: the figure, the rows' names, the bar of colours
_GAP, _SAID, _APART, _TOP = 6, 17, 14, 24  # between maps; a line of words under one; between pictures; over the first
_TILE, _ROOMY = 104, 72  # a map's greatest width; from where on its words fit one line
_WORDS = 420  # pixels that the words below need
_SCALE = "Blues"
_SHOWN = 98  # percentile of all weights where colours end: one very strong patch would make all others white


def spec(
    pictures: Sequence[np.ndarray],
    before: np.ndarray,
    after: np.ndarray,
    grid: tuple[int, int],
    *,
    names: Sequence[str] | None = None,
    heads: Sequence[int] | None = None,
    sides: tuple[str, str] = ("before", "after"),
) -> dict:
    """pictures[k] = name, photo, before and after: z (heads, h, w), support (heads,), share (heads,); heads from 1, limit.

    Weights (N, heads, P) of `LvlmEncoder.summary_attention`, P = h · w, as they are: the share of a head's attention that goes
    to the picture is their sum; pictures (H, W, 3) uint8 as the tower saw them; `heads` chooses by number from 0, where nobody
    says the eight that look at the pictures most, before and after together. Figure 6 of VladVA (arXiv 2412.04378). Effective
    support is exp of the entropy of the weights divided by their sum: 1 to P tokens. The trap: a head that gives the picture
    next to nothing may still spread it widely, so read support with the share. Raises ValueError for no pictures, more than
    four, more than eight heads chosen, numbers that do not belong together, weights below 0 or not finite, or pictures of
    another kind.
    """
    both = [np.asarray(side, dtype=np.float64) for side in (before, after)]
    _check(pictures, *both, grid, names)
    chosen = _chosen(_most(*both) if heads is None else heads, both[0].shape[1])
    kept = [side[:, chosen] for side in both]
    named = names or [f"picture {k + 1}" for k in range(len(pictures))]
    return {
        "pictures": [
            {
                "name": theme.plain(name, 40),
                "photo": _photo(picture),
                "before": _side(kept[0][k], grid),
                "after": _side(kept[1][k], grid),
            }
            for k, (name, picture) in enumerate(zip(named, pictures, strict=True))
        ],
        "heads": [head + 1 for head in chosen],
        "grid": tuple(map(int, grid)),
        "sides": [theme.plain(side, 14) for side in sides],
        **_limit(np.stack(kept)),
    }


def _check(pictures, before: np.ndarray, after: np.ndarray, grid, names) -> None:
    if not 1 <= len(pictures) <= PICTURES:
        raise ValueError(f"{len(pictures)} pictures; give one to {PICTURES}")
    if grid is None:
        raise ValueError("the image tokens have no grid, so there is no map to draw")
    if before.shape != after.shape or before.ndim != 3 or len(before) != len(pictures) or not before.shape[1]:
        raise ValueError(
            f"weights {before.shape} and {after.shape} of {len(pictures)} pictures; give (N, heads, P) before and after"
        )
    if min(grid) < 1 or grid[0] * grid[1] != before.shape[2]:
        raise ValueError(f"grid {tuple(grid)} for {before.shape[2]} image tokens; give (h, w) with h · w = P")
    for side in (before, after):
        if not np.isfinite(side).all() or (side < 0).any():
            raise ValueError("weights hold values below 0 or not finite; give attention weights")
    if names is not None and len(names) != len(pictures):
        raise ValueError(f"{len(names)} names for {len(pictures)} pictures; give one for each")
    for picture in map(np.asarray, pictures):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            raise ValueError(f"picture {picture.shape} of {picture.dtype}; give (H, W, 3) of uint8")


def _most(before: np.ndarray, after: np.ndarray) -> list[int]:
    """The heads whose attention goes to the pictures most, in their own order."""
    share = (before + after).sum((0, 2))
    return sorted(np.argsort(-share, kind="stable")[:HEADS].tolist())


def _chosen(heads: Sequence[int], there: int) -> list[int]:
    chosen = [int(head) for head in heads]
    if not 1 <= len(chosen) <= HEADS or not all(0 <= head < there for head in chosen):
        raise ValueError(f"heads {chosen} of {there}; choose one to {HEADS} of them, numbered from 0")
    return chosen


def _side(weights: np.ndarray, grid: tuple[int, int]) -> dict:
    from workbench.discriminative.looking import effective_support

    support = np.nan_to_num(effective_support(weights).numpy())  # 0 where nothing is weighed
    return {"z": weights.reshape(-1, *grid), "support": support.tolist(), "share": weights.sum(1).tolist()}


def _limit(weights: np.ndarray) -> dict:
    most = float(weights.max())
    limit = float(np.percentile(weights, _SHOWN)) or most or 1.0
    return {"limit": limit, "clipped": most > limit}


def _photo(picture: np.ndarray) -> str:
    from PIL import Image

    small = Image.fromarray(np.asarray(picture))
    small.thumbnail((320, 320))  # more pixels than the figure shows would only make notebooks heavy
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=92)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


# One pair of axes in pixels, y downwards: everything has its place whatever the number of heads and pictures. -----------


def figure(spec: dict) -> go.Figure:
    """A picture with its maps beside it, before above after, on one scale; under each map support, and share of the picture."""
    import plotly.graph_objects as go

    places = _places(spec)
    fig = go.Figure()
    for k, picture in enumerate(spec["pictures"]):
        for j, side in enumerate(("before", "after")):
            top = _TOP + k * places["block"] + j * places["row"]
            fig.add_trace(_maps(spec, picture, side, spec["sides"][j], places, top))
            _write(fig, picture[side], spec["sides"][j], places, top)
        _place_picture(fig, picture["photo"], places, _TOP + k * places["block"])
    for x, head in zip(places["lefts"], spec["heads"], strict=True):
        at = {"x": x + places["tile"] / 2, "y": _TOP, "yanchor": "bottom"}
        fig.add_annotation(text=f"<b>head {head}</b>", showarrow=False, font_size=12, **at)
    _lay_out(fig, spec, places)
    return fig


def _places(spec: dict) -> dict:
    """The width that maps share: the picture, as high as both its rows, is about two of them wide."""
    h, w = spec["grid"]
    n, ratio = len(spec["heads"]), h / w
    tile = min(_TILE, (_WIDTH - _LABEL - _BAR - (n + 2) * _GAP) / (n + 2))
    high = tile * ratio
    photo = 2 * tile
    lefts = [photo + _LABEL + _GAP + k * (tile + _GAP) for k in range(n)]
    under = _SAID if tile >= _ROOMY else 2 * _SAID
    row = high + under
    sizes = {"tile": tile, "high": high, "under": under, "photo": photo, "row": row}
    return {**sizes, "lefts": lefts, "block": 2 * row + _APART}


def _maps(spec: dict, picture: dict, side: str, called: str, places: dict, top: float) -> go.Heatmap:
    """All heads of a row as one trace: columns of nothing lie between them."""
    import plotly.graph_objects as go

    h, w = spec["grid"]
    n = len(spec["heads"])
    z = np.full((h, n, w + 1), np.nan, dtype=np.float32)
    z[:, :, :w] = picture[side]["z"].transpose(1, 0, 2)
    edges = np.concatenate([left + np.linspace(0, places["tile"], w + 1) for left in places["lefts"]])
    row, column = np.mgrid[1 : h + 1, 0 : n * (w + 1) - 1]
    head = np.array(spec["heads"])[column // (w + 1)]
    return go.Heatmap(
        z=z.reshape(h, -1)[:, :-1],
        x=edges,
        y=top + np.linspace(0, places["high"], h + 1),
        customdata=np.dstack([head, row, column % (w + 1) + 1]),
        colorscale=_SCALE,
        zmin=0,
        zmax=spec["limit"],
        showscale=side == "before" and picture is spec["pictures"][0],
        colorbar=_bar_of_colours(spec),
        hoverongaps=False,
        hovertemplate="head %{customdata[0]}, row %{customdata[1]}, column %{customdata[2]}: %{z:.4f}"
        f"<extra>{picture['name']}, {called}</extra>",
    )


def _bar_of_colours(spec: dict) -> dict:
    clipped = f"<br>darkest: {spec['limit']:.2g} or more" if spec["clipped"] else ""
    title = {"text": f"attention{clipped}", "side": "right", "font": {"size": 12}}
    return {"title": title, "thickness": 12, "nticks": 5, "lenmode": "fraction", "len": 1, "xpad": 8, "ypad": 0}


def _write(fig: go.Figure, side: dict, called: str, places: dict, top: float) -> None:
    plain, between = {"showarrow": False, "font": {"size": 11}}, " · " if places["tile"] >= _ROOMY else "<br>"
    for left, support, share in zip(places["lefts"], side["support"], side["share"], strict=True):
        at = {"x": left + places["tile"] / 2, "y": top + places["high"], "yanchor": "top"}
        fig.add_annotation(text=f"<b>{support:.1f}</b>{between}{100 * share:.0f} %", **at, **plain)
    at = {"x": places["photo"] + _LABEL / 2 + 2, "y": top + places["high"] / 2, "textangle": -90}
    fig.add_annotation(text=called, **at, **plain | {"font": {"size": 12}})


def _place_picture(fig: go.Figure, photo: str, places: dict, top: float) -> None:
    high = 2 * places["high"] + places["under"]
    place = {"x": 0, "y": top, "sizex": places["photo"], "sizey": high, "xanchor": "left", "yanchor": "top"}
    fig.add_layout_image(source=photo, xref="x", yref="y", sizing="contain", **place)


def _lay_out(fig: go.Figure, spec: dict, places: dict) -> None:
    wide = max(places["lefts"][-1] + places["tile"], _WORDS)
    high = _TOP + len(spec["pictures"]) * places["block"] - _APART
    blank = {"visible": False, "fixedrange": True}
    fig.update_xaxes(range=[0, wide], **blank)
    fig.update_yaxes(range=[high, 0], **blank)
    p = spec["grid"][0] * spec["grid"][1]
    told = f"under each map: effective support of {p} image tokens, and the share of attention that they get"
    below = {"xref": "paper", "x": 0, "xanchor": "left", "yref": "paper", "y": 0, "yanchor": "top", "yshift": -6}
    fig.add_annotation(text=told, showarrow=False, font_size=12, **below)
    margin = {"l": 8, "r": _BAR, "t": 6, "b": 32}
    size = {"width": round(wide) + margin["l"] + margin["r"], "height": round(high) + margin["t"] + margin["b"]}
    fig.update_layout(template=theme.template(), margin=margin, **size)
