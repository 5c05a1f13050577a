"""A tiny CLIP on disk, and machines and child processes that answer what a test says."""

import json

import pytest
from safetensors.torch import save_file

from tests.tiny import save_tokenizer
from workbench.memory import measurement, plan
from workbench.memory.measurement import Measurement

GIB = 2**30
PREPROCESS = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}


@pytest.fixture(scope="session")
def vit(tmp_path_factory) -> str:
    """The name of a tiny random CLIP of open_clip, every parameter trainable."""
    import open_clip

    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 64, "patch_size": 8, "layers": 2, "width": 64, "head_width": 32},
        "text_cfg": {
            "context_length": 16,
            "vocab_size": 100,
            "layers": 1,
            "width": 32,
            "heads": 2,
            "hf_tokenizer_name": "local",
        },
    }
    folder = tmp_path_factory.mktemp("vit")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": PREPROCESS}))
    save_tokenizer(folder)
    weights = open_clip.CLIP(**config).state_dict()
    save_file({key: value.contiguous() for key, value in weights.items()}, folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


@pytest.fixture
def room(monkeypatch):
    """A machine with as many bytes free as the test says."""

    def set_room(n: int) -> None:
        monkeypatch.setattr(plan, "available_memory", lambda device: n)

    set_room(64 * GIB)
    return set_room


@pytest.fixture
def answer(monkeypatch):
    """A child process that answers what the test says; its specs are kept."""
    specs = []

    def set_answer(found: Measurement) -> list:
        monkeypatch.setattr(measurement, "measure_in_child", lambda spec: specs.append(spec) or found)
        return specs

    return set_answer
