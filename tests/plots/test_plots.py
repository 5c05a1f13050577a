"""Plots through their specs: what a figure shows, without a renderer."""

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.controlled import ControlledScores
from workbench.data import scenes
from workbench.evaluation import group_scores, pair_scores
from workbench.features import ImageFeatures
from workbench.layout import Layout, layout
from workbench.matching import word_maps
from workbench.plots import curve, maps, matrix, quads, space
from workbench.plots.theme import plain


@pytest.fixture
def found():
    tokens = torch.eye(6)[None]
    image = ImageFeatures(torch.zeros(1, 4), tokens.mean(1), tokens, (2, 3))
    return word_maps(image, ["<b>fifth</b>", "first"], torch.eye(6)[[4, 0]])


def test_map_spec_holds_the_map_and_escapes_the_word(found):
    spec = maps.spec(found, Image.new("RGB", (600, 400), "red"))
    assert np.array_equal(spec["z"], found.values[0].reshape(2, 3).numpy())
    assert spec["best"] == (2, 2)
    assert spec["title"] == "“&lt;b&gt;fifth&lt;/b&gt;”, cosine per patch"
    assert max(spec["size"]) == 320


def test_map_figure_is_centred_on_zero_with_its_mark_on_the_best_cell(found):
    figure = maps.figure(maps.spec(found, Image.new("RGB", (60, 40))))
    image, heatmap, mark = figure.data
    assert heatmap.zmid == 0
    assert heatmap.zmin == -heatmap.zmax
    assert (mark.x[0], mark.y[0]) == pytest.approx((0.5, 0.75))  # row 2 of 2, column 2 of 3
    assert (mark.x[1], mark.y[1]) == (mark.x[0], mark.y[0])  # nobody chose another patch
    assert (heatmap.x0, heatmap.dx) == pytest.approx((1 / 6, 1 / 3))
    assert image.source.startswith("data:image/jpeg;base64,")


def test_a_chosen_patch_has_a_mark_of_another_shape(found):
    mark = maps.figure(maps.spec(found, Image.new("RGB", (60, 40)), chosen=(1, 3))).data[2]
    assert (mark.x[1], mark.y[1]) == pytest.approx((5 / 6, 0.25))
    assert mark.marker.symbol[0] != mark.marker.symbol[1]


def test_a_row_of_maps_shares_one_scale(found):
    figure = maps.row([maps.spec(found, Image.new("RGB", (60, 40)), t) for t in range(2)])
    scales = {(trace.zmin, trace.zmax) for trace in figure.data if trace.type == "heatmap"}
    assert len(scales) == 1
    assert sum(bool(trace.showscale) for trace in figure.data if trace.type == "heatmap") == 1


def test_matrix_marks_the_best_caption_of_each_picture():
    spec = matrix.spec(pair_scores(torch.eye(3), torch.eye(3)[[1, 0, 2]], list("abc"), ["x<y", "y", "z"]))
    marks = np.array([["✓" in cell for cell in row] for row in spec["text"]])
    assert marks.argmax(1).tolist() == [1, 0, 2]
    assert marks.sum() == 3
    assert spec["texts"][0] == "x&lt;y"
    assert len(matrix.figure(spec).data) == 1


def test_space_has_a_shape_per_group_and_a_line_per_pair():
    sheet = Layout("pca", np.arange(8.0).reshape(4, 2), 0.9, 5, (0.5, 0.2))
    figure = space.figure(space.spec(sheet, ["picture", "caption"] * 2, list("abcd"), [(0, 1)]))
    symbols = [trace.marker.symbol for trace in figure.data if trace.name]
    assert symbols == ["square", "diamond"]
    assert list(figure.data[0].x) == [0.0, 2.0]


@pytest.mark.parametrize(
    ("groups", "message"), [(["picture"], "4 points, 1 groups"), (["cat"] * 4, "groups .'cat'. are not known")]
)
def test_space_refuses(groups, message):
    sheet = Layout("pca", np.zeros((4, 2)), 0.9, 5)
    with pytest.raises(ValueError, match=message):
        space.spec(sheet, groups, list("abcd"))


def test_labels_are_escaped_shortened_and_on_one_line():
    assert plain("a <b>\n c") == "a &lt;b&gt; c"
    assert plain("x" * 100, 10) == "x" * 9 + "…"


@pytest.fixture
def clusters():
    generator = torch.Generator().manual_seed(0)
    return torch.eye(3).repeat_interleave(10, 0) * 5 + torch.randn(30, 3, generator=generator) * 0.1


def test_pca_keeps_neighbours_of_planted_clusters(clusters):
    sheet = layout(clusters)
    assert sheet.trust > 0.8
    assert sum(sheet.explained) > 0.9
    assert np.array_equal(sheet.xy, layout(clusters).xy)


@pytest.mark.filterwarnings("ignore")
def test_umap_is_repeatable_and_trusted(clusters):
    sheet = layout(clusters, method="umap", seed=3)
    assert sheet.trust > 0.8
    assert np.array_equal(sheet.xy, layout(clusters, method="umap", seed=3).xy)
    assert sheet.explained is None


def test_layout_refuses():
    with pytest.raises(ValueError, match="method='tsne'; choose one of pca, umap"):
        layout(torch.ones(20, 3), method="tsne")
    with pytest.raises(ValueError, match="more than 10 items"):
        layout(torch.ones(4, 3))


def test_quads_show_two_pictures_and_the_caption_of_each():
    drawn = [scenes.quads(category, 1, 0)[0] for category in ("Colour", "Relation")]
    spec = quads.spec(drawn, 48)
    assert spec["categories"] == ["Colour", "Relation"]
    assert spec["captions"][1][0] == drawn[0].scenes[1].caption
    assert len({uri for row in spec["pictures"] for uri in row}) == 4
    figure = quads.figure(spec)
    assert [trace.type for trace in figure.data] == ["image"] * 4
    said = [figure.layout[f"xaxis{k or ''}"].title.text.replace("<br>", " ") for k in ("", 2, 3, 4)]
    assert said == [*spec["captions"][0], *spec["captions"][1]]


def test_a_curve_has_a_line_per_rule_with_its_intervals():
    rng = np.random.default_rng(0)
    points = [
        (
            step,
            ControlledScores(
                {("m", "Colour", rule): group_scores(rng.random((30, 2, 2))) for rule in ("global", "crops")}
            ),
        )
        for step in (1000, 600)
    ]
    spec = curve.spec(points)
    assert spec["lines"]["Colour"]["global"]["steps"] == [600, 1000]
    assert spec["chance"] == pytest.approx(100 / 6)
    for line in spec["lines"]["Colour"].values():
        for low, middle, high in zip(line["low"], line["percent"], line["high"], strict=True):
            assert low <= middle <= high
    figure = curve.figure(spec)
    assert [trace.name for trace in figure.data] == ["global", "crops"]
    assert figure.layout.shapes[0].y0 == spec["chance"]
