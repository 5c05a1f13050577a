"""The figures of a band: overlap of cosines, means with intervals, precision at K, and the sweep, through their specs."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from workbench.evaluation.label_retrieval import LabelRetrieval, label_retrieval
from workbench.evaluation.statistics import Interval
from workbench.plots import intervals, overlap, precision, sweep
from workbench.spectral import BandSweep, band_grid, band_sweep, decompose
from workbench.spectral import overlap as overlap_of
from workbench.spectral.spectrum import Band

LABELS = np.repeat(np.arange(4), 10)


@pytest.fixture
def features():
    generator = torch.Generator().manual_seed(0)
    return torch.eye(4, 8).repeat_interleave(10, 0) + torch.randn(40, 8, generator=generator) * 0.3


def drawn_once(figure, height=420):
    """What every figure has to hold: it goes to JSON, fits, and names no `NaN`."""
    assert figure.layout.height <= height
    json.loads(figure.to_json())
    return figure


# Overlap


@pytest.fixture
def overlaps(features):
    return {"all directions": overlap_of(features, LABELS), "<b>top</b>": overlap_of(features[:, :5], LABELS)}


def test_overlap_spec_holds_both_densities_and_the_smaller_of_them(overlaps):
    spec = overlap.spec(overlaps)
    one, panel = overlaps["all directions"], spec["panels"][0]
    width = np.diff(spec["edges"])
    assert (panel["same"] * width).sum() == pytest.approx(1)
    assert (panel["both"] <= np.minimum(one.same, one.different)).all()
    shared = (panel["both"] * width).sum()
    assert shared / (2 - shared) == pytest.approx(one.iou)  # what is hatched is what the title says
    assert f"IoU {one.iou:.2f} [{one.interval[0]:.2f}, {one.interval[1]:.2f}], n 40" in panel["title"]
    assert "&lt;b&gt;top" in spec["panels"][1]["title"]


def test_overlap_panels_share_a_range_that_holds_nearly_all_mass(overlaps):
    spec = overlap.spec(overlaps)
    low, high = spec["range"]
    inside = (spec["edges"][:-1] >= low) & (spec["edges"][1:] <= high)
    for panel in spec["panels"]:
        assert panel["same"][inside].sum() > 0.99 * panel["same"].sum()
    assert high - low < 2
    figure = drawn_once(overlap.figure(spec))
    assert {tuple(axis.range) for axis in figure.select_xaxes()} == {spec["range"]}


def test_overlap_lines_differ_in_dash_and_the_overlap_is_hatched(overlaps):
    figure = overlap.figure(overlap.spec(overlaps))
    lines = {trace.name: trace for trace in figure.data[:4]}
    assert lines["pairs of one label"].line.dash != lines["pairs of two labels"].line.dash
    assert lines["overlap"].fillpattern.shape == "/"
    assert sum(trace.showlegend for trace in figure.data) == 4


@pytest.mark.parametrize(("n", "rows"), [(1, 1), (3, 1), (4, 2), (5, 2), (6, 2)])
def test_overlap_panels_fit_on_a_page(overlaps, n, rows):
    figure = drawn_once(overlap.figure(overlap.spec(dict.fromkeys("abcdef"[:n], overlaps["all directions"]))))
    assert len(figure.data) == 4 * n
    assert len({axis.domain for axis in figure.select_yaxes()}) == rows
    titled = [axis for axis in figure.select_xaxes() if axis.title.text == "cosine"]
    assert len(titled) == -(-n // rows)


def test_overlap_refuses(overlaps, features):
    with pytest.raises(ValueError, match="0 overlaps; give one to 6"):
        overlap.spec({})
    with pytest.raises(ValueError, match="7 overlaps"):
        overlap.spec(dict.fromkeys("abcdefg", overlaps["all directions"]))
    with pytest.raises(ValueError, match=r"'coarse' has 20 bins .* 100 from -1 to 1"):
        overlap.spec({**overlaps, "coarse": overlap_of(features, LABELS, bins=20)})
    with pytest.raises(TypeError, match="'x' is a float"):
        overlap.spec({"x": 0.4})


# Intervals

ROWS = {"plain": Interval(0.3, 0.28, 0.33, 50), "a <i>band</i>": Interval(0.4, 0.36, 0.43, 50)}


def test_interval_rows_are_percent_in_the_given_order():
    spec = intervals.spec(ROWS, zero=0.1, zero_name="chance", marks={"plain": "as <it> comes"})
    assert spec["names"] == ["plain", "a &lt;i&gt;band&lt;/i&gt;"]
    assert spec["marks"] == ["as &lt;it&gt; comes", None]
    (panel,) = spec["panels"]
    assert panel["points"][0] == pytest.approx({"row": 0, "name": "plain", "mean": 30, "low": 28, "high": 33, "n": 50})
    assert panel["zero"] == pytest.approx(10)


def test_interval_figure_has_bars_values_a_line_and_a_shape_for_marked_rows():
    figure = drawn_once(intervals.figure(intervals.spec(ROWS, zero=0.1, zero_name="chance", marks={"plain": "base"})))
    band, plain = figure.data
    assert (band.marker.symbol, plain.marker.symbol) == ("circle", "diamond")
    assert band.error_x.array == pytest.approx((3,))
    assert band.error_x.arrayminus == pytest.approx((4,))
    assert figure.layout.yaxis.ticktext[0] == "<b>plain</b> (base)"
    assert [note.text for note in figure.layout.annotations] == [
        "chance",
        "<b>30.0</b> [28.0, 33.0]",
        "<b>40.0</b> [36.0, 43.0]",
    ]
    assert figure.layout.shapes[0].x0 == pytest.approx(10)
    assert figure.layout.shapes[0].line.dash == "dash"
    low, high = figure.layout.xaxis.range
    assert low < 10 < 43 < high


def test_interval_panels_share_rows_and_may_lack_some():
    minus = {"a <i>band</i>": Interval(-0.0004, -0.02, 0.02, 50)}
    spec = intervals.spec(
        {"mAP": ROWS, "difference": minus}, unit={"mAP": "percent", "difference": "points"}, zero={"difference": 0.0}
    )
    assert [panel["unit"] for panel in spec["panels"]] == ["percent", "points"]
    assert [panel["zero"] for panel in spec["panels"]] == [None, 0]
    assert [point["row"] for point in spec["panels"][1]["points"]] == [1]
    figure = drawn_once(intervals.figure(spec))
    assert [trace.xaxis for trace in figure.data] == ["x", "x2"]
    assert figure.layout.yaxis2.matches == "y"
    assert figure.layout.annotations[-1].text == "<b>0.0</b> [−2.0, 2.0]"  # no sign on a zero


def test_names_that_shorten_to_the_same_words_keep_rows_of_their_own():
    rows = {"x" * 80 + end: Interval(0.1, 0.0, 0.2, 9) for end in "ab"}
    spec = intervals.spec(rows)
    assert spec["names"][0] == spec["names"][1]
    assert list(intervals.figure(spec).data[0].y) == [0, 1]


def test_as_many_rows_and_panels_as_are_allowed_fit():
    rows = {f"readout number {k} with a long name": Interval(0.01 * k, 0.01 * k, 0.01 * k, 5) for k in range(18)}
    figure = drawn_once(intervals.figure(intervals.spec(dict.fromkeys("abcd", rows))))
    assert len(figure.data) == 4
    assert figure.layout.annotations[-1].text == "17.0"  # four panels leave room for the mean


def test_a_bar_is_never_of_negative_length():
    figure = intervals.figure(intervals.spec({"biased": Interval(0.5, 0.3, 0.45, 9)}))
    assert figure.data[0].error_x.array == (0,)


@pytest.mark.parametrize(
    ("rows", "options", "error", "message"),
    [
        ({}, {}, ValueError, "0 rows in 1 panels"),
        ({"a": {}}, {}, ValueError, "0 rows in 1 panels"),
        (dict.fromkeys(map(str, range(19)), ROWS["plain"]), {}, ValueError, "19 rows"),
        (dict.fromkeys("abcde", ROWS), {}, ValueError, "in 5 panels"),
        ({"a": ROWS, "b": ROWS["plain"]}, {}, TypeError, "one kind or the other"),
        ({"a": 0.3}, {}, TypeError, "'a' is a float; give an Interval"),
        ({"a": Interval(float("nan"), 0, 1, 3)}, {}, ValueError, "three finite numbers"),
        (ROWS, {"marks": {"best": "x"}}, ValueError, "marks names 'best'.*'plain'"),
        (ROWS, {"zero": 10}, ValueError, "zero=10; give a fraction"),
        ({"mAP": ROWS}, {"zero": {"map": 0}}, ValueError, "zero names 'map'"),
    ],
)
def test_intervals_refuse(rows, options, error, message):
    with pytest.raises(error, match=message):
        intervals.spec(rows, **options)


# Precision


@pytest.fixture
def retrievals(features):
    options = {"ks": (30, 1, 5), "exclude_self": True}
    both = {"plain": features, "a <b>": features[:, :4]}
    return {name: label_retrieval(each, each, LABELS, LABELS, **options) for name, each in both.items()}


def test_precision_lines_ascend_in_k_with_their_intervals(retrievals):
    spec = precision.spec(retrievals)
    line = spec["lines"][1]
    assert (line["name"], line["k"]) == ("a &lt;b&gt;", [1, 5, 30])
    assert line["percent"][2] == pytest.approx(100 * retrievals["a <b>"].precision[30].mean)
    assert all(a <= b <= c for a, b, c in zip(line["low"], line["percent"], line["high"], strict=True))
    assert spec["chance"] == pytest.approx(100 * 9 / 39)
    assert spec["log"]


def test_k_is_logarithmic_from_a_factor_of_twenty_on(retrievals):
    near = {
        name: dataclasses.replace(each, precision={k: each.precision[k] for k in (5, 30)})
        for name, each in retrievals.items()
    }
    assert not precision.spec(near)["log"]
    assert precision.figure(precision.spec(near)).layout.xaxis.type is None
    assert drawn_once(precision.figure(precision.spec(retrievals))).layout.xaxis.type == "log"


def test_precision_lines_differ_in_mark_and_dash_and_chance_is_dashed(retrievals):
    figure = precision.figure(precision.spec(retrievals))
    lines = [trace for trace in figure.data if trace.name]
    assert len({trace.marker.symbol for trace in lines}) == len({trace.line.dash for trace in lines}) == 2
    assert lines[0].name == f"plain (mAP {100 * retrievals['plain'].mean_average_precision.mean:.1f})"
    (chance,) = figure.layout.shapes
    assert (chance.line.dash, chance.showlegend, chance.name) == ("dash", True, "chance 23.1")
    low, high = figure.layout.yaxis.range
    assert low < chance.y0 < high


def test_many_ks_keep_ticks_that_stand_clear():
    ks = list(range(1, 1001))
    flat = LabelRetrieval(ROWS["plain"], dict.fromkeys(ks, ROWS["plain"]), 0.1, 50, 2000)
    figure = precision.figure(precision.spec(dict.fromkeys("abcdef", flat)))
    assert drawn_once(figure).layout.xaxis.tickvals[0] == 1
    assert 8 <= len(figure.layout.xaxis.tickvals) <= 15


def test_precision_refuses(retrievals):
    plain = retrievals["plain"]
    with pytest.raises(ValueError, match="0 readouts; give one to 6"):
        precision.spec({})
    with pytest.raises(ValueError, match="7 readouts"):
        precision.spec(dict.fromkeys("abcdefg", plain))
    with pytest.raises(ValueError, match="'b' has no precision at any k"):
        precision.spec({"a": plain, "b": dataclasses.replace(plain, precision={})})
    with pytest.raises(
        ValueError, match=r"different items do not compare: 'a' 40 queries, gallery of 40.*'b' 12 queries"
    ):
        precision.spec({"a": plain, "b": dataclasses.replace(plain, n=12)})
    with pytest.raises(TypeError, match="'a' is a dict"):
        precision.spec({"a": {1: 0.3}})


# Sweep


@pytest.fixture
def swept(features):
    W_i, W_t = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(1))
    return band_sweep(decompose(W_i, W_t), features, LABELS)


def test_sweep_spec_is_the_difference_from_no_filtering(swept):
    spec = sweep.spec(swept)
    at = spec["bottoms"].index(1), spec["tops"].index(0)
    assert spec["mean"][at] == pytest.approx(100 * swept.of((0, 1)).mean())
    assert spec["difference"][at] == pytest.approx(100 * (swept.of((0, 1)) - swept.of((0, 0))).mean())
    assert spec["difference"][0, 0] == 0
    assert np.isfinite(spec["mean"]).sum() == len(swept.bands)
    assert np.isnan(spec["mean"][-1, -1])  # nothing would be left of the largest cuts together


def test_sweep_figure_is_centred_on_zero_with_its_cuts_as_ticks(swept):
    spec = sweep.spec(swept)
    cells = drawn_once(sweep.figure(spec)).data[0]
    assert cells.zmid == 0
    assert cells.zmin == -cells.zmax == -spec["limit"]
    assert list(cells.x) == list(range(len(spec["tops"])))
    assert sweep.figure(spec).layout.xaxis.ticktext == tuple(map(str, spec["tops"]))
    assert not cells.hoverongaps
    assert cells.customdata[1, 0, 2] == swept.r - spec["bottoms"][1]


def made(bands, means, r=64):
    return BandSweep(
        tuple(Band(*band) for band in bands), np.repeat(np.array(means)[:, None], 3, 1), np.zeros(3), r, "image"
    )


def test_a_mark_goes_to_the_nearest_cell_and_says_when_it_was_not_swept():
    found = made([(0, 0), (10, 0), (20, 0), (0, 10)], [0.3, 0.4, 0.35, 0.2])
    spec = sweep.spec(found, {"best <i>": (10, 0), "authors": (17, 2), "same": (10, 0)})
    assert [mark["cell"] for mark in spec["marks"]] == [(10, 0), (20, 0), (10, 0)]
    assert [mark["swept"] for mark in spec["marks"]] == [True, False, True]
    figure = drawn_once(sweep.figure(spec))
    _, best, authors = figure.data
    assert (best.x[0], best.y[0], authors.x[0]) == (1, 0, 2)
    assert best.marker.symbol != authors.marker.symbol
    assert best.name == "best &lt;i&gt; (10, 0); same (10, 0): +10.0"
    assert "authors (17, 2), not swept, nearest (20, 0)" in authors.hovertemplate
    words, others = figure.layout.annotations
    assert words.text == "best &lt;i&gt;; same"
    assert words.yshift != others.yshift  # names in the same row make way for each other


def test_gains_do_not_pale_beside_far_larger_losses():
    bands = [(0, 0), (5, 0), (9, 0)]
    limits = [sweep.spec(made(bands, [0.5, 0.5 + gain, 0.1]))["limit"] for gain in (0.2, 0.03, 0.001, 0.0)]
    assert limits == pytest.approx([40, 9, 4, 40])
    title = sweep.figure(sweep.spec(made(bands, [0.5, 0.53, 0.1]))).data[0].colorbar.title.text
    assert "darkest: 9 or more" in title
    assert sweep.spec(made([(0, 0)], [0.5]))["limit"] == 1  # nothing differs


def test_a_long_sweep_of_one_cut_keeps_ticks_that_fit():
    figure = drawn_once(sweep.figure(sweep.spec(made([(k, 0) for k in range(60)], np.linspace(0.1, 0.9, 60)))))
    assert len(figure.layout.xaxis.ticktext) == 20
    assert figure.layout.xaxis.ticktext[1] == "3"
    assert len(band_grid(512)) > 200  # the usual one has fewer cuts than ticks fit
    assert len({band.k_top for band in band_grid(512)}) <= 20


def test_sweep_refuses(swept):
    with pytest.raises(ValueError, match=r"band \(0, 0\) was not swept; put it into `bands`"):
        sweep.spec(made([(1, 0)], [0.5]))
    with pytest.raises(ValueError, match=r"precisions of shape \(2, 40\) for \d+ bands"):
        sweep.spec(dataclasses.replace(swept, precisions=swept.precisions[:2]))
    with pytest.raises(ValueError, match="NaN or infinite"):
        sweep.spec(dataclasses.replace(swept, precisions=swept.precisions * np.nan))
    with pytest.raises(ValueError, match=r"mark 'far' at \(6, 2\); a band of 8 directions"):
        sweep.spec(swept, {"far": (6, 2)})
    with pytest.raises(ValueError, match="7 marks; up to 6"):
        sweep.spec(swept, dict.fromkeys("abcdefg", (0, 0)))
    with pytest.raises(TypeError, match="a dict; give what"):
        sweep.spec({})
