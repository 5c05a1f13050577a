"""Probes against scikit-learn, on planted truth, and on labels that mean nothing."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, silhouette_score
from sklearn.neighbors import KNeighborsClassifier

from workbench.evaluation import cluster_quality, knn_accuracy, linear_probe, nearest_class_mean

PROBES = (knn_accuracy, nearest_class_mean, linear_probe)


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(5, 10, generator=generator)
    labels = torch.arange(200) % 5
    features = centres[labels] + 1.2 * torch.randn(200, 10, generator=generator)
    return features[:150], labels[:150], features[150:], labels[150:]


@pytest.mark.parametrize("k", [1, 10, 100])
def test_knn_agrees_with_scikit_learn(data, k):
    train, y_train, test, y_test = (part.numpy() for part in data)
    theirs = KNeighborsClassifier(k, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07))
    predicted = theirs.fit(train, y_train).predict(test)
    assert knn_accuracy(*data, k=k).accuracy.mean == pytest.approx(accuracy_score(y_test, predicted))


def test_a_cold_vote_is_that_of_the_nearest(data):
    assert knn_accuracy(*data, k=50, temperature=1e-4).accuracy == knn_accuracy(*data, k=1).accuracy


@pytest.mark.parametrize("first", [False, True])
def test_nearest_mean_agrees_with_scikit_learn(data, first):
    train, y_train, test, y_test = data
    rows = F.normalize(train, dim=-1) if first else train
    means = np.stack([rows[y_train == c].mean(0).numpy() for c in range(5)])
    predicted = KNeighborsClassifier(1, metric="cosine").fit(means, range(5)).predict(test.numpy())
    found = nearest_class_mean(*data, normalise_first=first)
    assert found.accuracy.mean == pytest.approx(accuracy_score(y_test, predicted))


def test_the_linear_probe_is_scikit_learns_with_the_chosen_strength(data):
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    train, y_train, test, y_test = (part.numpy() for part in data)
    found = linear_probe(*data)
    chosen = float(found.method.partition("C=")[2])
    scaler = StandardScaler().fit(train.astype(float))
    theirs = LogisticRegression(C=chosen, max_iter=2000).fit(scaler.transform(train), y_train)
    assert found.accuracy.mean == pytest.approx(theirs.score(scaler.transform(test), y_test))


def test_two_classes_and_labels_that_are_words(data):
    train, y_train, test, y_test = data
    words = np.array(["dog", "cat"])
    named = (train, words[y_train % 2], test, words[y_test % 2])
    numbered = (train, 1 - y_train % 2, test, 1 - y_test % 2)
    for probe in PROBES:
        assert probe(*named) == probe(*numbered)


@pytest.mark.parametrize("probe", PROBES)
def test_labels_without_meaning_are_worth_chance(probe):
    generator = torch.Generator().manual_seed(1)
    features, labels = torch.randn(800, 6, generator=generator), torch.arange(800) % 4
    found = probe(features[:400], labels[:400], features[400:], labels[400:])
    assert found.accuracy.low - 0.02 <= 0.25 <= found.accuracy.high + 0.02
    assert found.majority == 0.25


def test_a_model_that_always_says_the_same_is_worth_no_more_than_one_class():
    constant, labels = torch.ones(60, 4), torch.arange(60) % 3
    for probe in PROBES:
        found = probe(constant, labels, constant, labels)
        assert found.accuracy.mean <= found.majority
    assert nearest_class_mean(constant, labels, constant, labels).accuracy.mean == 0


def test_scale_and_rotation_change_nothing(data):
    train, y_train, test, y_test = data
    turn = torch.linalg.qr(torch.randn(10, 10, generator=torch.Generator().manual_seed(2)))[0]
    for probe in (knn_accuracy, nearest_class_mean):
        assert probe(7 * train @ turn, y_train, 7 * test @ turn, y_test) == probe(*data)


def test_what_knn_misses_a_linear_probe_finds():
    """The contrast that SAIL correlates with alignment: a loud axis without meaning spoils neighbours, not a linear read-out."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(400) % 2
    signal = (2.0 * labels - 1)[:, None] + 0.3 * torch.randn(400, 1, generator=generator)
    features = torch.cat([signal, 30 * torch.randn(400, 6, generator=generator)], 1)
    parts = (features[:300], labels[:300], features[300:], labels[300:])
    assert linear_probe(*parts).accuracy.mean > 0.95
    assert knn_accuracy(*parts).accuracy.mean < 0.75
    assert cluster_quality(features, labels).agreement < 0.1


def test_cluster_quality_of_tight_and_of_meaningless_classes(data):
    train, labels, *_ = data
    tight = cluster_quality(torch.eye(5)[labels] + 0.01 * train[:, :5], labels)
    assert tight.silhouette > 0.9
    assert tight.agreement == pytest.approx(1)
    shuffled = cluster_quality(train, labels[torch.randperm(150, generator=torch.Generator().manual_seed(4))])
    assert abs(shuffled.agreement) < 0.05
    assert cluster_quality(train, labels).silhouette == pytest.approx(
        silhouette_score(train, labels, metric="cosine"), abs=1e-5
    )
    assert "150" in str(tight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: torch.ones(150)}, r"train of shape \(150,\)"),
        ({0: torch.ones(0, 10), 1: []}, "N ≥ 1"),
        ({0: torch.full((150, 10), torch.nan)}, "train hold NaN"),
        ({2: torch.ones(50, 9)}, "differ in width"),
        ({1: torch.zeros(149)}, r"train_labels of shape \(149,\) for 150 items"),
        ({1: torch.zeros(150)}, "all training items are '0.0'"),
        ({3: torch.full((50,), 7)}, "test label '7' is in no training item"),
    ],
)
def test_refusals(data, change, message):
    given = [change.get(i, part) for i, part in enumerate(data)]
    for probe in PROBES:
        with pytest.raises(ValueError, match=message):
            probe(*given)


def test_refusals_of_options(data):
    train, y_train, test, y_test = data
    with pytest.raises(ValueError, match="k=151 with 150 training items"):
        knn_accuracy(*data, k=151)
    with pytest.raises(ValueError, match="temperature=0"):
        knn_accuracy(*data, temperature=0)
    with pytest.raises(ValueError, match=r"validation=0\.01 of 150"):
        linear_probe(*data, validation=0.01)
    with pytest.raises(ValueError, match=r"strengths=\(\)"):
        linear_probe(*data, strengths=())
    with pytest.raises(ValueError, match="one training item only"):
        linear_probe(train[:6], y_train[:6], test, y_test)
    with pytest.raises(ValueError, match="1 classes of 150 items"):
        cluster_quality(train, [0] * 150)


@pytest.mark.parametrize("d", [3, 100, 768])
@pytest.mark.parametrize("normalise_first", [False, True])
def test_means_of_the_same_feature_tie_however_many_went_in(d, normalise_first):
    row = torch.randn(1, d, generator=torch.Generator().manual_seed(d))
    labels = [0] * 3 + [1] * 7 + [2] * 11 + [3] * 90
    same = row.repeat(len(labels), 1)
    assert nearest_class_mean(same, labels, same, labels, normalise_first=normalise_first).accuracy.mean == 0


@pytest.mark.parametrize("options", [{"k": 2.5}, {"temperature": math.nan}, {"temperature": math.inf}])
def test_settings_of_neighbours_that_are_none(options):
    rows, labels = torch.eye(6), [0, 0, 0, 1, 1, 1]
    with pytest.raises(ValueError, match=r"k=2\.5|temperature="):
        knn_accuracy(rows, labels, rows, labels, **({"k": 2} | options))


def test_strengths_are_numbers():
    rows, labels = torch.eye(8), [0, 1] * 4
    for strength in (math.nan, math.inf):
        with pytest.raises(ValueError, match="give values of C above 0"):
            linear_probe(rows, labels, rows, labels, strengths=(1.0, strength), validation=0.5)


def test_distances_are_held_in_bounded_memory(monkeypatch):
    import sklearn.metrics

    told, original = [], sklearn.metrics.silhouette_score

    def spy(*args, **options):
        told.append(sklearn.get_config()["working_memory"])
        return original(*args, **options)

    monkeypatch.setattr(sklearn.metrics, "silhouette_score", spy)
    cluster_quality(torch.eye(6), [0, 0, 0, 1, 1, 1])
    assert told == [64]  # MiB; scikit-learn's own habit is 1024
