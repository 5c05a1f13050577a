"""The heads that SAIL's authors published (arXiv 2412.04616), by the names that their files use."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from workbench.heads import GatedHead, LinearHead
from workbench.models.paired import AlignmentHead
from workbench.models.weights import check_checkpoint, check_finite

SIDES = {"image": "vision", "text": "text"}
GATED = {"gate": "f1", "value": "f2", "out": "g"}  # our names of the layers, and theirs
_KNOWN = "a published head is {vision,text}_layer_norm, {vision,text}_mapping_network (linear or gated), logit_scale, logit_bias"


def load_sail_head(file: str | Path) -> AlignmentHead:
    """A head as SAIL's training code saves it, gated or linear, in float32: widths and width factor are read off the shapes.

    For `pair`, on the towers that it was trained on: `image_tower("transformers:<DINOv2>", pooling="first+mean")`, for its
    pictures are the class token beside the mean of the patches, and a text tower with that model's own pooling (GTE:
    `pooling="first"`). `file` is a .safetensors or a torch checkpoint, which is opened as tensors only; a wrapping
    "state_dict" and the prefix "module." are taken off. Raises FileNotFoundError for no such file, ValueError for one that
    holds code or other things than such a head: missing or unexpected tensors, shapes that disagree, numbers not finite.
    """
    file = Path(file).expanduser()
    stored = _plain_names(file, _tensors(file))
    theirs = {"log_scale": "logit_scale", "logit_bias": "logit_bias"}
    for side in SIDES:
        theirs |= {f"{side}.{ours}": name for ours, name in _names(stored, side).items()}
    _check_names(file, set(theirs.values()), set(stored))
    with torch.device("meta"):  # what would be drawn here is replaced below, and may be larger than the towers
        image, text = (_empty(file, stored, side) for side in SIDES)
        head = AlignmentHead(image, text, logit_bias=0.0)
    wanted = head.state_dict()
    _check_shapes(file, {name: (stored[name].shape, wanted[ours].shape) for ours, name in theirs.items()})
    widths = [_out(side).out_features for side in (image, text)]
    if widths[0] != widths[1]:
        raise ValueError(
            f"{file}: the vision side gives {widths[0]} numbers and the text side {widths[1]}; they must meet"
        )
    values = {
        ours: stored[name].to(torch.float32, copy=True).reshape(wanted[ours].shape) for ours, name in theirs.items()
    }
    head.load_state_dict(values, assign=True)
    check_finite(file.name, head)
    return head


def _tensors(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise FileNotFoundError(f"{str(file)!r} is not a file; give the path of a .safetensors or .pt checkpoint")
    stored = _safetensors(file) if file.suffix == ".safetensors" else _checkpoint(file)
    if isinstance(stored, dict) and isinstance(stored.get("state_dict"), dict):
        stored = stored["state_dict"]
    if not isinstance(stored, dict):
        raise ValueError(f"{file} holds a {type(stored).__name__}, not tensors by name; {_KNOWN}")
    for key, value in stored.items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"{file}: {key!r} is {kind}, not a tensor of floats; {_KNOWN}")
    return stored


def _safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} is no whole safetensors file ({error}); download or copy it again") from error


def _checkpoint(file: Path):
    check_checkpoint(file)
    return torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))


def _plain_names(file: Path, stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the "module." that training on several GPUs puts in front of every name."""
    plain = {key.removeprefix("module."): value for key, value in stored.items()}
    if len(plain) < len(stored):
        raise ValueError(f"{file} holds tensors both with and without 'module.' before their name; keep one of each")
    return plain


def _is_linear(stored: dict[str, Tensor], side: str) -> bool:
    return f"{SIDES[side]}_mapping_network.weight" in stored


def _names(stored: dict[str, Tensor], side: str) -> dict[str, str]:
    """Our names within a side's head, and theirs."""
    network, norm = f"{SIDES[side]}_mapping_network", f"{SIDES[side]}_layer_norm"
    layers = {"": network} if _is_linear(stored, side) else {f"{o}.": f"{network}.{t}" for o, t in GATED.items()}
    layers |= {"norm.": norm}
    return {f"{ours}{part}": f"{name}.{part}" for ours, name in layers.items() for part in ("weight", "bias")}


def _check_names(file: Path, wanted: set[str], found: set[str]) -> None:
    if wanted != found:
        missing, unexpected = (", ".join(sorted(names)) or "nothing" for names in (wanted - found, found - wanted))
        raise ValueError(f"{file} is no head of SAIL's: missing {missing:.300}; unexpected {unexpected:.300}; {_KNOWN}")


def _empty(file: Path, stored: dict[str, Tensor], side: str) -> nn.Module:
    """A head of the sizes that the shapes say."""
    network = f"{SIDES[side]}_mapping_network"
    first, last = ("weight", "weight") if _is_linear(stored, side) else ("f1.weight", "g.weight")
    (hidden, d_in), (d_out, _) = (_matrix(file, stored, f"{network}.{name}") for name in (first, last))
    if _is_linear(stored, side):
        return LinearHead(d_in, d_out, layer_norm=True)
    if hidden % d_in:
        raise ValueError(
            f"{file}: {network}.f1.weight is ({hidden}, {d_in}); its rows are a whole number of times its columns"
        )
    return GatedHead(d_in, d_out, hidden // d_in, layer_norm=True)


def _out(side: LinearHead | GatedHead) -> nn.Linear:
    return side if isinstance(side, LinearHead) else side.out


def _matrix(file: Path, stored: dict[str, Tensor], name: str) -> tuple[int, int]:
    shape = tuple(stored[name].shape)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"{file}: {name} is {shape}; a layer's weight is (rows, columns), none of them 0")
    return shape


def _check_shapes(file: Path, shapes: dict[str, tuple[torch.Size, torch.Size]]) -> None:
    """Raises ValueError for tensors (found, wanted) that disagree with what the others say; a number may be (1,)."""
    other = [
        f"{name} is {tuple(found)} and should be {tuple(wanted)}"
        for name, (found, wanted) in shapes.items()
        if found != wanted and not (wanted == () and found == (1,))
    ]
    if other:
        raise ValueError(f"{file}: shapes disagree: {'; '.join(other):.500}")
