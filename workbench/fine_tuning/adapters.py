"""What learns when a model is fine-tuned: everything, low-rank adapters, or one tower.

LoRA (Hu et al., arXiv 2106.09685) is peft's, on the targets of FSC-CLIP (arXiv 2410.05210, section 4): every linear layer of
both towers, the patch embedding, and the in- and out-projection of each attention. Embeddings, norms, biases, the final
projections and the temperature stay as they are.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from math import isfinite, prod
from numbers import Real

import torch
from torch import Tensor, nn

from workbench.models.batches import whole
from workbench.models.dual_encoder import DualEncoder
from workbench.models.reading import ReadEncoder
from workbench.records import Record, Table

PARTS = ("full", "lora", "image", "text")
KINDS = ("attention in-projection", "attention out-projection", "linear", "patch embedding")
IN, OUT, LINEAR, PATCHES = KINDS

# Children of a model of open_clip or transformers, by tower; what is in neither (the temperature, a captioner) is of no tower.
TOWERS = {
    "image": ("visual", "vision_model", "visual_projection"),
    "text": (
        *("text", "text_model", "text_projection"),
        *("transformer", "token_embedding", "positional_embedding", "ln_final"),  # open_clip's CLIP has no text child
    ),
}
ADAPTER = "default"  # peft's name of an adapter that has no other
TEMPERATURE = ("logit_scale", "logit_bias")
HEADS = ("visual.head", "text.proj", "visual_projection", "text_projection")  # final projections that are layers


@dataclass(frozen=True)
class Target:
    """A module that gets an adapter: its name, what it is (one of KINDS, two for a fused attention), and the shapes (out, in)
    of its matrices."""

    name: str
    kinds: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Trained(Record):
    """What learns of a model: `parameters` by name in the order of the model, LoRA's `targets`, none for other parts."""

    model: DualEncoder
    parts: str
    parameters: dict[str, nn.Parameter]
    targets: tuple[Target, ...] = ()
    tuner: nn.Module | None = field(default=None, repr=False)
    total: int = 0

    def __repr__(self) -> str:
        return f"Trained({self.model.name!r}, {self.parts!r}, {self.trainable:,} of {self.total:,} parameters)"

    @property
    def trainable(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters.values())

    def merge(self) -> None:
        """Fold the adapters into the weights, in place: nothing of peft is left, and `parameters` no longer matter.

        The module has its own classes and state-dict keys again, all of it frozen; a second call does nothing, nor does any
        where no adapters are.
        """
        if self.tuner is not None and holds_adapters(self.model.module):
            with torch.no_grad():
                self.tuner.merge_and_unload()

    def table(self) -> Table:
        counted = Counter(kind for target in self.targets for kind in target.kinds)
        rows = [
            ("trainable parameters", f"{self.trainable:,}"),
            ("all parameters", f"{self.total:,}"),
            ("share", f"{100 * self.trainable / self.total:.2f} %"),
            *((f"adapters: {kind}", str(counted[kind])) for kind in KINDS if counted[kind]),
        ]
        return Table(f"What learns of {self.model.name}: {self.parts}", ("what", "count"), tuple(rows))


def prepare(model: DualEncoder, parts: str = "full", *, rank: int = 4, alpha: float = 1.0) -> Trained:
    """Let `parts` of the model learn and freeze the rest, in place: give a copy that may change.

    `parts`: "full" everything that decides a feature, and the temperature; "lora" adapters W + (alpha / rank) B A of `rank`
    beside frozen weights; "image" or "text" that tower alone, the other and the temperature locked. B starts at zero, so the
    adapted model equals the given one until the first step; in FSC-CLIP's code the in-projection's does not. A is drawn from
    torch's global generator: seed it. There is no dropout. Attention whose queries, keys and values have matrices of their own
    beside each other as bare parameters (CoCa's pool) stays frozen.

    Raises ValueError for unknown parts, a model without such a tower or with adapters already, a rank below 1 or above what
    a target's smaller side allows, an alpha that is not positive.
    """
    if parts not in PARTS:
        raise ValueError(f"parts={parts!r}; choose one of {', '.join(PARTS)}")
    _check_model(model)
    if parts == "lora":
        return _adapted(model, rank, alpha)
    towers = ("image", "text") if parts == "full" else (parts,)
    learning = {name for tower in towers for name in _of_tower(model, tower)}
    for name, parameter in model.module.named_parameters():
        parameter.requires_grad_(name in learning or (parts == "full" and name in TEMPERATURE))
    return _trained(model, parts)


def holds_adapters(module: nn.Module) -> bool:
    """Whether any part of the module is a layer of peft."""
    return any(type(part).__module__.startswith("peft.") or hasattr(part, "lora_A") for part in module.modules())


def targets_of(model: DualEncoder) -> tuple[Target, ...]:
    """What LoRA adapts in both towers, found by type, in the order of the model.

    A fused attention is one target: its out-projection is never called as a layer, so an adapter on it alone would get no
    gradient.
    """
    module, found = model.module, []
    heads = {id(model.projection(side)) for side in ("image", "text")}
    fused = [name for name, part in module.named_modules() if isinstance(part, nn.MultiheadAttention)]
    first = _first_convolution(module)
    for name, part in module.named_modules():
        if _tower_of(name) is None or id(part) in heads or _is_below(name, (*HEADS, *fused)):
            continue
        if isinstance(part, nn.MultiheadAttention) and part.in_proj_weight is not None:
            found.append(Target(name, (IN, OUT), (tuple(part.in_proj_weight.shape), tuple(part.out_proj.weight.shape))))
        elif isinstance(part, nn.Linear):
            found.append(Target(name, (kind_of_linear(module, name),), (tuple(part.weight.shape),)))
        elif part is first:
            out, *taken = part.weight.shape
            found.append(Target(name, (PATCHES,), ((out, prod(taken)),)))
    return tuple(found)


def _check_model(model: DualEncoder) -> None:
    if not isinstance(model, ReadEncoder):
        raise TypeError(
            f"{getattr(model, 'name', model)!r} is a {type(model).__name__}, not one model with two towers; load one of "
            "open_clip or transformers ('local-dir:…', 'scenes-clip'), and train heads on towers with workbench.aligning"
        )
    if holds_adapters(model.module):
        raise ValueError(f"{model.name} holds adapters already; call merge() on what prepare returned, or load it anew")


def _tower_of(name: str) -> str | None:
    child = name.partition(".")[0]
    return next((tower for tower, children in TOWERS.items() if child in children), None)


def _of_tower(model: DualEncoder, tower: str) -> list[str]:
    """Names of a tower's parameters. Raises ValueError where there are none."""
    names = [name for name, _ in model.module.named_parameters() if _tower_of(name) == tower]
    if not names:
        raise ValueError(
            f"{model.name} has no {tower} tower with parameters; its parts are "
            f"{', '.join(name for name, _ in model.module.named_children()) or 'none'}, known ones {', '.join(TOWERS[tower])}"
        )
    return names


def _is_below(name: str, places: tuple[str, ...]) -> bool:
    return any(name.startswith(f"{place}.") for place in places)


def _first_convolution(module: nn.Module) -> nn.Conv2d | None:
    """The convolution that reads the pixels."""
    convolutions = ((name, part) for name, part in module.named_modules() if isinstance(part, nn.Conv2d))
    return next((part for name, part in convolutions if _tower_of(name) == "image"), None)


def kind_of_linear(module: nn.Module, name: str) -> str:
    """Of an attention's linear layers, less those of an MLP in it, the last is the out-projection."""
    path = name.split(".")
    above = [".".join(path[:i]) for i in range(1, len(path))]
    classes = [type(module.get_submodule(place)).__name__ for place in above]
    if any(re.search(r"mlp$", each, re.I) for each in classes):
        return LINEAR
    attention = next((place for place, each in zip(above, classes, strict=True) if _is_attention(each)), None)
    if attention is None:
        return LINEAR
    inside = module.get_submodule(attention).named_modules(prefix=attention)
    linears = [each for each, part in inside if isinstance(part, nn.Linear) and not re.search(r"\.mlp\.", each, re.I)]
    return OUT if name == linears[-1] else IN


def _is_attention(kind: str) -> bool:
    return bool(re.search(r"Attention|Attn", kind)) and not re.search(r"Block|Layer$|Pooler", kind)


def _adapted(model: DualEncoder, rank: int, alpha: float) -> Trained:
    for tower in TOWERS:
        _of_tower(model, tower)
    targets = targets_of(model)
    check_rank(model, targets, rank, alpha)
    training = {target.name: model.module.get_submodule(target.name).training for target in targets}
    tuner = inject(model.module, [target.name for target in targets], rank, alpha)
    for name, each in training.items():  # new layers start in training whatever surrounds them
        model.module.get_submodule(name).train(each)
    return _trained(model, "lora", targets, tuner)


def check_rank(model: DualEncoder, targets: tuple[Target, ...], rank: int, alpha: float) -> None:
    """Raises ValueError where there is nothing to adapt, or adapters cannot have this rank or alpha."""
    if not targets:
        raise ValueError(f"{model.name} has no linear layer or attention to adapt; let other parts of it learn")
    if isinstance(alpha, bool) or not isinstance(alpha, Real) or not isfinite(alpha) or alpha <= 0:
        raise ValueError(
            f"alpha={alpha!r}; give a positive number, FSC-CLIP takes 1, VladVA 16 (updates are scaled by alpha / rank)"
        )
    shapes = ((target, shape) for target in targets for shape in target.shapes)
    narrowest, (out, taken) = min(shapes, key=lambda each: min(each[1]))
    largest = min(out, taken)
    if not 1 <= whole("rank", rank) <= largest:
        raise ValueError(
            f"rank={rank}: {narrowest.name} of {model.name} is {out} × {taken}; give a rank from 1 to {largest}"
        )


def inject(module: nn.Module, names: list[str], rank: int, alpha: float) -> nn.Module:
    """peft's tuner, which holds the module it has changed. Names are told as a pattern: a list would also match endings."""
    from peft import LoraConfig, LoraModel

    pattern = "|".join(re.escape(name) for name in names)
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=f"({pattern})", bias="none")
    attention, linear = _layers()
    config._register_custom_module({nn.MultiheadAttention: attention, nn.Linear: linear})
    return LoraModel(module, config, ADAPTER)


@cache
def _layers() -> tuple[type[nn.Module], type[nn.Module]]:
    """peft's adapters of a fused attention and of a linear layer, whose weights say what the layer does, update included.

    timm's EVA, BEiT and Swin v2 take `qkv.weight` and never call the layer, and `dense=` reads the projections of the last
    block: peft's own show the frozen weight there, so that an adapter would learn nothing and still be merged. peft's own
    attention adds the update before every call and takes it off again after, which leaves a rounding behind each time: the
    frozen weights wander, and a run resumed from its adapters is another run.
    """
    from peft.tuners.lora.layer import Linear, MultiheadAttention

    class AdaptedLinear(Linear):
        @property
        def weight(self) -> Tensor:
            return _updated(self, self.get_base_layer().weight)

    class AdaptedAttention(MultiheadAttention):
        @property
        def in_proj_weight(self) -> Tensor:
            return _updated(self, self.get_base_layer().in_proj_weight)

        @property
        def out_proj(self) -> nn.Module:
            return self.get_base_layer().out_proj

        def forward(self, query: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor | None]:
            return torch.func.functional_call(self.get_base_layer(), self._weights(), (query, *args), kwargs)

        def _weights(self) -> dict[str, Tensor]:
            """Both projections as they are now, under the names that they have inside."""
            out = _updated(self.out_proj, self.out_proj.get_base_layer().weight)
            return {"in_proj_weight": self.in_proj_weight, "out_proj.base_layer.weight": out}

        def unload_and_optionally_merge_module(self, merge: bool, *args, **kwargs) -> nn.MultiheadAttention:
            base = self.get_base_layer()
            for name, weight in self._weights().items() if merge else ():
                base.get_parameter(name).data = weight.detach()
            base.out_proj = self.out_proj.get_base_layer()
            return base

        def _restore_weights(self) -> None:
            """Nothing was taken away."""

    return AdaptedAttention, AdaptedLinear


def _updated(layer: nn.Module, weight: Tensor) -> Tensor:
    return weight + layer.get_delta_weight(ADAPTER).to(weight.dtype)


def _trained(model: DualEncoder, parts: str, targets: tuple[Target, ...] = (), tuner=None) -> Trained:
    everything = dict(model.module.named_parameters())
    learning = {name: parameter for name, parameter in everything.items() if parameter.requires_grad}
    total = sum(parameter.numel() for parameter in everything.values())
    return Trained(model, parts, learning, targets, tuner, total)
