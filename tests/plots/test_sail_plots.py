"""The ladder and the cosines within a quad, through their specs."""

import dataclasses
import json

import numpy as np
import pytest

from workbench.evaluation.statistics import Interval
from workbench.plots import ladder, pair_cosines
from workbench.sail import EDGES, NAMING, RUNGS, Ladder, PairCosines, Spread

ASKED = (*ladder.SHOWN, "stamps: both ways, R@10")


@pytest.fixture
def climbed():
    """Rung k scores 10 k percent, whatever is asked."""
    rungs = {
        rung.name: {what: Interval(k / 10, k / 10 - 0.02, k / 10 + 0.03, 50) for what in ASKED}
        for k, rung in enumerate(RUNGS)
    }
    return Ladder(rungs, {}, {}, dict.fromkeys(rungs, 1))


def spread(at: int, n: int = 100) -> Spread:
    counts = np.zeros(40, int)
    counts[at], counts[at - 1] = n - 20, 20
    mean = EDGES[at]
    return Spread(Interval(mean, mean - 0.01, mean + 0.01, n), (mean, mean, mean), counts)


@pytest.fixture
def cosines():
    own = {"one space": spread(39), "<b>another</b>": spread(30)}
    other = {"one space": spread(38), "<b>another</b>": spread(20)}
    return PairCosines(own, other, {})


def test_rungs_are_percent_published_and_measured(climbed):
    published, here = ladder.spec(climbed)["panels"]
    naming = next(each for each in published["series"] if each["name"].startswith("ImageNet"))
    assert [point["mean"] for point in naming["points"]] == [33.2, 36.8, 39.6, 45.4, 50.7, 51.8, 48.4, 54.0]
    assert all(point["low"] is None for series in published["series"] for point in series["points"])
    assert [point["mean"] for point in here["series"][0]["points"]] == pytest.approx([10 * k for k in range(8)])
    assert here["series"][1]["points"][3]["high"] == pytest.approx(33)
    assert len(here["series"]) == 3


def test_only_what_is_measured_has_a_bar(climbed):
    figure = ladder.figure(ladder.spec(climbed, ASKED))
    assert len(figure.data) == 3 + 4
    assert all(trace.error_y.array is None for trace in figure.data[:3])
    assert figure.data[3].error_y.array[0] == pytest.approx(3)
    assert figure.data[3].error_y.arrayminus[0] == pytest.approx(2)
    assert len({trace.marker.symbol for trace in figure.data[3:]}) == 4
    assert list(figure.layout.xaxis.ticktext) == [rung.name for rung in RUNGS]
    json.loads(figure.to_json())


def test_a_point_says_its_rung_under_the_pointer(climbed):
    for trace in ladder.figure(ladder.spec(climbed)).data:
        assert "%{text}" in trace.hovertemplate
        assert list(trace.text) == [rung.name for rung in RUNGS]


def test_an_interval_that_leaves_out_its_mean_has_no_negative_length(climbed):
    odd = {name: {what: Interval(0.5, 0.6, 0.7, 9) for what in ASKED} for name in climbed.rungs}
    figure = ladder.figure(ladder.spec(dataclasses.replace(climbed, rungs=odd)))
    assert min(figure.data[3].error_y.arrayminus) == 0


def test_other_scores_of_the_ladder_are_refused(climbed):
    with pytest.raises(ValueError, match="'R@7' was not asked; there are 'stamps: naming'"):
        ladder.spec(climbed, ["R@7"])
    with pytest.raises(ValueError, match="0 scores; give one to 4"):
        ladder.spec(climbed, [])
    with pytest.raises(TypeError, match="a dict; give what"):
        ladder.spec({NAMING: 1})


def test_histograms_are_shares_of_their_pairs(cosines):
    spec = pair_cosines.spec(cosines)
    for row in spec["rows"]:
        for side in ("own", "other"):
            assert sum(row[side]["shares"]) == pytest.approx(1)
    assert spec["rows"][0]["own"]["shares"][-1] == pytest.approx(0.8)
    assert spec["rows"][1]["name"] == "&lt;b&gt;another&lt;/b&gt;"
    assert spec["range"] == (EDGES[19], 1.0), "the lowest bin that is filled"


def test_every_space_has_a_row_with_both_kinds_of_pairs(cosines):
    figure = pair_cosines.figure(pair_cosines.spec(cosines))
    assert len(figure.data) == 4
    assert sum(trace.showlegend for trace in figure.data) == 2
    own, other = figure.data[:2]
    assert own.marker.pattern.shape != other.marker.pattern.shape, "colour is never the only sign"
    assert own.x[-1] == pytest.approx((EDGES[39] + EDGES[40]) / 2)
    assert max(own.y) == 1
    told = [note.text for note in figure.layout.annotations]
    assert told[0].startswith("<b>one space</b><br>0.95 within a quad, 0.90 between two, n 100")
    json.loads(figure.to_json())


def test_spaces_are_chosen_by_name(cosines):
    spec = pair_cosines.spec(cosines, ["<b>another</b>"])
    assert len(spec["rows"]) == 1
    with pytest.raises(ValueError, match="no space 'CLIP'; there are 'one space'"):
        pair_cosines.spec(cosines, ["CLIP"])
    with pytest.raises(ValueError, match="0 spaces; give one to 10"):
        pair_cosines.spec(cosines, [])
    with pytest.raises(TypeError, match="a float; give what"):
        pair_cosines.spec(0.5)
