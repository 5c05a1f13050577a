"""For every test: nothing from a hub, no progress bars, and no connection that leaves this machine."""

from __future__ import annotations

import os

# Libraries read these once, when they are imported, so they come before every other import.
os.environ.update(HF_HUB_OFFLINE="1", TQDM_DISABLE="1")

import ipaddress
import json
import socket
import sys

import pytest

attempts: list[str] = []


def _is_here(host) -> bool:
    host = host.decode() if isinstance(host, bytes) else host
    if host in (None, "", "localhost", socket.gethostname()):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False  # a name: looking it up already asks the outside
    return address.is_loopback or address.is_unspecified


def _refuse_outside(event: str, args: tuple) -> None:
    """An audit hook sees every socket of this process, whichever library opened it."""
    if event == "socket.getaddrinfo":
        host = args[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple):
        host = args[1][0]
    else:
        return
    if not _is_here(host):
        attempts.append(f"{event} {host!r}")
        raise RuntimeError(f"{event} {host!r}: the tests run offline")


sys.addaudithook(_refuse_outside)


@pytest.fixture(autouse=True)
def outside_attempts():
    """Fails a test that tried to leave this machine, even where a library swallowed the refusal."""
    attempts.clear()
    yield attempts
    assert not attempts, f"the tests run offline, but this one tried {attempts}"


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    """A two-layer CLIP with random weights in open_clip's local-dir format: real architecture, no download."""
    import open_clip
    import torch
    from open_clip.factory import add_model_config
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("models") / "tiny-clip"
    folder.mkdir()
    model_cfg = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 64, "patch_size": 16, "width": 64, "layers": 2, "head_width": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    }
    preprocess_cfg = {
        "mean": [0.48, 0.46, 0.41],
        "std": [0.27, 0.26, 0.28],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder.parent / "tiny-clip.json").write_text(json.dumps(model_cfg))
    add_model_config(folder.parent / "tiny-clip.json")
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-clip")
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder
