"""Training scorers of pairs: what learns and what cannot, the pairs of a step, resume to the bit, budgets of time."""

import signal

import numpy as np
import pytest
import torch
from torch import nn

from tests.binding.planted import planted
from workbench.binding import OnGlobals, OnTokens, QuadConfig, QuadFeatures, Side, fit, score_groups
from workbench.binding.fitting import _drawn, pair_loss
from workbench.heads import GlobalPairTransformer, PairTransformer
from workbench.losses import quad_loss

TINY = {"width": 16, "layers": 1, "heads": 2, "ffn": 16}
SHORT = {"batch_size": 8, "steps": 12, "learning_rate": 3e-3, "every": 5}


def local(**sizes):
    return OnTokens(PairTransformer(10, 10, **{**TINY, **sizes}))


def control():
    return OnGlobals(GlobalPairTransformer(10, 10, **TINY))


def same(a, b):
    return all(
        torch.equal(x, y) for x, y in zip(a.head.state_dict().values(), b.head.state_dict().values(), strict=True)
    )


def test_local_evidence_is_learnt_and_the_control_cannot():
    """The same trainer on the same quads: globals are bags of words, whose quads tie."""
    config = QuadConfig(batch_size=24, steps=150, learning_rate=1e-2)
    wide = {"width": 32, "heads": 4, "ffn": 64}
    held = planted(60, seed=1)
    found = fit(lambda: local(**wide), planted(300), config)
    assert np.mean(found.losses[-20:]) < 0.4 * np.mean(found.losses[:5])
    assert score_groups(found.head, held).group > 0.6
    assert score_groups(found.head, held.shuffled()).group < 0.35
    assert score_groups(fit(control, planted(300), config).head, held).group == 0


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    one, again = (fit(local, planted(), QuadConfig(**SHORT)) for _ in range(2))
    other = fit(local, planted(), QuadConfig(**SHORT, seed=1))
    assert one.losses == again.losses
    assert same(one, again)
    assert not same(one, other)


def test_ctrl_c_loses_nothing(tmp_path):
    config, told = QuadConfig(**SHORT), []
    whole = fit(local, planted(), config)

    def stop_at_7(step, losses, head):
        if step == 7:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="stopped after step 7 of 12"):
        fit(local, planted(), config, folder=tmp_path, at=(7,), on_step=stop_at_7)
    resumed = fit(
        local, planted(), config, folder=tmp_path, at=(3, 9, 12), on_step=lambda step, losses, head: told.append(step)
    )
    assert told == [9, 12], "what was passed is not told again"
    assert whole.losses == resumed.losses
    assert same(whole, resumed)
    assert same(whole, fit(local, planted(), config, folder=tmp_path))


def test_seconds_of_all_sessions_count(tmp_path):
    config = QuadConfig(**SHORT)
    first = fit(local, planted(), config, folder=tmp_path)
    assert first.seconds > 0
    assert fit(local, planted(), config, folder=tmp_path).seconds == first.seconds


class Clock:
    """Each look at it is a second later: a step, which looks twice, takes one."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr("workbench.binding.fitting.time.perf_counter", self)

    def __call__(self):
        self.now += 1.0
        return self.now


def test_time_ends_a_run_and_a_later_call_adds_nothing(tmp_path, monkeypatch):
    Clock(monkeypatch)
    told = []
    config = QuadConfig(**{**SHORT, "steps": 1000}, seconds=6.0)
    found = fit(local, planted(), config, folder=tmp_path, on_step=lambda step, losses, head: told.append(step))
    assert len(found.losses) == 6
    assert found.seconds == 6
    assert told == [6], "the end of a run that time ended is told"
    assert fit(local, planted(), config, folder=tmp_path).losses == found.losses


def test_the_rate_follows_the_time_that_is_used_up(monkeypatch):
    Clock(monkeypatch)
    rates = []

    class Watched(torch.optim.AdamW):
        def step(self, *arguments):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*arguments)

    monkeypatch.setattr("workbench.optim.torch.optim.AdamW", Watched)
    fit(local, planted(), QuadConfig(**{**SHORT, "steps": 1000, "warmup": 200}, seconds=10.0))
    assert len(rates) == 10
    assert max(rates) == pytest.approx(3e-3), "after the first fifth of the time"
    assert rates.index(max(rates)) == 2
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] < 0.2 * max(rates)


def test_a_step_without_time_limit_does_not_ask_the_clock(monkeypatch):
    Clock(monkeypatch)
    timed = fit(local, planted(), QuadConfig(**SHORT))
    monkeypatch.undo()
    assert same(timed, fit(local, planted(), QuadConfig(**SHORT)))


def test_mismatches_are_of_other_quads_and_serve_both_sides():
    config = QuadConfig(mismatches=3)
    for step in range(20):
        rows, pairing = _drawn(50, 7, step, config)
        assert len(set(rows.tolist())) == 7
        assert pairing.shape == (3, 14)
        for kind in pairing:
            assert sorted(kind.tolist()) == list(range(14)), "each caption beside one picture"
            assert not (kind // 2 == np.arange(14) // 2).any()
        turned = (pairing // 2 - np.arange(14) // 2) % 7
        assert (turned[:, ::2] == turned[:, 1::2]).all()
        assert len(set(turned[:, 0].tolist())) == 3, "no quad twice beside one"


def test_all_heads_of_a_seed_see_the_same_pairs():
    one, two = (_drawn(50, 8, 3, QuadConfig(learning_rate=rate)) for rate in (1e-3, 1e-4))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0], _drawn(50, 8, 4, QuadConfig())[0])


@pytest.mark.parametrize("mismatches", [0, 1, 3])
def test_the_loss_of_a_step_is_the_loss_of_all_its_scores(mismatches):
    """Against the whole matrix of the batch, from which the choices are read one by one."""
    head, features = local().double(), planted(6)
    double = lambda side: Side(side.post.double(), side.tokens.double(), side.mask)  # noqa: E731
    batch = QuadFeatures(double(features.images), double(features.texts))
    _, pairing = _drawn(6, 6, 0, QuadConfig(mismatches=mismatches))
    images, texts = batch.images.flat(), batch.texts.flat()
    every = np.arange(12)
    keeps = Side.to
    try:
        Side.to = lambda self, device: self  # float64 stays
        found = pair_loss(head, batch, pairing, "cpu")
    finally:
        Side.to = keeps
    matrix = head(images[np.repeat(every, 12)], texts[np.tile(every, 12)]).view(12, 12)
    own = torch.stack([matrix[2 * q : 2 * q + 2, 2 * q : 2 * q + 2] for q in range(6)])
    if not mismatches:
        assert found.item() == pytest.approx(quad_loss(own).item(), abs=1e-12)
        return
    rows = torch.stack([matrix[p, pairing[:, p]] for p in every]).view(6, 2, -1)
    columns = torch.stack([torch.stack([matrix[kind.tolist().index(c), c] for kind in pairing]) for c in every])
    expected = quad_loss(own, rows, column_mismatches=columns.view(6, 2, -1))
    assert found.item() == pytest.approx(expected.item(), abs=1e-12)


def test_any_module_of_the_signature_trains():
    class Bilinear(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Linear(10, 10, bias=False)

        def forward(self, images, texts):
            return (self.map(images.post) * texts.post).sum(-1)

    found = fit(Bilinear, planted(20), QuadConfig(**SHORT))
    assert len(found.losses) == 12
    assert "Bilinear, 100 parameters" in str(found)


def test_a_record_says_what_a_step_costs():
    found = fit(local, planted(6), QuadConfig(**SHORT))
    assert found.pairs_per_step == 6 * 8, "a batch larger than the set is the set"
    assert "12 of 12, 48 pairs each" in str(found)
    assert not found.head.training


def test_another_run_in_a_folder_is_refused(tmp_path):
    fit(local, planted(), QuadConfig(**SHORT), folder=tmp_path)
    for make, features, config in (
        (lambda: local(heads=4), planted(), QuadConfig(**SHORT)),
        (local, planted(seed=5), QuadConfig(**SHORT)),
        (local, planted(), QuadConfig(**SHORT, seed=1)),
    ):
        with pytest.raises(ValueError, match="is of another run"):
            fit(make, features, config, folder=tmp_path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"steps": 1.5}, "steps=1.5"),
        ({"mismatches": -1}, "mismatches=-1"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"learning_rate": None}, "learning_rate=None"),
        ({"seconds": -1.0}, "seconds=-1.0"),
        ({"seconds": float("nan")}, "seconds=nan"),
        ({"optimiser": "sgd"}, "optimiser='sgd'; choose one of lion, adamw"),
        ({"warmup": 5000}, "warmup=5000"),
    ],
)
def test_a_configuration_that_cannot_run_is_refused(change, match):
    with pytest.raises(ValueError, match=match):
        QuadConfig(**change)


def test_what_cannot_be_trained_on_is_refused():
    broken = planted(8)
    broken.images.tokens[3] = torch.inf
    with pytest.raises(ValueError, match="images of quad 3"):
        fit(local, broken, QuadConfig(**SHORT))
    with pytest.raises(ValueError, match="mismatches=2 of other quads in a batch of 2"):
        fit(local, planted(2), QuadConfig(**SHORT))
    with pytest.raises(ValueError, match="the loss is"):
        fit(local, planted(), QuadConfig(**{**SHORT, "learning_rate": 1e30}))
