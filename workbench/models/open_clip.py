"""open_clip models: `local-dir:<folder>`, `hf-hub:<org>/<repo>` and `open_clip:<arch>/<tag>`.

Loading goes through `create_model_from_pretrained` only, so that weights, preprocessing and tokenizer belong together.
"""

from __future__ import annotations

import json
import logging
import warnings
from contextlib import contextmanager
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from workbench.models.card import ModelCard
from workbench.models.dual_encoder import Tokenized
from workbench.models.hub_errors import said_clearly
from workbench.models.open_clip_folder import check_folder
from workbench.models.open_clip_towers import activation_of, image_reader, text_reader
from workbench.models.reading import CAUSAL, ReadEncoder
from workbench.models.weights import check_checkpoint, check_finite, check_vocabulary, weights_digest
from workbench.models.words import words_of


class OpenClipEncoder(ReadEncoder):
    """A model of open_clip: its towers are read by `open_clip_towers`, its own preprocessing and tokenizer go in front."""

    def __init__(self, model: nn.Module, preprocess, tokenizer, card: ModelCard, **placement):
        super().__init__(model, card, **placement)
        self._preprocess, self._tokenizer = preprocess, tokenizer
        self._image, self._text = image_reader(model.visual), text_reader(model)

    def _pixels(self, image: Image.Image, size: int) -> Tensor:
        return self._preprocess(image)

    def _tokenize(self, texts: list[str]) -> Tokenized:
        ids = self._tokenizer(texts)
        return Tokenized(ids, self._attended(ids), *words_of(self._tokenizer, texts, ids))

    def _attended(self, ids: Tensor) -> Tensor:
        """What is not padding. open_clip's own tokenizer pads with the id of "!", so there the end of the text decides."""
        if not hasattr(self._tokenizer, "byte_decoder"):
            return ids != self._text.pad_id
        ends = (ids == self._tokenizer.eot_token_id).int().argmax(1, keepdim=True)
        return torch.arange(ids.shape[1]) <= ends


def load_open_clip(name: str, *, weights: str | Path | None, device: str, dtype: torch.dtype) -> OpenClipEncoder:
    """Load `name` with its own weights, preprocessing and tokenizer; `weights` is a checkpoint file for `open_clip:<arch>`.

    Raises FileNotFoundError for an incomplete folder, ConnectionError where the hub would be needed and is not there,
    ValueError for an unknown architecture or tag, or weights that do not fit the configuration.
    """
    import open_clip

    model_id, tag = _open_clip_id(name, weights)
    folder_notes = _folder_notes(model_id)
    quick_gelu, notes = _activation(name, model_id, tag)
    with _said_clearly(name):
        model, preprocess = open_clip.create_model_from_pretrained(
            model_id, pretrained=tag, device="cpu", force_quick_gelu=quick_gelu
        )
        tokenizer = open_clip.get_tokenizer(model_id)
    _must_be_read(name, model)
    check_vocabulary(name, _vocabulary(tokenizer), text_reader(model).vocabulary)
    check_finite(name, model)
    card = _card(name, model, preprocess, tokenizer, (*folder_notes, *notes))
    encoder = OpenClipEncoder(model, preprocess, tokenizer, card, device=device, dtype=dtype)
    encoder.recipe = json.dumps([open_clip.get_model_config(model_id), quick_gelu], sort_keys=True)
    return encoder


def _vocabulary(tokenizer) -> int:
    return tokenizer.vocab_size if hasattr(tokenizer, "byte_decoder") else len(tokenizer.tokenizer)


def _folder_notes(model_id: str, *, need_weights: bool = True) -> tuple[str, ...]:
    scheme, _, folder = model_id.partition(":")
    return check_folder(Path(folder), need_weights=need_weights) if scheme == "local-dir" else ()


def _activation(name: str, arch: str, tag: str | None) -> tuple[bool, tuple[str, ...]]:
    """Whether QuickGELU must be forced for a tag's weights, and what to say about it.

    OpenAI's weights under the plain architecture names were trained with QuickGELU while the configuration says GELU:
    loaded as named, they give other numbers without an error.
    """
    import open_clip

    trained = bool(tag) and (open_clip.get_pretrained_cfg(arch, tag) or {}).get("quick_gelu", False)
    configured = (
        (open_clip.get_model_config(arch) or {}).get("quick_gelu", False) if name.startswith("open_clip:") else False
    )
    if trained and not configured:
        return True, (f"QuickGELU, as {tag!r} was trained with; the configuration of {arch} says GELU",)
    if configured and tag and not trained and not Path(tag).is_file():
        note = f"QuickGELU mismatch: {tag!r} was trained with GELU; load 'open_clip:{arch.removesuffix('-quickgelu')}/{tag}'"
        warnings.warn(note, stacklevel=4)
        return False, (note,)
    return False, ()


def skeleton_open_clip(name: str) -> OpenClipEncoder:
    """The same model without weights, on the meta device: shapes only, for planning."""
    import open_clip

    model_id, _ = _open_clip_id(name, None, need_weights=False)
    _folder_notes(model_id, need_weights=False)
    with _said_clearly(name), torch.device("meta"):
        model = open_clip.create_model(
            model_id, pretrained=None, device="meta", load_weights=False, pretrained_text=False
        )
    _must_be_read(name, model)
    return OpenClipEncoder(model, None, None, _card(name, model, None, None), device="meta", dtype=torch.float32)


def _open_clip_id(name: str, weights, *, need_weights: bool = True) -> tuple[str, str | None]:
    """`name` as open_clip's own id and its `pretrained` argument."""
    import open_clip

    scheme, _, rest = name.partition(":")
    if scheme == "local-dir":
        return f"local-dir:{Path(rest).expanduser()}", None
    if scheme == "hf-hub":
        return name, None
    arch, _, tag = rest.partition("/")
    if arch not in open_clip.list_models():
        raise ValueError(f"open_clip has no architecture {arch!r}{_closest(arch, open_clip.list_models())}")
    if weights is not None:
        if not Path(weights).is_file():
            raise FileNotFoundError(
                f"weights={str(weights)!r} is not a file; give the path of a .safetensors or .pt checkpoint"
            )
        check_checkpoint(Path(weights))
        return arch, str(weights)
    tags = open_clip.list_pretrained_tags_by_model(arch)
    if tag not in tags and (tag or need_weights):
        raise ValueError(
            f"open_clip has no tag {tag!r} for {arch}; choose one of {', '.join(tags) or 'none'}, or give weights=<file>"
        )
    return arch, tag or None


@contextmanager
def _said_clearly(name: str):
    """open_clip's failures as one sentence with the next step, the original behind it."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.CRITICAL)  # open_clip logs at the root, in the middle of a notebook, what we say below
    try:
        with warnings.catch_warnings(), said_clearly(name):
            warnings.simplefilter("ignore")
            yield
    except ConnectionError as error:
        if not name.startswith("local-dir:"):
            raise
        raise ConnectionError(
            f"{name} needs a text tower or tokenizer of transformers that is not on this machine; where there is a network, "
            "unset HF_HUB_OFFLINE; else set hf_model_name and hf_tokenizer_name in its configuration to folders that hold them"
        ) from error
    finally:
        root.setLevel(level)


def _closest(name: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    return f"; did you mean {', '.join(near)}?" if near else "; see open_clip.list_models()"


def _must_be_read(name: str, model: nn.Module) -> None:
    try:
        image_reader(model.visual), text_reader(model)
    except ValueError as error:
        raise ValueError(f"{name} cannot be read: {error}") from error


def _card(name: str, model: nn.Module, preprocess, tokenizer, notes: tuple[str, ...] = ()) -> ModelCard:
    visual, image, text = model.visual, image_reader(model.visual), text_reader(model)
    size = visual.image_size if isinstance(visual.image_size, int) else visual.image_size[0]
    mean, std = getattr(visual, "image_mean", None) or (0.5,) * 3, getattr(visual, "image_std", None) or (0.5,) * 3
    # The tokenizer pads and cuts to this length; a text tower of transformers may have room for more.
    context = (
        getattr(tokenizer, "context_length", None) or getattr(model, "context_length", 0) or text.tower.context_length
    )
    return ModelCard(
        name=name,
        source=name,
        parameters=sum(p.numel() for p in model.parameters()),
        d_i=image.width,
        d_t=text.width,
        d=text.d,
        image_size=size,
        grid=image.grid,
        context_length=context,
        preprocess=_in_words(preprocess),
        mean=tuple(mean),
        std=tuple(std),
        digest=weights_digest(model) if preprocess is not None else "",
        activation=activation_of(visual),
        notes=(*notes, CAUSAL) if text.causal else notes,
    )


def _in_words(preprocess) -> str:
    if preprocess is None:
        return "not loaded"
    steps = [
        str(step).replace("\n", " ") for step in preprocess.transforms if not callable(getattr(step, "__code__", None))
    ]
    return ", ".join(step for step in steps if "function" not in step)
