"""How widely the summary looks at a picture: the effective support of its attention (VladVA, arXiv 2412.04378, figure 6)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workbench.evaluation.statistics import Interval, bootstrap
from workbench.models.lvlm import LvlmEncoder
from workbench.records import Record, Table

if TYPE_CHECKING:
    from workbench.models.dual_encoder import Picture


def effective_support(weights: Tensor) -> Tensor:
    """exp of the entropy of weights (…, P) over the image tokens, each row divided by its sum: (…,), from 1 to P.

    1: one token has it all; P: all have the same. NaN for a row of zeros, which looks at nothing. The trap: a row that adds up
    to next to nothing may be spread widely, so read it beside that sum. Raises ValueError for no tokens, or values below 0 or
    not finite.
    """
    weights = torch.as_tensor(weights).double()
    if weights.ndim < 1 or not weights.shape[-1]:
        raise ValueError(f"weights of shape {tuple(weights.shape)}; give (…, P) with P ≥ 1 image tokens")
    if not bool((weights.isfinite() & (weights >= 0)).all()):
        raise ValueError(
            "weights hold values below 0 or not finite; give attention weights as `summary_attention` returns them"
        )
    return torch.special.entr(weights / weights.sum(-1, keepdim=True)).sum(-1).exp()


@dataclass(frozen=True)
class AttentionReading(Record):
    """By head, means over pictures: `support`, how many of P image `tokens` the summary looks at, and `share`, how much of its
    attention goes to image tokens at all. Support is of the pictures that a head looks at (its n), NaN where there are none."""

    model: str
    support: tuple[Interval, ...]
    share: tuple[Interval, ...]
    tokens: int

    def table(self) -> Table:
        rows = tuple(
            (str(head), str(support), share.percent())
            for head, (support, share) in enumerate(zip(self.support, self.share, strict=True), 1)
        )
        caption = f"{self.model}: attention of the summary in the last layer, n = {self.share[0].n:,} pictures"
        return Table(
            caption, ("head", f"effective support of {self.tokens} [95 %]", "percent on the picture [95 %]"), rows
        )


def attention_reading(model: LvlmEncoder, pictures: Iterable[Picture], *, batch_size: int = 16) -> AttentionReading:
    """How widely each head of the last layer looks when the summary is read, as the model is asked now.

    Tuning makes it denser in figure 6 of VladVA (arXiv 2412.04378). To compare two models picture by picture, take
    `paired_difference` of `effective_support(model.summary_attention(pictures).weights)`. Raises TypeError for another kind of
    model, else as `summary_attention`.
    """
    if not isinstance(model, LvlmEncoder):
        raise TypeError(
            f"{type(model).__name__} has no summary token; give a vision–language model, load_model('lvlm:…')"
        )
    weights = model.summary_attention(pictures, batch_size=batch_size).weights
    support = tuple(_mean_of_seen(head) for head in effective_support(weights).T)
    return AttentionReading(model.name, support, tuple(map(bootstrap, weights.sum(-1).T)), weights.shape[-1])


def _mean_of_seen(values: Tensor) -> Interval:
    seen = values[~values.isnan()]
    return bootstrap(seen) if len(seen) else Interval(*[float("nan")] * 3, 0)
