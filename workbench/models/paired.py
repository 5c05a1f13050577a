"""Two one-modality towers and an alignment head: a dual encoder."""

from __future__ import annotations

import math

import torch
from PIL import Image
from torch import Tensor, nn

from workbench.features import ImageFeatures, Projector, TextFeatures
from workbench.heads import Identity
from workbench.models.card import ModelCard
from workbench.models.dual_encoder import DualEncoder, Tokenized
from workbench.models.towers import MiniLM


class AlignmentHead(nn.Module):
    """An image head (…, d_i) → (…, d), a text head (…, d_t) → (…, d) and a temperature (`log_scale`, natural log).

    Each head is a module with `projector()`, as those of `workbench.heads`.
    """

    def __init__(self, image: nn.Module, text: nn.Module, *, logit_scale: float = 20.0):
        super().__init__()
        self.image, self.text = image, text
        self.log_scale = nn.Parameter(torch.tensor(math.log(logit_scale)))


class PairedEncoder(DualEncoder):
    """Frozen towers, a light head on top; patch tokens are the image head applied to every cell of the feature map."""

    _trims_padding = True

    def __init__(self, image: nn.Module, text: MiniLM, head: AlignmentHead, card: ModelCard, **placement):
        image.requires_grad_(False)
        text.requires_grad_(False)
        super().__init__(nn.ModuleDict({"image": image, "text": text, "head": head}), card, **placement)
        self.image_tower, self.text_tower, self.head = image, text, head

    @property
    def logit_scale(self) -> float:
        return self.head.log_scale.exp().item()

    @property
    def image_projector(self) -> Projector:
        return self.head.image.projector()

    @property
    def text_projector(self) -> Projector:
        return self.head.text.projector()

    def forward_image(
        self, pixels: Tensor, *, tokens: bool = False, layer: int = -1, dense: str = "raw"
    ) -> ImageFeatures:
        self._last_layer_only(layer, dense)
        cells, grid = self.image_tower(pixels)  # (B, P, d_i)
        pre = cells.mean(1)
        return ImageFeatures(pre, self.head.image(pre), self.head.image(cells) if tokens else None, grid)

    def forward_text(self, ids: Tensor, mask: Tensor, *, tokens: bool = False, layer: int = -1) -> TextFeatures:
        self._last_layer_only(layer)
        states, pre = self.text_tower(ids, mask)  # (B, T, d_t), (B, d_t)
        counts = mask & ~self.text_tower.special(ids)
        return TextFeatures(
            pre, self.head.text(pre), self.head.text(states) if tokens else None, counts if tokens else None
        )

    def _pixels(self, image: Image.Image, size: int) -> Tensor:
        return self.image_tower.preprocess(image, size)

    def _check_image_size(self, size: int) -> None:
        self.image_tower.check_image_size(size)

    def _grid(self, size: int) -> tuple[int, int]:
        return self.image_tower.grid(size)

    def _tokenize(self, texts: list[str]) -> Tokenized:
        return tokenize_with_offsets(self.text_tower.tokenizer, texts, self.text_tower.context_length)


def tokenize_with_offsets(tokenizer, texts: list[str], context_length: int, padding: bool | str = True) -> Tokenized:
    """Captions through a fast tokenizer of transformers, word pieces mapped back to the words as they were typed."""
    # A caption of a megabyte would be tokenised in full only to be cut: 40 characters a token is more than any word piece has.
    clipped = [text[: 40 * context_length] for text in texts]
    full = tokenizer(clipped, add_special_tokens=True, truncation=False, verbose=False)
    cut = tokenizer(
        clipped,
        padding=padding,
        truncation=True,
        max_length=context_length,
        return_tensors="pt",
        return_attention_mask=True,
    )
    words, word_ids = [], []
    for m, text in enumerate(clipped):
        ids = cut.word_ids(m)
        spans = [
            full.word_to_chars(m, w) for w in range(1 + max((i for i in full.word_ids(m) if i is not None), default=-1))
        ]
        words.append([text[span.start : span.end] for span in spans])
        word_ids.append(ids)
    lengths = tuple(len(ids) for ids in full["input_ids"])
    return Tokenized(cut["input_ids"], cut["attention_mask"].bool(), words, word_ids, lengths)


def pair(image_tower: nn.Module, text_tower: MiniLM, head: AlignmentHead | None = None, **placement) -> PairedEncoder:
    """Tie any two towers: features meet through `head`, or as they are where both towers are equally wide.

    Raises ValueError where the widths differ and no head is given. `device`, `dtype` as in `load_model`.
    """
    if head is None:
        if image_tower.width != text_tower.width:
            raise ValueError(
                f"the image tower is {image_tower.width} wide and the text tower {text_tower.width}; "
                "give a head, for example AlignmentHead(LinearHead(d_i, d), LinearHead(d_t, d))"
            )
        head = AlignmentHead(Identity(image_tower.width), Identity(text_tower.width))
    placement = {"device": "cpu", "dtype": torch.float32, **placement}
    return PairedEncoder(image_tower, text_tower, head, pair_card(image_tower, text_tower, head), **placement)


def pair_card(image: nn.Module, text: MiniLM, head: AlignmentHead, **known) -> ModelCard:
    """The card of a pair, read off its parts; `known` overrides fields (name, notes, digest …)."""
    projector = head.text.projector()
    fields = {
        "name": f"{image.name} + {text.name}",
        "source": f"{image.source}; {text.source}",
        "parameters": sum(p.numel() for part in (image, text, head) for p in part.parameters()),
        "d_i": image.width,
        "d_t": text.width,
        "d": projector.weight.shape[0],
        "image_size": image.image_size,
        "grid": image.grid(image.image_size),
        "context_length": text.context_length,
        "preprocess": f"{image.image_size} px: {image.preprocess_words}",
        "mean": image.mean,
        "std": image.std,
        "digest": (image.digest + text.digest)[:16],
        "licence": image.licence,
        **known,
    }
    return ModelCard(**fields)
