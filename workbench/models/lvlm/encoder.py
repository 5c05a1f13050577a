"""Generative vision–language models read as dual encoders: `lvlm:<org>/<repo or folder>`, the LLaVA and Qwen2-VL families.

A picture with its prompt, or a caption with its own, goes through the one language model, and the last layer's state of the
last token (the summary) is the embedding, as in E5-V (arXiv 2407.12580) and VladVA (arXiv 2412.04378): `pre` and `post` are
the same. Nothing of the vocabulary is computed for it. The same model still says which word comes next (`next_tokens`), what
the summary looks at (`summary_attention`) and what it sees (`generate`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor, nn

from workbench.features import ImageFeatures, Projector, TextFeatures
from workbench.models.batches import as_list, captions, in_batches, warn_cut, whole
from workbench.models.card import ModelCard
from workbench.models.dual_encoder import DualEncoder, Tokenized
from workbench.models.lvlm.attention import last_attention
from workbench.models.lvlm.captions import continued, padded_left, text_prompt, tokenized
from workbench.models.lvlm.inputs import Inputs
from workbench.models.lvlm.prompts import Prompts, prompts_of
from workbench.models.lvlm.soft import SoftEmbedding, SoftPlaces, softened
from workbench.models.reading import check_dense, layer_index
from workbench.models.transformers_parts import recipe_of
from workbench.records import Record, Table

NO_PROJECTOR = "the summary token's last hidden state is the embedding itself; nothing projects it"


@dataclass(frozen=True)
class NextTokens(Record):
    """What would follow the summary: of every input the k likeliest tokens with their probabilities, and the entropy of the
    whole distribution in nats; `mean_tokens`, `mean_probabilities` are the k likeliest of the inputs' mean distribution."""

    tokens: tuple[tuple[str, ...], ...]
    probabilities: tuple[tuple[float, ...], ...]
    entropy: tuple[float, ...]
    mean_tokens: tuple[str, ...]
    mean_probabilities: tuple[float, ...]

    @property
    def mean_entropy(self) -> float:
        return sum(self.entropy) / len(self.entropy)

    def table(self) -> Table:
        rows = zip(self.mean_tokens, (f"{each:.3f}" for each in self.mean_probabilities), strict=True)
        title = f"Next tokens, mean of {len(self.entropy)} inputs, entropy {self.mean_entropy:.2f} nats"
        return Table(title, ("token", "probability"), tuple(rows))


@dataclass(frozen=True)
class SummaryAttention:
    """Attention of the last layer from the summary to the image tokens: `weights` (N, heads, P), as they are (what goes to
    other tokens is missing from their sum), on `grid` (h, w)."""

    weights: Tensor
    grid: tuple[int, int] | None


class LvlmEncoder(DualEncoder):
    """An image-text-to-text model of transformers behind the common interface; `prompts` are the words it is asked with."""

    _trims_padding = True

    def __init__(self, model: nn.Module, inputs: Inputs, prompts: Prompts, card: ModelCard, **placement):
        super().__init__(model, card, **placement)
        self._inputs, self.prompts = inputs, prompts
        self._tokenizer = inputs.tokenizer
        self._text_prompt = text_prompt(inputs, prompts)
        self._soft: dict[str, SoftPlaces] = {}
        _check_room(self)

    def with_prompts(self, prompts: Prompts | str) -> LvlmEncoder:
        """The same weights asked in other words, none of them soft; a preset by name leaves `caption` as it is here.

        Raises as `Prompts`, or ValueError for a prompt that fills the context.
        """
        other, given = copy.copy(self), prompts_of(prompts)
        other.prompts = replace(given, caption=self.prompts.caption) if isinstance(prompts, str) else given
        other._soft = {}
        other._text_prompt = text_prompt(self._inputs, other.prompts)
        _check_room(other)
        return other

    def soften(self) -> nn.Parameter:
        """Give every word of both prompts a vector of its own, equal to the word's at first, in place: (S, d), pictures first.

        VladVA's soft prompts (arXiv 2412.04378): a set for each modality, as long as the prompt has tokens. The chat template
        keeps its words (the paper does not say). Raises ValueError for prompts that are soft already, or have no words.
        """
        if isinstance(self.module.get_input_embeddings(), SoftEmbedding):  # asked in other words it keeps them, unused
            raise ValueError(f"{self.name} holds soft prompts already; load the model from before them")
        side = torch.empty(3, self.card.image_size, self.card.image_size, device="meta")
        words = {"image": self._asked(self.prompts.image, side)["input_ids"][0]}
        read = self._tokenize(["a"])
        words["text"] = read.ids[0, read.mask[0]]
        embedding, self._soft = softened(self.module.get_input_embeddings(), self._inputs, self.prompts, words)
        self.module.set_input_embeddings(embedding)
        return embedding.soft

    @property
    def soft_prompts(self) -> dict[str, Tensor]:
        """The vectors of soft prompts by modality, (S, d) each; none where the prompts are words."""
        if not self._soft:
            return {}
        soft, cut = self.module.get_input_embeddings().soft.detach(), len(self._soft["image"].ids)
        return {"image": soft[:cut], "text": soft[cut:]}

    def recipe_of(self, modality: str) -> str:
        asked = (
            getattr(self.prompts, modality),
            self.prompts.chat,
            self.prompts.ending,
            *(["soft"] if self._soft else []),
        )
        return f"{recipe_of(self.module, 'summary token')} {asked}"

    @property
    def logit_scale(self) -> float:
        return 1 / self.prompts.temperature

    @property
    def logit_bias(self) -> float:
        return 0.0

    @property
    def image_projector(self) -> Projector:
        return Projector(None, kind="none", reason=NO_PROJECTOR)

    text_projector = image_projector

    def _check_image_size(self, size: int) -> None:
        if not self._inputs.packed:
            return super()._check_image_size(size)
        if size != self.card.image_size:
            raise ValueError(f"image_size={size}: a picture keeps its shape in {self.name}; leave image_size out")

    def _pixels(self, image: Image.Image, size: int) -> Tensor:
        return self._inputs.pixels(image)

    def _tokenize(self, texts: list[str]) -> Tokenized:
        read = tokenized(self._inputs, self._text_prompt, texts, self.card.context_length)
        return replace(read, ids=self._soft["text"].put(read.ids, read.mask)) if self._soft else read

    # Features -------------------------------------------------------------------------------------------------------

    def forward_image(
        self, pixels: Tensor, *, tokens: bool = False, layer: int = -1, dense: str = "raw"
    ) -> ImageFeatures:
        check_dense(dense, self.dense_variants)
        layer_index(layer, self.image_layers)
        grid = self._inputs.grid(pixels)
        if tokens and grid is None:
            raise ValueError(f"the image tokens of {self.name} lie on no grid; use tokens=False")
        states = self._states(**self._of_pictures(pixels, self.prompts.image))
        patches = states[:, self._places(pixels).to(pixels.device)] if tokens else None
        return ImageFeatures(states[:, -1], states[:, -1], patches, grid)

    def forward_text(self, ids: Tensor, mask: Tensor, *, tokens: bool = False, layer: int = -1) -> TextFeatures:
        """As of `DualEncoder`; padding may stand on either side. The mask given back is true at the caption's own tokens."""
        layer_index(layer, self.text_layers)
        states = self._states(**self._of_text(ids, mask))
        summary = _last(states, mask)
        if not tokens:
            return TextFeatures(summary, summary)
        seen, prompt = mask.cumsum(1), self._text_prompt
        own = mask & (seen > prompt.head) & (seen <= seen[:, -1:] - prompt.tail)
        return TextFeatures(summary, summary, states, own)

    def _states(self, **inputs: Tensor) -> Tensor:
        """The last layer's states (B, T, d), by the model without its vocabulary."""
        inner = self.module.model
        if inputs["input_ids"].is_meta:  # where a model cannot count its image tokens, as it otherwise insists on
            inputs = _embedded(inner, **inputs)
        return inner(**inputs, use_cache=False).last_hidden_state

    def _asked(self, prompt: str, pixels: Tensor) -> dict[str, Tensor]:
        size = tuple(pixels.shape[-2:])
        asked = self._inputs.picture_prompt(prompt, size, chat=self.prompts.chat, ending=self.prompts.ending)
        if self._soft and prompt == self.prompts.image:
            asked["input_ids"] = self._soft["image"].put(asked["input_ids"])
        return asked

    def _checked(self, prompt: str) -> str:
        """A prompt about a picture. Raises as `Prompts` for one without its place."""
        return replace(self.prompts, caption=prompt).caption

    def _places(self, pixels: Tensor) -> Tensor:
        """Where the image tokens stand in the image prompt: (P,)."""
        return (self._asked(self.prompts.image, pixels)["input_ids"][0] == self._inputs.image_token_id).nonzero()[:, 0]

    def _of_pictures(self, pixels: Tensor, prompt: str) -> dict[str, Tensor]:
        asked = {key: value.expand(len(pixels), -1) for key, value in self._asked(prompt, pixels).items()}
        asked["attention_mask"] = torch.ones_like(asked["input_ids"])
        asked |= self._inputs.of_pixels(pixels)
        return {key: value.to(pixels.device) for key, value in asked.items()}

    def _of_text(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        # The place of a token counts from the first that is attended to, wherever the padding stands.
        positions = (mask.long().cumsum(1) - 1).clamp(min=0)
        return {"input_ids": ids, "attention_mask": mask.long(), "position_ids": positions}

    def forward_writing(
        self, pixels: Tensor, ids: Tensor, mask: Tensor, *, prompt: str | None = None
    ) -> tuple[Tensor, Tensor]:
        """Differentiable: summaries (B, d) of pictures, and the loss in nats (B, T) of each token of a text that follows.

        ids (B, T) and mask (B, T) are `continuation`'s, padded on the right; the text stands behind the prompt (`prompts.image`
        by default) in the same sequence, so its first token is predicted where the summary is read (VladVA's L_AR, arXiv
        2412.04378). 0 where nothing is. Logits are of these tokens alone. Raises ValueError for a prompt without its place.
        """
        asked = self._of_pictures(pixels, self.prompts.image if prompt is None else self._checked(prompt))
        start = asked["input_ids"].shape[1]
        states = self._states(**_followed(asked, ids, mask))
        logits = self.module.get_output_embeddings()(states[:, start - 1 : -1][mask])
        losses = nn.functional.cross_entropy(logits.float(), ids[mask], reduction="none")
        return states[:, start - 1], torch.zeros_like(mask, dtype=losses.dtype).masked_scatter(mask, losses)

    def check_caption(self, text: str, name: str = "the caption") -> None:
        """Raises ValueError, with the caption's name, for one that holds a token that is more than text to the tokenizer."""
        try:
            self._inputs.checked(text)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    def continuation(self, texts: Iterable[str], room: int | None = None, *, prompt: str | None = None) -> Tokenized:
        """Texts as `forward_writing` takes them, on the CPU: their tokens and an end, cut to `room`.

        `room` is by default what `prompt` leaves of the context, without one the longest prompt about a picture. Raises as
        `encode_text`, and ValueError for a text that holds a special token, or a room below 1.
        """
        if room is None:
            side = torch.empty(3, self.card.image_size, self.card.image_size, device="meta")
            prompts = (self.prompts.image, self.prompts.caption) if prompt is None else (self._checked(prompt),)
            asked = (self._asked(each, side)["input_ids"].shape[1] for each in prompts)
            room = self.card.context_length - max(asked)
        if whole("room", room) < 1:
            raise ValueError(f"room={room}; give 1 or more tokens")
        return continued(self._inputs, captions(texts), room)

    # What else the model can say ------------------------------------------------------------------------------------

    def next_tokens(
        self, images=None, *, texts: str | Iterable[str] | None = None, k: int = 10, batch_size: int = 16
    ) -> NextTokens:
        """The distribution of the token that would follow the summary, of pictures or of texts (arXiv 2412.04378, figures 2, 4).

        Entropy is -Σ p ln p over the whole vocabulary. Raises ValueError unless one of both is given, or for a k below 1 or
        above the vocabulary; else as `encode_image` and `encode_text`.
        """
        if (images is None) == (texts is None):
            raise ValueError("give pictures or texts=, one of both")
        vocabulary = self.module.get_output_embeddings().weight.shape[0]
        if not 1 <= k <= vocabulary:
            raise ValueError(f"k={k}; give 1 to {vocabulary}, the size of the vocabulary")
        tops, entropies, total = [], [], 0
        with self._reading():
            for inputs in self._batches(images, texts, self.prompts.image, batch_size):
                logits = self.module(**inputs, use_cache=False, logits_to_keep=1).logits[:, -1]
                logs = logits.double().log_softmax(1).cpu()
                tops.append(logs.topk(k))
                entropies.append(-(logs.exp() * logs.clamp(min=-1e300)).sum(1))
                total = total + logs.exp().sum(0)
        entropy = torch.cat(entropies).tolist()
        mean = (total / len(entropy)).topk(k)
        return NextTokens(
            tuple(self._words(row) for top in tops for row in top.indices),
            tuple(tuple(row) for top in tops for row in top.values.exp().tolist()),
            tuple(entropy),
            self._words(mean.indices),
            tuple(mean.values.tolist()),
        )

    def summary_attention(self, images, *, batch_size: int = 16) -> SummaryAttention:
        """Attention from the summary to the image tokens in the last layer, per head (arXiv 2412.04378, figure 6).

        Errors as `encode_image`; ValueError where the pictures have different grids, or the last layer keeps no weights.
        """
        found, grids = [], set()
        with self._reading(), last_attention(self.module, self.name) as seen:
            for inputs in self._batches(images, None, self.prompts.image, batch_size):
                self._states(**inputs)
                places = inputs["input_ids"][0] == self._inputs.image_token_id
                found.append(seen.pop()[:, :, -1, places].float().cpu())
                grids.add(self._grid_of(inputs))
        if len(grids) > 1:
            raise ValueError(
                f"the pictures have different grids ({', '.join(map(str, grids))}); give one shape at a time"
            )
        return SummaryAttention(torch.cat(found), grids.pop())

    def generate(
        self, images, prompt: str | None = None, *, max_new_tokens: int = 64, batch_size: int = 16
    ) -> list[str]:
        """Captions of pictures, the likeliest token at every step, `max_new_tokens` or to the context's end; `prompt` ("<image>"
        once) is `prompts.caption` by default.

        Raises ValueError for a prompt without its place or fewer than one token; else as `encode_image`.
        """
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens={max_new_tokens}; give 1 or more")
        asked = self.prompts.caption if prompt is None else self._checked(prompt)
        said, plainly = [], {"do_sample": False, "num_beams": 1, "repetition_penalty": 1.0}
        with self._reading():
            for inputs in self._batches(images, None, asked, batch_size):
                start = inputs["input_ids"].shape[1]
                room = max(min(max_new_tokens, self.card.context_length - start), 1)
                out = self.module.generate(**inputs, **plainly, max_new_tokens=room, pad_token_id=_pad(self._tokenizer))
                said += self._tokenizer.batch_decode(out[:, start:], skip_special_tokens=True)
        return [each.strip() for each in said]

    def _batches(self, images, texts, prompt: str, batch_size: int) -> Iterator[dict[str, Tensor]]:
        """Inputs of the whole model, batch by batch; texts padded on the left, so that the summary is last."""
        if texts is not None:
            read = self._tokenize(captions(texts))
            warn_cut(read, self.card)
            for rows in in_batches(range(len(read.ids)), batch_size, "captions"):
                part = slice(rows[0], rows[-1] + 1)
                ids, mask = padded_left(read.ids[part], read.mask[part])
                yield self._of_text(ids.to(self.device), mask.to(self.device))
            return
        for batch in in_batches(as_list(images, "pictures"), batch_size, "pictures"):
            pixels = [self._to_device(self.preprocess(image)) for image in batch]
            alike = len({each.shape for each in pixels}) == 1
            for each in [torch.stack(pixels)] if alike else [each[None] for each in pixels]:
                yield self._of_pictures(each, prompt)

    def _grid_of(self, inputs: dict[str, Tensor]) -> tuple[int, int] | None:
        if "image_grid_thw" not in inputs:
            return self._inputs.grid(inputs["pixel_values"])
        _, h, w = inputs["image_grid_thw"][0].tolist()
        return h // self._inputs.merge, w // self._inputs.merge

    def _words(self, ids: Tensor) -> tuple[str, ...]:
        return tuple(self._tokenizer.decode([i]) for i in ids.tolist())


def _check_room(model: LvlmEncoder) -> None:
    """Raises ValueError where a prompt leaves no place for a caption, or for a picture, in the context."""
    context, prompts = model.card.context_length, model.prompts
    side = model.card.image_size
    lengths = {"text": len(model._text_prompt)}
    for name, prompt in (("image", prompts.image), ("caption", prompts.caption)):
        asked = model._inputs.picture_prompt(prompt, (side, side), chat=prompts.chat, ending=prompts.ending)
        lengths[name] = asked["input_ids"].shape[1] - (name == "image")
    for name, length in lengths.items():
        if length >= context:
            raise ValueError(
                f"the {name} prompt takes {length} of the {context} tokens that {model.name} reads; shorten it"
            )


def _followed(asked: dict[str, Tensor], ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """The inputs of a prompt with a text behind it; what else goes with its tokens says of these that they are text: 0."""
    more = {key: torch.zeros_like(ids) for key in asked if key.endswith("token_type_ids")}
    more |= {"input_ids": ids, "attention_mask": mask.to(asked["attention_mask"].dtype)}
    return asked | {key: torch.cat([asked[key], value], dim=1) for key, value in more.items()}


def _last(states: Tensor, mask: Tensor) -> Tensor:
    """The states (B, d) at the last place that is attended to."""
    places = torch.arange(mask.shape[1], device=mask.device)
    last = (places * mask).argmax(1)
    return states[torch.arange(len(states), device=states.device), last]


def _embedded(inner: nn.Module, input_ids: Tensor, attention_mask: Tensor, **more: Tensor) -> dict[str, Tensor]:
    """The same inputs as the language model takes them, for planning on the meta device; Qwen2-VL's image tower, which looks at
    its grid's numbers, cannot run there and is left out."""
    embedded = inner.get_input_embeddings()(input_ids)
    if "pixel_values" in more and "image_grid_thw" not in more:
        features = image_features(inner, pixel_values=more["pixel_values"])
        embedded = embedded.masked_scatter(torch.ones_like(embedded, dtype=torch.bool), features)
    positions = attention_mask.cumsum(1) - 1
    return {"inputs_embeds": embedded, "attention_mask": attention_mask, "position_ids": positions}


def _pad(tokenizer) -> int:
    return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id


def image_features(inner: nn.Module, **of_picture: Tensor) -> Tensor:
    """The image tokens of pictures, one after the other: (B · P, d)."""
    made = inner.get_image_features(**of_picture).pooler_output
    return torch.cat(tuple(made)) if isinstance(made, (list, tuple)) else made.flatten(0, -2)
