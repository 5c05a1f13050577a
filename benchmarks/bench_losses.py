"""Contrastive and sigmoid loss with all gradients, beside the bare matrix products that they need and open_clip's losses.

`--small` leaves out the batch that takes minutes. Nothing else should run meanwhile: the ratios hold for an idle machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from timing import forget_peak, in_turn, peak, row, seconds
from torch import Tensor

from workbench.losses import clip_loss, sigmoid_loss
from workbench.losses.tiles import KEEP_BYTES

SMALL, LARGE, D, BLOCK = (4_096, 8_192), (32_768,), 1_024, 1_024
LOSSES = ("sigmoid", "InfoNCE")


def inputs(batch: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    image, text = (torch.randn(batch, D, generator=generator) for _ in range(2))
    return [x.requires_grad_() for x in (image, text, torch.tensor(20.0), torch.tensor(-10.0))]


def ours(which: str, image, text, scale, bias) -> None:
    loss = clip_loss(image, text, scale) if which == "InfoNCE" else sigmoid_loss(image, text, scale, bias)
    loss.backward()
    forget(image, text, scale, bias)


def theirs(which: str, image, text, scale, bias) -> None:
    from open_clip.loss import ClipLoss, SigLipLoss

    unit = F.normalize(image, dim=-1), F.normalize(text, dim=-1)
    loss = ClipLoss()(*unit, scale) if which == "InfoNCE" else SigLipLoss()(*unit, scale, bias)
    loss.backward()
    forget(image, text, scale, bias)


def forget(*tensors: Tensor) -> None:
    for x in tensors:
        x.grad = None


def needed(which: str, batch: int) -> int:
    """Products: logits, a gradient for each side, and InfoNCE's logits again where they are too many to be kept."""
    return 4 if which == "InfoNCE" and 4 * batch**2 > KEEP_BYTES else 3


def products(count: int, image: Tensor, text: Tensor) -> Callable[[], None]:
    """What no way of computing the losses can do without, block by block into the same memory."""
    x, y = image.detach(), text.detach()
    logits, slopes = torch.empty(BLOCK, len(x)), torch.randn(BLOCK, len(x))
    to_x, to_y = torch.empty_like(x), torch.zeros_like(y)

    def run() -> None:
        for start in range(0, len(x), BLOCK):
            part = slice(start, start + BLOCK)
            for _ in range(count - 2):
                torch.mm(x[part], y.T, out=logits)
            torch.mm(slopes, y, out=to_x[part])
            to_y.addmm_(slopes.T, x[part])

    return run


def apart(which: str, batch: int) -> dict[str, float]:
    """Seconds and bytes at the peak beyond inputs and their gradients, of one call in a fresh process."""
    asked = [sys.executable, __file__, which, str(batch)]
    return json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)


def once(which: str, batch: int) -> dict[str, float]:
    ours(which, *inputs(BLOCK))  # what the libraries take once
    given = inputs(batch)
    forget_peak()
    before = peak()
    took = seconds(lambda: ours(which, *given))
    return {"seconds": took, "bytes": peak() - before - sum(x.nbytes for x in given)}


def main(sizes: tuple[int, ...]) -> None:
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f} before the first run")
    for batch in sizes:
        given = inputs(batch)
        for which in LOSSES:
            (in_one_process if batch in SMALL else in_two)(which, given)


def in_one_process(which: str, given: list[Tensor]) -> None:
    def mine() -> None:
        ours(which, *given)

    count = needed(which, len(given[0]))
    beside_products(which, len(given[0]), count, *in_turn(mine, products(count, *given[:2]), repeats=3))
    memory(apart(which, len(given[0])))
    took, peer, ratio = in_turn(mine, lambda: theirs(which, *given), repeats=3)
    row("  beside open_clip's", f"{took:.2f} s, {peer:.2f} s, ratio {ratio:.2f}", "ratio ≤ 1")


def in_two(which: str, given: list[Tensor]) -> None:
    """One call is long enough to be timed where its memory is measured."""
    count = needed(which, len(given[0]))
    extra, bare = apart(which, len(given[0])), seconds(products(count, *given[:2]))
    beside_products(which, len(given[0]), count, extra["seconds"], bare, extra["seconds"] / bare)
    memory(extra)


def beside_products(which: str, batch: int, count: int, mine: float, bare: float, ratio: float) -> None:
    told = f"{mine:.2f} s, {count} products {bare:.2f} s, ratio {ratio:.2f}"
    row(f"{which}, {batch:,} × {D:,}, forward and backward", told, "ratio ≤ 1.25")


def memory(extra: dict[str, float]) -> None:
    told = f"{extra['bytes'] / 2**20:.0f} MiB" if sys.platform == "linux" else "not measured"
    row("  memory beyond inputs and gradients", told, "≤ 1536 MiB")


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in LOSSES:
        print(json.dumps(once(sys.argv[1], int(sys.argv[2]))))
    else:
        main(SMALL if "--small" in sys.argv[1:] else SMALL + LARGE)
