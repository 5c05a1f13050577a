"""Scenes: the same bits for a seed, captions that fit what is drawn, quads in which only who has which differs."""

import hashlib
import itertools
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from workbench.data.phrases import words
from workbench.data.scenes import CATEGORIES, Scene, Thing, batch, draw, quads, scene, scenes
from workbench.data.scenes.cutouts import PHOTO_CATEGORIES, cut_outs, photo_cutter, photo_quads
from workbench.data.scenes.drawing import cut_shape
from workbench.data.scenes.sampling import KINDS
from workbench.data.scenes.world import (
    COLOURS,
    DOMAINS,
    MATERIALS,
    RELATIONS,
    SHAPES,
    TEMPLATES,
    UNSEEN_TEMPLATES,
    Box,
    held_out,
)

SOME = scenes(600, 0)


def test_a_seed_gives_the_same_bits_on_every_machine():
    whole = hashlib.sha256()
    for each in SOME[:64]:
        whole.update(each.caption.encode())
        whole.update(draw(each).tobytes())
    assert whole.hexdigest()[:16] == "c81ff4b833bc2700", (
        "stored numbers of scenes-clip belong to these bits: `make assets`"
    )


def test_a_scene_is_the_same_whoever_asks_in_whatever_order():
    assert scenes(3, 7, start=5) == [scene(7, 5), scene(7, 6), scene(7, 7)]
    assert scene(7, 5) != scene(8, 5)
    assert (draw(scene(7, 5)) == draw(scene(7, 5))).all()


def test_every_kind_domain_and_number_of_objects_comes_up():
    assert {len(each.boxes) for each in SOME} == {1, 2, 3, 4}
    assert {each.domain for each in SOME} == set(DOMAINS)
    assert {each.relation for each in SOME} == {None, *RELATIONS}
    seen = {word for each in SOME for thing in each.things for word in (*thing.attributes, thing.shape)}
    assert seen == {*COLOURS, *SHAPES, *MATERIALS[1:], "small", "big"}
    assert {each.template for each in SOME} == set(TEMPLATES)


def test_training_never_shows_what_is_held_out():
    assert not any(each.unseen for each in SOME)
    combinations = [held_out(colour, shape) for colour in COLOURS for shape in SHAPES]
    assert sum(combinations) == len(combinations) / 5
    assert all(not all(held_out(colour, shape) for shape in SHAPES) for colour in COLOURS)
    assert all(not all(held_out(colour, shape) for colour in COLOURS) for shape in SHAPES)


def test_unseen_templates_use_trained_words_in_an_untrained_order():
    trained = {word for each in TEMPLATES for word in words(f"{each.frame} {each.joiner}".replace("{}", " "))}
    untrained = {word for each in UNSEEN_TEMPLATES for word in words(f"{each.frame} {each.joiner}".replace("{}", " "))}
    assert untrained <= trained
    assert not {each.frame for each in TEMPLATES} & {each.frame for each in UNSEEN_TEMPLATES}


def test_objects_lie_inside_the_picture_and_apart():
    for each in SOME:
        boxes = each.pixel_boxes(64)
        assert all(x0 >= 0 and y0 >= 0 and x1 <= 65 and y1 <= 65 for x0, y0, x1, y1 in boxes)
        for (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) in itertools.combinations(boxes, 2):
            assert ax1 <= bx0 or bx1 <= ax0 or ay1 <= by0 or by1 <= ay0


def test_a_box_holds_its_object_in_its_colour():
    thing = Thing("square", "red")
    single = Scene((thing,), (Box(0.25, 0.5, 0.3),), (0,))
    picture, (x0, y0, x1, y1) = draw(single, 100), single.pixel_boxes(100)[0]
    assert tuple(picture[(y0 + y1) // 2, (x0 + x1) // 2]) == COLOURS["red"]
    empty = draw(Scene((thing,), (), ()), 100)
    changed = np.argwhere((picture != empty).any(2))
    assert (changed.min(0) >= [y0, x0]).all()
    assert (changed.max(0) < [y1, x1]).all()


def test_relations_say_where_the_first_stands():
    for each in scenes(80, 1, kind="relation"):
        (ax, ay), (bx, by) = ((box.x + box.side / 2, box.y + box.side / 2) for box in each.boxes)
        holds = {"left of": ax < bx, "right of": ax > bx, "above": ay < by, "below": ay > by}
        assert holds[each.relation]
        assert f" {each.relation} " in each.caption


def test_captions_read_as_people_say_it():
    star, moons = Thing("star", "orange", "striped", "small"), Thing("moon", "blue", count=2)
    made = Scene((star, moons), (), (), relation="above")
    assert made.caption == "a small striped orange star above two blue moons"
    assert Thing("arrow", "orange").phrase == "an orange arrow"
    assert made.segments("fine") == (
        "a star",
        "two moons",
        "a small striped orange star",
        "two blue moons",
        made.caption,
    )
    assert made.segments("mid") == made.segments("fine")[2:]
    assert Scene((Thing("cross", "red", count=3),), (), ()).caption == "three red crosses"


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("colour", COLOURS)
def test_every_shape_material_and_colour_can_be_told_from_every_other(domain, colour):
    cuts = {}
    for shape, material in itertools.product(SHAPES, MATERIALS):
        alpha, colours = cut_shape(Thing(shape, colour, material), 16, domain)
        cuts[shape, material] = (alpha * colours / 256 + (256 - alpha) / 2).ravel()
    for (a, first), (b, second) in itertools.combinations(cuts.items(), 2):
        assert np.abs(first - second).mean() > 2, (a, b)


# Batches -----------------------------------------------------------------------------------------------------------------


def test_no_two_of_a_batch_share_their_words():
    for step in range(5):
        drawn = batch(0, step, 128)
        assert max(Counter(each.contents for each in drawn).values()) == 1
        assert drawn == batch(0, step, 128)


def test_the_naive_sampler_does_let_contents_meet():
    most = [
        max(Counter(each.contents for each in batch(0, step, 128, collision_free=False)).values()) for step in range(5)
    ]
    assert max(most) > 1


def test_swap_partners_share_their_contents_so_they_never_meet_in_a_batch():
    for category in CATEGORIES:
        for quad in quads(category, 20, 0):
            assert quad.scenes[0].contents == quad.scenes[1].contents


# Quads -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("unseen", [False, True])
def test_only_who_has_which_differs(category, unseen):
    for quad in quads(category, 40, 0, held_out=unseen):
        first, second = quad.scenes
        assert quad.captions[0] != quad.captions[1]
        assert not (draw(first) == draw(second)).all()
        for look in ("domain", "template", "background", "clutter", "relation"):
            assert getattr(first, look) == getattr(second, look)
        assert sorted(map(str, first.boxes)) == sorted(map(str, second.boxes))
        assert first.unseen == second.unseen == unseen


@pytest.mark.parametrize("category", ["Colour", "Material", "Size", "Relation"])
def test_both_captions_of_a_quad_have_the_same_words(category):
    for quad in quads(category, 40, 1):
        a, b = (Counter(words(caption)) for caption in quad.captions)
        a.update(an=0), b.update(an=0)
        articles = a["a"] + a["an"], b["a"] + b["an"]
        for each in (a, b):  # "a pink arrow, an orange star" against "an orange arrow, a pink star"
            del each["a"], each["an"]
        assert a == b
        assert articles[0] == articles[1]


def test_each_caption_fits_its_own_picture():
    for quad in quads("Quantity", 20, 2):
        for each in quad.scenes:
            shown = Counter(each.owners)
            assert [shown[i] for i in range(2)] == [thing.count for thing in each.things]
    for quad in quads("Size", 20, 2):
        for each in quad.scenes:
            sides = {each.things[owner].size: box.side for owner, box in zip(each.owners, each.boxes, strict=True)}
            assert sides["small"] * 1.5 < sides["big"]
    for quad in quads("Material", 20, 2):
        assert {thing.material for thing in quad.scenes[0].things} == {
            thing.material for thing in quad.scenes[1].things
        }


def test_domains_alternate_or_stay():
    assert [quad.scenes[0].domain for quad in quads("Colour", 4, 0)] == ["A", "B", "A", "B"]
    assert {quad.scenes[0].domain for quad in quads("Colour", 4, 0, domain="B")} == {"B"}


def test_quads_are_numbered_and_extend():
    assert quads("Colour", 5, 3) == quads("Colour", 9, 3)[:5]
    assert len({quad.id for category in CATEGORIES for quad in quads(category, 5, 3)}) == 25


# Photos ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path):
    """Two cut-outs of ours in the format of Tux Paint's stamps: a red bar and a blue disc on nothing."""
    y, x = np.mgrid[0:40, 0:40]
    for name, colour, inside in (
        ("bar", (200, 0, 0), abs(y - 20) < 6),
        ("disc", (0, 0, 200), (x - 20) ** 2 + (y - 20) ** 2 < 200),
    ):
        rgba = np.dstack([np.full((40, 40, 3), colour), np.where(inside, 255, 0)]).astype(np.uint8)
        folder = tmp_path / "food"
        folder.mkdir(exist_ok=True)
        Image.fromarray(rgba).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(f"A {name}.\n")
    Image.fromarray(rgba).save(tmp_path / "food" / "fish.png")
    (tmp_path / "food" / "fish.txt").write_text("A very small fish.\n")
    return cut_outs(tmp_path)


def test_cut_outs_are_plain_phrases_with_regular_plurals(photos):
    assert set(photos) == {"bar", "disc"}


@pytest.mark.parametrize("category", PHOTO_CATEGORIES)
def test_photo_quads_are_drawn_inside_their_boxes(photos, category):
    cut = photo_cutter(photos)
    for quad in photo_quads(category, 6, 0, pictures=photos):
        a, b = (draw(each, 96, cutter=cut) for each in quad.scenes)
        assert not (a == b).all()
        first = quad.scenes[0]
        x0, y0, x1, y1 = first.pixel_boxes(96)[0]
        centre = a[(y0 + y1) // 2, (x0 + x1) // 2].astype(int)
        shown = first.things[first.owners[0]].shape
        assert centre[{"bar": 0, "disc": 2}[shown]] > 190


def test_things_that_are_each_other_are_never_paired(photos, tmp_path):
    pictures = {"bar": photos["bar"], "red bar": photos["disc"], "headstone": tmp_path / "grave-c.png"}
    pictures |= {"gravestone": tmp_path / "grave-d.png"}
    for quad in photo_quads("Relation", 40, 0, pictures=pictures):
        pair = {thing.shape for thing in quad.scenes[0].things}
        assert pair not in ({"bar", "red bar"}, {"headstone", "gravestone"})
    with pytest.raises(ValueError, match="nothing differs from"):
        photo_quads("Size", 1, 0, pictures={"bar": photos["bar"], "red bar": photos["disc"]})


def test_photos_have_no_colour_quads(photos):
    with pytest.raises(ValueError, match="photos come in Size, Quantity, Relation"):
        photo_quads("Colour", 3, 0, pictures=photos)
    with pytest.raises(ValueError, match="two or more"):
        photo_quads("Size", 3, 0, pictures={"bar": photos["bar"]})


def test_a_transparent_picture_is_named(photos, tmp_path):
    nothing = tmp_path / "nothing.png"
    Image.new("RGBA", (20, 20)).save(nothing)
    with pytest.raises(ValueError, match=r"nothing\.png is transparent"):
        photo_cutter({"nothing": nothing})(Thing("nothing"), 20, "A")
    with pytest.raises(KeyError, match="no picture of 'cat'"):
        photo_cutter(photos)(Thing("cat"), 20, "A")


# Bad input ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scene(0, 0, kind="crowd"), "kind='crowd'; choose one of close-up"),
        (lambda: scene(0, 0, domain="C"), "domain='C'; choose one of A, B"),
        (lambda: quads("Shape", 1, 0), "category='Shape'; choose one of Colour"),
        (lambda: batch(0, 0, 0), "size=0; give the number of scenes"),
        (lambda: scene(0, 0, templates=()), "templates is empty"),
        (
            lambda: quads("Size", 1, 0, held_out=True, two=lambda _: [Thing("cat"), Thing("dog")]),
            "held_out=True: none of",
        ),
        (lambda: quads("Colour", 0, 0), "n=0; give the number of quads"),
        (lambda: quads("Colour", 1, 0, domain="C"), "domain='C'"),
        (lambda: draw(SOME[0], 8), "side=8; give 16 pixels or more"),
        (lambda: SOME[0].segments("tiny"), "granularity='tiny'; choose one of fine, mid, coarse"),
        (lambda: cut_shape(Thing("blob", "red"), 16, "A"), "no shape 'blob'"),
        (lambda: cut_shape(Thing("star", "red", "furry"), 16, "A"), "no material 'furry'"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_every_kind_can_be_asked_for():
    for kind in KINDS:
        assert len(scenes(5, 0, kind=kind)) == 5
