"""Seeing what passes inside a model without patching it."""

from __future__ import annotations

from contextlib import contextmanager
from threading import get_ident

from torch import Tensor, nn

CAPTURING = "transformers.utils.output_capturing"  # its hooks collect hidden states and change nothing


@contextmanager
def inputs_of(module: nn.Module | None):
    """What this thread calls the module with while the context is open; nothing is seen of a module that is not there."""
    seen: list[Tensor] = []
    here = get_ident()

    def note(_, args) -> None:
        if get_ident() == here:  # another thread may be encoding with the same model
            seen.append(args[0])

    handle = module.register_forward_pre_hook(note) if module is not None else None
    try:
        yield seen
    finally:
        if handle is not None:
            handle.remove()


def foreign_hooks(module: nn.Module) -> list[str]:
    """Names of the parts that carry forward hooks other than transformers' own, which only look."""
    found = []
    for name, part in module.named_modules():
        hooks = [*part._forward_hooks.values(), *part._forward_pre_hooks.values()]
        if any(hook.__module__ != CAPTURING for hook in hooks):
            found.append(name or type(part).__name__)
    return found


@contextmanager
def portable(module: nn.Module):
    """The module without what transformers hangs into a model that has once given hidden states, so that it can travel to
    another process; there transformers hangs it in again. Other hooks stay: they may change the numbers."""
    taken = []
    for part in module.modules():
        for key, hook in list(part._forward_hooks.items()):
            if hook.__module__ == CAPTURING:
                taken.append((part, key, part._forward_hooks.pop(key)))
    hooked = [part for part in module.modules() if part.__dict__.pop("_output_capturing_hooks_installed", False)]
    try:
        yield module
    finally:
        for part, key, hook in taken:
            part._forward_hooks[key] = hook
        for part in hooked:
            part._output_capturing_hooks_installed = True
