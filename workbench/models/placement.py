"""Where a model goes and in which precision."""

from __future__ import annotations

import torch

FOUR_BIT = "4bit"


def pick_device(device: str | torch.device) -> str:
    """`auto` is the first of cuda, mps, cpu that is there. Raises ValueError for a device that is not."""
    device = str(device)
    here = ["cpu"]
    if torch.backends.mps.is_available():
        here.insert(0, "mps")
    if torch.cuda.is_available():
        here.insert(0, "cuda")
    if device == "auto":
        return here[0]
    kind, _, index = device.partition(":")
    if kind not in here or not (index.isdecimal() or device == kind):
        raise ValueError(f"device {device!r} is not here; choose one of {', '.join(here)} or 'auto'")
    return device


def pick_dtype(dtype: str | torch.dtype, *, four_bit: bool = False) -> torch.dtype | str:
    """`auto` is float32, the precision every stored number was made in; float16 and bfloat16 on request, and "4bit", which is
    no dtype of torch's, where `four_bit` says that a model can be read so."""
    known = {"auto": torch.float32, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    known |= {FOUR_BIT: FOUR_BIT} if four_bit else {}
    if isinstance(dtype, torch.dtype) and dtype in known.values():
        return dtype
    if not isinstance(dtype, str) or dtype not in known:
        hint = " ('4bit' goes with 'lvlm:…' alone)" if dtype == FOUR_BIT else ""
        raise ValueError(f"dtype {dtype!r} is not offered; choose one of {', '.join(known)}{hint}")
    return known[dtype]
