"""Small heads on frozen towers that read who has which: a linear map of the caption, and a CNN over the map of cosines."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.heads.widths import whole

FUNCTIONAL = ("above", "below", "left", "right", "small", "big", "not", "no", "without", "but", "absent")


class LinearTextMap(nn.Module):
    """LABCLIP (Koishigarina et al., arXiv 2502.03566): image (B, d), text (B, d) → logit_scale · cos(v, A t), (B,).

    d² parameters, no bias: 262,144 for d = 512. Pictures stay as they are, so an index of them serves on, asked with
    `mapped(text)`. A starts as the identity, which is the global cosine; that start is ours. `logit_scale` is exponentiated and
    does not learn: give the model's own. Raises ValueError for a width below 1, a scale that is not positive, or other shapes.
    """

    def __init__(self, d: int, *, logit_scale: float = 1.0):
        super().__init__()
        whole(d=d)
        if not 0 < logit_scale < float("inf"):
            raise ValueError(f"logit_scale={logit_scale!r}; give a positive number, exp(theta) and not theta")
        self.logit_scale = float(logit_scale)
        self.map = nn.Linear(d, d, bias=False)
        nn.init.eye_(self.map.weight)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        if image.shape != text.shape or image.ndim != 2:
            raise ValueError(f"image {tuple(image.shape)} and text {tuple(text.shape)}; give global embeddings (B, d)")
        return self.logit_scale * F.cosine_similarity(image, self.mapped(text), dim=-1)

    def mapped(self, text: Tensor) -> Tensor:
        """A t: (…, d) → (…, d), not normalised."""
        if text.shape[-1] != self.map.in_features:
            raise ValueError(f"text {tuple(text.shape)} for a map of width {self.map.in_features}")
        return self.map(text)


class DenseMapCNN(nn.Module):
    """DCSM's scorer (Kang et al., arXiv 2503.08723): patches (B, P, d), tokens (B, T, d), mask (B, T) → (B,).

    A picture: cosines of `patches` patches with up to `tokens` tokens that count, moved to the front, padded with zeros; two
    3×3 convolutions of 4 channels, flattened, `hidden`, 1. For ViT-B/16 with its class token (`patches=197`) and 30 tokens
    3,028,532 parameters. Columns of `functional` words, such as "left" and "not", which no patch shows, are replaced by
    learned ones where `words` (B, T) gives their index there, -1 elsewhere; without `words` none is. Ours where the paper
    leaves a choice: each pair's map is standardised over what counts, and ReLU follows each layer but the last.

    The traps: the weights belong to one patch grid, and to words in their places, so nothing longer can be read; and a scorer
    of pairs cannot be indexed. Raises ValueError for sizes below 1, another number of patches, or more tokens than it reads.
    """

    def __init__(self, patches: int, tokens: int = 30, *, hidden: int = 128, functional: Sequence[str] = FUNCTIONAL):
        super().__init__()
        whole(patches=patches, tokens=tokens, hidden=hidden)
        self.patches, self.tokens, self.functional = patches, tokens, tuple(functional)
        self.columns = nn.Parameter(torch.randn(len(self.functional), patches) * 0.02)
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.hidden, self.out = nn.Linear(4 * patches * tokens, hidden), nn.Linear(hidden, 1)

    def forward(
        self, patches: Tensor, tokens: Tensor, mask: Tensor | None = None, *, words: Tensor | None = None
    ) -> Tensor:
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device) if mask is None else mask
        self._check(patches, tokens, mask)
        maps = F.normalize(patches, dim=-1) @ F.normalize(tokens.masked_fill(~mask[..., None], 0), dim=-1).mT
        if words is not None and self.functional:
            learned = self.columns[words.clamp(min=0)].mT  # (B, P, T)
            maps = torch.where(words[:, None] >= 0, learned, maps)
        x = self._at_front(_standardised(maps, mask[:, None]), mask)[:, None]
        x = F.relu(self.second(F.relu(self.first(x)))).flatten(1)
        return self.out(F.relu(self.hidden(x)))[:, 0]

    def indices(self, words: Sequence[Sequence[str | None]]) -> Tensor:
        """`words` of captions given as a word or None for each token: (B, T), -1 where it is no functional word."""
        place = {word: i for i, word in enumerate(self.functional)}
        return torch.tensor([[place.get(word.casefold(), -1) if word else -1 for word in each] for each in words])

    def _at_front(self, maps: Tensor, mask: Tensor) -> Tensor:
        """Columns that count first, `tokens` columns in all."""
        order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)[:, : self.tokens]
        packed = maps.gather(2, order[:, None].expand(-1, maps.shape[1], -1))
        return F.pad(packed, (0, self.tokens - packed.shape[2]))

    def _check(self, patches: Tensor, tokens: Tensor, mask: Tensor) -> None:
        if patches.ndim != 3 or tokens.ndim != 3 or len(patches) != len(tokens) or patches.shape[2] != tokens.shape[2]:
            raise ValueError(
                f"patches {tuple(patches.shape)} and tokens {tuple(tokens.shape)}; give (B, P, d) and (B, T, d)"
            )
        if patches.shape[1] != self.patches:
            raise ValueError(f"{patches.shape[1]} patches; this head reads {self.patches}, of one patch grid")
        if mask.shape != tokens.shape[:2] or mask.dtype != torch.bool:
            raise ValueError(
                f"mask {tuple(mask.shape)} of {mask.dtype} for tokens {tuple(tokens.shape)}; give a boolean one"
            )
        counts = mask.sum(1)
        if not 1 <= int(counts.min()) <= int(counts.max()) <= self.tokens:
            raise ValueError(
                f"captions of {int(counts.min())} to {int(counts.max())} tokens that count; this head reads 1 to {self.tokens}"
            )


def _standardised(maps: Tensor, mask: Tensor) -> Tensor:
    """Mean 0 and deviation 1 over what counts, 0 elsewhere: maps (B, P, T), mask (B, 1, T)."""
    n = mask.sum((1, 2), keepdim=True) * maps.shape[1]
    mean = (maps * mask).sum((1, 2), keepdim=True) / n
    centred = (maps - mean) * mask
    return centred / (centred.square().sum((1, 2), keepdim=True) / n + 1e-6).sqrt()
