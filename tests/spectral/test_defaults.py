"""Bands that were found elsewhere, and rules without labels."""

import pytest
import torch

from workbench.spectral import AUTHOR_BANDS, author_band, decompose, largest_gap, usual_band
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


def test_the_usual_shares():
    assert usual_band(512) == (150, 50)
    assert usual_band(512, "text") == (20, 100)
    for r in range(1, 900):
        for modality in ("image", "text"):
            assert sum(usual_band(r, modality)) < r
    with pytest.raises(ValueError, match="modality='audio'"):
        usual_band(512, "audio")


def spectrum_of(values, more=0):
    """Projectors with these singular values, and `more` columns that both sides map to zero."""
    matrix = torch.diag(torch.tensor(values, dtype=torch.float64))
    matrix = torch.cat([matrix, torch.zeros(len(values), more, dtype=torch.float64)], 1)
    return decompose(matrix, torch.cat([torch.eye(len(values)), torch.zeros(len(values), more)], 1).double())


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
