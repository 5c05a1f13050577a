"""What a benchmark asks: one small record for each kind of question, and its pictures as samples to encode."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from workbench.data.samples import Sample

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels, as Pillow's crop takes it


@dataclass(frozen=True)
class Item:
    """One question: which of the captions is true of the picture? `caption` is, `negatives` are not.

    `also_true` is a second true caption (SugarCrepe++), `box` the part of the picture that is meant (ARO), `group` what
    accuracy is first averaged over: a relation, a pair of attributes, a pair of objects.
    """

    id: str
    subset: str
    picture: Path
    caption: str
    negatives: tuple[str, ...]
    also_true: str | None = None
    box: Box | None = None
    group: str | None = None

    @property
    def pictures(self) -> tuple[Path, ...]:
        return (self.picture,)

    @property
    def texts(self) -> tuple[str, ...]:
        """The true captions, then the false ones."""
        return (self.caption, *(() if self.also_true is None else (self.also_true,)), *self.negatives)


@dataclass(frozen=True)
class Quad:
    """Two pictures and two captions: `texts[k]` is true of `pictures[k]` and not of the other."""

    id: str
    subset: str
    pictures: tuple[Path | Sample, Path | Sample]
    texts: tuple[str, str]


@dataclass(frozen=True)
class PictureChoice:
    """One text, and pictures of which `pictures[target]` is meant."""

    id: str
    subset: str
    text: str
    pictures: tuple[Path, ...]
    target: int

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.text,)


@dataclass(frozen=True)
class Captioned:
    """A picture with all of its captions, each a right answer when captions are searched for it."""

    id: str
    picture: Path
    texts: tuple[str, ...]

    @property
    def pictures(self) -> tuple[Path, ...]:
        return (self.picture,)


@dataclass(frozen=True)
class Cropped(Sample):
    """A part of a picture in a file; what reaches a little beyond its edge is black, as in Pillow."""

    box: Box | None = None

    def read(self) -> bytes:
        """The part as PNG. Raises OSError, or ValueError for a file that is no whole picture, or a box that is not of it:
        wholly outside, or more than twice as wide or high."""
        from workbench.data.pictures import open_picture

        whole = open_picture(super().read(), name=self.path.name, max_side=1 << 20).image  # scaled, boxes would not fit
        _check_box(self.id, self.box, whole.size)
        file = io.BytesIO()
        whole.crop(self.box).save(file, "PNG", compress_level=1)
        return file.getvalue()


def _check_box(name: str, box: Box, size: tuple[int, int]) -> None:
    left, top, right, bottom = box
    inside = max(left, 0) < min(right, size[0]) and max(top, 0) < min(bottom, size[1])
    if not inside or right - left > 2 * size[0] or bottom - top > 2 * size[1]:
        raise ValueError(
            f"{name}: the box {box} is not of a picture of {size[0]} × {size[1]} pixels; mend it in its file"
        )


def as_sample(picture: Path | Sample, box: Box | None = None) -> Sample:
    """A picture of an item, to encode or to open (`open_picture(sample.read())`); its id says file and box."""
    if isinstance(picture, Sample):
        return picture
    if box is None:
        return Sample(str(picture), picture)
    return Cropped(f"{picture}[{','.join(map(str, box))}]", picture, box=box)
