"""A folder in open_clip's `local-dir:` format, looked at before anything is built from it."""

from __future__ import annotations

import json
from pathlib import Path

from workbench.models.weights import check_checkpoint

CONFIG = "open_clip_config.json"
USUAL_CONTEXT = 77
PREFERRED = (
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)


def weight_files(folder: Path) -> list[Path]:
    """Checkpoints in the folder that are not empty, first the one that open_clip opens."""
    endings = (".safetensors", ".bin", ".pth")
    found = [path for path in folder.iterdir() if path.suffix in endings and path.stat().st_size]
    return sorted(found, key=lambda path: (path.suffix != ".safetensors", path.name not in PREFERRED, path.name))


def check_folder(folder: Path, *, need_weights: bool = True) -> tuple[str, ...]:
    """What a card should say of the folder's preprocessing; nothing where it is complete.

    Raises FileNotFoundError for a missing folder, configuration or weights, ValueError for a configuration that cannot
    describe a model. Whether the weights fit is known only when they are loaded.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; local-dir: takes a folder with {CONFIG} and weights")
    config = read_config(folder)
    _check_model(folder / CONFIG, config)
    if need_weights and not weight_files(folder):
        raise FileNotFoundError(
            f"{folder} has no weights; put open_clip_model.safetensors (or open_clip_pytorch_model.bin) there"
        )
    positions = ()
    for file in weight_files(folder)[:1] if need_weights else ():
        check_checkpoint(file)
        positions = _position_notes(folder / CONFIG, config["model_cfg"], _shapes(file))
    return positions + _preprocessing_notes(folder / CONFIG, config.get("preprocess_cfg"))


def read_config(folder: Path) -> dict:
    file = folder / CONFIG
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing; save it beside the weights (keys model_cfg, preprocess_cfg)")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not valid JSON ({error}); download or save it again") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_cfg"), dict):
        found = f"its keys are {sorted(config)}" if isinstance(config, dict) else f"it holds {config!r:.40}"
        raise ValueError(f"{file} has no 'model_cfg' with a model in it ({found}); save it in open_clip's format")
    return config


def _check_model(file: Path, config: dict) -> None:
    model = config["model_cfg"]
    for part in ("vision_cfg", "text_cfg"):
        if not isinstance(model.get(part), dict):
            raise ValueError(f"{file}: model_cfg has no {part!r} with a tower in it; save it in open_clip's format")
    width = model.get("embed_dim")
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise ValueError(f"{file}: embed_dim is {width!r}; give the joint width, a positive whole number")


def _shapes(file: Path) -> dict[str, list[int]]:
    """Shapes of a safetensors file's tensors, from its header alone; nothing of other formats or of a damaged one."""
    from safetensors import SafetensorError, safe_open

    if file.suffix != ".safetensors":
        return {}
    try:
        with safe_open(file, framework="pt") as stored:
            return {key: stored.get_slice(key).get_shape() for key in stored.keys() if "positional_embedding" in key}  # noqa: SIM118
    except SafetensorError:  # said where the weights are loaded
        return {}


def _position_notes(file: Path, model: dict, stored: dict[str, list[int]]) -> tuple[str, ...]:
    """open_clip stretches position tables to another configuration without a word.

    Text that was trained on fewer places is refused: the stretched ones were never seen. Pictures of another size are usual,
    and noted.
    """
    text = stored.get("positional_embedding") or stored.get("text.positional_embedding")
    extra = bool(model["text_cfg"].get("embed_cls"))  # CoCa's class token has a place, too
    wanted, there = model["text_cfg"].get("context_length", USUAL_CONTEXT), text[0] - extra if text else None
    if text and there != wanted:
        raise ValueError(
            f"{file}: context_length is {wanted} and the weights have places for {there} tokens; set it to {there}"
        )
    vision, image = model["vision_cfg"], stored.get("visual.positional_embedding")
    size, patch = vision.get("image_size", 224), vision.get("patch_size", 16)
    if not image or not all(isinstance(side, int) for side in (size, patch)):
        return ()
    places = (size // patch) ** 2 + 1
    return () if image[0] == places else (f"image positions stretched from {image[0] - 1} patches to {places - 1}",)


def _preprocessing_notes(file: Path, preprocess) -> tuple[str, ...]:
    """Wrong preprocessing gives wrong numbers without an error, so what is assumed is said."""
    if not isinstance(preprocess, dict):
        return (
            f"{file.name} has no preprocess_cfg: open_clip's defaults are assumed, check them against the training",
        )
    for key in ("mean", "std"):
        values = preprocess.get(key, [0, 0, 0])
        whole = isinstance(values, (list, tuple)) and len(values) == 3
        if not whole or not all(isinstance(value, (int, float)) for value in values):
            raise ValueError(f"{file}: {key} of preprocess_cfg is {values!r}; give three numbers, one per colour")
    missing = [key for key in ("mean", "std") if key not in preprocess]
    return (f"preprocess_cfg names no {' and no '.join(missing)}: open_clip's defaults are assumed",) if missing else ()
