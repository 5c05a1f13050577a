"""Pieces of two captions × regions of a picture: the matrix, the regions that win on the picture, and what each piece gives."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from workbench.plots import theme
from workbench.records import rounded

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from PIL import Image

    from workbench.matching.breakdown import Duel

FEW = 4  # regions beside the winners
ALL = 10  # so many regions are all shown
SIDE = 420  # pixels of the picture's longer side
LARGE = 240  # of the region that is shown large
_COLOURS = {"A": theme.COLOURS[0], "B": theme.COLOURS[1], "AB": theme.COLOURS[7]}


def spec(
    duel: Duel,
    names: Sequence[str],
    boxes: Sequence[tuple[int, int, int, int]],
    picture: Image.Image,
    piece: tuple[int, int],
    *,
    called: str = "the picture",
) -> dict:
    """What is shown: rows are the pieces of A, then of B; columns the regions that win for some piece, and a few more.

    z (rows, columns) cosines, NaN where a region does not count; `winners[row]` the column that the piece takes; `pushes` and
    `values` of each side; rectangles on the picture, one for each region that wins; the region of `piece`, shown large.
    `names` and `boxes` (pixels) are the regions'; `called` names the picture in the alternative texts.
    """
    sides = {"A": duel.a, "B": duel.b}
    codes = [f"{letter}{k + 1}" for letter, side in sides.items() for k in range(len(side.pieces))]
    said = [*duel.a.pieces, *duel.b.pieces]
    winners = [*duel.a.winners, *duel.b.winners]
    cosines = np.concatenate([duel.a.cosines.numpy(), duel.b.cosines.numpy()])
    columns = shown(cosines, winners)
    row = piece[0] * len(duel.a.pieces) + piece[1]
    return {
        "z": np.where(np.isfinite(cosines), cosines, np.nan)[:, columns],
        "rows": [f"{code} {theme.plain(text, 30)}" for code, text in zip(codes, said, strict=True)],
        "columns": [_broken(names[column]) for column in columns],
        "winners": [columns.index(winner) for winner in winners],
        "of": len(names),
        "split": len(duel.a.pieces),
        "row": row,
        "pushes": [push.tolist() for push in duel.pushes],
        "values": [side.values.tolist() for side in sides.values()],
        "scores": [side.score for side in sides.values()],
        "wins": "A" if duel.lead > 0 else "B" if duel.lead < 0 else "",
        "rule": duel.a.rule,
        "size": picture.size,
        "photo": _jpeg(_at_most(picture, SIDE)),
        "rectangles": _rectangles(codes, winners, boxes, winners[row]),
        "alt": f"{called}, with the region that each piece takes: {_listed(codes, said, winners, names)}",
        "crop": _crop(
            codes[row], said[row], names[winners[row]], boxes[winners[row]], picture, cosines[row], winners[row]
        ),
    }


def shown(cosines: np.ndarray, winners: Sequence[int]) -> list[int]:
    """Columns worth a look: all where there are few, else those that win for some piece and the best of the others."""
    if cosines.shape[1] <= ALL:
        return list(range(cosines.shape[1]))
    best = np.argsort(-cosines.max(0), kind="stable").tolist()
    taken = set(winners)
    return sorted(taken | set([column for column in best if column not in taken][:FEW]))


def _rectangles(codes: list[str], winners: list[int], boxes, chosen: int) -> list[dict]:
    """One for each region that wins, with the pieces that take it, large ones first so that small ones lie on top."""
    takers: dict[int, list[str]] = {}
    for code, winner in zip(codes, winners, strict=True):
        takers.setdefault(winner, []).append(code)
    found = [
        {
            "box": tuple(boxes[region]),
            "codes": ", ".join(taken),
            "side": "".join(sorted({code[0] for code in taken})),
            "chosen": region == chosen,
        }
        for region, taken in takers.items()
    ]
    return sorted(found, key=lambda each: (each["chosen"], -_area(each["box"])))


def _area(box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _listed(codes, said, winners, names) -> str:
    taken = zip(codes, said, winners, strict=True)
    return "; ".join(f"{code} {theme.shortened(text, 60)}: {names[winner]}" for code, text, winner in taken)


def _crop(code: str, text: str, name: str, box, picture: Image.Image, cosines: np.ndarray, winner: int) -> dict:
    text = theme.shortened(text, 60)
    return {
        "source": _jpeg(_at_most(picture.crop(box), LARGE)),
        "ratio": (box[2] - box[0]) / (box[3] - box[1]),
        "alt": f"{name}, pixels {box[0]} to {box[2]} across and {box[1]} to {box[3]} down",
        "said": f"{code} “{text}” takes {name}, cosine {rounded(cosines[winner], 3)}",
    }


def _broken(name: str) -> str:
    """A region's name on two lines: crop 17 (25 × 25 %), row 3, column 4."""
    return (
        theme.plain(name).replace(" (", "<br>").replace(")", "").replace(", ", ",<br>").replace("whole ", "whole<br>")
    )


def _at_most(image: Image.Image, side: int) -> Image.Image:
    small = image.copy()
    small.thumbnail((side, side))
    return small


def _jpeg(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


# The picture: SVG, which has a text for those who do not see it and costs nothing to redraw ---------------------------


def picture(spec: dict) -> str:
    """The photo with a rectangle on each region that wins, as HTML: A solid, B dashed, both black; the chosen one bold."""
    width, height = spec["size"]
    unit = max(width, height) / SIDE  # one pixel of the page, in pixels of the picture
    label = escape(spec["alt"], quote=True)
    parts = [_rectangle(each, unit) for each in spec["rectangles"]]
    parts += _labels(spec["rectangles"], spec["size"], unit)
    return (
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {width} {height}" '
        f'style="width:{width / unit:.0f}px;max-width:100%;height:auto;display:block">'
        f'<image href="{spec["photo"]}" width="{width}" height="{height}" preserveAspectRatio="none"/>{"".join(parts)}</svg>'
    )


def _rectangle(each: dict, unit: float) -> str:
    """A white line under a coloured one shows on every picture."""
    bold = 2 if each["chosen"] else 1
    x0, y0, x1, y1 = each["box"]
    inset = 2 * unit  # what stands on the picture's edge is seen whole
    place = (
        f'x="{x0 + inset:g}" y="{y0 + inset:g}" width="{max(x1 - x0 - 2 * inset, unit):g}" '
        f'height="{max(y1 - y0 - 2 * inset, unit):g}" fill="none"'
    )
    dash = f' stroke-dasharray="{6 * unit:g} {4 * unit:g}"' if each["side"] == "B" else ""
    return (
        f'<rect {place} stroke="white" stroke-width="{(2 + 2 * bold) * unit:g}"/>'
        f'<rect {place} stroke="{_COLOURS[each["side"]]}" stroke-width="{2 * bold * unit:g}"{dash}/>'
    )


def _labels(rectangles: list[dict], size: tuple[int, int], unit: float) -> list[str]:
    """The pieces' codes in the top left corners, one below the other where corners meet."""
    taken: list[tuple[float, float]] = []
    drawn = []
    for each in rectangles:
        x, y = each["box"][0] + 6 * unit, each["box"][1] + 17 * unit
        while any(abs(x - a) < 40 * unit and abs(y - b) < 15 * unit for a, b in taken) and y + 15 * unit < size[1]:
            y += 15 * unit
        taken.append((x, y))
        drawn.append(
            f'<text x="{x:g}" y="{y:g}" font-family="sans-serif" font-weight="bold" font-size="{14 * unit:g}" '
            f'fill="{_COLOURS[each["side"]]}" stroke="white" stroke-width="{3 * unit:g}" paint-order="stroke">'
            f"{escape(each['codes'])}</text>"
        )
    return drawn


def crop(spec: dict) -> str:
    """The region of the chosen piece, enlarged, as HTML with its alternative text."""
    each = spec["crop"]
    ratio = each["ratio"]
    width, height = (LARGE, LARGE / ratio) if ratio >= 1 else (LARGE * ratio, LARGE)
    return (
        f'<figure style="margin:0;max-width:{LARGE}px"><img src="{each["source"]}" alt="{escape(each["alt"], quote=True)}" '
        f'style="width:{width:.0f}px;height:{max(height, 1):.0f}px;max-width:100%">'
        f'<figcaption dir="auto" style="line-height:1.35;overflow-wrap:anywhere">{escape(each["said"])}</figcaption></figure>'
    )


# The two figures ----------------------------------------------------------------------------------------------------


def matrix(spec: dict) -> go.Figure:
    """Cosine of every piece with the regions shown; ✓ marks the region that a piece takes, a frame the chosen piece."""
    import plotly.graph_objects as go

    fig = go.Figure(
        go.Heatmap(
            colorscale="Blues",
            texttemplate="%{text}",
            textfont={"size": 12},
            xgap=1,
            ygap=1,
            hovertemplate="%{customdata}<br>cosine %{z:.3f}<extra></extra>",
            colorbar={"thickness": 12},
            **_cells(spec),
        )
    )
    fig.update_layout(template=theme.template(), **_matrix_layout(spec))
    fig.update_xaxes(showgrid=False, zeroline=False)
    fig.update_yaxes(showgrid=False, zeroline=False)
    return fig


def _cells(spec: dict) -> dict:
    z, winners = spec["z"], spec["winners"]
    finite = z[np.isfinite(z)]
    text = [
        [_number(value, column == winner) for column, value in enumerate(row)]
        for row, winner in zip(z, winners, strict=True)
    ]
    hover = [[f"{row}<br>{column.replace('<br>', ' ')}" for column in spec["columns"]] for row in spec["rows"]]
    return {"z": z, "text": text, "customdata": hover, "zmin": float(finite.min()), "zmax": float(finite.max())}


def _number(value: float, wins: bool) -> str:
    if not np.isfinite(value):
        return ""
    return f"<b>{rounded(value)} ✓</b>" if wins else rounded(value)


def _matrix_layout(spec: dict) -> dict:
    rows, columns = spec["z"].shape
    some = f"{columns} of {spec['of']} regions" if columns < spec["of"] else f"{columns} region{'s' * (columns > 1)}"
    frame = {"type": "rect", "x0": -0.5, "x1": columns - 0.5, "line": {"color": "black", "width": 3}}
    parting = {
        "type": "line",
        "x0": -0.5,
        "x1": columns - 0.5,
        "line": {"color": theme.GREY, "width": 2, "dash": "dot"},
    }
    return {
        "title": {"text": f"What each piece finds: cosine, {some}"},
        "width": 320 + 62 * max(columns, 3),
        "height": 130 + 30 * rows,
        "margin": {"l": 220, "r": 20, "t": 50, "b": 60},
        "shapes": [
            {**parting, "y0": spec["split"] - 0.5, "y1": spec["split"] - 0.5},
            {**frame, "y0": spec["row"] - 0.5, "y1": spec["row"] + 0.5},
        ],
        "xaxis": {**_ticks(spec["columns"]), "range": [-0.5, columns - 0.5], "tickangle": 0},
        "yaxis": {**_ticks(spec["rows"]), "range": [rows - 0.5, -0.5]},
    }


def _ticks(labels: list[str]) -> dict:
    """Numbers for places, as two pieces may say the same."""
    return {"tickmode": "array", "tickvals": list(range(len(labels))), "ticktext": labels}


def bars(spec: dict) -> go.Figure:
    """What each piece adds to, or takes from, its caption's score above the middle of both: A on the left, B on the right."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    fig = make_subplots(1, 2, subplot_titles=["A", "B"], horizontal_spacing=0.32)
    for column, each in enumerate(_bars(spec), 1):
        fig.add_trace(
            go.Bar(
                orientation="h",
                textposition="outside",
                showlegend=False,
                cliponaxis=False,
                hovertemplate="%{customdata}<br>push %{x:+.4f}<extra></extra>",
                **each,
            ),
            1,
            column,
        )
    fig.update_layout(template=theme.template(), **_bars_layout(spec))
    for title, said in zip(fig.layout.annotations, _heads(spec), strict=True):
        title.text = said
    return fig


def _bars(spec: dict) -> list[dict]:
    split = spec["split"]
    labels = spec["rows"][:split], spec["rows"][split:]
    places = [0, split]
    return [
        {
            "x": pushes,
            "y": list(range(len(pushes))),
            "text": [f"{push:+.4f}" for push in pushes],
            "customdata": [f"{label}<br>value {value:.3f}" for label, value in zip(names, values, strict=True)],
            "marker": {
                "color": _COLOURS[letter],
                "pattern": {"shape": "/" if letter == "B" else ""},  # not told by colour alone
                "line": {"color": "black", "width": [3 * (spec["row"] == start + k) for k in range(len(pushes))]},
            },
        }
        for letter, names, pushes, values, start in zip(
            "AB", labels, spec["pushes"], spec["values"], places, strict=True
        )
    ]


def _bars_layout(spec: dict) -> dict:
    split = spec["split"]
    limit = 2 * max((abs(push) for side in spec["pushes"] for push in side), default=0) or 1e-3
    most = max(split, len(spec["rows"]) - split)
    axes = {"range": [-limit, limit], "nticks": 4, "zeroline": True, "zerolinecolor": "black"}
    rows = {"range": [most - 0.5, -0.5], "showgrid": False}
    return {
        "title": {"text": "What each piece gives above the middle of both scores"},
        "width": 850,
        "height": 140 + 30 * most,
        "margin": {"l": 200, "r": 10, "t": 80, "b": 35},
        "xaxis": axes,
        "xaxis2": axes,
        "yaxis": {**rows, **_ticks(spec["rows"][:split])},
        "yaxis2": {**rows, **_ticks(spec["rows"][split:])},
    }


def _heads(spec: dict) -> list[str]:
    pairs = zip("AB", spec["scores"], strict=True)
    return [f"{letter}: {score:.3f}{' ✓' * (letter == spec['wins'])}" for letter, score in pairs]


def redraw(figures: tuple[go.FigureWidget, go.FigureWidget], spec: dict) -> None:
    """Bring figures of `matrix` and `bars` to another spec in place."""
    cells, pushes = figures
    with cells.batch_update():
        cells.data[0].update(_cells(spec))
        cells.update_layout(_matrix_layout(spec))
    with pushes.batch_update():
        for trace, each in zip(pushes.data, _bars(spec), strict=True):
            trace.update(each)
        pushes.update_layout(_bars_layout(spec))
        for title, said in zip(pushes.layout.annotations, _heads(spec), strict=True):
            title.text = said
