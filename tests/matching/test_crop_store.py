"""Crops that are kept: a second run encodes nothing, whatever form and company a picture comes in."""

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.matching import crop_features, score, segment_features
from workbench.models.registry import load_model
from workbench.store import EmbeddingStore


@pytest.fixture(scope="module")
def model(clip_folder):
    return load_model(f"local-dir:{clip_folder}", device="cpu")


@pytest.fixture(scope="module")
def pictures():
    pixels = np.random.default_rng(0).integers(0, 255, (3, 64, 80, 3), dtype=np.uint8)
    return [Image.fromarray(each) for each in pixels]


class Counting:
    """A model that counts the pictures that it prepares and encodes."""

    def __init__(self, model):
        self.model, self.encoded, self.prepared = model, 0, 0

    def __getattr__(self, name):
        return getattr(self.model, name)

    def preprocess(self, *args):
        self.prepared += 1
        return self.model.preprocess(*args)

    def encode_pixels(self, pixels, **options):
        self.encoded += len(pixels)
        return self.model.encode_pixels(pixels, **options)


@pytest.fixture
def counting(model):
    return Counting(model)


def test_a_second_run_computes_no_picture_and_scores_the_same(counting, pictures, tmp_path):
    store = EmbeddingStore(tmp_path)
    first = crop_features(counting, pictures, store=store)
    assert counting.encoded == counting.prepared == 3 * 86
    again = crop_features(counting, pictures, store=EmbeddingStore(tmp_path))
    assert counting.encoded == counting.prepared == 3 * 86
    assert torch.equal(again.tokens, first.tokens)
    assert torch.equal(again.mask, first.mask)
    assert again.boxes == first.boxes
    segments = segment_features(counting, ["a red ball next to a blue cat"])
    assert torch.equal(score("crops", again, segments), score("crops", first, segments))
    assert counting.encoded == 3 * 86


def test_kept_or_not_the_numbers_are_the_same(model, pictures, tmp_path):
    kept, free = crop_features(model, pictures, store=tmp_path), crop_features(model, pictures)
    assert torch.equal(kept.tokens, free.tokens)


def test_company_and_form_of_a_picture_do_not_matter(counting, pictures, tmp_path):
    crop_features(counting, pictures, store=tmp_path / "store")
    before = counting.encoded
    path = tmp_path / "one.png"
    pictures[1].save(path)
    for one in (pictures[1], path, str(path), path.read_bytes(), np.asarray(pictures[1])):
        crop_features(counting, one, store=tmp_path / "store")
    crop_features(counting, pictures[::-1], store=tmp_path / "store", batch_size=7)
    assert counting.encoded == before
    other = Image.fromarray(255 - np.asarray(pictures[0]))
    crop_features(counting, [pictures[0], other, pictures[2]], store=tmp_path / "store")
    assert counting.encoded == before + 86


def test_equal_pictures_are_encoded_once(counting, pictures, tmp_path):
    found = crop_features(counting, [pictures[0]] * 3, store=tmp_path)
    assert counting.encoded == 86
    assert torch.equal(found.tokens[0], found.tokens[2])


def test_other_boxes_are_other_crops(counting, pictures, tmp_path):
    boxes = [[(0, 0, 30, 30)], [(0, 0, 30, 30), (5, 5, 60, 60)], [(1, 0, 30, 30)]]
    found = crop_features(counting, pictures, boxes=boxes, store=tmp_path)
    assert counting.encoded == 4
    crop_features(counting, pictures, boxes=boxes, store=tmp_path)
    crop_features(counting, pictures[:1], boxes=[[(-9, -9, 30, 30)]], store=tmp_path)  # the same inside the picture
    assert counting.encoded == 4
    turned = crop_features(counting, pictures[1:2], boxes=[boxes[1][::-1]], store=tmp_path)
    assert counting.encoded == 6
    assert torch.allclose(turned.tokens[0].flip(0), found.tokens[1], atol=1e-6)
    crop_features(counting, pictures[0], grid="overlap", store=tmp_path)
    assert counting.encoded == 6 + 270


def test_other_weights_are_other_crops(clip_folder, pictures, tmp_path):
    model = load_model(f"local-dir:{clip_folder}", device="cpu")
    first = crop_features(model, pictures[0], boxes=[[(0, 0, 30, 30)]], store=tmp_path)
    with torch.no_grad():
        for parameter in model.module.visual.parameters():
            parameter.mul_(1.5)
    other = load_model(f"local-dir:{clip_folder}", device="cpu")
    other.module.load_state_dict(model.module.state_dict())
    second = crop_features(other, pictures[0], boxes=[[(0, 0, 30, 30)]], store=tmp_path)
    assert not torch.allclose(first.tokens, second.tokens)


def test_what_was_done_before_a_stop_is_kept(counting, pictures, tmp_path):
    class Stopping(Counting):
        def encode_pixels(self, pixels, **options):
            if self.encoded + len(pixels) > 200:
                raise KeyboardInterrupt
            return super().encode_pixels(pixels, **options)

    with pytest.raises(KeyboardInterrupt):
        crop_features(Stopping(counting.model), pictures, store=tmp_path, batch_size=20)
    crop_features(counting, pictures, store=tmp_path, batch_size=20)
    assert counting.encoded == 86


def test_broken_numbers_and_hooks_are_not_kept(counting, pictures, tmp_path):
    class Broken(Counting):
        def encode_pixels(self, pixels, **options):
            found = super().encode_pixels(pixels, **options)
            found.post[2] = torch.nan
            return found

    boxes = [[(0, 0, 30, 30), (0, 0, 40, 40)], [(1, 2, 33, 44)]]
    crop_features(counting, pictures[:1], boxes=boxes[:1], store=tmp_path)
    for store in (None, tmp_path / "other"):
        with pytest.raises(
            ValueError, match=r"makes NaN or infinity of crop \(1, 2, 33, 44\) of picture 1; take dtype"
        ):
            crop_features(Broken(counting.model), pictures[:2], boxes=boxes, store=store)
    handle = counting.module.visual.register_forward_hook(lambda *_: None)
    try:
        with pytest.raises(ValueError, match="has a hook, which may change numbers under the same key"):
            crop_features(counting, pictures, store=tmp_path)
    finally:
        handle.remove()


@pytest.mark.parametrize("side", [16, 64, 112, 256, 448])
def test_crops_are_those_of_224_pixels_scaled(side):
    from workbench.matching import crop_boxes

    for grid in ("grid", "overlap"):
        reference = np.array(crop_boxes(224, 224, grid)) * side / 224
        found = np.array(crop_boxes(side, side, grid))
        assert np.abs(found - reference).max() <= 0.5
        assert (found[:, 2:] > found[:, :2]).all()
