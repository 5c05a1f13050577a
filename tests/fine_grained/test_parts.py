"""Parts of quads: what they hold, that slices and files keep it, and what is refused."""

from dataclasses import replace

import pytest
import torch

from workbench.data.scenes import draw, quads
from workbench.fine_grained import QuadParts, quad_parts
from workbench.fine_grained.parts import some, true_boxes
from workbench.matching import crop_features
from workbench.models.registry import load_model


@pytest.fixture(scope="module")
def model(clip_folder):
    return load_model(f"local-dir:{clip_folder}", device="cpu")


@pytest.fixture(scope="module")
def drawn():
    return quads("Colour", 3, 0)


@pytest.fixture(scope="module")
def parts(model, drawn):
    return quad_parts(model, drawn)


def same(one: QuadParts, two: QuadParts) -> bool:
    tensors = [{(name, part): x for name, part, x in each._tensors()} for each in (one, two)]
    return tensors[0].keys() == tensors[1].keys() and all(
        torch.equal(x, tensors[1][key]) for key, x in tensors[0].items()
    )


def test_parts_are_two_by_two_and_end_with_the_caption(parts, drawn):
    assert len(parts) == 3
    assert parts.crops.tokens.shape[:2] == (6, 86)
    assert parts.segments.texts[3] == drawn[1].scenes[1].segments("mid")
    assert parts.segments.texts[3][-1] == drawn[1].captions[1]
    assert parts.objects.mask.sum(1).tolist() == [2] * 6


def test_the_whole_picture_as_a_crop_is_the_picture(parts):
    assert parts.whole.tokens.shape[1] == 1
    assert torch.allclose(parts.whole.tokens[:, 0], parts.image.post, atol=1e-5)


@pytest.mark.parametrize("category", ["Colour", "Size", "Relation"])
def test_crops_that_both_pictures_share_are_encoded_once_and_are_those_of_either(model, category, monkeypatch):
    drawn = quads(category, 2, 1)
    plain = crop_features(model, [draw(scene, 64) for quad in drawn for scene in quad.scenes])
    encoded = []
    real = model.encode_pixels
    monkeypatch.setattr(
        model, "encode_pixels", lambda pixels, **rest: encoded.append(len(pixels)) or real(pixels, **rest)
    )
    found = quad_parts(model, drawn).crops
    assert torch.allclose(found.tokens, plain.tokens, atol=1e-5)
    assert found.boxes == plain.boxes
    assert bool(found.mask.all())
    assert sum(encoded) < 4 * 86


def test_a_slice_is_what_its_quads_give(model, parts, drawn):
    alone = quad_parts(model, drawn[1:2])
    assert torch.allclose(parts[1:2].crops.tokens, alone.crops.tokens, atol=1e-5)
    assert parts[1:2].objects.boxes == alone.objects.boxes
    assert len(parts[:2]) == 2


def test_rows_by_number_take_lists_along(parts):
    found = some(parts.crops, [5, 0])
    assert torch.equal(found.tokens[0], parts.crops.tokens[5])
    assert found.boxes == (parts.crops.boxes[5], parts.crops.boxes[0])


def test_a_file_gives_back_what_it_was_given(tmp_path, parts):
    file = tmp_path / "some" / "parts.safetensors"
    parts.save(file, "weights and quads")
    again = QuadParts.load(file, "weights and quads")
    assert same(parts, again)
    assert (again.crops.boxes, again.objects.boxes) == (parts.crops.boxes, parts.objects.boxes)
    assert again.segments.texts == parts.segments.texts
    assert again.image.grid == parts.image.grid
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_another_key_or_no_file_is_nothing_and_other_files_are_refused(tmp_path, parts):
    file = tmp_path / "parts.safetensors"
    assert QuadParts.load(file) is None
    parts.save(file, "one")
    assert QuadParts.load(file, "two") is None
    file.write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="holds no parts of quads"):
        QuadParts.load(file, "one")


def test_true_boxes_stay_inside_and_hold_their_objects(drawn):
    for scene in drawn[0].scenes:
        for (a, b, c, d), (x0, y0, x1, y1) in zip(scene.pixel_boxes(64), true_boxes(scene, 64), strict=True):
            assert 0 <= x0 <= a
            assert 0 <= y0 <= b
            assert min(c, 64) <= x1 <= 64
            assert min(d, 64) <= y1 <= 64


def test_a_store_encodes_no_crop_twice(tmp_path, model, drawn, monkeypatch):
    first = quad_parts(model, drawn[:1], store=tmp_path)
    seen = []
    real = model.encode_pixels
    monkeypatch.setattr(model, "encode_pixels", lambda pixels, **rest: seen.append(len(pixels)) or real(pixels, **rest))
    again = quad_parts(model, drawn[:1], store=tmp_path)
    assert torch.equal(first.crops.tokens, again.crops.tokens)
    assert 86 * 2 not in seen


def test_bad_input_is_named(model, parts):
    with pytest.raises(ValueError, match="there are no quads"):
        quad_parts(model, [])
    small = replace(parts.crops, boxes=(((0, 0, 9, 9),) * 86,) * 6)
    with pytest.raises(ValueError, match=r"whole picture .* is not among the crops"):
        _ = replace(parts, crops=small).whole
