"""Fine-tuning of both towers beside the heads: raw quads, the model as a scorer of pairs, and the two losses of its rivals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recipes.scenes_clip import MEAN, STD
from workbench.binding import QuadFeatures, Side
from workbench.data.scenes import Quad, draw
from workbench.losses import clip_loss, negclip_loss

SIDE = 64


def raw_quads(tokenizer, quads: Sequence[Quad]) -> QuadFeatures:
    """Pixels (n, 2, 3 · 64²) as bytes and token ids (n, 2, T) where features would be."""
    drawn = [np.stack([draw(scene, SIDE).ravel() for scene in quad.scenes]) for quad in quads]
    ids = tokenizer([caption for quad in quads for caption in quad.captions])
    pictures = Side(torch.from_numpy(np.stack(drawn)))
    return QuadFeatures(pictures, Side(ids.unflatten(0, (-1, 2))), tuple(quad.id for quad in quads))


class Towers(nn.Module):
    """open_clip's model as a head: raw pictures and captions → its scaled cosine, (B,); the scale at most 100."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: Side, texts: Side) -> Tensor:
        return self.scale * (self.pictures(images) * self.captions(texts)).sum(-1)

    @property
    def scale(self) -> Tensor:
        return self.model.logit_scale.exp().clamp(max=100)

    def pictures(self, images: Side) -> Tensor:
        pixels = images.post.view(-1, SIDE, SIDE, 3).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(each, device=pixels.device)[:, None, None] for each in (MEAN, STD))
        return F.normalize(self.model.encode_image((pixels - mean) / std), dim=-1)

    def captions(self, texts: Side) -> Tensor:
        return F.normalize(self.model.encode_text(texts.post), dim=-1)

    def extra_repr(self) -> str:
        return "the model's own cosine"


def in_batch(towers: Towers, batch: QuadFeatures, pairing: np.ndarray, device: str) -> Tensor:
    """InfoNCE over both pictures and both captions of every quad: its other half is one more negative, both ways."""
    pictures = towers.pictures(batch.images.flat().to(device))
    return clip_loss(pictures, towers.captions(batch.texts.flat().to(device)), towers.scale)


def text_negatives(towers: Towers, batch: QuadFeatures, pairing: np.ndarray, device: str) -> Tensor:
    """NegCLIP's: one picture of every quad, the first of one and the second of the next, and the other's caption as negative."""
    rows, shown = np.arange(len(batch)), np.arange(len(batch)) % 2
    pictures = towers.pictures(batch.images[rows, shown].to(device))
    own, wrong = (towers.captions(batch.texts[rows, which].to(device)) for which in (shown, 1 - shown))
    return negclip_loss(pictures, own, wrong[:, None], towers.scale)
