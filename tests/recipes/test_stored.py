"""Stored numbers belong to the weights and cards that ship beside them."""

import json

import pytest
import torch

from recipes import align_prototypes, measure_stamps
from recipes.cards import card
from recipes.files import sha256, write_atomically
from workbench.claims import Ledger
from workbench.models.registry import load_model
from workbench.models.shipped import read_config, shipped_heads
from workbench.models.towers import image_tower
from workbench.paths import assets

RESULT = assets() / "results" / measure_stamps.RESULT


@pytest.fixture(scope="module")
def stored():
    return json.loads(RESULT.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", shipped_heads())
def test_numbers_are_of_the_weights_that_ship(stored, name):
    assert stored["digests"][name] == sha256(assets() / "models" / name / "head.safetensors"), "run `make assets`"


@pytest.mark.parametrize("script", ["align_prototypes.py", "measure_stamps.py"])
def test_numbers_are_of_the_scripts_that_stand_here(stored, script):
    from pathlib import Path

    assert stored["scripts"][script] == sha256(Path(measure_stamps.__file__).parent / script), "run `make assets`"


@pytest.mark.parametrize("name", shipped_heads())
def test_cards_say_what_is_stored(stored, name):
    model = load_model(name, device="cpu")
    written = (assets() / "models" / name / "README.md").read_text(encoding="utf-8")
    assert written == card(name, read_config(name), model, stored), "run `make assets`"


@pytest.mark.parametrize("name", measure_stamps.LINEAR)
def test_cards_of_trained_heads_say_that_the_baseline_is_better(name):
    written = (assets() / "models" / name / "README.md").read_text(encoding="utf-8")
    assert f"Against the training-free `{measure_stamps.BASELINE}`" in written
    assert "| worse |" in written


def test_every_row_says_n_and_an_interval_that_holds_the_mean(stored):
    assert len(stored["rows"]) == 3 * 2 * 3
    for row in stored["rows"]:
        assert row["n"] > 300
        assert row["low"] <= row["recall"] <= row["high"]


def test_verdicts_beside_the_claims_are_those_of_the_numbers(stored):
    ledger = Ledger.stored(RESULT)
    assert [claim.verdict for claim in ledger.claims] == [each["verdict"] for each in stored["claims"]]


def test_training_lowers_the_loss_and_is_repeatable():
    generator = torch.Generator().manual_seed(0)
    prototypes, texts = torch.randn(40, 16, generator=generator), [torch.randn(40, 8, generator=generator)]
    config = align_prototypes.Config(d=8, steps=30)
    head, losses = align_prototypes.train_head(prototypes, texts, config, 0.5, seed=1)
    again, _ = align_prototypes.train_head(prototypes, texts, config, 0.5, seed=1)
    assert losses[-1] < losses[0]
    assert torch.equal(head.image.weight, again.image.weight)


def test_the_expected_feature_is_the_mean_of_clipped_normals():
    tower = image_tower("efficientnet_lite0")
    mean, std = tower.trunk.bn2.bias.detach(), tower.trunk.bn2.weight.detach().abs()
    sampled = (
        (mean + std * torch.randn(20_000, len(mean), generator=torch.Generator().manual_seed(0))).clamp(0, 6).mean(0)
    )
    assert torch.allclose(align_prototypes.expected_feature(tower), sampled, atol=0.05)


def test_centring_is_folded_into_the_bias():
    head = align_prototypes._any_head()
    x, centre = torch.randn(3, 1280), torch.randn(1280)
    before = head.image(x - centre)
    align_prototypes.centre_input(head, centre)
    assert torch.allclose(head.image(x), before, atol=1e-4)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "a.json"
    write_atomically(file, "old")
    monkeypatch.setattr(type(file), "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomically(file, "new")
    assert file.read_text() == "old"


@pytest.mark.parametrize("name", shipped_heads())
def test_the_readme_says_what_is_stored(stored, name):
    recalls = [row["recall"] for row in stored["rows"] if row["model"] == name and row["direction"] == "text to image"]
    told = " / ".join(f"{100 * recall:.1f}" for recall in recalls)
    readme = (assets().parent / "README.md").read_text(encoding="utf-8")
    (line,) = [line for line in readme.splitlines() if line.startswith(f"| `{name}`")]
    assert line.endswith(f"| {told} |")
