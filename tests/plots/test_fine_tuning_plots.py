"""Trade-off, ablation, radar, focal loss, cosines of negatives and words' shares, through their specs."""

import json
from math import log

import numpy as np
import pytest

from workbench.evaluation.statistics import Interval
from workbench.plots import ablation, focal, radar, similarity, trade_off, word_share


def interval(x, n=100):
    return Interval(x, x - 0.02, x + 0.03, n)


def bars(error):
    return [*error.arrayminus, *error.array]


# trade_off ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def paths():
    def path(x, y):
        return [(a, interval(0.5 + a * x), interval(0.4 + a * y, 50)) for a in (0.0, 0.5, 1.0)]

    return {"<b>hard": path(-0.1, 0.2), "soft": path(0.1, 0.1)}


def test_a_path_runs_from_the_star_to_its_end(paths):
    spec = trade_off.spec(paths, base="<i>CLIP", x="zero-shot", y="composition")
    assert json.loads(json.dumps(spec)) == spec
    hard, soft = spec["paths"]
    assert hard["name"] == "&lt;b&gt;hard"
    assert hard["alpha"] == [0, 0.5, 1]
    assert hard["x"] == pytest.approx([50, 45, 40])
    assert hard["y"] == pytest.approx([40, 50, 60])
    assert soft["end"]["x"] == pytest.approx([60, 58, 63])
    assert spec["base"]["y"] == pytest.approx([40, 38, 43])
    assert spec["base"]["n"] == [100, 50]


def test_only_ends_have_intervals(paths):
    figure = trade_off.figure(trade_off.spec(paths, base="CLIP", x="zero-shot", y="composition"))
    curve, end, *_, star = figure.data
    assert curve.error_x.array is None
    assert bars(end.error_x) == pytest.approx([2, 3])
    assert bars(star.error_y) == pytest.approx([2, 3])
    assert star.marker.symbol == "star"
    assert list(curve.customdata) == [0, 0.5, 1]
    assert end.marker.size > max(curve.marker.size)
    assert [trace.name for trace in figure.data if trace.showlegend is not False] == ["&lt;b&gt;hard", "soft", "CLIP"]
    assert figure.layout.xaxis.title.text == "zero-shot, percent"


def test_a_trade_off_refuses(paths):
    names = {"base": "CLIP", "x": "x", "y": "y"}
    with pytest.raises(ValueError, match="0 paths; give one to 6"):
        trade_off.spec({}, **names)
    with pytest.raises(ValueError, match=r"'a' has alpha 0\.5, 1; give rising"):
        trade_off.spec({"a": paths["soft"][1:]}, **names)
    with pytest.raises(ValueError, match=r"'a' has alpha 1, 0\.5, 0"):
        trade_off.spec({"a": paths["soft"][::-1]}, **names)
    with pytest.raises(ValueError, match=r"'b' has alpha ; give"):
        trade_off.spec({"b": []}, **names)
    elsewhere = [(0.0, interval(0.6), interval(0.4)), *paths["soft"][1:]]
    with pytest.raises(ValueError, match=r"'soft' starts at 0\.6000, 0\.4000 and '<b>hard' at 0\.5000"):
        trade_off.spec({**paths, "soft": elsewhere}, **names)
    with pytest.raises(TypeError, match="'a' holds a float"):
        trade_off.spec({"a": [(0.0, 0.5, 0.4), (1.0, 0.5, 0.4)]}, **names)
    with pytest.raises(ValueError, match="three finite numbers"):
        trade_off.spec({"a": [paths["soft"][0], (1.0, interval(float("nan")), interval(0.4))]}, **names)


# ablation -------------------------------------------------------------------------------------------------------------

SCORES = ("Composition", "Zero-shot", "picture → text", "text → picture")
ROWS = {
    name: {score: interval(0.5 + k / 10 + j / 100) for j, score in enumerate(SCORES)}
    for k, name in enumerate(("<b>g", "l"))
}


def test_settings_are_rows_and_scores_panels():
    seeds = {"l": {"Composition": [0.6, 0.1, 0.62]}}
    spec = ablation.spec(ROWS, seeds, {"Composition": 0.461})
    assert spec["names"] == ["&lt;b&gt;g", "l"]
    assert [panel["title"] for panel in spec["panels"]] == list(SCORES)
    composition, naming, *_ = spec["panels"]
    assert composition["zero"] == pytest.approx(46.1)
    assert naming["zero"] is None
    assert composition["points"][1]["mean"] == pytest.approx(60)
    assert composition["seeds"] == [[1, pytest.approx(60)], [1, pytest.approx(10)], [1, pytest.approx(62)]]
    assert naming["seeds"] == []


def test_every_seed_is_seen_and_named_once():
    seeds = {name: {score: [0.1, 0.9] for score in SCORES} for name in ROWS}
    figure = ablation.figure(ablation.spec(ROWS, seeds, dict.fromkeys(SCORES, 0.5)))
    dots = [trace for trace in figure.data if trace.marker.symbol == "circle-open"]
    assert len(dots) == 4
    assert [trace.showlegend for trace in dots] == [True, False, False, False]
    assert not any(trace.showlegend for trace in figure.data if trace not in dots)
    for axis in figure.select_xaxes():
        assert axis.range[0] < 10
        assert axis.range[1] > 90
    whisker = next(trace for trace in figure.data if trace.marker.symbol == "circle")
    assert bars(whisker.error_x)[:1] == pytest.approx([2])
    assert len(figure.layout.shapes) == 4, "a line at the base in every panel"


def test_without_seeds_there_is_no_legend():
    figure = ablation.figure(ablation.spec(ROWS))
    assert figure.layout.showlegend is False
    assert len(figure.data) == 4


def test_an_ablation_refuses():
    with pytest.raises(ValueError, match="seeds of 'x' in 'Composition', which no row has"):
        ablation.spec(ROWS, {"x": {"Composition": [0.5]}})
    with pytest.raises(ValueError, match="seeds of 'l' in 'speed', which no row has"):
        ablation.spec(ROWS, {"l": {"speed": [0.5]}})
    with pytest.raises(ValueError, match="seeds of 'l' holds nan"):
        ablation.spec(ROWS, {"l": {"Composition": [float("nan")]}})
    with pytest.raises(ValueError, match="zero names 'speed'"):
        ablation.spec(ROWS, base={"speed": 0.5})
    with pytest.raises(ValueError, match="0 rows"):
        ablation.spec({})
    with pytest.raises(TypeError, match="give an Interval"):
        ablation.spec({"l": {"Composition": 0.5}})


# radar ----------------------------------------------------------------------------------------------------------------

MODELS = {
    "<b>": {"ARO": 0.5, "SVO": 0.8, "same": 0.3, "SPEC": 0.2},
    "b": {"SVO": 0.9, "ARO": 0.7, "same": 0.3, "SPEC": 0.1},
    "c": {"ARO": 0.55, "SVO": 0.8, "same": 0.3, "SPEC": 0.2},
}


def test_spokes_run_from_the_lowest_to_the_highest():
    spec = radar.spec(MODELS)
    assert json.loads(json.dumps(spec)) == spec
    assert [spoke["name"] for spoke in spec["spokes"]] == ["ARO", "SVO", "same", "SPEC"]
    assert spec["spokes"][0]["low"] == pytest.approx(50)
    assert spec["spokes"][0]["high"] == pytest.approx(70)
    assert [each["r"] for each in spec["models"]] == [
        pytest.approx([0, 0, 0.5, 1]),
        pytest.approx([1, 1, 0.5, 0]),
        pytest.approx([0.25, 0, 0.5, 1]),
    ]
    assert spec["models"][0]["name"] == "&lt;b&gt;"


def test_a_radar_closes_its_lines_and_says_its_ends():
    figure = radar.figure(radar.spec(MODELS))
    assert len(figure.data) == 3
    assert all(trace.theta[0] == trace.theta[-1] and trace.r[0] == trace.r[-1] for trace in figure.data)
    assert "50.0 – 70.0" in figure.layout.polar.angularaxis.ticktext[0]
    assert figure.data[2].customdata[0] == "ARO: 55.0"
    assert len({trace.line.dash for trace in figure.data}) == 3
    assert "lowest model drawn" in figure.layout.title.text
    low, high = figure.layout.polar.radialaxis.range
    assert low < 0 < 1 < high, "the lowest is a ring, not a point"


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({"a": MODELS["b"]}, "1 models; give two to 6"),
        ({"a": MODELS["b"], "b": {"ARO": 0.1}}, "'b' and 'a' differ in 'SPEC', 'SVO', 'same'"),
        ({"a": {"x": 0.1}, "b": {"x": 0.2}}, "1 spokes; give three"),
        ({"a": MODELS["b"], "b": {**MODELS["b"], "ARO": 57.5}}, "'b' has ARO: 57.5; give fractions"),
        ({"a": MODELS["b"], "b": {**MODELS["b"], "ARO": float("nan")}}, "'b' has ARO: nan"),
    ],
)
def test_a_radar_refuses(models, message):
    with pytest.raises(ValueError, match=message):
        radar.spec(models)


# focal ----------------------------------------------------------------------------------------------------------------


def test_curves_come_from_the_loss_itself():
    spec = focal.spec(points=9)
    assert spec["p"] == pytest.approx([k / 10 for k in range(1, 10)])
    loss = {curve["name"]: curve["loss"] for curve in spec["curves"]}
    assert len(loss) == 5
    for p, plain, focal_2 in zip(spec["p"], loss["cross entropy"], loss["gamma 2"], strict=True):
        assert plain == pytest.approx(-log(p))
        assert focal_2 == pytest.approx(-((1 - p) ** 2) * log(p))
    assert loss["gamma 2, smoothing 0.02"][-1] > loss["gamma 2"][-1], "labels that are smoothed pull a sure one back"


def test_the_true_factors_stand_beside_the_printed_ones():
    (low, high) = focal.spec(points=2)["examples"]
    assert (low["p"], low["printed"]) == (0.3, 0.49)
    assert low["factor"] == pytest.approx(0.49)
    assert high["factor"] == pytest.approx(0.16)
    assert high["printed"] == pytest.approx(high["focal"], abs=0.005)


def test_one_note_tells_what_the_paper_prints():
    figure = focal.figure(focal.spec(points=9))
    said = [each.text for each in figure.layout.annotations if each.text]
    assert said[:2] == ["<b>× 0.49</b>", "<b>× 0.16</b>"]
    assert len(said) == 3
    assert "× 0.08" in said[2]
    assert figure.layout.yaxis.title.text == "loss, nats"
    assert len({trace.line.dash for trace in figure.data if trace.mode == "lines"}) == 4


def test_focal_refuses():
    with pytest.raises(ValueError, match="negatives=0, points=99"):
        focal.spec(0)


# similarity -----------------------------------------------------------------------------------------------------------


def test_bins_are_shared_and_shares_are_whole():
    before = {"swap": np.array([0.9, 1.0, 0.95]), "<b>": [0.5, 0.7]}
    after = {"swap": np.array([0.2, 0.3, 0.25]), "<b>": [-0.1, 0.7]}
    spec = similarity.spec(before, after, bins=11)
    assert len(spec["edges"]) == 12
    assert spec["edges"][[0, -1]] == pytest.approx([-0.1, 1])
    swap, other = spec["rows"]
    assert (swap["n"], other["n"], other["name"]) == (3, 2, "&lt;b&gt;")
    assert (swap["before"]["median"], swap["after"]["median"]) == pytest.approx((0.95, 0.25))
    for row in spec["rows"]:
        for side in ("before", "after"):
            assert row[side]["shares"].sum() == pytest.approx(100)


def test_captions_that_are_their_negatives_are_drawn_too():
    spec = similarity.spec({"none": np.ones(4)}, {"none": np.float32([1.0000001] * 4)})
    assert spec["rows"][0]["after"]["shares"].sum() == pytest.approx(100)


def test_medians_are_lines_and_words():
    found = {"swap": [0.5, 0.6], "replace": [0.1, 0.3]}
    figure = similarity.figure(similarity.spec(found, {name: [-0.2, -0.1] for name in found}))
    assert len(figure.layout.shapes) == 4
    assert figure.layout.shapes[0].x0 == pytest.approx(0.55)
    assert "median 0.55 → −0.15" in figure.layout.annotations[0].text
    assert [trace.showlegend for trace in figure.data] == [True, True, False, False]
    assert len({trace.line.dash for trace in figure.data}) == 2


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ({}, {}, "0 operators"),
        ({"a": [0.1]}, {"b": [0.1]}, "differ in 'a', 'b'"),
        ({"a": [0.1]}, {"a": [0.1, 0.2]}, "'a' has 1 cosines before and 2 after"),
        ({"a": []}, {"a": []}, r"'a' has cosines of shape \(0,\)"),
        ({"a": [0.1, 1.5]}, {"a": [0.1, 0.2]}, "'a' holds 1.5; give cosines"),
        ({"a": [float("nan")]}, {"a": [0.1]}, "'a' holds nan"),
    ],
)
def test_similarity_refuses(before, after, message):
    with pytest.raises(ValueError, match=message):
        similarity.spec(before, after)


# word_share -----------------------------------------------------------------------------------------------------------

WORDS = (["a", "red", "cube"], ["a", "blue", "<img>", "too"])
PICTURE = np.full((20, 30, 3), 99, np.uint8)


def maps(t, h=2, w=3):
    return np.arange(t * h * w, dtype=float).reshape(t, h, w) / (t * h * w)


@pytest.fixture
def shared():
    return word_share.spec(WORDS, ([0.1, 0.2, 0.3], [0.1, 0.0, 0.2, 0.1]), (maps(3), maps(4)), PICTURE, scale=10)


def test_sides_hold_words_terms_and_their_log_sum(shared):
    caption, negative = shared["sides"]
    assert negative["words"] == ["a", "blue", "&lt;img&gt;", "too"]
    assert caption["differs"] == [False, True, True]
    assert negative["differs"] == [False, True, True, True]
    assert caption["log_sum"] == pytest.approx(np.log(np.exp([1, 2, 3]).sum()))
    assert shared["limit"] == pytest.approx(23 / 24), "one scale for both"


def test_maps_lie_beside_each_other_with_nothing_between(shared):
    z = shared["sides"][0]["z"]
    assert z.shape == (2, 3 * 4 - 1)
    assert np.isnan(z[:, [3, 7]]).all()
    assert z[:, 4:7] == pytest.approx(maps(3)[1])
    assert len(shared["edges"]) == 4 * 4
    assert np.mean(shared["edges"][4:8]) == pytest.approx(1), "the second word's map is under its bar"


def test_words_are_escaped_and_those_that_differ_bold(shared):
    figure = word_share.figure(shared)
    said = [each.text for each in figure.layout.annotations]
    assert said == ["a", "<b>red</b>", "<b>cube</b>", "a", "<b>blue</b>", "<b>&lt;img&gt;</b>", "<b>too</b>"]
    assert "<img>" not in figure.to_json()
    first, second = (trace for trace in figure.data if trace.type == "heatmap")
    assert (first.zmin, first.zmax) == (second.zmin, second.zmax) == (0, shared["limit"])
    assert second.customdata[1][5].tolist() == ["blue", 2, 2]
    assert "<b>3.41</b>" in figure.data[0].name
    assert len({bar.marker.pattern.shape for bar in figure.data if bar.type == "bar"}) == 2
    assert len(figure.layout.shapes) == 1, "no picture under a word that is not there"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"words": (["a"] * 17, WORDS[1])}, "the caption has 17 words; give one to 16"),
        ({"words": ([], WORDS[1])}, "the caption has 0 words; give one to 16"),
        ({"terms": ([0.1, 0.2, 0.3], [0.1])}, r"the negative has 4 words, terms \(1,\)"),
        ({"terms": ([0.1, 0.2, float("nan")], [0.1] * 4)}, "the caption has terms or maps that are not finite"),
        ({"maps": (maps(3), -maps(4))}, "the negative has terms or maps"),
        ({"maps": (maps(3), maps(4, 3, 3))}, r"grids \(2, 3\) and \(3, 3\)"),
        ({"maps": (maps(3),)}, "2, 2 and 1 sides"),
        ({"picture": PICTURE / 255}, "of float64; give"),
        ({"picture": PICTURE[..., 0]}, r"picture \(20, 30\)"),
        ({"scale": 0.0}, "scale=0.0"),
    ],
)
def test_word_share_refuses(change, message):
    given = {
        "words": WORDS,
        "terms": ([0.1] * 3, [0.1] * 4),
        "maps": (maps(3), maps(4)),
        "picture": PICTURE,
        "scale": 100.0,
    }
    with pytest.raises(ValueError, match=message):
        word_share.spec(**{**given, **change})
