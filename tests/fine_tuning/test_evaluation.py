"""Both sides of fine-tuning as they are asked: what nothing, chance and a bag of words earn, and what the questions are."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from workbench.data.scenes import CATEGORIES, scenes
from workbench.data.scenes.world import COLOURS, SHAPES, TEMPLATES, UNSEEN_TEMPLATES, Thing, held_out
from workbench.fine_tuning import TradeOff, Trial
from workbench.fine_tuning.evaluation import (
    CHOICES,
    COMPOSITION,
    SIDES,
    TO_IMAGE,
    TO_TEXT,
    ZERO_SHOT,
    evenly,
    names_unseen,
)
from workbench.models.registry import load_model

ZERO_SHOTS = ("colour", "shape", "surface", "unseen combination")
FRAMES = set("a an picture image of we see in and with next to".split())


class Reader:
    """A model that is two functions, of a picture and of a caption."""

    name = "reader"

    def __init__(self, picture, caption):
        self.picture, self.caption = picture, caption

    def encode_image(self, pictures, **options):
        return SimpleNamespace(post=torch.stack([self.picture(each) for each in pictures]))

    def encode_text(self, captions, **options):
        return SimpleNamespace(post=torch.stack([self.caption(each) for each in captions]))


@pytest.fixture(scope="module")
def trial():
    return Trial(20, 7, side=32)


def bag_of_words(trial):
    """Told of every picture which words are in its caption, and of a caption its words: nothing about who has which."""
    known: dict[str, int] = {}

    def bag(caption):
        found = torch.zeros(100)
        for word in re.findall(r"\w+", caption.lower()):
            if word not in FRAMES:
                found[known.setdefault(word, len(known))] += 1
        return found

    shown = [each for own in trial.quads.values() for quad in own for each in quad.scenes]
    shown += [each for scenes, _ in trial.choices.values() for each in scenes]
    shown += [each for scenes in trial.close_ups.values() for each in scenes] + trial.told[0]
    pictures = trial.pictures(shown)
    captions = {picture.tobytes(): each.caption for picture, each in zip(pictures, shown, strict=True)}
    return Reader(lambda picture: bag(captions[picture.tobytes()]), bag)


def chance(seed):
    """Every picture and caption has a direction of its own, the same whenever it is asked."""

    def drawn(key):
        return torch.from_numpy(np.random.default_rng([seed, *key[-300:]]).standard_normal(64))

    return Reader(lambda picture: drawn(picture.tobytes()), lambda caption: drawn(caption.encode()))


def scores(found: TradeOff):
    return {name: values.mean() for measures in found.right.values() for name, values in measures.items()}


def test_a_constant_model_scores_nothing(trial):
    """A tie is no answer: not 50 percent of the choices, not one of the classes."""
    found = trial.measure(Reader(lambda picture: torch.ones(5), lambda caption: torch.ones(5)))
    assert set(scores(found).values()) == {0.0}
    assert {values.mean() for values in found.beside.values()} == {0.0}
    assert all(found.side(side).mean == 0 for side in SIDES)


def test_a_bag_of_words_names_finds_and_sees_words_but_not_who_has_which(trial):
    """It has every label right, so labels belong to their pictures; swaps and shuffles keep the bag, so they tie."""
    found = scores(trial.measure(bag_of_words(trial)))
    for name in ZERO_SHOTS:
        assert found[name] == 1, name
    for name in ("replace_colour", "replace_count", "replace_size", "replace_relation", "negate"):
        assert found[f"choose: {name}"] == 1, name
    for name in ("swap_attributes", "shuffle_bigrams"):
        assert found[f"choose: {name}"] == 0, name
    for category in ("Colour", "Material", "Size", "Relation"):
        assert found[f"swap quads: {category}"] == 0, category


def test_a_bag_of_words_finds_its_own(trial):
    found = trial.measure(bag_of_words(trial))
    assert found.side(TO_TEXT).mean == found.side(TO_IMAGE).mean == 1


def test_chance_is_chance():
    trial = Trial(80, 3, side=16)
    found = trial.measure(chance(0))
    own = scores(found)
    choices = [own[f"choose: {name}"] for name in CHOICES]
    assert np.mean(choices) == pytest.approx(1 / 2, abs=4 * 0.5 / np.sqrt(8 * 80))
    quads = [own[f"swap quads: {name}"] for name in CATEGORIES]
    assert np.mean(quads) == pytest.approx(1 / 6, abs=4 * 0.37 / np.sqrt(5 * 80))
    for name, classes in zip(ZERO_SHOTS, (12, 10, 3, 120), strict=True):
        p = 1 / classes
        assert own[name] == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / 80) + 0.02), name
    assert max(found.side(side).mean for side in (TO_TEXT, TO_IMAGE)) < 0.06


def test_random_weights_know_nothing(trial, clip_folder):
    model = load_model(f"local-dir:{clip_folder}", device="cpu")
    found = trial.measure(model)
    own = scores(found)
    assert np.mean([own[f"swap quads: {name}"] for name in CATEGORIES]) < 0.4
    assert max(found.side(side).mean for side in (TO_TEXT, TO_IMAGE)) < 0.25
    assert own["unseen combination"] < 0.2
    right = np.mean([values.mean() for name, values in found.right[COMPOSITION].items() if name.startswith("choose")])
    beside = np.mean([values.mean() for values in found.beside.values()])
    assert right == pytest.approx(beside, abs=0.15)  # wording alone decides


def test_a_side_counts_each_measure_alike(trial):
    found = trial.measure(chance(1))
    for side, measures in found.right.items():
        assert found.side(side).mean == pytest.approx(np.mean([values.mean() for values in measures.values()]))
    unequal = {"one": np.ones(10), "other": np.zeros(90)}
    assert evenly(unequal).mean() == pytest.approx(0.5)
    assert TradeOff("m", {ZERO_SHOT: unequal}, {}).side(ZERO_SHOT).mean == pytest.approx(0.5)
    assert TradeOff("m", {ZERO_SHOT: unequal}, {}).measure(ZERO_SHOT, "other").mean == 0


def test_the_same_seed_asks_the_same_and_another_does_not(trial):
    again, other = Trial(20, 7, side=32), Trial(20, 8, side=32)
    assert again.quads == trial.quads
    assert again.choices == trial.choices
    assert again.close_ups == trial.close_ups
    assert again.told == trial.told
    one, two = trial.measure(chance(2)), again.measure(chance(2))
    for side in SIDES:
        for name, values in one.right[side].items():
            assert np.array_equal(values, two.right[side][name])
    for name in ("quads", "choices", "close_ups", "told"):
        assert getattr(other, name) != getattr(trial, name), name


def test_questions_are_what_they_say(trial):
    seen, unseen = ({template.frame for template in some} for some in (TEMPLATES, UNSEEN_TEMPLATES))
    assert not seen & unseen
    for name, (shown, wrong) in trial.choices.items():
        assert len(shown) == len(wrong) == 20, name
        assert {each.template.frame for each in shown} <= unseen
        assert all(text.lower() != each.caption.lower() for each, text in zip(shown, wrong, strict=True))
    assert all(each.things[0].material != "plain" for each in trial.close_ups["surface"])
    assert all(len(each.things) == 1 for own in trial.close_ups.values() for each in own)


def test_held_out_combinations_are_held_out(trial):
    assert all(each.unseen for each in trial.close_ups["held out"])
    assert not any(each.unseen for name in ("single", "surface") for each in trial.close_ups[name])
    assert not any(each.unseen for each in trial.told[0])
    shapes = [each.things[0].shape for each in trial.close_ups["held out"]]
    assert shapes == [each.things[0].shape for each in trial.close_ups["single"]]
    assert set(shapes) <= set(SHAPES)


def test_captions_of_retrieval_differ(trial):
    """Three of a scene, the first of a wording that training has, the others of two that it has not."""
    shown, captions = trial.told
    assert len(captions) == len(set(captions)) == 60
    assert len({each.contents for each in shown}) == 20
    unseen = [each.frame.partition("{")[0] for each in UNSEEN_TEMPLATES]
    for i in range(20):
        first, *others = captions[3 * i : 3 * i + 3]
        assert not first.startswith(tuple(unseen))
        found = [next(start for start in unseen if each.startswith(start)) for each in others]
        assert found[0] != found[1]


def test_the_table_says_each_measure_and_its_n(trial):
    table = trial.measure(chance(3)).table()
    assert table.caption == "reader: percent right"
    assert len(table.rows) == 4 + 5 + 8 + 4 + 2
    assert table.rows[0][:2] == (COMPOSITION, "mean of 13")
    assert table.rows[0][3] == "260"
    assert table.rows[1][1] == "swap quads: Colour"


@pytest.mark.parametrize("n", [1, 0, -5])
def test_one_item_is_no_trial(n):
    with pytest.raises(ValueError, match=f"n={n}; give two items of each measure or more"):
        Trial(n)


def test_two_items_are(trial):
    found = Trial(2, 1, side=16).measure(chance(4))
    assert found.side(COMPOSITION).n == 26


def test_unseen_combinations_are_named():
    """No true caption of training names one; what rules make of it may."""
    unseen = next((colour, shape) for colour in COLOURS for shape in SHAPES if held_out(colour, shape))
    assert names_unseen("a picture of a big {} {}".format(*unseen))
    assert names_unseen(f"two {unseen[0]} {Thing(unseen[1], count=2).noun}")
    assert not any(names_unseen(each.caption) for each in scenes(300, 3000, domain="A"))
