"""How much memory a model takes: predict it without loading anything, measure it in a process of its own, compare.

The same rehearsal runs twice: on torch's meta device, where tensors have shapes but no bytes, and for real.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.hardware import available_memory
from workbench.records import Record, Table, human_bytes

if TYPE_CHECKING:
    from torch import Tensor, nn

    from workbench.models.dual_encoder import DualEncoder

MARGIN = 0.8  # of the free memory is used: allocators fragment, and others want some too
PATIENCE = 600  # seconds until a measurement is given up
CAPTION_TOKENS = 32  # a generous caption, for towers that only read as far as the longest one


@dataclass(frozen=True)
class MemoryPlan(Record):
    """Predicted and measured memory of one batch, in bytes, and the largest batch that fits.

    `parameters` counts buffers too; `optimiser` the gradients and AdamW's two states of what is trained, 0 in inference;
    `activations` what a pass needs at its peak beyond those two (inputs and outputs too). `predicted` is their sum,
    `ratio` measured / predicted, `available` what is free on `device` for all of it.
    """

    name: str
    batch_size: int
    training: bool
    tokens: bool
    device: str
    parameters: int
    optimiser: int
    activations: int
    predicted: int
    measured: int | None
    ratio: float | None
    available: int
    largest_batch: int
    fits: bool
    notes: tuple[str, ...] = ()

    def table(self) -> Table:
        trained = [("gradients and AdamW", human_bytes(self.optimiser))] if self.training else []
        rows = [
            ("parameters", human_bytes(self.parameters)),
            *trained,
            ("activations", human_bytes(self.activations)),
            ("predicted", human_bytes(self.predicted)),
            ("measured", "not measured" if self.measured is None else human_bytes(self.measured)),
            ("measured / predicted", "unknown" if self.ratio is None else f"{self.ratio:.2f}"),
            (f"available on {self.device}", human_bytes(self.available)),
            ("largest batch", str(self.largest_batch)),
            *(("note", note) for note in self.notes),
            ("advice", self._advice()),
        ]
        mode = "training" if self.training else "inference"
        return Table(f"Memory plan: {self.name}, batch {self.batch_size}, {mode}", ("what", "value"), tuple(rows))

    def _advice(self) -> str:
        if self.fits:
            return "fits"
        if self.largest_batch:
            return f"does not fit: use batch ≤ {self.largest_batch}"
        return "does not fit at any batch size: free memory, or choose a smaller model or another device"


@dataclass(frozen=True)
class Task:
    """A batch of B pictures and B captions; `tokens` asks for patches and words too, `training` for a step of AdamW."""

    batch_size: int
    tokens: bool = False
    training: bool = False

    def __post_init__(self):
        size = self.batch_size
        if isinstance(size, bool) or not isinstance(size, Integral):
            raise TypeError(f"batch_size is {type(size).__name__} {size!r}; give a whole number, 1 or more")
        if size < 1:
            raise ValueError(f"batch_size={size}; give 1 or more")
        if self.training and size < 2:
            raise ValueError(f"batch_size={size} with training=True: one pair has no negatives; give 2 or more")
        object.__setattr__(self, "batch_size", int(size))  # numpy's integers go into no JSON


def plan_memory(
    model_or_name: str | DualEncoder,
    batch_size: int,
    *,
    tokens: bool = False,
    training: bool = False,
    measure: bool = True,
    device: str = "auto",
) -> MemoryPlan:
    """Memory that `batch_size` pictures and as many captions take, predicted, then measured in a child process.

    A name is planned before anything is loaded; a loaded model is planned as it stands (its dtype, what requires grad),
    and measured only where its name loads. Inference is one picture pass and one caption pass; `training` is a step of
    AdamW on every parameter that requires grad, with CLIP's loss. `device` "auto" is the model's own, for a name that
    of `load_model`.

    The prediction counts tensors, exactly; it knows nothing of kernels' workspaces, of tokenizers, nor of what an
    allocator keeps of freed memory. On a CPU, measured means resident memory, where those weigh: on Linux, ratios of
    1.15 to 1.5 for predictions of 200 MiB and more, larger ones below. On CUDA it is the allocator's peak, without the
    context. Loading has a peak of its own, which is left out of both (but only Linux can). The largest batch keeps
    within 0.8 of the free memory; a measurement scales it.

    Raises TypeError or ValueError for bad input; for an unknown name as `load_model` does. A measurement that fails
    does not raise: `measured` is None and a note says what happened.
    """
    task = Task(batch_size, tokens, training)
    model, home = _on_meta(model_or_name)
    if training and not _trained(model):
        raise ValueError(f"{model.name} has no parameter that requires grad; unfreeze one, or plan with training=False")
    device = _resolve(device, home)
    one, two = predict(model, task), predict(model, replace(task, batch_size=2 * task.batch_size))
    # What a loaded model holds already is part of the prediction, and no more needs to be found for it.
    available = available_memory(device) + (one.parameters if device == home else 0)
    why_not = _why_not(model, one.total, device, available, loaded=home is not None) if measure else ""
    found = measure_in_child(_spec(model, task, device)) if measure and not why_not else Measurement(None, why_not)
    largest = _largest_batch(task, one.total, two.total, found, MARGIN * available)
    return MemoryPlan(
        name=model.name,
        device=device,
        **vars(task),
        **vars(one),
        predicted=one.total,
        measured=found.bytes,
        ratio=None if found.bytes is None else found.bytes / one.total,
        available=available,
        largest_batch=largest,
        fits=task.batch_size <= largest,
        notes=(*_assumptions(model), *filter(None, [found.note])),
    )


def _resolve(device: str, home: str | None) -> str:
    from workbench.models.dual_encoder import pick_device

    return home if device == "auto" and home else pick_device(device)


def _largest_batch(task: Task, one: int, double: int, found: Measurement, budget: float) -> int:
    """The largest batch within `budget` bytes, on a line through the predictions for the task's batch and its double.

    A measurement scales the line to pass through it. 0 where not even the smallest batch fits.
    """
    scale = one / found.bytes if found.bytes else 1.0
    largest = task.batch_size + int((budget * scale - one) // ((double - one) / task.batch_size))
    if found.out_of_memory:
        largest = min(largest, task.batch_size - 1)
    return largest if largest > task.training else 0  # training takes two pairs


# Predict ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prediction:
    """Bytes, as the fields of MemoryPlan of the same names."""

    parameters: int
    optimiser: int
    activations: int

    @property
    def total(self) -> int:
        return self.parameters + self.optimiser + self.activations


def predict(model: DualEncoder, task: Task) -> Prediction:
    """Rehearse one batch with a model whose tensors are on the meta device, and count."""
    held = [*model.module.parameters(), *model.module.buffers()]
    peak = peak_bytes(lambda: rehearse(model, task, "meta"), held)
    optimiser = 3 * sum(p.nbytes for p in _trained(model)) if task.training else 0
    return Prediction(_storage_bytes(held), optimiser, max(0, peak - optimiser))


def peak_bytes(run: Callable[[], object], held: Iterable[Tensor] = ()) -> int:
    """The most bytes of tensors alive at once during `run()`, on any device; the storages of `held` are left out."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    ledger = _Ledger(held)
    item = torch.ops.aten._local_scalar_dense.default

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is item and args[0].is_meta:
                return False  # "is the whole mask true?" has no answer on meta; no is the answer that costs more
            out = func(*args, **(kwargs or {}))
            ledger.note(out)
            return out

    with _fused_attention(), Watch():
        run()
    return ledger.peak


@contextmanager
def _fused_attention():
    """On meta alone, torch computes attention by way of its (T, T) weights; elsewhere fused kernels never hold them."""
    import torch
    import torch.nn.functional as F

    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    usual = F.scaled_dot_product_attention

    def attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, **more):
        if query.is_meta:
            return kernel(query, key, value, dropout_p, is_causal, attn_mask=attn_mask)[0]
        return usual(query, key, value, attn_mask, dropout_p, is_causal, **more)

    F.scaled_dot_product_attention = attention
    try:
        yield
    finally:
        F.scaled_dot_product_attention = usual


class _Ledger:
    """The storages alive now, each counted once, and the most bytes they ever held together."""

    def __init__(self, held: Iterable[Tensor]):
        self.live: dict[int, int] = {tensor.untyped_storage()._cdata: 0 for tensor in held}
        self.now = self.peak = 0

    def note(self, out) -> None:
        import torch
        from torch.utils._pytree import tree_leaves

        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf.untyped_storage())
        self.peak = max(self.peak, self.now)

    def _count(self, storage) -> None:
        key = storage._cdata
        if key not in self.live:
            self.live[key] = storage.nbytes()
            self.now += storage.nbytes()
            weakref.finalize(storage, self._free, key).atexit = False

    def _free(self, key: int) -> None:
        self.now -= self.live.pop(key)


def _storage_bytes(tensors: Iterable[Tensor]) -> int:
    storages = {storage._cdata: storage.nbytes() for storage in (tensor.untyped_storage() for tensor in tensors)}
    return sum(storages.values())


def _on_meta(model_or_name: str | DualEncoder) -> tuple[DualEncoder, str | None]:
    """The model on the meta device, and the device that it is loaded on, None for a name."""
    from workbench.models.dual_encoder import DualEncoder
    from workbench.models.registry import skeleton

    if isinstance(model_or_name, DualEncoder):
        return _hollow(model_or_name), str(model_or_name.device)
    if isinstance(model_or_name, str):
        return skeleton(model_or_name), None
    raise TypeError(
        f"a model or its name is planned, not {type(model_or_name).__name__} {model_or_name!r}; see list_models()"
    )


def _hollow(model: DualEncoder) -> DualEncoder:
    """A copy on the meta device. deepcopy finds every weight in its memo, already hollow, so that none is copied."""
    import copy

    import torch

    memo: dict[int, object] = {id(b): torch.empty_like(b, device="meta") for b in model.module.buffers()}
    for p in model.module.parameters():
        memo[id(p)] = torch.nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
    return copy.deepcopy(model, memo)


def _assumptions(model: DualEncoder) -> tuple[str, ...]:
    if not model._trims_padding:
        return ()
    return (f"captions of {_caption_tokens(model)} tokens assumed; it reads up to {model.card.context_length}",)


def _caption_tokens(model: DualEncoder) -> int:
    longest = model.card.context_length
    return min(CAPTION_TOKENS, longest) if model._trims_padding else longest


def _trained(model: DualEncoder) -> list[nn.Parameter]:
    return [p for p in model.module.parameters() if p.requires_grad]


# The rehearsal, on meta or for real -----------------------------------------------------------------------------------


def rehearse(model: DualEncoder, task: Task, device: str) -> None:
    """The same batch twice, for the second time finds what the first left: AdamW's states, the buffers of libraries."""
    import torch

    batch = _batch(model, task.batch_size, device)
    optimiser = torch.optim.AdamW(_trained(model)) if task.training else None
    for _ in range(2):
        if optimiser:
            _step(model, batch, task.tokens, optimiser)
        else:
            with torch.no_grad():
                _features(model, batch, task.tokens)


def _batch(model: DualEncoder, batch_size: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels (B, 3, S, S), ids (B, T) and mask (B, T). Nothing is zero, for untouched zeros take no real memory."""
    import torch

    size, length = model.card.image_size, _caption_tokens(model)
    pixels = torch.rand(batch_size, 3, size, size, dtype=model.dtype, device=device)
    ids = torch.ones(batch_size, length, dtype=torch.long, device=device)
    mask = torch.ones(batch_size, length, dtype=torch.bool, device=device)
    mask[-1, -1] = False  # one shorter caption, as usual: towers may skip a mask that is all true
    return pixels, ids, mask


def _features(model: DualEncoder, batch: tuple[Tensor, Tensor, Tensor], tokens: bool):
    pixels, ids, mask = batch
    image = model.forward_image(pixels, tokens=tokens)
    return image, model.forward_text(ids, mask, tokens=tokens)


def _step(model: DualEncoder, batch: tuple[Tensor, Tensor, Tensor], tokens: bool, optimiser) -> None:
    from workbench.losses import clip_loss

    image, text = _features(model, batch, tokens)
    loss = clip_loss(image.post, text.post, 20.0)
    if tokens:  # a stand-in for what a loss on patches and words would do
        loss = loss + image.tokens.square().mean() + text.tokens.square().mean()
    if loss.requires_grad:
        loss.backward()
    optimiser.step()
    optimiser.zero_grad()


# Measure, in a process of its own -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measurement:
    """Bytes at the peak, or None and a note that says what happened."""

    bytes: int | None
    note: str = ""
    out_of_memory: bool = False


def _why_not(model: DualEncoder, predicted: int, device: str, available: int, *, loaded: bool) -> str:
    """Why no measurement can be made, or should; empty where nothing speaks against it."""
    if device.startswith("mps"):
        return "not measured: mps keeps no peak; leave more room than the plan does"
    if predicted > available:  # trying would push out other programs, this one included
        return "not measured: the prediction is more than is available"
    if loaded and not _loads_by_name(model.name):
        return "not measured: a child process can only load a model by name"
    return ""


def _loads_by_name(name: str) -> bool:
    from workbench.models.registry import skeleton

    try:
        skeleton(name)
    except (ValueError, OSError):
        return False
    return True


def _spec(model: DualEncoder, task: Task, device: str) -> dict:
    """What the child needs to know; JSON takes it."""
    trained = [name for name, p in model.module.named_parameters() if p.requires_grad]
    dtype = str(model.dtype).removeprefix("torch.")
    return {"name": model.name, "device": device, "dtype": dtype, "trained": trained, "task": vars(task)}


def measure_in_child(spec: dict, command: tuple[str, ...] = (sys.executable, "-m", "workbench.memory")) -> Measurement:
    """Run the rehearsal of `spec` in a child process and read its answer; a failure is an answer too."""
    paths = [str(Path(__file__).resolve().parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    said = {"capture_output": True, "text": True, "encoding": "utf-8", "errors": "replace"}
    try:
        child = subprocess.run(command, input=json.dumps(spec), env=env, timeout=PATIENCE, check=False, **said)
    except subprocess.TimeoutExpired:
        return Measurement(None, f"not measured: no answer in {PATIENCE} s; try a smaller batch")
    answer = re.search(r'^{"bytes": (\d+)}$', child.stdout, re.MULTILINE)
    return Measurement(int(answer[1])) if answer else _failure(child.returncode, child.stderr)


def _failure(code: int, stderr: str) -> Measurement:
    """A killed process says nothing; one that raised says it in its last line."""
    last = next((line.strip() for line in reversed(stderr.splitlines()) if line.strip()), "")[:300]
    if code == -9 or re.search(r"out of memory|memory ?error|allocate memory", last, re.IGNORECASE):
        why = "was killed" if code == -9 else last
        note = f"not measured: the child process ran out of memory ({why}); try a smaller batch"
        return Measurement(None, note, out_of_memory=True)
    why = f"was stopped by signal {-code}" if code < 0 else f"failed ({last})"
    return Measurement(None, f"not measured: the child process {why}; see whether load_model opens it here")


def _child() -> None:
    """Read a spec on stdin, say {"bytes": …} on stdout."""
    spec = json.load(sys.stdin)
    with suppress(OSError):  # if memory runs out, the kernel should choose this process, not the notebook
        Path("/proc/self/oom_score_adj").write_text("1000")
    measured = _measure_cuda(spec) if spec["device"].startswith("cuda") else _measure_cpu(spec)
    print(json.dumps({"bytes": measured}))  # noqa: T201


def _load(spec: dict) -> DualEncoder:
    from workbench.models.registry import load_model

    model = load_model(spec["name"], device=spec["device"], dtype=spec["dtype"])
    for name, p in model.module.named_parameters():
        p.requires_grad_(name in spec["trained"])
    return model


def _measure_cuda(spec: dict) -> int:
    import torch

    model = _load(spec)
    torch.cuda.reset_peak_memory_stats(spec["device"])
    rehearse(model, Task(**spec["task"]), spec["device"])
    return torch.cuda.max_memory_allocated(spec["device"])


def _measure_cpu(spec: dict) -> int:
    import psutil

    _warm_up()
    before = psutil.Process().memory_info().rss
    model = _load(spec)
    with suppress(OSError):  # Linux forgets the peak of loading here; elsewhere it stays in
        Path("/proc/self/clear_refs").write_text("5")
    rehearse(model, Task(**spec["task"]), spec["device"])
    return _peak_rss() - before


def _warm_up() -> None:
    """Import what loading will import, so that libraries do not count as the model's memory."""
    for library in ("timm", "transformers", "open_clip", "workbench.models.registry"):
        importlib.import_module(library)


def _peak_rss() -> int:
    """The most resident bytes this process has had. On Linux from /proc: ru_maxrss inherits the parent's peak there."""
    with suppress(OSError, TypeError):
        return 1024 * int(re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)[1])
    import psutil

    info = psutil.Process().memory_info()
    if hasattr(info, "peak_wset"):  # Windows
        return info.peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    _child()
