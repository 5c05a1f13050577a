"""The interface of a one-modality image tower: cells, what the tower pools them to, and their grid."""

from __future__ import annotations

import math

import torch
from PIL import Image
from torch import Tensor, nn

from workbench.models.meta_pass import meta_twin
from workbench.models.reading import layer_index

LARGEST_INPUT = 2048  # px; beyond it a typing error is likelier than a wish
POOLINGS = ("auto", "first", "mean", "first+mean")
POOL_WORDS = {
    "first": "the class token",
    "mean": "the mean of the patches",
    "first+mean": "the class token beside the mean of the patches",
}
Read = tuple[Tensor, Tensor, tuple[int, int] | None]


class ImageTower(nn.Module):
    """A picture encoder that `pair` can tie to any text tower.

    `name`, `source`, `licence`, `digest` (sha256 of the weights, "" without) and `notes` go on the card; `width` is that of
    cells and pooled vectors alike; `mean`, `std` undo `preprocess` at `image_size`, which `preprocess_words` describes.
    `recipe` is what besides the weights decides the numbers (architecture, pooling), for keys and not for readers.
    `layers` counts the blocks that `forward(layer=…)` chooses from, 0 where only the last can be read (`layers_reason`).
    """

    name: str
    source: str
    width: int
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    preprocess_words: str
    recipe: str
    licence = "unknown"
    activation = "unknown"
    digest = ""
    notes: tuple[str, ...] = ()
    layers = 0
    layers_reason = "its earlier stages have other widths"

    def __init__(self):
        super().__init__()
        self._grids: dict[int, tuple[int, int] | None] = {}

    def forward(self, pixels: Tensor, layer: int = -1) -> Read:
        """Cells (B, P, width) row by row, pooled (B, width) and the grid (h, w), or None where there is none.

        `layer`: features as if the tower ended after that block, its final norm and pool included; negative ones count
        from the end. Raises ValueError for a layer that cannot be read.
        """
        raise NotImplementedError

    def preprocess(self, image: Image.Image, size: int) -> Tensor:
        """One RGB picture as the (3, size, size) tensor that the tower was trained on."""
        raise NotImplementedError

    def grid(self, size: int) -> tuple[int, int] | None:
        """Rows and columns of cells at an input of `size` px, None where there are none; from a pass over shapes."""
        if size not in self._grids:
            self._grids[size] = meta_twin(self).eval()(self.blank(size))[2]
        return self._grids[size]

    def check_image_size(self, size: int) -> None:
        """Raises ValueError for an input size that the tower does not take, in its own words."""
        if not 1 <= size <= LARGEST_INPUT:
            raise ValueError(
                f"image_size={size}; give 1 to {LARGEST_INPUT} px ({self.name} is made for {self.image_size})"
            )
        if size == self.image_size:
            return
        try:
            self.grid(size)
        except Exception as error:  # architectures refuse a size in every way there is
            said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise ValueError(
                f"image_size={size}: {self.name} does not take it; use {self.image_size} ({said})"
            ) from error

    def block(self, layer: int) -> int | None:
        """The block that `layer` names, None for the last. Raises ValueError for one that cannot be read."""
        if layer == -1:
            return None
        if self.layers == 0:
            raise ValueError(
                f"layer={layer}: {self.name} gives its last layer only, for {self.layers_reason}; use layer=-1"
            )
        k = layer_index(layer, self.layers)
        return None if k == self.layers - 1 else k

    def blank(self, size: int) -> Tensor:
        """Pixels (1, 3, size, size) that have a shape only."""
        return torch.empty(1, 3, size, size, device="meta", dtype=next(self.parameters()).dtype)


def split_prefix(states: int, patches: int | None) -> int:
    """How many of a tower's `states` tokens stand before the patches.

    `patches` is their number if the architecture says it; towers that merge patches on the way have fewer, and then the
    patches are the largest square, for inputs are square here.
    """
    return states - patches if patches is not None and states >= patches else states - math.isqrt(states) ** 2


def square(cells: int) -> tuple[int, int] | None:
    """The grid of a square picture's cells, None where they fill no square."""
    side = math.isqrt(cells)
    return (side, side) if cells and side * side == cells else None


def check_pooling(name: str, pooling: str, *, class_token: bool) -> None:
    """Raises ValueError for a pooling that does not exist or that a tower without a class token lacks."""
    if pooling not in POOLINGS:
        raise ValueError(f"pooling={pooling!r}; image towers pool by one of {', '.join(POOLINGS)}")
    if "first" in pooling and not class_token:
        raise ValueError(f"pooling={pooling!r}: {name} has no class token; take 'mean' or 'auto'")


def pool(pooling: str, first: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
    """Cells (B, P, width) and pooled (B, width) of a class token (B, w) and patches (B, P, w), the class token as asked for.

    "first+mean" is twice as wide: the class token beside each cell, and beside their mean (SAIL's reading of DINOv2, arXiv
    2412.04616), so that cells still average to what is pooled.
    """
    if pooling == "first+mean":
        beside = first[:, None].expand_as(patches)
        return torch.cat((beside, patches), -1), torch.cat((first, patches.mean(1)), -1)
    return patches, first if pooling == "first" else patches.mean(1)
