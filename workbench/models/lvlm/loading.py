"""Loading a vision–language model: what fits together is checked on the meta device, before any weight is read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import nn

from workbench.hardware import available_memory
from workbench.models.card import ModelCard
from workbench.models.hub_errors import said_clearly, transformers_place
from workbench.models.lvlm.encoder import LvlmEncoder, image_features
from workbench.models.lvlm.inputs import Inputs
from workbench.models.lvlm.prompts import IMAGE, PROMPTS, Prompts, prompts_of
from workbench.models.lvlm.quantized import COMPUTE, InFourBits, check_four_bit, weights_bytes
from workbench.models.lvlm.saving import SOFT, put_soft_prompts, soft_prompts_of
from workbench.models.placement import FOUR_BIT
from workbench.models.transformers_parts import load_weights
from workbench.models.weights import check_vocabulary, weights_digest
from workbench.records import human_bytes

DEFAULT = "E5-V"
MARGIN = 0.8  # of the free memory, as plan_memory keeps it
READING = "both modalities read by the language model, left to right: a token has seen only what stands before it"
KEEPS_SHAPE = "a picture keeps its shape, so the patch grid is each picture's own"


def load_lvlm(name: str, *, device: str, dtype: torch.dtype | str, prompts: Prompts | str | None = None) -> LvlmEncoder:
    """Load `lvlm:<org>/<repo or folder>` with its own processor.

    `dtype` "4bit" is for reading: the language model's linear layers in nf4, all else and what is computed in bfloat16.
    `prompts`: a preset by name, or Prompts; without them those of a folder's prompts.json, with its soft_prompts.safetensors
    where that lies there, else E5-V's.

    Raises FileNotFoundError for a folder that lacks a file, ConnectionError where the hub would be needed and does not
    answer, MemoryError (before any weight is read) for a model that does not fit on the device, ValueError for another kind
    of model, one that shows no hidden states, a processor of another model, weights that are damaged or do not fit, or 4 bits
    without bitsandbytes.
    """
    from transformers import AutoModelForImageTextToText

    place, folder = transformers_place(name.removeprefix("lvlm:"))
    if dtype == FOUR_BIT:
        check_four_bit(name)
    bare = skeleton_lvlm(name, prompts=prompts)
    if dtype != FOUR_BIT and getattr(bare.module.config, "quantization_config", None):
        raise ValueError(f"the weights of {name} are quantised already; load it with dtype='4bit', or get them in full")
    _check_memory(name, bare.module, device, dtype)
    auto = _In(AutoModelForImageTextToText, dtype)
    if dtype == FOUR_BIT:
        auto, dtype = InFourBits(AutoModelForImageTextToText, bare.module, device), COMPUTE
    model, _ = load_weights(auto, name, place, folder, bare.module.config)
    _check_exposed(name, model)
    loaded = LvlmEncoder(model, bare._inputs, bare.prompts, bare.card, device=device, dtype=dtype)
    if prompts is None and (soft := soft_prompts_of(folder)):
        put_soft_prompts(loaded, soft, f"{folder / SOFT}")
    loaded.card = replace(bare.card, digest=weights_digest(model))
    return loaded


def skeleton_lvlm(name: str, *, prompts: Prompts | str | None = None) -> LvlmEncoder:
    """The same model without weights, on the meta device, with its processor: shapes only, for planning and for checks."""
    from transformers import AutoModelForImageTextToText

    place, folder = transformers_place(name.removeprefix("lvlm:"))
    config = _config(name, place, folder)
    with said_clearly(name, folder), torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, trust_remote_code=False)
    _check_exposed(name, model)
    inputs = Inputs(name, _processor(name, place, folder))
    check_vocabulary(name, len(inputs.tokenizer), model.get_input_embeddings().num_embeddings)
    _check_match(name, model, inputs)
    prompts = prompts_of(_own_prompts(folder) if prompts is None else prompts)
    return LvlmEncoder(model, inputs, prompts, _card(name, model, inputs), device="meta", dtype=torch.float32)


def _own_prompts(folder: Path | None) -> Prompts | str:
    file = None if folder is None else folder / PROMPTS
    if file is None or not file.is_file():
        return DEFAULT
    try:
        return Prompts(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} holds no prompts ({error}); write it as `json.dumps(asdict(Prompts(…)))`") from error


class _In:
    """A class of transformers that loads in a precision of its own: seven billion numbers in float32 first would be 28 GB."""

    def __init__(self, auto, dtype: torch.dtype):
        self._auto, self._dtype = auto, dtype

    def from_pretrained(self, place: str, **options):
        return self._auto.from_pretrained(place, **{**options, "dtype": self._dtype})


def _config(name: str, place: str, folder: Path | None):
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN

    with said_clearly(name, folder):
        config = AutoConfig.from_pretrained(place, trust_remote_code=False)
    if config.model_type not in KNOWN:
        raise ValueError(
            f"{name} is a {config.model_type!r} model, which writes no text about pictures; give one of the LLaVA or the "
            "Qwen2-VL family (a CLIP loads as transformers:…)"
        )
    return config


def _processor(name: str, place: str, folder: Path | None):
    from transformers import AutoImageProcessor, AutoProcessor

    with said_clearly(name, folder):
        processor = AutoProcessor.from_pretrained(place, trust_remote_code=False)
        if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
            raise FileNotFoundError(
                f"{folder or name} holds no processor of pictures and text ({type(processor).__name__}); it needs "
                "processor_config.json beside tokenizer.json"
            )
        # Pictures alone on the Pillow backend: torchvision's resizing moves pixels, and one for videos has no other.
        processor.image_processor = AutoImageProcessor.from_pretrained(place, backend="pil", trust_remote_code=False)
    if not processor.tokenizer.is_fast:
        raise ValueError(f"the tokenizer of {name} cannot map tokens to words; save it as tokenizer.json")
    return processor


def _check_exposed(name: str, model: nn.Module) -> None:
    """Raises ValueError for a model that gives no last hidden states without its vocabulary. Weights on meta: a look at its
    parts alone; loaded: two tokens through it."""
    inner, ids = getattr(model, "model", None), torch.zeros(1, 2, dtype=torch.long, device=model.device)
    exposed = hasattr(inner, "get_image_features") and not model.config.is_encoder_decoder
    if exposed and not ids.is_meta:
        with torch.no_grad():
            state = getattr(inner(input_ids=ids, use_cache=False), "last_hidden_state", None)
        exposed = state is not None and state.shape[:2] == ids.shape
    if not exposed:
        raise ValueError(
            f"{name} ({type(model).__name__}) exposes no last hidden states of one language model for pictures and text; take a "
            "model of the LLaVA or the Qwen2-VL family"
        )


def _check_match(name: str, model: nn.Module, inputs: Inputs) -> None:
    """Raises ValueError for a processor that writes other image tokens, or more or fewer of them, than the model fills in."""
    wanted = getattr(model.config, "image_token_id", getattr(model.config, "image_token_index", None))
    advice = "put the processor that the model was trained with beside the weights"
    if inputs.image_token_id != wanted:
        raise ValueError(
            f"the processor of {name} writes a picture as token {inputs.image_token_id}, its model waits for {wanted}; {advice}"
        )
    if inputs.packed:
        return _check_patches(name, model.config.vision_config, inputs, advice)
    side = inputs.native_size
    if (wide := tuple(inputs.pixels(Image.new("RGB", (448, 224))).shape[-2:])) != (side, side):
        raise ValueError(
            f"the processor of {name} makes a wide picture {wide} px, not {side} × {side}; it needs a centre crop"
        )
    written = int((inputs.picture_prompt(IMAGE, (side, side), chat=False)["input_ids"] == wanted).sum())
    try:
        filled = len(image_features(model.model, pixel_values=torch.zeros(1, 3, side, side, device="meta")))
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"the processor of {name} makes pictures of {side} px, which its model refuses ({error}); {advice}"
        ) from error
    if written != filled:
        raise ValueError(
            f"the processor of {name} keeps {written} places for a picture, its model fills {filled}; {advice}"
        )


def _check_patches(name: str, vision, inputs: Inputs, advice: str) -> None:
    made = (inputs.patch, inputs.merge, inputs.frames)
    wanted = (vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size)
    if made != wanted:
        raise ValueError(
            f"the processor of {name} cuts patches of {made} (pixels, merged, frames), its model reads {wanted}; {advice}"
        )


def _check_memory(name: str, model: nn.Module, device: str, dtype: torch.dtype | str) -> None:
    """Raises MemoryError where the weights alone would take more than is free on the device (or here, on their way there)."""
    needed = weights_bytes(model, dtype)
    smaller = "" if dtype == FOUR_BIT else "dtype='bfloat16' or '4bit', "
    for where in dict.fromkeys(("cpu", device)):
        free = available_memory(where)
        if needed > MARGIN * free:
            raise MemoryError(
                f"the weights of {name} take {human_bytes(needed)} in {str(dtype).removeprefix('torch.')}, and {where} has "
                f"{human_bytes(free)} free; take {smaller}a smaller model, or another machine (plan_memory says more)"
            )


def _card(name: str, model: nn.Module, inputs: Inputs) -> ModelCard:
    text = model.config.get_text_config()
    width, side = model.get_input_embeddings().embedding_dim, inputs.native_size
    image_processor = inputs.processor.image_processor
    return ModelCard(
        name=name,
        source=name,
        parameters=sum(p.numel() for p in model.parameters()),
        d_i=width,
        d_t=width,
        d=width,
        image_size=side,
        grid=inputs.grid(torch.empty(3, side, side, device="meta")),
        context_length=_context(text, inputs.tokenizer),
        preprocess=_in_words(inputs),
        mean=tuple(image_processor.image_mean),
        std=tuple(image_processor.image_std),
        activation=getattr(model.config.vision_config, "hidden_act", "unknown"),
        digest="",
        notes=(READING, KEEPS_SHAPE) if inputs.packed else (READING,),
    )


def _context(text, tokenizer) -> int:
    limits = (getattr(text, "max_position_embeddings", None), tokenizer.model_max_length)
    return min(limit for limit in limits if limit)


def _in_words(inputs: Inputs) -> str:
    made = inputs.processor.image_processor
    size = dict(made.size) if made.size else {}
    crop = f", centre crop {dict(made.crop_size)}" if getattr(made, "do_center_crop", False) else ""
    return f"resize to {size}, resample {int(made.resample)}{crop}, mean {tuple(made.image_mean)}, std {tuple(made.image_std)}"
