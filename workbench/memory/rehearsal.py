"""The batch that is rehearsed, the same on meta and for real: one pass of each tower, or steps of AdamW."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor, nn

from workbench.losses import clip_loss
from workbench.models.dual_encoder import DualEncoder

CAPTION_TOKENS = 32  # a generous caption, for towers that only read as far as the longest one


@dataclass(frozen=True)
class Task:
    """A batch of B pictures and B captions; `tokens` asks for patches and words too, `training` for a step of AdamW."""

    batch_size: int
    tokens: bool = False
    training: bool = False

    def __post_init__(self):
        size = self.batch_size
        if isinstance(size, bool) or not isinstance(size, Integral):
            raise TypeError(f"batch_size is {type(size).__name__} {size!r}; give a whole number, 1 or more")
        if size < 1:
            raise ValueError(f"batch_size={size}; give 1 or more")
        if self.training and size < 2:
            raise ValueError(f"batch_size={size} with training=True: one pair has no negatives; give 2 or more")
        object.__setattr__(self, "batch_size", int(size))  # numpy's integers go into no JSON


def rehearse(model: DualEncoder, task: Task, device: str) -> None:
    """The same batch twice, for the second time finds what the first left: AdamW's states, the buffers of libraries."""
    batch = _batch(model, task.batch_size, device)
    optimiser = torch.optim.AdamW(trained(model)) if task.training else None
    for _ in range(2):
        if optimiser:
            _step(model, batch, task.tokens, optimiser)
        else:
            with torch.no_grad():
                _features(model, batch, task.tokens)


def trained(model: DualEncoder) -> list[nn.Parameter]:
    return [p for p in model.module.parameters() if p.requires_grad]


def assumptions(model: DualEncoder) -> tuple[str, ...]:
    if not model._trims_padding:
        return ()
    return (f"captions of {_caption_tokens(model)} tokens assumed; it reads up to {model.card.context_length}",)


def _caption_tokens(model: DualEncoder) -> int:
    longest = model.card.context_length
    return min(CAPTION_TOKENS, longest) if model._trims_padding else longest


def _batch(model: DualEncoder, batch_size: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels (B, 3, S, S), ids (B, T) and mask (B, T). Nothing is zero, for untouched zeros take no real memory."""
    size, length = model.card.image_size, _caption_tokens(model)
    pixels = torch.rand(batch_size, 3, size, size, dtype=model.dtype, device=device)
    ids = torch.ones(batch_size, length, dtype=torch.long, device=device)
    mask = torch.ones(batch_size, length, dtype=torch.bool, device=device)
    mask[-1, -1] = False  # one shorter caption, as usual: towers may skip a mask that is all true
    return pixels, ids, mask


def _features(model: DualEncoder, batch: tuple[Tensor, Tensor, Tensor], tokens: bool):
    pixels, ids, mask = batch
    image = model.forward_image(pixels, tokens=tokens)
    return image, model.forward_text(ids, mask, tokens=tokens)


def _step(model: DualEncoder, batch: tuple[Tensor, Tensor, Tensor], tokens: bool, optimiser) -> None:
    image, text = _features(model, batch, tokens)
    loss = clip_loss(image.post, text.post, 20.0)
    if tokens:  # a stand-in for what a loss on patches and words would do
        loss = loss + image.tokens.square().mean() + text.tokens.square().mean()
    if loss.requires_grad:
        loss.backward()
    optimiser.step()
    optimiser.zero_grad()
