"""Between two models: exact ends, a straight line, and the other line that LoRA's factors draw."""

import copy

import pytest
import torch
from torch import nn

from workbench.fine_tuning.adapters import prepare
from workbench.fine_tuning.wise import interpolate, wise_ft
from workbench.models.registry import load_model

PAIR = ({"w": torch.tensor([0.1, 1.0])}, {"w": torch.tensor([0.3, 1.0])})


@pytest.fixture(scope="module")
def before():
    return load_model("scenes-clip", device="cpu")


@pytest.fixture(scope="module")
def after():
    return load_model("scenes-clip@1000", device="cpu")


def equal(ours, theirs):
    return list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_straight_line():
    before, after = {"w": torch.tensor([0.0, 2.0])}, {"w": torch.tensor([4.0, 0.0])}
    assert interpolate(before, after, 0.25)["w"].tolist() == [1.0, 1.5]
    assert interpolate(before, after, 0.5, factors=True)["w"].tolist() == [1.0, 1.5]


@pytest.mark.parametrize("factors", [False, True])
def test_the_ends_are_exact_and_new(before, after, factors):
    ends = before.module.state_dict(), after.module.state_dict()
    for alpha, end in enumerate(ends):
        found = interpolate(*ends, alpha, factors=factors)
        assert equal(found, end)
        found["logit_scale"].add_(1)
        assert not torch.equal(found["logit_scale"], end["logit_scale"])


def test_what_both_share_keeps_its_bits(before):
    own = before.module.state_dict()
    assert all(equal(interpolate(own, own, alpha), own) for alpha in (0.1, 0.3, 0.7))


def test_dtypes_stay_and_sums_are_wide():
    before = {"half": torch.tensor([1.0], dtype=torch.bfloat16), "steps": torch.tensor(3), "on": torch.tensor(False)}
    after = {"half": torch.tensor([2.0], dtype=torch.bfloat16), "steps": torch.tensor(5), "on": torch.tensor(True)}
    found = interpolate(before, after, 0.3)
    assert found["half"].dtype == torch.bfloat16
    assert found["half"].item() == torch.tensor(1.3).bfloat16().item()
    assert (found["steps"].item(), found["on"].item()) == (5, True)
    double = {"w": torch.tensor([0.1], dtype=torch.float64)}, {"w": torch.tensor([0.3], dtype=torch.float64)}
    assert interpolate(*double, 0.5)["w"].item() == pytest.approx(0.2, abs=1e-16)


@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.9])
def test_factors_is_what_scaling_a_and_b_gives(before, alpha):
    """Real A and B on every target: each times alpha, then merged."""
    tuned = copy.deepcopy(before)
    trained = prepare(tuned, "lora")
    torch.manual_seed(0)
    for parameter in trained.parameters.values():
        nn.init.normal_(parameter, std=0.1)
    scaled = copy.deepcopy(trained)
    with torch.no_grad():
        for parameter in scaled.parameters.values():
            parameter.mul_(alpha)
    trained.merge(), scaled.merge()
    theirs = scaled.model.module.state_dict()
    ends = before.module.state_dict(), tuned.module.state_dict()
    both, square = interpolate(*ends, alpha, factors=True), interpolate(*ends, alpha**2)
    assert max((both[name] - theirs[name]).abs().max().item() for name in theirs) <= 1e-6
    assert equal(both, square)
    straight = interpolate(*ends, alpha)
    assert (straight["visual.conv1.weight"] - theirs["visual.conv1.weight"]).abs().max() > 1e-3


def test_a_model_between(before, after):
    digests = before.digest(), after.digest()
    between = wise_ft(before, after, 0.5)
    assert (before.digest(), after.digest()) == digests
    assert between.name == "scenes-clip → scenes-clip@1000 at 0.5"
    assert between.card.digest == between.digest()
    assert between.card.digest not in digests
    assert "alpha 0.5 (WiSE-FT" in between.card.notes[-1]
    weights = interpolate(before.module.state_dict(), after.module.state_dict(), 0.5)
    assert equal(between.module.state_dict(), weights)
    assert torch.equal(between.image_projector.weight, weights["visual.proj"].T)
    assert "the update by alpha²" in wise_ft(before, after, 0.5, factors=True).card.notes[-1]


@pytest.mark.parametrize("end", [0, 1])
def test_models_at_the_ends(before, after, end):
    model = wise_ft(before, after, end)
    assert model.card.digest == (before, after)[end].digest()
    caption = "a red cube left of a blue ball"
    assert torch.equal(model.encode_text(caption).post, (before, after)[end].encode_text(caption).post)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan"), True, "0.5", None])
def test_an_alpha_outside(alpha):
    with pytest.raises(ValueError, match=r"alpha=.*; give a number from 0 \(before\) to 1 \(after\)"):
        interpolate(*PAIR, alpha)


def test_another_architecture(before):
    with pytest.raises(ValueError, match=r"'w' is \(2,\) before and \(3,\) after: another architecture"):
        interpolate(PAIR[0], {"w": torch.zeros(3)}, 0.5)
    with pytest.raises(ValueError, match="'x' is among the weights after only: another architecture"):
        interpolate(PAIR[0], {**PAIR[1], "x": torch.zeros(1)}, 0.5)
    with pytest.raises(ValueError, match="'w' is among the weights before only: another architecture"):
        interpolate(PAIR[0], {}, 1)


def test_adapters_and_another_activation_are_refused(before, after):
    from dataclasses import replace

    adapted = copy.deepcopy(after)
    prepare(adapted, "lora")
    with pytest.raises(ValueError, match=r"scenes-clip@1000 still holds adapters; fold them in with merge\(\)"):
        wise_ft(before, adapted, 0.5)
    other = copy.copy(after)
    other.card = replace(after.card, activation="QuickGELU")
    with pytest.raises(ValueError, match="uses GELU and scenes-clip@1000 QuickGELU: another architecture"):
        wise_ft(before, other, 0.5)
