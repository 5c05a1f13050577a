"""A LLaVA and a Qwen2-VL of random weights, loaded once for all tests here."""

import pytest
import torch

from tests.models.tiny_lvlm import save_llava, save_qwen
from workbench.models.registry import load_model

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def llava(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llava")
    save_llava(folder)
    return load_model(f"lvlm:{folder}", device="cpu")


@pytest.fixture(scope="session")
def qwen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qwen")
    save_qwen(folder)
    return load_model(f"lvlm:{folder}", device="cpu")


@pytest.fixture(params=["llava", "qwen"])
def model(request):
    return request.getfixturevalue(request.param)
