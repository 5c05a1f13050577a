"""How every transformer image tower is read: states of a block → final norm and pool → head, patches through the same.

A library's tower gives `states`, `finish` and `project`; which block is read, the last-block variants for dense maps
and the patches' norms are the same for all and stand here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from numbers import Integral

import torch
from torch import Tensor, nn

from workbench.features import ImageFeatures, Projector, TextFeatures
from workbench.models.dense import SURGERY_BLOCKS, VARIANTS, dense_states, parts_of
from workbench.models.dual_encoder import DualEncoder
from workbench.models.weights import weights_digest
from workbench.models.words import special_ids

Projection = nn.Linear | nn.Parameter  # a layer, or a matrix (d_in, d) that features are multiplied by
CAUSAL = "the text tower reads left to right: a word's token has seen only the words before it"


def layer_index(layer: int, layers: int) -> int:
    """Block `layer` counted from 0, or from the end where negative. Raises ValueError outside -layers … layers - 1."""
    if isinstance(layer, bool) or not isinstance(layer, Integral):
        raise TypeError(f"layer is {type(layer).__name__} {layer!r}; give a whole number, -1 is the last block")
    if not -layers <= layer < layers:
        raise ValueError(
            f"layer={layer}: this tower has {layers} blocks; give {-layers} to {layers - 1}, -1 is the last"
        )
    return layer % layers


def check_dense(dense: str, offered: Sequence[str], reason: str = "") -> None:
    """Raises ValueError for a variant that does not exist or that a tower lacks, with the reason."""
    if dense not in VARIANTS:
        raise ValueError(f"dense={dense!r}; choose one of {', '.join(VARIANTS)}")
    if dense not in offered:
        raise ValueError(f"dense={dense!r}: {reason or 'this tower only offers ' + ', '.join(offered)}")


class ImageReader(ABC):
    """One image tower. `grid` (h, w) of its native size or None, `width` d_i, `layers` blocks, `prefix` tokens before the
    patches, `dense` the variants it offers and `dense_reason` why not the others; `projection` holds the weight of an exact
    projector, None where there is none (`projector` then says why)."""

    grid: tuple[int, int] | None
    width: int
    prefix: int = 0
    projection: Projection | None

    @property
    @abstractmethod
    def blocks(self) -> Sequence[nn.Module]: ...

    @abstractmethod
    def states(self, pixels: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """What left each of the blocks `layers` (ascending), before any final norm: (B, prefix + P, w) each."""

    @abstractmethod
    def finish(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """(pre, post) of the states of the last block."""

    @abstractmethod
    def project(self, patches: Tensor) -> Tensor:
        """Patch states (B, P, w) of the last block in the joint space (B, P, d)."""

    def projector(self) -> Projector:
        return linear_projector(self.projection)

    @property
    def layers(self) -> int:
        return len(self.blocks)

    @property
    def dense(self) -> tuple[str, ...]:
        return ("raw",) if self.dense_reason else tuple(VARIANTS)

    @property
    def dense_reason(self) -> str:
        if self.layers < 2:  # what enters the only block is no block's output
            return "the tower has a single block, and the variants start from what leaves the one before the last"
        try:
            parts_of(self.blocks[-1])
        except ValueError as error:
            return str(error)
        return ""

    def grid_of(self, pixels: Tensor) -> tuple[int, int] | None:
        return self.grid

    def read(self, pixels: Tensor, *, tokens: bool = False, layer: int = -1, dense: str = "raw") -> ImageFeatures:
        """Features of pixels (B, 3, H, W), differentiable; with `layer` as if the tower ended after that block."""
        k = layer_index(layer, self.layers)
        check_dense(dense, self.dense, self.dense_reason)
        if dense != "raw" and k != self.layers - 1:
            raise ValueError(f"dense={dense!r} reads the last block again; leave layer at -1, or take dense='raw'")
        # What leaves block i enters block i + 1.
        before = range(max(self.layers - 1 - SURGERY_BLOCKS, 0), self.layers - 1) if dense != "raw" else ()
        *inputs, states = self.states(pixels, [*before, k])
        pre, post = self.finish(states)
        grid = self.grid_of(pixels)
        if not tokens:
            return ImageFeatures(pre, post, None, grid)
        norms = states[:, self.prefix :].norm(dim=-1)  # of the block as trained: that is where registers show
        if dense != "raw":
            blocks = [parts_of(self.blocks[i + 1]) for i in before]
            states = dense_states(dense, blocks, inputs, self.prefix, grid)
        return ImageFeatures(pre, post, self.project(states[:, self.prefix :]), grid, norms)


class ReadEncoder(DualEncoder):
    """A model of one library, whose two sides are read: `_image` an ImageReader, `_text` with `projection`,
    `projector()`, `layers` and `read(ids, mask, tokens, layer)`; its tokenizer, None in a skeleton, says which tokens are
    special."""

    _image: ImageReader
    _tokenizer = None

    @property
    def image_projector(self) -> Projector:
        return self._image.projector()

    @property
    def text_projector(self) -> Projector:
        return self._text.projector()

    def projection(self, modality: str) -> Projection | None:
        """What holds the weight of a side's exact projector, "image" or "text"."""
        return (self._image if modality == "image" else self._text).projection

    def digest(self) -> str:
        """The card's digest, of the weights as they are now."""
        return weights_digest(self.module)

    @property
    def dense_variants(self) -> tuple[str, ...]:
        return self._image.dense

    @property
    def image_layers(self) -> int:
        return self._image.layers

    @property
    def text_layers(self) -> int:
        return self._text.layers

    def forward_image(
        self, pixels: Tensor, *, tokens: bool = False, layer: int = -1, dense: str = "raw"
    ) -> ImageFeatures:
        return self._image.read(pixels, tokens=tokens, layer=layer, dense=dense)

    def forward_text(self, ids: Tensor, mask: Tensor, *, tokens: bool = False, layer: int = -1) -> TextFeatures:
        read = self._text.read(ids, mask, tokens, layer)
        special = torch.isin(ids, torch.tensor(special_ids(self._tokenizer), device=ids.device))
        return TextFeatures(*read, mask & ~special if tokens else None)


def linear_projector(layer: Projection) -> Projector:
    """A linear layer, or a matrix (d_in, d), as an exact projector."""
    if not isinstance(layer, nn.Linear):
        return Projector(layer.detach().T.float())
    return Projector(layer.weight.detach().float(), None if layer.bias is None else layer.bias.detach().float())
