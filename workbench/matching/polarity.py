"""Are a model's maps the right way up? Show it only the patches that a map calls best, then only the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.matching.maps import similarity_map
from workbench.progress import bar
from workbench.records import Record, Table, rounded


@dataclass(frozen=True)
class Polarity(Record):
    """How much more the brighter half of a map scores than its darker half: a difference of cosines, mean over `items`.

    `bound` is the largest such difference, either way round, of `n` random halvings of the same pictures: with 20 of them
    chance passes it in one case of 21. `verdict` is "upright" or "inverted" beyond the bound, else "undecided".
    """

    difference: float
    bound: float
    items: int
    n: int

    @property
    def verdict(self) -> str:
        if abs(self.difference) <= self.bound:
            return "undecided"
        return "upright" if self.difference > 0 else "inverted"

    def table(self) -> Table:
        header = ("bright less dark half", "largest of random halves", "random halvings", "pairs", "verdict")
        row = (rounded(self.difference, 3), rounded(self.bound, 3), str(self.n), str(self.items), self.verdict)
        return Table("Polarity of maps", header, (row,))


def halves_apart(patch_map: Tensor, score_kept: Callable[[Tensor], Tensor], *, n: int = 20, seed: int = 0) -> Tensor:
    """Score of one half of the patches less the other: (1 + n,), first as `patch_map` (P,) halves them, then at random.

    `score_kept(masks (K, P)) → (K,)` is the picture's score with only those patches. Raises ValueError for a map that is
    not (P,) with P ≥ 2, or n < 1.
    """
    if patch_map.ndim != 1 or len(patch_map) < 2:
        raise ValueError(
            f"the map has shape {tuple(patch_map.shape)}; give one text's map (P,) with at least two patches"
        )
    if n < 1:
        raise ValueError(f"n={n}; give at least one random halving")
    generator = torch.Generator().manual_seed(seed)
    random = [torch.randperm(len(patch_map), generator=generator) for _ in range(n)]
    halves = torch.stack([_first_half(order) for order in (patch_map.argsort(descending=True), *random)])
    kept, rest = score_kept(torch.cat([halves, ~halves])).chunk(2)
    return kept - rest


def map_polarity(
    model, images, captions: Sequence[str], *, dense: str = "raw", image_size: int | None = None, n: int = 20, seed=0
) -> Polarity:
    """Polarity of a model's maps over pairs of picture and caption, judged by what the model itself scores: no box needed.

    Each picture is encoded 2 (n + 1) times, what is hidden painted in its mean colour. One pair rarely decides; a dozen
    do. `dense` as in `encode_image`. Raises ValueError for lists of unequal length or none.
    """
    images, captions = (
        [x] if isinstance(x, str) or not isinstance(x, Sequence) else list(x) for x in (images, captions)
    )
    if len(images) != len(captions) or not images:
        raise ValueError(f"{len(images)} pictures and {len(captions)} captions; give one caption for each picture")
    apart = [
        halves_apart(*_map_and_score(model, image, caption, dense, image_size), n=n, seed=seed)
        for image, caption in zip(bar(images, "polarity"), captions, strict=True)
    ]
    mean = torch.stack(apart).mean(0)
    return Polarity(mean[0].item(), mean[1:].abs().max().item(), len(images), n)


def _map_and_score(model, image, caption: str, dense: str, image_size: int | None):
    pixels = model.preprocess(image, image_size)
    features, text = model.encode_pixels([pixels], tokens=True, dense=dense), model.encode_text(caption).post

    def score_kept(masks: Tensor) -> Tensor:
        left = model.encode_pixels([_painted(pixels, mask.reshape(features.grid)) for mask in masks])
        return F.cosine_similarity(left.post.cpu().float(), text)

    return similarity_map(features.tokens[0].cpu().float(), text)[0], score_kept


def _first_half(order: Tensor) -> Tensor:
    mask = torch.zeros(len(order), dtype=torch.bool)
    mask[order[: len(order) // 2]] = True
    return mask


def _painted(pixels: Tensor, kept: Tensor) -> Tensor:
    """Preprocessed pixels (3, H, W) where `kept` (h, w), their mean elsewhere."""
    rows, columns = (torch.arange(side) * n // side for side, n in zip(pixels.shape[1:], kept.shape, strict=True))
    return torch.where(kept[rows][:, columns], pixels, pixels.mean((1, 2), keepdim=True))
