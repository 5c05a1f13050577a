"""The activations of a vision–language model that reads or is tuned, counted on the meta device."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from workbench.features import ImageFeatures
from workbench.memory.prediction import predict
from workbench.memory.rehearsal import Task
from workbench.models.lvlm import LvlmEncoder

FEW, MORE = 4, 8  # blocks that are rehearsed where there are many


class Rehearsed(LvlmEncoder):
    """A model on the meta device whose pictures, where gradients are asked for, have `long` tokens behind them, as in
    `step.encode`; they are read and not scored."""

    long = 0

    @classmethod
    def of(cls, bare: LvlmEncoder, dtype: torch.dtype, long: int) -> Rehearsed:
        """A copy of a model that is on the meta device, in a precision."""
        parts = (copy.deepcopy(bare.module), bare._inputs, bare.prompts, bare.card)
        model = cls(*parts, device="meta", dtype=dtype)
        model._soft, model.long = bare._soft, long
        return model

    def forward_image(self, pixels: Tensor, **options) -> ImageFeatures:
        if not self.long or not torch.is_grad_enabled():
            return super().forward_image(pixels, **options)
        asked = self._of_pictures(pixels, self.prompts.image)
        start, behind = asked["input_ids"].shape[1], asked["input_ids"].new_ones(len(pixels), self.long)
        ids = torch.cat([asked["input_ids"], behind], dim=1)
        states = self._states(**asked | {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        return ImageFeatures(states[:, start - 1], states[:, start - 1])


def activations(model: LvlmEncoder, task: Task) -> int:
    """Bytes as `memory.prediction.predict` counts them. Blocks of a language model are alike, so of many a few are rehearsed: to
    read, one block's activations are held at a time, and in training each of the others adds what these add."""
    decoder = model.module.get_decoder()
    layers = getattr(decoder, "layers", None)
    if layers is None or len(layers) <= MORE:
        return predict(model, task).activations
    with _cut(decoder, FEW):
        few = predict(model, task).activations
    if not task.training:
        return few
    with _cut(decoder, MORE):
        more = predict(model, task).activations
    return more + (len(layers) - MORE) * (more - few) // (MORE - FEW)


@contextmanager
def _cut(decoder: nn.Module, n: int) -> Iterator[None]:
    """The first n blocks alone."""
    whole = decoder.layers
    decoder.layers = whole[:n]
    try:
        yield
    finally:
        decoder.layers = whole
