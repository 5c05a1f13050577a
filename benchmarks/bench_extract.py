"""Extraction beside a bare loop over the same model and pictures; its memory as the pictures grow; Ray beside the loop."""

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from timing import in_turn, row, seconds

import workbench as wb
from workbench.data.photos import shipped_photos
from workbench.data.pictures import open_picture
from workbench.extract import embeddings

MODEL, BATCH = "lite0-minilm", 32


def copies(folder: Path, n: int) -> Path:
    """n pictures of different bytes: the shipped photos again and again, each with a byte behind its end."""
    photos = [photo.path for photo in shipped_photos().values()]
    folder.mkdir(exist_ok=True)
    for i in range(n):
        path = photos[i % len(photos)]
        (folder / f"{i:05d}{path.suffix}").write_bytes(path.read_bytes() + i.to_bytes(4, "big"))
    return folder


@torch.no_grad()
def bare_loop(model, folder: Path) -> torch.Tensor:
    paths, out = sorted(folder.iterdir()), []
    for start in range(0, len(paths), BATCH):
        pixels = [model.preprocess(open_picture(path)) for path in paths[start : start + BATCH]]
        out.append(model.forward_image(torch.stack(pixels)).post)
    return torch.cat(out)


def shards_done(store: Path) -> list[float]:
    return sorted(manifest.stat().st_mtime for manifest in store.glob("??/*/manifest.json"))


def local(scratch: Path) -> None:
    model, folder = wb.load_model(MODEL, device="cpu"), copies(scratch / "pictures", 112)
    runs = iter(range(100))
    ours, bare, ratio = in_turn(
        lambda: embeddings(model, folder, store=scratch / f"store{next(runs)}", batch_size=BATCH),
        lambda: bare_loop(model, folder),
        repeats=3,
    )
    speed = f"{112 / ours:.1f} pictures/s, bare loop {112 / bare:.1f}, ratio {1 / ratio:.2f}"
    row(f"{MODEL}: extraction into a store, 112 pictures", speed, "≥ 0.95")
    again = seconds(lambda: embeddings(model, folder, store=scratch / "store0", batch_size=BATCH))
    row("the same call again", f"{again:.2f} s, nothing computed", "")


def peak(n: int) -> float:
    """Peak memory in MiB of a child that extracts n pictures."""
    done = subprocess.run([sys.executable, __file__, "--child", str(n)], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def child(n: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = copies(Path(scratch) / "pictures", n)
        embeddings(
            wb.load_model(MODEL, device="cpu"), folder, store=Path(scratch) / "store", batch_size=8, shard_size=32
        )
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def memory() -> None:
    few, many = peak(56), peak(336)
    row("peak memory, 56 and 336 pictures", f"{few:.0f} and {many:.0f} MiB, ratio {many / few:.2f}", "≤ 1.10")


def ray(scratch: Path) -> None:
    """Both engines by the times at which their shards arrive, the first of each process left out: then the actors are ready."""
    model, folder, workers = wb.load_model(MODEL, device="cpu"), copies(scratch / "many", 384), 2
    options = {"batch_size": 16, "shard_size": 16}
    start = time.time()
    embeddings(model, folder, store=scratch / "ray", engine="ray", workers=workers, **options)
    whole, done = time.time() - start, shards_done(scratch / "ray")
    embeddings(model, folder, store=scratch / "plain", **options)
    plain = shards_done(scratch / "plain")
    ours = (len(done) - workers) / (done[-1] - done[workers - 1])
    loop = (len(plain) - 1) / (plain[-1] - plain[0])
    row(f"Ray, {workers} workers of one thread, 384 pictures", f"{ours / loop:.2f} of the plain loop's rate", "≥ 0.80")
    row("Ray: start, actors and their first shards", f"{done[workers - 1] - start:.0f} s of {whole:.0f} s", "")


if __name__ == "__main__":
    if "--child" in sys.argv:
        child(int(sys.argv[-1]))
        sys.exit()
    place = Path(tempfile.mkdtemp())
    try:
        local(place)
        memory()
        ray(place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
