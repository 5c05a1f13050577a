"""What scenes are asked and answered: true answers, and captions that can be read back."""

import pytest

from workbench.data.scenes import Scene, Thing, scene, scenes
from workbench.data.scenes.asking import (
    ASKED_ABOUT,
    GROUNDS,
    INSTRUCTIONS,
    PLACES,
    TOTALS,
    answer,
    ask,
    long_caption,
    prompts,
    things_in,
    words,
)
from workbench.data.scenes.sampling import Draws
from workbench.data.scenes.world import Box

SOME = scenes(400, "asking")


def bag(things):
    return sorted((t.shape, t.colour, t.material, t.size or "", t.objects) for t in things)


@pytest.mark.parametrize("told", [lambda s: s.caption, long_caption], ids=["short", "long"])
def test_captions_read_back_are_the_things_themselves(told):
    for each in SOME:
        assert bag(things_in(told(each))) == bag(each.things)


def test_a_long_caption_says_everything_and_where():
    things = (Thing("star", "red", "striped", "big"), Thing("moon", "blue", count=2))
    boxes = (Box(0.55, 0.55, 0.4), Box(0.55, 0.05, 0.4), Box(0.05, 0.05, 0.4))
    told = long_caption(Scene(things, boxes, (0, 1, 1), domain="B"))
    assert told == (
        "three objects on a dark grainy ground: two blue moons at the top left and at the top right, "
        "a big striped red star at the bottom right"
    )
    alone = long_caption(Scene((Thing("drop", "lime"),), (Box(0.1, 0.12, 0.8),), (0,)))
    assert alone == "one object on a light smooth ground: a lime drop in the middle"


def test_what_is_not_said_is_not_read():
    assert things_in("the picture shows nothing of red") == []
    assert bag(things_in("a star, star and a red")) == bag([Thing("star")])
    assert bag(things_in("A striped STAR")) == bag([Thing("star", material="striped")])


def test_short_answers_are_true():
    draws = Draws("answers")
    for each in SOME:
        said = {word for thing in each.things for word in (*thing.attributes, thing.shape)}
        assert answer(draws, "word", each) in said
        assert answer(draws, "number", each) == TOTALS[len(each.boxes) - 1]
        for task, of in (("colours", "colour"), ("shapes", "shape")):
            listed = answer(draws, task, each).replace(",", "").replace(" and ", " ").split()
            assert listed == list(dict.fromkeys(getattr(thing, of) for thing in each.things))
        assert bag(things_in(answer(draws, "short", each))) == bag(each.things)
    assert answer(draws, "long", SOME[0]) == long_caption(SOME[0])


def test_short_answers_come_in_other_words_than_the_caption():
    draws = Draws("wordings")
    assert len({answer(draws, "short", SOME[1]) for _ in range(200)}) > 3


def test_there_are_twenty_prompts_and_more_of_either_modality():
    for modality, nouns in ASKED_ABOUT.items():
        every = prompts(modality)
        assert len(set(every)) == len(every) == 2 * sum(map(len, INSTRUCTIONS.values())) >= 40
        assert all(any(noun in prompt.split() for noun in nouns) for prompt in every)
    draws = Draws("prompts")
    assert all(ask(draws, task, "text") in prompts("text") for task in INSTRUCTIONS for _ in range(20))
    # the public wordings are among them
    assert {"summary above image in one word :", "compress this image in one word :"} <= set(prompts("image"))


def test_every_word_is_listed():
    said = " ".join([*prompts("image"), *prompts("text"), *PLACES, *TOTALS, *GROUNDS.values(), "object objects on : ,"])
    assert set(said.split()) <= words()


def test_bad_input():
    draws = Draws("bad")
    with pytest.raises(ValueError, match="task='poem'; choose one of short, long"):
        answer(draws, "poem", scene(0, 0))
    with pytest.raises(ValueError, match="task='poem'"):
        ask(draws, "poem", "image")
    with pytest.raises(ValueError, match="modality='sound'; choose one of image, text"):
        prompts("sound")
