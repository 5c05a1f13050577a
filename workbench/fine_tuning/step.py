"""One step: a batch of pictures with captions and negatives → features → loss, however little of it is in memory at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.fine_tuning.config import FineTuneConfig
from workbench.losses import clip_loss, fsc_loss, negclip_loss
from workbench.matching import local_similarity
from workbench.models.batches import words_and_end
from workbench.models.dual_encoder import DualEncoder
from workbench.training import in_parts


@dataclass(frozen=True)
class Batch:
    """Pixels (B, 3, H, W); ids, `mask` (attended) and `words` (that a local score counts) (B, 1 + K, T), the true caption
    first; `valid` (B, K): where there is a negative."""

    pixels: Tensor
    ids: Tensor
    mask: Tensor
    words: Tensor
    valid: Tensor

    def __len__(self) -> int:
        return len(self.pixels)


def make_batch(
    model: DualEncoder, pixels: Tensor, captions: Sequence[str], wrong: Sequence[Sequence[str]], valid: Tensor
) -> Batch:
    """A batch on the model's device. The start of a text does not count as a word and its end does, as in FSC-CLIP's code.

    What reads as its caption once it is tokenized, cut or of unknown words, is no negative.
    """
    texts = [text for own, others in zip(captions, wrong, strict=True) for text in (own, *others)]
    tokenized = model.tokenize(texts)
    sides = (tokenized.ids, tokenized.mask, words_and_end(tokenized))
    ids, mask, words = (side.unflatten(0, (len(captions), -1)).to(model.device) for side in sides)
    told_apart = (ids[:, 1:] != ids[:, :1]).any(-1)
    return Batch(pixels.to(model.device), ids, mask, words, valid.to(model.device) & told_apart)


@dataclass(frozen=True)
class Encoded:
    """`image` (B, d), `texts` (B, 1 + K, d), and log S_l (B, 1 + K) where a local score is asked for."""

    image: Tensor
    texts: Tensor
    local: Tensor | None


def encode(model: DualEncoder, batch: Batch, scale: Tensor, config: FineTuneConfig) -> Encoded:
    """Features of a batch, `config.micro_batch` pictures in memory at a time (`training.in_parts`)."""

    def run(pixels, ids, mask, words):
        return _part(model, config, pixels, ids, mask, words, scale)

    parts = in_parts(run, (batch.pixels, batch.ids, batch.mask, batch.words), config.micro_batch)
    image, texts, local = zip(*parts, strict=True)
    return Encoded(torch.cat(image), torch.cat(texts), torch.cat(local) if config.local else None)


def _part(model, config: FineTuneConfig, pixels, ids, mask, words, scale):
    with torch.autocast(model.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
        image = model.forward_image(pixels, tokens=config.local)
        text = model.forward_text(ids.flatten(0, 1), mask.flatten(0, 1), tokens=config.local)
    texts = text.post.unflatten(0, ids.shape[:2])
    if not config.local:
        return image.post, texts, None
    tokens = text.tokens.unflatten(0, ids.shape[:2])
    local = local_similarity(image.tokens, tokens, words, scale, normalizer=config.normalizer)
    return image.post, texts, local


def loss_of(encoded: Encoded, valid: Tensor, scale: Tensor, config: FineTuneConfig) -> Tensor:
    """The loss that the configuration names."""
    own, wrong = encoded.texts[:, 0], encoded.texts[:, 1:]
    if config.loss == "clip":
        return clip_loss(encoded.image, own, scale)
    if config.loss == "negclip":
        return negclip_loss(encoded.image, own, wrong, scale, valid=valid, missing=config.missing)
    names = ("global_weight", "local_weight", "gamma", "smoothing", "missing")
    options = {name: getattr(config, name) for name in names}
    return fsc_loss(encoded.image, own, wrong, scale, local=encoded.local, valid=valid, **options)
