"""Ranks and recalls against a naive loop, and against scorers that try to cheat."""

import pytest
import torch
import torch.nn.functional as F

from workbench.evaluation import pair_scores, recall_at_k, retrieval_ranks


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    queries, gallery = torch.randn(23, 8, generator=generator), torch.randn(40, 8, generator=generator)
    positives = [[q, 39 - q] for q in range(19)] + [[20], [21], [22], [23]]
    return queries, gallery, positives


def naive(queries, gallery, positives):
    ranks = []
    for q, right in zip(queries, positives, strict=True):
        scores = [F.cosine_similarity(q, g, dim=0).item() for g in gallery]
        best = max(scores[g] for g in right)
        ranks.append(1 + sum(s >= best for g, s in enumerate(scores) if g not in right))
    return torch.tensor(ranks)


@pytest.mark.parametrize("block", [1, 7, 1024])
def test_ranks_equal_the_naive_loop_in_any_blocks(data, block):
    assert torch.equal(retrieval_ranks(*data, block=block), naive(*data))


def test_recall_is_the_share_of_good_ranks():
    assert recall_at_k(torch.tensor([1, 2, 6, 11]), ks=(1, 5, 10)) == {1: 0.25, 5: 0.5, 10: 0.75}


def test_recall_of_scores_is_recall_of_their_ranks(data):
    queries, gallery, positives = data
    scores = F.normalize(queries, dim=-1) @ F.normalize(gallery, dim=-1).T
    assert recall_at_k(scores, positives) == recall_at_k(retrieval_ranks(*data))


def test_a_constant_scorer_earns_nothing():
    constant = torch.ones(10, 4)
    assert recall_at_k(retrieval_ranks(constant, constant, [[i] for i in range(10)]), ks=(1, 5))[5] == 0


def test_a_random_scorer_lands_on_chance():
    generator = torch.Generator().manual_seed(0)
    ranks = retrieval_ranks(
        torch.randn(2000, 16, generator=generator),
        torch.randn(50, 16, generator=generator),
        [[i % 50] for i in range(2000)],
    )
    assert abs(recall_at_k(ranks, ks=(5,))[5] - 0.1) < 0.02


@pytest.mark.parametrize(
    ("queries", "gallery", "positives", "message"),
    [
        (torch.ones(2, 3), torch.ones(2, 4), [[0], [1]], r"\(2, 3\) and gallery \(2, 4\)"),
        (torch.ones(2, 3), torch.ones(2, 3), [[0]], "1 lists of positives for 2 queries"),
        (torch.ones(0, 3), torch.ones(2, 3), [], "0 queries"),
        (torch.ones(2, 3), torch.ones(2, 3), [[0], []], "query 1 has no positive"),
        (torch.ones(2, 3), torch.ones(2, 3), [[0], [2]], "gallery rows are 0 to 1"),
        (torch.ones(2, 3) * torch.nan, torch.ones(2, 3), [[0], [1]], "NaN"),
    ],
)
def test_refusals(queries, gallery, positives, message):
    with pytest.raises(ValueError, match=message):
        retrieval_ranks(queries, gallery, positives)


def test_recall_refuses_scores_without_positives():
    with pytest.raises(ValueError, match="together with positives"):
        recall_at_k(torch.ones(2, 2))


def test_pair_scores_count_ties_as_wrong():
    constant = pair_scores(torch.ones(3, 2), torch.ones(3, 2), list("abc"), list("xyz"))
    assert constant.correct() == (0, 0)
    own = pair_scores(torch.eye(3), torch.eye(3), list("abc"), list("xyz"))
    assert own.correct() == (3, 3)
    assert own.own_and_others() == (1.0, 0.0)
    with pytest.raises(ValueError, match="2 names for 3 pictures"):
        pair_scores(torch.eye(3), torch.eye(3), list("ab"), list("xyz"))
    with pytest.raises(ValueError, match=r"image \(3, 3\) and text \(2, 4\) must be"):
        pair_scores(torch.eye(3), torch.ones(2, 4), list("abc"), list("xy"))


def test_unpaired_scores_have_no_diagonal():
    unpaired = pair_scores(torch.eye(3), torch.eye(3)[:2], list("abc"), list("xy"))
    with pytest.raises(ValueError, match="3 pictures, 2 captions; give one caption per picture"):
        unpaired.correct()
    with pytest.raises(ValueError, match=r"1 captions; .* 2 or more"):
        pair_scores(torch.eye(1), torch.eye(1), ["a"], ["x"]).own_and_others()
