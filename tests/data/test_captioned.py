"""Pictures with captions to try things on."""

import pytest
from PIL import Image

from workbench.data.captioned import SIDE, captioned


@pytest.fixture
def stamps(tmp_path):
    for name, caption in (("cat", "A cat."), ("dog", "A dog."), ("twin", "A DOG.")):
        Image.new("RGBA", (40, 20), (200, 30, 30, 255)).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(f"{caption}\n")
    return tmp_path


def test_stamps_come_once_for_each_caption_and_are_padded_not_cropped(stamps):
    found = captioned(root=str(stamps))
    assert found.captions == ["A cat.", "A dog."]
    assert len(found) == 2
    assert [each.size for each in found.pictures] == [(SIDE, SIDE)] * 2
    assert found.pictures[0].getpixel((SIDE // 2, 2)) == (255, 255, 255)
    assert found.pictures[0].getpixel((1, SIDE // 2)) == (200, 30, 30)
    assert found.name == "2 Tux Paint stamps"


def test_without_stamps_there_are_scenes_of_contents_of_their_own(tmp_path):
    found = captioned(30, seed=4, root=str(tmp_path / "nothing"))
    assert len(found) == len(found.pictures) == 30
    assert "no stamps are installed" in found.name
    assert len(set(found.captions)) == 30
    again = captioned(30, seed=4, root=str(tmp_path / "nothing"))
    assert again.captions == found.captions
    assert again.pictures[7].tobytes() == found.pictures[7].tobytes()


def test_one_scene_is_too_few(tmp_path):
    with pytest.raises(ValueError, match="n=1; give two scenes or more"):
        captioned(1, root=str(tmp_path / "nothing"))
