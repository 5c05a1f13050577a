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
    stamp("symbols/a.png", "The letter A.\n")
    stamp("food/no_text.png", None)
    stamp("food/empty.png", "\n")
    return tmp_path


def test_line_one_is_the_caption(tree):
    assert [(s.path.name, s.caption, s.folder) for s in stamps(tree)][1] == ("cat.png", "A cat.", "animals")


def test_pictures_without_a_caption_are_left_out(tree):
    assert {s.path.name for s in stamps(tree)} == {"cat.png", "cat_mirror.png", "dog.png", "a.png"}


def test_photos_are_one_per_caption_without_cartoons_and_symbols(tree):
    assert [s.path.name for s in photo_stamps(tree)] == ["cat.png"]


def test_missing_folder_says_what_to_install(tmp_path):
    with pytest.raises(FileNotFoundError, match="apt-get install tuxpaint-stamps-default"):
        stamps(tmp_path / "none")
    with pytest.raises(ValueError, match=r"no \.png with a \.txt caption"):
        stamps(tmp_path)


@pytest.mark.skipif(not Path(ROOT).is_dir(), reason="tuxpaint-stamps-default is not installed")
def test_debians_package():
    assert 300 < len(photo_stamps()) < len(stamps())
