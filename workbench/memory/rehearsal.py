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
    """A batch of B pictures with `captions` each, the true one first; `tokens` asks for patches and words too, `training` for a
    step of AdamW."""

    batch_size: int
    tokens: bool = False
    training: bool = False
    captions: int = 1

    def __post_init__(self):
        for name in ("batch_size", "captions"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral):
                raise TypeError(f"{name} is {type(value).__name__} {value!r}; give a whole number, 1 or more")
            if value < 1:
                raise ValueError(f"{name}={value}; give 1 or more")
            object.__setattr__(self, name, int(value))  # numpy's integers go into no JSON
        if self.training and self.batch_size < 2:
            raise ValueError(
                f"batch_size={self.batch_size} with training=True: one pair has no negatives; give 2 or more"
            )


def rehearse(model: DualEncoder, task: Task, device: str) -> None:
    """The same batch twice, for the second time finds what the first left: AdamW's states, the buffers of libraries."""
    batch = _batch(model, task, device)
    optimiser = torch.optim.AdamW(trained(model)) if task.training else None
    for _ in range(2):
        if optimiser:
            _step(model, batch, task, optimiser)
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


def _batch(model: DualEncoder, task: Task, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels (B, 3, S, S), ids and mask (B · C, T). Nothing is zero, for untouched zeros take no real memory."""
    size, shape = model.card.image_size, (task.batch_size * task.captions, _caption_tokens(model))
    pixels = torch.rand(task.batch_size, 3, size, size, dtype=model.dtype, device=device)
    ids = torch.ones(shape, dtype=torch.long, device=device)
    mask = torch.ones(shape, dtype=torch.bool, device=device)
    mask[-1, -1] = False  # one shorter caption, as usual: towers may skip a mask that is all true
    return pixels, ids, mask


def _features(model: DualEncoder, batch: tuple[Tensor, Tensor, Tensor], tokens: bool):
    pixels, ids, mask = batch
    image = model.forward_image(pixels, tokens=tokens)
    return image, model.forward_text(ids, mask, tokens=tokens)


def _step(model: DualEncoder, batch: tuple[Tensor, Tensor, Tensor], task: Task, optimiser) -> None:
    image, text = _features(model, batch, task.tokens)
    own = text.post if task.captions == 1 else text.post[:: task.captions]
    loss = clip_loss(image.post, own, 20.0)
    if task.captions > 1:  # a stand-in for what a loss on negatives would do
        loss = loss + text.post.square().mean()
    if task.tokens:  # and for one on patches and words
        loss = loss + image.tokens.square().mean() + text.tokens.square().mean()
    if loss.requires_grad:
        loss.backward()
    optimiser.step()
    optimiser.zero_grad()
