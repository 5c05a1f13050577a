"""A probe of towers against how well they align: a point for each tower, its family by colour and sign, the linear fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.evaluation.alignment_probes import ProbeCorrelations
from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST = 8  # families that can be told apart
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "pentagon", "x")
ALIGNMENT = "R@10, mean of both directions, percent"
_WIDE, _HIGH = 560, 330  # px of the drawing for which names are placed; a wider one leaves more room
_LETTER, _LINE = 5.6, 12  # px of a letter and of a line at the size of names
_PLACES = {  # of a name beside its point: from where, in px, its left end lies
    "middle right": lambda length: (8, 0),
    "middle left": lambda length: (-8 - length, 0),
    "top center": lambda length: (-length / 2, 12),
    "bottom center": lambda length: (-length / 2, -12),
}


def spec(
    found: ProbeCorrelations, probe: str | None = None, *, unit: str = "percent", alignment: str = ALIGNMENT
) -> dict:
    """points[k] = name, family, x, y, low, high, label (where there is room for one); families with colour and symbol; the fit.

    Figures G1 to G3 of SAIL (arXiv 2412.04616) for published and measured towers alike: x is `probe`, by default the first;
    with unit "percent" fractions become percent, any other unit is written as it is. `fit` holds both ends of the least-squares
    line and Pearson's r. The trap: a line through two clouds has a high r as well. Raises ValueError for a probe that is not
    there or more than eight families, TypeError for what is no `ProbeCorrelations`.
    """
    if not isinstance(found, ProbeCorrelations):
        raise TypeError(f"a {type(found).__name__}; give what `workbench.evaluation.probe_correlations` returns")
    probe = next(iter(found.probes)) if probe is None else probe
    if probe not in found.probes:
        raise ValueError(f"no probe {probe!r}; there are {', '.join(found.probes)}")
    families = list(dict.fromkeys(found.families))
    if len(families) > MOST:
        raise ValueError(f"{len(families)} families; up to {MOST} can be told apart by colour and sign")
    x, y = found.probes[probe] * (100 if unit == "percent" else 1), 100 * found.alignment
    ends = np.stack([y, y], 1) if found.intervals is None else 100 * found.intervals
    labels = _labels(found.names, x, y, ends)
    return {
        "title": theme.plain(found.title, 70),
        "x_title": f"{theme.plain(probe, 50)}, {unit}",
        "y_title": alignment,
        "families": [
            {"name": theme.plain(family, 30), "colour": theme.COLOURS[k], "symbol": SYMBOLS[k]}
            for k, family in enumerate(families)
        ],
        "points": [
            {
                "name": theme.plain(name),
                "family": families.index(family),
                **dict(zip(("x", "y", "low", "high"), map(float, numbers), strict=True)),
                "label": label,
            }
            for name, family, *numbers, label in zip(found.names, found.families, x, y, *ends.T, labels, strict=True)
        ],
        "fit": _fit(found, probe, x, y),
    }


def _fit(found: ProbeCorrelations, probe: str, x: np.ndarray, y: np.ndarray) -> dict:
    slope, start = np.polyfit(x, y, 1)
    ends, r = np.array([x.min(), x.max()]), found.r["Pearson"][probe]
    told = f"linear fit, r {r.r:.2f} [{r.low:.2f}, {r.high:.2f}], n {r.n}"
    return {"x": ends.tolist(), "y": (start + slope * ends).tolist(), "told": told.replace("-", "−"), "r": r.r}


def _labels(names, x: np.ndarray, y: np.ndarray, ends: np.ndarray) -> list[dict | None]:
    """Names in the first place where they cover no point and no other name; None where there is no such place."""
    across = (x - x.min()) / (np.ptp(x) or 1) * _WIDE
    up = (y - ends.min()) / (np.ptp(ends) or 1) * _HIGH
    taken = [(a - 6, b - 6, a + 6, b + 6) for a, b in zip(across, up, strict=True)]
    placed = []
    for k, name in enumerate(names):
        text = theme.plain(name, 28)
        length = _LETTER * len(text)
        boxes = {place: _box(across[k], up[k], length, *shift(length)) for place, shift in _PLACES.items()}
        others = taken[:k] + taken[k + 1 :]
        free = (
            place for place, box in boxes.items() if box[0] >= -40 and box[2] <= _WIDE + 60 and not _covers(box, others)
        )
        place = next(free, None)
        if place is not None:
            taken.append(boxes[place])
        placed.append(None if place is None else {"text": text, "place": place})
    return placed


def _box(a: float, b: float, length: float, dx: float, dy: float) -> tuple[float, float, float, float]:
    return a + dx, b + dy - _LINE / 2, a + dx + length, b + dy + _LINE / 2


def _covers(box, others) -> bool:
    return any(box[0] < c and a < box[2] and box[1] < d and b < box[3] for a, b, c, d in others)


def figure(spec: dict) -> go.Figure:
    """Points with their intervals, names where there is room and on hover; the legend says families and r."""
    import plotly.graph_objects as go

    line = {"color": theme.GREY, "dash": "dash", "width": 2}
    fit = go.Scatter(
        x=spec["fit"]["x"], y=spec["fit"]["y"], mode="lines", line=line, name=spec["fit"]["told"], hoverinfo="skip"
    )
    fig = go.Figure([fit, *(_points(spec, k) for k in range(len(spec["families"])))])
    fig.update_xaxes(title={"text": spec["x_title"], "standoff": 6, "font": {"size": 13}}, zeroline=False)
    lowest, highest = (of(point[end] for point in spec["points"]) for of, end in ((min, "low"), (max, "high")))
    room = 0.08 * (highest - lowest) or 5.0  # the line may leave the picture: no recall is above 100 percent
    range_ = [lowest - room, highest + room]
    fig.update_yaxes(title={"text": spec["y_title"], "font": {"size": 13}}, zeroline=False, range=range_)
    rows = -(-(len(spec["families"]) + 2) // 5)  # about five entries in a row; the fit's is long
    legend = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "font": {"size": 12}}
    margin = {"t": 40, "b": 55 + 20 * rows, "l": 55, "r": 20}
    fig.update_layout(template=theme.template(), title=spec["title"], height=480, legend=legend, margin=margin)
    return fig


def _points(spec: dict, k: int) -> go.Scatter:
    import plotly.graph_objects as go

    family, points = spec["families"][k], [point for point in spec["points"] if point["family"] == k]
    return go.Scatter(
        x=[point["x"] for point in points],
        y=[point["y"] for point in points],
        error_y=theme.of_points(points, "y", thickness=2, width=0),
        mode="markers+text",
        marker={
            "symbol": family["symbol"],
            "color": family["colour"],
            "size": 10,
            "line": {"width": 1, "color": "white"},
        },
        text=[point["label"]["text"] if point["label"] else "" for point in points],
        textposition=[point["label"]["place"] if point["label"] else "top center" for point in points],
        textfont={"size": 10},
        cliponaxis=False,
        name=family["name"],
        customdata=[[point["name"], point["low"], point["high"]] for point in points],
        hovertemplate="<b>%{customdata[0]}</b><br>%{x:.2f}<br>%{y:.1f} [%{customdata[1]:.1f}, %{customdata[2]:.1f}]"
        f"<extra>{family['name']}</extra>",
    )
