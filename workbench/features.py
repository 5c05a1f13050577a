"""Features, the ground that models and analyses both stand on.

Letters: B batch, N images, M texts, P patches, T text tokens, d_i / d_t width before the projection, d joint width.
`pre` is before the projection, `post` after it and not normalised, `tokens` projected and not normalised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ImageFeatures:
    """What an image tower says: pre (N, d_i), post (N, d), tokens (N, P, d) or None, grid (h, w) with h * w = P or None.

    Tokens run row by row from the top left, class and register tokens left out. `norms` (N, P) is the length of each
    patch's state after the last block, before any norm, where the tower is a transformer.
    """

    pre: Tensor
    post: Tensor
    tokens: Tensor | None = None
    grid: tuple[int, int] | None = None
    norms: Tensor | None = None

    def __post_init__(self):
        _same_length("pre", self.pre, "post", self.post)
        if self.tokens is None:
            return
        _same_length("tokens", self.tokens, "post", self.post)
        if self.grid is None or self.grid[0] * self.grid[1] != self.tokens.shape[1]:
            raise ValueError(f"grid {self.grid} does not hold the {self.tokens.shape[1]} patch tokens; give (h, w)")

    def __len__(self) -> int:
        return len(self.post)

    def ordinary_patches(self, times_median: float = 3.0) -> Tensor:
        """Mask (N, P), false where a patch's norm exceeds `times_median` times its picture's median.

        Large ViTs park global information in a few background patches of high norm (registers, arXiv 2309.16588); left
        in, they win every maximum over patches. Raises ValueError for features without norms.
        """
        if self.norms is None:
            raise ValueError(
                "these image features carry no patch norms: encode with tokens=True; pairs and convolutional towers have none"
            )
        return self.norms <= times_median * self.norms.median(1, keepdim=True).values


@dataclass(frozen=True)
class TextFeatures:
    """What a text tower says: pre (M, d_t), post (M, d), tokens (M, T, d), mask (M, T) true where a token counts.

    `words[m]` lists the words of caption m; `word_ids[m][t]` is the index into it of token t, None for special tokens.
    Tokens of start, end and padding never count in the mask.
    """

    pre: Tensor
    post: Tensor
    tokens: Tensor | None = None
    mask: Tensor | None = None
    words: list[list[str]] | None = None
    word_ids: list[list[int | None]] | None = None

    def __post_init__(self):
        _same_length("pre", self.pre, "post", self.post)
        if self.tokens is None:
            return
        _same_length("tokens", self.tokens, "post", self.post)
        if self.mask is None or tuple(self.mask.shape) != tuple(self.tokens.shape[:2]):
            shape = None if self.mask is None else tuple(self.mask.shape)
            raise ValueError(f"mask {shape} does not fit tokens {tuple(self.tokens.shape)}; give a boolean (M, T) mask")

    def __len__(self) -> int:
        return len(self.post)

    def word_vectors(self, m: int) -> Tensor:
        """Caption m's words as the mean of their word pieces: (W, d), NaN where a word was cut off."""
        import torch

        if self.tokens is None or self.word_ids is None:
            raise ValueError("these text features carry no tokens; encode the caption with tokens=True")
        ids = torch.tensor([-1 if i is None else i for i in self.word_ids[m]])
        rows = [self.tokens[m][ids == w].mean(0) for w in range(len(self.words[m]))]
        return torch.stack(rows) if rows else self.tokens.new_zeros(0, self.tokens.shape[-1])


@dataclass(frozen=True)
class Projector:
    """The linear map into the joint space: weight (d, d_in), bias (d,) or None.

    kind "exact": `post = pre @ weight.T + bias` to rounding; "linearised": a first-order stand-in; "none": there is no
    such matrix, weight is None and `reason` says why.
    """

    weight: Tensor | None
    bias: Tensor | None = None
    kind: Literal["exact", "linearised", "none"] = "exact"
    reason: str = ""

    def __post_init__(self):
        if (self.weight is None) != (self.kind == "none"):
            raise ValueError(
                f"a projector of kind {self.kind!r} with weight {'missing' if self.weight is None else 'given'}"
            )
        if self.kind == "none" and not self.reason:
            raise ValueError("a projector of kind 'none' says its reason")
        if self.weight is not None and self.weight.ndim != 2:
            raise ValueError(f"weight has shape {tuple(self.weight.shape)}; a projector's weight is (d, d_in)")

    def __call__(self, pre: Tensor) -> Tensor:
        """Project features (..., d_in) to (..., d)."""
        if self.weight is None:
            raise ValueError(f"this tower has no projection matrix: {self.reason}")
        post = pre @ self.weight.T
        return post if self.bias is None else post + self.bias


def _same_length(a: str, x: Tensor, b: str, y: Tensor) -> None:
    if len(x) != len(y):
        raise ValueError(f"{a} has {len(x)} rows and {b} has {len(y)}; they describe the same items")
