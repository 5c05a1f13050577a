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


_SAME = {
    f"transformers:openai/clip-vit-{size}": f"ViT-{name}/openai"
    for size, name in (("base-patch32", "B-32"), ("base-patch16", "B-16"), ("large-patch14", "L-14"))
}


def author_band(name: str, modality: Modality = "image") -> Band | None:
    """The authors' band for a model of that name, with its scheme or without, None where they give none.

    "open_clip:ViT-B-32/openai", "ViT-B-32-quickgelu/openai" and "transformers:openai/clip-vit-base-patch32" are one backbone.
    """
    tag = _SAME.get(name, name.removeprefix("open_clip:").replace("-quickgelu", ""))
    return AUTHOR_BANDS.get(tag, {}).get(modality)


def usual_band(spectrum: ProjectorSpectrum, modality: Modality = "image") -> Band:
    """The shares that IsoCLIP leaves out for ViT-B/32 (150 and 50 of 512; for text 20 and 100), of the directions that carry
    something: where to begin.

    Not a choice for your model: text needs a far smaller k_top than images, and every backbone has its own.
    """
    if modality not in _USUAL:
        raise ValueError(f"modality={modality!r}; choose 'image' or 'text'")
    return _counted(spectrum, *(round(share * spectrum.rank) for share in _USUAL[modality]))


def three_bands(spectrum: ProjectorSpectrum) -> dict[str, Band]:
    """Top, middle and bottom as IsoCLIP's figures shade them for ViT-B/32: directions 0–150, 150–425 and 425–512 of 512."""
    first, second = (round(spectrum.rank * edge / 512) for edge in (150, 425))
    if not 0 < first < second < spectrum.rank:
        raise ValueError(f"{spectrum.rank} directions are too few for three bands; they need 4 or more")
    edges = {"top": (0, first), "middle": (first, second), "bottom": (second, spectrum.rank)}
    return {name: _counted(spectrum, start, spectrum.rank - stop) for name, (start, stop) in edges.items()}


def windows(spectrum: ProjectorSpectrum, parts: int = 8) -> dict[str, Band]:
    """The directions that carry something in consecutive windows of about equal width: which of them carries what?"""
    if isinstance(parts, bool) or not isinstance(parts, int) or not 1 <= parts <= spectrum.rank:
        raise ValueError(f"parts={parts!r} of {spectrum.rank} directions; choose 1 to {spectrum.rank}")
    edges = [round(spectrum.rank * part / parts) for part in range(parts + 1)]
    return {f"{a}–{b - 1}": _counted(spectrum, a, spectrum.rank - b) for a, b in pairwise(edges)}


def _counted(spectrum: ProjectorSpectrum, k_top: int, k_bottom: int) -> Band:
    """A band of the directions that carry something: what is cut at the bottom takes the empty ones with it."""
    return Band(k_top, k_bottom + spectrum.r - spectrum.rank if k_bottom else 0)


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
