"""One step: pictures, short and long captions → summaries and next-token losses → loss, in parts where memory is short."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.discriminative.config import DiscriminativeConfig
from workbench.discriminative.writing import write
from workbench.losses import clip_loss
from workbench.models.lvlm import LvlmEncoder
from workbench.training import in_parts


@dataclass(frozen=True)
class Batch:
    """Pixels (3, H, W) of each picture, on the CPU until their part is computed; on the model's device ids and mask (B, T) of its
    short caption in its prompt, and of its long one (B, L)."""

    pixels: list[Tensor]
    ids: Tensor
    mask: Tensor
    long_ids: Tensor
    long_mask: Tensor

    def __len__(self) -> int:
        return len(self.pixels)


def make_batch(model: LvlmEncoder, pixels: Sequence[Tensor], short: Sequence[str], long: Sequence[str | None]) -> Batch:
    """A batch; a picture without a long caption has an empty one. Captions that are cut are told, once."""
    read, there = model.tokenize(short), [text for text in long if text is not None]
    has = torch.tensor([text is not None for text in long])
    behind = model.continuation(there) if there else None
    width = behind.ids.shape[1] if there else 0
    ids, mask = torch.zeros(len(long), width, dtype=torch.long), torch.zeros(len(long), width, dtype=torch.bool)
    if there:
        ids[has], mask[has] = behind.ids, behind.mask
    if any(length > read.ids.shape[1] for length in read.full_lengths):
        warnings.warn(f"some short captions are longer than the context of {model.name}, and cut there", stacklevel=2)
    if there and any(length > width for length in behind.full_lengths):
        warnings.warn(
            "some long captions are longer than what a prompt leaves of the context, and cut there", stacklevel=2
        )
    return Batch(list(pixels), *(side.to(model.device) for side in (read.ids, read.mask, ids, mask)))


@dataclass(frozen=True)
class Encoded:
    """Summaries of pictures and short captions (B, d), the loss of every token of the long ones (B, L) in nats, and which are
    there (B, L)."""

    image: Tensor
    text: Tensor
    written: Tensor
    mask: Tensor


def encode(model: LvlmEncoder, batch: Batch, config: DiscriminativeConfig) -> Encoded:
    """A batch through the model, `config.micro_batch` pictures in memory at a time (`training.in_parts`)."""

    def run(pixels, ids, mask, long_ids, long_mask):
        pixels = [each.to(device=model.device, dtype=model.dtype) for each in pixels]
        with torch.autocast(model.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            image, written = write(model, pixels, long_ids, long_mask)
            return image, model.forward_text(ids, mask).post, written

    sides = (batch.pixels, batch.ids, batch.mask, batch.long_ids, batch.long_mask)
    image, text, written = map(torch.cat, zip(*in_parts(run, sides, config.micro_batch), strict=True))
    return Encoded(image, text, written, batch.long_mask)


def loss_of(encoded: Encoded, temperature: float, config: DiscriminativeConfig) -> Tensor:
    """contrastive_weight · (picture → caption + caption → picture) + next_token_weight · mean over the long captions' tokens."""
    loss = encoded.image.new_zeros(())
    if config.contrastive_weight:
        loss = loss + config.contrastive_weight * 2 * clip_loss(encoded.image, encoded.text, 1 / temperature)
    if config.next_token_weight and encoded.mask.any():
        loss = loss + config.next_token_weight * encoded.written.sum() / encoded.mask.sum()
    return loss
