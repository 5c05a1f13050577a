"""What transfers, and what a slower second stage buys, through their specs."""

import pytest

from workbench.evaluation import Interval
from workbench.plots import shortlist, transfer


def interval(x, n=100):
    return Interval(x, x - 0.1, x + 0.1, n)


@pytest.fixture
def panels():
    return {
        "steps": {"<b>": (interval(0.5), interval(0.2, 30)), "cosine": (interval(0.1), interval(0.1))},
        "time": {"cosine": (interval(0.1), interval(0.1))},
    }


def test_a_system_is_a_point_with_a_name_of_its_own(panels):
    spec = transfer.spec(panels)
    assert spec["names"] == ["&lt;b&gt;", "cosine"]
    (point, _), (again,) = (panel["points"] for panel in spec["panels"])
    assert point["home"] == pytest.approx([50, 40, 60])
    assert point["away"] == pytest.approx([20, 10, 30])
    assert point["n"] == [100, 30]
    assert again["name"] == 1, "a name keeps its colour in every panel"
    assert spec["chance"] == pytest.approx(100 / 6)


def test_each_name_stands_in_the_legend_once(panels):
    figure = transfer.figure(transfer.spec({**panels, "time": panels["steps"]}))
    shown = [trace.name for trace in figure.data if trace.showlegend]
    assert shown == ["&lt;b&gt;", "cosine"]
    colours = {trace.name: {t.marker.color for t in figure.data if t.name == trace.name} for trace in figure.data[1:3]}
    assert all(len(each) == 1 for each in colours.values())


def test_transfer_refuses(panels):
    with pytest.raises(ValueError, match="0 names in 0 panels"):
        transfer.spec({})
    many = {str(k): (interval(0.1), interval(0.1)) for k in range(9)}
    with pytest.raises(ValueError, match="9 names in 1 panels"):
        transfer.spec({"steps": many})


def test_a_line_is_the_mean_of_seeds_with_the_widest_ends():
    heads = {"local": {1: (interval(0.2), interval(0.3)), 10: (interval(0.4), interval(0.6))}}
    spec = shortlist.spec(heads, {10: (interval(0.8),), 1: (interval(0.25),)})
    assert spec["k"] == [1, 10]
    assert spec["lines"][0]["percent"] == pytest.approx([25, 50])
    assert spec["lines"][0]["low"] == pytest.approx([10, 30])
    assert spec["lines"][0]["high"] == pytest.approx([40, 70])
    assert spec["reached"] == pytest.approx([25, 80])
    figure = shortlist.figure(spec)
    assert [trace.name for trace in figure.data] == ["on the list", "local"]
    assert figure.data[1].error_y.array == pytest.approx([15, 20])


def test_a_shortlist_refuses_lengths_that_differ():
    with pytest.raises(ValueError, match=r"lists of \[1\], the share reached of \[1, 5\]"):
        shortlist.spec({"a": {1: (interval(0.2),)}}, {1: (interval(0.2),), 5: (interval(0.3),)})
    with pytest.raises(ValueError, match="0 heads"):
        shortlist.spec({}, {1: (interval(0.2),)})
