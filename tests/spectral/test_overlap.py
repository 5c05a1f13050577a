"""The overlap of two histograms of cosines: known cases, a naive computation, and what its interval has to hold."""

import numpy as np
import pytest
import torch

from workbench.spectral import overlap


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def classes(n, many, apart, width=16, seed=0):
    """Items of `many` labels around means that stand `apart`."""
    labels = np.arange(n) % many
    return apart * drawn(many, width, seed=seed)[labels] + drawn(n, width, seed=seed + 1), labels


def naive(features, labels, bins):
    """Every pair in turn, densities, and their IoU."""
    features = features.double().numpy()
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    same, different = [], []
    for i in range(len(unit)):
        for j in range(i):
            (same if labels[i] == labels[j] else different).append(float(unit[i] @ unit[j]))
    edges = np.linspace(-1, 1, bins + 1)
    densities = [np.histogram(each, edges, density=True)[0] for each in (same, different)]
    return *densities, np.minimum(*densities).sum() / np.maximum(*densities).sum()


@pytest.mark.parametrize("bins", [2, 25, 100])
def test_a_small_case_by_hand(bins):
    features, labels = classes(40, 4, 0.5)
    found = overlap(features, labels, bins=bins)
    same, different, iou = naive(features, labels, bins)
    assert np.allclose(found.same, same)
    assert np.allclose(found.different, different)
    assert found.iou == pytest.approx(iou)
    assert (found.n, found.classes, found.pairs, len(found.edges)) == (40, 4, (180, 600), bins + 1)


def test_densities_integrate_to_one():
    found = overlap(*classes(100, 5, 0.7), bins=40)
    width = found.edges[1] - found.edges[0]
    assert (found.edges[0], found.edges[-1]) == (-1, 1)
    for density in (found.same, found.different):
        assert density.sum() * width == pytest.approx(1, abs=1e-12)
        assert (density >= 0).all()


def test_labels_that_say_nothing_overlap_the_more_the_more_pairs_there_are():
    """Two equal densities have an IoU of 1; that of a sample is below, because few pairs in a bin differ by chance."""
    found = [overlap(drawn(n, 16, seed=n), np.arange(n) % 2, resamples=2).iou for n in (60, 200, 1500)]
    assert found == sorted(found)
    assert found[-1] > 0.97
    coarse = overlap(drawn(200, 16), np.arange(200) % 2, bins=10, resamples=2)
    assert coarse.iou > overlap(drawn(200, 16), np.arange(200) % 2, resamples=2).iou


@pytest.mark.parametrize("apart", [0.0, 0.3, 0.6, 1.0, 3.0])
def test_the_interval_holds_the_estimate(apart):
    for seed in range(3):
        found = overlap(*classes(90, 3, apart, seed=2 * seed), resamples=100)
        assert 0 <= found.interval[0] <= found.iou <= found.interval[1] <= 1


@pytest.mark.parametrize("apart", [0.3, 0.6, 1.0])
def test_the_interval_holds_what_many_items_say(apart):
    means = drawn(5, 16, seed=1)
    make = lambda n, seed: (apart * means[np.arange(n) % 5] + drawn(n, 16, seed=seed), np.arange(n) % 5)  # noqa: E731
    truth = overlap(*make(1500, 2), resamples=2).iou
    held = [overlap(*make(300, 3 + seed), resamples=100).interval for seed in range(12)]
    assert sum(low <= truth <= high for low, high in held) >= 9


def test_classes_that_stand_apart_do_not_overlap():
    found = overlap(*classes(200, 5, 6.0))
    assert found.iou < 0.01
    assert found.interval[1] < 0.02


def test_length_does_not_count():
    features, labels = classes(50, 5, 0.5)
    longer = features * torch.linspace(0.1, 10, 50)[:, None]
    assert overlap(longer, labels).iou == pytest.approx(overlap(features, labels).iou, abs=0.02)


def test_labels_of_any_kind():
    features, labels = classes(40, 4, 0.5)
    expected = overlap(features, labels)
    for other in (labels.tolist(), torch.from_numpy(labels), np.array(list("dbca"))[labels]):
        found = overlap(features.double().numpy(), other)
        assert (found.iou, found.interval) == (expected.iou, expected.interval)


def test_of_many_items_a_random_part_is_taken():
    features, labels = classes(1800, 6, 0.5, width=8)
    found = overlap(features, labels, resamples=2)
    assert found.n == 1500
    again = overlap(features, labels, resamples=2)
    assert (again.iou, again.interval) == (found.iou, found.interval)
    assert overlap(features, labels, resamples=2, seed=1).iou != found.iou
    assert overlap(features, labels, resamples=2, seed=1).iou == pytest.approx(found.iou, abs=0.05)
    assert overlap(features[:1500], labels[:1500], resamples=2).n == 1500


def test_identical_items_have_a_cosine_of_one():
    found = overlap(torch.ones(6, 3) * torch.arange(1, 7)[:, None], [0, 0, 0, 1, 1, 1], bins=10)
    assert found.iou == 1
    assert found.same[-1] == found.different[-1] == 5  # all in the last bin, 0.2 wide


def test_the_table():
    features = torch.tensor([[1.0, 0], [1, 0.01], [0, 1], [0.01, 1]])
    found = overlap(features, [0, 0, 1, 1], bins=4)
    assert str(found).splitlines() == [
        "Overlap of cosines, 4 bins: all pairs of 4 items, 2 labels",
        "IoU [95 %]            mean of one label  mean of two",
        "0.000 [0.000, 1.000]  0.750              0.250",  # too few items for an interval
    ]


@pytest.mark.parametrize(
    ("features", "labels", "options", "message"),
    [
        (drawn(4), [0, 0, 1, 1], {}, r"features of shape \(4,\)"),
        (drawn(2, 3), [0, 0], {}, r"features of shape \(2, 3\).*N ≥ 3"),
        (torch.zeros(4, 3), [0, 0, 1, 1], {}, "rows of zeros"),
        (torch.full((4, 3), torch.nan), [0, 0, 1, 1], {}, "NaN"),
        (torch.full((4, 3), torch.inf), [0, 0, 1, 1], {}, "infinite"),
        (drawn(4, 3), [0, 0, 0, 0], {}, "labels of 4 items: no two agree, or all do"),
        (drawn(4, 3), [0, 1, 2, 3], {}, "labels of 4 items: no two agree, or all do"),
        (drawn(4, 3), [0, 1, 1], {}, r"\(3,\) for 4 items"),
        (drawn(4, 3), [0, 0, 1, 1], {"bins": 1}, "bins=1"),
        (drawn(4, 3), [0, 0, 1, 1], {"resamples": 0}, "resamples=0"),
    ],
)
def test_refusals(features, labels, options, message):
    with pytest.raises(ValueError, match=message):
        overlap(features, labels, **options)


def test_everything_is_the_histogram_of_all_pairs():
    features, labels = classes(40, 4, 0.5)
    found = overlap(features, labels, bins=20)
    unit = torch.nn.functional.normalize(features.double(), dim=-1).numpy()
    cosines = (unit @ unit.T)[np.triu_indices(40, 1)]
    assert np.allclose(found.everything, np.histogram(cosines, found.edges, density=True)[0])
