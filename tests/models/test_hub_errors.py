"""Each library's failure is one sentence with the next step, and what nobody knows passes as it is."""

import json
from pickle import UnpicklingError

import httpx
import pytest
import torch
from huggingface_hub import errors as hub
from safetensors import SafetensorError

from workbench.models.hub_errors import local_folder, said_clearly


def response(status):
    return httpx.Response(status, request=httpx.Request("GET", "https://example.invalid"))


def caused_by(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (hub.LocalEntryNotFoundError("no"), ConnectionError, "m is not on this machine .*unset HF_HUB_OFFLINE"),
        (hub.OfflineModeIsEnabled("off"), ConnectionError, "load 'transformers:<folder>'"),
        (httpx.ConnectError("refused"), ConnectionError, "the hub does not answer"),
        (hub.HfHubHTTPError("500", response=response(500)), ConnectionError, "the hub does not answer"),
        (caused_by(OSError("no"), hub.LocalEntryNotFoundError("no")), ConnectionError, "the hub does not answer"),
        (hub.RepositoryNotFoundError("404", response=response(404)), FileNotFoundError, "to you; check the spelling"),
        (hub.GatedRepoError("403", response=response(403)), FileNotFoundError, "accept its terms and run `hf auth login`"),
        (hub.RemoteEntryNotFoundError("404", response=response(404)), FileNotFoundError, "is incomplete: .*404"),
        (caused_by(OSError("no"), hub.HFValidationError("a b")), ValueError, "neither a folder nor a name of the hub"),
        (json.JSONDecodeError("bad", "{", 0), ValueError, "a configuration file of transformers:m is no JSON"),
        (SafetensorError("header"), ValueError, r"cut short or damaged \(header\)"),
        (RuntimeError("PytorchStreamReader failed"), ValueError, "cut short or damaged"),
        (EOFError("Ran out of input"), ValueError, "cut short or damaged"),
        (UnpicklingError("x"), ValueError, "are no plain tensors"),
        (RuntimeError("Error(s) in loading state_dict"), ValueError, "do not fit its configuration"),
        (RuntimeError("No suitable checkpoints found in x."), FileNotFoundError, "comes without weights"),
        (RuntimeError("strange\nlines"), ValueError, "transformers:m could not be loaded: strange lines"),
        (OSError("no file named x"), FileNotFoundError, "is incomplete: no file named x; copy or download it again"),
        (FileNotFoundError("No such file or directory: a"), FileNotFoundError, "is incomplete: No such file"),
        (KeyError("width"), ValueError, r"no model can be built from the configuration of transformers:m \(KeyError: 'width'\)"),
        (ValueError("contains custom code which"), ValueError, "brings Python code of its own, which is not run here"),
        (ValueError("Couldn't instantiate the backend tokenizer"), FileNotFoundError, "holds no tokenizer that can be read"),
    ],
)  # fmt: skip
def test_said_in_one_sentence(error, kind, message):
    with pytest.raises(kind, match=message) as caught, said_clearly("transformers:m"):
        raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        ValueError("mine"),
        FileNotFoundError("mine"),
        torch.OutOfMemoryError("CUDA"),
        RuntimeError("can't allocate memory"),
        KeyboardInterrupt(),
    ],
)
def test_what_passes_as_it_is(error):
    with pytest.raises(type(error)) as caught, said_clearly("m"):
        raise error
    assert caught.value is error


def test_the_folder_that_is_incomplete_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=tmp_path.name), said_clearly("m", tmp_path):
        raise OSError("no")


@pytest.mark.parametrize(
    ("name", "form"), [("timm:vit", "'timm:local-dir:<folder>'"), ("hf-hub:a/b", "'local-dir:<folder>'")]
)
def test_the_next_step_fits_the_scheme(name, form):
    with pytest.raises(ConnectionError, match=f"load {form}"), said_clearly(name):
        raise hub.OfflineModeIsEnabled("off")


def test_bars_and_reports_are_off_inside_and_as_before_outside():
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with said_clearly("m"):
        inside = logging.get_verbosity(), logging.is_progress_bar_enabled()
    assert inside == (logging.CRITICAL, False)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_places(tmp_path, monkeypatch):
    assert local_folder(str(tmp_path)) == tmp_path
    assert local_folder("org/repo") is None
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    assert local_folder("~/models") == tmp_path / "models"
    for missing in ("./none", "/none", "~/none", "a/b/c"):
        with pytest.raises(FileNotFoundError, match="is not a folder; give the folder that holds"):
            local_folder(missing)
