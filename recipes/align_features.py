"""Features of the pictures and texts that the shipped heads learn from, computed once and kept.

    apt-get install openclipart-png openclipart-svg
    python -m recipes.align_features            # about 10 minutes on one core; resumes where it was stopped

Pooled features of both EfficientNet-Lites for openclipart's named pictures (padded with white to a square, as a picture
and as its mirror image), MiniLM's vectors of their captions, and of 80 prompts for every ImageNet class. Kept in
$WORKBENCH_RUNS/align, else ./runs/align; the pictures stay where Debian put them.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from safetensors.torch import load_file, save
from torch import Tensor

from recipes.files import write_atomically
from workbench.data.openclipart import Clipart, named_cliparts
from workbench.data.pictures import open_picture
from workbench.heads import LinearHead
from workbench.models.paired import AlignmentHead, PairedEncoder, pair
from workbench.models.towers import IMAGE_TOWERS, EfficientNetLite, image_tower, text_tower
from workbench.progress import bar

BLOCK = 64
CAPTIONS = ("title", "photo", "drawing", "keywords")


def folder() -> Path:
    """Where features are kept: not part of the project."""
    return Path(os.environ.get("WORKBENCH_RUNS", "runs")) / "align"


def towers(image: str) -> PairedEncoder:
    """Image tower and MiniLM under a head of no meaning, for their features before it."""
    head = AlignmentHead(LinearHead(EfficientNetLite.width, 384), LinearHead(384, 384, bias=False))
    return pair(image_tower(image), text_tower("minilm"), head)


def square(source) -> Image.Image:
    """A picture padded with white to a square: a centre crop would cut a cut-out."""
    image = open_picture(source).image
    return ImageOps.pad(image, (max(image.size),) * 2, color="white")


def captions(clipart: Clipart) -> dict[str, str]:
    """Each way to call a picture in CAPTIONS."""
    title = clipart.title
    return {
        "title": title,
        "photo": f"a photo of a {title}",
        "drawing": f"clip art of a {title}",
        "keywords": ", ".join((title, *clipart.keywords)),
    }


def kept(name: str, parts: list[Callable[[], Tensor]], key: str) -> Tensor:
    """The rows of all parts, each computed once and kept in a file of its own under `key`, which says what it depends on."""
    place = folder() / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    rows = []
    for number, part in enumerate(bar(parts, f"features: {name}")):
        file = place / f"{number:05d}.safetensors"
        if not file.is_file():
            write_atomically(file, save({"rows": part().contiguous()}))
        rows.append(load_file(file)["rows"])
    return torch.cat(rows)


@cache
def usable() -> list[Clipart]:
    """openclipart's named pictures without those above Pillow's limit; their sizes are read, not their pixels."""
    return [each for each in named_cliparts() if _pixels(each.path) <= Image.MAX_IMAGE_PIXELS]


def _pixels(path: Path) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(path) as image:
                return image.width * image.height
        except Image.DecompressionBombError:
            return 2 * Image.MAX_IMAGE_PIXELS


def picture_features(image: str) -> Tensor:
    """Pooled features (n, 2, d_i) of every usable picture and of its mirror image, in float32."""
    model, pictures = None, usable()

    def of_block(block: list[Clipart]) -> Tensor:
        nonlocal model
        model = model or towers(image)
        squares = [square(each.path) for each in block]
        both = [model.encode_image(views).pre for views in (squares, [ImageOps.mirror(each) for each in squares])]
        return torch.stack(both, 1)

    blocks = [pictures[at : at + BLOCK] for at in range(0, len(pictures), BLOCK)]
    key = "\n".join([image, *(f"{each.path} {each.path.stat().st_size}" for each in pictures)])
    return kept(f"pictures-{image}", [partial(of_block, block) for block in blocks], key)


def text_features(name: str, texts: list[str], size: int = 4000) -> Tensor:
    """MiniLM's pooled vectors (n, 384) of texts."""
    model = None

    def of_block(block: list[str]) -> Tensor:
        nonlocal model
        model = model or towers("efficientnet_lite0")
        return model.encode_text(block, batch_size=256).pre

    blocks = [texts[at : at + size] for at in range(0, len(texts), size)]
    return kept(f"texts-{name}", [partial(of_block, block) for block in blocks], "\n".join(texts))


def clipart_captions() -> dict[str, Tensor]:
    """Each kind of caption of every usable picture, (n, 384)."""
    told = [captions(each) for each in usable()]
    return {kind: text_features(f"openclipart-{kind}", [each[kind] for each in told]) for kind in CAPTIONS}


def class_prompts() -> Tensor:
    """Open_clip's 80 prompts of every ImageNet class, each of unit norm: (1000, 80, 384)."""
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES

    texts = [template(name) for name in IMAGENET_CLASSNAMES for template in OPENAI_IMAGENET_TEMPLATES]
    return F.normalize(text_features("prompts", texts), dim=-1).unflatten(0, (len(IMAGENET_CLASSNAMES), -1))


def main() -> None:
    torch.set_num_threads(1)
    for image in IMAGE_TOWERS[:1] + IMAGE_TOWERS[-1:]:
        print(image, tuple(picture_features(image).shape), flush=True)
    print("captions", {kind: tuple(rows.shape) for kind, rows in clipart_captions().items()}, flush=True)
    print("prompts", tuple(class_prompts().shape), flush=True)


if __name__ == "__main__":
    main()
