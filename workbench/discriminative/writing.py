"""What a model still writes: how surprised it is by captions that are true, and the captions of its own."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from workbench.evaluation.statistics import Interval, bootstrap
from workbench.models.batches import as_list, captions, in_batches
from workbench.models.lvlm import LvlmEncoder
from workbench.records import Record, Table


@dataclass(frozen=True, eq=False)
class Perplexity(Record):
    """`nats` (n,): the loss of each caption summed over its tokens, the end counted; `tokens` (n,)."""

    model: str
    prompt: str
    nats: np.ndarray
    tokens: np.ndarray

    @property
    def value(self) -> float:
        """exp of the mean loss per token, all captions' tokens alike."""
        return float(np.exp(self.nats.sum() / self.tokens.sum()))

    @property
    def interval(self) -> Interval:
        """Of the loss in nats per token: a ratio of two sums over captions, so drawn by what each moves it (the delta method)."""
        return bootstrap(per_token(self.nats, self.tokens))

    def table(self) -> Table:
        found = self.interval
        rows = (
            ("perplexity", f"{self.value:.3f}"),
            ("nats a token", f"{found.mean:.4f} [{found.low:.4f}, {found.high:.4f}]"),
            ("captions", f"{len(self.tokens):,}"),
        )
        return Table(f"{self.model}, asked {self.prompt!r}", ("what", "value"), rows)


def per_token(nats: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """A number for each caption (n,) whose mean is Σ nats / Σ tokens and whose spread is that of the ratio."""
    ratio = nats.sum() / tokens.sum()
    return ratio + (nats - ratio * tokens) / tokens.mean()


def perplexity(
    model: LvlmEncoder, pictures, texts: Iterable[str], *, prompt: str | None = None, batch_size: int = 32
) -> Perplexity:
    """How a model is surprised by true captions of pictures when asked `prompt` (`model.prompts.caption` by default).

    One caption a picture. The trap: a model that knows only some wordings of a true caption is surprised by the others. Raises
    ValueError for unequal numbers, and as `encode_image` and `encode_text`.
    """
    pictures, texts = as_list(pictures, "pictures"), captions(texts)
    if len(pictures) != len(texts):
        raise ValueError(f"{len(pictures)} pictures and {len(texts)} captions; give one caption for each picture")
    prompt = prompt or model.prompts.caption
    read, nats = model.continuation(texts, prompt=prompt), []
    if cut := sum(length > n for length, n in zip(read.full_lengths, read.mask.sum(1).tolist(), strict=True)):
        warnings.warn(f"{cut} of {len(texts)} captions are cut where the context of {model.name} ends", stacklevel=2)
    with model._reading():
        for rows in in_batches(range(len(texts)), batch_size, "captions"):
            part = slice(rows[0], rows[-1] + 1)
            pixels = [model._to_device(model.preprocess(picture)) for picture in pictures[part]]
            ids, mask = (side[part].to(model.device) for side in (read.ids, read.mask))
            nats.append(write(model, pixels, ids, mask, prompt=prompt)[1].sum(1).double().cpu())
    return Perplexity(model.name, prompt, torch.cat(nats).numpy(), read.mask.sum(1).numpy())


def write(
    model: LvlmEncoder, pixels: Sequence[Tensor], ids: Tensor, mask: Tensor, *, prompt: str | None = None
) -> tuple[Tensor, Tensor]:
    """`forward_writing` of pictures (3, H, W) of any shapes, all at once where they have one: (B, d) and (B, T)."""
    if len({each.shape for each in pixels}) == 1:
        return model.forward_writing(torch.stack(tuple(pixels)), ids, mask, prompt=prompt)
    alone = (
        model.forward_writing(p[None], i[None], m[None], prompt=prompt)
        for p, i, m in zip(pixels, ids, mask, strict=True)
    )
    summaries, losses = map(torch.cat, zip(*alone, strict=True))
    return summaries, losses
