"""Average precision and precision at k against a naive loop, and against scorers that try to cheat."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from workbench.evaluation import (
    average_precisions,
    label_precisions,
    label_retrieval,
    mean_average_precision,
    precision_at_k,
)


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    labels_g = torch.randint(0, 4, (30,), generator=generator)
    return torch.randn(12, 30, generator=generator), torch.arange(12) % 4, labels_g


def order_of(row, relevant):
    """Best first; of equal scores the wrong ones."""
    return sorted(range(len(row)), key=lambda g: (-float(row[g]), bool(relevant[g])))


def naive(scores, labels_q, labels_g, k=None, exclude_self=False):
    found = []
    for q, row in enumerate(scores):
        relevant = [int(label) == int(labels_q[q]) for label in labels_g]
        order = [g for g in order_of(row, relevant) if not (exclude_self and g == q)]
        hits = [relevant[g] for g in order]
        precisions = [sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(hits) if hit]
        found.append(sum(hits[:k]) / k if k else sum(precisions) / len(precisions))
    return np.array(found)


def test_average_precision_is_the_naive_loop(data):
    assert np.allclose(average_precisions(*data), naive(*data))
    assert mean_average_precision(*data) == pytest.approx(naive(*data).mean())


def test_precision_is_the_naive_loop(data):
    found = precision_at_k(*data, ks=(1, 3, 30))
    assert found == pytest.approx({k: naive(*data, k=k).mean() for k in (1, 3, 30)})


def test_ties_put_the_wrong_ones_first(data):
    scores, labels_q, labels_g = data
    coarse = scores.round()
    assert np.allclose(average_precisions(coarse, labels_q, labels_g), naive(coarse, labels_q, labels_g))
    constant = torch.zeros_like(scores)
    assert precision_at_k(constant, labels_q, labels_g, ks=(5,)) == {5: 0.0}
    assert mean_average_precision(constant, labels_q, labels_g) < (labels_g.bincount() / 30).min()


def test_a_query_is_not_its_own_answer():
    generator = torch.Generator().manual_seed(1)
    features, labels = torch.randn(20, 6, generator=generator), torch.arange(20) % 3
    scores = F.normalize(features, dim=-1) @ F.normalize(features, dim=-1).T
    expected = naive(scores, labels, labels, exclude_self=True)
    assert np.allclose(average_precisions(scores, labels, labels, exclude_self=True), expected)
    found = label_retrieval(features, features, labels, labels, ks=(1, 5), exclude_self=True)
    assert found.mean_average_precision.mean == pytest.approx(expected.mean())
    assert found.precision[5].mean == pytest.approx(naive(scores, labels, labels, 5, exclude_self=True).mean())
    assert found.chance == pytest.approx(sum((labels == c).sum().item() - 1 for c in labels) / 20 / 19)
    assert mean_average_precision(scores, labels, labels) > expected.mean()  # with itself as the first answer


@pytest.mark.parametrize("block", [1, 5, None])
def test_features_in_any_blocks_say_what_their_scores_say(block):
    generator = torch.Generator().manual_seed(2)
    queries, gallery = torch.randn(13, 8, generator=generator), torch.randn(50, 8, generator=generator)
    labels_q, labels_g = np.array(list("abcabcabcabca")), np.array(list("abcde" * 10))
    scores = F.normalize(queries, dim=-1) @ F.normalize(gallery, dim=-1).T
    found = label_retrieval(queries, gallery, labels_q, labels_g, ks=(1, 10), block=block)
    assert found.mean_average_precision.mean == pytest.approx(mean_average_precision(scores, labels_q, labels_g))
    assert found.precision[10].mean == pytest.approx(precision_at_k(scores, labels_q, labels_g, ks=(10,))[10])
    assert "13 queries, gallery of 50" in str(found)


def test_constant_features_earn_less_than_chance():
    generator = torch.Generator().manual_seed(3)
    constant = torch.randn(1, 7, generator=generator).expand(257, 7).contiguous()
    labels = np.arange(257) % 5
    found = label_retrieval(constant, constant, labels, labels, exclude_self=True)
    assert found.precision[10].mean == 0
    assert found.mean_average_precision.mean < found.chance


def test_a_random_scorer_has_the_precision_of_chance():
    generator = torch.Generator().manual_seed(4)
    labels = np.arange(300) % 3
    found = label_retrieval(
        torch.randn(300, 16, generator=generator), torch.randn(300, 16, generator=generator), labels, labels
    )
    assert found.precision[10].low <= found.chance <= found.precision[10].high


def test_classes_of_very_different_sizes():
    generator = torch.Generator().manual_seed(5)
    labels_g = np.array([0] * 38 + [1, 2])
    labels_q = np.array([0, 1, 2, 0])
    scores = torch.randn(4, 40, generator=generator)
    assert np.allclose(average_precisions(scores, labels_q, labels_g), naive(scores, labels_q, labels_g))


@pytest.mark.parametrize(
    ("labels_q", "labels_g", "options", "message"),
    [
        ([0, 1], [0, 1], {}, r"labels_g of shape \(2,\) for 3 rows"),
        ([0, 9], [0, 1, 1], {}, r"query 1, label '9', has nothing right in the gallery; .* \(1 of 2\)"),
        ([0, 1], [0, 1, 1], {"exclude_self": True}, "the same items"),
    ],
)
def test_refusals(labels_q, labels_g, options, message):
    with pytest.raises(ValueError, match=message):
        mean_average_precision(torch.zeros(2, 3), labels_q, labels_g, **options)


def test_more_refusals():
    with pytest.raises(ValueError, match=r"query 2, label '1', has nothing right"):
        mean_average_precision(torch.zeros(3, 3), [0, 0, 1], [0, 0, 1], exclude_self=True)
    with pytest.raises(ValueError, match="k is at most 2"):
        precision_at_k(torch.zeros(1, 2), [0], [0, 1], ks=(3,))
    with pytest.raises(ValueError, match="NaN"):
        mean_average_precision(torch.full((1, 2), torch.nan), [0], [0, 1])
    with pytest.raises(ValueError, match=r"scores of shape \(2,\)"):
        mean_average_precision(torch.zeros(2), [0], [0, 1])
    with pytest.raises(ValueError, match="at least one row"):
        mean_average_precision(torch.zeros(0, 2), [], [0, 1])


def test_arrays_are_features():
    rows, labels = np.random.default_rng(0).normal(size=(12, 4)), np.arange(12) % 3
    found = label_retrieval(rows, rows, labels, labels, ks=(1,), exclude_self=True)
    tensor = torch.from_numpy(rows)
    assert found == label_retrieval(tensor, tensor, labels, labels, ks=(1,), exclude_self=True)


# Precisions of every query ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 5, None])
def test_precisions_of_queries_are_those_behind_the_mean(block):
    generator = torch.Generator().manual_seed(6)
    queries, gallery = torch.randn(13, 8, generator=generator), torch.randn(50, 8, generator=generator)
    labels_q, labels_g = np.arange(13) % 4, np.arange(50) % 4
    scores = F.normalize(queries, dim=-1) @ F.normalize(gallery, dim=-1).T
    found = label_precisions(queries, gallery, labels_q, labels_g, block=block)
    assert found.dtype == np.float64
    assert np.allclose(found, naive(scores, labels_q, labels_g))
    assert found.mean() == label_retrieval(queries, gallery, labels_q, labels_g).mean_average_precision.mean


@pytest.mark.parametrize("block", [1, 3, None])
def test_a_querys_own_row_may_stand_anywhere(block):
    """Queries are rows of a shuffled gallery: the same as all against all, query by query."""
    generator = torch.Generator().manual_seed(7)
    features, labels = torch.randn(24, 6, generator=generator), np.arange(24) % 3
    scores = F.normalize(features, dim=-1) @ F.normalize(features, dim=-1).T
    expected = naive(scores, labels, labels, exclude_self=True)
    own = np.arange(24)
    assert np.allclose(label_precisions(features, features, labels, labels, own=own, block=block), expected)
    order = np.random.default_rng(0).permutation(24)
    place, some = np.argsort(order), [5, 2, 19, 2]
    found = label_precisions(features[some], features[order], labels[some], labels[order], own=place[some], block=block)
    assert np.allclose(found, expected[some])
    for kind in (list, torch.as_tensor, lambda rows: np.asarray(rows, dtype=np.int32)):
        again = label_precisions(features, features, labels, labels, own=kind(own.tolist()))
        assert np.allclose(again, expected)
    tensor = torch.from_numpy(labels)
    assert np.allclose(label_precisions(features, features, tensor, tensor, own=own), expected)


def test_own_rows_do_not_count_as_found():
    features, labels = torch.eye(6).repeat(1, 1), np.arange(6) % 2
    scores = F.normalize(features, dim=-1) @ F.normalize(features, dim=-1).T
    with_itself = label_precisions(features, features, labels, labels)
    without = label_precisions(features, features, labels, labels, own=np.arange(6))
    assert np.allclose(without, naive(scores, labels, labels, exclude_self=True))
    assert (with_itself > without).all()


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ([0, 1, 2], r"own of shape \(3,\); give one row of 0 … 5 for each query"),
        ([0, 1, 2, 6], "give one row of 0 … 5"),
        ([-1, 1, 2, 3], "give one row of 0 … 5"),
        ([0.0, 1.0, 2.0, 3.0], "give one row of 0 … 5"),
        ([True, True, True, True], "give one row of 0 … 5"),
        ([[0], [1], [2], [3]], r"own of shape \(4, 1\)"),
        ([1, 1, 2, 3], "own names a row of another label than its query"),
    ],
)
def test_own_rows_that_are_refused(own, message):
    labels_q, labels_g = np.arange(4) % 2, np.arange(6) % 2
    features = torch.randn(6, 3, generator=torch.Generator().manual_seed(8))
    with pytest.raises(ValueError, match=message):
        label_precisions(features[:4], features, labels_q, labels_g, own=own)


def test_precisions_that_are_refused():
    features = torch.randn(4, 3, generator=torch.Generator().manual_seed(9))
    with pytest.raises(ValueError, match=r"query 3, label '2', has nothing right .* \(1 of 4\)"):
        label_precisions(features, features, [1, 1, 1, 2], [1, 1, 1, 2], own=[0, 1, 2, 3])
    assert label_precisions(features, features, [1, 1, 1, 2], [1, 1, 1, 2]).shape == (4,)
    with pytest.raises(ValueError, match="for 4 rows"):
        label_precisions(features, features, [1, 1, 1], [1, 1, 1, 1], own=[0, 1, 2])
    with pytest.raises(ValueError, match="zeros, which has no direction"):
        label_precisions(torch.zeros(4, 3), features, [1, 1, 1, 1], [1, 1, 1, 1], own=[0, 1, 2, 3])
