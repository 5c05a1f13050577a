"""The shipped photos are there, whole, and captioned."""

import pytest

from workbench.data.photos import photo, photo_names, shipped_photos
from workbench.data.vocabulary import EVERYDAY_WORDS


@pytest.mark.parametrize("name", photo_names())
def test_photo_opens_without_notes(name):
    picture = photo(name)
    assert picture.name == name
    assert min(picture.image.size) > 100
    assert picture.notes == ()


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
