"""Singular values of the inter-modal operator with a band marked in words, and of the operator within one modality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from workbench.plots import theme
from workbench.spectral.operators import Modality
from workbench.spectral.spectrum import Band, ProjectorSpectrum, band_weights

if TYPE_CHECKING:
    import plotly.graph_objects as go

# A dash and a mark for each line as well: colour is never the only sign.
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_MARKS = ("circle", "square", "diamond", "cross", "triangle-up")
_KEPT, _LEFT_OUT = theme.COLOURS[2], theme.GREY


def spec(
    spectra: Mapping[str, ProjectorSpectrum] | ProjectorSpectrum, band: Band | None = None, *, of: str | None = None
) -> dict:
    """σ_i / σ_1 over i for each spectrum, and the regions of a band: of the one named `of`, the first where nobody says.

    Spectra of different lengths share an axis from 0 to 1, i as a share of r. Raises ValueError for no spectrum, a name that is
    not among them, or a band as `band_weights` does.
    """
    spectra = {"inter-modal operator": spectra} if isinstance(spectra, ProjectorSpectrum) else dict(spectra)
    if not spectra or (of is not None and of not in spectra):
        raise ValueError(f"of={of!r}; give at least one spectrum, and a name among {', '.join(spectra) or 'them'}")
    r = spectra[of if of is not None else next(iter(spectra))].r
    shares = len({each.r for each in spectra.values()}) > 1
    return {
        "lines": [
            _line(theme.plain(name), (each.S / each.S[0]).numpy(), each.r if shares else 1)
            for name, each in spectra.items()
        ],
        "regions": [] if band is None else _regions(r, Band(*band), r if shares else 1),
        "title": "Singular values of W<sub>i</sub><sup>T</sup>W<sub>t</sub>",
        "x": "place among the singular values, share of r" if shares else "singular value, from 0",
        "y": "share of the largest, σ<sub>i</sub> / σ<sub>1</sub>",
        "log": False,
    }


def gains_spec(spectrum: ProjectorSpectrum, bands: Mapping[str, Band], modality: Modality = "image") -> dict:
    """Singular values of the operator within a modality inside each band, by their largest, with condition numbers.

    What rounding alone made is no value: it is left out of the line, and the condition number is infinite then. (0, 0) is
    the operator before filtering, on the span that the other modality reaches. Errors as in `ProjectorSpectrum.gains`.
    """
    side, _ = spectrum.of(modality)
    lines = []
    for name, band in bands.items():
        gains = spectrum.gains(modality, *band)
        shares = (gains / gains[0]).numpy()
        shares = np.where(np.sqrt(shares) > max(side.matrix.shape) * side.eps, shares, np.nan)
        lines.append(_line(f"{theme.plain(name)}: {len(shares)} directions, {_condition(shares)}", shares))
    letter = f"W<sub>{modality[0]}</sub>"
    title = f"Singular values of {letter}<sup>T</sup>{letter} in each band"
    return {
        "lines": lines,
        "regions": [],
        "title": title,
        "x": "singular value, from 0",
        "y": "share of the largest",
        "log": True,
    }


def figure(spec: dict) -> go.Figure:
    """The figure of either spec: a line for each spectrum, the regions of the band behind them with their names above."""
    import plotly.graph_objects as go

    fig = go.Figure([_trace(line, k) for k, line in enumerate(spec["lines"])])
    named = len(spec["lines"]) > 1 or spec["log"]
    # A legend of long names has a line for each; it stands below the axis' own title.
    below = 22 * len(spec["lines"]) * named
    margin = {"t": 80, "r": 25, "b": 45 + below}
    fig.update_layout(template=theme.template(), height=340 + below, margin=margin, **_marked(spec["regions"]))
    fig.update_layout(title={"text": spec["title"], "y": 1, "yref": "container", "yanchor": "top", "pad": {"t": 14}})
    fig.update_layout(showlegend=named, legend={"yref": "container", "y": 0, "yanchor": "bottom", "x": 0})
    fig.update_xaxes(title=spec["x"])
    fig.update_yaxes(title=spec["y"])
    if spec["log"]:
        fig.update_yaxes(type="log", exponentformat="power")
    else:
        fig.update_yaxes(range=[0, 1.03])
    return fig


def redraw(fig: go.FigureWidget, spec: dict) -> None:
    """Bring a figure of `figure` to another spec of as many lines in place, sending the browser only what changed."""
    with fig.batch_update():
        for trace, line in zip(fig.data, spec["lines"], strict=True):
            if not np.array_equal(trace.y, line["y"], equal_nan=True):
                trace.update(x=line["x"], y=line["y"])
            trace.name = line["name"]
        fig.layout.update(_marked(spec["regions"]), overwrite=True)
        fig.layout.title.text = spec["title"]


def _line(name: str, y: np.ndarray, unit: int = 1) -> dict:
    return {"name": name, "x": np.arange(len(y)) if unit == 1 else np.arange(len(y)) / unit, "y": y}


def _condition(shares: np.ndarray) -> str:
    if np.isnan(shares).any():
        return f"condition number infinite ({int(np.isnan(shares).sum())} carry nothing)"
    return f"condition number {1 / shares[-1]:.3g}"


def _regions(r: int, band: Band, unit: int = 1) -> list[dict]:
    """Top, middle and bottom, each from half a step before its first singular value to half a step after its last."""
    band_weights(r, *band)  # refuses what is no band
    edges = (0, band.k_top, r - band.k_bottom, r)
    return [
        {"words": _words(kept, first, stop), "kept": kept, "x0": (first - 0.5) / unit, "x1": (stop - 0.5) / unit}
        for kept, first, stop in zip((False, True, False), edges, edges[1:], strict=False)
    ]


def _words(kept: bool, first: int, stop: int) -> str:
    if first == stop:
        return ""
    which = f"{first}" if stop == first + 1 else f"{first}–{stop - 1}"
    return f"{'kept' if kept else 'left out'}: {which}"


def _marked(regions: list[dict]) -> dict:
    """Shapes and words of the regions. The outer ones hold to the corners, a line above: a narrow one leaves no room."""
    places = (("left", 0, 18), ("center", 0.5, 0), ("right", 1, 18))
    shapes = [
        {
            **{"type": "rect", "xref": "x", "yref": "paper", "x0": region["x0"], "x1": region["x1"], "y0": 0, "y1": 1},
            **{"fillcolor": _KEPT if region["kept"] else _LEFT_OUT, "opacity": 0.18 if region["kept"] else 0.3},
            **{"line": {"width": 0}, "layer": "below"},
        }
        for region in regions
    ]
    words = [
        {
            **{"text": region["words"], "xref": "x", "yref": "paper", "xanchor": anchor, "y": 1, "yanchor": "bottom"},
            **{"x": (1 - part) * region["x0"] + part * region["x1"], "yshift": shift, "showarrow": False},
        }
        for region, (anchor, part, shift) in zip(regions, places, strict=False)
    ]
    return {"shapes": shapes, "annotations": words}


def _trace(line: dict, k: int) -> dict:
    colour = theme.COLOURS[k % len(theme.COLOURS)]
    return {
        **{"type": "scatter", "x": line["x"], "y": line["y"], "name": line["name"], "mode": "lines+markers"},
        **{"line": {"color": colour, "dash": _DASHES[k % len(_DASHES)], "width": 2}},
        **{"marker": {"symbol": _MARKS[k % len(_MARKS)], "size": 7, "color": colour, "maxdisplayed": 12}},
        "hovertemplate": "%{x}: %{y:.3g}<extra>" + line["name"] + "</extra>",
    }
