"""A vision–language model as a folder that transformers opens, with the prompts that it is read with beside the weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from workbench.models.hub_errors import without_chatter
from workbench.models.lvlm.prompts import PROMPTS
from workbench.models.lvlm.soft import SoftEmbedding
from workbench.records import Table, plain_markdown

if TYPE_CHECKING:
    from workbench.models.lvlm.encoder import LvlmEncoder

SOFT = "soft_prompts.safetensors"  # in a folder: vectors of its prompts' words, "image" and "text", (S, d) each


def save_lvlm(model: LvlmEncoder, folder: str | Path, *, title: str | None = None) -> Path:
    """Write a new `folder` so that `load_model(f"lvlm:{folder}")` gives the same features and captions; return it.

    Weights, configuration and processor are transformers' own, which alone opens it too and then asks in words; soft prompts
    stand in a file of their own, the prompts in another, and a card says what was done. The folder appears whole or not at all.
    Raises ValueError for a folder that exists, adapters that were not merged, or a model without weights.
    """
    folder = Path(folder)
    if folder.exists():
        raise ValueError(f"{folder} exists; give a new folder, or delete this one first")
    _check(model)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as beside:
        made = Path(beside) / folder.name
        with _words_alone(model.module) as module, without_chatter():
            module.save_pretrained(made)
        model._inputs.processor.save_pretrained(made)
        _prompts(model, made)
        (made / "README.md").write_text(_card(model, title or folder.name), encoding="utf-8")
        made.rename(folder)
    return folder


def soft_prompts_of(folder: Path | None) -> dict[str, Tensor]:
    """The soft prompts that lie in a folder, none where it has none. Raises ValueError for a damaged file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = None if folder is None else folder / SOFT
    if file is None or not file.is_file():
        return {}
    try:
        found = load_file(file)
    except SafetensorError as error:
        raise ValueError(
            f"{file} is no whole file of soft prompts ({error}); copy it again, or delete it to ask in words"
        ) from error
    if set(found) != {"image", "text"}:
        raise ValueError(f"{file} holds {', '.join(sorted(found))}; soft prompts are 'image' and 'text'")
    if not all(bool(each.isfinite().all()) for each in found.values()):
        raise ValueError(f"{file} holds NaN or infinite numbers; copy it again, or delete it to ask in words")
    return found


def put_soft_prompts(model: LvlmEncoder, found: dict[str, Tensor], file: str = SOFT) -> None:
    """Soft prompts into a model whose prompts are words, in place. Raises ValueError where they do not fit its prompts."""
    own = model.soften()
    here = {side: tuple(each.shape) for side, each in model.soft_prompts.items()}
    there = {side: tuple(each.shape) for side, each in found.items()}
    if here != there:
        raise ValueError(
            f"{file} holds vectors of {there}, the prompts of {model.name} are {here}; delete it to ask in words"
        )
    with torch.no_grad():
        own.data = torch.cat([found["image"], found["text"]]).to(own.device)


def _check(model: LvlmEncoder) -> None:
    if any(hasattr(part, "lora_A") for part in model.module.modules()):
        raise ValueError(f"{model.name} still holds adapters; merge them first")
    if any(parameter.is_meta for parameter in model.module.parameters()):
        raise ValueError(f"{model.name} is a skeleton without weights; load it with load_model first")


@contextmanager
def _words_alone(module: nn.Module) -> Iterator[nn.Module]:
    """The model with the embedding that its library knows."""
    embedding = module.get_input_embeddings()
    if not isinstance(embedding, SoftEmbedding):
        yield module
        return
    module.set_input_embeddings(embedding.words)
    try:
        yield module
    finally:
        module.set_input_embeddings(embedding)


def _prompts(model: LvlmEncoder, folder: Path) -> None:
    from safetensors.torch import save_file

    (folder / PROMPTS).write_text(json.dumps(asdict(model.prompts), indent=1, ensure_ascii=False), encoding="utf-8")
    if soft := model.soft_prompts:
        save_file({side: each.cpu().clone() for side, each in soft.items()}, folder / SOFT)


def _card(model: LvlmEncoder, title: str) -> str:
    facts = [row for row in model.card.table().rows if row[0] != "weights"]
    table = Table("", ("what", "value"), (*facts, ("weights", f"sha256 {model.card.digest}…"))).markdown()
    return f"# {plain_markdown(title)}\n\nSaved from {plain_markdown(model.name)}.\n\n{table}\n"
