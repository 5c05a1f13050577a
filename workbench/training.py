"""One training loop: progress, checkpoints without pickle, and a resume that continues as if nothing had happened."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from workbench.files import write_whole
from workbench.progress import bar

CHECKPOINT = "checkpoint.safetensors"


def train(
    module: nn.Module,
    loss: Callable[[int], Tensor],
    optimiser: torch.optim.Optimizer,
    *,
    steps: int,
    factor: Callable[[int], float] = lambda step: 1.0,
    folder: str | Path | None = None,
    run: Mapping | None = None,
    every: int = 200,
    at: Collection[int] = (),
    on_step: Callable[[int, Sequence[float]], bool | None] = lambda step, losses: None,
    keeps: bool = True,
    title: str = "training",
) -> list[float]:
    """Take `steps` steps down `loss(step)` and return the loss of each.

    `factor(step)` multiplies the optimiser's learning rates. With a `folder` the state is kept there every `every` steps and
    on Ctrl-C once the step is finished, and a later call with the same arguments goes on from it: to the same weights, where
    `loss` depends on its step and torch's random state alone. `run` is what makes this run this run (JSON: a configuration,
    digests); a folder of another is refused. `on_step(n, losses of all n)` is called after n steps for every n in `at`, in a
    resumed run only for those not passed yet; where it returns True the run ends there, and a later call adds nothing.
    `keeps` False reads the folder and leaves it alone: one process of several writes. Raises ValueError for a loss that is
    not finite, weights that are not when they would be kept, a folder of another run, or no steps.
    """
    if steps < 1 or every < 1:
        raise ValueError(f"steps={steps}, every={every}; give one or more of each")
    described = json.loads(json.dumps({"steps": steps, "optimiser": type(optimiser).__name__, **(run or {})}))
    rates = [group["lr"] for group in optimiser.param_groups]
    try:
        losses, ended = _restore(Path(folder), module, optimiser, described) if folder else ([], False)
        steps = len(losses) if ended else steps
        with bar(what=title, total=steps) as shown, _asked_to_stop() as stop:
            shown.update(len(losses))
            for step in range(len(losses), steps):
                for group, rate in zip(optimiser.param_groups, rates, strict=True):
                    group["lr"] = rate * factor(step)
                losses.append(_step(loss, step, optimiser))
                shown.update()
                ended = step + 1 in at and on_step(step + 1, losses) is True
                if folder and keeps and ((step + 1) % every == 0 or step + 1 == steps or ended or stop.is_set()):
                    _keep(Path(folder), module, optimiser, losses, described, ended)
                if ended:
                    break
                if stop.is_set():
                    raise KeyboardInterrupt(f"stopped after step {step + 1} of {steps}; {_next_call(folder)}")
    finally:
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate
    return losses


def in_parts(run: Callable, sides: Sequence[Sequence], size: int | None = None) -> list:
    """`run(*slices of sides)` for `size` rows at a time (None: all at once), each part computed again when gradients go back.

    torch's checkpointing: memory holds one part's activations, and a loss over all outputs together is that of the whole batch,
    gradients too; adding up losses of parts would not be.
    """
    rows = len(sides[0])
    size = size or rows
    run = run if size >= rows else partial(checkpoint, run, use_reentrant=False)
    return [run(*(side[i : i + size] for side in sides)) for i in range(0, rows, size)]


def _next_call(folder: str | Path | None) -> str:
    return "the same call goes on from there" if folder else "give folder=, and the next call goes on where one stopped"


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


def _keep(
    folder: Path,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    losses: list[float],
    described: dict,
    ended: bool = False,
) -> None:
    """Weights, optimiser, random state and losses in one file, written beside and renamed."""
    from safetensors.torch import save

    if bad := [key for key, x in module.state_dict().items() if x.is_floating_point() and not x.isfinite().all()]:
        raise ValueError(
            f"{bad[0]} is not finite after step {len(losses)}, so nothing is kept of it; lower the learning rate, and the same "
            "call goes on from the state before"
        )
    state = optimiser.state_dict()["state"]
    tensors = {f"module/{key}": value for key, value in module.state_dict().items()}
    tensors |= {f"optimiser/{i}/{key}": torch.as_tensor(v) for i, each in state.items() for key, v in each.items()}
    tensors |= {"losses": torch.tensor(losses, dtype=torch.float64), "random": torch.get_rng_state()}
    tensors["ended"] = torch.tensor(ended)
    # clones: tied weights share their memory, which safetensors refuses
    whole = save({key: value.detach().cpu().clone() for key, value in tensors.items()}, {"run": json.dumps(described)})
    write_whole(folder / CHECKPOINT, whole)


def _restore(folder: Path, module: nn.Module, optimiser: torch.optim.Optimizer, described: dict) -> tuple:
    """Put back what `_keep` wrote; the losses so far, and whether the run ended there. Nothing without a checkpoint."""
    file = folder / CHECKPOINT
    if not file.is_file():
        return [], False
    tensors, stored = _read(file)
    other = sorted(key for key in stored.keys() | described.keys() if stored.get(key) != described.get(key))
    if other:
        told = ", ".join(f"{key} {stored.get(key)!r:.60} there, {described.get(key)!r:.60} here" for key in other)
        raise ValueError(f"{file} is of another run ({told}); give another folder, or delete the file")
    module.load_state_dict({key.removeprefix("module/"): v for key, v in tensors.items() if key.startswith("module/")})
    _restore_optimiser(optimiser, tensors)
    torch.set_rng_state(tensors["random"])
    return tensors["losses"].tolist(), bool(tensors.get("ended", False))


def _read(file: Path) -> tuple[dict[str, Tensor], dict]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as stored:
            return {key: stored.get_tensor(key) for key in stored.keys()}, json.loads(stored.metadata()["run"])  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is no whole checkpoint of this loop ({error}); delete it to begin anew") from error


def _restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimiser/"):
            _, i, name = key.split("/")
            state.setdefault(int(i), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
