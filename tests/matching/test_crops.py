"""Crops and segments: the paper's numbers of crops, padding that never counts, and the global cosine as a special case."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from workbench.data.phrases import GRANULARITIES, segments
from workbench.data.pictures import open_picture
from workbench.matching import late_interaction
from workbench.matching.crops import SIZES, crop_boxes, crop_features, segment_features
from workbench.models.registry import load_model


@pytest.fixture(scope="module")
def model(clip_folder):
    return load_model(f"local-dir:{clip_folder}", device="cpu")


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (64, 80, 3), dtype=np.uint8)) for _ in range(2)]


def test_the_papers_numbers_of_crops():
    assert len(crop_boxes(224, 224)) == 86
    assert len(crop_boxes(224, 224, "overlap")) == 270
    sizes = {(x1 - x0, y1 - y0) for x0, y0, x1, y1 in crop_boxes(224, 224, "overlap")}
    assert sizes == set(SIZES)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (640, 480), (33, 200)])
def test_crops_scale_with_the_picture_and_stay_inside(width, height):
    for grid in ("grid", "overlap"):
        boxes = crop_boxes(width, height, grid)
        assert len(boxes) == {"grid": 86, "overlap": 270}[grid]
        assert all(0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height for x0, y0, x1, y1 in boxes)
        assert (0, 0, width, height) in boxes


def test_crops_of_one_size_side_by_side_cover_the_picture_once():
    covered = np.zeros((224, 224), int)
    for x0, y0, x1, y1 in crop_boxes(224, 224)[:49]:
        covered[y0:y1, x0:x1] += 1
    assert (covered == 1).all()


def test_one_full_crop_and_one_full_segment_are_the_global_cosine(model, pictures):
    captions = ["a red ball", "the cat left of a ball"]
    regions = crop_features(model, pictures, boxes=[[(0, 0, 80, 64)]] * 2)
    segments = segment_features(model, [[caption] for caption in captions])
    found = late_interaction(regions.tokens, segments.tokens, segments.mask, image_mask=regions.mask)
    image, text = model.encode_image(pictures).post, model.encode_text(captions).post
    assert torch.allclose(found, F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T, atol=1e-5)


def test_a_crop_is_what_encoding_the_cut_picture_gives(model, pictures):
    boxes = [[(3, 5, 40, 30)], [(0, 0, 64, 64), (10, 10, 20, 60)]]
    regions = crop_features(model, pictures, boxes=boxes, batch_size=2)
    alone = model.encode_image([pictures[1].crop((10, 10, 20, 60))]).post[0]
    assert torch.allclose(regions.tokens[1, 1], alone, atol=1e-5)
    assert regions.mask.tolist() == [[True, False], [True, True]]


def test_what_stands_over_the_edge_is_cut_off(model, pictures):
    regions = crop_features(model, pictures[:1], boxes=[[(-5, -5, 500, 30)]])
    assert regions.boxes == (((0, 0, 80, 30),),)


def test_whole_numbers_of_any_type_are_pixels(model, pictures):
    boxes = [(3, 5, 40, 30), (0, 0, 64, 64)]
    expected = crop_features(model, pictures[:1], boxes=[boxes])
    for same in (np.array(boxes), np.array(boxes, np.float32), torch.tensor(boxes), iter(boxes)):
        regions = crop_features(model, pictures[:1], boxes=[same])
        assert regions.boxes == expected.boxes
        assert all(type(side) is int for box in regions.boxes[0] for side in box)
        assert torch.equal(regions.tokens, expected.tokens)


def test_one_picture_is_a_list_of_one(model, pictures, tmp_path):
    path = tmp_path / "one.png"
    pictures[0].save(path)
    boxes = [[(3, 5, 40, 30)]]
    expected = crop_features(model, pictures[:1], boxes=boxes).tokens
    for one in (pictures[0], str(path), path, path.read_bytes(), np.asarray(pictures[0]), open_picture(path)):
        assert torch.equal(crop_features(model, one, boxes=boxes).tokens, expected)


def test_captions_are_cut_into_segments(model):
    captions = ["a red ball next to a blue cat", "a dog"]
    for granularity in GRANULARITIES:
        cut = segment_features(model, captions, granularity=granularity)
        ready = segment_features(model, [segments(caption, granularity) for caption in captions])
        assert cut.texts == ready.texts
        assert torch.equal(cut.tokens, ready.tokens)
    assert segment_features(model, iter(captions)).texts[0][:2] == ("red ball", "blue cat")


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        ("a dog", "captions is one string, 'a dog'; give a list of captions"),
        ([["a dog"], "a cat"], "caption 1 is a string, 'a cat', beside lists; give"),
        ([["a dog"], ["a cat", 3]], "caption 1 has the segment 3; segments are strings"),
        ([["a dog"], 3], "caption 1 is int 3; give a list of its segments"),
        (3, "captions is int 3; give a list of captions"),
    ],
)
def test_what_is_no_caption_is_named(model, captions, message):
    with pytest.raises(TypeError, match=message):
        segment_features(model, captions)


def test_equal_segments_are_encoded_once_and_their_order_does_not_matter(model):
    seen = []
    segments = segment_features(_Counting(model, seen), [["a ball", "a cat"], ["a cat", "a ball", "a red ball"]])
    assert seen == ["a ball", "a cat", "a red ball"]
    assert torch.equal(segments.tokens[0, 1], segments.tokens[1, 0])
    image = torch.randn(1, 5, segments.tokens.shape[2], generator=torch.Generator().manual_seed(0))
    turned = segment_features(model, [["a cat", "a ball"]])
    scores = [late_interaction(image, each.tokens[:1], each.mask[:1]) for each in (segments, turned)]
    assert torch.allclose(*scores, atol=1e-6)


class _Counting:
    def __init__(self, model, seen):
        self.model, self.seen = model, seen

    def encode_text(self, texts, **options):
        self.seen += texts
        return self.model.encode_text(texts, **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, _: crop_boxes(224, 224, "dense"), "grid='dense'; choose 'grid'"),
        (lambda model, _: crop_boxes(8, 224), "8 × 224 pixels; give 16 or more"),
        (lambda model, _: crop_features(model, []), "no pictures given"),
        (lambda model, some: crop_features(model, some, boxes=[[(0, 0, 9, 9)], []]), "picture 1 has no box"),
        (lambda model, some: crop_features(model, some, boxes=[[(0, 0, 9, 9)]]), "1 lists of boxes for 2 pictures"),
        (
            lambda model, some: crop_features(model, some[:1], boxes=[[(90, 0, 99, 9)]]),
            "lies outside picture 0 of 80 × 64",
        ),
        *(
            (lambda model, some, boxes=boxes: crop_features(model, some, boxes=boxes), message)
            for boxes, message in (
                (
                    [[(0, 0, 9, 9)], (0, 0, 9, 9)],
                    r"picture 1 of 80 × 64: 0 is no box; give boxes=\[\[\(left, top, right",
                ),
                ([[(0, 0, 9, 9), (1, 2, 3)]] * 2, r"picture 0 of 80 × 64: \(1, 2, 3\) is no box; .* whole pixels"),
                ([[(0.1, 0.1, 0.9, 0.9)]] * 2, r"picture 0 of 80 × 64: \(0.1, 0.1, 0.9, 0.9\) is no box"),
                ([[(0, 0, 9, 9)], [(0, 0, np.nan, 9)]], r"picture 1 of 80 × 64: \(0, 0, nan, 9\) is no box"),
                ([[(0, 0, np.inf, 9)], []], r"picture 0 of 80 × 64: \(0, 0, inf, 9\) is no box"),
                ([["0099"], []], "picture 0 of 80 × 64: '0099' is no box"),
                ([None, None], "picture 0 of 80 × 64: None is no box"),
                ([[(5, 5, 5, 9)]] * 2, r"box \(5, 5, 5, 9\) is empty or lies outside picture 0 of 80 × 64"),
            )
        ),
        (lambda model, some: crop_features(model, some, batch_size=0), "batch_size is 0; give how many crops"),
        (lambda model, some: crop_features(model, some, batch_size=2.5), "batch_size is 2.5; give how many crops"),
        (lambda model, some: segment_features(model, ["a"], granularity="tiny"), "granularity is 'tiny'"),
        (lambda model, some: segment_features(model, [["a"], []]), "caption 1 has no segments"),
        (lambda model, some: segment_features(model, []), "no captions given"),
    ],
)
def test_bad_input_is_named(model, pictures, call, message):
    with pytest.raises(ValueError, match=message):
        call(model, pictures)
