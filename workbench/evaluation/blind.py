"""What a benchmark gives away to a model that does not look: the rows to print beside a model's own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.evaluation.composition import Choice, Groups, choice_accuracy, group_scores, levelled
from workbench.evaluation.statistics import as_array, group_codes
from workbench.records import Record, Table


@dataclass(frozen=True)
class BlindBaselines(Record):
    """The model's own result ("model") and those of scorers that cannot have seen the picture, all over the same items."""

    rows: dict[str, Choice | Groups]

    def table(self) -> Table:
        caption = "Beside scorers that do not look, percent"
        first = next(iter(self.rows.values()))
        if isinstance(first, Choice):
            header = ("scorer", *first.table().header)
            return Table(caption, header, tuple((name, *each.table().rows[0]) for name, each in self.rows.items()))
        names = tuple(first.chance)
        rows = [(name, *(row[1] for row in each.table().rows)) for name, each in self.rows.items()]
        rows.append(("chance", *(f"{100 * first.chance[name]:.1f}" for name in names)))
        header = ("scorer", *(f"{name.replace('_', ' ')} [95 %]" for name in names))
        return Table(f"{caption}: {first.n} quads", header, tuple(rows))


def constant_scores(*shape: int) -> np.ndarray:
    """The same score for everything: earns nothing wherever ties count against the model."""
    return np.zeros(shape)


def random_scores(*shape: int, seed: int = 0) -> np.ndarray:
    """Independent scores: land on chance, within their interval."""
    return np.random.default_rng(seed).random(shape)


def text_only_scores(captions: np.ndarray, images: int) -> np.ndarray:
    """Captions' own scores (n, K), whatever made them, as every picture's: (n, images, K).

    On quads (images = 2) such a scorer is right in no item from picture to text, because both pictures choose the same
    caption; where it passes chance on choices, the benchmark's negatives can be told by their wording. Raises ValueError for
    other shapes.
    """
    captions = as_array(captions)
    if captions.ndim != 2 or images < 1:
        raise ValueError(f"captions {captions.shape}, images={images}; give (n, K) and at least one image")
    return np.repeat(captions[:, None], images, axis=1)


def shuffled_images(features, *, ids=None, seed: int = 0):
    """Features (n, …) of pictures, or scores by picture, each in the place of another: none stays where it was.

    `ids` (n,) name the picture of each row where pictures come more than once; then all rows of one picture get the same
    other picture. Raises ValueError for fewer than two pictures.
    """
    n = len(features)
    codes = group_codes(np.arange(n) if ids is None else ids, n)
    rows = np.unique(codes, return_index=True)[1]
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} picture cannot be shuffled; give two or more different ones")
    # One cycle through all in random order: nobody is their own successor.
    order = np.random.default_rng(seed).permutation(len(rows))
    successor = np.empty_like(order)
    successor[order] = np.roll(order, 1)
    return features[rows[successor[codes]]]


def blind_baselines(image: Tensor, text: Tensor, *, ids=None, seed: int = 0) -> BlindBaselines:
    """A model's choices beside those of scorers that do not look, by cosine.

    For choices image (n, d) and text (n, 1 + K, d), the true caption first; for quads image (n, 2, d) and text (n, 2, d).
    "captions only" scores a caption by its cosine with the mean picture, "other pictures" gives each item the pictures of
    another (`ids` (n,) as in `shuffled_images`). Raises ValueError for other shapes or features without direction (zeros,
    NaN, infinite values).
    """
    image, text = torch.as_tensor(image), torch.as_tensor(text)
    _check(image, text)
    image, text = (F.normalize(part.detach().double(), dim=-1) for part in (image, text))
    mean = image.flatten(0, -2).mean(0).expand_as(image)
    judged = _judge_quads if image.ndim == 3 else _judge_choices
    own = _scores(image, text)
    rows = {
        "model": own,
        "other pictures": _scores(shuffled_images(image, ids=ids, seed=seed), text),
        "captions only": _scores(mean, text),
        "random": random_scores(*own.shape, seed=seed),
        "constant": constant_scores(*own.shape),
    }
    return BlindBaselines({name: judged(scores, seed) for name, scores in rows.items()})


def _scores(image: Tensor, text: Tensor) -> np.ndarray:
    """Cosines (n, K) of choices or (n, 2, 2) of quads; sums of products, not a matrix product, so that equal rows tie."""
    picture = image[:, :, None] if image.ndim == 3 else image[:, None]
    caption = text[:, None] if image.ndim == 3 else text
    return levelled((picture * caption).sum(-1).cpu().numpy())


def _judge_choices(scores: np.ndarray, seed: int) -> Choice:
    return choice_accuracy(scores[:, 0], scores[:, 1:], seed=seed)


def _judge_quads(scores: np.ndarray, seed: int) -> Groups:
    return group_scores(scores, seed=seed)


def _check(image: Tensor, text: Tensor) -> None:
    shapes = f"image {tuple(image.shape)}, text {tuple(text.shape)}"
    fits = text.ndim == 3 and len(image) == len(text) >= 2 and image.shape[-1] == text.shape[-1]
    choices = image.ndim == 2 and text.ndim == 3 and text.shape[1] >= 2
    quads = image.ndim == 3 and text.ndim == 3 and image.shape[1] == text.shape[1] == 2
    if not fits or not (choices or quads):
        raise ValueError(f"{shapes}; give (n, d) and (n, 1 + K, d) for choices, (n, 2, d) twice for quads, n ≥ 2")
    if not bool(torch.isfinite(image).all()) or not bool(torch.isfinite(text).all()):
        raise ValueError(f"{shapes} hold NaN or infinite values; a model gave a broken feature, check its inputs")
    for name, rows in (("image", image), ("text", text)):
        if bool((empty := (rows == 0).all(-1).reshape(len(rows), -1).any(1)).any()):
            row = int(empty.int().argmax())
            raise ValueError(f"row {row} of {name} holds zeros, which have no direction; a model gave a broken feature")
