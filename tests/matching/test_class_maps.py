"""Class maps: parity with plain loops, planted colours found where they are, and what is refused."""

import io
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from workbench.features import ImageFeatures, TextFeatures
from workbench.matching import ClassMap, class_map
from workbench.matching.class_maps import two_best
from workbench.matching.seen import seen_box
from workbench.models.registry import load_model

CLASSES = ("a red ball", "the cat", "a cube on the left", "blue")
COLOURS = {"red": (1.0, 0, 0), "green": (0, 1.0, 0), "blue": (0, 0, 1.0), "grey": (1.0, 1.0, 1.0)}


class Eye:
    """A model of 4 × 4 cells on 32 px whose patches are mean colours and whose texts are names of colours.

    It sees the middle `crop` of a square; with `pads` it letterboxes, which no cell can be placed under.
    """

    name, embed_dim = "eye", 3

    def __init__(self, crop: float = 1.0, pads: bool = False):
        self.crop, self.pads = crop, pads

    def seen(self, image, image_size=None):
        if self.pads:
            side = max(image.size)
            square = Image.new("RGB", (side, side))
            square.paste(image)
            return square.resize((32, 32))
        side = self.crop * min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        return image.resize((32, 32), Image.Resampling.BOX, box=(left, top, left + side, top + side))

    def preprocess(self, image, image_size=None):
        return torch.from_numpy(np.array(self.seen(image))).permute(2, 0, 1) / 255

    def grid(self, image_size=None):
        return 4, 4

    def encode_pixels(self, pixels, *, tokens, dense):
        cells = F.avg_pool2d(torch.stack(list(pixels)), 8).flatten(2).transpose(1, 2)
        return ImageFeatures(cells.mean(1), cells.mean(1), cells, (4, 4))

    def encode_text(self, texts):
        rows = torch.tensor([COLOURS[text] for text in texts])
        return TextFeatures(rows, rows)


@pytest.fixture(scope="module")
def clip(clip_folder):
    return load_model(f"local-dir:{clip_folder}", device="cpu")


def noise(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def flags(width, height):
    """Red left, green right, and the lower third blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0], pixels[:, width // 2 :, 1] = 200, 200
    pixels[2 * height // 3 :] = (0, 0, 200)
    return Image.fromarray(pixels)


def cosines_of(model, picture):
    tokens = model.encode_image(picture, tokens=True).tokens[0]
    texts = model.encode_text(list(CLASSES)).post
    return torch.tensor([[F.cosine_similarity(t, p, dim=0) for t in texts] for p in tokens])


def test_one_pass_is_the_best_cosine_of_every_patch(clip):
    picture = noise(64, 64)
    found = class_map(clip, picture, CLASSES)
    values, order = cosines_of(clip, picture).sort(dim=1, descending=True)
    assert found.grid == (4, 4)
    assert torch.equal(found.winner.flatten(), order[:, 0])
    assert torch.equal(found.runner_up.flatten(), order[:, 1])
    assert torch.allclose(found.cosine.flatten(), values[:, 0], atol=1e-6)
    assert torch.allclose(found.margin.flatten(), values[:, 0] - values[:, 1], atol=1e-6)


def shared(a, b, c, d):
    return max(min(b, d) - max(a, c), 0)


def plain_windows(model, photo, window, stride, h, w):
    """Cosines (h, w, C) over the photo: every window, every cell of it, by the area that both share."""
    width, height = photo.size
    lefts = sorted({*range(0, width - window + 1, stride), width - window})
    tops = sorted({*range(0, height - window + 1, stride), height - window})
    sums, areas, side = torch.zeros(h, w, len(CLASSES)), torch.zeros(h, w, 1), window / 4
    for top, left in itertools.product(tops, lefts):
        cosines = cosines_of(model, photo.crop((left, top, left + window, top + window))).reshape(4, 4, -1)
        for row, column, i, j in itertools.product(range(h), range(w), range(4), range(4)):
            y, x = top + i * side, left + j * side
            area = shared(row * height / h, (row + 1) * height / h, y, y + side)
            area *= shared(column * width / w, (column + 1) * width / w, x, x + side)
            sums[row, column] += area * cosines[i, j]
            areas[row, column] += area
    return sums / areas


@pytest.mark.parametrize(("size", "stride"), [((80, 64), 20), ((90, 51), 33), ((41, 64), 40)])
def test_windows_average_cosines_by_area(clip, size, stride):
    photo = noise(*size)
    found = class_map(clip, photo, CLASSES, window=40, stride=stride, batch_size=3)
    h, w = (round(length / 10) for length in size[::-1])
    assert found.grid == (h, w)
    assert found.box == (0, 0, *size)
    values, order = plain_windows(clip, photo, 40, stride, h, w).sort(dim=-1, descending=True)
    assert torch.allclose(found.cosine, values[..., 0], atol=1e-5)
    assert torch.allclose(found.margin, values[..., 0] - values[..., 1], atol=1e-5)
    sure = values[..., 0] - values[..., 1] > 1e-5
    assert torch.equal(found.winner[sure], order[..., 0][sure])


def test_one_window_of_the_whole_picture_is_one_pass(clip):
    picture = noise(64, 64)
    one, window = class_map(clip, picture, CLASSES), class_map(clip, picture, CLASSES, window=64)
    assert (one.passes, window.passes) == (1, 1)
    assert (one.box, one.kind) == (window.box, "one pass")
    assert torch.equal(one.winner, window.winner)
    assert torch.equal(one.cosine, window.cosine)


@pytest.mark.parametrize("options", [{}, {"window": 32}])
def test_the_order_of_classes_does_not_matter(clip, options):
    picture = noise(64, 64)
    one, other = (class_map(clip, picture, classes, **options) for classes in (CLASSES, CLASSES[::-1]))
    named = [[each.classes[c] for c in each.winner.flatten()] for each in (one, other)]
    assert named[0] == named[1]
    assert torch.allclose(one.margin, other.margin, atol=1e-6)
    assert torch.allclose(one.shares, other.shares.flip(0))


@pytest.mark.parametrize("options", [{}, {"window": 50}, {"window": 50, "stride": 17}])
def test_a_constant_picture_is_one_class_of_one_cosine(options):
    found = class_map(Eye(), Image.new("RGB", (120, 90), (0, 80, 0)), list(COLOURS), **options)
    assert found.shares.tolist() == [0, 1, 0, 0]
    assert torch.allclose(found.cosine, torch.ones(found.grid), atol=1e-6)
    assert torch.allclose(found.margin, torch.full(found.grid, 1 - 3**-0.5), atol=1e-6)
    assert {found.classes[c] for c in found.runner_up.flatten()} == {"grey"}


def test_classes_are_found_where_they_are_on_a_photo_that_is_not_square():
    found = class_map(Eye(), flags(160, 96), list(COLOURS), window=32, stride=16)
    expected = torch.zeros(12, 20, dtype=torch.long)
    expected[:, 10:], expected[8:] = 1, 2
    assert found.passes == 5 * 9
    assert torch.equal(found.winner, expected)
    assert torch.allclose(found.shares, torch.tensor([1 / 3, 1 / 3, 1 / 3, 0]))
    assert "45 windows of 32 px, every 16: 3 of 4 classes win somewhere" in str(found)


def test_one_pass_says_which_part_of_the_photo_it_saw():
    found = class_map(Eye(crop=0.5), flags(160, 96), list(COLOURS))
    assert found.box == (56, 24, 104, 72)
    assert found.pixels().shape == (48, 48)
    assert found.winner[0].tolist() == [0, 0, 1, 1]


def test_pixels_repeat_their_cells():
    found = class_map(Eye(), flags(64, 64), list(COLOURS))
    assert torch.equal(found.pixels(), found.winner.repeat_interleave(16, 0).repeat_interleave(16, 1))


def test_a_tower_that_crops_puts_its_cells_in_the_middle_of_windows():
    found = class_map(Eye(crop=0.75), flags(160, 96), list(COLOURS), window=32, stride=16)
    assert found.box == (4, 4, 156, 92)
    rows, columns = found.grid
    blue = (found.pixels() == 2)[:, 0].int().argmax()  # the first row of pixels that is blue
    assert abs(int(blue) - 60) <= 88 / rows  # 64 in the photo
    assert found.winner[0, 0] == 0
    assert found.winner[0, columns - 1] == 1


def test_gaps_that_a_crop_leaves_are_refused():
    with pytest.raises(ValueError, match="stride=32 leaves gaps: of every window the model sees 24 pixels; give 24"):
        class_map(Eye(crop=0.75), flags(160, 96), list(COLOURS), window=32, stride=32)


def test_vectors_stand_for_texts_whatever_their_length(clip):
    picture, vectors = noise(64, 64), clip.encode_text(list(CLASSES)).post
    by_text = class_map(clip, picture, CLASSES)
    given = class_map(clip, picture, ["1", "2", "3", "4"], vectors=7 * vectors)
    assert torch.equal(by_text.winner, given.winner)
    assert torch.allclose(by_text.cosine, given.cosine, atol=1e-6)


@pytest.mark.parametrize("max_bytes", [1, 4 * 7 * 3, 1 << 20])
def test_blocks_of_classes_change_nothing(max_bytes):
    generator = torch.Generator().manual_seed(0)
    cells, texts = torch.randn(7, 5, generator=generator), torch.randn(20, 5, generator=generator)
    values, order = (cells @ texts.T).sort(dim=1, descending=True)
    best, index = two_best(cells, texts, max_bytes=max_bytes)
    assert torch.allclose(best, values[:, :2], atol=1e-6)
    assert torch.equal(index, order[:, :2])


def test_a_tower_that_squeezes_sees_the_whole_photo():
    class Squeeze(Eye):
        def seen(self, image, image_size=None):
            return image.resize((32, 32), Image.Resampling.BICUBIC)

    for size in ((160, 96), (96, 160), (3000, 20), (17, 33)):
        found = class_map(Squeeze(), flags(*size), list(COLOURS))
        assert found.box == (0, 0, *size)
        assert found.winner[0].tolist() == [0, 0, 1, 1]
        assert found.winner[3].tolist() == [2, 2, 2, 2]


def test_a_turned_photo_is_read_upright():
    file, turned = io.BytesIO(), Image.Exif()
    turned[0x0112] = 6  # a quarter to the right
    flags(160, 96).save(file, "PNG", exif=turned)
    found = class_map(Eye(), file.getvalue(), list(COLOURS), window=32)
    assert found.size == (96, 160)
    assert found.winner[:, 0].eq(2).all(), "what lay below stands on the left"


def test_what_shines_through_is_white():
    clear = flags(160, 96).convert("RGBA")
    clear.putalpha(0)
    assert class_map(Eye(), clear, list(COLOURS), window=32).shares.tolist() == [0, 0, 0, 1]


def test_whole_numbers_of_numpy_are_whole_numbers():
    found = class_map(Eye(), flags(160, 96), list(COLOURS), window=np.int64(32), batch_size=np.int32(2))
    assert found.passes == 45


def test_the_image_size_makes_the_cells_finer():
    model = load_model("lite0-minilm", device="cpu")
    found = class_map(model, flags(70, 64), ["a red flag", "a meadow"], image_size=96, window=64)
    assert found.grid == (3, 3)
    assert class_map(model, flags(70, 64), ["a red flag", "a meadow"], image_size=128).grid == (4, 4)


def test_untrusted_classes_are_escaped():
    vectors = torch.eye(3)[:2]
    html = class_map(Eye(), flags(64, 64), ["<b>x</b>", "y"], vectors=vectors)._repr_mimebundle_()["text/html"]
    assert "<b>" not in html
    assert "&lt;b&gt;x" in html


# What a tower sees -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 64), (640, 427), (17, 4000), (4000, 500), (451, 300), (16, 16)])
def test_the_part_that_a_centre_crop_keeps(clip, size):
    side = min(size)
    middle = [(length - side) / 2 for length in size]
    for model in (Eye(), clip):
        box = seen_box(model, size)
        told = np.array(box) - [*middle, *(m + side for m in middle)]
        slack = 1 if isinstance(model, Eye) else 0.02 * side + 1  # open_clip rounds its sizes to whole pixels of 64
        assert abs(told).max() <= slack


def test_padding_has_no_place_for_cells():
    assert seen_box(Eye(pads=True), (64, 64)) == (0, 0, 64, 64)
    with pytest.raises(
        ValueError, match=r"eye does more to a picture of 160 × 96 than crop and resize it.*give window="
    ):
        class_map(Eye(pads=True), flags(160, 96), list(COLOURS))
    assert class_map(Eye(pads=True), flags(160, 96), list(COLOURS), window=32).passes == 45


# Bad input ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "options", "error", "message"),
    [
        ("red", {}, TypeError, "classes is one string, 'red'; give a list"),
        (["red"], {}, ValueError, "1 classes; a cell chooses between two or more"),
        ([], {}, ValueError, "0 classes"),
        (["red", "blue", "red"], {}, ValueError, "'red' stands more than once"),
        (["red", 3], {}, TypeError, "3 is no class: it is int"),
        (["red", "blue"], {"window": 97}, ValueError, "window=97 on a photo of 160 × 96 pixels; give 16 to 96"),
        (["red", "blue"], {"window": 8}, ValueError, "window=8 .* give 16 to 96, or None"),
        (["red", "blue"], {"window": 32.0}, TypeError, r"window is float 32.0; give a whole number of pixels"),
        (["red", "blue"], {"window": True}, TypeError, "window is bool"),
        (["red", "blue"], {"window": 32, "stride": 0}, ValueError, "stride=0 with windows of 32 pixels; give 1 to 32"),
        (["red", "blue"], {"window": 32, "stride": 33}, ValueError, "stride=33"),
        (["red", "blue"], {"stride": 16}, ValueError, "stride=16 goes with window="),
        (["red", "blue"], {"batch_size": 0}, ValueError, "batch_size=0; give how many windows"),
        (["red", "blue"], {"max_bytes": 0}, ValueError, "max_bytes=0"),
        (["red", "blue"], {"vectors": torch.eye(3)}, ValueError, r"vectors \(3, 3\) for 2 classes.*give \(2, 3\)"),
        (["red", "blue"], {"vectors": torch.eye(2)}, ValueError, r"of a model that is 3 wide; give \(2, 3\)"),
        (["red", "blue"], {"vectors": torch.zeros(2, 3)}, ValueError, "zeros or holds NaN"),
        (["red", "blue"], {"vectors": torch.full((2, 3), torch.nan)}, ValueError, "zeros or holds NaN"),
    ],
)
def test_refusals(classes, options, error, message):
    with pytest.raises(error, match=message):
        class_map(Eye(), flags(160, 96), classes, **options)


def test_a_photo_of_a_few_pixels_is_refused():
    with pytest.raises(ValueError, match="a picture of 40 × 9 pixels; give 16 or more each way"):
        class_map(Eye(), flags(40, 9), ["red", "blue"])


def test_more_cells_than_memory_are_refused(monkeypatch):
    from workbench.matching import windows

    monkeypatch.setattr(windows, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match=r"12 × 20 cells of 3 numbers.*give a larger window"):
        class_map(Eye(), flags(160, 96), ["red", "blue"], window=32)


def test_broken_patches_are_refused(monkeypatch):
    model, broken = Eye(), torch.full((1, 16, 3), torch.nan)
    monkeypatch.setattr(
        model, "encode_pixels", lambda pixels, **_: ImageFeatures(broken[:, 0], broken[:, 0], broken, (4, 4))
    )
    with pytest.raises(ValueError, match="patch tokens hold NaN"):
        class_map(model, flags(64, 64), ["red", "blue"])


def test_a_model_without_patches_says_so():
    from workbench.heads import LinearHead
    from workbench.models.paired import AlignmentHead, pair
    from workbench.models.towers import image_tower

    tower = image_tower("timm:test_vit", pretrained=False)
    model = pair(tower, "minilm", AlignmentHead(LinearHead(tower.width, 8), LinearHead(384, 8)))
    assert isinstance(class_map(model, noise(160, 160), CLASSES), ClassMap)
    tower._grids[tower.image_size] = None  # as of a tower that keeps no patches, such as PiT
    with pytest.raises(ValueError, match=r"has no patch grid.*take another model"):
        class_map(model, noise(160, 160), CLASSES)
