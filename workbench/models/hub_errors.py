"""What goes wrong between a name and a model, in one sentence with the next step.

transformers, timm, huggingface_hub, safetensors and torch each fail in their own way: `said_clearly` turns what they
raise while loading into ConnectionError (the hub is needed and does not answer), FileNotFoundError (something is not
there) and ValueError (it is there and wrong). The original stays behind it as the cause.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError

import torch

# How a folder is written for those who have copied one here.
_FOLDER_FORMS = {"transformers": "transformers:<folder>", "timm": "timm:local-dir:<folder>"}


def local_folder(place: str) -> Path | None:
    """The folder that `place` names, its ~ expanded; None where it is a name for the hub, <org>/<repo>.

    Raises FileNotFoundError for what is written like a path and is no folder.
    """
    path = Path(place).expanduser()
    if path.is_dir():
        return path
    if place.startswith((".", "/", "~")) or "\\" in place or place.count("/") > 1:
        raise FileNotFoundError(f"{place!r} is not a folder; give the folder that holds config.json, or <org>/<repo>")
    return None


@contextmanager
def said_clearly(name: str, folder: Path | None = None) -> Iterator[None]:
    """Run library calls that load `name` (from `folder`, if local), and say in one sentence what they fail at.

    ValueErrors and FileNotFoundErrors that no rule here knows pass as they are, so a caller's own checks may stand inside.
    """
    try:
        with without_chatter():
            yield
    except Exception as error:
        clear = _clear(name, folder, error)
        if clear is None:
            raise
        raise clear from error


@contextmanager
def without_chatter() -> Iterator[None]:
    """transformers draws a bar for a quarter of a second and prints a report of what our own checks say in words."""
    from transformers.utils import logging

    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def _clear(name: str, folder: Path | None, error: Exception) -> Exception | None:
    """The sentence for an error, or None where it should pass as it is."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    causes, said = tuple(_causes(error)), str(error)
    of_hub = _of_hub(name, causes)
    if of_hub is not None:
        return of_hub
    if any(isinstance(cause, json.JSONDecodeError) for cause in causes):
        return ValueError(f"a configuration file of {name} is no JSON ({said.splitlines()[0]}); copy it again")
    if isinstance(error, (SafetensorError, EOFError)) or "PytorchStreamReader" in said:
        return ValueError(f"the weights of {name} are cut short or damaged ({said[:200]}); download or copy them again")
    if isinstance(error, UnpicklingError) or "weights_only=True" in said:
        return ValueError(
            f"the weights of {name} are no plain tensors (damaged, or a pickle that would run code); "
            "download them again, or save the state dict as .safetensors"
        )
    if isinstance(error, RuntimeError):
        return _of_torch(name, error)
    if isinstance(error, FileNotFoundError) and error.errno is None and not said.startswith("No such file"):
        return None
    if isinstance(error, OSError):
        return FileNotFoundError(f"{folder or name} is incomplete: {said.splitlines()[0]}; copy or download it again")
    # Constructors that check nothing, and one that checks types
    if isinstance(error, (KeyError, TypeError, AttributeError, AssertionError, StrictDataclassError)):
        kind = type(error).__name__
        return ValueError(
            f"no model can be built from the configuration of {name} ({kind}: {_first_lines(said)}); compare it with one that "
            "its library saved"
        )
    return _of_transformers(name, folder, said) if isinstance(error, ValueError) else None


def _of_hub(name: str, causes: tuple[BaseException, ...]) -> Exception | None:
    from urllib.error import URLError

    from httpx import TransportError
    from huggingface_hub import errors as hub

    def among(*kinds) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    place = name.partition(":")[2] or name
    if among(hub.GatedRepoError, hub.RepositoryNotFoundError):
        return FileNotFoundError(
            f"the hub shows no {place!r} to you; check the spelling, or accept its terms and run `hf auth login`"
        )
    if among(hub.HFValidationError):
        return ValueError(f"{place!r} is neither a folder nor a name of the hub, <org>/<repo>")
    offline = (hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled, TransportError, URLError, ConnectionError)
    if among(*offline) or (among(hub.HfHubHTTPError) and not among(hub.EntryNotFoundError)):
        form = _FOLDER_FORMS.get(name.partition(":")[0], "local-dir:<folder>")
        return ConnectionError(
            f"{name} is not on this machine (or only in part) and the hub does not answer; where there is a network, "
            f"unset HF_HUB_OFFLINE; else download it elsewhere, copy the folder here and load {form!r}"
        )
    return None


def _of_torch(name: str, error: RuntimeError) -> Exception | None:
    said = str(error)
    if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in said:
        return None
    if "state_dict" in said or "size mismatch" in said or "mismatched_sizes" in said:
        return ValueError(f"the weights of {name} do not fit its configuration: {_first_lines(said)}")
    if "No suitable checkpoints" in said or "No pretrained weights" in said:
        return FileNotFoundError(
            f"{name} comes without weights; give weights=<file>, or pretrained=False for random ones"
        )
    return ValueError(f"{name} could not be loaded: {_first_lines(said)}")


def _of_transformers(name: str, folder: Path | None, said: str) -> Exception | None:
    if "custom code" in said or "trust_remote_code" in said:
        return ValueError(
            f"{name} brings Python code of its own, which is not run here; take a model of transformers itself"
        )
    if "backend tokenizer" in said:
        return FileNotFoundError(f"{folder or name} holds no tokenizer that can be read; it needs tokenizer.json")
    return None


def _first_lines(said: str, n: int = 3) -> str:
    return " ".join(line.strip() for line in said.splitlines()[:n])[:400]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def transformers_place(place: str) -> tuple[str, Path | None]:
    """A folder of transformers with its ~ expanded, or a hub name as it stands; and the folder. Raises FileNotFoundError for a
    folder without a configuration."""
    folder = local_folder(place)
    if folder is not None and not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} has no config.json; give a folder that transformers saved")
    return place if folder is None else str(folder), folder
