"""Stored numbers belong to the weights and cards that ship beside them."""

import json

import pytest
import torch

from recipes import align_choice, align_pairs, align_prototypes, measure_stamps
from recipes.cards import card
from recipes.files import sha256, write_atomically
from workbench.claims import Ledger
from workbench.evaluation import retrieval_ranks
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


@pytest.mark.parametrize("script", measure_stamps.SCRIPTS)
def test_numbers_are_of_the_scripts_that_stand_here(stored, script):
    from pathlib import Path

    assert stored["scripts"][script] == sha256(Path(measure_stamps.__file__).parent / script), "run `make assets`"


@pytest.mark.parametrize("name", shipped_heads())
def test_cards_say_what_is_stored(stored, name):
    model = load_model(name, device="cpu")
    written = (assets() / "models" / name / "README.md").read_text(encoding="utf-8")
    assert written == card(name, read_config(name), model, stored), "run `make assets`"


@pytest.mark.parametrize("name", measure_stamps.TRAINED)
def test_cards_of_trained_heads_say_where_the_baseline_is_better_or_worse(stored, name):
    written = (assets() / "models" / name / "README.md").read_text(encoding="utf-8")
    assert f"Against the training-free `{measure_stamps.BASELINE}`" in written
    own = [claim for claim in stored["claims"] if claim["statement"].startswith(f"{name} ")]
    assert written.count("| better |") == sum(claim["verdict"] == "reproduced" for claim in own)
    assert written.count("| worse |") == sum(claim["verdict"] == "contradicted" for claim in own)


def test_the_ensemble_is_above_the_training_free_baseline(stored):
    """What it ships for: both directions, clear of zero at R@5 and R@10, and not below at R@1."""
    own = {
        claim["id"]: claim for claim in stored["claims"] if claim["id"].startswith(f"S-{align_prototypes.ENSEMBLE}-")
    }
    assert len(own) == 6
    for name, claim in own.items():
        assert claim["interval"][1] > 0 if name.endswith("R1") else claim["interval"][0] > 0


@pytest.mark.parametrize("name", shipped_heads())
def test_shipped_heads_are_small(name):
    assert (assets() / "models" / name / "head.safetensors").stat().st_size < 5e6


def test_every_row_says_n_and_an_interval_that_holds_the_mean(stored):
    assert len(stored["rows"]) == 4 * 2 * 3
    for row in stored["rows"]:
        assert row["n"] > 300
        assert row["low"] <= row["recall"] <= row["high"]


def test_verdicts_beside_the_claims_are_those_of_the_numbers(stored):
    ledger = Ledger.stored(RESULT)
    assert [claim.verdict for claim in ledger.claims] == [each["verdict"] for each in stored["claims"]]


def planted_pairs(n=40, d_i=24, d_t=16) -> align_pairs.Pairs:
    """Classes and pictures whose features are one linear map of their texts."""
    generator = torch.Generator().manual_seed(0)
    random = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    secret, classes, pictures = random(d_t, d_i), random(n, d_t), random(2 * n, d_t)
    rows = torch.nn.functional.normalize(classes @ secret, dim=-1)
    return align_pairs.Pairs(
        rows,
        torch.stack([classes] * 3),
        pictures @ secret + 1,
        pictures[None],
        torch.arange(n).repeat_interleave(2),
        torch.ones(d_i),
        (rows, torch.zeros(n)),
    )


@pytest.mark.parametrize("kind", ["linear", "landmarks"])
def test_fits_find_pairs_that_they_have_not_seen(kind):
    pairs = planted_pairs()
    seen = pairs.part(torch.arange(30), torch.arange(60))
    fit = align_pairs.LandmarkFit(landmarks=60, ridge=1e-3, spread=2.0)
    head = (
        align_pairs.fit_linear(seen, align_pairs.Fit(ridge=1e-3))
        if kind == "linear"
        else align_pairs.fit_landmarks(seen, fit, 0)
    )
    ranks = retrieval_ranks(head.image(pairs.pictures[60:]), head.text(pairs.picture_texts[0, 60:]), torch.arange(20))
    assert ranks.double().mean() < 4  # 10.5 by chance


def test_the_linear_fit_is_the_ridge_regression_of_its_targets():
    pairs, fit = planted_pairs(), align_pairs.Fit(weight=0.7, ridge=0.5)
    head, wanted = align_pairs.fit_linear(pairs, fit), align_pairs.targets(pairs, fit.power)
    weight = (head.image.weight * pairs.scale).detach().clone().requires_grad_()
    each = (0.7 / 2**0.5) * torch.ones(80, 1)  # every title has two pictures
    rows = torch.cat([pairs.prototypes, each * (pairs.pictures - pairs.centre) / pairs.scale])
    texts = torch.cat([wanted.classes, each * wanted.pictures])
    ridge = 0.5 * (rows.T @ rows).diagonal().mean()
    ((rows @ weight.T - texts).pow(2).sum() + ridge * weight.pow(2).sum()).backward()
    assert weight.grad.abs().max() < 1e-3
    assert torch.allclose(head.image(pairs.centre), torch.zeros(16), atol=1e-5)


def test_folds_hold_out_whole_titles_and_classes():
    pairs = planted_pairs()
    ground = align_choice.Ground(pairs, pairs.pictures, pairs.picture_texts[0])
    seen = []
    for known, classes, pictures in ground.folds():
        assert not set(known.groups.tolist()) & set(pairs.groups[pictures].tolist())
        assert len(known.prototypes) + len(classes) == len(pairs.prototypes)
        assert len(set(pairs.groups[pictures].tolist())) == len(pictures)
        seen += pairs.groups[pictures].tolist()
    assert sorted(seen) == list(range(40))


def test_other_seeds_leave_out_a_tenth():
    pairs = planted_pairs(n=400)
    assert align_prototypes.of_seed(pairs, 0) is pairs
    one, two = (align_prototypes.of_seed(pairs, seed) for seed in (1, 2))
    assert 330 < len(one.prototypes) < 390
    assert one.prototypes.shape != two.prototypes.shape or not torch.equal(one.prototypes, two.prototypes)
    assert set(one.groups.tolist()) != set(range(400))


def test_the_expected_feature_is_the_mean_of_clipped_normals():
    tower = image_tower("efficientnet_lite0")
    mean, std = tower.trunk.bn2.bias.detach(), tower.trunk.bn2.weight.detach().abs()
    sampled = (
        (mean + std * torch.randn(20_000, len(mean), generator=torch.Generator().manual_seed(0))).clamp(0, 6).mean(0)
    )
    assert torch.allclose(align_prototypes.expected_feature(tower), sampled, atol=0.05)


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
