"""The rehearsal on torch's meta device, its tensors counted while they live."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from workbench.memory.rehearsal import Task, rehearse, trained
from workbench.models.dual_encoder import DualEncoder
from workbench.models.registry import skeleton


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
    parameters = {storage._cdata: storage.nbytes() for storage in map(Tensor.untyped_storage, held)}
    peak = peak_bytes(lambda: rehearse(model, task, "meta"), held)
    optimiser = 3 * sum(p.nbytes for p in trained(model)) if task.training else 0
    return Prediction(sum(parameters.values()), optimiser, max(0, peak - optimiser))


def on_meta(model_or_name: str | DualEncoder) -> tuple[DualEncoder, str | None]:
    """The model on the meta device, and the device that it is loaded on, None for a name."""
    if isinstance(model_or_name, DualEncoder):
        return _hollow(model_or_name), str(model_or_name.device)
    if isinstance(model_or_name, str):
        return skeleton(model_or_name), None
    raise TypeError(
        f"a model or its name is planned, not {type(model_or_name).__name__} {model_or_name!r}; see list_models()"
    )


def _hollow(model: DualEncoder) -> DualEncoder:
    """A copy on the meta device. deepcopy finds every weight in its memo, already hollow, so that none is copied."""
    memo: dict[int, object] = {id(b): torch.empty_like(b, device="meta") for b in model.module.buffers()}
    for p in model.module.parameters():
        memo[id(p)] = nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
    return copy.deepcopy(model, memo)


def peak_bytes(run: Callable[[], object], held: Iterable[Tensor] = ()) -> int:
    """The most bytes of tensors alive at once during `run()`, on any device; the storages of `held` are left out."""
    with _fused_attention(), _Watch(held) as watch:
        run()
    return watch.peak


class _Watch(TorchDispatchMode):
    """Counts every storage once, from the operation that returns it until it is freed."""

    def __init__(self, held: Iterable[Tensor]):
        super().__init__()
        self.live: dict[int, int] = {tensor.untyped_storage()._cdata: 0 for tensor in held}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            return False  # "is the whole mask true?" has no answer on meta; no is the answer that costs more
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        self.peak = max(self.peak, self.now)
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self.live:
            self.live[key] = storage.nbytes()
            self.now += storage.nbytes()
            weakref.finalize(storage, self._free, key).atexit = False

    def _free(self, key: int) -> None:
        self.now -= self.live.pop(key)


@contextmanager
def _fused_attention():
    """On meta alone, torch computes attention by way of its (T, T) weights; elsewhere fused kernels never hold them."""
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
