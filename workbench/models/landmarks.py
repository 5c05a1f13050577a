"""A learned head that is not linear: how near a feature lies to each landmark weighs that landmark's text."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.features import Projector


class LandmarkHead(nn.Module):
    """Gaussian of the angle: (…, d_in) → (…, d), sum over m of exp((cos(x - centre, landmark_m) - 1) / spread) · text_m.

    Landmarks are unit vectors: first `given` (C, d_in), which someone else keeps (a classifier's rows), then `own` (m, d_in);
    texts (C + m, d). On unit vectors exp((cos - 1) / spread) is the Gaussian kernel of variance `spread`, so with texts from
    a ridge regression this is Nyström's approximation of kernel ridge regression (Williams and Seeger 2000). Not linear:
    patches do not average to the image. Raises ValueError for texts that are not one a landmark, or a spread that is not
    positive.
    """

    def __init__(self, centre: Tensor, given: Tensor, own: Tensor, texts: Tensor, spread: float):
        super().__init__()
        if len(given) + len(own) != len(texts):
            raise ValueError(f"{len(given) + len(own)} landmarks but {len(texts)} texts; give one text a landmark")
        if not spread > 0:
            raise ValueError(f"spread={spread}; give a positive number, such as 0.6")
        self.spread = float(spread)
        unit = {"given": F.normalize(given, dim=-1), "own": F.normalize(own, dim=-1)}
        for name, value in {"centre": centre, **unit, "texts": texts}.items():
            self.register_buffer(name, value.detach().clone())

    @property
    def landmarks(self) -> Tensor:
        return torch.cat([self.given, self.own])

    def forward(self, x: Tensor) -> Tensor:
        return self.nearness(x) @ self.texts

    def nearness(self, x: Tensor) -> Tensor:
        """(…, d_in) → (…, C + m), 1 where a feature points exactly to a landmark."""
        direction = F.normalize(x - self.centre, dim=-1)
        cosine = torch.cat([direction @ self.given.T, direction @ self.own.T], dim=-1)
        return torch.exp((cosine - 1) / self.spread)

    def projector(self) -> Projector:
        return Projector(
            None, kind="none", reason="nearness to landmarks is a Gaussian of an angle, which is not linear"
        )


def unit_prototypes(classifier: nn.Linear) -> Tensor:
    """A classifier's rows, centred over classes, each of unit norm: (C, d_in)."""
    rows = classifier.weight.detach()
    return F.normalize(rows - rows.mean(0), dim=-1)
