"""What a query costs: plain encoding, which an IsoCLIP projector leaves as it is, and inversion by optimisation; one core.

OTI runs its published number of steps; OVI runs a part of them and is scaled, so half of that part is timed, too, to show
that time is linear in steps. Encoding starts from the drawn picture and from the caption.
"""

import statistics

import torch
from timing import in_turn, row, seconds

import workbench as wb
from workbench.data.scenes import draw, scenes
from workbench.inversion import oti, ovi

torch.set_num_threads(1)
PUBLISHED = {"OTI": 150, "OVI": 1000}  # steps, arXiv 2502.04263
RUN = {("OTI", 1): 150, ("OTI", 64): 150, ("OVI", 1): 150, ("OVI", 64): 50}  # by method and batch
ROUNDS, ENCODINGS = 5, 5

model = wb.load_model("scenes-clip", device="cpu")
made = list(scenes(64, 0))
pictures, captions = [draw(scene, 64) for scene in made], [scene.caption for scene in made]
images, texts = model.encode_image(pictures).post, model.encode_text(captions).post


def svd():
    """All that IsoCLIP does before the first query: the spectrum of W_i^T W_t and the projector of a band."""
    image, text = model.image_projector.weight, model.text_projector.weight
    left, _, _ = torch.linalg.svd(image.T @ text, full_matrices=False)
    band = left[:, 4:-4]
    return image @ band @ band.T


def encode(method: str, batch: int) -> None:
    if method == "OTI":
        model.encode_image(pictures[:batch], batch_size=batch)
    else:
        model.encode_text(captions[:batch], batch_size=batch)


def invert(method: str, batch: int, steps: int) -> float:
    if method == "OTI":
        return oti(model, images[:batch], template="a picture of {}", steps=steps, batch_size=batch).seconds
    return ovi(model, texts[:batch], steps=steps, batch_size=batch).seconds


def encoding_seconds(method: str, batch: int) -> float:
    return statistics.median(seconds(lambda: encode(method, batch)) for _ in range(ENCODINGS))


def measure(method: str, batch: int) -> None:
    """Milliseconds of encoding and of inverting a query, their ratio, and how time grows with steps, all in turn."""
    steps, side = RUN[method, batch], "picture" if method == "OTI" else "caption"
    encode(method, batch), invert(method, batch, 5)
    rounds = [
        (encoding_seconds(method, batch), invert(method, batch, steps // 2), invert(method, batch, steps))
        for _ in range(ROUNDS)
    ]
    scale = PUBLISHED[method] / steps
    encoding, inverting = (1000 * statistics.median(times) / batch for times in list(zip(*rounds, strict=True))[::2])
    ratio = scale * statistics.median(whole / encoding for encoding, _, whole in rounds)
    said = f"{scale * inverting:.1f} ms, encode {encoding:.2f} ms, {method} / encode {ratio:.0f}"
    scaled = "" if scale == 1 else f" from {steps}"
    row(f"{method} of a {side} in a batch of {batch}, {PUBLISHED[method]} steps{scaled}", said, "-")
    linear = statistics.median(whole / half for _, half, whole in rounds)
    row(f"  {steps} steps beside {steps // 2}", f"{linear:.2f} times", f"{steps / (steps // 2):.2f}: linear in steps")


once, one, _ = in_turn(svd, lambda: encode("OTI", 1))
row("SVD and band of IsoCLIP, once, offline", f"{1000 * once:.2f} ms, {once / one:.2f} of encoding a picture", "-")
for method, batch in RUN:
    measure(method, batch)
