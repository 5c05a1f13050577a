"""The models that ship: heads in `assets/models/<name>/`, on towers that pip installs.

A folder holds `head.json` (towers, kind of head, notes), `head.safetensors`, `README.md` (the card) and the log of its
recipe.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from workbench import paths
from workbench.heads import ConseHead, Identity, LinearHead
from workbench.models.paired import AlignmentHead, PairedEncoder, pair_card
from workbench.models.towers import image_tower, text_tower


def shipped_names() -> tuple[str, ...]:
    """The names of the shipped models, in alphabetical order."""
    return tuple(sorted(folder.parent.name for folder in (paths.assets() / "models").glob("*/head.json")))


def read_config(name: str) -> dict:
    return json.loads((paths.assets() / "models" / name / "head.json").read_text(encoding="utf-8"))


def load_shipped(name: str, *, device: str, dtype: torch.dtype, load_weights: bool = True) -> PairedEncoder:
    """A shipped model; without weights it has the shapes only."""
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
        return AlignmentHead(LinearHead(image.width, d), LinearHead(text.width, d, bias=False))
    if config["head"] == "conse":
        prototypes = torch.zeros(config["classes"], d, device=image.classifier.weight.device)
        conse = ConseHead(image.classifier.weight, image.classifier.bias, prototypes, k=config["k"])
        return AlignmentHead(conse, Identity(text.width))
    raise ValueError(f"head {config['head']!r} of a shipped model is not known; known: linear, conse")


def _load_head(head: AlignmentHead, file: Path) -> str:
    """Fill the head from its file and return the file's digest; every stored tensor must find its place."""
    import hashlib

    from safetensors.torch import load

    raw = file.read_bytes()
    stored = load(raw)
    missing, unexpected = head.load_state_dict(stored, strict=False)
    missing = [
        key for key in missing if key not in ("image.weight", "image.bias")
    ]  # ConSE takes the tower's classifier
    if missing or unexpected:
        raise ValueError(f"{file} does not fit its head: missing {missing}, unexpected {unexpected}; run `make assets`")
    return hashlib.sha256(raw).hexdigest()[:16]
