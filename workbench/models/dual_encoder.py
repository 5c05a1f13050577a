"""The interface of every model: pictures and captions in, `pre`/`post`/`tokens` out.

An adapter gives `_pixels` (one picture to a tensor), `_tokenize`, and the two differentiable forward passes; batching,
opening of files, progress and moving between devices happen here, once.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from workbench.features import ImageFeatures, Projector, TextFeatures
from workbench.models.batches import as_list, captions, end_of_text, gather, in_batches, joined, opened, warn_cut, whole
from workbench.models.card import ModelCard
from workbench.models.weights import check_finite, weights_digest
from workbench.models.words import tokenizer_digest

if TYPE_CHECKING:
    from pathlib import Path

    Picture = Image.Image | str | Path | np.ndarray


@dataclass(frozen=True)
class Tokenized:
    """Captions as ids (M, T) and mask (M, T) of what the tower attends to; `words`, `word_ids` as in TextFeatures.

    `full_lengths[m]` counts caption m's tokens before any were cut off.
    """

    ids: Tensor
    mask: Tensor
    words: list[list[str]] | None = None
    word_ids: list[list[int | None]] | None = None
    full_lengths: tuple[int, ...] = ()


class DualEncoder(ABC):
    """An image tower and a text tower that meet in one space of width `embed_dim`.

    `logit_scale` is exponentiated, `logit_bias` 0.0 where there is none; `module` holds every parameter.
    """

    def __init__(self, module: nn.Module, card: ModelCard, *, device: str, dtype: torch.dtype):
        kept = getattr(module, "is_quantized", False)  # such a model is loaded in its precision, and refuses another
        self.module = module.to(device=device, **({} if kept else {"dtype": dtype})).eval()
        self.card = card
        self.device, self.dtype = torch.device(device), dtype
        if dtype == torch.float16:  # which ends at 65,504
            check_finite(f"{card.name} in float16", self.module)

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def embed_dim(self) -> int:
        return self.card.d

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{type(self).__name__}({self.name!r}, d={self.embed_dim}, {self.device}, {dtype})"

    # What an adapter gives ------------------------------------------------------------------------------------------

    @property
    def logit_scale(self) -> float:
        return self.module.logit_scale.exp().item()

    @property
    def logit_bias(self) -> float:
        bias = getattr(self.module, "logit_bias", None)
        return 0.0 if bias is None else bias.item()

    @property
    @abstractmethod
    def image_projector(self) -> Projector: ...

    @property
    @abstractmethod
    def text_projector(self) -> Projector: ...

    @abstractmethod
    def forward_image(
        self, pixels: Tensor, *, tokens: bool = False, layer: int = -1, dense: str = "raw"
    ) -> ImageFeatures:
        """Differentiable features of preprocessed pixels (B, 3, H, W)."""

    @abstractmethod
    def forward_text(self, ids: Tensor, mask: Tensor, *, tokens: bool = False, layer: int = -1) -> TextFeatures:
        """Differentiable features of ids (B, T) and mask (B, T); its `mask` leaves special tokens out."""

    @abstractmethod
    def _pixels(self, image: Image.Image, size: int) -> Tensor:
        """One RGB picture as the (3, H, W) tensor that the tower was trained on."""

    @abstractmethod
    def _tokenize(self, texts: list[str]) -> Tokenized: ...

    @property
    def dense_variants(self) -> tuple[str, ...]:
        """What `encode_image(dense=…)` takes; `models.dense.VARIANTS` says what each is."""
        return ("raw",)

    @property
    def image_layers(self) -> int:
        """How many blocks `encode_image(layer=…)` chooses from; 1 where only the last can be read."""
        return 1

    @property
    def text_layers(self) -> int:
        """How many blocks `encode_text(layer=…)` chooses from."""
        return 1

    def _check_image_size(self, size: int) -> None:
        if size != self.card.image_size:
            raise ValueError(f"image_size={size}: {self.name} only takes {self.card.image_size}; leave image_size out")

    # What everybody calls -------------------------------------------------------------------------------------------

    def encode_image(
        self,
        images: Picture | Iterable[Picture],
        *,
        tokens: bool = False,
        image_size: int | None = None,
        layer: int = -1,
        dense: str = "raw",
        batch_size: int | None = None,
    ) -> ImageFeatures:
        """Features of pictures, without gradients, float32 on the CPU: pre (N, d_i), post (N, d), tokens (N, P, d).

        `images`: PIL pictures, paths or uint8 arrays (one or many), opened as `data.pictures.open_picture` says; what it
        had to scale down is said in a warning. `image_size` chooses the patch grid where the tower allows it. `layer`
        reads the tower as if it ended after that block (0 the first, -1 the last): final norm, pool and projection
        follow. `dense` reads the patch tokens of the last block in another way (`dense_variants`); `pre` and `post` stay.
        Raises ValueError for an empty list, an unreadable picture, or a size, layer or dense option that this tower lacks.
        """
        images = as_list(images, "pictures")
        self.input_size(image_size)
        batches = []
        for batch in in_batches(images, 32 if batch_size is None else batch_size, "pictures"):
            pixels = [self.preprocess(image, image_size) for image in batch]
            batches.append(self.encode_pixels(pixels, tokens=tokens, layer=layer, dense=dense))
        return joined(batches, tokens)

    def preprocess(self, image: Picture, image_size: int | None = None) -> Tensor:
        """One picture as the (3, H, W) that the image tower takes, float32 on the CPU; errors as in `encode_image`."""
        return self._pixels(opened(image), self.input_size(image_size))

    def encode_pixels(self, pixels: Sequence[Tensor], **options) -> ImageFeatures:
        """`forward_image` without gradients over preprocessed pictures (3, H, W), which a tower may leave of several shapes."""
        with self._reading():
            if len({picture.shape for picture in pixels}) == 1:
                return self.forward_image(self._to_device(torch.stack(tuple(pixels))), **options)
            alone = [self.forward_image(self._to_device(picture[None]), **options) for picture in pixels]
        return joined(alone, options.get("tokens", False))

    @contextmanager
    def _reading(self):
        """Without gradients, and in evaluation even where a training loop left parts of the model in training."""
        training = [part for part in self.module.modules() if part.training]
        self.module.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            for part in training:  # one by one: train() would also wake what was put to rest on purpose
                part.training = True

    def encode_text(
        self,
        texts: str | Iterable[str],
        *,
        tokens: bool = False,
        layer: int = -1,
        batch_size: int | None = None,
        keep_eos: bool = False,
    ) -> TextFeatures:
        """Features of captions, without gradients, float32 on the CPU: pre (M, d_t), post (M, d), tokens (M, T, d).

        The mask counts the tokens of words; `keep_eos` counts the end-of-text token too, which in a CLIP carries the
        pooled caption, so a maximum over tokens with it partly scores the whole. `layer` as in `encode_image`. In a causal
        tower a word's token has seen only the words before it. Raises TypeError for what is not text and ValueError for
        an empty caption. A caption longer than the context is cut there, with a warning that says how many tokens were
        dropped.
        """
        if keep_eos and not tokens:
            raise ValueError("keep_eos=True counts a token, so it goes with tokens=True")
        texts = captions(texts)
        everything = self._tokenize(texts)
        warn_cut(everything, self.card)
        batches = []
        for rows in in_batches(range(len(texts)), 128 if batch_size is None else batch_size, "captions"):
            part = slice(rows[0], rows[-1] + 1)
            width = int(everything.mask[part].sum(1).max()) if self._trims_padding else everything.ids.shape[1]
            ids, mask = everything.ids[part, :width], everything.mask[part, :width]
            with self._reading():
                batches.append(self.forward_text(ids.to(self.device), mask.to(self.device), tokens=tokens, layer=layer))
        width = everything.ids.shape[1]
        mask = gather(batches, "mask", pad_to=width) if tokens else None
        return TextFeatures(
            gather(batches, "pre"),
            gather(batches, "post"),
            gather(batches, "tokens", pad_to=width),
            mask | end_of_text(everything) if tokens and keep_eos else mask,
            everything.words if tokens else None,
            everything.word_ids if tokens else None,
        )

    def tokenize(self, texts: str | Iterable[str]) -> Tokenized:
        """Captions as `forward_text` takes them, on the CPU; cut at the context (see `full_lengths`). Errors as `encode_text`."""
        return self._tokenize(captions(texts))

    def identity(self, modality: str, kind: str) -> str:
        """sha256 of all that decides a feature besides preprocessing: weights, configuration, tokenizer.

        `modality` "image" or "text", `kind` "pre", "post" or "tokens".
        """
        tokenizer = tokenizer_digest(self.tokenizer) if modality == "text" else ""
        what = [weights_digest(self.deciding(modality, kind)), tokenizer, self.recipe_of(modality)]
        return hashlib.sha256(" ".join(what).encode()).hexdigest()

    def recipe_of(self, modality: str) -> str:
        """What besides the weights decides a side's numbers: two activations may share every tensor."""
        return self.recipe

    def deciding(self, modality: str, kind: str) -> nn.Module:
        """The module whose weights decide a feature; all of them, where a model does not say more."""
        return self.module

    @property
    def tokenizer(self):
        return self._tokenizer

    def grid(self, image_size: int | None = None) -> tuple[int, int]:
        """Rows and columns of patches at an input size. Raises ValueError for a size or a tower that has none."""
        grid = self._grid(self.input_size(image_size))
        if grid is None:
            raise ValueError(
                f"{self.name} has no patch grid: its image tower keeps no patch tokens; take another model"
            )
        return grid

    def _grid(self, size: int) -> tuple[int, int] | None:
        return self.card.grid

    def seen(self, image: Picture, image_size: int | None = None) -> Image.Image:
        """The picture as the tower sees it (cropped, resized), so that a map can be drawn on the right pixels."""
        pixels = self.preprocess(image, image_size)
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.card.mean, self.card.std))
        return Image.fromarray(((pixels * std + mean).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())

    def input_size(self, image_size: int | None) -> int:
        """The size asked for, or the native one. Raises TypeError or ValueError for what the tower does not take."""
        size = self.card.image_size if image_size is None else whole("image_size", image_size)
        self._check_image_size(size)
        return size

    recipe = ""  # an adapter writes its configuration here
    _trims_padding = False  # True where padding to the longest caption of the batch changes nothing

    def _to_device(self, pixels: Tensor) -> Tensor:
        return pixels.to(device=self.device, dtype=self.dtype)
