"""Vision models of transformers as image towers: ViT (DINO), DINOv2 and DINOv3, ViT-MAE, I-JEPA and their like.

What they share: `last_hidden_state` is prefix tokens (class token, registers), then patches row by row. The picture goes
through the model's own processor on its Pillow backend, as in `hugging_face.py`.
"""

from __future__ import annotations

import inspect

import torch
from PIL import Image
from torch import Tensor, nn

from workbench.models.hub_errors import local_folder, said_clearly
from workbench.models.image_tower import POOL_WORDS, ImageTower, Read, check_pooling, pool, split_prefix, square
from workbench.models.meta_pass import meta_twin
from workbench.models.transformers_parts import block_states, blocks_and_norm, load_config, load_weights, recipe_of
from workbench.models.weights import weights_digest


class TransformersImageTower(ImageTower):
    """A vision model of transformers behind the common interface.

    pooling "auto" is the class token where there is one, else the mean of the patches; `cells` are the patches after the
    final norm, each beside the class token where both are pooled ("first+mean"). Sizes other than the native one are
    multiples of the patch, with positions interpolated by the model.
    """

    def __init__(self, name: str, model: nn.Module, processor, *, pooling: str = "auto", notes: tuple[str, ...] = ()):
        super().__init__()
        self.name = self.source = name
        self.model, self.processor = model, processor
        self.activation = str(getattr(model.config, "hidden_act", "unknown"))
        self.image_size = _native_size(name, processor)
        self.mean = tuple(getattr(processor, "image_mean", None) or (0.5,) * 3)
        self.std = tuple(getattr(processor, "image_std", None) or (0.5,) * 3)
        self.patch = _patch_size(model.config)
        self._takes_interpolation = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
        self._measure()
        registers = getattr(model.config, "num_register_tokens", 0)
        class_token = self.prefix > registers
        check_pooling(name, pooling, class_token=class_token)
        self.pooling = pooling if pooling != "auto" else "first" if class_token else "mean"
        self.width *= 2 if self.pooling == "first+mean" else 1
        self.recipe = recipe_of(model, self.pooling)
        self.notes = (f"image pooled by {POOL_WORDS[self.pooling]}", *notes)

    def _measure(self) -> None:
        """Prefix tokens, width, readable blocks and the final norm, from one pass over shapes."""
        pixels = self.blank(self.image_size)
        self.prefix = 0
        inputs = {**self._inputs(pixels), "output_hidden_states": True}
        self.layers, norm, out = blocks_and_norm(meta_twin(self.model).eval(), lambda twin: twin(**inputs))
        states = out.last_hidden_state
        if states.ndim != 3:
            raise ValueError(f"{self.name} gives a feature map, not patch tokens; take the same architecture from timm")
        self.norm_name, self.width = norm, states.shape[-1]
        # CLIP's vision model alone norms the class token only, which is what it was trained with
        self._norms_late = norm is None and hasattr(self.model, "post_layernorm")
        self.prefix = split_prefix(states.shape[1], self._patches(pixels))
        self.layers_reason = "its earlier blocks have other shapes"

    def forward(self, pixels: Tensor, layer: int = -1) -> Read:
        states = block_states(self.model, self._norm(), self.block(layer), **self._inputs(pixels))
        if self._norms_late:
            states = self.model.post_layernorm(states)
        cells, pooled = pool(self.pooling, states[:, 0], states[:, self.prefix :])
        return cells, pooled, self._grid_of(pixels, cells.shape[1])

    def _norm(self) -> nn.Module | None:
        return None if self.norm_name is None else self.model.get_submodule(self.norm_name)

    def _inputs(self, pixels: Tensor) -> dict[str, Tensor | bool]:
        inputs: dict[str, Tensor | bool] = {"pixel_values": pixels}
        if self._takes_interpolation and pixels.shape[-1] != _side(self.model.config):
            inputs["interpolate_pos_encoding"] = True
        if self.model.config.model_type == "vit_mae":  # it shuffles patches by noise: rising noise keeps their order
            count = self._patches(pixels)
            inputs["noise"] = torch.arange(count, dtype=torch.float32, device=pixels.device).expand(len(pixels), count)
        return inputs

    def _patches(self, pixels: Tensor) -> int | None:
        """How many patches the picture is cut into at the door, if the configuration says."""
        return None if self.patch is None else (pixels.shape[-2] // self.patch) * (pixels.shape[-1] // self.patch)

    def _grid_of(self, pixels: Tensor, cells: int) -> tuple[int, int] | None:
        h, w = (side // self.patch if self.patch else 0 for side in pixels.shape[-2:])
        return (h, w) if h * w == cells else square(cells)

    def check_image_size(self, size: int) -> None:
        if self.patch is not None and size % self.patch:
            raise ValueError(
                f"image_size={size}; {self.name} cuts patches of {self.patch} px: give a multiple (native {self.image_size})"
            )
        super().check_image_size(size)

    def preprocess(self, image: Image.Image, size: int) -> Tensor:
        """The model's own processor; at another size its resize and crop grow in proportion."""
        scale = size / self.image_size
        options = {} if size == self.image_size else _scaled(self.processor, scale)
        return self.processor(images=image, return_tensors="pt", **options)["pixel_values"][0]

    @property
    def preprocess_words(self) -> str:
        processor, steps = self.processor, ["RGB"]
        if getattr(processor, "do_resize", True):
            steps.append(f"resize to {_sides(processor.size)}, {_filter(getattr(processor, 'resample', None))}")
        if getattr(processor, "do_center_crop", False):
            steps.append(f"centre crop {_sides(processor.crop_size)}")
        return ", ".join([*steps, f"mean {self.mean}, std {self.std}", "Pillow"])


def load_transformers_image(name: str, *, pretrained: bool, pooling: str) -> TransformersImageTower:
    """Load `transformers:<folder or hub id>` as an image tower, with its own processor.

    Raises FileNotFoundError for a folder that lacks a file, ConnectionError where the hub would be needed and does not
    answer, ValueError for another kind of model, or weights that are damaged or do not fit.
    """
    from transformers import AutoImageProcessor, AutoModel

    place = name.removeprefix("transformers:")
    folder = local_folder(place)
    place = place if folder is None else str(folder)
    config = load_config(name, place, folder)
    if not hasattr(config, "image_size") and not hasattr(config, "num_channels"):
        raise ValueError(
            f"{name} is a {config.model_type!r} model, which sees no pictures; text towers come from text_tower"
        )
    if config.model_type == "vit_mae":
        config.mask_ratio = 0.0  # pre-training hides three patches in four
    with said_clearly(name, folder):
        processor = AutoImageProcessor.from_pretrained(place, backend="pil", trust_remote_code=False)
    if pretrained:
        model, notes = load_weights(AutoModel, name, place, folder, config)
    else:
        with said_clearly(name, folder):
            model = AutoModel.from_config(config)
        notes = ("image tower with random weights: nothing was loaded",)
    tower = TransformersImageTower(name, model, processor, pooling=pooling, notes=notes)
    tower.digest = weights_digest(model) if model.device.type != "meta" else ""
    return tower.eval()


def _native_size(name: str, processor) -> int:
    """The side of what the processor makes of a picture that is not square: some models are run at another size than
    their configuration says (DINOv2: 518 there, 224 here)."""
    shape = processor(images=Image.new("RGB", (96, 64)), return_tensors="pt")["pixel_values"].shape
    if shape[1] != 3 or shape[-1] != shape[-2]:
        raise ValueError(
            f"the processor of {name} makes pictures of {tuple(shape[1:])}; an image tower takes (3, size, size): "
            "let its preprocessor_config.json resize or crop to a square"
        )
    return shape[-1]


def _scaled(processor, scale: float) -> dict[str, dict[str, int]]:
    sizes = {what: getattr(processor, what, None) for what in ("size", "crop_size")}
    return {what: {side: round(n * scale) for side, n in _sides(size).items()} for what, size in sizes.items() if size}


def _sides(size) -> dict[str, int]:
    """A processor's size without the sides that it leaves open."""
    return {side: n for side, n in dict(size or {}).items() if n}


def _filter(resample: int | None) -> str:
    return "as the library does" if resample is None else Image.Resampling(int(resample)).name.lower()


def _side(config) -> int | None:
    size = getattr(config, "image_size", None)
    return size[0] if isinstance(size, (tuple, list)) else size


def _patch_size(config) -> int | None:
    size = getattr(config, "patch_size", None)
    return size[0] if isinstance(size, (tuple, list)) else size
