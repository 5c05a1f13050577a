"""Real photos that ship inside the scikit-image wheel: always there, never downloaded."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from workbench.data.pictures import Picture, open_picture


@dataclass(frozen=True)
class Photo:
    """A photo on disk, a true caption written for it here, and its licence as scikit-image states it."""

    name: str
    path: Path
    caption: str
    credit: str


# The first six are unlike each other; the start page asks whether a model tells them apart.
_PHOTOS = (
    ("astronaut", "astronaut.png", "a smiling astronaut in an orange space suit", "NASA, public domain"),
    ("camera", "camera.png", "a man in a dark coat with a camera on a tripod", "CC0, Lav Varshney"),
    ("chelsea", "chelsea.png", "the face of a tabby cat", "CC0, Stefan van der Walt"),
    ("coffee", "coffee.png", "a cup of coffee with a spoon on a wooden table", "CC0, Rachel Michetti"),
    ("rocket", "rocket.jpg", "a rocket on its launch pad at dusk", "SpaceX, public domain"),
    (
        "motorcycle",
        "motorcycle_left.png",
        "a red motorcycle in a garage",
        "Middlebury 2014 stereo benchmark, no licence stated",
    ),
    ("coins", "coins.png", "rows of ancient coins", "no known restrictions, Brooklyn Museum"),
    ("moon", "moon.png", "craters on the surface of the moon", "no licence stated"),
    ("hubble", "hubble_deep_field.jpg", "many distant galaxies in deep space", "NASA, public domain"),
    ("retina", "retina.jpg", "the blood vessels of a human retina", "CC0, Häggström"),
    ("brick", "brick.png", "a wall of bricks", "CC0"),
    ("grass", "grass.png", "a lawn of short grass", "CC0"),
    ("gravel", "gravel.png", "small stones of gravel", "CC0"),
    ("page", "page.png", "a page of printed text", "no licence stated"),
)


def photo_names() -> tuple[str, ...]:
    """The names that `photo` takes."""
    return tuple(name for name, *_ in _PHOTOS)


def shipped_photos() -> dict[str, Photo]:
    """Every shipped photo by name. Raises FileNotFoundError where scikit-image or one of its files is missing."""
    folder = _data_folder()
    photos = {name: Photo(name, folder / file, caption, credit) for name, file, caption, credit in _PHOTOS}
    missing = [photo.path.name for photo in photos.values() if not photo.path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {', '.join(missing)}; run `pip install --force-reinstall scikit-image`"
        )
    return photos


def _data_folder() -> Path:
    """Found without importing scikit-image, whose data module may want to download."""
    spec = importlib.util.find_spec("skimage")
    if spec is None:
        raise FileNotFoundError("the shipped photos live in scikit-image; run `pip install scikit-image`")
    return Path(spec.origin).parent / "data"


def photo(name: str) -> Picture:
    """One shipped photo, opened. Raises ValueError for a name that is not in `photo_names()`."""
    if name not in photo_names():
        raise ValueError(f"no photo {name!r}; choose one of {', '.join(photo_names())}")
    return open_picture(shipped_photos()[name].path, name=name)
