"""What the focal factor and smoothed labels make of cross entropy: the loss against the probability of the true caption."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

import torch

from workbench.fine_tuning.published import FIGURE_3
from workbench.losses import hard_negative_loss
from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

_FOCAL = (("gamma 1", 1.0, 0.0), ("gamma 2", 2.0, 0.0), ("gamma 5", 5.0, 0.0), ("gamma 2, smoothing 0.02", 2.0, 0.02))
CURVES = (("cross entropy", 0.0, 0.0), *_FOCAL)
"""Name, gamma, smoothing."""

_DASHES = ("solid", "dot", "solid", "dash", "dashdot")
_COLOURS = (*theme.COLOURS[:4], theme.COLOURS[7])
_SHOWN = 1.6  # nats, where the axis ends; cross entropy goes on to 4.6 at p = 0.01


def spec(negatives: int = 3, points: int = 99) -> dict:
    """p (points,) between 0 and 1; curves[k] = name, gamma, smoothing, loss (points,) in nats; examples of p with true factors.

    `workbench.losses.hard_negative_loss` of one caption whose wrong ones share 1 − p equally. examples[k] = p, cross entropy,
    focal loss at gamma 2, their ratio (1 − p)², and the factor that Figure 3 of FSC-CLIP (arXiv 2410.05210) prints there: at
    p = 0.6 that is not the factor but the loss. Raises ValueError for fewer than one negative or two points.
    """
    if negatives < 1 or points < 2:
        raise ValueError(f"negatives={negatives}, points={points}; give one negative or more, two points or more")
    p = [(k + 1) / (points + 1) for k in range(points)]
    return {
        "negatives": negatives,
        "p": p,
        "curves": [
            {
                "name": name,
                "gamma": gamma,
                "smoothing": smoothing,
                "loss": [_loss(each, negatives, gamma, smoothing) for each in p],
            }
            for name, gamma, smoothing in CURVES
        ],
        "examples": [_example(each, printed, negatives) for each, printed in FIGURE_3.items()],
    }


def _loss(p: float, negatives: int, gamma: float, smoothing: float) -> float:
    logits = torch.tensor([[log(p), *[log((1 - p) / negatives)] * negatives]], dtype=torch.float64)
    return hard_negative_loss(logits, gamma=gamma, smoothing=smoothing).item()


def _example(p: float, printed: float, negatives: int) -> dict:
    plain, focal = (_loss(p, negatives, gamma, 0.0) for gamma in (0.0, 2.0))
    return {"p": p, "cross_entropy": plain, "focal": focal, "factor": focal / plain, "printed": printed}


def figure(spec: dict) -> go.Figure:
    """A line for each loss; at both examples an arrow from cross entropy down to gamma 2, and the factor beside it."""
    import plotly.graph_objects as go

    fig = go.Figure()
    for curve, dash, colour in zip(spec["curves"], _DASHES, _COLOURS, strict=True):
        line = {"color": colour, "dash": dash, "width": 2}
        hover = "p %{x:.2f}: %{y:.3f} nats<extra>" + curve["name"] + "</extra>"
        fig.add_scatter(x=spec["p"], y=curve["loss"], mode="lines", name=curve["name"], line=line, hovertemplate=hover)
    for each in spec["examples"]:
        fig.add_trace(_marks(each))
        fig.add_annotation(_arrow(each))
        fig.add_annotation(_factor(each))
        if abs(each["printed"] - each["factor"]) >= 0.005:
            fig.add_annotation(_note(each))
    wrong = "1 negative" if spec["negatives"] == 1 else f"{spec['negatives']} negatives that share the rest"
    fig.update_xaxes(title=f"p, probability of the true caption beside {wrong}", range=[0, 1], zeroline=False)
    fig.update_yaxes(title="loss, nats", range=[-0.02, _SHOWN], zeroline=False)
    inside = {"x": 0.99, "xanchor": "right", "y": 0.99, "yanchor": "top", "bgcolor": "white"}
    fig.update_layout(template=theme.template(), height=400, margin={"t": 20}, legend=inside)
    return fig


def _marks(each: dict) -> go.Scatter:
    import plotly.graph_objects as go

    return go.Scatter(
        x=[each["p"]] * 2,
        y=[each["cross_entropy"], each["focal"]],
        mode="markers",
        marker={"color": [_COLOURS[0], _COLOURS[2]], "size": 9, "symbol": ["circle", "diamond"]},
        showlegend=False,
        hovertemplate="p %{x:g}: %{y:.3f} nats<extra></extra>",
    )


def _arrow(each: dict) -> dict:
    """From one mark to the other: both ends in the units of the axes."""
    ends = {"x": each["p"], "y": each["focal"], "ax": each["p"], "ay": each["cross_entropy"]}
    refs = {"xref": "x", "yref": "y", "axref": "x", "ayref": "y"}
    return {**ends, **refs, "text": "", "showarrow": True, "arrowhead": 2, "arrowwidth": 1.5, "standoff": 6}


def _factor(each: dict) -> dict:
    middle = (each["cross_entropy"] + each["focal"]) / 2
    place = {"x": each["p"], "xanchor": "left", "xshift": 8, "y": middle, "showarrow": False}
    return {"text": f"<b>× {each['factor']:.2f}</b>", "font": {"size": 12}, "bgcolor": "white", **place}


def _note(each: dict) -> dict:
    """What the paper prints where it is not the factor, above all lines."""
    text = f"The paper's figure prints × {each['printed']:.2f},<br>which is the loss here, {each['focal']:.3f}."
    place = {"x": each["p"], "xanchor": "left", "y": each["cross_entropy"] + 0.06, "yanchor": "bottom"}
    return {"text": text, "font": {"size": 12}, "align": "left", "showarrow": False, **place}
