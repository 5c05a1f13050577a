"""Shortlists against whole rankings: both ends, ties, counted cost, and a plain reference between."""

import numpy as np
import pytest
import torch

from workbench.evaluation import recall_at_k, retrieval_ranks, two_stage_recall

Q, G, D = 40, 23, 6


def features(seed=0, queries=Q, gallery=G):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(queries, D, generator=generator), torch.randn(gallery, D, generator=generator)


def scorer(seed=1, levels=4, kind=torch.float32):
    """A second stage with many ties, that writes down what it is asked."""
    table = torch.randint(0, levels, (Q, G), generator=torch.Generator().manual_seed(seed)).to(kind)
    asked = []

    def rerank(rows, candidates):
        asked.append((rows.copy(), candidates.copy()))
        return table[rows[:, None], candidates]

    return rerank, table, asked


def positives(seed=2, most=3):
    rng = np.random.default_rng(seed)
    return [rng.choice(G, rng.integers(1, most + 1), replace=False).tolist() for _ in range(Q)]


def plain(queries, gallery, right, table, k):
    """One query at a time: rivals first among equal cosines, and a right answer must score above every rival."""
    hits = []
    for q in range(Q):
        cosines = torch.nn.functional.cosine_similarity(queries[q : q + 1].double(), gallery.double())
        order = sorted(range(G), key=lambda g: (-cosines[g].item(), g in right[q]))[:k]
        own = [table[q, g].item() for g in order if g in right[q]]
        rivals = [table[q, g].item() for g in order if g not in right[q]]
        hits.append(bool(own) and (not rivals or max(own) > max(rivals)))
    return np.mean(hits)


def test_recall_is_that_of_the_plain_definition_at_every_k():
    (queries, gallery), right, (rerank, table, _) = features(), positives(), scorer()
    found = two_stage_recall(queries, gallery, right, rerank, range(1, G + 1))
    for k in range(1, G + 1):
        assert found.at[k].mean == pytest.approx(plain(queries, gallery, right, table, k)), k


def test_the_first_alone_is_the_cosine_and_the_whole_gallery_is_the_second_stage():
    (queries, gallery), right, (rerank, table, _) = features(), positives(), scorer()
    found = two_stage_recall(queries, gallery, right, rerank, (1, G))
    ranks = retrieval_ranks(queries, gallery, right)
    assert found.at[1].mean == pytest.approx((ranks == 1).double().mean().item())
    assert found.at[G].mean == pytest.approx(recall_at_k(table, right, (1,))[1])
    assert found.at[1].mean != found.at[G].mean, "or the test says nothing"


def test_what_the_shortlist_lacks_no_second_stage_finds():
    queries, gallery = features()
    right = [[q % G] for q in range(Q)]
    oracle = lambda rows, candidates: torch.from_numpy((candidates == rows[:, None] % G).astype(np.float32))  # noqa: E731
    found = two_stage_recall(queries, gallery, right, oracle, (1, 4, G))
    ranks = retrieval_ranks(queries, gallery, right)
    for k in (1, 4, G):
        assert found.at[k].mean == found.reached[k].mean == pytest.approx((ranks <= k).double().mean().item())
    assert found.at[G].mean == 1


def test_cost_is_counted():
    (queries, gallery), (rerank, _, asked) = features(), scorer()
    found = two_stage_recall(queries, gallery, positives(), rerank, (1, 3, 9), block=7)
    assert found.pairs == {1: 0, 3: 3, 9: 9}
    assert found.evaluated == sum(candidates.size for _, candidates in asked) == Q * 9
    assert [len(rows) for rows, _ in asked] == [7, 7, 7, 7, 7, 5], "a block of queries at a time"
    assert np.concatenate([rows for rows, _ in asked]).tolist() == list(range(Q))
    for rows, candidates in asked:
        assert candidates.shape == (len(rows), 9)
        assert all(len(set(each)) == 9 for each in candidates.tolist())


def test_one_candidate_needs_no_second_stage():
    def never(rows, candidates):
        raise AssertionError("asked for one candidate")

    assert two_stage_recall(*features(), positives(), never, (1,)).evaluated == 0


def test_a_shorter_list_is_the_beginning_of_a_longer_one():
    (queries, gallery), right, (rerank, _, _) = features(), positives(), scorer()
    short, long = (two_stage_recall(queries, gallery, right, rerank, ks) for ks in ((1, 5), (1, 5, 20)))
    assert short.at == {k: long.at[k] for k in (1, 5)}


def test_blocks_change_nothing():
    (queries, gallery), right, (rerank, _, _) = features(), positives(), scorer()
    whole, parts = (two_stage_recall(queries, gallery, right, rerank, (1, 5, G), block=b) for b in (None, 3))
    assert whole.at == parts.at
    assert whole.reached == parts.reached


def test_constant_features_and_constant_scores_earn_nothing():
    constant = torch.ones(Q, D), torch.ones(G, D)
    same = lambda rows, candidates: torch.zeros(candidates.shape)  # noqa: E731
    right = [[0]] * Q
    found = two_stage_recall(*constant, right, same, (1, 5, G - 1, G))
    assert [found.at[k].mean for k in found.at] == [0, 0, 0, 0]
    assert [found.reached[k].mean for k in found.reached] == [0, 0, 0, 1], "a rival with the same cosine stands before"
    assert all(each.high > 0 for each in found.at.values()), "an interval has a width, also where nothing is right"
    assert two_stage_recall(*features(), positives(), same, (2, G)).at[G].mean == 0


def test_a_duplicate_of_the_right_answer_stands_before_it():
    queries, gallery = features()
    gallery = torch.cat([gallery, gallery * 3])  # the same directions
    nearest = (torch.nn.functional.normalize(queries) @ torch.nn.functional.normalize(gallery[:G]).T).argmax(1)
    oracle = lambda rows, candidates: torch.from_numpy(candidates == nearest.numpy()[rows, None]).float()  # noqa: E731
    found = two_stage_recall(queries, gallery, nearest, oracle, (1, 2))
    assert found.at[1].mean == 0
    assert found.at[2].mean == 1


def test_a_pair_that_is_ruled_out_loses():
    queries, gallery = features()
    right = [[q % G] for q in range(Q)]
    own_out = lambda rows, candidates: np.where(candidates == rows[:, None] % G, -np.inf, 0.0)  # noqa: E731
    rivals_out = lambda rows, candidates: np.where(candidates == rows[:, None] % G, 0.0, -np.inf)  # noqa: E731
    assert two_stage_recall(queries, gallery, right, own_out, (G,)).at[G].mean == 0
    assert two_stage_recall(queries, gallery, right, rivals_out, (G,)).at[G].mean == 1


def test_queries_of_one_picture_are_drawn_together():
    (queries, gallery), right, (rerank, _, _) = features(), positives(), scorer()
    alone = two_stage_recall(queries, gallery, right, rerank, (5,)).at[5]
    grouped = two_stage_recall(queries, gallery, right, rerank, (5,), groups=[q // 10 for q in range(Q)]).at[5]
    assert alone.mean == grouped.mean
    assert (alone.low, alone.high) != (grouped.low, grouped.high)


def test_table_says_gallery_queries_and_cost():
    (queries, gallery), right, (rerank, _, _) = features(), positives(), scorer()
    table = two_stage_recall(queries, gallery, right, rerank, (1, 5), title="Captions to pictures").table()
    assert table.caption == f"Captions to pictures, percent: {Q} queries, gallery of {G}, {Q * 5} pairs evaluated"
    assert [(row[0], row[3]) for row in table.rows] == [("1", "0"), ("5", "5")]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"ks": (G + 1,)}, f"at most {G}"),
        ({"ks": (0,)}, "from 1 on"),
        ({"ks": ()}, "from 1 on"),
        ({"block": 0}, "block=0"),
        ({"gallery": torch.zeros(G, D)}, "zeros, which has no direction"),
        ({"gallery": torch.zeros(G, D + 1)}, "the same d"),
        ({"positives": [[0]]}, "1 lists of positives for 40 queries"),
        ({"rerank": lambda rows, candidates: torch.zeros(len(rows))}, "give one score for each"),
        ({"rerank": lambda rows, candidates: torch.full(candidates.shape, torch.nan)}, "NaN"),
        ({"rerank": lambda rows, candidates: torch.full(candidates.shape, torch.inf)}, r"\+inf"),
    ],
)
def test_bad_input_is_refused(change, match):
    queries, gallery = features()
    given = {
        "queries": queries,
        "gallery": gallery,
        "positives": positives(),
        "rerank": scorer()[0],
        "ks": (1, 5),
        **change,
    }
    with pytest.raises(ValueError, match=match):
        two_stage_recall(**given)
