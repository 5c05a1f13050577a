"""A new phrase on an encoded photo, a new caption on encoded crops, and a band moved over 5,000 pictures: from the change to
the messages for the browser."""

import statistics
import time
from types import SimpleNamespace

import numpy as np
import torch
from timing import row, seconds

import workbench as wb
from workbench.features import Projector
from workbench.panels.segmented import photo_examples

THINGS, PLACES = (
    ("red cup", "small dog", "old tripod", "wheel", "man with a hat", "sky"),
    ("table", "grass", "wall", "street"),
)
PHRASES = [f"{thing} near the {place}" for thing in THINGS for place in PLACES]

panel = wb.AlignmentPanel(wb.load_model("lite2-minilm", device="cpu"))
panel.strict = True
panel.grid.value = 448
panel.caption.value = "something to warm up on"
times = sorted(seconds(lambda phrase=phrase: setattr(panel.caption, "value", phrase)) for phrase in PHRASES)
measured = f"median {1000 * statistics.median(times):.0f} ms, slowest {1000 * times[-1]:.0f} ms, n = {len(times)}"
row("new phrase, 14 × 14 patches, redrawn", measured, "≤ 200 ms")

# The segments panel: a changed caption is cut, its pieces are encoded, each finds its crop among 86, all is drawn again.

coffee = {"coffee": photo_examples()["coffee"]}
segments_panel = wb.SegmentsPanel(wb.load_model("lite2-minilm", device="cpu"), coffee)
segments_panel.strict = True
caption = segments_panel.captions[1]
caption.value = "something to warm up on"
times = sorted(seconds(lambda phrase=phrase: setattr(caption, "value", f"a {phrase} of wood")) for phrase in PHRASES)
measured = f"median {1000 * statistics.median(times):.0f} ms, slowest {1000 * times[-1]:.0f} ms, n = {len(times)}"
row("new caption, 86 crops, matrix and bars redrawn", measured, "≤ 200 ms")

# The spectrum panel: from a slider's move to the list, and to the last message. Synthetic features, tiny pictures.

N, D_IN, D = 5000, 768, 512
numbers = torch.Generator().manual_seed(0)
W_i, W_t = (torch.randn(D, width, generator=numbers) / width**0.5 for width in (D_IN, D))
kinds = torch.arange(N) % 200
pre = torch.randn(200, D_IN, generator=numbers)[kinds] + 2 * torch.randn(N, D_IN, generator=numbers)
tiny = np.random.default_rng(0).integers(0, 256, (N, 24, 24, 3), dtype=np.uint8)
synthetic = SimpleNamespace(
    name="synthetic", card=SimpleNamespace(source=""), image_projector=Projector(W_i), text_projector=Projector(W_t)
)
spectrum_panel = wb.SpectrumPanel(synthetic, list(tiny), kinds, pre=pre, band=(0, 0))
spectrum_panel.strict = True
listed = []
spectrum_panel.lists.observe(lambda _: listed.append(time.perf_counter()), names="value")


def move(slider, value: int) -> tuple[float, float]:
    """Seconds until the list stands, and until everything does."""
    start = time.perf_counter()
    slider.value = value
    return listed[-1] - start, time.perf_counter() - start


moves = [(spectrum_panel.k_top, k) for k in range(5, 205, 10)] + [
    (spectrum_panel.k_bottom, k) for k in range(5, 205, 10)
]
to_list, to_end = (sorted(times) for times in zip(*(move(*each) for each in moves), strict=True))
for what, times, target in (("list", to_list, "≤ 100 ms"), ("all", to_end, "none")):
    measured = f"median {1000 * statistics.median(times):.0f} ms, slowest {1000 * times[-1]:.0f} ms, n = {len(times)}"
    row(f"band moved, {N} pictures: {what}", measured, target)
