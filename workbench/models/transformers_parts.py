"""What the image and the text towers of transformers share: loading with every tensor accounted for, and reading a block."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from workbench.models.hub_errors import said_clearly
from workbench.models.weights import check_checkpoint, check_finite

# Buffers that older checkpoints stored and newer models compute, and a token that only pre-training looks at.
_HARMLESS = ("position_ids", "token_type_ids", "inv_freq", "mask_token", "masked_bias")


def load_config(name: str, place: str, folder: Path | None, **options):
    """The configuration of a transformers model. Raises FileNotFoundError for a folder without one."""
    from transformers import AutoConfig

    if folder is not None and not (folder / options.get("subfolder", "") / "config.json").is_file():
        raise FileNotFoundError(f"{folder} has no config.json; give a folder that transformers saved")
    with said_clearly(name, folder):
        config = AutoConfig.from_pretrained(place, trust_remote_code=False, **options)
    if hasattr(config, "vision_config"):
        raise ValueError(
            f"{name} is a whole {config.model_type!r} model, image and text; load it with load_model, or give one tower"
        )
    return config


def load_weights(
    auto, name: str, place: str, folder: Path | None, config, **options
) -> tuple[nn.Module, tuple[str, ...]]:
    """The model in float32 and notes on what its checkpoint held besides.

    Raises ValueError for tensors that are missing, have another shape, belong to a part of the model that does not exist,
    or are not finite. A pooler that the checkpoint lacks would be random: it is taken off, for no tower here uses it.
    """
    check_pickles(folder)
    with said_clearly(name, folder):
        model, info = auto.from_pretrained(
            place,
            config=config,
            dtype=torch.float32,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # said below, with the shapes
            **options,
        )
    if info["mismatched_keys"]:
        key, stored, wanted = min(info["mismatched_keys"])
        raise ValueError(
            f"the weights of {name} do not fit its configuration: {key} is {tuple(stored)}, the model's {tuple(wanted)}"
        )
    missing = sorted(key for key in info["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise ValueError(
            f"the weights of {name} lack {', '.join(missing[:3])}{' …' if missing[3:] else ''}, which would be random; "
            "get a complete checkpoint"
        )
    if info["missing_keys"]:
        model.pooler = None
    heads = _of_other_parts(name, model, info["unexpected_keys"])
    check_finite(name, model)
    return model, (f"left out of the checkpoint: {', '.join(heads)}",) if heads else ()


def load_tokenizer(name: str, place: str, folder: Path | None, **options):
    """A tokenizer that maps pieces to words, pads and cuts on the right, and runs no code of the folder's.

    Raises FileNotFoundError where its files are missing, ValueError for a slow one.
    """
    from transformers import AutoTokenizer

    with said_clearly(name, folder):
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False, **options)
    if len(tokenizer.get_vocab()) <= len(tokenizer.all_special_ids):  # transformers makes an empty one where files lack
        raise FileNotFoundError(f"{folder or name} holds no tokenizer that can be read; it needs tokenizer.json")
    if not tokenizer.is_fast:
        raise ValueError(f"the tokenizer of {name} cannot map tokens to words; save it as tokenizer.json")
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    return tokenizer


def check_pickles(folder: Path | None) -> None:
    """Raises ValueError for a checkpoint of a folder that would be opened and holds more than tensors; safetensors come
    first, and files that a trainer left beside them are nobody's weights."""
    if folder is not None and not any(folder.glob("*.safetensors")):
        for file in sorted(folder.glob("pytorch_model*.bin")):
            check_checkpoint(file)


def _of_other_parts(name: str, model: nn.Module, unexpected: set[str]) -> tuple[str, ...]:
    """The heads that a checkpoint holds besides the tower. Raises ValueError for tensors of the tower that have no place."""
    prefix, own = f"{model.base_model_prefix}.", {part for part, _ in model.named_children()}
    others = set()
    for key in sorted(unexpected):
        part = key.removeprefix(prefix).partition(".")[0]
        if key.endswith(_HARMLESS):
            continue
        if part in own and part != "pooler":
            raise ValueError(
                f"the weights of {name} hold {key}, for which its configuration has no place; "
                "configuration and weights belong to different models"
            )
        others.add(part)
    return tuple(sorted(others))


def blocks_and_norm(model: nn.Module, run: Callable[[nn.Module], object]) -> tuple[int, str | None, object]:
    """How many blocks' states can be read, the name of the norm behind the last, and what `run(model)` gave.

    `run` calls the model with `output_hidden_states=True`. The final norm is the module whose output *is*
    `last_hidden_state` (the same memory: GPT-2 reshapes it once more); where a block made it, there is no norm behind the
    blocks (BERT). 0 blocks where the states of earlier ones have other shapes, or where nobody is seen to make the last.
    """
    made = []
    hooks = [
        module.register_forward_hook(lambda _, __, out, name=name: made.append((name, out)))
        for name, module in model.named_modules()
        if name
    ]
    try:
        out = run(model)
    finally:
        for hook in hooks:
            hook.remove()
    last, hidden = out.last_hidden_state, out.hidden_states or ()
    makers = [name for name, value in made if _is(_first(value), last)]
    if not makers or len({state.shape for state in hidden[1:]} | {last.shape}) != 1:
        return 0, None, out
    in_block = any(_in_list(model, name) for name in makers)
    return len(hidden) - 1, None if in_block else makers[0], out


def _first(value):
    return value[0] if isinstance(value, (tuple, list)) and value else value


def _is(value, last: Tensor) -> bool:
    return isinstance(value, Tensor) and (value is last or (not value.is_meta and value.is_set_to(last)))


def _in_list(model: nn.Module, name: str) -> bool:
    """Whether a module sits inside a list of modules, which is how transformers keeps blocks."""
    steps = name.split(".")
    return any(isinstance(model.get_submodule(".".join(steps[:n])), nn.ModuleList) for n in range(1, len(steps)))


def block_states(model: nn.Module, norm: nn.Module | None, block: int | None, **inputs: Tensor) -> Tensor:
    """`last_hidden_state`, or the same as if the model ended after `block`: that block's output through the final norm."""
    if block is None:
        return model(**inputs).last_hidden_state
    states = model(**inputs, output_hidden_states=True).hidden_states[block + 1]
    return states if norm is None else norm(states)


def recipe_of(model: nn.Module, pooling: str) -> str:
    """A configuration and a pooling as one string, without what changes no number."""
    config = model.config.to_diff_dict()
    for key in ("_name_or_path", "transformers_version", "architectures", "dtype"):
        config.pop(key, None)
    return json.dumps({"pooling": pooling, **config}, sort_keys=True, default=str)
