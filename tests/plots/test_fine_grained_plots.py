"""Interaction signs and crop costs, through their specs."""

import numpy as np
import pytest

from workbench.controlled import ControlledScores
from workbench.evaluation import Interval, group_scores
from workbench.fine_grained import CropCosts
from workbench.plots import crop_costs, interaction


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    return ControlledScores(
        {("m", c, rule): group_scores(rng.random((40, 2, 2))) for c in ("Colour", "Size") for rule in ("<b>", "crops")}
    )


@pytest.fixture
def costs():
    def interval(x):
        return Interval(x, x - 0.1, x + 0.1, 100)

    group = {
        name: {"Colour": interval(x), "Size": interval(0.2)} for name, x in (("1", 0.2), ("86", 0.6), ("270", 0.7))
    }
    return CropCosts(group, {"1": 1.0, "86": 86.0, "270": 270.0}, {"1": (1, 1), "86": (80, 90), "270": (250, 260)}, {})


def test_a_group_never_lies_above_its_sign(scores):
    spec = interaction.spec(scores)
    for scorer in spec["scorers"]:
        for point in scorer["points"]:
            assert point["group"]["mean"] <= point["sign"]["mean"]
    assert spec["chance"] == pytest.approx({"sign": 50, "group": 100 / 6})


def test_a_scorer_has_a_colour_a_category_a_sign_and_names_are_escaped(scores):
    figure = interaction.figure(interaction.spec(scores))
    named = [trace for trace in figure.data if trace.name and trace.legend is None]
    assert [trace.name for trace in named] == ["&lt;b&gt;", "crops"]
    assert list(named[0].marker.symbol) == ["circle", "square"]
    assert named[0].marker.color != named[1].marker.color
    assert [trace.name for trace in figure.data if trace.legend == "legend2"] == ["Colour", "Size"]


def test_interaction_refuses(scores):
    with pytest.raises(ValueError, match="no scorer 'late'; there are <b>, crops"):
        interaction.spec(scores, ["late"])
    with pytest.raises(ValueError, match="0 scorers; give one to 8"):
        interaction.spec(scores, [])
    with pytest.raises(ValueError, match="scores of 2 models"):
        interaction.spec(ControlledScores({("a", "C", "r"): None, ("b", "C", "r"): None}))


def test_costs_have_a_line_per_category_over_encodings(costs):
    spec = crop_costs.spec(costs)
    assert spec["x"] == [1, 86, 270]
    assert spec["ratios"] == [1, 85, 255]
    assert spec["lines"]["Colour"]["percent"] == pytest.approx([20, 60, 70])
    figure = crop_costs.figure(spec)
    assert [trace.name for trace in figure.data] == ["Colour", "Size"]
    assert list(figure.layout.xaxis.ticktext) == ["1<br>1 ×", "86<br>85 ×", "270<br>255 ×"]
    assert figure.data[0].error_y.array == pytest.approx([10] * 3)


def test_costs_refuse(costs):
    with pytest.raises(ValueError, match="no layout '9'; there are 1, 86, 270"):
        crop_costs.spec(costs, ["9"])
    with pytest.raises(ValueError, match="no layouts; choose from 1"):
        crop_costs.spec(costs, [])
