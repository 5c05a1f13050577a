"""Weights in 4 bits (bitsandbytes): the linear layers of the language model, for reading; all else stays in bfloat16."""

from __future__ import annotations

import copy
from importlib.util import find_spec

import torch
from torch import nn

BLOCK = 64  # numbers that share a scale, bitsandbytes' own choice for nf4
TABLE = 16 * 4  # bytes: the values that 4 bits stand for, kept by every layer
COMPUTE = torch.bfloat16  # a layer is written out in it whenever it is used


def check_four_bit(name: str) -> None:
    """Raises ValueError where bitsandbytes is not installed, or is older than transformers takes."""
    from transformers.utils import is_bitsandbytes_available
    from transformers.utils.import_utils import BITSANDBYTES_MIN_VERSION

    if find_spec("bitsandbytes") is None or not is_bitsandbytes_available():
        raise ValueError(
            f"dtype='4bit' of {name} needs the package bitsandbytes, {BITSANDBYTES_MIN_VERSION} or later, which is not "
            "installed; run `pip install -U bitsandbytes`, or take dtype='bfloat16'"
        )


def in_four_bits(module: nn.Module) -> bool:
    """Whether a model of transformers was loaded in 4 bits, or in what else it was quantised to."""
    return bool(getattr(module, "is_quantized", False))


def language_layers(model: nn.Module) -> dict[str, nn.Module]:
    """What becomes 4-bit, by name: the linear layers of the language model (GPT-2's lie the other way), its head left out."""
    decoder = {id(part) for part in model.get_decoder().modules()}
    return {name: part for name, part in _linear(model).items() if id(part) in decoder}


def weights_bytes(model: nn.Module, dtype: torch.dtype | str) -> int:
    """Bytes of the parameters in a precision, a torch dtype or "4bit": computed from shapes, which the meta device has too.

    In 4 bits a weight is half a byte a number and a float32 scale for every 64, without double quantisation (QLoRA, arXiv
    2305.14314, section 3): about 4.5 bits.
    """
    total = sum(p.numel() for p in model.parameters())
    if isinstance(dtype, torch.dtype):
        return total * dtype.itemsize
    small = [part.weight.numel() for part in language_layers(model).values()]
    return (total - sum(small)) * COMPUTE.itemsize + sum(-(-n // 2) + 4 * -(-n // BLOCK) + TABLE for n in small)


class InFourBits:
    """A class of transformers that loads the language model of what `bare` shows in nf4, onto the device at once; one that is
    quantised already as it is."""

    def __init__(self, auto, bare: nn.Module, device: str):
        self._auto, self._bare, self._device = auto, bare, device

    def from_pretrained(self, place: str, **options):
        options |= {"dtype": COMPUTE, "device_map": {"": self._device}}
        if getattr(self._bare.config, "quantization_config", None) is None:
            options["quantization_config"] = _how(self._bare)
        model, info = self._auto.from_pretrained(place, **options)
        for part in model.modules():
            # Some CPUs' layers repack themselves when first used, and lose the order of their scales when a state dict, which a
            # digest asks for, takes that back (bitsandbytes 0.50).
            if hasattr(part, "support_avx512bf16_for_cpu"):
                part.support_avx512bf16_for_cpu = False
        return model, info


def plain_on_meta(model: nn.Module) -> nn.Module:
    """A 4-bit model as it would be with plain layers: shapes only, on the meta device."""
    config = copy.deepcopy(model.config)
    del config.quantization_config
    with torch.device("meta"):
        return type(model)(config)


def _how(bare: nn.Module):
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=COMPUTE,
        llm_int8_skip_modules=[name for name in _linear(bare) if name not in language_layers(bare)],  # of 4 bits too
    )


def _linear(model: nn.Module) -> dict[str, nn.Module]:
    from transformers.pytorch_utils import Conv1D

    return {name: part for name, part in model.named_modules() if type(part) in (nn.Linear, Conv1D)}
