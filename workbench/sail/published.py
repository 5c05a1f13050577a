"""What SAIL printed of its ladder, its bars and its cosines (arXiv 2412.04616)."""

from __future__ import annotations

from dataclasses import dataclass

PAPER = "arXiv 2412.04616"


@dataclass(frozen=True)
class Rung:
    """One row of SAIL's Table 1 (DINOv2-L and GTE-large on CC3M), percent: ImageNet top-1 and COCO R@1."""

    name: str
    naming: float
    text_to_image: float
    image_to_text: float


RUNGS = (
    Rung("linear + InfoNCE", 33.2, 11.1, 13.5),
    Rung("+ MLP × 4", 36.8, 8.0, 10.7),
    Rung("+ GLU × 4", 39.6, 11.5, 17.4),
    Rung("+ GLU × 8", 45.4, 16.1, 22.5),
    Rung("+ sigmoid", 50.7, 25.4, 36.0),
    Rung("+ |B| → |B|²", 51.8, 26.2, 36.7),
    Rung("+ long captions", 48.4, 31.4, 44.2),
    Rung("+ multi-positive", 54.0, 32.9, 45.4),
)


@dataclass(frozen=True)
class Bar:
    """Winoground's three scores of one model, fractions; read off SAIL's bars, ±0.005."""

    text: float
    image: float
    group: float


BARS = {
    "CLIP-L, WIT-400M": Bar(0.285, 0.11, 0.08),
    "CLIP-L, LAION-2B": Bar(0.305, 0.113, 0.087),
    "CLIP-g": Bar(0.31, 0.105, 0.082),
    "CLIP (V) + NV2": Bar(0.40, 0.17, 0.135),
    "DINOv2 + CLIP (T)": Bar(0.30, 0.107, 0.078),
    "DINOv2 + Qwen2": Bar(0.207, 0.123, 0.08),
    "DINOv2 + NV2": Bar(0.38, 0.15, 0.12),
}
COSINES = {"CLIP-L": (0.88, 1.0), "DINOv2-L": (0.6, 0.6), "SAIL-L (NV2)": (0.65, 0.7)}
"""Where the mass of the cosines of MMVP's 150 pairs lies, read off SAIL's histogram.

The trap: MMVP took the pairs whose cosine is above 0.95 for a CLIP-L and below 0.6 for DINOv2 (arXiv 2401.06209), so that CLIP
stands high there and DINOv2 low by construction; pairs chosen otherwise need not repeat it.
"""
