"""A caption in its prompt as ids: which tokens are its own, and which word each belongs to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workbench.models.dual_encoder import Tokenized
from workbench.models.lvlm.inputs import Inputs
from workbench.models.lvlm.prompts import Prompts

_WORD = re.compile(r"\w+|[^\w\s]+")


@dataclass(frozen=True)
class TextPrompt:
    """What is written before and after a caption, and how many tokens that is on either side."""

    before: str
    after: str
    head: int
    tail: int

    def __len__(self) -> int:
        return self.head + self.tail


def text_prompt(inputs: Inputs, prompts: Prompts) -> TextPrompt:
    before, after = inputs.around(prompts)
    spans = inputs.encoded([f"{before}a{after}"])[0][1]
    own = [t for t, (start, end) in enumerate(spans) if start <= len(before) < end]
    return TextPrompt(before, after, own[0], len(spans) - own[-1] - 1)


def tokenized(inputs: Inputs, prompt: TextPrompt, texts: Sequence[str], context: int) -> Tokenized:
    """Captions in their prompt, padded on the right; one too long loses its own last tokens, never the prompt's.

    Raises ValueError for a caption that holds a special token.
    """
    texts = [inputs.checked(text) for text in texts]
    rows = [
        _row(inputs, prompt, text, context, *whole)
        for text, whole in zip(texts, inputs.encoded([_written(prompt, text) for text in texts]), strict=True)
    ]
    ids = nn.utils.rnn.pad_sequence([torch.tensor(row.ids) for row in rows], batch_first=True)
    mask = torch.arange(ids.shape[1]) < torch.tensor([len(row.ids) for row in rows])[:, None]
    word_ids = [[*row.word_ids, *[None] * (ids.shape[1] - len(row.ids))] for row in rows]
    return Tokenized(ids, mask, [row.words for row in rows], word_ids, tuple(row.full_length for row in rows))


def continued(inputs: Inputs, texts: Sequence[str], room: int) -> Tokenized:
    """Texts that stand behind something: their tokens and an end, cut to `room`, padded on the right."""
    texts = [inputs.checked(text) for text in texts]
    read = inputs.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    rows = [[*row, inputs.tokenizer.eos_token_id] for row in read]
    ids = nn.utils.rnn.pad_sequence([torch.tensor(row[:room]) for row in rows], batch_first=True)
    lengths = torch.tensor([min(len(row), room) for row in rows])
    return Tokenized(ids, torch.arange(ids.shape[1]) < lengths[:, None], full_lengths=tuple(map(len, rows)))


def padded_left(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The same rows with their padding on the left, wherever it was."""
    order = mask.long().argsort(dim=1, stable=True)
    return ids.gather(1, order), mask.gather(1, order)


@dataclass(frozen=True)
class _Row:
    ids: list[int]
    words: list[str]
    word_ids: list[int | None]
    full_length: int


def _written(prompt: TextPrompt, text: str) -> str:
    return f"{prompt.before}{text}{prompt.after}"


def _row(inputs: Inputs, prompt: TextPrompt, text: str, context: int, ids: list[int], spans: list) -> _Row:
    start, full = len(prompt.before), len(ids)
    while len(ids) > context:  # pieces at the cut may come apart differently, so once is not always enough
        own = [span for span in spans if span[0] < start + len(text) and span[1] > start]
        kept = own[: max(len(own) - (len(ids) - context), 1)]
        text = text[: min(kept[-1][1] - start, len(text) - 1)]
        ids, spans = inputs.encoded([_written(prompt, text)])[0]
    found, own = list(_WORD.finditer(text)), range(prompt.head, len(ids) - prompt.tail)
    # A token that the caption's end and the prompt share, ".\n", is the prompt's: the mask counts from the ends.
    words = [_word_at(found, a - start, b - start) if t in own else None for t, (a, b) in enumerate(spans)]
    return _Row(ids, [each.group() for each in found], words, full)


def _word_at(words: list[re.Match], start: int, end: int) -> int | None:
    """The first word that the characters start … end - 1 touch."""
    return next((w for w, word in enumerate(words) if start < word.end() and word.start() < end), None)
