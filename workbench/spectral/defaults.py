"""Bands that were chosen elsewhere, and rules that choose one without labels."""

from __future__ import annotations

from itertools import pairwise

from workbench.spectral.operators import Modality
from workbench.spectral.spectrum import Band, ProjectorSpectrum

AUTHOR_BANDS: dict[str, dict[Modality, Band]] = {
    "ViT-B-32/openai": {"image": Band(150, 50), "text": Band(20, 100)},
    "ViT-B-16/openai": {"image": Band(200, 50), "text": Band(10, 50)},
    "ViT-L-14/openai": {"image": Band(250, 200), "text": Band(10, 300)},
    "ViT-B-16/datacomp_xl_s13b_b90k": {"image": Band(100, 100), "text": Band(2, 150)},
    "ViT-B-32/datacomp_xl_s13b_b90k": {"image": Band(50, 50)},
    "PE-Core-B-16/meta": {"image": Band(300, 50)},
    "ViT-B-16-SigLIP2/webli": {"image": Band(350, 50)},
}
"""What IsoCLIP's scripts use (arXiv 2603.19862), by open_clip architecture and tag: one band per backbone and direction, for
all data sets. How they were found is not in the code."""

_USUAL = {"image": (150 / 512, 50 / 512), "text": (20 / 512, 100 / 512)}


def author_band(name: str, modality: Modality = "image") -> Band | None:
    """The authors' band for a model of that name ("open_clip:ViT-B-32/openai"), None where they give none."""
    tag = name.partition(":")[2].replace("-quickgelu", "")
    return AUTHOR_BANDS.get(tag, {}).get(modality)


def usual_band(r: int, modality: Modality = "image") -> Band:
    """The shares of r that IsoCLIP leaves out for ViT-B/32 (150 and 50 of 512; for text 20 and 100): where to begin.

    Not a choice for your model: text needs a far smaller k_top than images, and every backbone has its own.
    """
    if modality not in _USUAL:
        raise ValueError(f"modality={modality!r}; choose 'image' or 'text'")
    return Band(*(round(share * r) for share in _USUAL[modality]))


def three_bands(r: int) -> dict[str, Band]:
    """Top, middle and bottom as IsoCLIP's figures shade them for ViT-B/32: directions 0–150, 150–425 and 425–512 of 512."""
    first, second = (round(r * edge / 512) for edge in (150, 425))
    if not 0 < first < second < r:
        raise ValueError(f"r={r} is too small for three bands; it needs 4 directions or more")
    return {"top": Band(0, r - first), "middle": Band(first, r - second), "bottom": Band(second, 0)}


def windows(r: int, parts: int = 8) -> dict[str, Band]:
    """The r directions cut into consecutive windows of about equal width: which of them carries what?"""
    if not 1 <= parts <= r:
        raise ValueError(f"parts={parts} of {r} directions; choose 1 to {r}")
    edges = [round(r * part / parts) for part in range(parts + 1)]
    return {f"{a}–{b - 1}": Band(a, r - b) for a, b in pairwise(edges)}


def largest_gap(spectrum: ProjectorSpectrum) -> Band:
    """Cuts at the largest drop between neighbouring singular values, one in the upper half and one in the lower.

    Needs no labels. A rule of this kind is reported to find k_top 13 for ViT-B/32 where 150 works; it stands here to be
    beaten. Raises ValueError for fewer than 4 singular values above rounding.
    """
    S = spectrum.S[: spectrum.rank]
    if len(S) < 4:
        raise ValueError(f"{len(S)} singular values above rounding; the rule needs 4 or more")
    drops, half = S[:-1] - S[1:], len(S) // 2
    return Band(int(drops[: half - 1].argmax()) + 1, spectrum.r - half - int(drops[half - 1 :].argmax()))
