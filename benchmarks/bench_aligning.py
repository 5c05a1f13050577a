"""One step of SAIL's gated heads beside the bare matrix products that it needs, and the memory plan beside what a step holds."""

from __future__ import annotations

import torch
from timing import in_turn, row

from workbench.aligning import AlignConfig, plan_alignment
from workbench.aligning.step import loss_of
from workbench.memory.prediction import peak_bytes
from workbench.optim import optimiser

BATCH, D_I, D_T = 2048, 1280, 384  # EfficientNet-Lite and MiniLM
CONFIG = AlignConfig(batch_size=BATCH, d=512)


def main() -> None:
    images, texts = torch.randn(BATCH, D_I), torch.randn(BATCH, D_T)
    head = CONFIG.build(D_I, D_T)
    rule = optimiser(CONFIG.optimiser, head.parameters(), lr=CONFIG.learning_rate)

    def step() -> None:
        loss = loss_of(head, CONFIG, images, [texts])
        rule.zero_grad(set_to_none=True)
        loss.backward()
        rule.step()

    ours, bare, ratio = in_turn(step, products(), repeats=5)
    what = f"gated heads, {D_I} and {D_T} to {CONFIG.d}, batch {BATCH:,}, a step"
    row(what, f"{ours:.2f} s, products {bare:.2f} s, rate {1 / ratio:.2f} of theirs", "≥ 0.8")
    measured, planned = peak_bytes(step, held=(images, texts)), plan_alignment(BATCH, D_I, D_T, CONFIG)
    stays = planned.stays - 4 * planned.parameters  # gradients are made in the step
    share = (measured + stays) / planned.step
    row("  memory of a step", f"{measured / 2**20:.0f} MiB beyond what stays, {share:.2f} of the plan", "0.9 to 1.1")


def products():
    """Three layers of each head, forward and twice backward, and the loss's three; embeddings take no gradient."""
    shapes = []
    for d_in in (D_I, D_T):
        hidden = CONFIG.width * d_in
        shapes += 2 * [(BATCH, d_in, hidden), (d_in, BATCH, hidden)] + 2 * [(BATCH, hidden, d_in)]
        shapes += [(BATCH, hidden, CONFIG.d), (BATCH, CONFIG.d, hidden), (hidden, BATCH, CONFIG.d)]
    shapes += [(BATCH, CONFIG.d, BATCH), (BATCH, BATCH, CONFIG.d), (BATCH, BATCH, CONFIG.d)]
    factors = {shape: (torch.randn(shape[0], shape[1]), torch.randn(shape[1], shape[2])) for shape in shapes}
    into = {shape: torch.empty(shape[0], shape[2]) for shape in factors}

    def run() -> None:
        for shape in shapes:
            torch.mm(*factors[shape], out=into[shape])

    return run


if __name__ == "__main__":
    main()
