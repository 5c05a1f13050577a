"""Pooled boxes: pixel by pixel, across cells, in a frame, and the whole picture as the mean patch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from workbench.features import ImageFeatures
from workbench.matching import global_cosine, roi_features

FRAME = (0, 0, 40, 30)  # 3 rows of 4 cells of 10 pixels


@pytest.fixture
def image():
    tokens = torch.randn(2, 12, 5, generator=torch.Generator().manual_seed(0))
    return ImageFeatures(tokens.mean(1), tokens.mean(1), tokens, (3, 4))


def by_pixel(patches, box, frame=FRAME):
    left, top = frame[:2]
    inside = [
        patches[4 * ((y - top) // 10) + (x - left) // 10]
        for y in range(max(box[1], frame[1]), min(box[3], frame[3]))
        for x in range(max(box[0], frame[0]), min(box[2], frame[2]))
    ]
    return torch.stack(inside).mean(0)


@pytest.mark.parametrize("normalize", ["each", "whole"])
def test_a_box_is_the_mean_of_its_pixels_cells(image, normalize):
    boxes = [[(0, 0, 40, 30), (3, 4, 27, 29)], [(12, 13, 14, 15), (9, 9, 11, 11), (0, 0, 10, 10)]]
    found = roi_features(image, boxes, [FRAME] * 2, normalize=normalize)
    assert found.mask.tolist() == [[True, True, False], [True, True, True]]
    for n, each in enumerate(boxes):
        patches = F.normalize(image.tokens[n], dim=-1) if normalize == "each" else image.tokens[n]
        for r, box in enumerate(each):
            assert torch.allclose(found.tokens[n, r], by_pixel(patches, box), atol=1e-6)


def test_the_whole_picture_is_the_image_embedding_where_that_is_the_mean_patch(image):
    whole = roi_features(image, [[FRAME]] * 2, [FRAME] * 2, normalize="whole")
    text = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(whole.tokens[:, 0], image.post, atol=1e-6)
    assert torch.allclose(global_cosine(whole.tokens[:, 0], text), global_cosine(image.post, text), atol=1e-6)


def test_what_the_model_does_not_see_does_not_count(image):
    """Of a photo of 60 × 30 the model sees the middle 40 × 30."""
    frame = (10, 0, 50, 30)
    boxes = [[(0, 0, 25, 12), (0, 0, 9, 30), (50, 0, 60, 30), (30, 20, 99, 99)]] * 2
    found = roi_features(image, boxes, [frame] * 2)
    assert found.mask[0].tolist() == [True, False, False, True]
    assert found.boxes == tuple(map(tuple, boxes))
    patches = F.normalize(image.tokens[0], dim=-1)
    for r in (0, 3):
        assert torch.allclose(found.tokens[0, r], by_pixel(patches, boxes[0][r], frame), atol=1e-6)
    assert (found.tokens[0, 1:3] == 0).all()


def test_boxes_smaller_than_a_cell_and_of_any_type(image):
    box = np.array([21, 11, 22, 12])
    found = roi_features(image, [[box], [tuple(torch.tensor(box))]], [FRAME] * 2)
    assert torch.allclose(found.tokens[:, 0], F.normalize(image.tokens[:, 6], dim=-1), atol=1e-6)


@pytest.mark.parametrize(
    ("boxes", "frames", "options", "message"),
    [
        ([[FRAME]], [FRAME] * 2, {}, "1 lists of boxes for 2 pictures"),
        ([[FRAME]] * 2, [FRAME], {}, "1 frames for 2 pictures"),
        ([[FRAME], []], [FRAME] * 2, {}, r"picture 1 has no box in what the model sees of it, \(0, 0, 40, 30\)"),
        ([[FRAME], [(50, 0, 60, 9)]], [FRAME] * 2, {}, "picture 1 has no box in what the model sees"),
        ([[FRAME], [(3, 3, 3, 9)]], [FRAME] * 2, {}, r"picture 1: \(3, 3, 3, 9\) is no box"),
        ([[FRAME], [(0.5, 0, 1, 9)]], [FRAME] * 2, {}, r"picture 1: \(0.5, 0, 1, 9\) is no box; give \(left, top"),
        ([[FRAME]] * 2, [FRAME, (0, 0, 0, 5)], {}, r"picture 1: \(0, 0, 0, 5\) is no box"),
        ([[FRAME]] * 2, [FRAME] * 2, {"normalize": "mean"}, "normalize='mean'; choose 'each'"),
    ],
)
def test_bad_input_is_named(image, boxes, frames, options, message):
    with pytest.raises(ValueError, match=message):
        roi_features(image, boxes, frames, **options)


def test_without_patch_tokens_nothing_can_be_pooled(image):
    with pytest.raises(ValueError, match=r"no patch tokens; encode the pictures with encode_image\(tokens=True\)"):
        roi_features(ImageFeatures(image.pre, image.post), [[FRAME]] * 2, [FRAME] * 2)
