"""The shipped photos are there, whole, and captioned."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import skimage

from workbench.data.photos import photo, photo_names, shipped_photos
from workbench.data.vocabulary import EVERYDAY_WORDS


@pytest.mark.parametrize("name", photo_names())
def test_photo_opens_without_notes(name):
    picture = photo(name)
    assert picture.name == name
    assert min(picture.image.size) > 100
    assert picture.notes == ()


def test_photos_lie_in_scikit_image_and_say_whose_they_are():
    assert tuple(shipped_photos()) == photo_names()
    for each in shipped_photos().values():
        assert each.path.is_relative_to(Path(skimage.__file__).parent)
        assert each.path.is_file()
        assert each.caption == each.caption.strip() != ""
        assert each.credit


def test_no_photo_is_downloaded(monkeypatch):
    def refuse(*args):
        raise AssertionError(f"a shipped photo asked the network for {args[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert all(photo(name).image.mode == "RGB" for name in photo_names()[:6])


def test_listing_the_photos_loads_nothing_heavy():
    code = (
        "import sys, workbench.data.photos as p, workbench.data.stamps, workbench.data.phrases; p.shipped_photos();"
        "print(*({'torch', 'numpy', 'skimage'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


def test_captions_are_unique_and_the_first_six_are_the_start_pages():
    captions = [each.caption for each in shipped_photos().values()]
    assert len(set(captions)) == len(captions)
    assert photo_names()[:6] == ("astronaut", "camera", "chelsea", "coffee", "rocket", "motorcycle")


def test_unknown_photo_lists_the_known():
    with pytest.raises(ValueError, match="no photo 'dog'; choose one of astronaut, camera"):
        photo("dog")


def test_vocabulary_has_each_word_once():
    assert len(EVERYDAY_WORDS) == len(set(EVERYDAY_WORDS)) > 200
    assert all(word == word.lower().strip() for word in EVERYDAY_WORDS)
