"""A module's twin on torch's meta device: shapes and the order of calls, without arithmetic and without memory."""

from __future__ import annotations

from copy import deepcopy
from itertools import chain

import torch
from torch import nn


def meta_twin(module: nn.Module) -> nn.Module:
    """A copy whose weights and buffers have shapes only; the module itself is not touched.

    `torch.func.functional_call` would not do: where two names share one module (CoaT in timm), it puts the stand-ins back
    in place of the weights.
    """
    tensors = chain(module.parameters(), module.buffers())
    return deepcopy(module, {id(tensor): _shape_of(tensor) for tensor in tensors})


def _shape_of(tensor: torch.Tensor) -> torch.Tensor:
    bare = torch.empty_like(tensor, device="meta", requires_grad=False)
    return nn.Parameter(bare, requires_grad=False) if isinstance(tensor, nn.Parameter) else bare
