"""Every picture against every caption."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.records import Record, Table, rounded


@dataclass(frozen=True)
class PairScores(Record):
    """Cosines values (N, M) of N pictures with M captions; where N = M, picture n belongs to caption n."""

    images: tuple[str, ...]
    texts: tuple[str, ...]
    values: Tensor

    def correct(self) -> tuple[int, int]:
        """How many captions find their picture, and pictures their caption (ties are wrong). Needs N = M."""
        self._check_paired()
        own = self.values.diag()
        rivals = self.values - torch.diag(torch.full_like(own, torch.inf))
        return int((own > rivals.amax(0)).sum()), int((own > rivals.amax(1)).sum())

    def own_and_others(self) -> tuple[float, float]:
        """Mean cosine of a picture with its own caption, and with the others. Needs N = M, two or more."""
        self._check_paired(2)
        own = self.values.diag().mean()
        n = len(self.values)
        return float(own), float((self.values.sum() - self.values.diag().sum()) / (n * (n - 1)))

    def _check_paired(self, at_least: int = 1) -> None:
        n, m = self.values.shape
        if n != m or n < at_least:
            raise ValueError(f"{n} pictures, {m} captions; give one caption per picture, {at_least} or more of each")

    def table(self) -> Table:
        rows = []
        for name, row in zip(self.images, self.values, strict=True):
            m = int(row.argmax())
            rows.append((name, self.texts[m], rounded(row[m])))
        return Table("The caption that each picture picks", ("picture", "caption", "cosine"), tuple(rows))


def pair_scores(image: Tensor, text: Tensor, images: list[str], texts: list[str]) -> PairScores:
    """Cosines of pictures (N, d) and captions (M, d) with their names. Raises ValueError where those do not fit."""
    if image.ndim != 2 or text.ndim != 2 or image.shape[1] != text.shape[1]:
        shapes = f"image {tuple(image.shape)} and text {tuple(text.shape)}"
        raise ValueError(f"{shapes} must be (N, d) and (M, d) with the same d; give `post` of one model")
    if len(images) != len(image) or len(texts) != len(text):
        given = f"{len(images)} names for {len(image)} pictures, {len(texts)} for {len(text)} captions"
        raise ValueError(f"{given}; give one each")
    values = F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    return PairScores(tuple(images), tuple(texts), values)
