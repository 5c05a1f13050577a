"""Late interaction beside its bare matrix product, its search beside every pair, kept crops beside crops encoded again.

`--small` takes a fifth of the pictures and captions. Nothing else should run meanwhile: the ratios hold for an idle machine.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Callable

import torch
import torch.nn.functional as F
from timing import forget_peak, in_turn, peak, row, seconds
from torch import Tensor

import workbench as wb
from workbench.data.photos import shipped_photos
from workbench.data.scenes import draw, scenes
from workbench.data.stamps import photo_stamps
from workbench.matching import crop_features, late, late_interaction, late_top_k, segment_features, structure_guided

COUNT = 400 if "--small" in sys.argv[1:] else 2_000
P, T, D, K = 49, 16, 512, 10


def random_tokens(pictures: int, captions: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
    numbers = torch.Generator().manual_seed(0)
    return tuple(torch.randn(n, parts, D, generator=numbers).to(device) for n, parts in ((pictures, P), (captions, T)))


def product(images: Tensor, texts: Tensor, dtype: torch.dtype = torch.float32) -> Callable[[], None]:
    """What no way of scoring can do without: every cosine once, in the blocks of `late_interaction`, into the same memory."""
    x, y = (F.normalize(tokens, dim=-1).to(dtype).flatten(0, 1) for tokens in (images, texts))
    rows, columns = late._block(images.shape[1], texts.shape[1], 256 << 20 if x.is_cuda else late.CACHE)
    rows, columns = rows * images.shape[1], columns * texts.shape[1]
    room = torch.empty(rows * columns, dtype=dtype, device=x.device)

    def run() -> None:
        for some in x.split(rows):
            for others in y.split(columns):
                torch.mm(some, others.T, out=room[: len(some) * len(others)].view(len(some), -1))
        wait(x)

    return run


def wait(tokens: Tensor) -> None:
    if tokens.is_cuda:
        torch.cuda.synchronize()


def rates(device: str) -> None:
    """One call each at the full size, after small ones: they are long enough."""
    for dtype in (torch.float32, torch.bfloat16):
        late_interaction(*random_tokens(50, 50, device), dtype=dtype)
    tokens = random_tokens(COUNT, COUNT, device)
    found, took, more = measured(*tokens, torch.float32)
    bare = seconds(product(*tokens))
    rate = 2e-9 * COUNT**2 * P * T * D / took
    what = f"{device}: late interaction, {COUNT:,} × {P} against {COUNT:,} × {T}, d={D}"
    row(what, f"{took:.2f} s, {rate:.0f} GFLOP/s, {bare / took:.2f} of the bare product", "≥ 0.90")
    if device == "cpu":
        row("  memory beyond the tokens", f"{more / 2**20:.0f} MiB" if more else "not measured", "≤ 256 MiB")
    rounded, fast, _ = measured(*tokens, torch.bfloat16)
    bare = seconds(product(*tokens, torch.bfloat16))
    told = f"{fast:.2f} s, {took / fast:.2f} times the rate, {bare / fast:.2f} of its product"
    row("  in bfloat16", told, "≥ 1.6 times")
    row("  its ranks of random tokens", agreement(found, rounded), "reported")


def measured(images: Tensor, texts: Tensor, dtype: torch.dtype) -> tuple[Tensor, float, int]:
    """Scores, seconds, and bytes at the peak beyond what stood before."""
    found = []
    forget_peak()
    before = peak()
    took = seconds(lambda: found.append(late_interaction(images, texts, dtype=dtype).cpu()))
    return found[0], took, peak() - before


def agreement(exact: Tensor, rounded: Tensor) -> str:
    """Per picture: whether the first caption is the same, how many of the first ten are, and Spearman's correlation."""
    (a, b), n = ([x.argsort(1, descending=True) for x in (exact, rounded)]), exact.shape[1]
    ten = (a[:, :10, None] == b[:, None, :10]).any(2).double().mean()
    apart = (a.argsort(1) - b.argsort(1)).double().square().sum(1)
    rho = (1 - 6 * apart / (n * (n**2 - 1))).mean()
    return f"first {100 * (a[:, 0] == b[:, 0]).double().mean():.1f} %, ten {100 * ten:.1f} %, Spearman {rho:.5f}"


def narrow() -> None:
    images, texts = torch.randn(64, 196, 64), torch.randn(64, 32, 64)
    ours, _, ratio = in_turn(lambda: late_interaction(images, texts), product(images, texts))
    row("late interaction of 64 × 64, 196 × 32 tokens, d=64", f"{ours:.3f} s, {1 / ratio:.2f} of the bare product", "-")


def drawn(pictures: int) -> tuple[Tensor, Tensor, Tensor]:
    model, some = wb.load_model("scenes-clip", device="cpu"), list(scenes(2_000, 0))
    image = model.encode_image([draw(scene, 64) for scene in some[:pictures]], tokens=True)
    text = model.encode_text([scene.caption for scene in some], tokens=True)
    return image.tokens, text.tokens, text.mask


def stamped(pictures: int) -> tuple[Tensor, Tensor, Tensor]:
    """Raises FileNotFoundError where the stamps are not installed."""
    some, model = photo_stamps(), wb.load_model("lite2-minilm", device="cpu")
    image = model.encode_image([stamp.path for stamp in some[:: max(len(some) // pictures, 1)][:pictures]], tokens=True)
    text = model.encode_text([stamp.caption for stamp in some], tokens=True)
    return image.tokens, text.tokens, text.mask


def searched(what: str, images: Tensor, texts: Tensor, mask: Tensor | None) -> None:
    """Against scoring every pair in float32, which is what one does without it."""
    row(f"first {K} of {len(texts):,} captions, {len(images)} pictures: {what}", f"{texts.shape[-1]} wide", "")
    found, every = (late_top_k(images[:20], texts, mask, screen=screen) for screen in (True, False))
    assert torch.equal(found.indices, every.indices)
    assert torch.equal(found.scores, every.scores)
    shares = {query: late_top_k(images, texts, mask, query=query).share_scored for query in ("image", "text")}
    ours, whole, ratio = in_turn(
        lambda: late_top_k(images, texts, mask), lambda: late_interaction(images, texts, mask).topk(K), repeats=3
    )
    told = f"{100 - 100 * shares['image']:.1f} % ruled out; {ours:.2f} s, every pair {whole:.2f} s, ratio {ratio:.2f}"
    row("  captions of each picture", told, "reported")
    row("  pictures of each caption", f"{100 - 100 * shares['text']:.1f} % ruled out", "reported")


def kept(name: str, pictures: list, captions: list[str]) -> None:
    """A second run, which has its crops and encodes its captions, beside one that encodes all."""
    model = wb.load_model(name, device="cpu")

    def scored(store=None) -> Tensor:
        return structure_guided(crop_features(model, pictures, store=store), segment_features(model, captions))

    with tempfile.TemporaryDirectory() as store:
        found = [scored(store), scored(store)]
        again = statistics.median(seconds(lambda: scored(store)) for _ in range(5))
        read = statistics.median(seconds(lambda: crop_features(model, pictures, store=store)) for _ in range(5))
        encoded = seconds(lambda: found.append(scored()))
    assert all(torch.equal(each, found[0]) for each in found)
    what = f"{name}: {len(pictures)} pictures of 86 crops, {len(captions)} captions"
    row(what, f"{again:.3f} s, encoding all again {encoded:.2f} s, {encoded / again:.0f} times", "≥ 50 times")
    row("  of which reading the crops", f"{1000 * read:.1f} ms", "-")


def main() -> None:
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f} before the first run")
    rates("cpu")
    if torch.cuda.is_available():
        rates("cuda")
    else:
        row("cuda: late interaction", "skipped: no GPU here", "-")
    narrow()
    tokens = drawn(300)
    exact, rounded = (late_interaction(*tokens, dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    row("bfloat16, ranks of drawn scenes by scenes-clip", agreement(exact, rounded), "reported")
    searched("drawn scenes, scenes-clip", *tokens)
    try:
        searched("stamps, lite2-minilm", *stamped(100))
    except FileNotFoundError:
        row("search on stamps", "skipped: stamps are not installed", "-")
    searched("random tokens", *random_tokens(100, 2_000), None)
    some = list(scenes(40, 3))
    kept("scenes-clip", [draw(scene, 64) for scene in some], [scene.caption for scene in some])
    photos = list(shipped_photos().values())[:3]
    kept("lite2-minilm", [photo.path for photo in photos], ["a red cup and a silver spoon on a table"] * len(photos))


if __name__ == "__main__":
    main()
