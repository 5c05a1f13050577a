"""The segments panel's plots through their specs: what is shown of many crops, and what is said of it in words."""

import json
import re

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from PIL import Image

from workbench.matching.breakdown import Breakdown, Duel
from workbench.plots import segments as plot

PICTURE = Image.new("RGB", (400, 200), "grey")


def side(pieces, cosines, winners):
    cosines = torch.as_tensor(cosines, dtype=torch.float32)
    values = cosines.gather(1, torch.tensor(winners)[:, None])[:, 0]
    return Breakdown("crops", tuple(pieces), cosines, tuple(winners), values, torch.full_like(values, 1 / len(values)))


@pytest.fixture
def many():
    """Two captions against 86 crops of 10 pixels."""
    cosines = torch.rand(4, 86, generator=torch.Generator().manual_seed(0)) / 2
    for row, winner in enumerate((5, 7, 5, 80)):
        cosines[row, winner] = 0.9 - row / 10
    a, b = side(["<i>red</i> cup", "spoon"], cosines[:2], [5, 7]), side(["cup", "table"], cosines[2:], [5, 80])
    boxes = [(4 * i, 0, 4 * i + 10, 10) for i in range(86)]
    return Duel(a, b), [f"crop {i + 1} (5 × 5 %)" for i in range(86)], boxes


def specified(many, piece=(0, 0)):
    return plot.spec(*many, PICTURE, piece, called="a <b>picture</b>")


def test_of_many_crops_the_winners_and_a_few_are_shown(many):
    spec = specified(many)
    columns = [int(re.match(r"crop (\d+)", name)[1]) - 1 for name in spec["columns"]]
    assert {5, 7, 80} <= set(columns)
    assert len(columns) == 3 + plot.FEW
    assert columns == sorted(columns)
    assert [columns[each] for each in spec["winners"]] == [5, 7, 5, 80]
    cosines = torch.cat([many[0].a.cosines, many[0].b.cosines]).numpy()
    assert np.array_equal(spec["z"], cosines[:, columns])
    left_out = np.delete(cosines.max(0), columns)
    assert cosines.max(0)[columns].min() >= left_out.max(), "the few are the best of the rest"


def test_few_regions_are_all_shown_and_what_does_not_count_is_blank():
    duel = Duel(side(["a"], [[0.1, -torch.inf]], [0]), side(["b"], [[0.2, -torch.inf]], [0]))
    spec = plot.spec(duel, ["box 1", "box 2"], [(0, 0, 9, 9), (0, 0, 5, 5)], PICTURE, (1, 0))
    assert spec["z"].shape == (2, 2)
    assert np.isnan(spec["z"][:, 1]).all()
    assert plot.matrix(spec).data[0].text[0][1] == ""


def test_a_region_that_two_pieces_take_is_one_rectangle(many):
    rectangles = specified(many)["rectangles"]
    assert {each["codes"]: each["side"] for each in rectangles} == {"A1, B1": "AB", "A2": "A", "B2": "B"}
    assert [each["chosen"] for each in rectangles] == [False, False, True], "the chosen one lies on top"
    assert rectangles[-1]["box"] == many[2][5]


def test_the_picture_is_said_in_words_and_escaped(many):
    html = plot.picture(specified(many))
    assert html.count("<rect") == 2 * 3
    assert 'role="img"' in html
    assert "A2 spoon: crop 8 (5 × 5 %)" in html
    assert "<b>picture" not in html
    assert "<i>red" not in html
    assert "stroke-dasharray" in html, "B is told from A by more than its colour"


def test_labels_do_not_stand_on_each_other(many):
    html = plot.picture(specified(many))
    places = [(float(x), float(y)) for x, y in re.findall(r'<text x="([\d.]+)" y="([\d.]+)"', html)]
    assert len(set(places)) == 3
    assert all(abs(a[0] - b[0]) > 30 or abs(a[1] - b[1]) > 13 for a in places for b in places if a is not b)


def test_the_chosen_piece_is_shown_large_with_an_alternative_text(many):
    spec = specified(many, (1, 1))
    assert spec["row"] == 3
    assert spec["crop"]["alt"] == "crop 81 (5 × 5 %), pixels 320 to 330 across and 0 to 10 down"
    html = plot.crop(spec)
    assert 'alt="crop 81' in html
    assert "B2 “table” takes crop 81 (5 × 5 %), cosine 0.600" in html
    assert "<i>" not in plot.crop(specified(many, (0, 0)))


def test_matrix_marks_what_each_piece_takes(many):
    spec = specified(many, (0, 1))
    figure = plot.matrix(spec)
    marks = np.array([["✓" in cell for cell in row] for row in figure.data[0].text])
    assert marks.argmax(1).tolist() == spec["winners"]
    assert marks.sum() == 4
    frame = figure.layout.shapes[1]
    assert (frame.y0, frame.y1) == (0.5, 1.5)
    assert "7 of 86 regions" in figure.layout.title.text
    assert figure.layout.yaxis.ticktext[0] == "A1 &lt;i&gt;red&lt;/i&gt; cup"


def test_bars_add_up_to_the_lead(many):
    spec = specified(many)
    figure = plot.bars(spec)
    a, b = (sum(trace.x) for trace in figure.data)
    assert a - b == pytest.approx(many[0].lead, abs=1e-6)
    assert figure.layout.annotations[0].text.startswith("A: 0.850 ✓")
    assert "✓" not in figure.layout.annotations[1].text
    assert figure.layout.xaxis.range == figure.layout.xaxis2.range
    assert figure.data[1].marker.pattern.shape == "/"


def test_a_redraw_is_a_drawing_anew(many):
    first = specified(many)
    duel = Duel(many[0].b, side(["x", "y", "z"], torch.rand(3, 86), [1, 2, 3]))
    second = plot.spec(duel, *many[1:], PICTURE, (1, 2))
    figures = go.FigureWidget(plot.matrix(first)), go.FigureWidget(plot.bars(first))
    plot.redraw(figures, second)
    for old, new in zip(figures, (plot.matrix(second), plot.bars(second)), strict=True):
        was, now = (json.loads(each.to_json()) for each in (old, new))
        for trace in (*was["data"], *now["data"]):
            trace.pop("uid", None)
        assert was == now
