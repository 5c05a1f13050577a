"""Items with a label each, for retrieval within one modality: drawn scenes, stamps, folders of class directories, photos."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from workbench.data.samples import read_samples

SIDE = 64  # pixels of a drawn scene, the size that scenes-clip was trained on


@dataclass(frozen=True, eq=False)
class Labelled:
    """Pictures (anything `encode_image` takes) or captions, a label for each, and how many were left out, with the reason.

    `groups` (N,) names items that belong together, such as the captions of one picture; None where each stands alone.
    """

    name: str
    items: tuple[Any, ...]
    labels: np.ndarray
    left_out: str = ""
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, rows: Iterable[int]) -> Labelled:
        rows = np.asarray(rows)
        groups = None if self.groups is None else self.groups[rows]
        return replace(self, items=tuple(self.items[row] for row in rows), labels=self.labels[rows], groups=groups)

    def halves(self, seed: int = 0) -> tuple[Labelled, Labelled]:
        """One half to choose on and one to judge on, every label in both. Raises ValueError where a label comes once."""
        from sklearn.model_selection import train_test_split

        first, second = train_test_split(np.arange(len(self)), test_size=0.5, stratify=self.labels, random_state=seed)
        return self[np.sort(first)], self[np.sort(second)]


def labelled(name: str, items: Sequence, labels: Sequence, *, at_least: int = 4, groups=None) -> Labelled:
    """Items of labels that come `at_least` times; 4 leave every item a partner in both `halves`.

    Raises ValueError for unequal lengths, or where fewer than two labels remain.
    """
    if len(items) != len(labels):
        raise ValueError(f"{len(items)} items and {len(labels)} labels; give one for each")
    labels = np.asarray(labels)
    names, counts = np.unique(labels, return_counts=True)
    few = names[counts < at_least]
    if len(names) - len(few) < 2:
        raise ValueError(
            f"{name}: {len(names) - len(few)} labels come {at_least} times or more; retrieval by label needs two such labels"
        )
    kept = ~np.isin(labels, few)
    left_out = (
        f"{int((~kept).sum())} items of {len(few)} labels that come fewer than {at_least} times" if len(few) else ""
    )
    groups = None if groups is None else np.asarray(groups)[kept]
    items = tuple(item for item, keep in zip(items, kept, strict=True) if keep)
    return Labelled(name, items, labels[kept], left_out, groups)


def class_folders(root: str | Path, *, at_least: int = 4) -> Labelled:
    """A user's folder of class directories: a picture's label is the first directory of its path.

    Raises FileNotFoundError, or ValueError for a folder without pictures in directories; as `labelled`.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder; give one that holds a directory of pictures for each class")
    # Jupyter leaves copies in .ipynb_checkpoints; hidden directories are nobody's classes.
    samples = [sample for sample in read_samples(root) if not sample.id.startswith(".")]
    inside = [sample for sample in samples if "/" in sample.id]
    if not inside:
        raise ValueError(f"{root} holds pictures, but none in a directory; the directory's name is the label")
    found = labelled(
        root.resolve().name,
        [each.path for each in inside],
        [each.id.split("/")[0] for each in inside],
        at_least=at_least,
    )
    loose = len(samples) - len(inside)
    if set(found.labels) <= {"train", "test", "val", "valid", "validation"}:
        raise ValueError(f"{root} holds {', '.join(sorted(set(found.labels)))}, which are splits; give one of them")
    said = (found.left_out, f"{loose} pictures outside the class directories" if loose else "")
    return replace(found, left_out="; ".join(filter(None, said)))


def stamp_folders(*, at_least: int = 8, captions: bool = False) -> Labelled:
    """Captioned photo stamps, label = top-level folder (animals, food …); their captions instead with `captions`.

    Raises FileNotFoundError where the package is not installed.
    """
    from workbench.data.stamps import photo_stamps

    found = photo_stamps()
    items = [stamp.caption if captions else stamp.path for stamp in found]
    name = "stamp captions by folder" if captions else "stamps by folder"
    return labelled(name, items, [stamp.folder for stamp in found], at_least=at_least)


SCENE_LABELS: dict[str, Callable] = {
    "colour": lambda scene: " ".join(sorted(thing.colour for thing in scene.things)),
    "shape": lambda scene: " ".join(sorted(thing.shape for thing in scene.things)),
    "surface": lambda scene: " ".join(sorted(thing.material for thing in scene.things)),
    "object": lambda scene: " + ".join(sorted(f"{thing.colour} {thing.shape}" for thing in scene.things)),
}
"""What a scene may be looked up by."""


def scene_pictures(n: int, seed: int, by: str = "object", *, kind: str = "close-up") -> Labelled:
    """n drawn scenes (64 px) labelled by one of `SCENE_LABELS`: the same pictures, looked up by what is the same in them."""
    from workbench.data.scenes import draw, scenes

    made = scenes(n, seed, kind=kind)
    labels = [_label(by)(scene) for scene in made]
    return labelled(f"scenes by {by}", [draw(scene, SIDE) for scene in made], labels, at_least=2)


def scene_captions(n: int, seed: int, by: str = "object", *, wordings: int = 4) -> Labelled:
    """n captions (up to the next whole scene) of scenes of two objects, `wordings` of each, either object first.

    Labels as in `scene_pictures`. Raises ValueError for another `by`, or more wordings than there are.
    """
    from workbench.data.scenes import scenes
    from workbench.data.scenes.world import TEMPLATES

    if not 1 <= wordings <= len(TEMPLATES):
        raise ValueError(f"wordings={wordings}; choose 1 to {len(TEMPLATES)}")
    label, rng, items, labels, groups = _label(by), np.random.default_rng(seed), [], [], []
    for number, scene in enumerate(scenes(-(-n // wordings), seed, kind="pair")):
        for place, template in enumerate(rng.permutation(len(TEMPLATES))[:wordings]):
            things = scene.things[::-1] if place % 2 else scene.things
            items.append(replace(scene, template=TEMPLATES[template], things=things).caption)
            labels.append(label(scene))
            groups.append(number)
    return labelled(f"captions by {by}", items, labels, at_least=2, groups=groups)


def class_captions() -> Labelled:
    """Two captions of each of the 1,000 ImageNet classes, its name and its WordNet definition; label = class."""
    from workbench.data.prototypes import class_texts

    texts = class_texts()
    classes = np.arange(len(texts["name"]))
    return Labelled("names and definitions", (*texts["name"], *texts["definition"]), np.concatenate([classes, classes]))


def augmented_photos(each: int = 6, seed: int = 0) -> Labelled:
    """A smoke level: crops and mirror images of the photos that ship, label = photo. Says nothing about a model's worth."""
    from workbench.data.photos import photo, photo_names

    rng, items, labels = np.random.default_rng(seed), [], []
    for name in photo_names():
        picture = photo(name).image
        items += [_crop(picture, rng) for _ in range(each)]
        labels += [name] * each
    return labelled("crops of shipped photos (smoke level)", items, labels)


def _crop(picture, rng: np.random.Generator):
    from PIL import ImageOps

    width, height = picture.size
    side = int(min(width, height) * rng.uniform(0.2, 0.5))
    left, top = rng.integers(0, width - side + 1), rng.integers(0, height - side + 1)
    cut = picture.crop((left, top, left + side, top + side))
    return ImageOps.mirror(cut) if rng.random() < 0.5 else cut


def _label(by: str) -> Callable:
    if by not in SCENE_LABELS:
        raise ValueError(f"by={by!r}; choose one of {', '.join(SCENE_LABELS)}")
    return SCENE_LABELS[by]
