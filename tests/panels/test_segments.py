"""The segments panel without a browser: rules, captions, pieces and pictures; and what a changed caption costs."""

import re

import numpy as np
import pytest
from PIL import Image

import workbench as wb
from workbench.data.photos import photo
from workbench.matching import RULES, crop_features, score, segment_features
from workbench.panels.segmented import READINGS, Example, SegmentedPictures, State, photo_examples, quad_examples, wrong
from workbench.panels.segments import SegmentsPanel

QUAD, OTHER = "Colour 1, picture 1", "Colour 1, picture 2"


@pytest.fixture(scope="module")
def model(clip_folder):
    return wb.load_model(f"local-dir:{clip_folder}", device="cpu")


@pytest.fixture(scope="module")
def examples():
    quads = quad_examples(side=64)
    return {QUAD: quads[QUAD], OTHER: quads[OTHER], "coffee": photo_examples()["coffee"]}


class Counting:
    """A model that counts the pictures and texts that it encodes."""

    def __init__(self, model):
        self.model, self.pictures, self.texts = model, 0, 0

    def __getattr__(self, name):
        return getattr(self.model, name)

    def encode_pixels(self, pixels, **options):
        self.pictures += len(pixels)
        return self.model.encode_pixels(pixels, **options)

    def encode_image(self, *args, **options):
        self.pictures += 1
        return self.model.encode_image(*args, **options)

    def encode_text(self, texts, **options):
        self.texts += 1 if isinstance(texts, str) else len(texts)
        return self.model.encode_text(texts, **options)


@pytest.fixture
def counting(model):
    return Counting(model)


@pytest.fixture
def panel(counting, examples):
    background = [Image.effect_noise((40, 40), 90), Image.new("RGB", (30, 50), "green")]
    panel = SegmentsPanel(counting, examples, background=background)
    panel.strict = True
    return panel


@pytest.fixture
def lenient(panel):
    """As users have it: errors are shown, not raised."""
    panel.strict = False
    return panel


def z(panel):
    return np.array(panel.figures[0].data[0].z, dtype=float)


def shown(panel):
    widgets = (panel.status, panel.summary, panel.photo, panel.crop, panel.details, panel.refused)
    titles = [str(figure.layout) for figure in panel.figures or ()]
    return "".join([*(each.value for each in widgets), *titles])


# ---- rules


def test_every_rule_without_a_head_is_offered_and_gives_its_score(panel, model, examples):
    offered = [key for _, key in panel.rule.options]
    assert offered == [key for key, each in READINGS.items() if not RULES[each.rule].head]
    features = {
        "pooled": model.encode_image(examples[QUAD].picture.image, tokens=True),
        "crops": crop_features(model, examples[QUAD].picture.image),
    }
    for key in offered:
        panel.rule.value = key
        assert panel.view.state.rule == key
        reading = READINGS[key]
        if reading.exclusive or reading.centred or key == "roi":
            continue
        image = features.get(RULES[key].image[0], features["pooled"])
        for caption, side in zip(panel.view.state.captions, (panel.view.duel.a, panel.view.duel.b), strict=True):
            if RULES[key].text == ("segments",):
                text = segment_features(model, [caption])
            else:
                text = model.encode_text(caption, tokens=True)
            assert side.score == pytest.approx(float(score(key, image, text)), abs=1e-4), key


def test_exclusive_centred_and_boxes(panel):
    plain = panel.view.duel.a
    panel.rule.value = "crops exclusive"
    assert len(set(panel.view.duel.a.winners)) == len(panel.view.duel.a.winners)
    panel.rule.value = "crops centred"
    assert panel.view.duel.a.winners == plain.winners, "centring moves what pieces give, not what they take"
    assert not np.allclose(panel.view.duel.a.values, plain.values)
    assert "Centred on" in panel.status.value
    panel.rule.value = "roi"
    assert panel.view.names == ("box 1", "box 2")
    assert z(panel).shape[1] == 2


def test_rules_that_do_not_go_with_a_picture_are_listed_with_the_reason(panel):
    assert "it needs a trained heads.PairTransformer" in panel.refused.value
    assert "no boxes" not in panel.refused.value
    panel.rule.value = "roi"
    panel.picture.value = "coffee"
    assert "roi" not in [key for _, key in panel.rule.options]
    assert "no boxes of objects are known for this picture" in panel.refused.value
    assert panel.rule.value == panel.view.state.rule == "crops"
    assert "&#x27;roi&#x27; does not go with it" in panel.status.value


def test_a_model_without_patches_has_the_other_rules(model, examples, monkeypatch):
    def refusing(images, *, tokens=False, **options):
        if tokens:
            raise ValueError("this tower has no patches")
        return type(model).encode_image(model, images, **options)

    monkeypatch.setattr(model, "encode_image", refusing)
    panel = SegmentsPanel(model, examples, rule="global")
    panel.strict = True
    assert {key for _, key in panel.rule.options} == {"global", "crops", "crops exclusive", "crops centred"}
    assert "this tower has no patches" in panel.refused.value
    assert panel.view.names == ("whole picture",)
    with pytest.raises(ValueError, match=r"rule 'late' is not for .* this tower has no patches"):
        SegmentsPanel(model, examples, rule="late")


def test_controls_that_a_rule_does_not_read_are_off(panel):
    assert not panel.grid.disabled
    assert not panel.granularity.disabled
    panel.rule.value = "late"
    assert panel.grid.disabled
    assert panel.granularity.disabled
    panel.rule.value = "segments"
    assert panel.grid.disabled
    assert not panel.granularity.disabled


# ---- what is shown


def test_crops_of_both_sizes_and_pieces_of_all_kinds(panel):
    assert panel.view.duel.a.cosines.shape[1] == 86
    rows = len(z(panel))
    assert z(panel).shape[1] < 30
    panel.granularity.value = "fine"
    assert len(z(panel)) > rows
    panel.grid.value = "overlap"
    assert panel.view.duel.a.cosines.shape[1] == 270
    assert z(panel).shape[1] < 30


def test_the_deciding_piece_is_shown_first(panel):
    assert panel.piece.value == panel.view.piece == panel.view.duel.deciding()
    assert panel.view.duel.summary().split(":")[0] in panel.summary.value


def test_row_bar_and_list_choose_the_same_piece(panel):
    class Cell:
        point_inds = ((1, 2),)

    class Bar:
        point_inds = (0,)

    class Nowhere:
        point_inds = ()

    panel._clicked_cell(None, Cell, None)
    assert panel.piece.value == panel.view.piece == (0, 1)
    clicked = panel.crop.value
    assert "A2" in clicked
    panel._clicked_bar(1)(None, Bar, None)
    assert panel.view.piece == (1, 0)
    assert "B1" in panel.crop.value
    panel._clicked_cell(None, Nowhere, None)
    assert panel.view.piece == (1, 0)
    panel.piece.value = (0, 1)
    assert panel.crop.value == clicked


def test_the_large_crop_is_the_region_of_the_piece(panel):
    for _, place in panel.piece.options:
        panel.piece.value = place
        side, k = place
        box = panel.view.boxes[(panel.view.duel.a, panel.view.duel.b)[side].winners[k]]
        assert panel.view.crop().size == (box[2] - box[0], box[3] - box[1])
        assert f"pixels {box[0]} to {box[2]} across and {box[1]} to {box[3]} down" in panel.crop.value


def test_patches_lie_where_the_tower_sees_them(panel):
    panel.picture.value = "coffee"  # 600 × 400: the tower crops the middle
    panel.rule.value = "late"
    first, last = panel.view.boxes[0], panel.view.boxes[-1]
    assert first[0] == pytest.approx(100, abs=6)
    assert last[2] == pytest.approx(500, abs=6)
    assert panel.view.names[-1] == "row 4, column 4"


def test_captions_change_places(panel):
    a, b = panel.view.duel.a.score, panel.view.duel.b.score
    texts = [control.value for control in panel.captions]
    for control, text in zip(panel.captions, reversed(texts), strict=True):
        control.value = text
    assert (panel.view.duel.a.score, panel.view.duel.b.score) == pytest.approx((b, a))


def test_a_quads_two_pictures_have_their_own_caption_first(panel, examples):
    assert examples[QUAD].captions == examples[OTHER].captions[::-1]
    panel.picture.value = OTHER
    assert tuple(control.value for control in panel.captions) == examples[OTHER].captions


# ---- what it costs


def test_a_changed_caption_encodes_its_texts_only(panel, counting):
    panel.rule.value = "late"
    panel.rule.value = "crops"
    before, texts = counting.pictures, counting.texts
    panel.captions[1].value = "a red cube left of a blue ball"
    assert counting.pictures == before
    new = len(panel.view.duel.b.pieces)
    assert counting.texts == texts + new
    panel.piece.value = (0, 0)
    panel.rule.value = "crops exclusive"
    assert (counting.pictures, counting.texts) == (before, texts + new)


def test_a_store_spares_the_next_panel_the_crops(model, examples, tmp_path):
    first, second = Counting(model), Counting(model)
    SegmentsPanel(first, examples, store=tmp_path)
    assert first.pictures > 86
    panel = SegmentsPanel(second, examples, store=tmp_path)
    assert second.pictures < 10
    assert len(panel.view.duel.a.cosines[0]) == 86


# ---- bad input


@pytest.mark.parametrize(
    ("caption", "message"),
    [("", "caption B is empty"), ("   ", "caption B is empty"), ("x" * 3000, "caption B has 3000 characters")],
)
def test_a_bad_caption_keeps_the_last_good_view(lenient, caption, message):
    before, pieces = z(lenient), lenient.piece.options
    lenient.captions[1].value = caption
    assert "Not shown" in lenient.status.value
    assert message in lenient.status.value
    assert np.array_equal(before, z(lenient))
    assert lenient.piece.options == pieces
    lenient.piece.value = (0, 0)  # what is shown still answers
    assert lenient.view.piece == (0, 0)
    lenient.captions[1].value = "a red cube"
    assert "Not shown" not in lenient.status.value


def test_states_that_are_not_there(lenient):
    with pytest.raises(ValueError, match="piece="):
        lenient.compute(State(QUAD, ("a cat", "a dog"), piece=(0, 99)))
    with pytest.raises(ValueError, match="no picture 'none'"):
        lenient.compute(State("none", ("a cat", "a dog")))
    with pytest.raises(ValueError, match="rule='none'"):
        lenient.compute(State(QUAD, ("a cat", "a dog"), rule="none"))


@pytest.mark.parametrize(
    "caption", ["כוס קפה אדומה", "🐱 ☕", "<script>alert(1)</script>", "<b>cup</b> \"x\" onload='y'", "the of and"]
)
def test_untrusted_captions_are_shown_as_text(panel, caption):
    panel.captions[0].value = caption
    assert "<script" not in shown(panel)
    assert "<b>cup" not in shown(panel)
    assert not re.search(r"<svg[^>]*\"x\"", panel.photo.value)


def test_a_users_picture_keeps_the_captions(panel):
    panel.captions[0].value = "a red cube"
    panel.add_picture(Image.new("RGBA", (50, 50)), name="<img src=x>.png")
    assert panel.view.state.captions[0] == "a red cube"
    assert "transparency flattened on white" in panel.status.value
    assert "<img src=x>" not in shown(panel)
    panel.add_picture(Image.new("RGB", (50, 50)), ("one", "other"), name="<img src=x>.png")
    assert panel.picture.value == "<img src=x>.png (2)"
    assert panel.captions[1].value == "other"


def test_a_picture_smaller_than_its_crops_says_so(lenient):
    lenient.add_picture(Image.new("RGB", (9, 9)), name="dot")
    assert "9 × 9 pixels; give 16 or more" in lenient.status.value
    assert lenient.view.state.picture == QUAD


def test_a_broken_upload_says_so(lenient):
    lenient._uploaded({"new": ({"content": b"no picture", "name": "notes.png"},)})
    assert "notes.png is not a picture that can be read" in lenient.status.value
    assert lenient.picture.value == QUAD


def test_examples_are_checked(model):
    with pytest.raises(ValueError, match="give two"):
        SegmentsPanel(model, {"one": Example(photo("coffee"), "a cup")})
    with pytest.raises(TypeError, match="give Example"):
        SegmentsPanel(model, {"one": photo("coffee")})
    with pytest.raises(ValueError, match="no examples"):
        SegmentsPanel(model, {})
    with pytest.raises(TypeError, match="not a name"):
        SegmentsPanel("lite0-minilm")


def test_every_photo_has_a_wrong_caption():
    for name, example in photo_examples().items():
        right, other = example.captions
        assert other != right, name
    assert wrong("a red cube on a blue ball") == "a blue cube on a red ball"


def test_every_control_is_labelled_and_the_text_form_is_stable(panel):
    controls = (panel.picture, *panel.captions, panel.rule, panel.granularity, panel.grid, panel.piece)
    assert all(control.description and control.tooltip for control in controls)
    assert len({control.description for control in controls}) == len(controls)
    text = panel._repr_mimebundle_()["text/plain"]
    assert text.startswith(f"SegmentsPanel({panel.model.name}, picture='{QUAD}', rule='crops', captions=(")


def test_the_default_examples_are_photos_and_quads():
    names = [*photo_examples(), *quad_examples()]
    assert "camera" in names
    assert "Relation 1, picture 2" in names


def test_centring_leaves_the_picture_itself_out(model):
    pictures = SegmentedPictures(model, photo_examples())
    assert "camera" not in [each.name for each in pictures.centres("camera")]
    assert len(pictures.centres("camera")) == len(pictures.centres("page")) == 4
