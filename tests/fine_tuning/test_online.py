"""Negatives made while training runs: of seed, step and caption alone, by different operators, and true where there is one."""

import pytest
import torch

from workbench.data.edits import Negative, same
from workbench.data.negatives import negatives
from workbench.data.scenes import scenes
from workbench.fine_tuning import online_negatives
from workbench.fine_tuning.online import check_changeable

CAPTIONS = [each.caption for each in scenes(40, 11)]
STUBBORN = "zzz"  # no operator knows what to do with it


def test_texts_are_negatives_of_their_own_caption():
    texts, valid = online_negatives(CAPTIONS, 3)
    assert valid.shape == (40, 3)
    assert valid.dtype == torch.bool
    assert valid.float().mean() > 0.8  # captions of scenes can be changed in many ways
    for caption, own, there in zip(CAPTIONS, texts, valid, strict=True):
        assert len(own) == 3
        for text, is_there in zip(own, there, strict=True):
            assert same(text, caption) != bool(is_there)


def test_a_caption_has_the_same_negatives_in_every_batch():
    together, valid = online_negatives(CAPTIONS, 3, seed=2, step=7)
    for i in (39, 3, 17):
        alone, one = online_negatives([CAPTIONS[i]], 3, seed=2, step=7)
        assert alone[0] == together[i]
        assert torch.equal(one[0], valid[i])
    backwards, _ = online_negatives(CAPTIONS[::-1], 3, seed=2, step=7)
    assert backwards[::-1] == together


def test_every_step_and_seed_draws_anew():
    drawn = [online_negatives(CAPTIONS, 3, seed=seed, step=step)[0] for seed in (0, 1) for step in (0, 1, 2)]
    for i, texts in enumerate(drawn):
        for others in drawn[:i]:
            assert sum(a == b for a, b in zip(texts, others, strict=True)) < 10  # of 40: a few have no choice


def test_no_step_of_one_seed_is_a_step_of_the_next():
    """Seed and step do not add up: step 1 of seed 0 is not step 0 of seed 1."""
    assert online_negatives(CAPTIONS, 1, seed=0, step=1)[0] != online_negatives(CAPTIONS, 1, seed=1, step=0)[0]


def test_each_of_three_is_of_another_operator():
    for step in range(5):
        texts, valid = online_negatives(CAPTIONS, 3, step=step)
        for caption, own, there in zip(CAPTIONS, texts, valid, strict=True):
            made = negatives(caption, k=3, seed=step)
            assert [each.text for each in made] == own[: int(there.sum())]
            assert len({each.operator for each in made}) == len(made)


def test_a_caption_that_nothing_changes_stands_for_itself():
    texts, valid = online_negatives([STUBBORN, CAPTIONS[0]], 3)
    assert texts[0] == [STUBBORN] * 3
    assert not valid[0].any()
    assert valid[1].any()


def test_operators_by_name():
    texts, valid = online_negatives(CAPTIONS, 3, operators=("shuffle_bigrams",))
    assert valid[:, 0].float().mean() > 0.5
    assert not valid[:, 1:].any()
    moved = [
        sorted(own[0].lower().replace(",", "").split()) for own, there in zip(texts, valid, strict=True) if there[0]
    ]
    kept = [
        sorted(each.lower().replace(",", "").split()) for each, there in zip(CAPTIONS, valid, strict=True) if there[0]
    ]
    assert moved == kept


def test_what_an_operator_of_ones_own_gives_back_is_no_negative():
    def louder(caption, seed):
        return Negative(caption.upper() + " ", "louder", (0, len(caption)), (0, len(caption)), seed)

    def other(caption, seed):
        return Negative(f"not {caption}", "other", (0, 3), (0, 0), seed)

    texts, valid = online_negatives(CAPTIONS[:3], 2, operators={"louder": louder, "other": other})
    assert texts == [[f"not {caption}", caption] for caption in CAPTIONS[:3]]
    assert valid.tolist() == [[True, False]] * 3
    assert not online_negatives(CAPTIONS[:3], 2, operators={"louder": louder})[1].any()


def test_captions_that_nothing_changes_are_no_training():
    check_changeable([STUBBORN, CAPTIONS[0]])
    with pytest.raises(ValueError, match=r"no operator changes any of the 2 captions \(the first is 'zzz'\); look at"):
        check_changeable([STUBBORN, "qqq"])
    with pytest.raises(ValueError, match="no operator changes any of the 1 captions"):
        check_changeable(["a red star"], ("swap_nouns",))


@pytest.mark.parametrize(
    ("captions", "options", "error", "said"),
    [
        (CAPTIONS, {"k": 0}, ValueError, "k is 0; give how many negatives"),
        (CAPTIONS, {"operators": ("swap",)}, ValueError, "there is no operator 'swap'; there are"),
        ([""], {}, ValueError, "the caption is empty"),
        ([3], {}, TypeError, "a caption is a string, not int 3"),
    ],
)
def test_bad_input_is_named(captions, options, error, said):
    with pytest.raises(error, match=said):
        online_negatives(captions, **options)
