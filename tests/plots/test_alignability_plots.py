"""Towers against probes, and families left out, through their specs."""

import json

import numpy as np
import pytest

from workbench.alignability import published
from workbench.evaluation import probe_correlations
from workbench.plots import alignability, families


@pytest.fixture(scope="module")
def vision():
    return published()


@pytest.fixture
def crowd():
    """Thirty towers in one spot, with intervals and names that are no markup."""
    rng = np.random.default_rng(0)
    x, y = 0.5 + 0.01 * rng.normal(size=30), 0.4 + 0.01 * rng.normal(size=30)
    names = [f"<i>tower</i> {k}" for k in range(30)]
    ends = np.stack([y - 0.02, y + 0.03], 1)
    return probe_correlations(names, ["<b>a</b>", "b", "c"] * 10, {"k-NN": x, "score": -x}, y, intervals=ends)


def test_points_are_percent_and_families_have_a_colour_and_a_sign(vision):
    spec = alignability.spec(vision, "linear probe")
    first = spec["points"][0]
    assert (first["name"], first["x"], first["y"]) == ("MAE-B", pytest.approx(68.0), pytest.approx(6.7))
    assert first["low"] == first["high"] == first["y"], "nobody published an interval"
    assert len({each["colour"] for each in spec["families"]}) == len({each["symbol"] for each in spec["families"]}) == 6
    assert spec["x_title"] == "linear probe, percent"


def test_the_fit_is_least_squares_and_says_r(vision):
    spec = alignability.spec(vision)
    x, y = ([point[axis] for point in spec["points"]] for axis in "xy")
    slope = (spec["fit"]["y"][1] - spec["fit"]["y"][0]) / (spec["fit"]["x"][1] - spec["fit"]["x"][0])
    assert slope == pytest.approx(np.cov(x, y)[0, 1] / np.var(x, ddof=1))
    assert spec["fit"]["x"] == [min(x), max(x)]
    assert spec["fit"]["told"] == "linear fit, r 0.99 [0.94, 1.00], n 13"


def test_another_unit_is_left_as_it_is(crowd):
    spec = alignability.spec(crowd, "score", unit="by cosine")
    assert spec["points"][0]["x"] == pytest.approx(-crowd.probes["k-NN"][0])
    assert spec["x_title"] == "score, by cosine"


def test_names_never_cover_each_other(crowd, vision):
    spec = alignability.spec(crowd)
    labels = [point["label"] for point in spec["points"]]
    assert None in labels, "thirty names do not fit into one spot"
    assert sum(label is not None for label in labels) >= 5
    assert sum(point["label"] is not None for point in alignability.spec(vision)["points"]) >= 11


def test_the_figure_shows_every_tower_with_its_interval(crowd):
    figure = alignability.figure(alignability.spec(crowd))
    fit, *points = figure.data
    assert fit.name.startswith("linear fit, r ")
    assert sum(len(trace.x) for trace in points) == 30
    assert [trace.name for trace in points] == ["&lt;b&gt;a&lt;/b&gt;", "b", "c"]
    assert points[0].error_y.array[0] == pytest.approx(3)
    assert points[0].error_y.arrayminus[0] == pytest.approx(2)
    assert points[0].customdata[0][0] == "&lt;i&gt;tower&lt;/i&gt; 0"
    assert len({trace.marker.symbol for trace in points}) == 3
    json.loads(figure.to_json())


def test_an_interval_that_leaves_out_its_mean_has_no_negative_length(crowd):
    import dataclasses

    odd = dataclasses.replace(crowd, intervals=np.stack([crowd.alignment + 0.01, crowd.alignment + 0.02], 1))
    for trace in alignability.figure(alignability.spec(odd)).data[1:]:
        assert min(trace.error_y.arrayminus) >= 0


def test_families_left_out_have_a_row_and_all_towers_the_first(vision):
    spec = families.spec(vision)
    assert spec["rows"][:2] == ["none left out (13)", "MAE (3)"]
    pearson, spearman = spec["panels"]
    assert (pearson["kind"], spearman["kind"]) == ("Pearson", "Spearman")
    knn = pearson["series"][0]
    assert [point["r"] for point in knn["points"][:2]] == pytest.approx([0.9905, 0.913], abs=1e-3)
    assert [point["row"] for point in knn["points"]] == list(range(7))


def test_a_family_that_cannot_be_left_out_has_a_row_without_a_dot():
    spec = families.spec(published("language"))
    assert spec["rows"][1] == "GTE (3)"
    assert [point["row"] for point in spec["panels"][0]["series"][0]["points"]] == [0, 2, 3]


def test_dots_of_probes_lie_beside_each_other_in_their_row(vision):
    figure = families.figure(families.spec(vision))
    knn, linear = figure.data[:2]
    assert knn.marker.symbol != linear.marker.symbol
    assert max(abs(np.array(knn.y) - np.arange(7))) < 0.5
    assert not set(knn.y) & set(linear.y)
    assert sum(trace.showlegend for trace in figure.data) == 2
    json.loads(figure.to_json())


@pytest.mark.parametrize("module", [alignability, families])
def test_only_correlations_are_drawn(module):
    with pytest.raises(TypeError, match="a float; give what"):
        module.spec(0.5)


def test_refusals(crowd):
    with pytest.raises(ValueError, match="no probe 'MTEB'; there are k-NN, score"):
        alignability.spec(crowd, "MTEB")
    towers = probe_correlations(range(9), range(9), {f"p{k}": np.arange(9.0) for k in range(5)}, np.arange(9.0))
    with pytest.raises(ValueError, match="9 families; up to 8"):
        alignability.spec(towers)
    with pytest.raises(ValueError, match="5 probes; up to 4"):
        families.spec(towers)
