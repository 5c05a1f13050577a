"""A score taken apart adds up to the score, for every rule without a head; and the piece that decides is the one that does."""

import math
from dataclasses import replace

import pytest
import torch

from tests.matching.test_rules import BOXES, FRAME, World
from workbench.features import TextFeatures
from workbench.matching import RULES, Regions, Segments, score
from workbench.matching.breakdown import WHOLE, Breakdown, Duel, breakdown

FREE = [name for name, rule in RULES.items() if not rule.head]
ROI = {"boxes": BOXES[:1], "frames": [FRAME]}


def options(world):
    """Every free rule with the options that change what it finds."""
    return [
        *((name, ROI if name == "roi" else {}) for name in FREE),
        ("crops", {"exclusive": True}),
        ("crops", {"background": world.background}),
        ("crops", {"exclusive": True, "background": world.background}),
        ("roi", ROI | {"normalize": "whole", "exclusive": True}),
    ]


@pytest.mark.parametrize("case", range(len(FREE) + 4))
@pytest.mark.parametrize("seed", range(4))
def test_what_the_pieces_give_adds_up_to_the_score(case, seed):
    world = World(n=1, m=1)
    torch.manual_seed(seed)
    world.image = replace(world.image, tokens=torch.randn_like(world.image.tokens), post=torch.randn(1, 8))
    world.segments = replace(world.segments, tokens=torch.randn_like(world.segments.tokens))
    rule, given = options(world)[case]
    found = breakdown(rule, *world.sides(rule), **given)
    assert found.score == pytest.approx(float(score(rule, *world.sides(rule), **given)), abs=1e-5)
    assert float(found.weights.sum()) == pytest.approx(1)
    assert len(found.pieces) == len(found.values) == len(found.winners) == len(found.cosines)
    assert all(math.isfinite(found.cosines[k, winner]) for k, winner in enumerate(found.winners))


def test_pieces_are_what_counts_in_the_caption():
    world = World(n=1, m=1)
    world.text = replace(world.text, mask=torch.tensor([[False, True, True, False, True]]))
    assert breakdown("late", *world.sides("late")).pieces == ("red", "thing", "here")
    assert breakdown("late_eos", *world.sides("late")).pieces == ("red", "thing", "here", WHOLE)
    assert breakdown("global", *world.sides("global")).pieces == (WHOLE,)


def test_parts_of_a_word_are_told_apart():
    text = TextFeatures(
        *[torch.eye(1, 8)] * 2, torch.eye(4, 8)[None], torch.tensor([[False, True, True, True]]),
        [["a", "tripod"]], [[None, 0, 1, 1]],
    )  # fmt: skip
    image = World(n=1, m=1).image
    assert breakdown("late", image, text).pieces == ("a", "tripod (1 of 2)", "tripod (2 of 2)")
    assert breakdown("late", image, replace(text, words=None, word_ids=None)).pieces == (
        "token 2",
        "token 3",
        "token 4",
    )


def crops(*rows, boxes=None):
    tokens = torch.tensor(rows, dtype=torch.float32)[None]
    return Regions(tokens, torch.ones(1, len(rows)).bool(), (boxes or ((0, 0, 9, 9),) * len(rows),))


def said(**vectors):
    tokens = torch.tensor(list(vectors.values()), dtype=torch.float32)[None]
    return Segments(tokens, torch.ones(1, len(vectors)).bool(), (tuple(vectors),))


def test_winners_and_exclusive_winners():
    regions = crops([1, 0, 0], [0.9, 0.1, 0], [0, 0, 1])
    segments = said(one=[1, 0, 0], same=[1, 0.01, 0])
    assert breakdown("crops", regions, segments).winners == (0, 0)
    assert sorted(breakdown("crops", regions, segments, exclusive=True).winners) == [0, 1]


def test_a_box_outside_the_frame_is_never_taken():
    world = World(n=1, m=1)
    found = breakdown("roi", *world.sides("roi"), boxes=[[(40, 0, 50, 9), (0, 0, 30, 20)]], frames=[FRAME])
    assert set(found.winners) == {1}
    assert torch.isinf(found.cosines[:, 0]).all()


def test_a_word_that_no_patch_takes_has_no_weight():
    world = World(n=1, m=1)
    tokens = torch.cat([world.image.tokens[:, :1], -100 * world.image.tokens.mean(1, keepdim=True)], 1)
    text = replace(world.text, tokens=tokens, mask=torch.tensor([[True, True]]), words=None, word_ids=None)
    image = replace(world.image, tokens=tokens[:, :1].expand(-1, 6, -1))
    assert breakdown("late_tokens", image, text).weights.tolist() == [1, 0]


@pytest.mark.parametrize("n", [1, 2])
def test_the_piece_that_differs_decides_and_the_shares_add_up(n):
    """Of the same words but one, only the other can decide, whatever the rest finds."""
    regions = crops([1, 0, 0, 0], [0, 1, 0, 0])
    shared = {"easy": [1, 0.1, 0, 0], "hard": [0.1, 0, 1, 0]}
    a = breakdown("crops", regions, said(**shared, right=[0, 1, 0, 0.1]))
    b = breakdown("crops", regions, said(**shared, wrong=[0, 0.2, 0, 1]))
    duel = Duel(a, b) if n == 1 else Duel(b, a)
    assert sum(duel.shares().values()) == pytest.approx(duel.lead, abs=1e-6)
    assert duel.shares()["easy"] == pytest.approx(0, abs=1e-6)
    assert sum(map(float, (push.sum() for push in duel.pushes))) == pytest.approx(0, abs=1e-6)
    side, k = duel.deciding()
    assert (duel.a, duel.b)[side].pieces[k] in ("right", "wrong")
    assert abs(duel.shares()[(duel.a, duel.b)[side].pieces[k]]) == max(map(abs, duel.shares().values()))
    assert f": {'AB'[n - 1]} by" in duel.summary()


def test_captions_of_other_lengths_still_add_up():
    regions = crops([1, 0, 0], [0, 1, 0])
    a = breakdown("crops", regions, said(one=[1, 0, 0]))
    b = breakdown("crops", regions, said(one=[1, 0, 0], two=[0, 1, 1], three=[1, 1, 1]))
    duel = Duel(a, b)
    assert float(duel.pushes[0].sum()) == pytest.approx(duel.lead / 2)
    assert sum(duel.shares().values()) == pytest.approx(duel.lead)
    assert duel.deciding()[0] == 1, "A has one piece, which B has too: what B says beside it decides"
    assert ", found less than the rest, speaks most for A: +" in duel.summary()


def test_a_tie_is_a_tie():
    regions = crops([1, 0.3, 0], [0, 1, 0.7])
    pieces = {"one": [1, 0.2, 0], "two": [0, 1, 1], "three": [1, 1, 1]}
    a = breakdown("crops", regions, said(**pieces))
    b = breakdown("crops", regions, said(**dict(reversed(pieces.items()))))
    assert Duel(a, b).lead == 0
    assert Duel(a, b).deciding() is None
    assert "a tie" in Duel(a, b).summary()


def test_tables_name_every_piece():
    found = Breakdown("late", ("<b>", "b"), torch.eye(2), (0, 1), torch.tensor([0.5, 0.25]), torch.tensor([0.5, 0.5]))
    assert "&lt;b&gt;" in found.table().html()
    table = Duel(found, found).table(["left", "right"])
    assert [row[0] for row in table.rows] == ["A1", "A2", "B1", "B2"]
    assert [row[2] for row in table.rows] == ["left", "right"] * 2
    assert "0.250" in table.text()


def test_what_does_not_come_apart_is_refused():
    world = World(n=1, m=1)
    with pytest.raises(ValueError, match=r"has a trained head.*those that come apart: global"):
        breakdown("linear_text", world.image, world.text)
    with pytest.raises(TypeError, match="without 'heads'"):
        breakdown("phrase_pooling", *world.sides("phrase_pooling"), heads=2)
    with pytest.raises(ValueError, match="3 pictures and 4 captions"):
        breakdown("late", *World().sides("late"))
    with pytest.raises(ValueError, match="choose one of global"):
        breakdown("nonsense", world.image, world.text)
    with pytest.raises(ValueError, match="they cannot all differ"):
        breakdown("crops", crops([1, 0]), said(a=[1, 0], b=[0, 1]), exclusive=True)
