"""Training the small CLIP: the same steps as the recipe's, a folder that loads, and a stop that loses nothing."""

import signal

import pytest
import torch

from workbench.small_clip import train_small_clip

STEPS = 3


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_it_takes_the_steps_of_the_recipe(tmp_path, monkeypatch):
    from recipes.scenes_clip import Config, train_run

    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "runs"))
    theirs, ours = train_run(Config(seed=5, steps=STEPS, kept=())), []
    train_small_clip(
        tmp_path / "ours", seed=5, steps=STEPS, at=(STEPS,), on_step=lambda step, losses: ours.extend(losses)
    )
    assert ours == theirs


def test_it_loads_as_a_model_folder_and_goes_on_after_a_stop(tmp_path):
    def stop(step, losses):
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="stopped after step 1 of 3"):
        train_small_clip(tmp_path / "stopped", steps=STEPS, at=(1,), on_step=stop)
    resumed, whole = (train_small_clip(tmp_path / name, steps=STEPS) for name in ("stopped", "whole"))
    assert resumed.card.image_size == 64
    for a, b in zip(resumed.module.parameters(), whole.module.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_folder_of_another_run_is_refused(tmp_path):
    train_small_clip(tmp_path, steps=1)
    with pytest.raises(ValueError, match="another"):
        train_small_clip(tmp_path, steps=1, seed=1)


@pytest.mark.parametrize("name", ["open_clip_config.json", "open_clip_model.safetensors"])
def test_another_models_folder_is_left_as_it_is(tmp_path, name):
    (tmp_path / name).write_bytes(b"of another model")
    with pytest.raises(ValueError, match=f"holds another model .{name}.; give a new folder"):
        train_small_clip(tmp_path, steps=1)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [(name, b"of another model")]
