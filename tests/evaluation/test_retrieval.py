"""Ranks and recalls against a naive loop, and against scorers that try to cheat."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from workbench.evaluation import pair_scores, ranking, recall_at_k, recalls, retrieval_ranks
from workbench.evaluation.retrieval import as_right


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


def naive_places(queries, gallery, positives):
    """Place of each positive among all, worst case at ties: how many others score as high, and the positives up to it."""
    places = []
    for q, right in zip(queries, positives, strict=True):
        scores = [F.cosine_similarity(q, g, dim=0).item() for g in gallery]
        own = sorted((scores[g] for g in right), reverse=True)
        rivals = [s for g, s in enumerate(scores) if g not in right]
        places.append([j + sum(s >= mine for s in rivals) for j, mine in enumerate(own, start=1)])
    return places


@pytest.mark.parametrize("block", [1, 7, None])
def test_the_worst_positive_has_the_last_place_of_the_naive_loop(data, block):
    worst = torch.tensor([max(each) for each in naive_places(*data)])
    assert torch.equal(retrieval_ranks(*data, block=block, of="worst"), worst)


def test_all_and_share_count_what_the_naive_loop_counts(data):
    places = naive_places(*data)
    queries, gallery, positives = data
    scores = F.normalize(queries, dim=-1) @ F.normalize(gallery, dim=-1).T
    every, share = (recall_at_k(scores, positives, ks=(1, 2, 5), count=count) for count in ("all", "share"))
    for k in (1, 2, 5):
        first = [sum(place <= k for place in each) / len(each) for each in places]
        assert every[k] == pytest.approx(sum(part == 1 for part in first) / len(first))
        assert share[k] == pytest.approx(sum(first) / len(first))
        for count, told in (("all", every), ("share", share)):
            assert recalls(*data, ks=(1, 2, 5), count=count).at[k].mean == pytest.approx(told[k])


def test_positives_may_be_an_array(data):
    queries, gallery, _ = data
    column = np.arange(23) % 7
    lists = retrieval_ranks(queries, gallery, [[int(g)] for g in column])
    assert torch.equal(retrieval_ranks(queries, gallery, column), lists)
    assert torch.equal(retrieval_ranks(queries, gallery, torch.from_numpy(column)[:, None]), lists)


@pytest.mark.parametrize("d", [3, 7, 64, 384, 512, 768])
@pytest.mark.parametrize("n", [5, 33, 257, 1001])
def test_any_constant_scorer_earns_nothing(d, n):
    """One matrix product gives equal rows scores that differ in the last bit, by where they stand: that is a tie, too."""
    generator = torch.Generator().manual_seed(d + n)
    text = torch.randn(1, d, generator=generator).expand(n, d).contiguous()
    image = torch.randn(n, d, generator=generator)
    own = [[i] for i in range(n)]
    assert set(retrieval_ranks(image, text, own).tolist()) == {n}
    assert recalls(image, text, own, ks=(1, n - 1)).at[n - 1].mean == 0


def test_orders_do_not_change_ranks(data):
    queries, gallery, positives = data
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    moved = torch.empty_like(order).scatter_(0, order, torch.arange(40))
    ranks = retrieval_ranks(queries, gallery, positives)
    assert torch.equal(retrieval_ranks(queries, gallery[order], [[int(moved[g]) for g in p] for p in positives]), ranks)
    assert torch.equal(retrieval_ranks(queries, gallery, [p[::-1] for p in positives]), ranks)
    assert torch.equal(retrieval_ranks(3 * queries.double(), gallery, positives), ranks)


def test_a_large_gallery_is_normalised_tile_by_tile(data, monkeypatch):
    whole = retrieval_ranks(*data)
    monkeypatch.setattr(ranking, "MAX_BYTES", 1000)
    monkeypatch.setattr(ranking, "_TILE", 16)
    assert torch.equal(retrieval_ranks(*data), whole)
    assert torch.equal(retrieval_ranks(*data, of="worst"), retrieval_ranks(*data, of="worst", block=1))


def test_scores_that_rule_a_pair_out_are_no_positives_left_over():
    scores = torch.tensor([[-torch.inf, -torch.inf, -torch.inf, -torch.inf], [1.0, -torch.inf, 0.0, 0.5]])
    assert recall_at_k(scores, [[0, 1], [0]], ks=(1, 2, 3)) == {1: 0.5, 2: 0.5, 3: 1.0}


def test_scores_are_left_as_they_were_and_doubles_keep_their_digits():
    scores = torch.tensor([[1.0, 1.0 - 1e-12], [0.0, 1.0]], dtype=torch.float64)
    before = scores.clone()
    assert recall_at_k(scores, [[0], [1]], ks=(1,)) == {1: 1.0}
    assert recall_at_k(scores.float(), [[0], [1]], ks=(1,)) == {1: 0.5}
    assert torch.equal(scores, before)


def test_features_that_still_want_gradients_can_be_ranked(data):
    queries, gallery, positives = data
    assert torch.equal(retrieval_ranks(queries.requires_grad_(), gallery, positives), naive(*data))


def test_the_record_says_gallery_chance_and_interval(data):
    found = recalls(*data, ks=(1, 5), title="text to image")
    text = str(found)
    assert "23 queries, gallery of 40" in text
    assert "text to image, percent:" in text
    assert found.ks == (1, 5)
    for k, each in found.at.items():
        assert each.mean == recall_at_k(retrieval_ranks(*data), ks=(k,))[k]
        assert 0 <= each.low <= each.mean <= each.high <= 1
    assert found.chance[1] == pytest.approx((19 * 2 / 40 + 4 / 40) / 23)
    assert "all positives" in str(recalls(*data, ks=(1,), count="all"))


@pytest.mark.parametrize("count", ["any", "all", "share"])
def test_a_random_scorer_lands_on_chance_in_its_interval(count):
    generator = torch.Generator().manual_seed(2)
    image, text = torch.randn(400, 32, generator=generator), torch.randn(60, 32, generator=generator)
    positives = [[q % 60, (q + 7) % 60, (q + 9) % 60][: 1 + q % 3] for q in range(400)]
    found = recalls(image, text, positives, ks=(10, 30), count=count)
    for k in (10, 30):
        assert found.at[k].low - 0.02 <= found.chance[k] <= found.at[k].high + 0.02


def test_captions_of_one_picture_are_not_independent():
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(60, 16, generator=generator)
    text = (image + torch.randn(60, 16, generator=generator)).repeat_interleave(5, 0)  # five times the same caption
    owner = torch.arange(300) // 5
    alone = recalls(text, image, owner, ks=(1,)).at[1]
    grouped = recalls(text, image, owner, ks=(1,), groups=owner).at[1]
    once = recalls(text[::5], image, owner[::5], ks=(1,)).at[1]
    assert alone.mean == grouped.mean
    assert grouped.high - grouped.low > 1.8 * (alone.high - alone.low)
    assert (grouped.low, grouped.high) == pytest.approx((once.low, once.high), abs=0.03)


@pytest.mark.parametrize(
    ("positives", "error", "message"),
    [
        ([[0], [1, 1]], ValueError, "query 1 names row 1 twice"),
        ([[0], [-1]], ValueError, r"query 1 has positives \[-1\]; gallery rows are 0 to 2"),
        ([[0.0], [1.0]], TypeError, "as whole numbers"),
        (np.zeros((2, 0), int), ValueError, "query 0 has no positive"),
        ([[], [], [0]], ValueError, "3 lists of positives for 2 queries"),
    ],
)
def test_positives_that_are_none(positives, error, message):
    with pytest.raises(error, match=message):
        retrieval_ranks(torch.ones(2, 3), torch.ones(3, 3), positives)


def test_more_refusals(data):
    queries, gallery, positives = data
    with pytest.raises(ValueError, match=r"ks=\(1, 40\); .* k is at most 39"):
        recalls(queries, gallery, positives, ks=(1, 40))
    with pytest.raises(ValueError, match=r"ks=\(0,\); give whole numbers from 1"):
        recall_at_k(torch.tensor([1, 2]), ks=(0,))
    with pytest.raises(ValueError, match="count='some'; choose one of any, all, share"):
        recalls(queries, gallery, positives, count="some")
    with pytest.raises(ValueError, match="count='all' needs scores"):
        recall_at_k(torch.tensor([1, 2]), count="all")
    with pytest.raises(ValueError, match="of='last'; choose best or worst"):
        retrieval_ranks(queries, gallery, positives, of="last")
    with pytest.raises(ValueError, match="block=0; give at least one query"):
        retrieval_ranks(queries, gallery, positives, block=0)
    with pytest.raises(ValueError, match="queries hold NaN or infinite"):
        retrieval_ranks(queries * torch.inf, gallery, positives)
    with pytest.raises(ValueError, match=r"scores hold NaN or \+inf"):
        recall_at_k(torch.full((2, 2), torch.inf), [[0], [1]])


@pytest.mark.parametrize("d", [4, 768, 1536, 3584])
def test_few_equal_rows_tie_whatever_kernel_a_product_takes(d):
    generator = torch.Generator().manual_seed(d)
    for vector in (torch.full((1, d), 0.3), torch.randn(1, d, generator=generator)):
        for n_queries in (1, 2, 3):
            for n in range(2, 14):
                queries, gallery = vector.repeat(n_queries, 1), vector.repeat(n, 1)
                assert recalls(queries, gallery, [[0]] * n_queries, ks=(1,)).at[1].mean == 0
                for each in (queries, torch.randn(n_queries, d, generator=generator)):
                    right = as_right([[0]] * n_queries, n_queries, n)
                    for block in ranking.feature_blocks(each, gallery, right, None):
                        scores = block.scores[:, :n]
                        assert (scores.amax(1) - scores.amin(1)).max() < ranking.ROUNDING / 4


def test_arrays_are_features(data):
    queries, gallery, positives = data
    arrays = queries.numpy(), gallery.numpy().astype(np.float64), positives
    assert torch.equal(retrieval_ranks(*arrays), retrieval_ranks(*data))
    assert recalls(*arrays) == recalls(*data)


@pytest.mark.parametrize(("queries", "gallery"), [("queries", "row 1 of queries"), ("gallery", "row 2 of gallery")])
def test_rows_of_zeros_have_no_direction(queries, gallery):
    ones = {"queries": torch.ones(2, 3), "gallery": torch.ones(3, 3)}
    ones[queries][-1] = 0
    for block in (1, None):
        with pytest.raises(ValueError, match=f"{gallery} is zeros"):
            retrieval_ranks(*ones.values(), [[0], [1]], block=block)


@pytest.mark.parametrize("ranks", [[0, 1], [-3, 1], [1.0, np.nan], [True, False]])
def test_ranks_that_are_none(ranks):
    with pytest.raises(ValueError, match="ranks go from 1 on"):
        recall_at_k(torch.tensor(ranks))


@pytest.mark.parametrize("ks", [None, (1, None), (True,), (1.5,), "5", (np.nan,)])
def test_ks_that_are_none(ks):
    with pytest.raises(ValueError, match="give whole numbers from 1 on"):
        recall_at_k(torch.tensor([1, 2]), ks=ks)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_many_positives_count_in_memory(monkeypatch):
    def peak():
        return 1024 * int(re.search(r"^VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)[1])

    monkeypatch.setattr(ranking, "MAX_BYTES", 32 << 20)
    scores, positives = torch.rand(512, 4000), np.broadcast_to(np.arange(2000), (512, 2000))
    recall_at_k(scores[:2], positives[:2], ks=(1,), count="share")
    right = as_right(positives, 512, 4000)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = peak()
    for _ in ranking.all_ranks(ranking.score_blocks(scores, right, 20), right, 4000):
        pass
    assert peak() - before < 40 << 20
