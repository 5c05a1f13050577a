"""A training as it goes: give it to `align` as `on_validation`, and it draws."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import ipywidgets as W
import plotly.graph_objects as go

from workbench.panels.shell import Shell
from workbench.plots import training as plot


class TrainingPanel(Shell):
    """Live loss and recall: `align(pairs, config, validation=held, on_validation=TrainingPanel(config.steps))`.

    Of a training that is judged otherwise `score` names what its third argument is, a fraction.

    Shown before the training begins, it moves at every validation, in the kernel's main thread, so nothing runs beside it.
    `losses` and `recalls` hold what it was told.
    """

    def __init__(self, steps: int, title: str = "training", *, score: str = plot.RECALL):
        self.steps, self.title, self.score = steps, title, score
        self.losses: list[float] = []
        self.recalls: list[tuple[int, float]] = []
        self.status, self.summary = W.HTML(), W.HTML()
        self.figure = go.FigureWidget(plot.figure(self._spec(), score))
        self.box = W.VBox([W.Box([self.figure], layout=W.Layout(overflow="auto")), self.status, self.summary])
        self.say(f"{title}: no step taken yet")

    def __call__(self, step: int, losses: Sequence[float], recall: float | None = None) -> None:
        """What `align` tells after `step` steps; trainings without a validation tell steps and losses."""
        self.losses = list(losses)
        if recall is not None:
            self.recalls = [each for each in self.recalls if each[0] < step] + [(step, recall)]
        plot.redraw(self.figure, self._spec())
        self.say(f"{self.title}: step {step} of {self.steps}")
        self.summary.value = f'<p style="margin:0">{escape(self._said())}</p>'

    def _spec(self) -> dict:
        return plot.spec(self.losses, self.recalls, self.steps)

    def _said(self) -> str:
        last = f"Loss {self.losses[-1]:.4g}." if self.losses else ""
        if not self.recalls:
            return last
        # of equally good ones the last, which `align` keeps
        step, best = max(self.recalls, key=lambda each: each[::-1])
        of = self.score.removesuffix(" on validation pairs")
        return f"{last} {of[:1].upper()}{of[1:]} {100 * self.recalls[-1][1]:.1f} %, best {100 * best:.1f} % after {step} steps."

    def _repr_mimebundle_(self, **kwargs):
        return {
            **self.box._repr_mimebundle_(**kwargs),
            "text/plain": f"TrainingPanel({self.title}, {self.steps} steps)",
        }
