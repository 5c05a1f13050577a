"""Soft prompts as new words: the tokens of a prompt, each with a vector of its own that can learn.

They stand behind the vocabulary, where no tokenizer writes and no head predicts. So a prompt is still ids, whatever the family
makes of them afterwards (image tokens, positions, a cache), and nothing else has to know.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workbench.models.lvlm.inputs import Inputs
from workbench.models.lvlm.prompts import IMAGE, SENTENCE, Prompts


class SoftEmbedding(nn.Module):
    """The embedding of a vocabulary with `soft` (S, d) behind it: ids from its size on are rows of `soft`."""

    def __init__(self, words: nn.Module, soft: Tensor):
        super().__init__()
        self.words, self.soft = words, nn.Parameter(soft)

    @property
    def weight(self) -> nn.Parameter:
        """The vocabulary's, which a tied head shares."""
        return self.words.weight

    @property
    def num_embeddings(self) -> int:
        return self.words.num_embeddings

    @property
    def embedding_dim(self) -> int:
        return self.words.embedding_dim

    def forward(self, ids: Tensor) -> Tensor:
        size = self.num_embeddings
        own = self.soft[(ids - size).clamp(min=0)].to(self.weight.dtype)
        return torch.where((ids >= size)[..., None], own, self.words(ids.clamp(max=size - 1)))


@dataclass(frozen=True)
class SoftPlaces:
    """Which tokens of a prompt are soft, and their ids: counted from the front where they stand before the picture or caption,
    from the end (−1 the last) where they stand behind it."""

    places: tuple[int, ...]
    ids: tuple[int, ...]

    def put(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """ids (B, T) with the soft ones in their places; rows are as long as `mask` (B, T) says, padded on the right."""
        ends = torch.full((len(ids),), ids.shape[1]) if mask is None else mask.sum(1)
        found, rows = ids.clone(), torch.arange(len(ids))
        for place, soft in zip(self.places, self.ids, strict=True):
            found[rows, place if place >= 0 else ends + place] = soft
        return found


def softened(
    embedding: nn.Module, inputs: Inputs, prompts: Prompts, words: dict[str, Tensor]
) -> tuple[SoftEmbedding, dict[str, SoftPlaces]]:
    """The embedding with a new word for every token of the prompts' own, equal to it, and where these stand.

    `words` are the ids (T,) of whole prompts by modality, something in the place of picture and caption.
    """
    places = {side: soft_places(inputs, prompts, side) for side in words}
    hard = torch.cat([words[side][list(own)] for side, own in places.items()])
    with torch.no_grad():
        vectors = embedding(hard.to(embedding.weight.device)).clone()
    ids = iter(range(embedding.num_embeddings, embedding.num_embeddings + len(hard)))
    soft = {side: SoftPlaces(own, tuple(next(ids) for _ in own)) for side, own in places.items()}
    return SoftEmbedding(embedding, vectors), soft


def soft_places(inputs: Inputs, prompts: Prompts, modality: str) -> tuple[int, ...]:
    """The tokens that a prompt's own words become, without those of the chat template: places as `SoftPlaces` counts them.

    Raises ValueError for a prompt without a word, or words that the template puts elsewhere.
    """
    prompt, here = (prompts.image, IMAGE) if modality == "image" else (prompts.text, SENTENCE)
    before, filling, after = _written(inputs, prompts, modality)
    own = [part.strip() for part in prompt.split(here)]
    if own[0] not in before or own[1] not in after:
        raise ValueError(
            f"the chat template of {inputs.name} writes the words of the {modality} prompt {prompt!r} elsewhere; put them "
            "where it does, or give Prompts(chat=False, …)"
        )
    starts = before.rfind(own[0]), len(before + filling) + after.find(own[1])
    [(_, spans)] = inputs.encoded([before + filling + after])
    edges = len(before), len(before + filling)
    if any(start < edge < end for start, end in spans for edge in edges):  # counted, it would be a word of a caption
        raise ValueError(
            f"the {modality} prompt {prompt!r} ends in what {inputs.name} reads as one token with what stands beside it; put a "
            f"space or a line's end beside {here!r}"
        )
    found = [
        t if end <= len(before) else t - len(spans)
        for t, (start, end) in enumerate(spans)
        if any(start < at + len(words) and at < end for at, words in zip(starts, own, strict=True) if words)
    ]
    if not found:
        raise ValueError(f"the {modality} prompt {prompt!r} has no words to be soft; write some beside {here!r}")
    return tuple(found)


def _written(inputs: Inputs, prompts: Prompts, modality: str) -> tuple[str, str, str]:
    """What stands before a picture or caption, something in its place, and what stands behind."""
    if modality == "image":
        return inputs.about_picture(prompts.image, prompts.chat, prompts.ending).partition(inputs.image_token)
    before, after = inputs.around(prompts)
    return before, "a", after
