"""Weights, however they were stored: their identity, and whether they are whole."""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import nn


def weights_digest(model: nn.Module) -> str:
    """sha256 over every tensor by name, first 16 hex digits: the same for the same weights in any file format."""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        raw = value.detach().cpu().contiguous().view(-1).view(torch.uint8)
        digest.update(key.encode() + raw.numpy().tobytes())
    return digest.hexdigest()[:16]


def check_finite(name: str, model: nn.Module) -> None:
    """Raises ValueError that names the first weight with a NaN or an infinity."""
    for key, value in model.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(
                f"weight {key!r} of {name} has NaN or infinite entries; the checkpoint is damaged, get it again"
            )


def check_checkpoint(path: Path) -> None:
    """Raises ValueError for a torch checkpoint that loading tensors alone cannot open, with how to convert it.

    Such a file may run code when it is opened, so nothing here opens it any other way. safetensors cannot hold code.
    """
    if path.suffix == ".safetensors":
        return
    try:
        torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (UnpicklingError, RuntimeError, KeyError, EOFError, ValueError, IndexError) as error:
        raise ValueError(_refused(path, str(error))) from error


def _refused(path: Path, said: str) -> str:
    convert = "open it once yourself, take its state_dict and write that with save_file of safetensors.torch"
    if "TorchScript" in said:
        return (
            f"{path} is a TorchScript archive, which holds code; if you trust it, {convert} (torch.jit.load opens it)"
        )
    if found := re.search(r"GLOBAL ([\w.]+)", said):
        return (
            f"{path} holds {found[1]} beside its tensors, and opening that could run code; if you trust the file, {convert} "
            "(torch.load(…, weights_only=False) opens it)"
        )
    return f"{path} is no checkpoint that torch can read; download or copy it again"


def check_vocabulary(name: str, tokenizer_size: int, embedding_rows: int) -> None:
    """Raises ValueError where the tokenizer knows more tokens than the tower has embeddings for."""
    if tokenizer_size > embedding_rows:
        raise ValueError(
            f"the tokenizer of {name} knows {tokenizer_size} tokens and its text tower {embedding_rows}; "
            "put the tokenizer that the model was trained with beside the weights"
        )
