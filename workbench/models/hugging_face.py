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
from workbench.models.hub_errors import local_folder, said_clearly
from workbench.models.hugging_face_towers import TOWERS
from workbench.models.paired import tokenize_with_offsets
from workbench.models.reading import ReadEncoder
from workbench.models.weights import check_checkpoint, check_finite, check_vocabulary, weights_digest


class HuggingFaceEncoder(ReadEncoder):
    """A CLIP, SigLIP or SigLIP 2 of transformers behind the common interface."""

    def __init__(self, model: nn.Module, processor, tokenizer, card: ModelCard, **placement):
        super().__init__(model, card, **placement)
        self._image, self._text = (tower(model) for tower in TOWERS[model.config.model_type])
        self._processor, self._tokenizer = processor, tokenizer

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
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    place, folder = _place(name)
    with said_clearly(name, folder):
        _check_kind(name, place)
        _check_files(folder)
        model, info = AutoModel.from_pretrained(place, output_loading_info=True)
        processor = AutoImageProcessor.from_pretrained(place, backend="pil")
        tokenizer = AutoTokenizer.from_pretrained(place)
    if info["missing_keys"]:
        missing = ", ".join(sorted(info["missing_keys"])[:3])
        raise ValueError(f"the weights of {name} lack {missing} …, which would be random; get a complete checkpoint")
    check_vocabulary(name, len(tokenizer), model.config.text_config.vocab_size)
    check_finite(name, model)
    return HuggingFaceEncoder(model, processor, tokenizer, _card(name, model, processor), device=device, dtype=dtype)


def skeleton_hugging_face(name: str) -> HuggingFaceEncoder:
    """The same model without weights, on the meta device: shapes only, for planning."""
    from transformers import AutoConfig, AutoModel

    place, _ = _place(name)
    with said_clearly(name):
        _check_kind(name, place)
        with torch.device("meta"):
            model = AutoModel.from_config(AutoConfig.from_pretrained(place))
    return HuggingFaceEncoder(model, None, None, _card(name, model, None), device="meta", dtype=torch.float32)


def _place(name: str) -> tuple[str, Path | None]:
    """A folder with its ~ expanded, or a hub name as it stands; and the folder."""
    place = name.removeprefix("transformers:")
    folder = local_folder(place)
    if folder is not None and not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} has no config.json; give a folder that transformers saved")
    return place if folder is None else str(folder), folder


def _check_files(folder: Path | None) -> None:
    for file in folder.glob("*.bin") if folder is not None else ():
        check_checkpoint(file)


def _check_kind(name: str, place: str) -> None:
    from transformers import AutoConfig

    kind = AutoConfig.from_pretrained(place).model_type
    if kind not in TOWERS:
        raise ValueError(
            f"{name} is a {kind!r} model; read so far: {', '.join(TOWERS)}. A tower of one modality goes into pair()"
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
