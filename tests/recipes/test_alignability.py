"""The stored numbers of alignment probing belong to the scripts and the weights that stand here."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from recipes import alignability_claims, measure_alignability, self_supervised
from recipes.files import sha256
from workbench.alignability import RESULT, measured
from workbench.claims import Ledger
from workbench.paths import assets

FILE = assets() / "results" / RESULT
RECIPES = FILE.parents[2] / "recipes"


@pytest.fixture(scope="module")
def stored():
    return json.loads(FILE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def runs():
    return json.loads((FILE.parent / self_supervised.RESULT).read_text(encoding="utf-8"))


def test_numbers_are_of_the_scripts_and_weights_that_stand_here(stored):
    claims = sha256(RECIPES / "alignability_claims.py")
    known = {**measure_alignability.digests(), "alignability_claims.py": claims}
    assert stored["digests"] == known, "run `python -m recipes.measure_alignability`"


def test_every_row_is_there(stored):
    assert list(stored["rows"]) == [job.name for job in measure_alignability.jobs()]


def test_self_supervised_towers_are_those_of_the_stored_runs(stored, runs):
    assert runs["digests"]["self_supervised.py"] == sha256(RECIPES / "self_supervised.py")
    weights = {row["weights"] for name, row in stored["rows"].items() if "-seed" in name and "@" in name}
    of_seed = {seed: [run["weights"] for run in runs["runs"].values() if run["seed"] == seed] for seed in (0, 1)}
    every = {each for kept in of_seed[0] for each in kept.values()}
    assert weights == every | {kept[str(max(map(int, kept)))] for kept in of_seed[1]}


def test_every_objective_was_trained(runs):
    assert {run["objective"] for run in runs["runs"].values()} == set(self_supervised.OBJECTIVES)
    for run in runs["runs"].values():
        losses = run["loss_of_100_steps"]
        assert len(losses) == run["steps"] / 100
        assert losses[-1] < losses[0]


def test_families_differ_in_objective(stored):
    families = {row["family"] for name, row in stored["rows"].items() if name.startswith("scenes: ")}
    assert families == {"ImageNet labels", "random", "captions", *self_supervised.OBJECTIVES}


def test_every_score_says_n_and_an_interval_that_holds_it(stored):
    for name, row in stored["rows"].items():
        if name == "choice":
            continue
        score = row["alignment"]
        assert score["low"] <= score["mean"] <= score["high"]
        assert score["n"] >= 300
        assert np.mean(row["by_seed"]) == pytest.approx(score["mean"]) == pytest.approx(np.mean(row["by_direction"]))
        assert 0 < row["chance"] < 0.1
        for probe in row["probes"].values():
            assert probe["knn"]["low"] <= probe["knn"]["mean"] <= probe["knn"]["high"]


def test_the_setting_that_was_used_is_the_best_of_the_choice(stored):
    choice = stored["rows"]["choice"]
    best = max(choice["settings"], key=lambda each: each["mean"])
    assert {name: best[name] for name in ("optimiser", "learning_rate", "steps")}.items() <= choice["used"].items()


def test_verdicts_are_those_of_the_numbers(stored):
    ledger = Ledger.stored(FILE)
    assert [claim.verdict for claim in ledger.claims] == [each["verdict"] for each in stored["claims"]]


def test_claims_follow_from_the_rows(stored):
    again = alignability_claims.claims(stored["rows"])
    assert [each["verdict"] for each in again] == [each["verdict"] for each in stored["claims"]]
    for ours, theirs in zip(again, stored["claims"], strict=True):
        assert ours["measured"] == pytest.approx(theirs["measured"], abs=1e-6)


@pytest.mark.parametrize("pairs", ["scenes", "stamps", "openclipart", "text"])
def test_stored_towers_are_read_by_name(pairs):
    found = measured(pairs)
    assert len(found.names) >= 8
    assert "k-NN" in str(found)


def test_probes_of_a_row_measured_again_are_what_is_stored(stored):
    """A tower that needs no weights; the code below the script has no digest."""
    encoder = next(each for each in measure_alignability.encoders() if each.name == "random ViT 0")
    pairs = measure_alignability.scene_pairs()
    pictures = pairs.pictures(encoder.side)[-len(pairs.labelled) :]
    with torch.no_grad():
        features = encoder.load()(pictures)["class token"]
    half = np.random.default_rng(0).permutation(len(features))
    train, test = np.sort(half[: len(half) // 2]), np.sort(half[len(half) // 2 :])
    found = measure_alignability.probed(features, pairs.labels["shape"], train, test)
    expected = stored["rows"]["scenes: random ViT 0, class token"]["probes"]["shape"]
    for name in ("silhouette", "agreement", "majority"):
        assert found[name] == pytest.approx(expected[name], abs=2e-3)
    for name in ("knn", "linear"):
        assert found[name]["mean"] == pytest.approx(expected[name]["mean"], abs=5e-3)


# Training ---------------------------------------------------------------------------------------------------------------

TINY = {"steps": 4, "kept": (2, 4), "batch_size": 8, "warmup": 1}


@pytest.mark.parametrize("objective", self_supervised.OBJECTIVES)
def test_a_run_is_stopped_and_resumed(objective, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path))
    config = self_supervised.Config(objective, seed=3, **TINY)
    losses = self_supervised.train_run(config, pool=16)
    assert self_supervised.train_run(config, pool=16) == losses
    trunk = self_supervised.trained(config, 4)
    assert trunk.forward_features(torch.zeros(1, 3, 64, 64)).shape == (1, 17, 64)
    early = self_supervised.trained(config, 2)
    assert not torch.equal(trunk.blocks[0].attn.qkv.weight, early.blocks[0].attn.qkv.weight)
    with pytest.raises(ValueError, match=r"temperature 0\.1 there, 0\.5 here"):
        self_supervised.train_run(replace(config, temperature=0.5), pool=16)


@pytest.mark.parametrize("objective", self_supervised.OBJECTIVES)
def test_an_interrupted_run_ends_where_a_whole_one_does(objective, tmp_path, monkeypatch):
    """Teacher, centre and random state are part of what is kept."""
    config = self_supervised.Config(objective, seed=3, **TINY)
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "whole"))
    whole = self_supervised.train_run(config, pool=16)
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "parts"))
    keep = self_supervised.write_atomically

    def stop(file, content):
        keep(file, content)
        if file.name == "2.safetensors":
            import signal

            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(self_supervised, "write_atomically", stop)
    with pytest.raises(KeyboardInterrupt):
        self_supervised.train_run(config, pool=16)
    monkeypatch.setattr(self_supervised, "write_atomically", keep)
    assert self_supervised.train_run(config, pool=16) == whole


def test_views_keep_what_a_caption_says():
    """Hue and order of left and right stay: a red left half is red, left of a blue right half, in every view."""
    x = torch.zeros(32, 3, 64, 64)
    x[:, 0, :, :32], x[:, 2, :, 32:] = 1, 1
    torch.manual_seed(0)
    seen = self_supervised.view(x, self_supervised.Config("contrastive"))
    left, right = seen[..., :16].mean((2, 3)), seen[..., -16:].mean((2, 3))
    assert (left.argmax(1) == 0).all()
    assert (right.argmax(1) == 2).all()
    assert not torch.allclose(seen[0], seen[1])


def test_a_masked_tower_is_judged_on_what_it_did_not_see(monkeypatch):
    """Twelve of sixteen patches are left out; saying zeros everywhere earns their mean square."""
    config = replace(self_supervised.Config("masked"), light=0.0, crop=(1.0, 1.0))
    torch.manual_seed(0)
    module = self_supervised.Masked(config)
    torch.nn.init.zeros_(module.decoder[-1].weight)
    torch.nn.init.zeros_(module.decoder[-1].bias)
    x = torch.ones(4, 3, 64, 64)
    assert module(2 * x).item() == pytest.approx(4, rel=1e-4)


def test_a_teacher_follows_its_student_slowly():
    torch.manual_seed(0)
    config = self_supervised.Config("distilled")
    module = self_supervised.Distilled(config)
    module(torch.randn(4, 3, 64, 64)).backward()
    assert all(each.grad is None for each in module.teacher.parameters())
    before = module.teacher[2].weight.clone()
    with torch.no_grad():
        module.prototypes.weight.add_(1.0)
    module(torch.randn(4, 3, 64, 64))
    assert torch.allclose(module.teacher[2].weight - before, torch.full_like(before, 0.01), atol=1e-4)


def test_the_readme_says_what_is_stored():
    written = (RECIPES.parent / "README.md").read_text(encoding="utf-8")
    found = measured("scenes")
    knn, linear = (found.r["Pearson"][probe].r for probe in ("k-NN", "linear probe"))
    gap = found.gap["Pearson"]["linear probe"]
    told = f"(r {linear:.2f} and {knn:.2f}, difference {-gap.mean:.2f} [{-gap.high:.2f}, {-gap.low:.2f}], "
    assert f"{told}{found.networks} networks)" in written
