"""Which directions to keep: two sliders for the band, the nearest pictures before and after, and what it does to mAP."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import ipywidgets as W
import plotly.graph_objects as go
import torch
from torch import Tensor

from workbench.models.batches import as_list, whole
from workbench.panels import neighbours
from workbench.panels.banded import BandedPictures, State, View
from workbench.panels.guard import guarded
from workbench.panels.neighbours import Thumbnails
from workbench.panels.shell import Shell
from workbench.plots import spectrum as plot
from workbench.records import rounded
from workbench.spectral.defaults import author_band, largest_gap, usual_band
from workbench.spectral.spectrum import Band, ProjectorSpectrum, decompose

if TYPE_CHECKING:
    from workbench.models.dual_encoder import DualEncoder

_CLOSE = "margin:0 0 .4rem;line-height:1.35"


class SpectrumPanel(Shell):
    """Move the band over the singular values of W_iᵀW_t and see who is nearest to a picture, before and after (IsoCLIP).

    `pictures` (paths, PIL, uint8 arrays) with one label each; `pre` (N, d_i) saves encoding them. mAP is over `queries`
    pictures, drawn once with `seed` among those whose label comes twice or more. `compute(state)` works without a browser.
    Raises TypeError for a model's name or labels that cannot be compared, ValueError for a model without a projection
    matrix, other numbers of labels or features, labels that never come twice, or a band as
    `ProjectorSpectrum.band` does. Source:
    arXiv 2603.19862. The trap: a band that was chosen by looking at these queries flatters itself on them.
    """

    def __init__(
        self,
        model: DualEncoder,
        pictures: Sequence,
        labels: Sequence[Hashable],
        *,
        pre: Tensor | None = None,
        band: Sequence[int] | None = None,
        query: int = 0,
        queries: int = 200,
        seed: int = 0,
    ):
        self.model, self.spectrum = model, _spectrum(model)
        pictures = as_list(pictures, "pictures")
        self.pictures = BandedPictures(self.spectrum, labels, len(pictures), queries, seed)
        if not 0 <= whole("query", query) < len(pictures):
            raise ValueError(f"query={query}; choose a picture from 0 to {len(pictures) - 1}")
        self.presets, self._remarks = _presets(model, self.spectrum), _remarks(model, self.spectrum)
        band = Band(*(next(iter(self.presets.values())) if band is None else band))
        self.spectrum.check(*band)
        self.pictures.read(model.encode_image(pictures).pre if pre is None else torch.as_tensor(pre))
        self._thumbnails = Thumbnails(pictures)
        self.view: View | None = None
        self._build(band, query)
        self._listening = True
        self._show(self._state())

    # Pure part ------------------------------------------------------------------------------------------------------

    def compute(self, state: State) -> View:
        """The view of a state. Raises ValueError for a query or a band that is not there, or that leaves a picture nothing."""
        return self.pictures.judged(self.pictures.listed(state))

    # Controls -------------------------------------------------------------------------------------------------------

    def _build(self, band: Band, query: int) -> None:
        last = self.spectrum.r - 1
        half = {
            "layout": W.Layout(flex="1 1 20rem", width="auto", min_width="18rem"),
            "style": {"description_width": "9rem"},
        }
        slider = {"min": 0, "max": last, "continuous_update": True, **half}
        self.query = W.BoundedIntText(
            value=query, min=0, max=len(self.pictures.labels) - 1, description="Query picture",
            tooltip=f"A picture's number, 0 to {len(self.pictures.labels) - 1}", **half,
        )  # fmt: skip
        self.preset = W.Dropdown(
            options=[("set by hand", ()), *((f"{each[0]}, {each[1]}: {name}", each) for name, each in self.presets.items())],
            description="Band", tooltip="Known bands; each sets both sliders", **half,
        )  # fmt: skip
        self.k_top = W.IntSlider(
            description="Left out at the top", tooltip="Directions of the largest singular values", **slider
        )
        self.k_bottom = W.IntSlider(
            description="Left out at the bottom", tooltip="Directions of the smallest singular values", **slider
        )
        self.status, self.summary, self.quality, self.details, self.lists = (W.HTML() for _ in range(5))
        self.figure: go.FigureWidget | None = None
        self._frame = W.Box(layout=W.Layout(overflow="auto"))
        row = lambda *parts: W.HBox(parts, layout=W.Layout(flex_flow="row wrap", grid_gap="0 .8rem"))  # noqa: E731
        # Side by side where there is room, so that a hand on a slider sees the list as well as the figure.
        column = lambda basis, *parts: W.VBox(parts, layout=W.Layout(flex=f"1 1 {basis}", min_width="0"))  # noqa: E731
        self.box = W.VBox(
            [
                row(self.query, self.preset),
                row(self.k_top, self.k_bottom),
                self.status,
                row(
                    column("24rem", self._frame, self.summary, self.quality, self.details), column("21rem", self.lists)
                ),
            ]
        )
        numbers = f'<div style="{_CLOSE}">{self.spectrum.table().html()}</div>'
        self.details.value = f"<details><summary>The spectrum in numbers</summary>{numbers}</details>"
        self._place(band)
        self.query.observe(self._changed, names="value")
        self.preset.observe(self._chosen, names="value")
        for control in (self.k_top, self.k_bottom):
            control.observe(self._moved, names="value")

    def _state(self) -> State:
        return State(self.query.value, self.k_top.value, self.k_bottom.value)

    def _place(self, band: Band) -> None:
        """Both sliders at a band, whatever they say now: a slider takes no value above its maximum."""
        for control, k in ((self.k_top, band.k_top), (self.k_bottom, band.k_bottom)):
            self._quietly(control, max=self.spectrum.r - 1, value=k)
        self._bound()

    def _bound(self) -> None:
        """What one slider leaves out the other cannot: at least one direction stays, and one that carries something."""
        band, last = Band(self.k_top.value, self.k_bottom.value), self.spectrum.r - 1
        self._quietly(self.k_top, max=min(last - band.k_bottom, self.spectrum.rank - 1))
        self._quietly(self.k_bottom, max=last - band.k_top)
        self._quietly(self.preset, value=band if band in self.presets.values() else ())

    def _changed(self, change) -> None:
        if self._listening:
            self._show(self._state())

    def _moved(self, change) -> None:
        if self._listening:
            self._bound()
            self._show(self._state())

    def _chosen(self, change) -> None:
        if self._listening and change["new"]:
            self._place(change["new"])
            self._show(self._state())

    # Shell ----------------------------------------------------------------------------------------------------------

    @guarded
    def _show(self, state: State) -> None:
        """The list first, which follows the hand; then the figure, and the mean over the queries."""
        view = self.pictures.listed(state)
        self._draw_lists(view)
        self._draw_band(view.band)
        view = self.pictures.judged(view)
        self._draw_quality(view)
        self.view = view
        self.say(". ".join([f"{self.model.name}, {len(self.pictures.labels)} pictures", *self._notes(view)]))

    def render(self, view: View) -> None:
        """Bring every widget to the view."""
        self._draw_lists(view)
        self._draw_band(view.band)
        self._draw_quality(view)

    def _draw_lists(self, view: View) -> None:
        query = view.state.query
        head = neighbours.head(query, self.pictures.labels[query], self.pictures.alike(query), self._thumbnails)
        self.lists.value = neighbours.html(
            head, view.before, view.after, self.pictures.kept(view.band), self._thumbnails
        )

    def _draw_band(self, band: Band) -> None:
        spec = plot.spec(self.spectrum, band)
        if self.figure is None:
            self.figure = go.FigureWidget(plot.figure(spec).update_layout(width=390, height=300))
            self._frame.children = [self.figure]
        else:
            plot.redraw(self.figure, spec)
        self.summary.value = f'<p style="{_CLOSE}">{self._summary(band)}</p>'

    def _summary(self, band: Band) -> str:
        S, r = self.spectrum.S, self.spectrum.r
        kept = S[band.k_top : r - band.k_bottom]
        energy = 100 * float(kept.square().sum() / S.square().sum())
        first, last = (rounded(float(kept[end] / S[0]), 3) for end in (0, -1))
        return (
            f"Kept: {self.pictures.kept(band)}, {len(kept)} of {r}, with {energy:.1f} percent of the operator's energy; "
            f"from {first} to {last} of the largest singular value."
        )

    def _draw_quality(self, view: View) -> None:
        self.quality.value = (
            f'<p style="{_CLOSE}"><strong>{view.quality.summary()}</strong> A band that is chosen by looking at this number '
            "flatters itself: judge it on other pictures.</p>"
            f'<div style="{_CLOSE}">{view.quality.table().html()}</div>'
        )

    def _notes(self, view: View) -> list[str]:
        shown = {view.state.query, *(hit.index for hit in (*view.before, *view.after))}
        return [*self._remarks, *(self._thumbnails.failed[i] for i in sorted(shown & self._thumbnails.failed.keys()))]

    def _repr_mimebundle_(self, **kwargs):
        text = "SpectrumPanel()"
        if self.view:
            band, query = self.view.band, self.view.state.query
            n = len(self.pictures.labels)
            text = f"SpectrumPanel({self.model.name}, n={n}, band=({band.k_top}, {band.k_bottom}), query={query})"
        return {**self.box._repr_mimebundle_(**kwargs), "text/plain": text}


def _spectrum(model: DualEncoder) -> ProjectorSpectrum:
    if isinstance(model, str):
        raise TypeError(f"the panel takes a loaded model, not a name; give SpectrumPanel(load_model({model!r}), …)")
    for side, projector in (("image", model.image_projector), ("text", model.text_projector)):
        if projector.kind == "none":
            raise ValueError(
                f"{model.name} has no {side} projection matrix, so there is no spectrum to show: {projector.reason}; "
                "take a model whose projectors are exact or linearised"
            )
    return decompose(model.image_projector, model.text_projector)


def _remarks(model: DualEncoder, spectrum: ProjectorSpectrum) -> list[str]:
    """What to know of the projectors before believing a band of theirs."""
    sides = (("image", model.image_projector), ("text", model.text_projector))
    remarks = [
        f"The {name} projector is linearised, a first-order stand-in: {projector.reason}"
        for name, projector in sides
        if projector.kind == "linearised"
    ]
    empty = spectrum.r - spectrum.rank
    return remarks + ([f"The last {empty} of {spectrum.r} directions carry nothing"] if empty else [])


def _presets(model: DualEncoder, spectrum: ProjectorSpectrum) -> dict[str, Band]:
    """Bands by name, where to begin first; none comes twice."""
    known = author_band(model.card.source) or author_band(model.name)
    offered = {} if known is None else {"the authors', for this model": known}
    offered["ViT-B/32's shares"] = usual_band(spectrum)
    if spectrum.rank >= 4:
        offered["largest gap"] = largest_gap(spectrum)
    offered["none"] = Band(0, 0)
    found: dict[str, Band] = {}
    for name, band in offered.items():
        if sum(band) < spectrum.r and band.k_top < spectrum.rank and band not in found.values():
            found[name] = band
    return found
