"""The alignment panel without a browser: controls are traits, and an error never costs the last good view."""

import io
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

import workbench as wb
from workbench.panels import alignment
from workbench.panels.alignment import AlignmentPanel


@pytest.fixture(scope="module")
def model():
    return wb.load_model("lite0-minilm", device="cpu")


@pytest.fixture(autouse=True)
def few_everyday_words(monkeypatch):
    """The whole vocabulary is encoded once per panel: a second that a test need not wait."""
    monkeypatch.setattr(alignment, "EVERYDAY_WORDS", alignment.EVERYDAY_WORDS[:12])


@pytest.fixture
def panel(model):
    panel = AlignmentPanel(model, picture="coffee", caption="a cup of coffee on a wooden table")
    panel.strict = True
    return panel


@pytest.fixture
def lenient(panel):
    """As users have it: errors are shown, not raised."""
    panel.strict = False
    return panel


def z(panel):
    return np.array(panel.figure.data[1].z)


def test_words_and_phrases_become_buttons(panel):
    assert [b.description for b in panel.words.children] == ["✓ cup", "coffee", "wooden", "table", "wooden table"]


def test_typing_a_caption_changes_words_and_map(panel):
    before = z(panel)
    panel.caption.value = "a silver spoon"
    assert [b.description for b in panel.words.children] == ["✓ silver", "spoon", "silver spoon"]
    assert not np.allclose(before, z(panel))
    assert "silver" in panel.figure.layout.title.text


def test_pressing_a_word_shows_its_map(panel):
    panel.words.children[3].click()
    assert panel.words.children[3].description == "✓ table"
    assert np.allclose(z(panel).ravel(), panel.view.maps.values[3].numpy())
    assert "“table” answers strongest" in panel.summary.value


def test_click_and_list_choose_the_same_patch(panel):
    class Points:
        point_inds = ((2, 4),)

    panel._clicked(None, Points, None)
    assert panel.patch.value == (3, 5)
    clicked = panel.details.value
    assert "Row 3, column 5" in clicked
    panel.patch.value = (1, 1)
    assert panel.details.value != clicked
    panel.patch.value = (3, 5)
    assert panel.details.value == clicked


def test_a_click_elsewhere_is_ignored(panel):
    class Points:
        point_inds = ()

    before = panel.patch.value
    panel._clicked(None, Points, None)
    assert panel.patch.value == before


@pytest.mark.parametrize(("size", "side"), [(224, 7), (448, 14)])
def test_grid_follows_the_input_size(panel, size, side):
    panel.grid.value = size
    assert z(panel).shape == (side, side)
    assert len(panel.patch.options) == side * side


def test_shares_add_up_to_the_score_and_say_so(panel):
    panel.map.value = "whole"
    maps = panel.view.maps
    assert np.allclose(z(panel).mean(), maps.scores[0], atol=1e-5)
    assert "exactly the cosine" in panel.summary.value


def test_a_model_whose_maps_do_not_add_up_says_so():
    panel = AlignmentPanel(wb.load_model("lite2-conse", device="cpu"))
    panel.strict = True
    panel.map.value = "whole"
    assert "do not add up to the score" in panel.summary.value


def test_centring_changes_every_map(panel):
    before = z(panel)
    panel.correction.value = True
    assert panel.view.maps.centred
    assert not np.allclose(before, z(panel))


def test_words_in_the_caption_read_differently(panel):
    before = z(panel)
    panel.meaning.value = True
    assert not np.allclose(before, z(panel))


def test_words_in_a_caption_of_a_model_without_word_pieces_says_so(lenient, monkeypatch):
    monkeypatch.setattr(
        lenient.model, "encode_text", lambda texts, tokens=False: wb.features.TextFeatures(*[np.zeros((1, 2))] * 2)
    )
    lenient.meaning.value = True
    assert "read the words on their own instead" in lenient.status.value


@pytest.mark.parametrize(
    ("caption", "message"),
    [
        ("", "the caption is empty; type at least one word"),
        ("   ", "the caption is empty"),
        ("x" * 10_000, "has 10000 characters"),
    ],
)
def test_a_bad_caption_keeps_the_last_good_view(lenient, caption, message):
    before, words = z(lenient), lenient.words.children
    lenient.caption.value = caption
    assert message in lenient.status.value
    assert "Not shown" in lenient.status.value
    assert np.array_equal(before, z(lenient))
    assert lenient.words.children == words
    lenient.caption.value = "a red cup"  # and the next good caption works
    assert "Not shown" not in lenient.status.value


def test_words_and_patches_still_answer_beside_a_bad_caption(lenient):
    lenient.caption.value = ""
    lenient.words.children[3].click()
    assert "“table” answers strongest" in lenient.summary.value
    assert "Not shown" not in lenient.status.value
    lenient.patch.value = (1, 2)
    assert "Row 1, column 2" in lenient.details.value
    assert lenient.caption.value == ""  # what was typed stays, to be mended


def test_strict_panels_raise(panel):
    with pytest.raises(ValueError, match="empty"):
        panel.caption.value = ""


@pytest.mark.parametrize("caption", ["כוס קפה אדומה", "🐱 ☕", "<script>alert(1)</script>", "<b>cup</b>"])
def test_untrusted_captions_are_shown_as_text(panel, caption):
    panel.caption.value = caption
    shown = panel.summary.value + panel.details.value + panel.status.value + panel.figure.layout.title.text
    assert "<script" not in shown
    assert "<b>cup" not in shown


def upload(panel, name, content):
    file = {"name": name, "type": "image/png", "size": len(content), "content": memoryview(content)}
    panel.upload.value = ({**file, "last_modified": datetime.now(UTC)},)


def png(colour="red", size=(40, 30)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_users_picture_is_added_and_shown(panel):
    upload(panel, "mine.png", png())
    assert panel.picture.value == panel.view.state.picture == "mine.png"
    upload(panel, "mine.png", png("blue"))
    assert panel.picture.value == "mine.png (2)"


def test_a_broken_upload_says_so_and_changes_nothing(lenient):
    upload(lenient, "notes.png", b"no picture")
    assert "notes.png is not a picture that can be read" in lenient.status.value
    assert lenient.picture.value == "coffee"


def test_an_untrusted_file_name_is_escaped(panel):
    upload(panel, "<img src=x onerror=alert(1)>.png", png())
    assert "<img" not in panel.status.value


def test_a_picture_that_was_changed_says_so(panel):
    panel.add_picture(Image.new("RGBA", (50, 50)))
    assert "transparency flattened on white" in panel.status.value


def test_one_pixel(panel):
    panel.add_picture(Image.new("RGB", (1, 1)), name="dot")
    assert "every patch will look the same" in panel.status.value


def test_text_form_is_stable(panel):
    text = panel._repr_mimebundle_()["text/plain"]
    assert text == "AlignmentPanel(lite0-minilm, picture='coffee', caption='a cup of coffee on a wooden table')"


def test_every_control_is_labelled(panel):
    for control in (panel.picture, panel.caption, panel.patch, panel.grid, panel.map, panel.correction, panel.meaning):
        assert control.description
        assert control.tooltip


def test_a_caption_that_the_model_cuts_is_said_in_the_status_line(panel, recwarn):
    panel.caption.value = "word " * 300
    panel.meaning.value = False
    panel.caption.value = "x" * 1999
    assert max(len(button.description) for button in panel.words.children) <= 42
    panel.caption.value = "word"
    panel.meaning.value = True
    panel.caption.value = "word, " * 300
    assert "the last" in panel.status.value
    assert not [each for each in recwarn if "were dropped" in str(each.message)]


def test_a_name_is_not_a_model():
    with pytest.raises(TypeError, match=r"not a name; give AlignmentPanel\(load_model\('lite0-minilm'\)\)"):
        AlignmentPanel("lite0-minilm")


def test_a_photo_that_does_not_ship(model):
    with pytest.raises(ValueError, match="no photo 'dog'; choose one of astronaut"):
        AlignmentPanel(model, picture="dog")


def test_dense_variants_are_offered_where_the_tower_has_them(panel, clip_folder):
    assert panel.dense not in [
        control for line in panel.box.children if hasattr(line, "children") for control in line.children
    ]
    dense = AlignmentPanel(wb.load_model(f"local-dir:{clip_folder}", device="cpu"))
    assert any(dense.dense in getattr(line, "children", ()) for line in dense.box.children)
    raw = dense.view.maps.values
    dense.dense.value = "clearclip"
    assert dense.view.state.dense == "clearclip"
    assert not np.allclose(dense.view.maps.values, raw, atol=1e-3)
    dense.dense.value = "raw"
    assert np.array_equal(dense.view.maps.values, raw)
