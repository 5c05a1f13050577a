"""Items with a label each: what is kept, what is left out and said, and halves that hold every label."""

from collections import Counter
from functools import partial

import numpy as np
import pytest
from PIL import Image

from workbench.data import stamps as stamps_module
from workbench.data.labelled import (
    SCENE_LABELS,
    Labelled,
    augmented_photos,
    class_captions,
    class_folders,
    labelled,
    scene_captions,
    scene_pictures,
    stamp_folders,
)
from workbench.data.scenes.world import SHAPES


def made(counts):
    labels = [name for name, many in counts.items() for _ in range(many)]
    return labelled("letters", [f"{label}{i}" for i, label in enumerate(labels)], labels)


# Labels ----------------------------------------------------------------------------------------------------------------


def test_rare_labels_are_left_out_and_said():
    found = made({"a": 5, "b": 3, "c": 4, "d": 1})
    assert Counter(found.labels.tolist()) == {"a": 5, "c": 4}
    assert [item[0] for item in found.items] == found.labels.tolist()
    assert found.left_out == "4 items of 2 labels that come fewer than 4 times"
    assert len(found) == 9
    assert made({"a": 5, "b": 4}).left_out == ""


def test_what_cannot_be_labelled():
    with pytest.raises(ValueError, match="2 items and 3 labels"):
        labelled("x", ["a", "b"], [0, 1, 1])
    with pytest.raises(ValueError, match=r"letters: 1 labels come 4 times or more; .* needs two such labels"):
        made({"a": 5, "b": 3})
    with pytest.raises(ValueError, match="0 labels come"):
        labelled("x", [], [])


def test_rows_keep_their_labels():
    data = made({"a": 5, "b": 4})
    for rows in ([0, 8, 3], np.array([0, 8, 3])):
        part = data[rows]
        assert isinstance(part, Labelled)
        assert part.items == ("a0", "b8", "a3")
        assert part.labels.tolist() == ["a", "b", "a"]


@pytest.mark.parametrize(
    "counts", [{"a": 4, "b": 4}, {"a": 4, "b": 4, "c": 5}, {"a": 5, "b": 7, "c": 5, "d": 30}, {"a": 4, "b": 301}]
)
@pytest.mark.parametrize("seed", range(3))
def test_halves_hold_every_label_twice(counts, seed):
    data = made(counts)
    first, second = data.halves(seed)
    assert sorted((*first.items, *second.items)) == sorted(data.items)
    assert abs(len(first) - len(second)) <= 1
    for half in (first, second):
        found = Counter(half.labels.tolist())
        assert found.keys() == counts.keys()
        assert min(found.values()) >= 2  # a partner to be found
        assert all(abs(found[label] - counts[label] / 2) <= 1 for label in counts)
        assert [item[0] for item in half.items] == half.labels.tolist()
        assert (half.name, half.left_out) == (data.name, data.left_out)


def test_halves_are_the_same_again():
    data = made({"a": 9, "b": 8})
    assert data.halves(1)[0].items == data.halves(1)[0].items
    assert data.halves(1)[0].items != data.halves(2)[0].items


def test_a_label_that_comes_once_has_no_halves():
    data = labelled("x", list("aab"), list("aab"), at_least=1)
    with pytest.raises(ValueError, match="only 1 member"):
        data.halves()


# Folders ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    for name in ("cats/1", "cats/2", "cats/old/3", "cats/old/older/4", "dogs/1", "dogs/2", "dogs/3", "dogs/4", "loose"):
        path = tmp_path / "pets" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    (tmp_path / "pets/cats/notes.txt").write_text("of cats")
    return tmp_path / "pets"


def test_the_first_directory_is_the_label(folder):
    found = class_folders(folder)
    assert found.name == "pets"
    assert Counter(found.labels.tolist()) == {"cats": 4, "dogs": 4}
    assert all(label in item.parts for item, label in zip(found.items, found.labels, strict=True))
    assert {item.name for item in found.items} == {"1.png", "2.png", "3.png", "4.png"}
    assert class_folders(str(folder)).items == found.items


def test_loose_pictures_have_no_label_and_that_is_said(folder):
    assert class_folders(folder).left_out == "1 pictures outside the class directories"
    Image.new("RGB", (4, 4)).save(folder / "second.jpg")
    (folder / "birds").mkdir()
    Image.new("RGB", (4, 4)).save(folder / "birds/1.png")
    assert class_folders(folder).left_out == (
        "1 items of 1 labels that come fewer than 4 times; 2 pictures outside the class directories"
    )


def test_a_folder_by_a_relative_name_has_its_own(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert class_folders(".").name == "pets"


def test_hidden_directories_are_no_classes(folder):
    (folder / ".ipynb_checkpoints").mkdir()
    for k in range(5):
        Image.new("RGB", (4, 4)).save(folder / f".ipynb_checkpoints/{k}.png")
    assert set(class_folders(folder).labels) == {"cats", "dogs"}


def test_folders_that_are_refused(folder):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        class_folders(folder / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"loose.png is not a folder"):
        class_folders(folder / "loose.png")
    with pytest.raises(ValueError, match="none in a directory; the directory's name is the label"):
        class_folders(folder / "cats/old/older")
    with pytest.raises(ValueError, match="0 labels come 5 times or more"):
        class_folders(folder, at_least=5)
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match="no pictures"):
        class_folders(folder / "empty")


# Stamps ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def stamps(tmp_path, monkeypatch):
    for top, many in (("animals", 9), ("food", 8), ("town", 3), ("symbols", 9)):
        (tmp_path / top / "kind").mkdir(parents=True)
        for k in range(many):
            Image.new("RGBA", (4, 4)).save(tmp_path / top / "kind" / f"{k}.png")
            (tmp_path / top / "kind" / f"{k}.txt").write_text(f"{top} number {k}\nde.utf8=x\n")
    monkeypatch.setattr(stamps_module, "photo_stamps", partial(stamps_module.photo_stamps, tmp_path))
    return tmp_path


def test_stamps_by_their_folder(stamps):
    found = stamp_folders()
    assert Counter(found.labels.tolist()) == {"animals": 9, "food": 8}
    assert found.left_out == "3 items of 1 labels that come fewer than 8 times"
    assert [item.relative_to(stamps).parts[0] for item in found.items] == found.labels.tolist()
    captions = stamp_folders(captions=True)
    assert captions.items[0] == "animals number 0"
    assert captions.labels.tolist() == found.labels.tolist()


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(stamps_module, "photo_stamps", partial(stamps_module.photo_stamps, tmp_path / "stamps"))
    with pytest.raises(FileNotFoundError, match="apt-get install tuxpaint-stamps-default"):
        stamp_folders()


# Scenes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", SCENE_LABELS)
def test_scenes_are_the_same_again(by):
    one, two = scene_pictures(60, 3, by), scene_pictures(60, 3, by)
    assert [each.tobytes() for each in one.items] == [each.tobytes() for each in two.items]
    assert one.labels.tolist() == two.labels.tolist()
    assert {each.shape for each in one.items} == {(64, 64, 3)}
    assert one.items[0].tobytes() != scene_pictures(60, 4, by).items[0].tobytes()
    assert min(Counter(one.labels.tolist()).values()) >= 2


def test_the_same_pictures_by_what_is_in_them():
    colours, shapes, both = (scene_pictures(80, 0, by) for by in ("colour", "shape", "object"))
    assert set(shapes.labels) <= set(SHAPES)
    assert len(colours) >= len(both)
    by_picture = {picture.tobytes(): label for picture, label in zip(both.items, both.labels, strict=True)}
    for picture, colour in zip(colours.items, colours.labels, strict=True):
        assert by_picture.get(picture.tobytes(), colour).split()[0] == colour
    pairs = scene_pictures(80, 0, "shape", kind="pair")
    assert all(len(label.split()) == 2 for label in pairs.labels)


def test_captions_of_a_scene_say_the_same_things_in_other_words():
    found = scene_captions(80, 1)
    assert len(found) == len(set(zip(found.items, found.labels.tolist(), strict=True)))
    by_label = {}
    for caption, label in zip(found.items, found.labels.tolist(), strict=True):
        by_label.setdefault(label, []).append(caption)
    assert min(map(len, by_label.values())) >= 2
    for label, captions in by_label.items():
        for thing in label.split(" + "):
            assert all(word in caption for caption in captions for word in thing.split())
        a, b = (thing.split()[-1] for thing in label.split(" + "))
        assert {caption.index(a) < caption.index(b) for caption in captions} == {True, False}  # either object first
    assert scene_captions(80, 1).items == found.items
    assert scene_captions(80, 2).items != found.items


@pytest.mark.parametrize(("n", "wordings", "many"), [(80, 4, 80), (10, 4, 12), (7, 3, 9), (30, 15, 30)])
def test_as_many_captions_as_whole_scenes_give(n, wordings, many):
    assert len(scene_captions(n, 0, wordings=wordings)) == many


def test_scenes_that_are_refused():
    for make in (scene_pictures, scene_captions):
        with pytest.raises(ValueError, match="by='size'; choose one of colour, shape, surface, object"):
            make(8, 0, "size")
    with pytest.raises(ValueError, match="kind='far'"):
        scene_pictures(8, 0, kind="far")
    for wordings in (0, -1, 16):
        with pytest.raises(ValueError, match=f"wordings={wordings}; choose 1 to 15"):
            scene_captions(8, 0, wordings=wordings)


# Texts and photos ------------------------------------------------------------------------------------------------------


def test_two_texts_of_every_class():
    found = class_captions()
    assert len(found) == 2000
    assert (np.bincount(found.labels) == 2).all()
    assert found.items[0] == "a photo of a tench"
    assert found.items[1000].startswith("tench")
    assert (found.labels[0], found.labels[1000]) == (0, 0)


def test_crops_of_photos():
    found = augmented_photos(4)
    assert "smoke level" in found.name
    assert set(Counter(found.labels.tolist()).values()) == {4}
    assert all(picture.width == picture.height > 40 for picture in found.items)
    assert len({picture.tobytes() for picture in found.items}) == len(found)
    again = augmented_photos(4)
    assert [each.tobytes() for each in found.items[:8]] == [each.tobytes() for each in again.items[:8]]


def test_splits_are_no_classes(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split / "cat").mkdir(parents=True)
        for k in range(4):
            Image.new("RGB", (8, 8)).save(tmp_path / split / "cat" / f"{k}.png")
    with pytest.raises(ValueError, match="test, train, which are splits; give one of them"):
        class_folders(tmp_path)


def test_captions_of_a_scene_are_a_group():
    data = scene_captions(40, 1, "shape", wordings=4)
    assert len(set(data.groups)) <= 10
    half = data[np.arange(0, len(data), 2)]
    assert np.array_equal(half.groups, data.groups[::2])
