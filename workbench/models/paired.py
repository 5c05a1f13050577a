"""Two one-modality towers and an alignment head: a dual encoder."""

from __future__ import annotations

import hashlib
import math

import torch
from PIL import Image
from torch import Tensor, nn

from workbench.features import ImageFeatures, Projector, TextFeatures
from workbench.heads import Identity
from workbench.models import towers
from workbench.models.card import ModelCard
from workbench.models.dual_encoder import DualEncoder, Tokenized
from workbench.models.image_tower import ImageTower
from workbench.models.meta_pass import meta_twin
from workbench.models.placement import pick_device, pick_dtype
from workbench.models.reading import Projection, check_dense
from workbench.models.text_tower import TextTower
from workbench.models.weights import weights_digest
from workbench.models.words import words_of_encoding


class AlignmentHead(nn.Module):
    """An image head (…, d_i) → (…, d), a text head (…, d_t) → (…, d) and a temperature (`log_scale`, natural log).

    Each head is a module with `projector()`, as those of `workbench.heads`; one whose projector's weight may be replaced
    says with `projection` where it is. `logit_bias` is added to every logit; None, where the loss has no use for one, is no
    parameter.
    """

    def __init__(
        self, image: nn.Module, text: nn.Module, *, logit_scale: float = 20.0, logit_bias: float | None = None
    ):
        super().__init__()
        self.image, self.text = image, text
        self.log_scale = nn.Parameter(torch.tensor(math.log(logit_scale)))
        bias = None if logit_bias is None else nn.Parameter(torch.tensor(float(logit_bias)))
        self.register_parameter("logit_bias", bias)


class Tied(nn.ModuleDict):
    """The parts of a pair. Frozen towers stay in evaluation: a batch norm in training would learn from what passes by."""

    frozen = True

    def train(self, mode: bool = True) -> Tied:
        super().train(mode)
        for part in ("image", "text") if self.frozen else ():
            self[part].train(False)
        return self


class PairedEncoder(DualEncoder):
    """Two towers, a light head on top; patch and word tokens are the heads applied to every cell and every token state.

    The towers are frozen: only the head learns. With `frozen=False` every weight of both learns too; to train a part, set
    `requires_grad_` on parts of `image_tower` and `text_tower` afterwards.
    """

    _trims_padding = True

    def __init__(
        self,
        image: ImageTower,
        text: TextTower,
        head: AlignmentHead,
        card: ModelCard,
        *,
        frozen: bool = True,
        **placement,
    ):
        image.requires_grad_(not frozen)
        text.requires_grad_(not frozen)
        parts = Tied({"image": image, "text": text, "head": head})
        parts.frozen = frozen
        super().__init__(parts, card, **placement)
        self.image_tower, self.text_tower, self.head = image, text, head
        sides = {"image": [image, head.image], "text": [text, head.text]}
        self._deciding = {(side, kind): nn.ModuleList(parts[:kind]) for side, parts in sides.items() for kind in (1, 2)}

    @property
    def tokenizer(self):
        return self.text_tower.tokenizer

    def deciding(self, modality: str, kind: str) -> nn.Module:
        """The tower for "pre", and its side of the head too for "post" and "tokens"."""
        return self._deciding[modality, 1 if kind == "pre" else 2]

    def recipe_of(self, modality: str) -> str:
        return (self.image_tower if modality == "image" else self.text_tower).recipe

    @property
    def logit_scale(self) -> float:
        return self.head.log_scale.exp().item()

    @property
    def logit_bias(self) -> float:
        bias = getattr(self.head, "logit_bias", None)
        return 0.0 if bias is None else bias.item()

    @property
    def image_projector(self) -> Projector:
        return self.head.image.projector()

    @property
    def text_projector(self) -> Projector:
        return self.head.text.projector()

    def projection(self, modality: str) -> Projection | None:
        """What holds the weight of a side's exact projector, None where the head holds none."""
        return getattr(self.head.image if modality == "image" else self.head.text, "projection", None)

    def digest(self) -> str:
        """The digest of the towers and of the head as it is now."""
        return _pair_digest(self.image_tower, self.text_tower, self.head)

    @property
    def image_layers(self) -> int:
        return max(self.image_tower.layers, 1)

    @property
    def text_layers(self) -> int:
        return max(self.text_tower.layers, 1)

    def forward_image(
        self, pixels: Tensor, *, tokens: bool = False, layer: int = -1, dense: str = "raw"
    ) -> ImageFeatures:
        check_dense(dense, self.dense_variants, "a pair reads its image tower as it is: give dense='raw'")
        cells, pre, grid = self.image_tower(pixels, layer)  # (B, P, d_i), (B, d_i)
        if tokens and grid is None:
            raise ValueError(
                f"{self.image_tower.name} has no patch grid: it keeps no patches that lie on one; use tokens=False"
            )
        return ImageFeatures(pre, self.head.image(pre), self.head.image(cells) if tokens else None, grid)

    def forward_text(self, ids: Tensor, mask: Tensor, *, tokens: bool = False, layer: int = -1) -> TextFeatures:
        states, pre = self.text_tower(ids, mask, layer)  # (B, T, d_t), (B, d_t)
        counts = mask & ~self.text_tower.special(ids)
        return TextFeatures(
            pre, self.head.text(pre), self.head.text(states) if tokens else None, counts if tokens else None
        )

    def _pixels(self, image: Image.Image, size: int) -> Tensor:
        return self.image_tower.preprocess(image, size)

    def _check_image_size(self, size: int) -> None:
        self.image_tower.check_image_size(size)

    def _grid(self, size: int) -> tuple[int, int] | None:
        return self.image_tower.grid(size)

    def _tokenize(self, texts: list[str]) -> Tokenized:
        tokenized = tokenize_with_offsets(self.text_tower.tokenizer, texts, self.text_tower.context_length)
        empty = (~tokenized.mask.any(1)).nonzero().flatten().tolist()
        if empty:
            raise ValueError(
                f"caption {empty[0]} has no token that {self.text_tower.name} knows: {texts[empty[0]]!r:.80}; say it in words"
            )
        return tokenized


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
    split = [words_of_encoding(full, cut, m, text) for m, text in enumerate(clipped)]
    words, word_ids = [each[0] for each in split], [each[1] for each in split]
    lengths = tuple(len(ids) for ids in full["input_ids"])
    return Tokenized(cut["input_ids"], cut["attention_mask"].bool(), words, word_ids, lengths)


def pair(
    image_tower: ImageTower | str,
    text_tower: TextTower | str,
    head: AlignmentHead | None = None,
    *,
    frozen: bool = True,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "auto",
) -> PairedEncoder:
    """Tie any two towers: features meet through `head`, or as they are where both towers are equally wide.

    Towers come from `models.towers` or are named as there ("timm:…", "transformers:…", "efficientnet_lite2", "minilm").
    They are frozen; `frozen=False` lets every weight of both learn with the head. `device`, `dtype` as in `load_model`.
    Raises ValueError where the widths differ and no head is given, or where a head does not take a tower's width.
    """
    image = towers.image_tower(image_tower) if isinstance(image_tower, str) else image_tower
    text = towers.text_tower(text_tower) if isinstance(text_tower, str) else text_tower
    if not isinstance(image, ImageTower) or not isinstance(text, TextTower):
        kinds = f"{type(image).__name__} and {type(text).__name__}"
        raise TypeError(
            f"pair ties an image tower to a text tower, not {kinds}; make them with image_tower and text_tower"
        )
    if head is None:
        if image.width != text.width:
            raise ValueError(
                f"the image tower is {image.width} wide and the text tower {text.width}; "
                "give a head, for example AlignmentHead(LinearHead(d_i, d), LinearHead(d_t, d))"
            )
        head = AlignmentHead(Identity(image.width), Identity(text.width))
    placement = {"device": pick_device(device), "dtype": pick_dtype(dtype)}
    return PairedEncoder(image, text, head, pair_card(image, text, head), frozen=frozen, **placement)


def _joint_width(head: AlignmentHead, image: ImageTower, text: TextTower) -> int:
    """What both sides of the head give. Raises ValueError for a side that takes another width than its tower has, or gives
    another than its twin."""
    given = {}
    for side, module, tower in (("image", head.image, image), ("text", head.text, text)):
        dtype = next((p.dtype for p in module.parameters()), torch.float32)
        try:
            given[side] = meta_twin(module)(torch.empty(1, tower.width, device="meta", dtype=dtype)).shape[-1]
        except RuntimeError as error:
            raise ValueError(
                f"the {side} tower is {tower.width} wide, which the {side} head does not take ({error}); make them agree"
            ) from error
    if given["image"] != given["text"]:
        raise ValueError(
            f"the image head gives {given['image']} numbers and the text head {given['text']}; make them agree"
        )
    return given["text"]


def pair_card(image: ImageTower, text: TextTower, head: AlignmentHead, **known) -> ModelCard:
    """The card of a pair, read off its parts; `known` overrides fields (name, notes, digest …)."""
    fields = {
        "name": f"{image.name} + {text.name}",
        "source": f"{image.source}; {text.source}",
        "parameters": sum(p.numel() for part in (image, text, head) for p in part.parameters()),
        "d_i": image.width,
        "d_t": text.width,
        "d": _joint_width(head, image, text),
        "image_size": image.image_size,
        "grid": image.grid(image.image_size),
        "context_length": text.context_length,
        "preprocess": f"{image.image_size} px: {image.preprocess_words}",
        "mean": image.mean,
        "std": image.std,
        "digest": known["digest"] if "digest" in known else _pair_digest(image, text, head),
        "licence": f"image tower {image.licence}, text tower {text.licence}",
        "activation": image.activation,
        "notes": (*image.notes, *text.notes),
        **known,
    }
    return ModelCard(**fields)


def same_towers(one, other) -> bool:
    """Whether two models are pairs on the same two towers with known weights, so that a head of one reads features of the other.

    Widths do not tell: EfficientNet-Lite0 and Lite2 are both 1,280 wide, and a head on the wrong one gives scores all the same.
    """
    towers = [(m.image_tower.digest, m.text_tower.digest) for m in (one, other) if isinstance(m, PairedEncoder)]
    return len(towers) == 2 and all(towers[0]) and towers[0] == towers[1]


def _pair_digest(image: ImageTower, text: TextTower, head: AlignmentHead) -> str:
    """Of all three: the same towers under another head are another model. "" where a tower has no weights."""
    if not image.digest or not text.digest:
        return ""
    parts = f"{image.digest} {text.digest} {weights_digest(head)}"
    return hashlib.sha256(parts.encode()).hexdigest()[:16]
