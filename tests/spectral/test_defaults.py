"""Bands that were found elsewhere, and rules without labels."""

import pytest
import torch

from workbench.spectral import AUTHOR_BANDS, author_band, decompose, largest_gap, three_bands, usual_band, windows
from workbench.spectral.spectrum import Band


def test_the_authors_bands_by_the_names_that_load_a_model():
    assert author_band("open_clip:ViT-B-32/openai") == (150, 50)
    assert author_band("open_clip:ViT-B-32-quickgelu/openai") == (150, 50)
    assert author_band("open_clip:ViT-L-14/openai", "text") == Band(10, 300)
    assert author_band("open_clip:PE-Core-B-16/meta") == (300, 50)
    assert author_band("open_clip:PE-Core-B-16/meta", "text") is None
    for name in ("scenes-clip", "open_clip:ViT-B-32/laion2b", "", "local-dir:ViT-B-32"):
        assert author_band(name) is None


@pytest.mark.parametrize(
    ("name", "r", "kept"),
    [
        ("ViT-B-32/openai", 512, {"image": 312, "text": 392}),
        ("ViT-B-16/openai", 512, {"image": 262, "text": 452}),
        ("ViT-L-14/openai", 768, {"image": 318, "text": 458}),
        ("ViT-B-16/datacomp_xl_s13b_b90k", 512, {"image": 312, "text": 360}),
        ("ViT-B-32/datacomp_xl_s13b_b90k", 512, {"image": 412}),
        ("PE-Core-B-16/meta", 768, {"image": 418}),
        ("ViT-B-16-SigLIP2/webli", 769, {"image": 369}),
    ],
)
def test_how_many_directions_the_authors_keep(name, r, kept):
    assert {modality: r - sum(band) for modality, band in AUTHOR_BANDS[name].items()} == kept


def spectrum_of(values, more=0):
    """Projectors with these singular values, and `more` columns that both sides map to zero."""
    matrix = torch.diag(torch.tensor(values, dtype=torch.float64))
    matrix = torch.cat([matrix, torch.zeros(len(values), more, dtype=torch.float64)], 1)
    return decompose(matrix, torch.cat([torch.eye(len(values)), torch.zeros(len(values), more)], 1).double())


def test_the_usual_shares():
    spectrum = spectrum_of(torch.linspace(1, 0.1, 512).tolist())
    assert usual_band(spectrum) == (150, 50)
    assert usual_band(spectrum, "text") == (20, 100)
    with pytest.raises(ValueError, match="modality='audio'"):
        usual_band(spectrum, "audio")


@pytest.mark.parametrize("more", [0, 5])
@pytest.mark.parametrize("r", [1, 2, 5, 8, 33])
def test_rules_count_what_carries_something(r, more):
    spectrum = spectrum_of(torch.linspace(1, 0.1, r).tolist(), more)
    assert (spectrum.r, spectrum.rank) == (r + more, r)
    for modality in ("image", "text"):
        spectrum.check(*usual_band(spectrum, modality))
    cut = windows(spectrum, min(4, r)).values()
    for band in cut:
        spectrum.check(*band)
    first = [band.k_top for band in cut]
    ends = [spectrum.rank if not band.k_bottom else spectrum.r - band.k_bottom for band in cut]
    assert first == [0, *ends[:-1]]
    assert ends[-1] == r
    if r >= 4:
        top, middle, bottom = three_bands(spectrum).values()
        assert (top.k_top, bottom.k_bottom) == (0, 0)
        assert spectrum.r - top.k_bottom == middle.k_top
        assert spectrum.r - middle.k_bottom == bottom.k_top
    with pytest.raises(ValueError, match=f"choose 1 to {r}"):
        windows(spectrum, r + 1)


def test_the_same_backbone_by_other_names():
    assert author_band("transformers:openai/clip-vit-large-patch14") == (250, 200)
    assert author_band("ViT-L-14/openai") == (250, 200)


def test_the_largest_gaps():
    assert largest_gap(spectrum_of([10.0, 9, 5, 4.9, 4.8, 4.7, 1, 0.9])) == (2, 2)
    assert largest_gap(spectrum_of([10.0, 3, 2.9, 2.8, 2.7, 0.1])) == (1, 1)
    # What is empty is no gap, but is cut with the bottom.
    assert largest_gap(spectrum_of([10.0, 9, 5, 4.9, 4.8, 4.7, 1, 0.9], more=3)) == (2, 5)


@pytest.mark.parametrize("r", [4, 5, 6, 7, 30])
def test_the_largest_gaps_always_leave_something(r):
    for seed in range(20):
        values = torch.rand(r, generator=torch.Generator().manual_seed(seed)).add(0.1).sort(descending=True).values
        band = largest_gap(spectrum_of(values.tolist()))
        drops = -values.diff()
        half = r // 2
        assert band.k_top >= 1
        assert band.k_bottom >= 1
        assert sum(band) < r
        assert drops[band.k_top - 1] == drops[: half - 1].max()
        assert drops[r - band.k_bottom - 1] == drops[half - 1 :].max()


def test_three_values_have_no_gaps_to_choose_from():
    with pytest.raises(ValueError, match="3 singular values above rounding; the rule needs 4"):
        largest_gap(spectrum_of([3.0, 2, 1], more=5))
