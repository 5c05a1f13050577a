"""The local score beside the two matrix products that it needs, and a fine-tuning step with negatives beside one without.

`--small` takes an eighth of the pictures. Nothing else should run meanwhile: the ratios hold for an idle machine.
"""

from __future__ import annotations

import copy
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from itertools import count

import torch
from timing import forget_peak, in_turn, peak, row, seconds
from torch import Tensor

from workbench import training
from workbench.data.scenes import draw, scenes
from workbench.fine_tuning import FineTuneConfig, Pairs, online_negatives, run
from workbench.fine_tuning.adapters import prepare
from workbench.matching import local_similarity
from workbench.models.registry import load_model

SMALL = "--small" in sys.argv[1:]
B = 32 if SMALL else 256
CAPTIONS, P, T, D = 4, 49, 77, 512
BATCH, SCENES, REPEATS = 128, 1280, 3 if SMALL else 7
PASSES = ("forward", "forward and backward")


def tokens(wanted: bool = False) -> list[Tensor]:
    numbers = torch.Generator().manual_seed(0)
    shapes = (B, P, D), (B, CAPTIONS, T, D)
    return [torch.randn(shape, generator=numbers).requires_grad_(wanted) for shape in shapes]


def ours(image: Tensor, text: Tensor) -> None:
    """A step's worth: forward, and backward where a gradient is wanted."""
    score = local_similarity(image, text, None, 20.0)
    if image.requires_grad:
        score.sum().backward()
        image.grad = text.grad = None


def products(image: Tensor, text: Tensor) -> Callable[[], None]:
    """What no way of computing the score can do without: every word with every patch, and patches pooled for every word.

    Backward three more: from the map to words and to patches, and from the pooled patches to patches.
    """
    v, t = image.detach(), text.detach().flatten(1, 2)
    similar, pooled, weights = torch.empty(B, CAPTIONS * T, P), torch.empty_like(t), torch.rand(B, CAPTIONS * T, P)
    to_text, to_image = torch.empty_like(t), torch.empty_like(v)

    def run() -> None:
        torch.bmm(t, v.mT, out=similar)
        torch.bmm(weights, v, out=pooled)
        if image.requires_grad:
            torch.bmm(weights, v, out=to_text)
            torch.bmm(weights.mT, t, out=to_image)
            torch.bmm(weights.mT, pooled, out=to_image)

    return run


def local() -> None:
    row(f"local similarity, {B} × {CAPTIONS} captions, P={P}, T={T}, d={D}", "", "")
    for name in PASSES:
        given = tokens(name != "forward")
        took, bare, ratio = in_turn(lambda given=given: ours(*given), products(*given), repeats=REPEATS)
        told = f"{took:.3f} s, {5 if given[0].requires_grad else 2} products {bare:.3f} s, ratio {ratio:.2f}"
        row(f"  {name}", told, "ratio ≤ 1.3" if name == "forward" else "reported")
        extra, one = apart(name), 4 * B * T * P * D
        told = f"{extra / 2**20:.0f} MiB" if sys.platform == "linux" else "not measured"
        beside = (
            f"below {one / 2**20:.0f} MiB, (B, T, P, d), and {CAPTIONS * one / 2**20:.0f} MiB, (B, {CAPTIONS}, T, P, d)"
        )
        row("    memory beyond tokens and gradients", told, beside)


def apart(name: str) -> int:
    """Bytes at the peak beyond the tokens and their gradients, of one call in a fresh process."""
    asked = [sys.executable, __file__, name, *sys.argv[1:]]
    return json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)


def once(name: str) -> int:
    given = tokens(name != "forward")
    small = [each[:2].detach().requires_grad_(each.requires_grad) for each in given]
    ours(*small)  # what the libraries take once
    forget_peak()
    before = peak()
    ours(*given)
    return peak() - before - (sum(x.nbytes for x in given) if given[0].requires_grad else 0)


def step_of(model, shown: list, pictures: list, config: FineTuneConfig) -> Callable[[], None]:
    """One more step of the training loop at every call, with its pictures opened already, as from the second epoch on."""
    tuned = copy.deepcopy(model)
    trained, pairs = prepare(tuned, config.parts), Pairs(pictures, [each.caption for each in shown])
    optimiser, steps = run._optimiser(trained, config), count()
    pairs.pixels(tuned, range(len(pairs)))
    return lambda: training._step(lambda step: run._loss(tuned, pairs, config, step), next(steps), optimiser)


def steps() -> None:
    """All through the loop of `fine_tune`, in turn."""
    model, shown = load_model("scenes-clip@1000", device="cpu"), scenes(SCENES, 3000, domain="A")
    pictures = [draw(each, 64) for each in shown]
    config = {"batch_size": BATCH, "learning_rate": 3e-4}
    plain = step_of(model, shown, pictures, FineTuneConfig(loss="clip", **config))
    making = negatives_of([each.caption for each in shown])
    row(f"a step of scenes-clip, {BATCH} pictures", "", "")
    for loss in ("fsc", "negclip"):
        own = step_of(model, shown, pictures, FineTuneConfig(loss=loss, **config))
        took, bare, ratio = in_turn(own, plain, repeats=REPEATS)
        told = f"{took:.3f} s, contrast alone {bare:.3f} s, ratio {ratio:.2f}"
        row(f"  {loss}, three negatives a caption", told, "ratio ≤ 4.5")
        row("    of which making the negatives", f"{1000 * making:.0f} ms, {100 * making / took:.1f} %", "reported")


def negatives_of(captions: list[str]) -> float:
    """Median seconds of making a batch's negatives, captions that were seen before, as from the second epoch on."""
    online_negatives(captions, 3)
    batches = [captions[i : i + BATCH] for i in range(0, len(captions), BATCH)]
    return statistics.median(
        seconds(lambda some=some, step=step: online_negatives(some, 3, step=step)) for step, some in enumerate(batches)
    )


def main() -> None:
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f} before the first run")
    local()
    steps()


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in PASSES:
        print(json.dumps(once(sys.argv[1])))
    else:
        main()
