"""Every kind of picture gets its documented treatment, or a refusal that names the next step."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from workbench.data.pictures import open_picture

RED = (200, 30, 40)


def save(image, path, **options):
    image.save(path, **options)
    return path


def test_plain_rgb_comes_through_untouched(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    picture = open_picture(save(Image.fromarray(pixels), tmp_path / "a.png"))
    assert np.array_equal(np.asarray(picture.image), pixels)
    assert (picture.name, picture.notes) == ("a.png", ())


def test_alpha_is_flattened_on_white():
    picture = open_picture(Image.new("RGBA", (4, 4), (*RED, 0)))
    assert picture.image.getpixel((0, 0)) == (255, 255, 255)
    assert picture.notes == ("transparency flattened on white",)


def test_half_transparent_is_mixed_with_white():
    assert open_picture(Image.new("RGBA", (1, 2), (0, 100, 255, 51))).image.getpixel((0, 0)) == (204, 224, 255)


def test_nothing_is_said_where_nothing_is_transparent():
    picture = open_picture(Image.new("RGBA", (4, 4), (*RED, 255)))
    assert (picture.notes, picture.image.getpixel((0, 0)), picture.image.mode) == ((), RED, "RGB")


@pytest.mark.parametrize(
    "mode", ["1", "L", "La", "P", "RGBX", "RGBa", "YCbCr", "HSV", "LAB", "I", "F", "I;16", "I;16B"]
)
def test_every_mode_becomes_rgb(mode):
    assert open_picture(Image.new(mode, (3, 2))).image.mode == "RGB"


@pytest.mark.parametrize("mode", ["LA", "PA"])
def test_other_alpha_modes_too(mode):
    image = Image.new("RGBA", (4, 4), (*RED, 0)).convert("LA") if mode == "LA" else Image.new("PA", (4, 4))
    assert open_picture(image).notes == ("transparency flattened on white",)


def test_palette_with_a_transparent_colour(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, *RED])
    file = save(image, tmp_path / "p.png", transparency=1)
    assert open_picture(file).image.getpixel((0, 0)) == (255, 255, 255)
    assert open_picture(save(image, tmp_path / "q.png")).image.getpixel((0, 0)) == RED


def test_cmyk_jpeg_is_converted_and_said(tmp_path):
    picture = open_picture(save(Image.new("RGB", (8, 8), RED).convert("CMYK"), tmp_path / "c.jpg"))
    assert picture.notes == ("converted from CMYK",)
    assert np.abs(np.array(picture.image.getpixel((4, 4))) - RED).max() < 12


def test_16_bit_grey_keeps_its_fixed_range(tmp_path):
    values = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    picture = open_picture(save(Image.fromarray(values), tmp_path / "g.png"))
    assert [picture.image.getpixel((x, 0))[0] for x in range(3)] == [0, 100, 255]


def test_float_grey_is_stretched_and_said(tmp_path):
    values = np.array([[-1.0, 0.0, 1.0]], dtype=np.float32)
    picture = open_picture(save(Image.fromarray(values), tmp_path / "f.tiff"))
    assert [picture.image.getpixel((x, 0))[0] for x in range(3)] == [0, 128, 255]
    assert "stretched from -1…1" in picture.notes[0]


def test_nan_grey_is_refused(tmp_path):
    with pytest.raises(ValueError, match="NaN"):
        open_picture(Image.fromarray(np.full((2, 2), np.nan, dtype=np.float32)))


def test_one_bit(tmp_path):
    assert open_picture(save(Image.new("1", (4, 4), 1), tmp_path / "b.png")).image.getpixel((0, 0)) == (255, 255, 255)


def test_camera_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    assert open_picture(save(Image.new("RGB", (40, 20)), tmp_path / "e.jpg", exif=exif)).image.size == (20, 40)


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (4, 4), RED), Image.new("RGB", (4, 4), "blue")]
    file = save(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    picture = open_picture(file)
    assert picture.notes[0] == "first of 2 frames"
    assert picture.image.getpixel((0, 0)) == RED


def test_a_pil_picture_stays_at_its_frame(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, "blue")]
    with Image.open(save(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])) as image:
        image.seek(1)
        picture = open_picture(image)
    assert picture.notes == ("frame 2 of 2",)
    assert picture.image.getpixel((0, 0)) == (0, 0, 255)


def test_one_pixel_is_accepted_with_a_warning_in_words():
    assert "every patch will look the same" in open_picture(Image.new("RGB", (1, 1))).notes[0]


def test_very_wide_picture_is_scaled_down_and_said(tmp_path):
    picture = open_picture(save(Image.new("L", (20_000, 3_000), 90), tmp_path / "wide.png"))
    assert picture.image.size == (4096, 614)
    assert picture.notes == ("scaled down from 20000 × 3000 to 4096 × 614 pixels",)


def test_wide_jpeg_is_scaled_down_from_its_real_size(tmp_path):
    picture = open_picture(save(Image.new("RGB", (9_000, 30), RED), tmp_path / "wide.jpg"))
    assert picture.image.width == 4096
    assert "from 9000 × 30" in picture.notes[0]


@pytest.mark.parametrize(("orientation", "size"), [(1, "640 × 400"), (6, "400 × 640")])
def test_a_jpeg_decoded_smaller_is_noted_at_its_real_upright_size(tmp_path, orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = save(Image.new("RGB", (640, 400), RED), tmp_path / "a.jpg", exif=exif)
    picture = open_picture(file, max_side=80)  # the JPEG decoder goes down to 80 x 50 by itself
    assert max(picture.image.size) == 80
    assert picture.notes[0].startswith(f"scaled down from {size} to {picture.image.width} × ")


@pytest.mark.parametrize("max_side", [0, -1, 2.5, "4", None])
def test_no_size_to_scale_to(max_side):
    with pytest.raises(ValueError, match=r"max_side is .*; give a whole number of pixels"):
        open_picture(Image.new("RGB", (2, 2)), max_side=max_side)


def test_thin_picture_keeps_one_pixel():
    assert open_picture(Image.new("RGB", (9000, 1)), max_side=100).image.size == (100, 1)


def png_header(width, height):
    """A PNG that claims a size and holds no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\0\0\0\0IDAT"


@pytest.mark.parametrize("side", [9_500, 20_000])  # Pillow itself warns at the first and refuses the second
def test_bomb_is_refused_before_it_is_decoded(tmp_path, side):
    (tmp_path / "bomb.png").write_bytes(png_header(side, side))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"bomb.png has (\d+ × \d+, )?over 89,478,485 pixels.*scale it down first"):
            open_picture(tmp_path / "bomb.png")
    assert Image.MAX_IMAGE_PIXELS == 89_478_485


def test_a_program_outside_is_never_asked(tmp_path, monkeypatch):
    monkeypatch.setattr("subprocess.Popen", None)  # Pillow hands EPS to Ghostscript
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    with pytest.raises(ValueError, match="is not a picture that can be read; save it as PNG"):
        open_picture(tmp_path / "a.png")


def refusal(data):
    try:
        return f"forged but read: {open_picture(data, name='forged').image.size}"
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("ending", ["png", "jpg", "gif", "webp", "tiff", "bmp"])
def test_a_forged_file_is_read_or_refused_by_name(tmp_path, ending):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8))
    data = save(image, tmp_path / f"a.{ending}").read_bytes()
    for _ in range(100):
        forged = bytearray(data)
        for at in rng.integers(0, min(80, len(data)), 3):
            forged[at] = rng.integers(0, 256)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert refusal(bytes(forged)).startswith("forged ")


def test_a_user_may_raise_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    file = save(Image.new("RGB", (20, 20)), tmp_path / "a.png")
    with pytest.raises(ValueError, match="over 100 pixels"):
        open_picture(file)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert open_picture(file).image.size == (20, 20)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_truncated_picture_is_refused(tmp_path, ending):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    file = save(noise, tmp_path / f"cut.{ending}")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"cut.{ending} is .*(cut short|can be read).*(again|save it as)"):
        open_picture(file)


def test_a_pil_picture_that_was_opened_but_not_read_is_refused_too(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    file = save(noise, tmp_path / "cut.png")
    file.write_bytes(file.read_bytes()[:6000])
    with Image.open(file) as image, pytest.raises(ValueError, match=r"cut.png is cut short"):
        open_picture(image)


def test_text_named_png(tmp_path):
    (tmp_path / "notes.png").write_text("this is no picture")
    with pytest.raises(ValueError, match=r"notes.png is not a picture that can be read; save it as PNG, JPEG"):
        open_picture(tmp_path / "notes.png")


def test_empty_file(tmp_path):
    (tmp_path / "nothing.png").touch()
    with pytest.raises(ValueError, match=r"nothing.png is empty \(0 bytes\)"):
        open_picture(tmp_path / "nothing.png")


def test_an_address_is_not_fetched():
    with pytest.raises(ValueError, match=r"'https://example.org/cat.jpg' is an address; .* download it"):
        open_picture("https://example.org/cat.jpg")


def test_missing_file_names_the_nearest(tmp_path):
    save(Image.new("RGB", (2, 2)), tmp_path / "chelsea.png")
    with pytest.raises(FileNotFoundError, match=r"no 'chelsae.png' in .*near: chelsea.png"):
        open_picture(tmp_path / "chelsae.png")
    with pytest.raises(FileNotFoundError, match="folder does not exist"):
        open_picture(tmp_path / "no" / "a.png")


def test_folder_and_drawing(tmp_path):
    with pytest.raises(ValueError, match="is a folder"):
        open_picture(tmp_path)
    (tmp_path / "a.svg").write_text("<svg/>")
    with pytest.raises(ValueError, match="convert it to PNG"):
        open_picture(tmp_path / "a.svg")
    with pytest.raises(ValueError, match=r"x.png is a drawing"):
        open_picture(b"\n<?xml version='1.0'?><svg/>", name="x.png")


def test_a_path_too_long_for_the_system():
    with pytest.raises(ValueError, match=r"cannot be looked up .*check the path"):
        open_picture("x" * 5000)


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (5, 6, 3), (5, 6, 4)])
def test_arrays(shape):
    assert open_picture(np.zeros(shape, np.uint8)).image.size == (6, 5)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (np.zeros((5, 6, 3), np.float32), TypeError, "uint8 in 0..255, not float32"),
        (np.zeros((5, 6, 2), np.uint8), ValueError, r"not \(5, 6, 2\)"),
        (np.zeros((0, 6, 3), np.uint8), ValueError, r"not \(0, 6, 3\)"),
        (3, TypeError, "int is no picture"),
        (None, TypeError, "NoneType is no picture"),
    ],
)
def test_no_picture(source, error, message):
    with pytest.raises(error, match=message):
        open_picture(source)


def test_uploaded_bytes_keep_their_untrusted_name():
    buffer = io.BytesIO()
    Image.new("RGB", (3, 3), RED).save(buffer, "PNG")
    picture = open_picture(buffer.getvalue(), name="<script>alert(1)</script>.png")
    assert picture.name == "<script>alert(1)</script>.png"
    assert picture.image.getpixel((1, 1)) == RED


def test_an_error_names_the_whole_path_and_a_picture_its_file(tmp_path):
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats/4.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"cats/4\.png is not a picture that can be read"):
        open_picture(tmp_path / "cats/4.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "cats/5.png")
    assert open_picture(tmp_path / "cats/5.png").name == "5.png"
