"""What learns of a vision–language model: soft prompts and low-rank adapters; all else is shared with the model before."""

from __future__ import annotations

import copy

import torch
from torch import nn

from workbench.discriminative.config import DiscriminativeConfig
from workbench.fine_tuning.adapters import Target, Trained, check_rank, holds_adapters, inject, kind_of_linear
from workbench.models.lvlm import LvlmEncoder
from workbench.models.lvlm.soft import SoftEmbedding


def beside(model: LvlmEncoder) -> LvlmEncoder:
    """A copy that shares every weight's memory, frozen: seven billion numbers need not be there twice to tune a hundredth."""
    shared = {id(own): nn.Parameter(own.detach(), requires_grad=False) for own in model.module.parameters()}
    made = copy.deepcopy(model, shared)
    embedding = made.module.get_input_embeddings()
    if (
        isinstance(embedding, SoftEmbedding) and not model.soft_prompts
    ):  # asked in other words than those it was tuned with
        made.module.set_input_embeddings(embedding.words)
    return made


def prepare(model: LvlmEncoder, config: DiscriminativeConfig) -> Trained:
    """Let what the configuration names learn, in place: give what `beside` made.

    Adapters stand on every linear layer of the language model's blocks, the head and the image tower left out; B starts at
    zero and soft prompts at their words, so nothing changes until the first step. What learns is float32 whatever the model
    is. A is drawn from torch's global generator: seed it. Raises TypeError for another kind of model, ValueError for adapters
    that are there already, a rank that does not fit, or prompts that are soft already.
    """
    if not isinstance(model, LvlmEncoder):
        raise TypeError(
            f"{getattr(model, 'name', model)!r} is a {type(model).__name__}; only a generative vision–language model is tuned "
            "here (load one by 'scenes-lvlm' or 'lvlm:…'), a CLIP by workbench.fine_tuning"
        )
    if holds_adapters(model.module):
        raise ValueError(f"{model.name} holds adapters already; merge them first, or load it anew")
    targets, tuner = (), None
    if config.lora:
        targets = targets_of(model)
        check_rank(model, targets, config.rank, config.alpha)
        tuner = inject(model.module, [target.name for target in targets], config.rank, config.alpha)
    if config.soft_prompts:
        model.soften()
    learning = {name: p for name, p in model.module.named_parameters() if _learns(name, config)}
    for name, parameter in model.module.named_parameters():
        parameter.requires_grad_(name in learning)
        if name in learning:
            parameter.data = parameter.data.float()
    model.module.eval()
    total = sum(p.numel() for p in model.module.parameters())
    return Trained(model, config.learns, learning, targets, tuner, total)


def targets_of(model: LvlmEncoder) -> tuple[Target, ...]:
    """The linear layers of the language model's blocks, in the order of the model."""
    decoder = {id(part) for part in model.module.get_decoder().modules() if isinstance(part, nn.Linear)}
    return tuple(
        Target(name, (kind_of_linear(model.module, name),), (tuple(part.weight.shape),))
        for name, part in model.module.named_modules()
        if id(part) in decoder
    )


def merge(trained: Trained) -> None:
    """Fold the adapters into weights of the tuned model's own: those of the model before stay as they are."""
    for target in trained.targets if trained.tuner is not None else ():
        layer = trained.model.module.get_submodule(target.name).get_base_layer()
        layer.weight = nn.Parameter(layer.weight.detach().clone(), requires_grad=False)
    with torch.no_grad():
        trained.merge()


def _learns(name: str, config: DiscriminativeConfig) -> bool:
    return (config.lora and ".lora_" in name) or (config.soft_prompts and name.endswith(".soft"))
