"""transformers models: `transformers:<org>/<repo or folder>`, CLIP and SigLIP (SigLIP 2 of fixed resolution is one).

The picture goes through the model's own processor on its Pillow backend: torchvision's resizing moves pixels by up to
0.015, and the published numbers were made with Pillow.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from workbench.features import ImageFeatures, Projector, TextFeatures
from workbench.models.card import ModelCard
from workbench.models.dual_encoder import DualEncoder, Tokenized
from workbench.models.hooks import inputs_of
from workbench.models.linearise import residual_mlp
from workbench.models.paired import tokenize_with_offsets
from workbench.models.weights import check_finite, weights_digest

Read = tuple[Tensor, Tensor, Tensor | None]


class Clip:
    """CLIPModel: the first patch token and the end-of-text token, each through a bias-free projection."""

    pads_to_context = False  # causal and masked: padding changes nothing

    def __init__(self, model: nn.Module):
        self.model = model

    def image(self, pixels: Tensor, tokens: bool) -> Read:
        vision, project = self.model.vision_model, self.model.visual_projection
        out = vision(pixel_values=pixels)
        pre = out.pooler_output  # after the final norm, which last_hidden_state has not seen
        patches = project(vision.post_layernorm(out.last_hidden_state[:, 1:])) if tokens else None
        return pre, project(pre), patches

    def text(self, ids: Tensor, mask: Tensor, tokens: bool) -> Read:
        out = self.model.text_model(input_ids=ids, attention_mask=mask.long())
        project = self.model.text_projection
        return out.pooler_output, project(out.pooler_output), project(out.last_hidden_state) if tokens else None

    def projectors(self) -> tuple[Projector, Projector]:
        return _linear(self.model.visual_projection), _linear(self.model.text_projection)


class Siglip:
    """SiglipModel: an attention pool with a residual MLP (no projection matrix), and the last text token through a linear head.

    A patch's token is what the pool makes of that patch alone. Text is padded to the context and the padding is attended
    to: that is how it was trained.
    """

    pads_to_context = True

    def __init__(self, model: nn.Module):
        self.model = model

    def image(self, pixels: Tensor, tokens: bool) -> Read:
        vision = self.model.vision_model
        with inputs_of(vision.head.layernorm) as before_mlp:
            out = vision(pixel_values=pixels)
        return before_mlp[0][:, 0], out.pooler_output, self._alone(out.last_hidden_state) if tokens else None

    def _alone(self, patches: Tensor) -> Tensor:
        alone = patches.reshape(-1, 1, patches.shape[-1])
        return self.model.vision_model.head(alone).reshape(patches.shape)

    def text(self, ids: Tensor, mask: Tensor, tokens: bool) -> Read:
        tower = self.model.text_model
        states = tower(input_ids=ids).last_hidden_state
        pre = states[:, -1]
        return pre, tower.head(pre), tower.head(states) if tokens else None

    def projectors(self) -> tuple[Projector, Projector]:
        head = self.model.vision_model.head
        return residual_mlp(head.layernorm, head.mlp.fc1, head.mlp.fc2), _linear(self.model.text_model.head)


_READERS = {"clip": Clip, "siglip": Siglip}


class HuggingFaceEncoder(DualEncoder):
    """A CLIP or SigLIP of transformers behind the common interface."""

    def __init__(self, model: nn.Module, processor, tokenizer, card: ModelCard, **placement):
        super().__init__(model, card, **placement)
        self._reader = _READERS[model.config.model_type](model)
        self._processor, self._tokenizer = processor, tokenizer

    @property
    def image_projector(self) -> Projector:
        return self._reader.projectors()[0]

    @property
    def text_projector(self) -> Projector:
        return self._reader.projectors()[1]

    def forward_image(
        self, pixels: Tensor, *, tokens: bool = False, layer: int = -1, dense: str = "raw"
    ) -> ImageFeatures:
        self._last_layer_only(layer, dense)
        return ImageFeatures(*self._reader.image(pixels, tokens), self.card.grid)

    def forward_text(self, ids: Tensor, mask: Tensor, *, tokens: bool = False, layer: int = -1) -> TextFeatures:
        self._last_layer_only(layer)
        known = [] if self._tokenizer is None else self._tokenizer.all_special_ids  # a skeleton has no tokenizer
        special = torch.isin(ids, torch.tensor(known, device=ids.device))
        return TextFeatures(*self._reader.text(ids, mask, tokens), mask & ~special if tokens else None)

    def _pixels(self, image: Image.Image, size: int) -> Tensor:
        return self._processor(images=image, return_tensors="pt")["pixel_values"][0]

    def _tokenize(self, texts: list[str]) -> Tokenized:
        padding = "max_length" if self._reader.pads_to_context else True
        return tokenize_with_offsets(self._tokenizer, texts, self.card.context_length, padding=padding)


def load_hugging_face(name: str, *, device: str, dtype: torch.dtype) -> HuggingFaceEncoder:
    """Load `transformers:<org>/<repo or folder>` with its own processor and tokenizer.

    Raises FileNotFoundError for a folder that lacks a file, ConnectionError where the hub would be needed and does not
    answer, ValueError for another kind of model, or weights that are damaged or do not fit.
    """
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    path = _path(name)
    with _said_clearly(name, path):
        _check_kind(name, path)
        model, info = AutoModel.from_pretrained(path, output_loading_info=True)
        processor = AutoImageProcessor.from_pretrained(path, backend="pil")
        tokenizer = AutoTokenizer.from_pretrained(path)
    if info["missing_keys"]:
        missing = ", ".join(sorted(info["missing_keys"])[:3])
        raise ValueError(f"the weights of {name} lack {missing} …, which would be random; get a complete checkpoint")
    check_finite(name, model)
    return HuggingFaceEncoder(model, processor, tokenizer, _card(name, model, processor), device=device, dtype=dtype)


def skeleton_hugging_face(name: str) -> HuggingFaceEncoder:
    """The same model without weights, on the meta device: shapes only, for planning."""
    from transformers import AutoConfig, AutoModel

    path = _path(name)
    with _said_clearly(name, path):
        _check_kind(name, path)
        with torch.device("meta"):
            model = AutoModel.from_config(AutoConfig.from_pretrained(path))
    return HuggingFaceEncoder(model, None, None, _card(name, model, None), device="meta", dtype=torch.float32)


def _path(name: str) -> str:
    """A folder with its ~ expanded, or a hub name as it stands."""
    path = name.removeprefix("transformers:")
    return str(Path(path).expanduser()) if path.startswith("~") else path


def _check_kind(name: str, path: str) -> None:
    from transformers import AutoConfig

    folder = Path(path)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} has no config.json; give a folder that transformers saved")
    kind = AutoConfig.from_pretrained(path).model_type
    if kind not in _READERS:
        raise ValueError(f"{name} is a {kind!r} model; read so far: {', '.join(_READERS)}")


@contextmanager
def _said_clearly(name: str, path: str):
    """transformers' failures as one sentence with the next step."""
    from safetensors import SafetensorError
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    except FileNotFoundError:
        raise
    except SafetensorError as error:
        raise ValueError(
            f"the weights of {name} are cut short or damaged ({error}); download or copy them again"
        ) from error
    except RuntimeError as error:
        raise ValueError(f"the weights of {name} do not fit its configuration: {str(error)[:300]}") from error
    except OSError as error:
        if Path(path).is_dir():
            raise FileNotFoundError(f"{path} is incomplete: {str(error).splitlines()[0]}") from error
        raise ConnectionError(
            f"{name} is not on this machine and the hub does not answer; where there is a network, unset HF_HUB_OFFLINE; "
            "else download it elsewhere, copy the folder here and load 'transformers:<folder>'"
        ) from error
    finally:
        if shown:
            logging.enable_progress_bar()


def _card(name: str, model: nn.Module, processor) -> ModelCard:
    vision, text = model.config.vision_config, model.config.text_config
    image, caption = _READERS[model.config.model_type](model).projectors()
    side = vision.image_size // vision.patch_size
    return ModelCard(
        name=name,
        source=name,
        parameters=sum(p.numel() for p in model.parameters()),
        d_i=image.weight.shape[1],
        d_t=caption.weight.shape[1],
        d=image.weight.shape[0],
        image_size=vision.image_size,
        grid=(side, side),
        context_length=text.max_position_embeddings,
        preprocess="not loaded" if processor is None else _in_words(processor),
        mean=tuple(getattr(processor, "image_mean", (0.5,) * 3)),
        std=tuple(getattr(processor, "image_std", (0.5,) * 3)),
        digest="" if processor is None else weights_digest(model),
        notes=(f"activation {vision.hidden_act}",),
    )


def _in_words(processor) -> str:
    steps = [f"resize to {dict(processor.size)}, resample {int(processor.resample)}"]
    if getattr(processor, "do_center_crop", False):
        steps.append(f"centre crop {dict(processor.crop_size)}")
    return ", ".join([*steps, f"mean {tuple(processor.image_mean)}, std {tuple(processor.image_std)}", "Pillow"])


def _linear(layer: nn.Linear) -> Projector:
    return Projector(layer.weight.detach().float(), None if layer.bias is None else layer.bias.detach().float())
