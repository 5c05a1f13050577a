"""Captioned stamps, read in place."""

from pathlib import Path

import pytest
from PIL import Image

from workbench.data.stamps import ROOT, photo_stamps, stamps


@pytest.fixture
def tree(tmp_path):
    def stamp(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGBA", (2, 2)).save(file)
        if text is not None:
            file.with_suffix(".txt").write_text(text, encoding="utf-8")

    stamp("animals/cat.png", "A cat.\nde.utf8=Eine Katze.\n")
    stamp("animals/cat_mirror.png", "A cat.\n")
    stamp("animals/cartoon/dog.png", "A dog.\n")
    stamp("animals/dog_mirror_FLIP.png", "A turned dog.\n")
    stamp("food/cat.png", "A CAT.\n")
    stamp("food/mark.png", "\ufeffA pie.\n")
    (tmp_path / "food" / "drawing.svg").touch()
    (tmp_path / "food" / "drawing.txt").write_text("A drawing.\n")
    stamp("symbols/a.png", "The letter A.\n")
    stamp("food/no_text.png", None)
    stamp("food/empty.png", "\n")
    return tmp_path


def test_line_one_is_the_caption(tree):
    assert [(s.path.name, s.caption, s.folder) for s in stamps(tree)][1] == ("cat.png", "A cat.", "animals")


def test_turned_pictures_and_those_without_a_caption_are_left_out(tree):
    found = [stamp.path.relative_to(tree).as_posix() for stamp in stamps(tree)]
    assert found == ["animals/cartoon/dog.png", "animals/cat.png", "food/cat.png", "food/mark.png", "symbols/a.png"]


def test_a_byte_order_mark_is_no_part_of_a_caption(tree):
    assert next(stamp.caption for stamp in stamps(tree) if stamp.path.name == "mark.png") == "A pie."


def test_photos_are_one_per_caption_without_cartoons_and_symbols(tree):
    kept = [(stamp.folder, stamp.path.name) for stamp in photo_stamps(tree)]
    assert kept == [("animals", "cat.png"), ("food", "mark.png")]


def test_missing_folder_says_what_to_install(tmp_path):
    with pytest.raises(FileNotFoundError, match="apt-get install tuxpaint-stamps-default"):
        stamps(tmp_path / "none")
    with pytest.raises(ValueError, match=r"no \.png with a \.txt caption"):
        stamps(tmp_path)


@pytest.mark.skipif(not Path(ROOT).is_dir(), reason="tuxpaint-stamps-default is not installed")
def test_debians_package():
    captions = [stamp.caption.casefold() for stamp in photo_stamps()]
    assert 300 < len(captions) < len(stamps())
    assert len(set(captions)) == len(captions)
