"""Photos in one ink: what stays of the photo, and that a quad swaps the inks and nothing else."""

import numpy as np
import pytest
from PIL import Image

from workbench.data.scenes import draw
from workbench.data.scenes.cutouts import photo_cutter
from workbench.data.scenes.tinted import TINTS, tinted, tinted_cutter, tinted_quads
from workbench.data.scenes.world import COLOURS, Thing


@pytest.fixture
def photos(tmp_path):
    """Two cut-outs of ours: a bar from dark to light, and a disc that is dark all over."""
    y, x = np.mgrid[0:40, 0:40]
    shades = {"bar": np.broadcast_to(x * 6, (40, 40)), "disc": np.full((40, 40), 12)}
    inside = {"bar": abs(y - 20) < 6, "disc": (x - 20) ** 2 + (y - 20) ** 2 < 200}
    for name, shade in shades.items():
        rgba = np.dstack([shade, shade, shade, np.where(inside[name], 255, 0)]).astype(np.uint8)
        Image.fromarray(rgba).save(tmp_path / f"{name}.png")
    return {name: tmp_path / f"{name}.png" for name in shades}


def test_a_quad_swaps_its_inks_and_nothing_else(photos):
    for quad in tinted_quads(12, 0, pictures=photos):
        one, two = quad.scenes
        assert one.boxes == two.boxes
        assert (one.domain, one.template, one.background, one.clutter) == (
            two.domain,
            two.template,
            two.background,
            two.clutter,
        )
        assert [thing.shape for thing in one.things] == [thing.shape for thing in two.things]
        assert [thing.colour for thing in one.things] == [thing.colour for thing in two.things][::-1]
        assert sorted(one.caption.replace("an ", "a ").split()) == sorted(two.caption.replace("an ", "a ").split())
        assert {thing.colour for thing in one.things} <= set(TINTS)
        assert quad.category == "Colour"


def test_quads_are_the_same_for_every_n(photos):
    few, many = tinted_quads(3, 7, pictures=photos), tinted_quads(9, 7, pictures=photos)
    assert many[:3] == few
    assert tinted_quads(3, 8, pictures=photos) != few
    assert {quad.scenes[0].domain for quad in many} == {"A", "B"}
    assert {quad.scenes[0].domain for quad in tinted_quads(4, 0, pictures=photos, domain="B")} == {"B"}


def test_pictures_differ_where_objects_are(photos):
    cut = tinted_cutter(photos)
    quad = tinted_quads(1, 0, pictures=photos)[0]
    one, two = (draw(scene, 96, cutter=cut) for scene in quad.scenes)
    differ = (one != two).any(-1)
    assert differ.any()
    for x0, y0, x1, y1 in quad.scenes[0].pixel_boxes(96):
        differ[max(y0, 0) : y1, max(x0, 0) : x1] = False
    assert not differ.any()


@pytest.mark.parametrize("ink", TINTS)
def test_the_mean_light_is_the_ink_and_the_order_of_light_stays(photos, ink):
    alpha, plain = photo_cutter(photos)(Thing("bar"), 60, "A")
    found = tinted(alpha, plain, COLOURS[ink])
    inside = alpha[..., 0] > 200
    assert found.min() >= 0
    assert found.max() <= 255
    grey = plain[inside].mean(-1)
    middle = abs(grey - grey.mean()) < 4
    assert np.abs(found[inside][middle] - COLOURS[ink]).max() < 12
    order = np.argsort(plain[inside].sum(-1), kind="stable")
    light = found[inside].sum(-1)[order]
    assert (np.diff(light) >= 0).mean() > 0.95


def test_a_dark_photo_takes_every_ink(photos):
    cut = tinted_cutter(photos)
    for ink in TINTS:
        alpha, found = cut(Thing("disc", ink), 60, "A")
        assert np.abs(found[alpha[..., 0] > 200] - COLOURS[ink]).max() <= 4
    plain = cut(Thing("disc"), 60, "A")[1]
    assert np.array_equal(plain, photo_cutter(photos)(Thing("disc"), 60, "A")[1])


def test_nothing_opaque_is_no_error():
    found = tinted(np.zeros((4, 4, 1), np.int32), np.zeros((4, 4, 3), np.int32), (200, 0, 0))
    assert np.array_equal(found, np.broadcast_to(np.zeros(3), (4, 4, 3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n=0; give the number of quads"),
        ({"domain": "C"}, "domain='C'; choose one of A, B"),
        ({"pictures": {}}, "0 pictures; a quad shows two"),
    ],
)
def test_bad_input_is_named(photos, options, message):
    with pytest.raises(ValueError, match=message):
        tinted_quads(**{"n": 2, "seed": 0, "pictures": photos, **options})
