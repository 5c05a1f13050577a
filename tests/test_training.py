"""The loop: a run that is stopped and resumed ends with the same weights, and nothing is lost on Ctrl-C."""

import signal

import pytest
import torch
from torch import nn

from workbench.training import CHECKPOINT, train


def setup(seed=0):
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 1))
    return module, torch.optim.AdamW(module.parameters(), lr=1e-2)


def loss_of(module, stop_at=None):
    def loss(step):
        if step == stop_at:
            signal.raise_signal(signal.SIGINT)
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        return (module(x) - x.sum(1, keepdim=True)).square().mean()  # dropout draws from torch's own state

    return loss


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


@pytest.fixture
def whole():
    module, optimiser = setup()
    return weights(module), train(module, loss_of(module), optimiser, steps=40), weights(module)


def test_the_loss_falls(whole):
    before, losses, after = whole
    assert len(losses) == 40
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
    assert not torch.equal(before, after)


def test_ctrl_c_keeps_what_was_done_and_the_next_call_goes_on(whole, tmp_path):
    _, losses, after = whole
    module, optimiser = setup()
    with pytest.raises(KeyboardInterrupt, match="stopped after step 24 of 40; the same call goes on"):
        train(module, loss_of(module, stop_at=23), optimiser, steps=40, folder=tmp_path, every=100)
    again, optimiser = setup(seed=5)  # whatever it starts from is replaced
    assert train(again, loss_of(again), optimiser, steps=40, folder=tmp_path, every=100) == losses
    assert torch.equal(weights(again), after)


def test_a_finished_run_is_not_run_again(whole, tmp_path):
    module, optimiser = setup()
    losses = train(module, loss_of(module), optimiser, steps=40, folder=tmp_path)
    again, optimiser = setup(seed=5)
    assert train(again, loss_of(again, stop_at=0), optimiser, steps=40, folder=tmp_path) == losses
    assert torch.equal(weights(again), weights(module))


def test_steps_that_were_asked_for_are_called_once(tmp_path):
    seen = []
    module, optimiser = setup()
    with pytest.raises(KeyboardInterrupt):
        train(
            module,
            loss_of(module, stop_at=7),
            optimiser,
            steps=10,
            folder=tmp_path,
            at=(3, 8),
            on_step=lambda step, _: seen.append(step),
        )
    train(
        module,
        loss_of(module),
        optimiser,
        steps=10,
        folder=tmp_path,
        at=(3, 8),
        on_step=lambda step, _: seen.append(step),
    )
    assert seen == [3, 8]


def test_the_rate_follows_its_factor():
    module, optimiser = setup()
    rates = []
    train(
        module,
        loss_of(module),
        optimiser,
        steps=4,
        factor=lambda step: 0.5**step,
        at=range(5),
        on_step=lambda *_: rates.append(optimiser.param_groups[0]["lr"]),
    )
    assert rates == pytest.approx([1e-2, 5e-3, 2.5e-3, 1.25e-3])


def test_nothing_is_half_written(tmp_path, monkeypatch):
    module, optimiser = setup()
    train(module, loss_of(module), optimiser, steps=4, folder=tmp_path, every=2)
    before = (tmp_path / CHECKPOINT).read_bytes()
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    other, optimiser = setup()
    (tmp_path / "other").mkdir()
    with pytest.raises(OSError, match="disk full"):
        train(other, loss_of(other), optimiser, steps=4, folder=tmp_path / "other", every=2)
    assert not (tmp_path / "other" / CHECKPOINT).exists()
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_broken_loss_and_a_foreign_folder_are_named(tmp_path):
    module, optimiser = setup()
    with pytest.raises(ValueError, match="the loss is nan at step 0"):
        train(module, lambda step: module(torch.full((1, 4), torch.nan)).sum(), optimiser, steps=2)
    train(module, loss_of(module), optimiser, steps=2, folder=tmp_path)
    with pytest.raises(ValueError, match=r"of another run \(steps 2 there, 3 here\)"):
        train(module, loss_of(module), optimiser, steps=3, folder=tmp_path)
    with pytest.raises(ValueError, match="batch None there, 16 here"):
        train(module, loss_of(module), optimiser, steps=2, folder=tmp_path, run={"batch": 16})
    with pytest.raises(ValueError, match="optimiser 'AdamW' there, 'SGD' here"):
        train(module, loss_of(module), torch.optim.SGD(module.parameters(), lr=1), steps=2, folder=tmp_path)
    with pytest.raises(ValueError, match="steps=0, every=200"):
        train(module, loss_of(module), optimiser, steps=0)
    (tmp_path / CHECKPOINT).write_bytes((tmp_path / CHECKPOINT).read_bytes()[:50])
    with pytest.raises(ValueError, match="no whole checkpoint of this loop"):
        train(module, loss_of(module), optimiser, steps=2, folder=tmp_path)


def test_weights_that_are_not_finite_are_not_kept(tmp_path):
    """A loss can be finite while its gradient is not: the state before stays, and opens."""
    module = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(1.0)

    def loss(step):
        return module.weight.sum() if step < 3 else torch.sqrt((module.weight * 0).sum())  # 0, of slope 0 / 0

    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="weight is not finite after step 4"):
        train(module, loss, optimiser, steps=4, folder=tmp_path, every=2)
    again = nn.Linear(1, 1, bias=False)
    given = torch.optim.SGD(again.parameters(), lr=0.1)
    train(again, lambda step: 0 * again.weight.sum(), given, steps=4, folder=tmp_path, every=2)
    assert again.weight.item() == pytest.approx(0.8)


def test_the_same_objects_go_on_as_well_as_new_ones(whole, tmp_path):
    """The loop changes the optimiser's rates; a resumed run must not take the changed ones for its own."""
    factor = {"factor": lambda step: min(1.0, (step + 1) / 30)}
    module, optimiser = setup()
    straight = train(module, loss_of(module), optimiser, steps=40, **factor)
    again, optimiser = setup()
    with pytest.raises(KeyboardInterrupt):
        train(again, loss_of(again, stop_at=6), optimiser, steps=40, folder=tmp_path, **factor)
    assert train(again, loss_of(again), optimiser, steps=40, folder=tmp_path, **factor) == straight
    assert torch.equal(weights(again), weights(module))
    assert optimiser.param_groups[0]["lr"] == 1e-2


def test_tied_weights_are_kept(tmp_path):
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[1].weight = module[0].weight
    optimiser = torch.optim.AdamW(module.parameters(), lr=1e-2)
    train(module, lambda step: module(torch.ones(2, 4)).square().mean(), optimiser, steps=2, folder=tmp_path)
    assert (tmp_path / CHECKPOINT).is_file()


def test_without_a_folder_the_message_says_what_would_keep_it():
    module, optimiser = setup()
    with pytest.raises(KeyboardInterrupt, match="give folder="):
        train(module, loss_of(module, stop_at=1), optimiser, steps=5)
