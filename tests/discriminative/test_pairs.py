"""Two captions of a picture: given as such, or told apart by how long they are."""

import pytest

from tests.discriminative.pictures import LONG, PICTURES, SHORT
from workbench.discriminative import TwoCaptions
from workbench.fine_tuning import Pairs


def test_a_long_caption_for_each_or_none():
    assert TwoCaptions(PICTURES, SHORT).long == (None,) * 6
    assert TwoCaptions(PICTURES, SHORT, [*LONG[:5], None]).long == (*LONG[:5], None)
    with pytest.raises(ValueError, match="6 pictures and 2 long captions"):
        TwoCaptions(PICTURES, SHORT, LONG[:2])
    with pytest.raises(ValueError, match="the long caption of picture 1 is empty"):
        TwoCaptions(PICTURES, SHORT, [LONG[0], " ", *LONG[2:]])


def test_by_length(llava):
    own = [[LONG[0], SHORT[0]], [SHORT[1]], [LONG[2]], ["cat", "a cat", LONG[4]]]  # tokens: 10 and 3, 3, 10, 1, 2 and 9
    found = TwoCaptions.by_length(llava, Pairs(PICTURES[:4], own), short_below=4, longest=12)
    assert found.captions == ((SHORT[0],), (SHORT[1],), ("cat", "a cat"))
    assert found.long == (LONG[0], None, LONG[4])
    assert found.pictures == (PICTURES[0], PICTURES[1], PICTURES[3])
    shorter = TwoCaptions.by_length(llava, Pairs(PICTURES[:4], own), short_below=4, longest=5)
    assert shorter.long == (None, None, None)
    with pytest.raises(ValueError, match="1 of 4 pictures have a caption of fewer than 2 tokens"):
        TwoCaptions.by_length(llava, Pairs(PICTURES[:4], own), short_below=2)


def test_the_digest_tells_long_captions_apart(llava):
    one, other = (TwoCaptions(PICTURES, SHORT, long).digest(llava) for long in (LONG, LONG[::-1]))
    assert one != other == TwoCaptions(PICTURES, SHORT, LONG[::-1]).digest(llava)


def test_held_out_pictures_are_not_trained_on():
    told = TwoCaptions(PICTURES, SHORT, [*LONG[:5], None])
    train, held = told.split(2, seed=3)
    assert len(train) == 4
    assert sorted(each[0] for each in (*train.captions, *held.captions)) == sorted(SHORT)
    for part in (train, held):
        rows = [SHORT.index(each[0]) for each in part.captions]
        assert list(part.long) == [told.long[row] for row in rows]
        assert all(picture is PICTURES[row] for picture, row in zip(part.pictures, rows, strict=True))
    assert told.split(2, seed=3)[1].captions == held.captions
    with pytest.raises(ValueError, match="held=5 of 6 pictures; give 2 to 4"):
        told.split(5)
