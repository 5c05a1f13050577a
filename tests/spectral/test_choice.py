"""The sweep against one projection per band, and what choosing among hundreds of bands buys on items it did not see."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from workbench.data.planted import planted
from workbench.evaluation.ranking import ROUNDING
from workbench.evaluation.statistics import paired_difference
from workbench.spectral import BandSweep, band_grid, band_sweep, decompose, judged
from workbench.spectral.spectrum import Band


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def naive_precisions(features, labels):
    """Average precision of each item among the others; of cosines closer than rounding the wrong one comes first."""
    unit = F.normalize(features.double(), dim=-1)
    scores, found = (unit @ unit.T).numpy(), []
    for q, row in enumerate(scores):
        others = np.delete(np.arange(len(row)), q)
        right = others[labels[others] == labels[q]]
        wrong = others[labels[others] != labels[q]]
        own = sorted(row[right], reverse=True)
        ahead = [(row[wrong] >= score - ROUNDING).sum() for score in own]
        found.append(np.mean([(k + 1) / (k + 1 + rivals) for k, rivals in enumerate(ahead)]))
    return np.array(found)


def sweep_of(bands, precisions, labels=None):
    precisions = np.asarray(precisions, dtype=float)
    labels = np.arange(precisions.shape[1]) % 2 if labels is None else labels
    return BandSweep(tuple(Band(*band) for band in bands), precisions, labels, 64, "image")


# The grid --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("r", [64, 384, 512, 768, 769])
def test_the_grid_has_two_hundred_bands_and_more(r):
    bands = band_grid(r)
    assert len(bands) >= 200
    assert len(set(bands)) == len(bands)
    assert bands[0] == (0, 0)
    assert min(r - sum(band) for band in bands) >= r // 16
    tops = sorted({band.k_top for band in bands})
    assert tops[:3] == [0, 1, 2] if r == 64 else tops[1] <= 3  # fine where text has its best
    assert np.all(np.diff(tops, 2) >= -1)  # and coarser from there on, up to rounding


@pytest.mark.parametrize("r", [4, 5, 8, 16])
def test_a_small_spectrum_has_a_small_grid(r):
    assert all(0 <= sum(band) < r for band in band_grid(r))
    assert (0, 0) in band_grid(r)


@pytest.mark.parametrize("options", [(3,), (0,), (64, 1)])
def test_grids_that_are_refused(options):
    with pytest.raises(ValueError, match="a sweep needs 4 directions and 2 steps"):
        band_grid(*options)


# The sweep -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modality", ["image", "text"])
def test_a_sweep_is_one_projection_for_each_band(modality):
    spectrum = decompose(drawn(16, 24), drawn(16, 20, seed=1), rank="numerical")
    labels = np.arange(60) % 5
    width = 24 if modality == "image" else 20
    pre = drawn(5, width, seed=2)[labels] + drawn(60, width, seed=3)
    sweep = band_sweep(spectrum, pre, labels, modality=modality)
    assert (sweep.modality, sweep.r) == (modality, 16)
    assert sweep.bands == band_grid(16)
    assert sweep.precisions.shape == (len(sweep.bands), 60)
    picked = [band for k, band in enumerate(sweep.bands) if k % 6 == 0 and 16 - sum(band) > 2]
    assert len(picked) > 10
    for band in picked:
        expected = naive_precisions(spectrum.projectors(*band)[modality == "text"](pre), labels)
        assert np.isclose(sweep.of(band), expected, atol=1e-9).mean() > 0.95  # the rest: near ties, float32 or float64
        assert sweep.of(band).mean() == pytest.approx(expected.mean(), abs=1e-3)
    assert np.allclose(sweep.means, sweep.precisions.mean(1))
    assert sweep.best == sweep.bands[int(sweep.means.argmax())]


def test_bands_of_ones_own():
    data = planted(d=12, d_in=16, classes=4, each=6, k_top=3, k_bottom=3)
    sweep = band_sweep(decompose(data.W_i, data.W_t), data.pre, data.labels, bands=[(0, 0), [3, 3]])
    assert sweep.bands == (Band(0, 0), Band(3, 3))
    with pytest.raises(ValueError, match=r"band \(1, 1\) was not swept"):
        sweep.of((1, 1))


@pytest.mark.parametrize("modality", ["image", "text"])
def test_the_usual_grid_never_keeps_only_what_is_empty(modality):
    spectrum = decompose(drawn(16, 24), drawn(16, 32, seed=1))
    assert (spectrum.r, spectrum.rank) == (24, 16)
    labels = np.arange(24) % 3
    pre = drawn(24, 24 if modality == "image" else 32, seed=2)
    sweep = band_sweep(spectrum, pre, labels, modality=modality)
    assert len(sweep.bands) == len(band_grid(16))
    assert all(band.k_bottom == 0 or band.k_bottom > 8 for band in sweep.bands)
    reader = spectrum.read(pre, modality)
    assert all(reader.band(*band).norm() > 1e-3 * reader.band(0, 0).norm() for band in sweep.bands)
    # The same bands as where it counts from the rank, and the same numbers.
    numerical = decompose(drawn(16, 24), drawn(16, 32, seed=1), rank="numerical")
    counted = band_sweep(numerical, pre, labels, modality=modality)
    assert np.allclose(sweep.means, counted.means, atol=1e-3)


def test_a_sweep_refuses_what_cannot_be_read():
    spectrum = decompose(drawn(16, 24), drawn(16, 32, seed=1))
    pre, labels = drawn(8, 24, seed=2), np.arange(8) % 2
    with pytest.raises(ValueError, match="k_top=16 leaves only directions that carry nothing"):
        band_sweep(spectrum, pre, labels, bands=[(0, 0), (16, 0)])
    with pytest.raises(ValueError, match="leave nothing of 24"):
        band_sweep(spectrum, pre, labels, bands=[(12, 12)])
    with pytest.raises(ValueError, match="query 0, label 'a', has nothing right"):
        band_sweep(spectrum, pre, list("abbbbbbb"), bands=[(0, 0)])
    with pytest.raises(ValueError, match="for 8 items"):
        band_sweep(spectrum, pre, labels[:5], bands=[(0, 0)])
    with pytest.raises(ValueError, match=r"\(N, 24\)"):
        band_sweep(spectrum, pre[:, 1:], labels)
    with pytest.raises(ValueError, match="bands is empty"):
        band_sweep(spectrum, pre, labels, bands=[])
    with pytest.raises(ValueError, match="choose 'image' or 'text'"):
        band_sweep(spectrum, pre, labels, modality="img")


# The choice ------------------------------------------------------------------------------------------------------------


def test_of_equal_bands_the_best_leaves_out_least():
    bands = [(9, 9), (5, 0), (0, 3), (0, 0), (1, 1)]
    assert sweep_of(bands, [[0.5] * 4] * 5).best == (0, 0)
    assert sweep_of(bands, [[0.5] * 4, [0.7] * 4, [0.7] * 4, [0.5] * 4, [0.7] * 4]).best == (1, 1)


def test_the_held_out_gain_is_that_of_a_naive_loop():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), [10, 4, 7, 9, 5, 5])
    bands = [(0, 0), (1, 0), (0, 1), (2, 2)]
    sweep = sweep_of(bands, rng.random((4, 40)) + np.array([[0], [0.02], [0.04], [0.01]]), labels)
    choice = sweep.choose(folds=5, seed=3)
    fold = folds_of(sweep, 5, 3)
    assert np.bincount(fold).tolist() == [8] * 5
    for label in range(6):  # every label spread evenly
        counts = np.bincount(fold[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1
    gain, chosen = np.empty(40), []
    for k in range(5):
        best = int(sweep.precisions[:, fold != k].mean(1).argmax())
        chosen.append(bands[best])
        gain[fold == k] = (sweep.precisions[best] - sweep.precisions[0])[fold == k]
    assert list(choice.by_fold) == chosen
    assert choice.held_out.mean == pytest.approx(gain.mean(), abs=1e-12)
    assert choice.held_out.low <= gain.mean() <= choice.held_out.high
    assert choice.band == sweep.best
    assert choice.mean.mean == pytest.approx(sweep.means.max())
    assert choice.none.mean == pytest.approx(sweep.means[0])
    assert choice.tried == 4


def folds_of(sweep, folds, seed):
    from workbench.spectral.choice import _folds

    return _folds(sweep.labels, folds, seed)


def test_a_choice_among_noise_buys_nothing_where_it_was_not_seen():
    """Two hundred bands that differ by chance alone: the best of them looks better, the held-out gain does not."""
    rng = np.random.default_rng(1)
    bands = [(top, bottom) for top in range(20) for bottom in range(10)]
    choice = sweep_of(bands, rng.random((200, 100))).choose()
    assert choice.mean.mean > choice.none.mean + 0.05
    assert choice.held_out.low < 0.02
    assert choice.held_out.mean < (choice.mean.mean - choice.none.mean) / 2


def test_choices_that_are_refused():
    sweep = sweep_of([(0, 0), (1, 1)], [[0.5] * 4, [0.6] * 4])
    for folds in (1, 0, 5):
        with pytest.raises(ValueError, match=f"folds={folds} of 4 queries; choose 2 to 4"):
            sweep.choose(folds=folds)
    with pytest.raises(ValueError, match=r"band \(0, 0\) was not swept"):
        sweep_of([(1, 1), (2, 2)], [[0.5] * 4, [0.6] * 4]).choose(folds=2)


def test_a_choice_is_the_same_again():
    sweep = sweep_of([(0, 0), (1, 1)], np.random.default_rng(2).random((2, 30)))
    assert sweep.choose() == sweep.choose()


@pytest.mark.parametrize("seed", range(3))
def test_the_planted_band_is_found(seed):
    data = planted(seed=seed)
    sweep = band_sweep(decompose(data.W_i, data.W_t, rank="numerical"), data.pre, data.labels)
    choice = sweep.choose()
    assert choice.band == (data.k_top, data.k_bottom)
    assert set(choice.by_fold) == {choice.band}
    assert choice.held_out.low > 0.4


def test_tables():
    sweep = sweep_of([(0, 0), (1, 2), (3, 4)], [[0.5, 0.5], [0.75, 0.75], [0.25, 0.25]])
    assert str(sweep).splitlines() == [
        "Sweep of 3 bands of 64 directions, image: 2 queries",
        "k_top, k_bottom  mAP, percent [95 %]",
        "1, 2             75.00 [75.00, 75.00]",
        "0, 0             50.00 [50.00, 50.00]",
        "3, 4             25.00 [25.00, 25.00]",
    ]
    choice = str(sweep.choose(folds=2))
    assert "best of 3: 1, 2" in choice
    assert "held-out gain over 2 folds  25.00" in choice
    assert "chosen by fold              1, 2; 1, 2" in choice
    many = sweep_of([(k, 0) for k in range(9, -1, -1)], np.linspace(1, 0, 10)[:, None] * np.ones((1, 3)))
    assert [row[0] for row in many.table().rows] == ["9, 0", "8, 0", "7, 0", "6, 0", "5, 0", "0, 0"]


# Judging ---------------------------------------------------------------------------------------------------------------


def classes_in(kept, seed=0):
    """Projectors that pass three directions, and features whose classes lie in some of those; the others hold noise."""
    labels = np.arange(120) % 6
    inside = drawn(6, 12, seed=seed)[labels] + 0.7 * drawn(120, 12, seed=seed + 1)
    noise = 2.0 * drawn(120, 12, seed=seed + 2)
    is_class = torch.tensor([k in kept for k in range(12)])
    W = torch.diag(torch.linspace(2, 1, 12, dtype=torch.float64))
    return decompose(W, W), torch.where(is_class, inside, noise), labels


@pytest.mark.parametrize(
    ("kept", "mark"),
    [
        (range(3, 9), "better than no filtering"),
        ((0, 1, 2, 9, 10, 11), "WORSE than no filtering"),
        ((), "no clear difference from no filtering"),
    ],
)
def test_a_band_is_judged(kept, mark):
    spectrum, pre, labels = classes_in(kept)
    found = judged(spectrum, (3, 3), pre, labels)
    assert found.mark == mark
    assert mark in str(found)
    projected = [spectrum.projectors(*band)[0](pre) for band in ((0, 0), (3, 3))]
    none, banded = (naive_precisions(each, labels) for each in projected)
    assert found.band == Band(3, 3)
    assert found.none.mean == pytest.approx(none.mean(), abs=1e-4)
    assert found.mean.mean == pytest.approx(banded.mean(), abs=1e-4)
    expected = paired_difference(banded, none)
    assert (found.difference.low, found.difference.high) == pytest.approx((expected.low, expected.high), abs=1e-3)


def test_no_band_makes_no_difference():
    spectrum, pre, labels = classes_in(range(3, 9))
    found = judged(spectrum, (0, 0), pre, labels)
    assert (found.difference.low, found.difference.high) == (0, 0)
    assert found.mark == "no clear difference from no filtering"
