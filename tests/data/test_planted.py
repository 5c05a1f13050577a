"""Where the middle band is right by construction it has to win by far, and nothing that leaves all directions may."""

import numpy as np
import pytest
import torch

from workbench.data.planted import planted
from workbench.evaluation import label_precisions
from workbench.evaluation.statistics import bootstrap
from workbench.spectral import band_sweep, compare_readouts, decompose, readouts


def test_the_operator_is_what_was_planted():
    data = planted()
    psi = data.W_i.T @ data.W_t
    values = torch.linalg.svdvals(psi)
    assert torch.allclose(values[:32], torch.linspace(1, 0.05, 32, dtype=torch.float64), atol=1e-12)
    assert values[32:].max() < 1e-12
    assert (data.W_i.shape, data.W_t.shape, data.pre.shape) == ((32, 48), (32, 48), (600, 48))
    assert np.bincount(data.labels).tolist() == [20] * 30


def test_classes_lie_in_the_middle_alone():
    data = planted(each=50)
    spectrum = decompose(data.W_i, data.W_t, rank="numerical")
    coordinates = (data.pre @ spectrum.U).numpy()
    means = np.stack([coordinates[data.labels == label].mean(0) for label in range(30)])
    between = means.var(0) / coordinates.var(0) * 50  # about 1 where classes are only chance
    middle = np.arange(32)[data.k_top : 32 - data.k_bottom]
    assert between[middle].min() > 10
    assert np.delete(between, middle).max() < 2.5
    assert np.delete(coordinates.var(0), middle).min() > coordinates.var(0)[middle].max() * 5


@pytest.mark.parametrize("seed", range(3))
def test_the_middle_wins_by_far(seed):
    data = planted(seed=seed)
    spectrum = decompose(data.W_i, data.W_t, rank="numerical")
    bands = {"all": (0, 0), "top": (0, 24), "middle": (8, 8), "bottom": (24, 0), "without the top": (8, 0)}
    mean = dict(zip(bands, band_sweep(spectrum, data.pre, data.labels, bands=[*bands.values()]).means, strict=True))
    noise = torch.randn(600, 8, generator=torch.Generator().manual_seed(seed))
    chance = bootstrap(label_precisions(noise, noise, data.labels, data.labels, own=np.arange(600))).mean
    assert mean["middle"] > 0.5
    assert mean["middle"] > 5 * max(mean["all"], mean["without the top"])
    assert mean["top"] == pytest.approx(chance, abs=0.005)
    assert mean["bottom"] == pytest.approx(chance, abs=0.005)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_that_does_not_know_the_order_helps(seed):
    data = planted(seed=seed)
    spectrum = decompose(data.W_i, data.W_t, rank="numerical")
    half = np.arange(600) < 300
    found = readouts(spectrum, data.pre[half], {"planted": (data.k_top, data.k_bottom)})
    table = compare_readouts(found, data.pre[~half], data.labels[~half])
    assert table.difference("IsoCLIP, planted").low > 0.4
    for name in (
        "before the projection",
        "mean-centred",
        "without top components",
        "one projector's band, planted",
        "random subspace, planted",
    ):
        assert abs(table.difference(name).mean) < 0.03, name
    assert table.difference("IsoCLIP, planted", "whitened").low > 0.1


def test_counted_by_shape_the_empty_directions_come_on_top():
    """d_in 48 over a joint space of 32: r is 48 there, and the planted cut at the bottom is 16 further up."""
    data = planted()
    spectrum = decompose(data.W_i, data.W_t)
    assert (spectrum.r, spectrum.rank) == (48, 32)
    with pytest.warns(UserWarning, match="carry nothing"):
        image, _ = spectrum.band(data.k_top, data.k_bottom + 16)
    expected, _ = decompose(data.W_i, data.W_t, rank="numerical").band(data.k_top, data.k_bottom)
    assert torch.allclose(image, expected, atol=1e-12)


def test_the_same_again():
    one, two, other = planted(seed=3), planted(seed=3), planted(seed=4)
    assert torch.equal(one.pre, two.pre)
    assert torch.equal(one.W_i, two.W_i)
    assert not torch.equal(one.pre, other.pre)


@pytest.mark.parametrize(
    "options",
    [
        {"k_top": 0, "k_bottom": 0},
        {"k_top": 16, "k_bottom": 16},
        {"d": 49},
        {"k_top": -1},
        {"k_bottom": -4},
        {"classes": 1},
        {"each": 1},
    ],
)
def test_refusals(options):
    with pytest.raises(ValueError, match="; needs "):
        planted(**options)
