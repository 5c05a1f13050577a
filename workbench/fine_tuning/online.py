"""Hard negatives while training runs: made anew at every step, the same for the same seed and step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workbench.data.edits import same
from workbench.data.negatives import OPERATORS, negatives

_STEPS = 1 << 32  # seeds of runs lie so far apart that no step of one is a step of another


def online_negatives(
    captions: Sequence[str], k: int = 3, *, seed: int = 0, step: int = 0, operators=()
) -> tuple[list[list[str]], Tensor]:
    """k texts for each caption and which of them are negatives: ([B lists of k], boolean (B, k)).

    By `data.negatives.negatives` with other draws at every step (FSC-CLIP, arXiv 2410.05210, section 4), of (seed, step, caption)
    alone, so that a resumed run sees the same. Where fewer than k operators apply, or one gives the caption back, the caption
    itself stands there and is marked false. Raises as `negatives`.
    """
    operators = operators or OPERATORS
    texts, valid = [], torch.zeros(len(captions), k, dtype=torch.bool)
    for row, caption in enumerate(captions):
        made = [n.text for n in negatives(caption, operators, k=k, seed=seed * _STEPS + step)]
        made = [text for text in made if not same(text, caption)]
        texts.append(made + [caption] * (k - len(made)))
        valid[row, : len(made)] = True
    return texts, valid


def check_changeable(captions: Sequence[str], operators=()) -> None:
    """Raises ValueError where no operator changes any of the captions: there would be nothing to train on."""
    if any(online_negatives([caption], 1, operators=operators)[1].any() for caption in captions):
        return
    raise ValueError(
        f"no operator changes any of the {len(captions)} captions (the first is {captions[0]!r:.80}); look at "
        "data.negatives.applicability(captions), give operators of your own, or take loss='clip'"
    )
