"""transformers models: `transformers:<org>/<repo or folder>`, CLIP, SigLIP and SigLIP 2 (of fixed or free resolution).

The picture goes through the model's own processor on its Pillow backend: torchvision's resizing moves pixels by up to
0.015, and the published numbers were made with Pillow.
"""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from workbench.models.card import ModelCard
from workbench.models.dual_encoder import Tokenized
from workbench.models.hub_errors import said_clearly, transformers_place
from workbench.models.hugging_face_towers import LEGACY_EOS, TOWERS
from workbench.models.paired import tokenize_with_offsets
from workbench.models.reading import CAUSAL, ReadEncoder
from workbench.models.transformers_parts import load_tokenizer, load_weights, recipe_of
from workbench.models.weights import check_vocabulary, weights_digest


class HuggingFaceEncoder(ReadEncoder):
    """A CLIP, SigLIP or SigLIP 2 of transformers behind the common interface."""

    def __init__(self, model: nn.Module, processor, tokenizer, card: ModelCard, **placement):
        super().__init__(model, card, **placement)
        self._image, self._text = (tower(model) for tower in TOWERS[model.config.model_type])
        self._processor, self._tokenizer = processor, tokenizer
        self.recipe = recipe_of(model, "")

    def _pixels(self, image: Image.Image, size: int) -> Tensor:
        out = self._processor(images=image, return_tensors="pt")
        return _unpacked(out, self._processor.patch_size) if "spatial_shapes" in out else out["pixel_values"][0]

    def _tokenize(self, texts: list[str]) -> Tokenized:
        padding = "max_length" if self._text.pads_to_context else True
        return tokenize_with_offsets(self._tokenizer, texts, self.card.context_length, padding=padding)


def _unpacked(out, size: int) -> Tensor:
    """A free-resolution processor's row of patches as the picture (3, H, W) that they came from."""
    h, w = out["spatial_shapes"][0].tolist()
    patches = out["pixel_values"][0, : h * w].reshape(h, w, size, size, -1)
    return patches.permute(4, 0, 2, 1, 3).reshape(-1, h * size, w * size)


def load_hugging_face(name: str, *, device: str, dtype: torch.dtype) -> HuggingFaceEncoder:
    """Load `transformers:<org>/<repo or folder>` with its own processor and tokenizer.

    Raises FileNotFoundError for a folder that lacks a file, ConnectionError where the hub would be needed and does not
    answer, ValueError for another kind of model, or weights that are damaged or do not fit.
    """
    from transformers import AutoImageProcessor, AutoModel

    place, folder = transformers_place(name.removeprefix("transformers:"))
    config = _config(name, place, folder)
    model, _ = load_weights(AutoModel, name, place, folder, config)
    with said_clearly(name, folder):
        processor = AutoImageProcessor.from_pretrained(place, backend="pil", trust_remote_code=False)
    tokenizer = load_tokenizer(name, place, folder)
    check_vocabulary(name, len(tokenizer), config.text_config.vocab_size)
    _check_end(name, config, tokenizer)
    _check_size(name, config, processor)
    card = _card(name, model, processor)
    return HuggingFaceEncoder(model, processor, tokenizer, card, device=device, dtype=dtype)


def skeleton_hugging_face(name: str) -> HuggingFaceEncoder:
    """The same model without weights, on the meta device: shapes only, for planning."""
    from transformers import AutoModel

    place, folder = transformers_place(name.removeprefix("transformers:"))
    config = _config(name, place, folder)
    with said_clearly(name, folder), torch.device("meta"):
        model = AutoModel.from_config(config, trust_remote_code=False)
    return HuggingFaceEncoder(model, None, None, _card(name, model, None), device="meta", dtype=torch.float32)


def _config(name: str, place: str, folder: Path | None):
    """The configuration, if it is one that is read here."""
    from transformers import AutoConfig

    with said_clearly(name, folder):
        config = AutoConfig.from_pretrained(place, trust_remote_code=False)
    if config.model_type not in TOWERS:
        raise ValueError(
            f"{name} is a {config.model_type!r} model; read so far: {', '.join(TOWERS)}. A tower of one modality goes into "
            "pair()"
        )
    if not getattr(config.vision_config, "vision_use_head", True):
        raise ValueError(
            f"the image tower of {name} has no pooling head, so nothing meets the text; take another checkpoint"
        )
    return config


def _check_end(name: str, config, tokenizer) -> None:
    """CLIP pools where the end of the text stands; a tokenizer that never writes it would pool the start, silently."""
    wanted = config.text_config.eos_token_id
    if config.model_type == "clip" and wanted != LEGACY_EOS and tokenizer.eos_token_id != wanted:
        raise ValueError(
            f"the tokenizer of {name} ends a text with token {tokenizer.eos_token_id}, its text tower waits for {wanted}; put "
            "the tokenizer that the model was trained with beside the weights"
        )


def _check_size(name: str, config, processor) -> None:
    made = processor(images=Image.new("RGB", (9, 7)), return_tensors="pt")
    wanted = getattr(config.vision_config, "image_size", None)
    if "spatial_shapes" not in made and made["pixel_values"].shape[-1] != wanted:
        raise ValueError(
            f"the processor of {name} makes pictures of {made['pixel_values'].shape[-1]} px, its image tower takes {wanted}; "
            "put the processor that the model was trained with beside the weights"
        )


def _card(name: str, model: nn.Module, processor) -> ModelCard:
    vision, text = model.config.vision_config, model.config.text_config
    image, caption = (tower(model) for tower in TOWERS[model.config.model_type])
    return ModelCard(
        name=name,
        source=name,
        parameters=sum(p.numel() for p in model.parameters()),
        d_i=image.width,
        d_t=caption.width,
        d=caption.projector().weight.shape[0],
        image_size=image.grid[0] * vision.patch_size,
        grid=image.grid,
        context_length=text.max_position_embeddings,
        preprocess="not loaded" if processor is None else _in_words(processor),
        mean=tuple(getattr(processor, "image_mean", (0.5,) * 3)),
        std=tuple(getattr(processor, "image_std", (0.5,) * 3)),
        activation=vision.hidden_act,
        digest="" if processor is None else weights_digest(model),
        notes=_notes(model),
    )


def _notes(model: nn.Module) -> tuple[str, ...]:
    if model.config.model_type == "clip":
        return (CAUSAL,)
    if model.config.model_type != "siglip2":
        return ()
    return ("free resolution: a picture keeps its shape, so the patch grid is each picture's own",)


def _in_words(processor) -> str:
    if hasattr(processor, "max_num_patches"):
        steps = [f"resize to at most {processor.max_num_patches} patches of {processor.patch_size} px, shape kept"]
    else:
        steps = [f"resize to {dict(processor.size)}, resample {int(processor.resample)}"]
    if getattr(processor, "do_center_crop", False):
        steps.append(f"centre crop {dict(processor.crop_size)}")
    return ", ".join([*steps, f"mean {tuple(processor.image_mean)}, std {tuple(processor.image_std)}", "Pillow"])
