"""What a published head, its towers and a benchmark's folder decide: the scores that SAIL reports of it."""

from __future__ import annotations

from pathlib import Path

from workbench.benchmark.scores import BenchmarkScores
from workbench.claims import Claim
from workbench.sail.published import PAPER

IMAGE, TEXT = "transformers:facebook/dinov2-large", "transformers:Alibaba-NLP/gte-large-en-v1.5"
# SAIL-L (GTE), 23 M pairs; Winoground's text score is our "image to text": right captions for a picture.
WINOGROUND = {"image to text": 0.34, "text to image": 0.1325, "group": 0.0875}
ITEMS, OF_ITEMS = 400, 2  # how many of Winoground's items other preprocessing may turn
ELSEWHERE = (
    ("ImageNet top 1, SAIL-L (NV2)", 0.734, "ImageNet"),
    ("ImageNet top 1, SAIL-L (NV2), minus CLIP-L of LAION-400M", 0.007, "ImageNet"),
    (
        "ten finer sets, top 1, SAIL-L (NV2) minus CLIP-L: below, as printed",
        -0.038,
        "ten sets",
    ),
    ("R@1 from captions to pictures, SAIL-L (NV2)", 0.486, "COCO val2017"),
    ("R@1 from pictures to captions, SAIL-L (NV2)", 0.624, "COCO val2017"),
    ("MMVP, SAIL-L (NV2)", 0.289, "MMVP"),
)


def published_winoground(
    head: str | Path | None, data: str | Path | None = None, *, image: str = IMAGE, text: str = TEXT
) -> BenchmarkScores:
    """Winoground by the published `sail_dinov2l_gte.pt` on DINOv2-L and GTE-large, pooled as its authors pool them.

    `data` is where benchmarks lie; `image` and `text` name the towers, for copies of your own. Raises FileNotFoundError where
    the head or the benchmark is not there, ConnectionError where the towers are not. The trap: GTE-large-en-v1.5 brings code
    of its own, which is never run here; where transformers does not know its architecture the loader says so.
    """
    from workbench.benchmark import evaluate
    from workbench.data.benchmarks import load_benchmark
    from workbench.models.paired import pair
    from workbench.models.sail_checkpoint import load_sail_head
    from workbench.models.towers import image_tower, text_tower

    if head is None:
        raise FileNotFoundError("no published head is named; give the path of sail_dinov2l_gte.pt (hub: le723z/sail)")
    loaded, items = load_sail_head(head), load_benchmark("winoground", data)
    towers = image_tower(image, pooling="first+mean"), text_tower(text, pooling="first")
    return evaluate(pair(*towers, loaded), items)


def published_claims(found: BenchmarkScores | None = None) -> tuple[Claim, ...]:
    """What needs published weights: Winoground from `published_winoground` (None where it could not run), and the rest."""
    measures = {} if found is None else {name.partition(",")[0]: each for name, each in found.measures.items()}
    asked = [_winoground(name, expected, measures.get(name)) for name, expected in WINOGROUND.items()]
    return (*asked, *(_claim("V2", *each) for each in ELSEWHERE))


def _winoground(name: str, expected: float, measure) -> Claim:
    told = f"Winoground, {name}, SAIL-L (GTE)"
    if measure is None:
        return _claim("V1", told, expected, "Winoground")
    margin = OF_ITEMS / ITEMS
    return _claim("V1", told, expected, "Winoground", measure.value, measure.n, measure.interval, margin)


def _claim(key, statement, expected, scale, measured=None, n=0, interval=None, margin=0.0) -> Claim:
    seeds = () if measured is None else (measured,)
    return Claim(key, PAPER, statement, "exact", expected, measured, n, seeds, interval, scale, margin)
