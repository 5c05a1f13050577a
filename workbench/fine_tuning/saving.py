"""A fine-tuned model as a folder that open_clip opens: configuration, tokenizer, a card for people, and the weights last."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from workbench.files import write_whole
from workbench.fine_tuning.adapters import holds_adapters
from workbench.models.open_clip_folder import CONFIG, weight_files
from workbench.records import Table, plain_markdown

if TYPE_CHECKING:
    from workbench.models.open_clip import OpenClipEncoder

WEIGHTS, CARD = "open_clip_model.safetensors", "README.md"


def save_model(
    model: OpenClipEncoder, folder: str | Path, *, notes: Sequence[str] = (), licence: str | None = None
) -> Path:
    """Write `folder` so that `load_model(f"local-dir:{folder}")`, and open_clip alone, give the same features; return it.

    `notes` are plain sentences for the card, such as what the model was tuned from; `licence` None is that of the model's card.
    Saving the same weights again is fine, also after it was cut off. A text tower of transformers keeps the name under which
    its configuration is found (`hf_model_name`), which must be there where the folder is opened.

    Raises TypeError for a model that is not open_clip's, ValueError for adapters that were not merged, a model without
    weights, or a folder that holds something else.
    """
    folder = Path(folder)
    notes = (notes,) if isinstance(notes, str) else tuple(notes)
    _check_model(model)
    files = {CONFIG: _configuration(model), **_tokenizer_files(model.tokenizer)}
    weights = _weights(model)
    _check_folder(folder, files, weights)
    card = _card(model, folder.name, notes, licence)
    for name, content in {**files, CARD: card, WEIGHTS: weights}.items():  # weights last: with them it is a model
        write_whole(folder / name, content)
    return folder


def _check_model(model: OpenClipEncoder) -> None:
    from workbench.models.open_clip import OpenClipEncoder

    if not isinstance(model, OpenClipEncoder):
        raise TypeError(
            f"{getattr(model, 'name', model)!r} is a {type(model).__name__}; only models of open_clip are saved in its format "
            "(load one by 'scenes-clip', 'local-dir:…' or 'open_clip:…')"
        )
    if holds_adapters(model.module):
        raise ValueError(f"{model.name} still holds adapters; fold them in with merge() on what prepare returned")
    if any(parameter.is_meta for parameter in model.module.parameters()):
        raise ValueError(f"{model.name} is a skeleton without weights; load it with load_model first")


def _check_folder(folder: Path, files: dict[str, bytes], weights: bytes) -> None:
    """Raises ValueError where writing would take something from another model, or from a folder that is none."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file; give a new folder")
    there = [path.name for path in weight_files(folder)]
    other = [name for name in there if name != WEIGHTS or (folder / name).read_bytes() != weights]
    other += [name for name, own in files.items() if (folder / name).is_file() and (folder / name).read_bytes() != own]
    if not (folder / CONFIG).is_file():
        other += [name for name in ("config.json", CARD) if (folder / name).is_file()]
    if other:
        raise ValueError(f"{folder} holds something else ({other[0]}); give a new folder, or delete this one first")


def _configuration(model: OpenClipEncoder) -> bytes:
    """open_clip's configuration as the model was built, preprocessing included; its size is the image tower's."""
    config, quick_gelu = json.loads(model.recipe)
    if quick_gelu:
        config["quick_gelu"] = True
    preprocess = {name: value for name, value in model.module.visual.preprocess_cfg.items() if name != "size"}
    return _as_json({"model_cfg": config, "preprocess_cfg": preprocess})


def _tokenizer_files(tokenizer) -> dict[str, bytes]:
    """What a tokenizer of transformers saves of itself; open_clip's own comes with the library."""
    if hasattr(tokenizer, "byte_decoder"):
        return {}
    with TemporaryDirectory() as place:
        tokenizer.tokenizer.save_pretrained(place)
        files = {path.name: path.read_bytes() for path in sorted(Path(place).iterdir()) if path.is_file()}
    if "tokenizer.json" in files:  # the last call's padding is no part of it
        files["tokenizer.json"] = _as_json({**json.loads(files["tokenizer.json"]), "padding": None, "truncation": None})
    return files


def _as_json(content: dict) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _weights(model: OpenClipEncoder) -> bytes:
    from safetensors.torch import save

    # Copies: safetensors refuses tensors that share memory, as tied embeddings do.
    state = model.module.state_dict()
    return save({name: each.detach().cpu().contiguous().clone() for name, each in state.items()}, {"format": "pt"})


def _card(model: OpenClipEncoder, title: str, notes: Sequence[str], licence: str | None) -> bytes:
    own = dict.fromkeys((*notes, *model.card.notes))  # a note said twice is said once
    rows = [row for row in model.card.table().rows if row[0] not in ("weights", "licence", "note")]
    rows += [("weights", f"sha256 {model.digest()}…"), ("licence", licence or model.card.licence)]
    rows += [("note", note) for note in own]
    table = Table("", ("what", "value"), tuple(rows)).markdown()
    return f"# {plain_markdown(title)}\n\nSaved from {plain_markdown(model.name)}.\n\n{table}\n".encode()
