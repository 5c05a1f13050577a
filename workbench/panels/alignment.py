"""Which patch answers to which word: a picture, a caption, a map for every word of it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING

import ipywidgets as W
import plotly.graph_objects as go

from workbench.data.photos import photo, shipped_photos
from workbench.data.phrases import readings
from workbench.data.pictures import Picture, open_picture
from workbench.data.vocabulary import EVERYDAY_WORDS
from workbench.matching.words import WordMaps, vectors_in_context, word_maps
from workbench.panels.guard import guarded
from workbench.panels.shell import Shell
from workbench.plots import maps as plot
from workbench.plots.theme import shortened
from workbench.records import rounded

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from workbench.features import ImageFeatures
    from workbench.models.dual_encoder import DualEncoder

MAPS = {"cosine per patch": "each", "share of the score": "whole"}
CORRECTIONS = {"raw": False, "centred on everyday words": True}
MEANINGS = {"on their own": False, "inside the caption": True}
MAX_CAPTION = 2000


@dataclass(frozen=True)
class State:
    """What the controls say; `patch` is (row, column) from 1, or None for the strongest one."""

    picture: str
    caption: str
    reading: int = 0
    patch: tuple[int, int] | None = None
    normalize: str = "each"
    centred: bool = False
    in_context: bool = False
    image_size: int | None = None
    dense: str = "raw"


@dataclass(frozen=True)
class View:
    """What there is to see: the maps, the picture as the tower saw it, the words that answer the chosen patch."""

    state: State
    maps: WordMaps
    seen: Image.Image
    patch: tuple[int, int]
    answers: tuple[tuple[str, float], ...]
    everyday: tuple[tuple[str, float], ...]


class AlignmentPanel(Shell):
    """Choose a picture, type a caption, press a word; click a patch (or choose it from the list) to see what answers it.

    `compute(state)` works without a browser. Errors land in the status line and leave the last good view in place.
    """

    def __init__(self, model: DualEncoder, *, picture: str = "camera", caption: str | None = None):
        self.model = model
        if isinstance(model, str):
            raise TypeError(f"the panel takes a loaded model, not a name; give AlignmentPanel(load_model({model!r}))")
        self.pictures: dict[str, Picture] = {name: photo(name) for name in shipped_photos()}
        if picture not in self.pictures:
            raise ValueError(
                f"no photo {picture!r}; choose one of {', '.join(self.pictures)}, or add_picture() yours later"
            )
        caption = caption or shipped_photos()[picture].caption
        self._image_cache: dict[tuple[str, int, str], ImageFeatures] = {}
        self._text_cache: dict[tuple[str, ...], Tensor] = {}
        self.view: View | None = None
        self._build(picture, caption)
        self._listening = True
        self._show(State(picture, caption))

    # Pure part ------------------------------------------------------------------------------------------------------

    def compute(self, state: State) -> View:
        """The view of a state. Raises ValueError for an empty or overlong caption, or an option the model lacks."""
        if len(state.caption) > MAX_CAPTION:
            raise ValueError(
                f"the caption has {len(state.caption)} characters; this panel reads up to {MAX_CAPTION}, shorten it"
            )
        size = state.image_size or self.model.card.image_size
        words = readings(state.caption)
        everyday = self._alone(EVERYDAY_WORDS)
        image, reference = self._encoded(state.picture, size, state.dense), everyday if state.centred else None
        vectors = self._in_caption(state.caption, words) if state.in_context else self._alone(tuple(words))
        maps = word_maps(image, words, vectors, normalize=state.normalize, reference=reference)
        state = replace(state, reading=min(state.reading, len(words) - 1))
        patch = state.patch or maps.best_cell(state.reading)
        common = word_maps(image, list(EVERYDAY_WORDS), everyday, normalize=state.normalize, reference=reference)
        seen = self.model.seen(self.pictures[state.picture].image, size)
        return View(state, maps, seen, patch, tuple(maps.best_readings(*patch)), tuple(common.best_readings(*patch)))

    def _encoded(self, name: str, size: int, dense: str) -> ImageFeatures:
        key = (name, size, dense)
        if key not in self._image_cache:
            picture = self.pictures[name].image
            self._image_cache[key] = self.model.encode_image(picture, tokens=True, image_size=size, dense=dense)
        return self._image_cache[key]

    def _alone(self, words: tuple[str, ...]) -> Tensor:
        if words not in self._text_cache:
            if len(self._text_cache) > 200:  # the vocabulary comes back at the next redraw
                self._text_cache.clear()
            self._text_cache[words] = self.model.encode_text(words).post
        return self._text_cache[words]

    def _in_caption(self, caption: str, words: list[str]) -> Tensor:
        return vectors_in_context(self.model.encode_text(caption, tokens=True), words)

    # Controls -------------------------------------------------------------------------------------------------------

    def _build(self, picture: str, caption: str) -> None:
        wide = {"layout": W.Layout(width="97%"), "style": {"description_width": "7rem"}}
        half = {"layout": W.Layout(width="48%", min_width="18rem"), "style": {"description_width": "7rem"}}
        self.picture = W.Dropdown(
            options=list(self.pictures),
            value=picture,
            description="Picture",
            tooltip="Photos that ship, and yours",
            **half,
        )
        self.upload = W.FileUpload(accept="image/*", description="Your picture", tooltip="Add a picture from your disk")
        self.caption = W.Text(
            value=caption, description="Caption", continuous_update=False, tooltip="Type and press Enter", **wide
        )
        self.words = W.HBox(layout=W.Layout(flex_flow="row wrap"))
        self.patch = W.Dropdown(description="Patch", tooltip="The patch whose best words are listed", **half)
        self.grid = W.Dropdown(
            options=self._grids(), description="Patch grid", tooltip="A larger input gives a finer grid", **half
        )
        self.map = W.Dropdown(
            options=MAPS, description="Map", tooltip="Cosine of each patch, or shares that add up to the score", **half
        )
        self.correction = W.Dropdown(
            options=CORRECTIONS, description="Correction", tooltip="Take away what any word gets", **half
        )
        self.meaning = W.Dropdown(
            options=MEANINGS,
            description="Read words",
            tooltip="Each word as its own text, or its tokens in the caption",
            **half,
        )
        self.dense = W.Dropdown(
            options=self.model.dense_variants,
            description="Patches",
            tooltip="How the last block of the image tower is read: as trained, or for dense maps",
            **half,
        )
        self.status, self.summary, self.details = W.HTML(), W.HTML(), W.HTML()
        self.figure: go.FigureWidget | None = None
        self._frame = W.Box(layout=W.Layout(overflow="auto"))
        row = lambda *parts: W.HBox(parts, layout=W.Layout(flex_flow="row wrap"))  # noqa: E731
        controls = (
            row(self.picture, self.upload),
            self.caption,
            row(self.map, self.correction),
            row(self.grid, self.meaning),
            *([row(self.dense)] if len(self.model.dense_variants) > 1 else []),
        )
        self.box = W.VBox(
            [*controls, self.words, self._frame, self.status, self.summary, row(self.patch), self.details]
        )
        choices = (self.picture, self.grid, self.map, self.correction, self.meaning, self.dense, self.patch)
        for control in (self.caption, *choices):
            control.observe(self._changed, names="value")
        self.upload.observe(self._uploaded, names="value")

    def _grids(self) -> dict[str, int]:
        """Input sizes to choose from: the native one, and larger ones where the tower takes them."""
        sizes, labels = [self.model.card.image_size, 320, 448], {}
        for size in sizes:
            try:
                h, w = self.model.grid(size)
            except ValueError:
                continue
            labels[f"{h} × {w} ({size} px)"] = size
        return labels

    def _state(self) -> State:
        return State(
            self.picture.value, self.caption.value, self.view.state.reading if self.view else 0, self.patch.value,
            self.map.value, self.correction.value, self.meaning.value, self.grid.value, self.dense.value,
        )  # fmt: skip

    def _changed(self, change) -> None:
        if not self._listening:
            return
        state = self._state()
        if change["owner"] is self.caption:
            state = replace(state, reading=0)
        # A patch is of the caption that is shown: the box may hold one that cannot be read.
        kept = {"caption": self.view.state.caption} if change["owner"] is self.patch else {"patch": None}
        self._show(replace(state, **kept))

    @guarded
    def _uploaded(self, change) -> None:
        for file in change["new"]:
            self.add_picture(bytes(file["content"]), name=file["name"])

    def add_picture(self, source, name: str | None = None) -> None:
        """Open a picture (path, PIL, array or bytes), add it to the list under a name of its own, and show it."""
        picture = open_picture(source) if name is None else open_picture(source, name=name)
        name, n = picture.name, 2
        while name in self.pictures:
            name, n = f"{picture.name} ({n})", n + 1
        self.pictures[name] = picture
        self._quietly(self.picture, options=list(self.pictures), value=name)
        self._show(replace(self._state(), patch=None))

    @guarded
    def press(self, reading: int) -> None:
        """Show the map of one word or phrase, as its button does."""
        self._show(replace(self._state(), caption=self.view.state.caption, reading=reading, patch=None))

    def _clicked(self, trace, points, _) -> None:
        if points.point_inds:  # every trace hears every click
            row, column = points.point_inds[0]
            self.patch.value = (row + 1, column + 1)

    # Shell ----------------------------------------------------------------------------------------------------------

    @guarded
    def _show(self, state: State) -> None:
        with warnings.catch_warnings(
            record=True
        ) as said:  # of a caption cut at the context: for the status line, not stderr
            warnings.simplefilter("always", UserWarning)
            view = self.compute(state)
        self.view = view
        self.render(view)
        notes = [*self.pictures[state.picture].notes, *dict.fromkeys(str(each.message) for each in said)]
        self.say(f"{self.model.name} on {state.picture}. {'; '.join(notes)}".strip())

    def render(self, view: View) -> None:
        """Bring every widget to the view."""
        self._draw(plot.spec(view.maps, view.seen, view.state.reading, view.patch))
        self.words.children = [self._button(t, view) for t in range(len(view.maps.readings))]
        self._offer_patches(view)
        self.summary.value = (
            f'<p dir="auto" style="margin:0">{escape(view.maps.summary(view.state.reading))} {_adds_up(view.maps)}</p>'
        )
        self.details.value = _answers(view) + view.maps.table().html()

    def _offer_patches(self, view: View) -> None:
        h, w = view.maps.grid
        cells = {f"row {r}, column {c}": (r, c) for r in range(1, h + 1) for c in range(1, w + 1)}
        if tuple(cells.items()) != tuple(self.patch.options):  # rebuilt under the keyboard, a list loses its place
            self._quietly(self.patch, options=tuple(cells.items()))
        self._quietly(self.patch, value=view.patch)

    def _button(self, t: int, view: View) -> W.Button:
        chosen = t == view.state.reading
        label = shortened(view.maps.readings[t], 40)
        button = W.Button(
            description=f"✓ {label}" if chosen else label, button_style="primary" if chosen else "",
            tooltip=f"Show the map of “{label}”", layout=W.Layout(width="auto"),
        )  # fmt: skip
        button.on_click(lambda _: self.press(t))
        return button

    def _draw(self, spec: dict) -> None:
        if self.figure is not None:
            plot.redraw(self.figure, spec)
            return
        self.figure = go.FigureWidget(plot.figure(spec))
        self.figure.data[1].on_click(self._clicked)
        self._frame.children = [self.figure]

    def _repr_mimebundle_(self, **kwargs):
        view = self.view.state if self.view else None
        text = (
            f"AlignmentPanel({self.model.name}, picture={view.picture!r}, caption={view.caption!r})"
            if view
            else "AlignmentPanel()"
        )
        return {**self.box._repr_mimebundle_(**kwargs), "text/plain": text}


def _adds_up(maps: WordMaps) -> str:
    if maps.normalize != "whole" or maps.centred:
        return ""
    if maps.exact:
        return "The mean over patches is exactly the cosine with the whole picture."
    return "This model's image embedding is not the mean of its patches, so the shares do not add up to the score."


def _answers(view: View) -> str:
    """The words that answer the chosen patch: of the caption, and of everyday vocabulary."""
    row, column = view.patch
    said = lambda answers: ", ".join(f"{escape(word)} {rounded(value)}" for word, value in answers)  # noqa: E731
    return (
        f'<p dir="auto"><strong>Row {row}, column {column}</strong> answers best to: {said(view.answers)}.<br>'
        f"Of {len(EVERYDAY_WORDS)} everyday words: {said(view.everyday)}.</p>"
    )
