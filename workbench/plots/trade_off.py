"""What one gains and another loses on the way from a model to its fine-tuned self: a curve through interpolated weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from workbench.evaluation.statistics import Interval
from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "pentagon")
MOST = len(SYMBOLS)


class Point(NamedTuple):
    """A model whose weights went the share `alpha` of the way, and what it scores, as fractions."""

    alpha: float
    x: Interval
    y: Interval


def spec(paths: Mapping[str, Sequence[tuple[float, Interval, Interval]]], *, base: str, x: str, y: str) -> dict:
    """paths[k] = name, alpha, x and y along it, n of both, end: x and y as [mean, low, high]; base the same, with its name.

    Percent, from intervals of fractions; `x` and `y` say what is scored, `base` names the model at alpha 0. After Figure 4 of
    FSC-CLIP (arXiv 2410.05210), which interpolates weights as WiSE-FT does (arXiv 2109.01903). The trap: with LoRA a share of
    the weights is not a share of its factors, which multiply, so points lie elsewhere on the same curve. Raises ValueError for
    no path, more than six, alphas that do not rise from 0 to 1, paths that start at different scores, or numbers that are not
    finite; TypeError for what is no `Interval`.
    """
    if not 1 <= len(paths) <= MOST:
        raise ValueError(f"{len(paths)} paths; give one to {MOST}, which can be told apart, as {{name: points}}")
    found = {name: [Point(*each) for each in points] for name, points in paths.items()}
    for name, points in found.items():
        _check(name, points)
    _check_one_start(found)
    (start, *_), *_ = found.values()
    return {
        "x": theme.plain(x, 60),
        "y": theme.plain(y, 60),
        "base": {"name": theme.plain(base, 30), **_end(start)},
        "paths": [{"name": theme.plain(name, 30), **_path(points)} for name, points in found.items()],
    }


def _check(name: str, points: Sequence[Point]) -> None:
    for each in (value for point in points for value in (point.x, point.y)):
        if not isinstance(each, Interval):
            raise TypeError(
                f"{name!r} holds a {type(each).__name__}; give (alpha, Interval, Interval), as `bootstrap` returns"
            )
        if not all(map(isfinite, (each.mean, each.low, each.high))):
            raise ValueError(f"{name!r} holds {each}; an interval to draw has three finite numbers")
    alphas = [point.alpha for point in points]
    rising = all(a < b for a, b in pairwise(alphas))
    if len(alphas) < 2 or alphas[0] != 0 or alphas[-1] != 1 or not rising:
        raise ValueError(f"{name!r} has alpha {', '.join(f'{a:g}' for a in alphas)}; give rising values from 0 to 1")


def _check_one_start(found: Mapping[str, Sequence[Point]]) -> None:
    (first, (start, *_)), *others = found.items()
    for name, (point, *_) in others:
        if abs(point.x.mean - start.x.mean) > 1e-9 or abs(point.y.mean - start.y.mean) > 1e-9:
            raise ValueError(
                f"{name!r} starts at {point.x.mean:.4f}, {point.y.mean:.4f} and {first!r} at {start.x.mean:.4f}, "
                f"{start.y.mean:.4f}; draw paths from one model, scored on the same items"
            )


def _path(points: Sequence[Point]) -> dict:
    along = {axis: [100 * getattr(point, axis).mean for point in points] for axis in ("x", "y")}
    return {"alpha": [float(point.alpha) for point in points], **along, "end": _end(points[-1])}


def _end(point: Point) -> dict:
    return {
        axis: [100 * value for value in (each.mean, each.low, each.high)]
        for axis, each in (("x", point.x), ("y", point.y))
    } | {"n": [point.x.n, point.y.n]}


def figure(spec: dict) -> go.Figure:
    """A line and a sign for each method, larger where alpha is 1; the star is alpha 0; 95 % intervals at both ends."""
    import plotly.graph_objects as go

    fig = go.Figure()
    for k, path in enumerate(spec["paths"]):
        fig.add_trace(_curve(path, k))
        fig.add_trace(_ending(path["end"], path["name"], theme.COLOURS[k], SYMBOLS[k], 13, 1, path["name"]))
    star = spec["base"]
    fig.add_trace(_ending(star, star["name"], theme.COLOURS[-1], "star", 17, 0, None))
    fig.update_xaxes(title=f"{spec['x']}, percent", zeroline=False)
    fig.update_yaxes(title=f"{spec['y']}, percent", zeroline=False)
    legend = {"title": {"text": "alpha 0: the star<br>alpha 1: the large sign", "font": {"size": 11}}}
    fig.update_layout(template=theme.template(), height=430, margin={"t": 20, "l": 60}, legend=legend)
    return fig


def _curve(path: dict, k: int) -> go.Scatter:
    """All points but the first, which is everybody's, as small signs."""
    import plotly.graph_objects as go

    return go.Scatter(
        x=path["x"],
        y=path["y"],
        mode="lines+markers",
        name=path["name"],
        legendgroup=path["name"],
        line={"color": theme.COLOURS[k], "width": 2},
        marker={"symbol": SYMBOLS[k], "size": [0, *[7] * (len(path["x"]) - 1)], "opacity": 1},
        customdata=path["alpha"],
        hovertemplate=f"{path['name']}, alpha %{{customdata:g}}<br>%{{x:.1f}}, %{{y:.1f}}<extra></extra>",
    )


def _ending(end: dict, name: str, colour: str, symbol: str, size: int, alpha: int, group: str | None) -> go.Scatter:
    import plotly.graph_objects as go

    bars = {
        f"error_{axis}": theme.whiskers(*([each] for each in end[axis]), thickness=1.5, width=0) for axis in ("x", "y")
    }
    told = "".join(
        f"<br>{axis}: {mean:.1f} [{low:.1f}, {high:.1f}], n {n}"
        for axis, (mean, low, high), n in zip("xy", (end["x"], end["y"]), end["n"], strict=True)
    )
    return go.Scatter(
        x=end["x"][:1],
        y=end["y"][:1],
        **bars,
        mode="markers",
        name=name,
        legendgroup=group,
        showlegend=group is None,
        marker={"symbol": symbol, "color": colour, "size": size, "line": {"width": 1, "color": "white"}},
        hovertemplate=f"{name}, alpha {alpha}{told}<extra></extra>",
    )
