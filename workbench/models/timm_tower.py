"""Any timm model with `forward_features` as an image tower: `timm:<architecture[.tag]>`, `timm:local-dir:…`, `timm:hf-hub:…`.

Everything goes through timm's public calls: `forward_features`, `forward_head(pre_logits=True)`, `forward_intermediates`.
"""

from __future__ import annotations

import difflib
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from workbench.models.hub_errors import local_folder, said_clearly
from workbench.models.image_tower import POOL_WORDS, ImageTower, Read, check_pooling, pool, split_prefix, square
from workbench.models.meta_pass import meta_twin
from workbench.models.weights import check_checkpoint, check_finite, weights_digest


class TimmTower(ImageTower):
    """A timm model behind the common interface.

    pooling "auto" is the model's own: `pooled` equals `forward_head(forward_features(x), pre_logits=True)`, and a cell is
    what that head makes of the cell alone, so that norms behind the pool (ConvNeXt) and attention pools reach cells too.
    "first" takes the class token and "mean" the mean of the patches of `forward_features`, cells as they stand there;
    "first+mean" takes both, side by side, and puts the class token beside each cell too.
    """

    def __init__(self, name: str, trunk: nn.Module, *, source: str, pooling: str = "auto", notes: tuple[str, ...] = ()):
        super().__init__()
        from timm.data import resolve_model_data_config

        self.name, self.source, self.trunk, self.pooling = name, source, trunk, pooling
        self._data = resolve_model_data_config(trunk)
        channels, height, side = self._data["input_size"]
        if channels != 3 or height != side:
            raise ValueError(f"{name} takes {channels} × {height} × {side}; an image tower takes 3 × size × size")
        self.image_size, self.mean, self.std = side, tuple(self._data["mean"]), tuple(self._data["std"])
        self._transforms = {}
        self._measure()
        self.recipe = f"timm {trunk.pretrained_cfg.get('architecture')}, {self._pool_words()}"
        self.notes = (f"image pooled by {self._pool_words()}", *notes)

    def _measure(self) -> None:
        """What an architecture does not say of itself (prefix tokens, width, blocks), from passes over shapes alone."""
        pixels, twin = self.blank(self.image_size), meta_twin(self.trunk).eval()
        states = twin.forward_features(pixels)
        if not isinstance(states, Tensor) or states.ndim not in (3, 4):
            raise ValueError(
                f"forward_features of {self.name} gives a {type(states).__name__}, not one map or sequence; take another model"
            )
        self._is_map = states.ndim == 4
        self._channels_first = getattr(self.trunk, "output_fmt", "NCHW") != "NHWC"
        class_token = not self._is_map and any("cls_token" in key for key, _ in self.trunk.named_parameters())
        self.prefix = 0 if self._is_map else self._count_prefix(states.shape[1], class_token)
        check_pooling(self.name, self.pooling, class_token=class_token)
        cells, pooled, _ = meta_twin(self).eval()(pixels)
        if "mean" in self.pooling and not cells.shape[1]:
            raise ValueError(f"pooling={self.pooling!r}: {self.name} keeps no patches to average; take 'auto'")
        if pooled.ndim != 2:
            raise ValueError(
                f"{self.name} pools nothing itself; give pooling='mean', or 'first' where it has a class token"
            )
        self.width = pooled.shape[-1]
        self.layers = self._count_blocks(pixels, states.shape)

    def _count_prefix(self, states: int, class_token: bool) -> int:
        said = getattr(self.trunk, "num_prefix_tokens", None)
        if said is not None:
            return said
        return 1 if class_token and states == 1 else split_prefix(states, None)  # PiT keeps its class token only

    def _count_blocks(self, pixels: Tensor, shape: tuple[int, ...]) -> int:
        """All blocks, where each can stand in for the last one; else 0."""
        info = list(getattr(self.trunk, "feature_info", None) or [])
        if self._is_map or len({(stage["num_chs"], stage["reduction"]) for stage in info}) != 1:
            return 0
        try:
            same = meta_twin(self).eval()._states(pixels, 0).shape == shape
        except Exception:  # each model says in its own way that it lacks the call, the norm, prefix tokens or sequences
            same = False
        self.layers_reason = "its earlier blocks cannot be read as the last one is"
        return len(info) if same else 0

    def _pool_words(self) -> str:
        own = f"the model's own head ({getattr(self.trunk, 'global_pool', None) or 'its pool'})"
        return {"auto": own, **POOL_WORDS}[self.pooling]

    def forward(self, pixels: Tensor, layer: int = -1) -> Read:
        states = self._states(pixels, self.block(layer))
        cells, grid = self._cells(states)
        if self.pooling == "auto":
            return self._alone(cells), self.trunk.forward_head(states, pre_logits=True), grid
        return *pool(self.pooling, states[:, 0], cells), grid

    def _states(self, pixels: Tensor, block: int | None) -> Tensor:
        """`forward_features` of pixels, or the same as if the model ended after `block`."""
        if block is None:
            return self.trunk.forward_features(pixels)
        prefix = {"return_prefix_tokens": True} if self.prefix else {}
        (out,) = self.trunk.forward_intermediates(
            pixels, indices=[block], norm=True, stop_early=True, output_fmt="NLC", intermediates_only=True, **prefix
        )
        return torch.cat((out[1], out[0]), 1) if prefix else out

    def _cells(self, states: Tensor) -> tuple[Tensor, tuple[int, int] | None]:
        """Cells (B, P, C) row by row and their grid; class and register tokens are left out."""
        if not self._is_map:
            cells = states[:, self.prefix :]
            return cells, square(cells.shape[1])
        rows = states.permute(0, 2, 3, 1) if self._channels_first else states
        return rows.flatten(1, 2), tuple(rows.shape[1:3])

    def _alone(self, cells: Tensor) -> Tensor:
        """What the model's own head makes of each cell by itself: (B, P, width)."""
        single = cells.reshape(-1, cells.shape[-1])
        if not self._is_map:
            single = single[:, None].expand(-1, self.prefix + 1, -1)  # in the class token's place too
        elif self._channels_first:
            single = single[:, :, None, None]
        else:
            single = single[:, None, None]
        out = self.trunk.forward_head(single, pre_logits=True)
        return out.reshape(*cells.shape[:2], out.shape[-1])

    def preprocess(self, image: Image.Image, size: int) -> Tensor:
        """The model's own evaluation transform of timm, at `size`."""
        from timm.data import create_transform

        if size not in self._transforms:
            data = {**self._data, "input_size": (3, size, size)}
            self._transforms[size] = create_transform(**data, is_training=False)
        return self._transforms[size](image)

    @property
    def preprocess_words(self) -> str:
        data = self._data
        return (
            f"RGB, {data['interpolation']} resize, {data['crop_mode']} crop of {data['crop_pct']:g}, "
            f"mean {self.mean}, std {self.std}"
        )


def load_timm(name: str, *, weights: str | Path | None, pretrained: bool, pooling: str) -> TimmTower:
    """Load `timm:<architecture[.tag]>`, `timm:local-dir:<folder>` or `timm:hf-hub:<org>/<repo>`.

    Raises ValueError for an unknown architecture or tag, and for weights that are damaged or do not fit;
    FileNotFoundError for missing files; ConnectionError where the hub would be needed and does not answer.
    """
    import timm

    if weights is not None and name.count(":") > 1:
        raise ValueError(f"weights= goes with 'timm:<architecture>'; {name!r} brings its own")
    place, folder = _place(name)
    options = {} if weights is None else _own_weights(name, place, weights)
    with said_clearly(name, folder):
        trunk = timm.create_model(place, pretrained=pretrained, **options)
    if not hasattr(trunk, "forward_features"):
        raise ValueError(f"{name} has no forward_features; take a model that has")
    has_values = next(trunk.parameters()).device.type != "meta"
    if has_values:
        check_finite(name, trunk)
    random = () if pretrained else ("image tower with random weights: nothing was loaded",)
    tower = TimmTower(name, trunk, source=_source(place, trunk, weights, pretrained), pooling=pooling, notes=random)
    tower.digest = weights_digest(trunk) if has_values else ""
    if pretrained and weights is None:  # it is the published weights' own
        tower.licence = trunk.pretrained_cfg.get("license") or "unknown"
    return tower.eval()


def _place(name: str) -> tuple[str, Path | None]:
    """timm's own name for the model, and the local folder if it is one."""
    import timm

    place = name.removeprefix("timm:")
    source, _, rest = place.partition(":")
    if source == "local-dir":
        folder = local_folder(rest)
        if folder is None or not (folder / "config.json").is_file():
            raise FileNotFoundError(f"{rest!r} holds no config.json; give a folder that timm saved")
        return f"local-dir:{folder}", folder
    if source == "hf-hub":
        return place, None
    arch, _, tag = place.partition(".")
    if not timm.is_model(arch):
        near = difflib.get_close_matches(arch, timm.list_models(), n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "see timm.list_models()"
        raise ValueError(f"timm has no architecture {arch!r}; {hint} Folders are named 'timm:local-dir:<folder>'")
    tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{arch}.*")]
    if tag and tags and tag not in tags:
        raise ValueError(f"timm has no tag {tag!r} for {arch}; choose one of {', '.join(tags)}")
    return place, None


def _own_weights(name: str, place: str, weights: str | Path) -> dict:
    """timm's options for a checkpoint of the user's, strict about every tensor, its classifier included if it has one."""
    import timm
    from timm.models import load_state_dict

    file = Path(weights).expanduser()
    if not file.is_file():
        raise FileNotFoundError(
            f"weights={str(weights)!r} is not a file; give the path of a .safetensors or .pt checkpoint"
        )
    check_checkpoint(file)
    with said_clearly(f"{name} ({file.name})"):
        stored = load_state_dict(str(file), weights_only=True)
    said = getattr(timm.get_pretrained_cfg(place), "classifier", None) or ""
    classifier = stored.get(f"{said if isinstance(said, str) else said[0]}.weight")
    classes = 0 if classifier is None else len(classifier)
    overlay = {"file": str(file), "num_classes": classes, "label_offset": 0, "custom_load": False}
    return {"num_classes": classes, "pretrained_cfg_overlay": overlay}


def _source(place: str, trunk: nn.Module, weights: str | Path | None, pretrained: bool) -> str:
    if weights is not None:
        return f"timm {place}, weights {Path(weights).name}"
    if not pretrained:
        return f"timm {place}, random weights"
    tag = trunk.pretrained_cfg.get("tag")
    return f"timm {place}" if ":" in place or "." in place or not tag else f"timm {place}.{tag}"
