"""A two-layer CLIP with random weights in open_clip's local-dir format: real architecture, no download."""

import json

import pytest
import torch


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    import open_clip
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
