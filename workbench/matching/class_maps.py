"""Open-vocabulary maps: which of several class texts answers each cell of a photo best, in one pass or in sliding windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.data.pictures import open_picture
from workbench.matching.crops import Box
from workbench.matching.windows import window_cells
from workbench.records import Record, Table, rounded


@dataclass(frozen=True, eq=False)
class ClassMap(Record):
    """The class of every cell of a photo: winner, runner_up, cosine, margin (h, w), cells row by row from the top left.

    `winner` and `runner_up` count in `classes`; `margin` is the winner's cosine less the runner-up's. The cells divide `box`
    (left, top, right, bottom, in pixels of a photo of `size` width, height): the part that the tower saw. `passes` counts
    windows, 1 where `window` is None.
    """

    classes: tuple[str, ...]
    winner: Tensor
    runner_up: Tensor
    cosine: Tensor
    margin: Tensor
    size: tuple[int, int]
    box: Box
    window: int | None
    stride: int | None
    passes: int

    @property
    def grid(self) -> tuple[int, int]:
        return tuple(self.winner.shape)

    @property
    def shares(self) -> Tensor:
        """Share of the area that each class wins: (C,), adds up to 1."""
        return self.winner.flatten().bincount(minlength=len(self.classes)) / self.winner.numel()

    @property
    def kind(self) -> str:
        return "one pass" if self.window is None else f"{self.passes} windows of {self.window} px, every {self.stride}"

    def pixels(self) -> Tensor:
        """The winner at every pixel of `box`: (bottom - top, right - left), each pixel that of the cell its centre lies in."""
        left, top, right, bottom = self.box
        rows, columns = (_cell_of_pixels(n, k) for n, k in zip((bottom - top, right - left), self.grid, strict=True))
        return self.winner[rows][:, columns]

    def table(self) -> Table:
        shares, rows = self.shares, []
        for c in shares.argsort(descending=True, stable=True).tolist():
            if shares[c] > 0:
                own = self.winner == c
                means = (rounded(each[own].mean(), 3) for each in (self.cosine, self.margin))
                rows.append((self.classes[c], f"{100 * shares[c]:.1f} %", *means))
        h, w = self.grid
        caption = f"{h} × {w} cells, {self.kind}: {len(rows)} of {len(self.classes)} classes win somewhere"
        return Table(caption, ("class", "area", "mean cosine there", "mean margin"), tuple(rows))


def class_map(
    model,
    image,
    classes: Sequence[str],
    *,
    vectors: Tensor | None = None,
    window: int | None = None,
    stride: int | None = None,
    image_size: int | None = None,
    dense: str = "raw",
    batch_size: int = 16,
    max_bytes: int = 64 << 20,
) -> ClassMap:
    """Which of C ≥ 2 classes answers each cell of one photo best, by cosine: argmax_c cos(patch, text_c) → `ClassMap`.

    `model` is a DualEncoder with patch tokens. `classes` are encoded as they are written; `vectors` (C, d) replace that, such
    as the prompt ensembles of `evaluation.class_vectors`. One pass reads the photo as the model does, so most models lose what
    their centre crop cuts off. `window` reads squares of so many pixels, every `stride` (half of that) pixels, and the photo
    need not be square; windows at the far edges are moved inside. SAIL takes 224 and 112 (arXiv 2412.04616). Each window is
    enlarged to `image_size`, or the model's own. `dense` as in `encode_image`.

    Cosines of overlapping windows are averaged by area, on a grid over the photo as fine as a window's. As a cosine is linear
    in the unit patch vector, these are what is averaged: memory grows with cells × d, cosines stand in blocks of `max_bytes`,
    and classes × pixels never stands anywhere. The trap: every cell gets a class, right or not, as nothing is "none of these";
    where that matters give such a text as one more class and look at the margins.

    Raises ValueError for fewer than two classes, one twice, vectors that do not fit, a window that is larger than the photo, a
    stride that leaves gaps, or a model without patch tokens.
    """
    classes = _named(classes)
    photo = open_picture(image).image
    texts = _directions(model.encode_text(list(classes)).post if vectors is None else vectors, classes, model.embed_dim)
    options = {"image_size": image_size, "dense": dense, "batch_size": batch_size}
    cells = window_cells(model, photo, window=window, stride=stride, **options)
    h, w, _ = cells.vectors.shape
    best, index = two_best(cells.vectors.flatten(0, 1), texts, max_bytes=max_bytes)
    winner, runner_up = index.T.unflatten(1, (h, w))
    cosine, second = best.T.unflatten(1, (h, w))
    place = {"size": photo.size, "box": cells.box, "window": window, "stride": cells.stride, "passes": cells.passes}
    return ClassMap(classes, winner, runner_up, cosine, cosine - second, **place)


def two_best(cells: Tensor, texts: Tensor, *, max_bytes: int = 64 << 20) -> tuple[Tensor, Tensor]:
    """The two largest products of each of cells (P, d) with texts (C, d), largest first, and whose they are: (P, 2) each.

    Texts go by in blocks of at most `max_bytes` of products, one at least.
    """
    if max_bytes < 1:
        raise ValueError(f"max_bytes={max_bytes}; give the bytes that a block of cosines may take")
    block = max(max_bytes // (4 * len(cells)), 1)
    best = cells.new_full((len(cells), 2), -torch.inf)
    index = torch.zeros(len(cells), 2, dtype=torch.long)
    for start in range(0, len(texts), block):
        products = cells @ texts[start : start + block].T
        # of this block alone: joined to `best` first, all of it would stand twice
        found, numbers = products.topk(min(2, products.shape[1]), dim=1)
        best, chosen = torch.cat([best, found], 1).topk(2, dim=1)
        index = torch.cat([index, start + numbers], 1).gather(1, chosen)
    return best, index


def _cell_of_pixels(pixels: int, cells: int) -> Tensor:
    return ((torch.arange(pixels) + 0.5) * cells / pixels).long()


# What comes in -----------------------------------------------------------------------------------------------------------


def _named(classes: Sequence[str]) -> tuple[str, ...]:
    if isinstance(classes, str):
        raise TypeError(f"classes is one string, {classes!r:.80}; give a list of two or more")
    classes = tuple(classes)
    for each in classes:
        if not isinstance(each, str):
            raise TypeError(f"{each!r:.80} is no class: it is {type(each).__name__}; classes are strings")
    if len(classes) < 2:
        raise ValueError(f"{len(classes)} classes; a cell chooses between two or more")
    twice = [name for name, count in Counter(classes).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]!r:.80} stands more than once among the classes; give each once")
    return classes


def _directions(vectors, classes: tuple[str, ...], d: int) -> Tensor:
    vectors = torch.as_tensor(vectors).detach().float().cpu()
    if tuple(vectors.shape) != (len(classes), d):
        raise ValueError(
            f"vectors {tuple(vectors.shape)} for {len(classes)} classes of a model that is {d} wide; give ({len(classes)}, {d})"
        )
    if not torch.isfinite(vectors).all() or not vectors.any(1).all():
        raise ValueError("a class vector is zeros or holds NaN or infinity; check what went into the model")
    return F.normalize(vectors, dim=-1)
