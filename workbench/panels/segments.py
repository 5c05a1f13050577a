"""Which piece of a caption decides: a picture, two captions, a rule, and the part of the picture that each piece takes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING

import ipywidgets as W
import plotly.graph_objects as go
from IPython import get_ipython

from workbench.data.phrases import GRANULARITIES
from workbench.data.pictures import open_picture
from workbench.matching.rules import RULES
from workbench.panels.guard import guarded
from workbench.panels.segmented import (
    READINGS,
    Example,
    SegmentedPictures,
    State,
    View,
    photo_examples,
    quad_examples,
)
from workbench.panels.shell import Shell
from workbench.plots import segments as plot
from workbench.plots.theme import shortened
from workbench.records import Table

if TYPE_CHECKING:
    from workbench.models.dual_encoder import DualEncoder
    from workbench.store import EmbeddingStore

GRIDS = {"86, side by side": "grid", "270, at half steps": "overlap"}
FIRST_RULE = "crops"
_CLOSE = "margin:0 0 .4rem;line-height:1.35"


class SegmentsPanel(Shell):
    """Two captions for a picture, taken apart: which region each piece finds, and which piece makes a caption win.

    `examples` are pictures with two captions each, by name; by default the shipped photos and drawn swap quads, A the caption
    that fits. `picture` is the first to be shown. `store` (or its folder) keeps the crops' embeddings for the next time;
    `background` are pictures that the centred rule takes the mean find of. Click a row of the matrix, or a bar, or choose the
    piece from the list, to see its region large. `compute(state)` works without a browser; errors land in the status line and
    leave the last good view in place. Raises TypeError for a model's name, ValueError for a picture that is not there or an
    example without two captions.
    """

    def __init__(
        self,
        model: DualEncoder,
        examples: Mapping[str, Example] | None = None,
        *,
        picture: str | None = None,
        rule: str = FIRST_RULE,
        store: EmbeddingStore | str | os.PathLike | None = None,
        background: Sequence | None = None,
    ):
        if isinstance(model, str):
            raise TypeError(f"the panel takes a loaded model, not a name; give SegmentsPanel(load_model({model!r}))")
        examples = photo_examples() | quad_examples() if examples is None else examples
        self.model = model
        self.pictures = SegmentedPictures(model, examples, store=store, background=background)
        picture = next(iter(self.pictures.examples)) if picture is None else picture
        self.pictures.check_rule(rule, picture)
        self.view: View | None = None
        self._build(picture)
        self._offer_rules(picture, rule)
        self._listening = True
        self._show(self._state())

    # Pure part ------------------------------------------------------------------------------------------------------

    def compute(self, state: State) -> View:
        """The view of a state. Raises ValueError as `SegmentedPictures.judged` does."""
        return self.pictures.judged(state)

    # Controls -------------------------------------------------------------------------------------------------------

    def _build(self, picture: str) -> None:
        wide = {"layout": W.Layout(width="97%"), "style": {"description_width": "7rem"}}
        half = {"layout": W.Layout(width="48%", min_width="18rem"), "style": {"description_width": "7rem"}}
        self.picture = W.Dropdown(
            options=list(self.pictures.examples), value=picture, description="Picture",
            tooltip="Photos that ship, drawn swap quads, and yours", **half,
        )  # fmt: skip
        self.upload = W.FileUpload(accept="image/*", description="Your picture", tooltip="Add a picture from your disk")
        self.captions = tuple(
            W.Text(value=text, description=f"Caption {letter}", continuous_update=False, tooltip="Type and press Enter", **wide)
            for letter, text in zip("AB", self.pictures.examples[picture].captions, strict=True)
        )  # fmt: skip
        self.rule = W.Dropdown(description="Rule", tooltip="How a picture and a caption become one number", **wide)
        self.granularity = W.Dropdown(
            options=GRANULARITIES, value="mid", description="Pieces",
            tooltip="How finely a caption is cut: with bare nouns, phrases, or what is joined only", **half,
        )  # fmt: skip
        self.grid = W.Dropdown(options=GRIDS, description="Crops", tooltip="How many crops of the picture", **half)
        self.piece = W.Dropdown(description="Piece", tooltip="The piece whose region is shown large", **wide)
        self.status, self.summary, self.photo, self.crop, self.details, self.refused = (W.HTML() for _ in range(6))
        self._progress = W.Output()
        self.figures: tuple[go.FigureWidget, go.FigureWidget] | None = None
        self._frames = tuple(W.Box(layout=W.Layout(overflow="auto")) for _ in range(2))
        row = lambda *parts: W.HBox(parts, layout=W.Layout(flex_flow="row wrap", grid_gap="0 .8rem"))  # noqa: E731
        self.box = W.VBox(
            [
                row(self.picture, self.upload), *self.captions, self.rule, row(self.granularity, self.grid), self._progress,
                self.status, self.summary, self.piece, row(self.photo, self.crop), *self._frames, self.details,
                self.refused,
            ]
        )  # fmt: skip
        for control in (*self.captions, self.rule, self.granularity, self.grid):
            control.observe(self._changed, names="value")
        self.picture.observe(self._other_picture, names="value")
        self.piece.observe(self._other_piece, names="value")
        self.upload.observe(self._uploaded, names="value")

    def _state(self) -> State:
        captions = tuple(caption.value for caption in self.captions)
        return State(self.picture.value, captions, self.rule.value, self.granularity.value, self.grid.value)

    def _changed(self, change) -> None:
        if self._listening:
            self._show(self._state())

    def _other_picture(self, change) -> None:
        if self._listening:
            self._go_to(change["new"])

    @guarded
    def _go_to(self, name: str) -> None:
        """Another picture brings its own captions, and its own rules."""
        note = self._offer_rules(name, self.rule.value)
        for control, text in zip(self.captions, self.pictures.examples[name].captions, strict=True):
            self._quietly(control, value=text)
        self._show(self._state(), *note)

    def _offer_rules(self, name: str, wanted: str) -> list[str]:
        """The rules of a picture; where the one that was chosen is not among them, a note of it."""
        refused = self.pictures.refused(name)
        options = [(f"{key}: {each.title}", key) for key, each in READINGS.items() if key not in refused]
        self._quietly(self.rule, options=options, value=FIRST_RULE if wanted in refused else wanted)
        rows = tuple((key, READINGS[key].title, reason) for key, reason in refused.items())
        table = Table("Rules that are not offered here", ("rule", "what it is", "why not"), rows).html()
        self.refused.value = f"<details><summary>{len(rows)} rules are not offered here</summary>{table}</details>"
        return (
            [f"Rule {wanted!r} does not go with it, {refused[wanted]}; {FIRST_RULE!r} instead"]
            if wanted in refused
            else []
        )

    def _other_piece(self, change) -> None:
        # A piece is of the captions that are shown: the boxes may hold some that cannot be read.
        if self._listening and change["new"] is not None and self.view:
            self._show(replace(self.view.state, piece=change["new"]))

    @guarded
    def _uploaded(self, change) -> None:
        for file in change["new"]:
            self.add_picture(bytes(file["content"]), name=file["name"])

    def add_picture(self, source, captions: Sequence[str] | None = None, *, name: str | None = None, boxes=()) -> None:
        """Open a picture (path, PIL, array or bytes), add it under a name of its own, and show it with two captions.

        Without `captions` those that stand in the boxes now stay.
        """
        picture = open_picture(source) if name is None else open_picture(source, name=name)
        name, n = picture.name, 2
        while name in self.pictures.examples:
            name, n = f"{picture.name} ({n})", n + 1
        captions = self._state().captions if captions is None else captions
        self.pictures.add(name, Example(picture, captions, boxes))
        self._quietly(self.picture, options=list(self.pictures.examples), value=name)
        self._go_to(name)

    def _clicked_cell(self, trace, points, _) -> None:
        if points.point_inds:
            self._choose(points.point_inds[0][0])

    def _clicked_bar(self, side: int):
        def clicked(trace, points, _) -> None:
            if points.point_inds:
                self._choose(points.point_inds[0] + side * len(self.view.duel.a.pieces))

        return clicked

    def _choose(self, row: int) -> None:
        """The piece of a row of the matrix, as its line of the list does."""
        self.piece.value = [place for _, place in self.piece.options][row]

    # Shell ----------------------------------------------------------------------------------------------------------

    @guarded
    def _show(self, state: State, *notes: str) -> None:
        if waiting := self.pictures.waiting(state):
            self.say(f"Encoding the crops of {'the picture' if waiting == 1 else f'{waiting} pictures'} …")
        with warnings.catch_warnings(record=True) as said:  # for the status line, not stderr
            warnings.simplefilter("always", UserWarning)
            view = self._computed(state)
        self.render(view)
        self.view = view
        warned = dict.fromkeys(str(each.message) for each in said)
        self.say(". ".join([f"{self.model.name} on {state.picture}", *notes, *self._notes(state), *warned]))

    def _computed(self, state: State) -> View:
        """With bars in the panel. What is raised inside an Output in a kernel ends there, as a traceback: it is carried out."""
        found, failed = None, None
        with self._progress:
            try:
                found = self.compute(state)
            except Exception as error:
                failed = error
        if get_ipython() is not None:  # a bar that has closed leaves its place behind
            self._progress.clear_output()
        if failed is not None:
            raise failed
        return found

    def _notes(self, state: State) -> list[str]:
        notes = list(self.pictures.picture(state.picture).notes)
        if READINGS[state.rule].centred:
            notes.append(f"Centred on {', '.join(each.name for each in self.pictures.centres(state.picture))}")
        return notes

    def render(self, view: View) -> None:
        """Bring every widget to the view."""
        spec = plot.spec(view.duel, view.names, view.boxes, view.picture, view.piece, called=view.state.picture)
        self._draw(spec)
        self.photo.value, self.crop.value = plot.picture(spec), plot.crop(spec)
        self.summary.value = f'<p dir="auto" style="{_CLOSE}"><strong>{escape(view.duel.summary())}</strong></p>'
        self._offer_pieces(view)
        self._enable(view.state.rule)
        self.details.value = (
            f"<details><summary>All pieces in numbers</summary>{view.duel.table(view.names).html()}</details>"
        )

    def _draw(self, spec: dict) -> None:
        if self.figures is not None:
            plot.redraw(self.figures, spec)
            return
        self.figures = go.FigureWidget(plot.matrix(spec)), go.FigureWidget(plot.bars(spec))
        cells, bars = self.figures
        cells.data[0].on_click(self._clicked_cell)
        for side, trace in enumerate(bars.data):
            trace.on_click(self._clicked_bar(side))
        for frame, figure in zip(self._frames, self.figures, strict=True):
            frame.children = [figure]

    def _offer_pieces(self, view: View) -> None:
        duel = view.duel
        options = tuple(
            (f"{letter}{k + 1} {shortened(side.pieces[k], 40)} → {view.names[side.winners[k]]}", (i, k))
            for i, (letter, side) in enumerate((("A", duel.a), ("B", duel.b)))
            for k in range(len(side.pieces))
        )
        if options != tuple(self.piece.options):  # rebuilt under the keyboard, a list loses its place
            self._quietly(self.piece, options=options)
        self._quietly(self.piece, value=view.piece)

    def _enable(self, rule: str) -> None:
        reads = RULES[READINGS[rule].rule]
        self.granularity.disabled = "segments" not in reads.text
        self.grid.disabled = "crops" not in reads.image

    def _repr_mimebundle_(self, **kwargs):
        text = "SegmentsPanel()"
        if self.view:
            state = self.view.state
            said = f"picture={state.picture!r}, rule={state.rule!r}, captions={state.captions!r}"
            text = f"SegmentsPanel({self.model.name}, {said})"
        return {**self.box._repr_mimebundle_(**kwargs), "text/plain": text}
