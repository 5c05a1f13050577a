"""One-modality encoders by name, for `pair` to tie: pip packages, timm and transformers."""

from __future__ import annotations

from pathlib import Path

from workbench.models.efficientnet import LITE, EfficientNetLite
from workbench.models.image_tower import ImageTower
from workbench.models.text_tower import TextTower, load_minilm, load_text

__all__ = ["IMAGE_TOWERS", "TEXT_TOWERS", "EfficientNetLite", "ImageTower", "TextTower", "image_tower", "text_tower"]

IMAGE_TOWERS = tuple(LITE)
TEXT_TOWERS = ("minilm",)


def image_tower(
    name: str, *, weights: str | Path | None = None, pretrained: bool = True, pooling: str = "auto"
) -> ImageTower:
    """An image tower by name.

    One of IMAGE_TOWERS; "timm:<architecture[.tag]>" for any timm model with `forward_features` (`weights` a .safetensors or
    .pt checkpoint), "timm:local-dir:<folder>", "timm:hf-hub:<org>/<repo>"; "transformers:<folder or hub id>" for ViT,
    DINO, DINOv2, ViT-MAE, I-JEPA and their like. `pretrained=False` leaves the weights random. `pooling`: "first" (class
    token), "mean" (of the patches), "first+mean" (both side by side, twice as wide, as SAIL reads DINOv2), "auto" (as the
    model was made: timm's own head; else the class token, else the mean).
    Raises ValueError for an unknown name or weights that do not fit, FileNotFoundError for missing files,
    ConnectionError where the hub would be needed and does not answer.
    """
    scheme = _scheme(name, weights, pretrained)
    if scheme == "timm":
        from workbench.models.timm_tower import load_timm

        return load_timm(name, weights=weights, pretrained=pretrained, pooling=pooling)
    if scheme == "transformers":
        from workbench.models.transformers_image import load_transformers_image

        return load_transformers_image(name, pretrained=pretrained, pooling=pooling)
    if name not in IMAGE_TOWERS:
        forms = "'timm:<architecture>' or 'transformers:<folder or hub id>'"
        raise ValueError(f"no image tower {name!r}; choose one of {', '.join(IMAGE_TOWERS)}, {forms}")
    return EfficientNetLite(name, pretrained=pretrained, pooling=pooling).eval()


def text_tower(
    name: str, *, weights: str | Path | None = None, pretrained: bool = True, pooling: str = "auto"
) -> TextTower:
    """A text tower by name: one of TEXT_TOWERS, or "transformers:<folder or hub id>" for encoders and language models.

    `pooling`: "first", "mean", "last" (attended token), or "auto": what a sentence-transformers folder says, else the mean
    for models that read both ways and the last token for those that read left to right. `pretrained=False` leaves the
    weights random. Raises as `image_tower`.
    """
    if _scheme(name, weights, pretrained) == "transformers":
        return load_text(name, pretrained=pretrained, pooling=pooling)
    if name not in TEXT_TOWERS:
        raise ValueError(
            f"no text tower {name!r}; choose one of {', '.join(TEXT_TOWERS)} or 'transformers:<folder or hub id>'"
        )
    return load_minilm(pretrained=pretrained, pooling=pooling)


def _scheme(name: str, weights: str | Path | None, pretrained: bool) -> str:
    """What stands before the colon, "" without one; options that contradict each other are refused here."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a tower is a string, not {type(name).__name__} {name!r}")
    scheme, colon, rest = name.partition(":")
    if colon and not rest.strip():
        raise ValueError(f"{name!r} names no model behind the colon")
    if weights is not None and scheme != "timm":
        raise ValueError(f"weights= goes with 'timm:<architecture>'; {name!r} brings its own")
    if weights is not None and not pretrained:
        raise ValueError("weights= and pretrained=False contradict each other; leave one out")
    return scheme if colon else ""
