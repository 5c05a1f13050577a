"""One training loop: progress, checkpoints without pickle, and a resume that continues as if nothing had happened."""

from __future__ import annotations

import json
import math
import signal
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from workbench.progress import bar

CHECKPOINT = "checkpoint.safetensors"


def warmup_cosine(step: int, *, steps: int, warmup: int, final: float = 0.0) -> float:
    """Factor on the learning rate at `step`: linear from 0 over `warmup` steps, then half a cosine down to `final`."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(steps - warmup, 1)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def train(
    module: nn.Module,
    loss: Callable[[int], Tensor],
    optimiser: torch.optim.Optimizer,
    *,
    steps: int,
    factor: Callable[[int], float] = lambda step: 1.0,
    folder: str | Path | None = None,
    every: int = 200,
    at: Collection[int] = (),
    on_step: Callable[[int], None] = lambda step: None,
    title: str = "training",
) -> list[float]:
    """Take `steps` steps down `loss(step)` and return the loss of each.

    `factor(step)` multiplies the optimiser's learning rates. With a `folder` the state is kept there every `every` steps and
    on Ctrl-C once the step is finished, and a later call with the same arguments goes on from it: to the same weights, where
    `loss` depends on its step and torch's random state alone. `on_step(n)` is called after n steps for every n in `at`, in a
    resumed run only for those not passed yet. Raises ValueError for a loss that is not finite, or a folder of another run.
    """
    rates = [group["lr"] for group in optimiser.param_groups]
    losses = _restore(folder, module, optimiser, steps) if folder else []
    with bar(what=title, total=steps) as shown, _asked_to_stop() as stop:
        shown.update(len(losses))
        for step in range(len(losses), steps):
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * factor(step)
            losses.append(_step(loss, step, optimiser))
            shown.update()
            if step + 1 in at:
                on_step(step + 1)
            if folder and ((step + 1) % every == 0 or step + 1 == steps or stop.is_set()):
                _keep(folder, module, optimiser, losses, steps)
            if stop.is_set():
                raise KeyboardInterrupt(f"stopped after step {step + 1} of {steps}; the same call goes on from there")
    return losses


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """Set by Ctrl-C, so that the step is finished before anything is kept; a second Ctrl-C stops at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals arrive in the main thread only
        yield stop
        return

    def handler(signum, frame):
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _step(loss: Callable[[int], Tensor], step: int, optimiser: torch.optim.Optimizer) -> float:
    value = loss(step)
    if not torch.isfinite(value):
        raise ValueError(f"the loss is {value.item()} at step {step}; lower the learning rate, or look at that batch")
    optimiser.zero_grad(set_to_none=True)
    value.backward()
    optimiser.step()
    return value.item()


def _keep(folder: str | Path, module: nn.Module, optimiser: torch.optim.Optimizer, losses: list[float], steps: int):
    """Weights, optimiser, random state and losses in one file, written beside and renamed."""
    from safetensors.torch import save

    state = optimiser.state_dict()["state"]
    tensors = {f"module/{key}": value for key, value in module.state_dict().items()}
    tensors |= {f"optimiser/{i}/{key}": torch.as_tensor(v) for i, each in state.items() for key, v in each.items()}
    tensors |= {"losses": torch.tensor(losses, dtype=torch.float64), "random": torch.get_rng_state()}
    file = Path(folder) / CHECKPOINT
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = save({key: value.detach().contiguous().cpu() for key, value in tensors.items()}, {"run": json.dumps(steps)})
    beside = file.with_suffix(".tmp")
    beside.write_bytes(whole)
    beside.replace(file)


def _restore(folder: str | Path, module: nn.Module, optimiser: torch.optim.Optimizer, steps: int) -> list[float]:
    """Put back what `_keep` wrote and return the losses so far; nothing where there is no checkpoint."""
    from safetensors import safe_open

    file = Path(folder) / CHECKPOINT
    if not file.is_file():
        return []
    with safe_open(file, framework="pt") as stored:
        tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
        run = json.loads(stored.metadata()["run"])
    if run != steps:
        raise ValueError(f"{file} is of a run of {run} steps, not {steps}; give another folder, or delete the file")
    module.load_state_dict({key.removeprefix("module/"): v for key, v in tensors.items() if key.startswith("module/")})
    _restore_optimiser(optimiser, tensors)
    torch.set_rng_state(tensors["random"])
    return tensors["losses"].tolist()


def _restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimiser/"):
            _, i, name = key.split("/")
            state.setdefault(int(i), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
