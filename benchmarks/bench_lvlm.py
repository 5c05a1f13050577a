"""A generative model read as a dual encoder, beside its own forward pass without and with the vocabulary's head.

`--small` takes an eighth of the inputs. Nothing else should run meanwhile: the ratios hold for an idle machine.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from timing import forget_peak, in_turn, peak, row
from torch import Tensor

from workbench.data.scenes import draw, scenes
from workbench.models.lvlm import LvlmEncoder
from workbench.models.registry import load_model
from workbench.paths import assets

SMALL = "--small" in sys.argv[1:]
INPUTS, REPEATS = (8, 3) if SMALL else (64, 7)
VOCABULARY, WIDTH, LAYERS = 32_000, 256, 4


def large(folder: Path) -> LvlmEncoder:
    """scenes-lvlm's processor before a language model of random weights with as many words as a real one has."""
    from transformers import AutoProcessor, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    source = assets() / "models" / "scenes-lvlm"
    config = LlavaConfig.from_pretrained(source)
    shape = {
        "hidden_size": WIDTH,
        "intermediate_size": 3 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 8,
    }
    config.text_config = LlamaConfig(
        vocab_size=VOCABULARY, max_position_embeddings=128, **shape, tie_word_embeddings=False
    )
    config.tie_word_embeddings = False
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    AutoProcessor.from_pretrained(source).save_pretrained(folder)
    return load_model(f"lvlm:{folder}", device="cpu")


def sides(model: LvlmEncoder) -> dict[str, tuple[Callable[[], object], dict[str, Tensor]]]:
    """Each modality: what encodes it, and the same inputs as the library takes them."""
    shown = scenes(INPUTS, "bench-lvlm")
    pixels = torch.stack([model.preprocess(draw(each, 64)) for each in shown])
    read = model.tokenize([each.caption for each in shown])
    positions = (read.mask.long().cumsum(1) - 1).clamp(min=0)
    text = {"input_ids": read.ids, "attention_mask": read.mask.long(), "position_ids": positions}
    return {
        "pictures": (lambda: model.forward_image(pixels), model._of_pictures(pixels, model.prompts.image)),
        "captions": (lambda: model.forward_text(read.ids, read.mask), text),
    }


def measured(name: str, model: LvlmEncoder) -> None:
    for side, (encode, inputs) in sides(model).items():
        without, with_head = (partial(part, **inputs, use_cache=False) for part in (model.module.model, model.module))
        took, bare, ratio = in_turn(encode, without, REPEATS)
        _, whole, share = in_turn(encode, with_head, REPEATS)
        told = f"{1000 * took:.0f} ms, model without head {1000 * bare:.0f} ms, ratio {ratio:.2f}"
        row(f"{name}: {INPUTS} {side}", told, "ratio ≤ 1.1")
        row("  with logits of every token", f"{1000 * whole:.0f} ms, encoding is {share:.2f} of it", "reported")
        row("  vocabulary logits formed while encoding", str(logits_formed(model, encode)), "0")
        kept = [extra(run) for run in (encode, with_head)]
        row("  memory at the peak above what was held", "{:.0f} MiB, with logits {:.0f} MiB".format(*kept), "reported")


def logits_formed(model: LvlmEncoder, run: Callable[[], object]) -> int:
    """How many the head makes during a run."""
    formed: list[int] = []
    hook = model.module.get_output_embeddings().register_forward_hook(lambda _, __, out: formed.append(out.numel()))
    run()
    hook.remove()
    return sum(formed)


def extra(run: Callable[[], object]) -> float:
    """MiB at the peak of a run above what was held before it."""
    forget_peak()
    before = peak()
    run()
    return (peak() - before) / 2**20


def main() -> None:
    torch.set_num_threads(2)
    print(
        f"{torch.get_num_threads()} threads, medians of {REPEATS}, load {os.getloadavg()[0]:.1f} before the first run"
    )
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        measured("scenes-lvlm", load_model("scenes-lvlm", device="cpu"))
        measured(f"LLaVA of {VOCABULARY:,} words", large(Path(folder)))


if __name__ == "__main__":
    main()
