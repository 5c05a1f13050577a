"""What SAIL published of its ladder, bars and cosines, and what was measured here, as records."""

import numpy as np
import pytest

from workbench.evaluation.statistics import Interval
from workbench.sail import BARS, EDGES, NAMING, RUNGS, SCORES, measured_bars, measured_cosines, measured_ladder


def test_the_published_ladder_rises_as_the_paper_says():
    assert len(RUNGS) == 8
    assert RUNGS[-1].naming - RUNGS[0].naming == pytest.approx(20.8)
    assert RUNGS[1].text_to_image < RUNGS[0].text_to_image, "an MLP alone loses retrieval"
    assert RUNGS[6].naming < RUNGS[5].naming, "long captions alone lose naming"


def test_published_bars_are_fractions():
    for bar in BARS.values():
        assert 0 < bar.group <= bar.image < bar.text < 0.5


def test_edges_are_equal_bins_of_all_cosines():
    assert len(EDGES) == 41
    assert np.diff(EDGES) == pytest.approx(0.05)
    assert (EDGES[0], EDGES[-1]) == (-1.0, 1.0)


def test_the_stored_ladder_says_every_rung():
    found = measured_ladder()
    assert [rung.name for rung in RUNGS] == list(found.rungs)[:8]
    assert found.parameters["+ GLU × 8"] > 10 * found.parameters["linear + InfoNCE"]
    text = str(found)
    assert "+ multi-positive" in text
    assert "35.4 M" in text
    assert all(isinstance(each, Interval) for each in found.scores(NAMING).values())
    with pytest.raises(ValueError, match=r"'R@3' was not asked; there are 'drawings: image to text, R@1'"):
        found.scores("R@3")


def test_steps_and_differences_of_rungs_further_apart_are_kept_apart():
    found = measured_ladder()
    steps, further = found.added(NAMING)[NAMING], found.added(NAMING, beside=True)[NAMING]
    assert list(steps) == [rung.name for rung in RUNGS[1:]]
    assert "the whole ladder" in further
    assert not steps.keys() & further.keys()
    each = found.rungs
    gained = each["+ GLU × 8"][NAMING].mean - each["+ GLU × 4"][NAMING].mean
    assert steps["+ GLU × 8"].mean == pytest.approx(gained)
    assert np.mean(found.by_seed["+ GLU × 8, added"][NAMING]) == pytest.approx(gained)
    with pytest.raises(ValueError, match="'nothing' was not asked"):
        found.added("nothing")


def test_steps_stand_beside_what_the_paper_adds():
    found = measured_ladder()
    table = found.details()
    assert [row[0] for row in table.rows] == [rung.name for rung in RUNGS[1:]]
    sigmoid = next(row for row in table.rows if row[0] == "+ sigmoid")
    assert (sigmoid[1], sigmoid[3], sigmoid[5]) == ("+9.3", "+13.5", "+5.3")
    assert sigmoid[6].startswith(f"{100 * found.steps['+ sigmoid'][NAMING].mean:+.1f} [")


def test_stored_bars_are_drawn_by_score_and_told_beside_the_published():
    found = measured_bars()
    panels = found.panels()
    assert list(panels) == list(SCORES)
    for name, group in panels["group"].items():
        assert group.mean <= min(panels["text"][name].mean, panels["image"][name].mean)
        assert group.n == 500
    assert found.panels("Colour")["text"]["scenes-clip"].n == 100
    assert "CLIP-L, LAION-2B (published)" in str(found)
    with pytest.raises(ValueError, match="no category 'Shape'; there are all, Colour"):
        found.panels("Shape")


def test_stored_cosines_are_of_the_same_quads_everywhere():
    found = measured_cosines()
    assert {"efficientnet_lite2, pre", "lite2-minilm, post", "scenes-clip, post"} <= set(found.own)
    for name, own in found.own.items():
        gap = own.mean.mean - found.other[name].mean.mean
        assert found.differences[f"{name}: own − other quads"].mean == pytest.approx(gap)
        assert own.counts.sum() == own.mean.n == 500
    assert "same quad" in str(found)
