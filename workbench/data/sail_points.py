"""What SAIL published of its alignment probing (arXiv 2412.04616), read off the scatter plots of its project page."""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "digitised from the project page of arXiv 2412.04616, ±0.5 points"


@dataclass(frozen=True)
class VisionPoint:
    """ImageNet-1k top-1 by k-NN and by a linear probe, and R@10 on COCO, mean of both directions, under GTE-large; fractions."""

    name: str
    family: str
    knn: float
    linear_probe: float
    recall: float


@dataclass(frozen=True)
class LanguagePoint:
    """Mean of MTEB, and R@10 on COCO, mean of both directions, under DINOv2-L; fractions."""

    name: str
    family: str
    mteb: float
    recall: float


VISION = tuple(
    VisionPoint(name, family, knn / 100, linear_probe / 100, recall / 100)
    for name, family, knn, linear_probe, recall in (
        ("MAE-B", "MAE", 46.2, 68.0, 6.7),
        ("MAE-L", "MAE", 47.1, 75.8, 9.2),
        ("MAE-H", "MAE", 49.4, 76.6, 11.3),
        ("DINO-R50", "DINO", 67.5, 75.3, 50.3),
        ("I-JEPA-H", "I-JEPA", 71.1, 79.3, 46.3),
        ("AIM-B", "AIM", 75.0, 78.5, 57.3),
        ("DINO-B", "DINO", 76.1, 80.1, 52.4),
        ("iBOT-B", "iBOT", 77.1, 79.5, 55.5),
        ("iBOT-L", "iBOT", 78.0, 82.3, 57.5),
        ("AIM-L", "AIM", 79.7, 80.6, 63.0),
        ("DINOv2-B", "DINOv2", 82.1, 84.5, 67.7),
        ("DINOv2-L", "DINOv2", 83.5, 86.3, 70.3),
        ("DINOv2-G", "DINOv2", 83.5, 86.5, 73.1),
    )
)
LANGUAGE = tuple(
    LanguagePoint(name, family, mteb / 100, recall / 100)
    for name, family, mteb, recall in (
        ("GTE-small", "GTE", 61.4, 65.3),
        ("GTE-base", "GTE", 64.1, 67.9),
        ("GTE-large", "GTE", 65.4, 70.3),
        ("GTE-Qwen2-1.5B", "GTE-Qwen2", 67.2, 71.1),
        ("NV-Embed-v2", "NV-Embed", 72.3, 78.2),
    )
)
