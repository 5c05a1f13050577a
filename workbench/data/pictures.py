"""Pictures from anywhere, as the RGB that a tower expects; what had to be changed on the way is said.

| what comes | what happens |
|---|---|
| EXIF orientation | applied |
| alpha, palette transparency | flattened on white, noted |
| CMYK | converted, noted |
| 16-bit grey | divided by 257 |
| 32-bit or float grey | stretched from its minimum to its maximum, noted |
| several frames | the first, noted; of a PIL picture, the frame it stands at |
| longest side above `max_side` | scaled down, noted |
| more pixels than Pillow's bomb limit (89.5 million) | refused before decoding |
| truncated, empty, not a picture | refused |
| any format but PNG, JPEG, WebP, GIF, TIFF, BMP | refused: Pillow hands EPS, for one, to a program outside |
"""

from __future__ import annotations

import difflib
import io
import struct
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError

if TYPE_CHECKING:
    import numpy as np

FORMATS = "PNG, JPEG, WebP, GIF, TIFF or BMP"
_READ = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP")
# What Pillow raises on forged or broken files
_DAMAGED = (
    *(OSError, SyntaxError, EOFError, TypeError, ValueError, struct.error),
    *(IndexError, KeyError, AttributeError, OverflowError, ZeroDivisionError),
)


@dataclass(frozen=True)
class Picture:
    """An RGB picture, a name to call it by (untrusted text), and notes on what was changed to get there."""

    image: Image.Image
    name: str
    notes: tuple[str, ...] = ()


def open_picture(source, *, name: str | None = None, max_side: int = 4096) -> Picture:
    """A picture from a path, the bytes of a file, a PIL picture or a uint8 array (H, W), (H, W, 1|3|4).

    Raises FileNotFoundError for a missing file, ValueError for what is not a whole picture or is too large, TypeError for
    any other source. Each message names the next step.
    """
    if isinstance(source, Picture):
        return source
    if not isinstance(max_side, int) or max_side < 1:
        raise ValueError(f"max_side is {max_side!r}; give a whole number of pixels from 1, such as 4096")
    if isinstance(source, Image.Image):
        return _from_pil(source, name or _own_name(source), max_side)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decoded(io.BytesIO(bytes(source)), name or "uploaded picture", max_side)
    if isinstance(source, str) and source.lower().startswith(("http://", "https://")):
        raise ValueError(
            f"{source!r:.80} is an address; nothing is fetched here, so download it and give the file's path"
        )
    if isinstance(source, (str, Path)):
        path = _existing(Path(source).expanduser())
        with path.open("rb") as file:  # 4.png of which folder? an error names the whole path
            return replace(_decoded(file, name or str(path), max_side), name=name or path.name)
    if hasattr(source, "__array_interface__"):
        return _prepared(_from_array(source), name or "array", max_side)
    raise TypeError(
        f"{type(source).__name__} is no picture; give a path, the bytes of a file, a PIL picture or a uint8 array"
    )


def _own_name(image: Image.Image) -> str:
    return Path(getattr(image, "filename", "") or "picture").name


def _existing(path: Path) -> Path:
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:  # a name too long for the system, or a folder that may not be entered
        raise ValueError(f"{str(path)[:80]!r} cannot be looked up ({error.strerror}); check the path") from error
    if is_folder:
        raise ValueError(f"{path} is a folder; give one of the picture files in it")
    if not is_file:
        raise FileNotFoundError(
            f"there is no {path.name!r} in {path.parent}{_nearest(path)}; check the name and the folder"
        )
    return path


def _nearest(path: Path) -> str:
    if not path.parent.is_dir():
        return " (the folder does not exist)"
    names = [each.name for each in path.parent.iterdir()]
    near = difflib.get_close_matches(path.name, names, n=3)
    return f" (near: {', '.join(near)})" if near else ""


def _decoded(file: BinaryIO, name: str, max_side: int) -> Picture:
    _check_head(file.read(1024), name)
    file.seek(0)
    with _said_clearly(name):
        image = Image.open(file, formats=_READ)
    _check_pixels(image, name)
    with _said_clearly(name), image:
        full, notes = image.size, _frame_note(image)
        image.draft("RGB", (max_side, max_side))  # JPEG decodes straight to a smaller size
        upright = ImageOps.exif_transpose(image)
        if upright.size != image.size:
            full = full[::-1]
    return _prepared(upright, name, max_side, full, notes)


def _from_pil(image: Image.Image, name: str, max_side: int) -> Picture:
    with _said_clearly(name):  # Image.open() reads no pixels: a file cut short shows only now
        notes, upright = _frame_note(image), ImageOps.exif_transpose(image)
    return _prepared(upright, name, max_side, notes=notes)


def _check_head(head: bytes, name: str) -> None:
    if not head:
        raise ValueError(f"{name} is empty (0 bytes); download or copy it again")
    if Path(name).suffix.lower() in (".svg", ".svgz") or (
        head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<" and b"<svg" in head
    ):
        raise ValueError(f"{name} is a drawing (SVG); convert it to PNG first")


def _frame_note(image: Image.Image) -> tuple[str, ...]:
    frames, at = getattr(image, "n_frames", 1), image.tell()
    if frames == 1:
        return ()
    return (f"frame {at + 1} of {frames}" if at else f"first of {frames} frames",)


@contextmanager
def _without_warnings():
    """Pillow's warnings off, in the main thread only: filters are one for all threads, and threads that put back each
    other's would leave every warning of the process off."""
    if current_thread() is not main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _said_clearly(name: str):
    """Pillow's failures as one sentence with the next step."""
    try:
        with _without_warnings():  # large sizes are refused in words of our own; odd metadata does no harm
            yield
    except UnidentifiedImageError as error:
        raise ValueError(f"{name} is not a picture that can be read; save it as {FORMATS}") from error
    except Image.DecompressionBombError as error:
        raise ValueError(_too_large(name)) from error
    except _DAMAGED as error:
        raise ValueError(f"{name} is cut short or damaged ({error}); download or copy it again") from error


def _check_pixels(image: Image.Image, name: str) -> None:
    limit = Image.MAX_IMAGE_PIXELS  # a user may have raised it, or switched it off with None
    if limit is not None and image.width * image.height > limit:
        raise ValueError(_too_large(name, f"{image.width} × {image.height}, "))


def _too_large(name: str, size: str = "") -> str:
    return (
        f"{name} has {size}over {Image.MAX_IMAGE_PIXELS:,} pixels, Pillow's limit against decompression bombs; scale it "
        "down first, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust the file"
    )


def _from_array(array: np.ndarray) -> Image.Image:
    import numpy as np

    array = np.asarray(array)
    if array.dtype != np.uint8:
        raise TypeError(
            f"an array picture is uint8 in 0..255, not {array.dtype}; for floats in 0..1 give (255 * x).astype('uint8')"
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or 0 in array.shape:
        raise ValueError(f"an array picture is (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), not {array.shape}")
    return Image.fromarray(array)


def _prepared(
    image: Image.Image, name: str, max_side: int, full: tuple[int, int] | None = None, notes: tuple[str, ...] = ()
) -> Picture:
    """An upright picture as RGB within `max_side`; `full` is its size before a JPEG was decoded smaller."""
    if 0 in image.size:
        raise ValueError(f"{name} is {image.width} × {image.height} pixels; a picture has at least one")
    image, converted = _to_rgb(image, name)
    image, scaled = _fitting(image, max_side, full or image.size)
    single = ["1 × 1 pixel: every patch will look the same"] if image.size == (1, 1) else []
    return Picture(image, name, (*notes, *converted, *scaled, *single))


def _to_rgb(image: Image.Image, name: str) -> tuple[Image.Image, list[str]]:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image, []
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _grey(image, name)
    if image.has_transparency_data:
        return _on_white(image)
    return image.convert("RGB"), ["converted from CMYK"] if image.mode == "CMYK" else []


def _on_white(image: Image.Image) -> tuple[Image.Image, list[str]]:
    if image.mode == "La":  # Pillow converts it to LA and to nothing else
        image = image.convert("LA")
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    alpha = rgba.getchannel("A")
    if alpha.getextrema() == (255, 255):  # a screenshot, say: nothing to see through
        return rgba.convert("RGB"), []
    white = Image.new("RGB", rgba.size, "white")
    white.paste(rgba, mask=alpha)  # in place: alpha_composite() would hold three more copies
    return white, ["transparency flattened on white"]


def _grey(image: Image.Image, name: str) -> tuple[Image.Image, list[str]]:
    """Grey of more than 8 bits: 16-bit by its fixed range, wider by its own."""
    import numpy as np

    if image.mode.startswith("I;16"):
        eight, notes = np.asarray(image, dtype=np.float32) / 257, ["16-bit grey reduced to 8"]
    else:
        values = np.asarray(image, dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError(f"{name} holds NaN or infinite values; replace them first")
        low, high = values.min(), values.max()
        eight, notes = 255 * (values - low) / ((high - low) or 1), [f"grey stretched from {low:g}…{high:g} to 0…255"]
    return Image.fromarray(eight.round().astype(np.uint8)).convert("RGB"), notes


def _fitting(image: Image.Image, max_side: int, full: tuple[int, int]) -> tuple[Image.Image, list[str]]:
    if max(full) <= max_side:
        return image, []
    ratio = max_side / max(image.size)
    if ratio < 1:
        image = image.resize(
            [max(1, round(side * ratio)) for side in image.size], Image.Resampling.BICUBIC, reducing_gap=3
        )
    return image, [f"scaled down from {full[0]} × {full[1]} to {image.width} × {image.height} pixels"]
