"""What a sentence-transformers folder says beside its model: how tokens are pooled, how many are read, in which case."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from workbench.models.hub_errors import said_clearly

_POOLINGS = {"cls": "first", "mean": "mean", "lasttoken": "last"}
# How versions before 6 wrote them: one flag each.
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}


@dataclass(frozen=True)
class SentenceFolder:
    """`pooling` None where the folder says nothing; `subfolder` holds the transformer; `beyond` names further modules
    that change the numbers (Dense …)."""

    pooling: str | None = None
    said: tuple[str, ...] = ()
    subfolder: str = ""
    max_length: int | None = None
    lower_case: bool = False
    beyond: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def resolve(self, name: str) -> str | None:
        """The pooling that the folder asks for, None where it asks for none. Raises ValueError for one not offered here."""
        if self.beyond:
            raise ValueError(
                f"{name} ends in {', '.join(self.beyond)} behind its pooling, which is not applied here; "
                "give pooling='mean', 'first' or 'last' to read the transformer without it"
            )
        if self.said and self.pooling is None:
            raise ValueError(
                f"{name} pools by {' + '.join(self.said)}, which is not offered; give 'first', 'mean' or 'last'"
            )
        return self.pooling


def read_sentence_folder(name: str, place: str, folder: Path | None) -> SentenceFolder:
    """The modules.json of `place` and what it points to; an empty SentenceFolder where there is none.

    Raises ValueError for files that are no JSON or say nothing that can be understood.
    """
    with said_clearly(name, folder):
        modules = _json(place, folder, "modules.json")
        return _read(modules, partial(_json, place, folder)) if modules else SentenceFolder()


def _read(modules: list[dict], read: Callable[[str], dict | None]) -> SentenceFolder:
    kinds = [(module["type"].rpartition(".")[2], module["path"]) for module in modules]
    paths = dict(kinds)
    sub = paths.get("Transformer", "")
    base = read(_join(sub, "sentence_bert_config.json")) or {}
    said = _said(read(_join(paths["Pooling"], "config.json")) or {}) if "Pooling" in paths else ()
    prompts = read("config_sentence_transformers.json") or {}
    return SentenceFolder(
        pooling=_POOLINGS.get(said[0]) if len(said) == 1 else None,
        said=said,
        subfolder=sub,
        max_length=base.get("max_seq_length"),
        lower_case=bool(base.get("do_lower_case")),
        beyond=tuple(kind for kind, _ in kinds if kind not in ("Transformer", "Pooling", "Normalize")),
        notes=_notes(kinds, prompts),
    )


def _said(config: dict) -> tuple[str, ...]:
    """The pooling modes of a Pooling module, in the words of its newer versions; several are concatenated."""
    mode = config.get("pooling_mode")
    if mode is not None:
        return (mode,) if isinstance(mode, str) else tuple(mode)
    return tuple(word for flag, word in _FLAGS.items() if config.get(flag)) or ("mean",)


def _notes(kinds: list[tuple[str, str]], prompts: dict) -> tuple[str, ...]:
    notes = []
    if "Normalize" in dict(kinds):
        notes.append("sentence vectors are not normalised here, as everywhere: `post` keeps its length")
    default = prompts.get("default_prompt_name")
    if default:
        notes.append(
            f"its default prompt {prompts.get('prompts', {}).get(default, default)!r} is not put in front; write it"
        )
    return tuple(notes)


def _json(place: str, folder: Path | None, file: str):
    """A JSON file of a folder or of the hub, None where there is none."""
    path = _from_hub(place, file) if folder is None else folder / file
    if path is None or not path.is_file():
        return None
    return json.loads(path.read_text(encoding="utf-8"))


def _from_hub(place: str, file: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(place, file))
    except EntryNotFoundError:  # not in the repository, or, offline, not in the cache
        return None


def _join(path: str, file: str) -> str:
    return f"{path.rstrip('/')}/{file}" if path else file
