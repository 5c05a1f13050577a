"""Class maps over their photo, through the spec and the figure's own data."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.matching import ClassMap
from workbench.plots import class_maps, theme

PHOTO = Image.new("RGB", (600, 400), "red")


def a_map(winner, classes, box=(100, 0, 500, 400), runner_up=None):
    winner = torch.tensor(winner)
    second = (winner + 1) % len(classes) if runner_up is None else torch.tensor(runner_up)
    cosine = 0.2 + 0.01 * torch.arange(winner.numel()).reshape(winner.shape)
    return ClassMap(tuple(classes), winner, second, cosine, cosine / 2, (600, 400), box, None, None, 1)


@pytest.fixture
def found():
    return a_map(
        [[0, 0, 1], [0, 2, 1]], ["<b>cat</b>", "dog", "sky", "never", "second"], runner_up=[[4] * 3, [1, 1, 0]]
    )


def test_the_spec_is_json_and_holds_what_wins_or_comes_second(found):
    spec = class_maps.spec(found, PHOTO)
    assert json.loads(json.dumps(spec)) == spec
    assert spec["names"] == ["<b>cat</b>", "dog", "sky", "second"]
    assert spec["shares"] == pytest.approx([1 / 2, 1 / 3, 1 / 6, 0])
    assert spec["winner"] == [[0, 0, 1], [0, 2, 1]]
    assert spec["runner_up"] == [[3, 3, 3], [1, 1, 0]]
    assert spec["title"] == "one pass"
    assert max(spec["photo_size"]) <= 480
    assert spec["photo"].startswith("data:image/jpeg;base64,")


def test_a_thousand_classes_that_win_nowhere_weigh_nothing():
    few, many = (a_map([[0, 1]], [f"class {k}" for k in range(n)]) for n in (3, 1000))
    assert len(json.dumps(class_maps.spec(many, PHOTO))) == len(json.dumps(class_maps.spec(few, PHOTO)))


def test_cells_lie_where_the_tower_looked(found):
    photo, cells, *_ = class_maps.figure(class_maps.spec(found, PHOTO)).data
    assert cells.x0 - cells.dx / 2 == pytest.approx(100)
    assert cells.x0 + 2.5 * cells.dx == pytest.approx(500)
    assert cells.y0 + 1.5 * cells.dy == pytest.approx(400)
    assert photo.x0 - photo.dx / 2 == pytest.approx(0)
    assert photo.dx * class_maps.spec(found, PHOTO)["photo_size"][0] == pytest.approx(600)


def test_hover_says_class_cosine_and_runner_up(found):
    cells = class_maps.figure(class_maps.spec(found, PHOTO)).data[1]
    assert cells.text[0][0] == "&lt;b&gt;cat&lt;/b&gt;"
    assert cells.customdata[1][0].tolist() == ["dog", 0.23, 0.115]
    assert "%{text}" in cells.hovertemplate


def test_the_legend_says_escaped_names_and_shares_in_order_of_area(found):
    legend = [trace for trace in class_maps.figure(class_maps.spec(found, PHOTO)).data if trace.type == "scatter"]
    assert [trace.name for trace in legend] == ["&lt;b&gt;cat&lt;/b&gt; 50 %", "dog 33 %", "sky 17 %"]
    assert len({trace.marker.color for trace in legend}) == 3


def colour_of(trace, row, column):
    """What plotly paints a cell with."""
    place = (trace.z[row][column] - trace.zmin) / (trace.zmax - trace.zmin)
    return next(colour for edge, colour in trace.colorscale[::-1] if edge <= place)


def test_a_class_has_the_colour_of_its_legend_in_every_panel(found):
    other = a_map([[2, 2], [2, 1]], found.classes, box=(0, 0, 600, 400))
    figure = class_maps.row(
        [class_maps.spec(each, PHOTO, title=f"<i>{k}</i>") for k, each in enumerate((found, other))]
    )
    first, second = (trace for trace in figure.data if trace.type == "heatmap")
    legend = {trace.name.split()[0]: trace.marker.color for trace in figure.data if trace.type == "scatter"}
    assert legend.keys() == {"sky", "dog", "&lt;b&gt;cat&lt;/b&gt;"}
    assert colour_of(first, 1, 1) == colour_of(second, 0, 0) == legend["sky"]
    assert colour_of(first, 0, 2) == colour_of(second, 1, 1) == legend["dog"]
    assert "sky 17 % | 75 %" in [trace.name for trace in figure.data]
    assert figure.layout.annotations[0].text == "&lt;i&gt;0&lt;/i&gt;"
    json.loads(figure.to_json())


def test_classes_behind_the_seventh_share_one_grey():
    found = a_map([[0, 0, 1, 1, 2, 2], [3, 3, 4, 4, 5, 5], [6, 6, 7, 8, 0, 1]], [f"c{k}" for k in range(9)])
    figure = class_maps.figure(class_maps.spec(found, PHOTO))
    legend = {trace.name: trace.marker.color for trace in figure.data if trace.type == "scatter"}
    assert len(legend) == class_maps.MOST + 1 == 8
    assert legend["2 others 11 %"] == theme.GREY
    assert colour_of(figure.data[1], 2, 3) == colour_of(figure.data[1], 2, 2) == theme.GREY
    assert theme.GREY not in {colour_of(figure.data[1], 1, column) for column in range(6)}


def test_larger_classes_have_their_name_on_them(found):
    labels = class_maps.spec(found, PHOTO)["labels"]
    assert [label["class"] for label in labels] == [0, 1, 2]
    h, w = found.grid
    for label in labels:
        row, column = int(label["y"] / 400 * h), int((label["x"] - 100) / 400 * w)
        assert found.winner[row, column] == label["class"]
    one = np.zeros((20, 20), int)
    one[3, 4] = 1
    assert [each["class"] for each in class_maps.spec(a_map(one.tolist(), ["a", "b"]), PHOTO)["labels"]] == [0]


def test_refusals(found):
    with pytest.raises(TypeError, match=r"a dict; give what `workbench.matching.class_map` returns"):
        class_maps.spec({}, PHOTO)
    with pytest.raises(
        ValueError, match=r"a photo of \(600, 400\) pixels and this one has \(60, 40\); give that photo"
    ):
        class_maps.spec(found, Image.new("RGB", (60, 40)))
    with pytest.raises(ValueError, match="no specs"):
        class_maps.row([])


def test_a_strip_of_a_photo_makes_no_endless_figure():
    strip = np.zeros((20, 4000, 3), np.uint8)
    thin = ClassMap(("a", "b"), *torch.zeros(4, 1, 200).long(), (4000, 20), (0, 0, 4000, 20), 20, 20, 200)
    assert class_maps.figure(class_maps.spec(thin, strip)).layout.width == 2400
