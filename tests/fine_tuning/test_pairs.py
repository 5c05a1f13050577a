"""Pictures with captions on their way into training: each once an epoch, one caption drawn of several, opened once."""

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.fine_tuning import Pairs
from workbench.fine_tuning import pairs as pairs_module
from workbench.models.registry import load_model

PICTURES = [np.full((8, 8, 3), 20 * i, dtype=np.uint8) for i in range(10)]
ONE_EACH = [f"caption {i}" for i in range(10)]


@pytest.fixture(scope="module")
def model():
    return load_model("scenes-clip", device="cpu")


@pytest.fixture
def folder(tmp_path):
    """Four pictures at two depths; the third has no caption."""
    (tmp_path / "deep").mkdir()
    for i, name in enumerate(["a.png", "b.png", "c.png", "deep/d.png"]):
        Image.fromarray(PICTURES[i]).save(tmp_path / name)
    for name, text in (("a", "a red cube"), ("b", "a blue ball\n"), ("deep/d", "a cat")):
        (tmp_path / f"{name}.txt").write_text(text)
    return tmp_path


def test_a_folder_with_captions_beside_pictures(folder):
    found = Pairs.from_source(folder)
    assert [path.name for path in found.pictures] == ["a.png", "b.png", "d.png"]
    assert found.captions == (("a red cube",), ("a blue ball",), ("a cat",))


def test_a_table_with_several_captions(folder):
    rows = ["path,caption", "a.png,a red cube", "b.png,a blue ball", "a.png,one cube", "a.png,the red one"]
    (folder / "table.csv").write_text("\n".join(rows))
    found = Pairs.from_source(folder / "table.csv")
    assert found.pictures == [folder / "a.png", folder / "b.png"]
    assert found.captions == (("a red cube", "one cube", "the red one"), ("a blue ball",))


def test_a_mapping_of_paths_to_captions(folder):
    found = Pairs.from_source({str(folder / "a.png"): ["a red cube", "one cube"], str(folder / "b.png"): "a blue ball"})
    assert found.pictures == [folder / "a.png", folder / "b.png"]
    assert found.captions == (("a red cube", "one cube"), ("a blue ball",))


def test_what_training_sees_of_a_file_is_what_encoding_sees(folder, model):
    found = Pairs.from_source(folder).pixels(model, [2, 0])
    assert torch.equal(found, torch.stack([model.preprocess(folder / name) for name in ("deep/d.png", "a.png")]))


@pytest.mark.parametrize("n", [1, 2])
def test_every_epoch_is_a_permutation(n):
    """Ten pictures in batches of three: nine of them each epoch, none twice, and in another order the next time."""
    pairs = Pairs(PICTURES, ONE_EACH)
    epochs = [np.concatenate([pairs.drawn(3, n, 3 * epoch + i)[0] for i in range(3)]) for epoch in range(4)]
    assert pairs.steps_of(3) == 3
    for rows in epochs:
        assert len(set(rows.tolist())) == 9
    assert len({tuple(rows) for rows in epochs}) == 4
    assert set(np.concatenate(epochs).tolist()) == set(range(10))  # what is left over is not always the same
    whole = pairs.drawn(10, n, 5)[0]
    assert sorted(whole.tolist()) == list(range(10))


def test_a_step_is_drawn_by_seed_and_step_alone():
    pairs, again = Pairs(PICTURES, ONE_EACH), Pairs(PICTURES, ONE_EACH)
    again.drawn(3, 0, 0)
    rows, captions = pairs.drawn(3, 0, 8)
    assert rows.tolist() == again.drawn(3, 0, 8)[0].tolist()
    assert captions == [ONE_EACH[row] for row in rows]
    assert rows.tolist() != pairs.drawn(3, 1, 8)[0].tolist()


def test_each_of_several_captions_is_drawn_about_as_often():
    pairs = Pairs(PICTURES, [[f"{i} {k}" for k in "abc"] for i in range(10)])
    counts = {}
    for step in range(300):
        rows, captions = pairs.drawn(10, 0, step)
        assert all(caption.split()[0] == str(row) for row, caption in zip(rows, captions, strict=True))
        for caption in captions:
            counts[caption] = counts.get(caption, 0) + 1
    assert len(counts) == 30
    assert min(counts.values()) > 60  # of 300, a third each: 100 ± 8
    assert max(counts.values()) < 140


def test_fewer_pictures_than_a_batch_are_one_batch():
    pairs = Pairs(PICTURES[:3], ONE_EACH[:3])
    assert pairs.steps_of(256) == 1
    assert sorted(pairs.drawn(256, 0, 7)[0].tolist()) == [0, 1, 2]


class Counting:
    """Preprocesses to (3, 4, 4), 192 bytes, and counts how often."""

    def __init__(self):
        self.asked = []

    def preprocess(self, picture):
        self.asked.append(int(picture[0, 0, 0]) // 20)
        return torch.full((3, 4, 4), float(picture[0, 0, 0]))


def test_pictures_are_opened_once_where_they_fit(monkeypatch):
    pairs, model = Pairs(PICTURES, ONE_EACH), Counting()
    first = pairs.pixels(model, [3, 1])
    assert torch.equal(pairs.pixels(model, [1, 3]), first.flip(0))
    assert model.asked == [3, 1]
    other = Counting()
    pairs.pixels(other, [1, 2])
    assert other.asked == [1, 2]  # another model has its own preprocessing


def test_no_more_is_kept_than_the_budget(monkeypatch):
    monkeypatch.setattr(pairs_module, "KEPT_BYTES", 2 * 192 + 100)
    pairs, model = Pairs(PICTURES, ONE_EACH), Counting()
    for _ in range(2):
        found = pairs.pixels(model, [0, 1, 2, 3])
        assert found[:, 0, 0, 0].tolist() == [0, 20, 40, 60]
    assert model.asked == [0, 1, 2, 3, 2, 3]


def test_digests_tell_data_apart():
    model, own = Counting(), Pairs(PICTURES, ONE_EACH)
    again = Pairs([each.copy() for each in PICTURES], list(ONE_EACH))
    assert own.digest(model) == again.digest(model)
    other_captions = Pairs(PICTURES, [*ONE_EACH[:-1], "another"])
    other_pictures = Pairs([*PICTURES[:-1], PICTURES[0]], ONE_EACH)
    regrouped = [Pairs(PICTURES[:2], each) for each in ([["a", "b"], ["c"]], [["a"], ["b", "c"]])]
    digests = [each.digest(model) for each in (own, other_captions, other_pictures, *regrouped)]
    assert len(set(digests)) == 5


@pytest.mark.parametrize(
    ("pictures", "captions", "error", "said"),
    [
        (PICTURES[:3], ONE_EACH[:2], ValueError, "3 pictures and captions for 2; give two or more, of each as many"),
        (PICTURES[:1], ONE_EACH[:1], ValueError, "1 pictures and captions for 1"),
        ([], [], ValueError, "0 pictures"),
        (PICTURES[:2], ["a", []], ValueError, "picture 1 has no caption; give one, or leave the picture out"),
        (PICTURES[:2], ["a", " "], ValueError, "a caption of picture 1 is empty"),
        (PICTURES[:2], ["a", ["b", 3]], TypeError, "a caption of picture 1 is int 3; captions are strings"),
        (PICTURES[:2], "ab", TypeError, "captions is one text, 'ab'; give one for each picture"),
    ],
)
def test_bad_pairs_are_named(pictures, captions, error, said):
    with pytest.raises(error, match=said):
        Pairs(pictures, captions)


def test_bad_sources_are_named(folder, tmp_path):
    (folder / "a.txt").unlink()
    (folder / "b.txt").unlink()
    with pytest.raises(ValueError, match="1 pictures and captions for 1; give two or more"):
        Pairs.from_source(folder)
    with pytest.raises(FileNotFoundError, match="there is no"):
        Pairs.from_source(tmp_path / "nowhere")
    (folder / "table.csv").write_text("file,words\na.png,a cube\n")
    with pytest.raises(ValueError, match=r"table\.csv has the columns file, words"):
        Pairs.from_source(folder / "table.csv")


def test_a_tar_is_refused(folder, tmp_path):
    import tarfile

    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for name in ("a", "b"):
            tar.add(folder / f"{name}.png", f"{name}.png")
            tar.add(folder / f"{name}.txt", f"{name}.txt")
    with pytest.raises(ValueError, match="is a tar; unpack it and give the folder"):
        Pairs.from_source(tmp_path / "shard.tar")


def test_a_picture_that_cannot_be_opened_is_named(tmp_path, model):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    pairs = Pairs([tmp_path / "broken.png", PICTURES[0]], ["a", "b"])
    with pytest.raises(ValueError, match=r"broken\.png"):
        pairs.pixels(model, [0])
