"""The spectrum's figures through their specs."""

import numpy as np
import pytest
import torch

from workbench.plots import spectrum as plot
from workbench.spectral import Band, decompose


def drawn(d, d_i, d_t, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return decompose(torch.randn(d, d_i, generator=generator), torch.randn(d, d_t, generator=generator))


@pytest.fixture(scope="module")
def spectrum():
    return drawn(8, 12, 10)


@pytest.fixture
def widget():
    go = pytest.importorskip("plotly.graph_objects")
    return lambda spec: go.FigureWidget(plot.figure(spec))


def words(fig):
    return [each.text for each in fig.layout.annotations]


def test_lines_are_shares_of_the_largest(spectrum):
    (line,) = plot.spec(spectrum)["lines"]
    assert np.allclose(line["y"], spectrum.S / spectrum.S[0])
    assert line["x"].tolist() == list(range(10))
    assert line["y"][0] == 1


def test_the_regions_of_a_band_are_named_and_cover_every_direction(spectrum):
    regions = plot.spec(spectrum, Band(3, 2))["regions"]
    assert [each["words"] for each in regions] == ["left out: 0–2", "kept: 3–7", "left out: 8–9"]
    assert [each["x0"] for each in regions] == [-0.5, 2.5, 7.5]
    assert [each["x1"] for each in regions] == [2.5, 7.5, 9.5]


@pytest.mark.parametrize(
    ("band", "expected"),
    [
        ((0, 0), ["", "kept: 0–9", ""]),
        ((1, 0), ["left out: 0", "kept: 1–9", ""]),
        ((0, 9), ["", "kept: 0", "left out: 1–9"]),
        ((8, 1), ["left out: 0–7", "kept: 8", "left out: 9"]),
    ],
)
def test_bands_at_the_edges(spectrum, band, expected):
    assert [each["words"] for each in plot.spec(spectrum, Band(*band))["regions"]] == expected


def test_several_spectra_differ_by_dash_and_mark_and_one_has_the_band(spectrum):
    spec = plot.spec({"<b>one</b>": spectrum, "two": drawn(6, 7, 6)}, Band(2, 1), of="two")
    fig = plot.figure(spec)
    assert [trace.name for trace in fig.data] == ["&lt;b&gt;one&lt;/b&gt;", "two"]
    assert len({trace.line.dash for trace in fig.data}) == len({trace.marker.symbol for trace in fig.data}) == 2
    assert words(fig) == ["left out: 0–1", "kept: 2–4", "left out: 5"]
    assert fig.layout.showlegend


def test_the_first_spectrum_has_the_band_where_nobody_says(spectrum):
    assert plot.spec({"a": spectrum, "b": drawn(6, 7, 6)}, Band(0, 3))["regions"][1]["words"] == "kept: 0–6"


def test_without_a_band_nothing_is_shaded(spectrum):
    fig = plot.figure(plot.spec(spectrum))
    assert not fig.layout.shapes
    assert not fig.layout.annotations


def test_kept_and_left_out_are_told_apart_by_more_than_colour(spectrum):
    fig = plot.figure(plot.spec(spectrum, Band(3, 2)))
    assert len(fig.layout.shapes) == 3
    assert all("kept" in word or "left out" in word for word in words(fig))


def test_a_redrawn_figure_is_the_one_drawn_anew(spectrum, widget):
    fig = widget(plot.spec(spectrum, Band(3, 2)))
    trace = fig.data[0]
    for band in (Band(0, 0), Band(0, 9), Band(1, 4)):
        plot.redraw(fig, plot.spec(spectrum, band))
        fresh = plot.figure(plot.spec(spectrum, band))
        assert fig.layout.to_plotly_json() == fresh.layout.to_plotly_json()
    assert fig.data[0] is trace


def test_a_redrawn_figure_may_lose_its_band_and_change_its_line(spectrum, widget):
    fig = widget(plot.spec(spectrum, Band(3, 2)))
    plot.redraw(fig, plot.spec({"other": drawn(6, 7, 6)}))
    assert not fig.layout.shapes
    assert not fig.layout.annotations
    assert len(fig.data[0].y) == 6
    assert fig.data[0].name == "other"


def test_only_what_changed_is_sent(spectrum, widget, monkeypatch):
    fig = widget(plot.spec(spectrum, Band(3, 2)))
    sent = []
    monkeypatch.setattr(fig, "_send_update_msg", lambda *args, **kwargs: sent.append((args, kwargs)))
    plot.redraw(fig, plot.spec(spectrum, Band(4, 2)))
    assert len(sent) == 1
    assert "'y': array" not in str(sent)


@pytest.mark.parametrize(
    ("spectra", "of", "message"), [({}, None, "at least one spectrum"), ("same", "other", "of='other'")]
)
def test_refuses_no_spectrum_and_unknown_names(spectrum, spectra, of, message):
    with pytest.raises(ValueError, match=message):
        plot.spec({"one": spectrum} if spectra == "same" else spectra, Band(0, 0), of=of)


def test_refuses_a_band_that_leaves_nothing(spectrum):
    with pytest.raises(ValueError, match="leave nothing of 10"):
        plot.spec(spectrum, Band(5, 5))


def test_gains_are_those_of_the_operator_within_the_modality():
    spectrum = drawn(12, 9, 10)
    W = spectrum.image.matrix
    (whole, part) = plot.gains_spec(spectrum, {"before": Band(0, 0), "band": Band(2, 3)})["lines"]
    values = torch.linalg.eigvalsh(W.T @ W).flip(0)
    assert np.allclose(whole["y"], values / values[0])
    basis = spectrum.U[:, 2:6]
    inside = torch.linalg.eigvalsh(basis.T @ W.T @ W @ basis).flip(0)
    assert np.allclose(part["y"], inside / inside[0])
    assert part["name"] == f"band: 4 directions, condition number {float(inside[0] / inside[-1]):.3g}"


def test_gains_of_text_and_their_figure():
    spectrum = drawn(12, 9, 10)
    spec = plot.gains_spec(spectrum, {"before": Band(0, 0), "band": Band(2, 3)}, "text")
    fig = plot.figure(spec)
    assert fig.layout.yaxis.type == "log"
    assert fig.layout.showlegend
    assert "W<sub>t</sub>" in spec["title"]
    side, basis = spectrum.of("text")
    assert spec["lines"][1]["y"][-1] == pytest.approx(1 / np.linalg.cond((side.matrix @ basis[:, 2:6]).numpy()) ** 2)


def test_directions_that_carry_nothing_are_no_values():
    spectrum = drawn(4, 9, 7)  # r 7, rank 4
    (line,) = plot.gains_spec(spectrum, {"all": Band(0, 0)})["lines"]
    assert np.isnan(line["y"]).sum() == 3
    assert "condition number infinite (3 carry nothing)" in line["name"]
