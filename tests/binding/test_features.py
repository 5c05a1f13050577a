"""Features of quads: shapes at the door, one file, controls that do not look."""

import numpy as np
import pytest
import torch

from tests.binding.planted import planted
from workbench.binding import QuadFeatures, Side


def parts(features):
    return [*features.images.parts().values(), *features.texts.parts().values()]


def same(a, b):
    return all(torch.equal(torch.as_tensor(x), torch.as_tensor(y)) for x, y in zip(parts(a), parts(b), strict=True))


def test_what_is_kept_in_a_file_comes_back(tmp_path):
    features = planted(6)
    features.save(tmp_path / "deeper" / "quads.safetensors")
    found = QuadFeatures.load(tmp_path / "deeper" / "quads.safetensors")
    assert same(features, found)
    assert found.ids == features.ids
    assert [file.name for file in (tmp_path / "deeper").iterdir()] == ["quads.safetensors"]


def test_halves_and_arrays_stay_what_they_are_in_a_file(tmp_path):
    images = Side(np.ones((3, 2, 4), dtype=np.float16))
    QuadFeatures(images, Side(torch.ones(3, 2, 5))).save(tmp_path / "quads")
    found = QuadFeatures.load(tmp_path / "quads")
    assert found.images.post.dtype == torch.float16
    assert found.images.tokens is None
    assert found.images.to("cpu").post.dtype == torch.float32


def test_arrays_memory_maps_and_tensors_are_read_alike(tmp_path):
    features = planted(8)
    np.save(tmp_path / "tokens.npy", features.images.tokens.numpy())
    mapped = Side(features.images.post.numpy(), np.load(tmp_path / "tokens.npy", mmap_mode="r"))
    arrays = QuadFeatures(mapped, features.texts, features.ids)
    rows = np.array([5, 0, 3])
    for ours, theirs in zip(parts(arrays[rows]), parts(features[rows]), strict=True):
        assert torch.equal(torch.as_tensor(np.asarray(ours)), theirs)
    assert arrays[rows].ids == ("Size/5", "Colour/0", "Size/3")


def test_quads_of_a_category_are_found_by_their_ids():
    found = planted(7).of("Size")
    assert found.ids == ("Size/1", "Size/3", "Size/5")
    with pytest.raises(ValueError, match="no quads of category 'Shape'; there are Colour, Size"):
        planted(7).of("Shape")


def test_flat_sides_have_one_row_per_item():
    flat = planted(4).texts.flat()
    assert flat.tokens.shape == (8, 4, 10)
    assert torch.equal(flat.mask[3], planted(4).texts.mask[1, 1])


def test_shuffled_pictures_are_those_of_one_other_quad():
    features = planted(9)
    order = [int((features.images.post == one).all((1, 2)).int().argmax()) for one in features.shuffled(3).images.post]
    found = features.shuffled(3).images.tokens
    assert all(
        any(torch.equal(found[q], features.images.tokens[other]) for other in range(9) if other != q) for q in range(9)
    )
    assert not any(torch.equal(found[q], features.images.tokens[q]) for q in range(9))
    assert len(order) == 9
    assert same_texts(features, features.shuffled(3))


def test_blind_quads_show_one_picture_of_another_quad_twice():
    features, blind = planted(9), planted(9).blind()
    assert torch.equal(blind.images.tokens[:, 0], blind.images.tokens[:, 1])
    assert not any(torch.equal(blind.images.tokens[q, 0], features.images.tokens[q, 0]) for q in range(9))
    assert same_texts(features, blind)


def same_texts(a, b):
    return torch.equal(a.texts.tokens, b.texts.tokens) and torch.equal(a.texts.post, b.texts.post)


@pytest.mark.parametrize(
    ("sides", "match"),
    [
        (lambda: (Side(torch.ones(3, 4)), Side(torch.ones(3, 2, 4))), r"post of images has shape \(3, 4\)"),
        (lambda: (Side(torch.ones(3, 2, 4)), Side(torch.ones(3, 3, 4))), r"post of texts has shape \(3, 3, 4\)"),
        (lambda: (Side(torch.ones(3, 2, 4)), Side(torch.ones(2, 2, 4))), "3 quads of pictures, 2 of captions, 0 ids"),
        (lambda: (Side(torch.ones(3, 2, 4)), Side(torch.ones(3, 2, 4)), ("a",)), "1 ids"),
        (lambda: (Side(torch.ones(0, 2, 4)), Side(torch.ones(0, 2, 4))), "nothing empty"),
    ],
)
def test_sides_that_are_not_of_the_same_quads_are_refused(sides, match):
    with pytest.raises(ValueError, match=match):
        QuadFeatures(*sides())


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"tokens": torch.ones(3, 5, 4)}, ValueError, "both start alike"),
        ({"tokens": torch.ones(3, 2, 0, 4)}, ValueError, "both start alike"),
        ({"mask": torch.ones(3, 2, 5, dtype=torch.bool)}, ValueError, "does not fit tokens None"),
        (
            {"tokens": torch.ones(3, 2, 5, 4), "mask": torch.ones(3, 2, 4, dtype=torch.bool)},
            ValueError,
            r"mask \(3, 2, 4\)",
        ),
        ({"tokens": torch.ones(3, 2, 5, 4), "mask": torch.ones(3, 2, 5)}, TypeError, "give boolean"),
        ({"tokens": torch.ones(3, 2, 5, 4), "words": np.ones((3, 2, 5))}, TypeError, "give whole numbers"),
    ],
)
def test_parts_of_a_side_that_do_not_fit_are_refused(options, error, match):
    with pytest.raises(error, match=match):
        Side(torch.ones(3, 2, 4), **options)


def test_values_are_checked_where_they_stand():
    features = planted(6)
    features.check()
    features.texts.mask[4, 1] = False
    with pytest.raises(ValueError, match="texts of quad 4 hold a row in which no token counts"):
        features.check()
    features.images.tokens[2, 0, 1, 3] = torch.nan
    with pytest.raises(ValueError, match="images of quad 2 hold NaN or infinite values in tokens"):
        features.check()


def test_a_file_that_is_none_or_another_is_refused(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(FileNotFoundError, match=r"QuadFeatures\.save"):
        QuadFeatures.load(tmp_path / "none")
    save_file({"rows": torch.ones(2)}, tmp_path / "rows")
    (tmp_path / "cut").write_bytes(b"\x10\0\0\0")
    for name in ("rows", "cut"):
        with pytest.raises(ValueError, match=f"{name} holds no features of quads"):
            QuadFeatures.load(tmp_path / name)
