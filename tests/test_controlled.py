"""Controlled scenes: what a model scores, beside what scores without looking."""

import pytest
import torch

from workbench.controlled import RULES, ControlledScores, controlled, quad_scores
from workbench.data.scenes import CATEGORIES, draw, quads
from workbench.evaluation import group_scores
from workbench.matching import late_interaction
from workbench.models.registry import load_model


@pytest.fixture(scope="module")
def model(clip_folder):
    return load_model(f"local-dir:{clip_folder}", device="cpu")


@pytest.fixture(scope="module")
def drawn():
    return quads("Colour", 18, 0)  # more than are scored at once


class Seeing:
    """Stands in for a model that knows every scene: text and picture features are sums over who has which."""

    name = "seeing"

    class card:  # noqa: N801
        image_size = 32

    def __init__(self, bound: bool):
        self.bound, self.known = bound, {}

    def learn(self, quads):
        for quad in quads:
            for scene in quad.scenes:
                self.known[draw(scene, 32).tobytes()] = self.known[scene.caption] = self._vector(scene)
        return self

    def _vector(self, scene):
        total = torch.zeros(64)
        for thing in scene.things:
            words = [" ".join((*thing.attributes, thing.noun))] if self.bound else [*thing.attributes, thing.noun]
            for word in words:
                total += torch.randn(64, generator=torch.Generator().manual_seed(sum(word.encode()) * len(word)))
        return total

    def encode_image(self, pictures, **_):
        return self._features([self.known[picture.tobytes()] for picture in pictures])

    def encode_text(self, captions, **_):
        return self._features([self.known[caption] for caption in captions])

    def _features(self, vectors):
        from workbench.features import ImageFeatures

        return ImageFeatures(torch.stack(vectors), torch.stack(vectors))


def test_a_model_that_binds_wins_and_a_bag_of_words_ties_everywhere(drawn):
    bound = controlled(Seeing(True).learn(drawn), 18, 0, categories=["Colour"]).groups["seeing", "Colour", "global"]
    bag = controlled(Seeing(False).learn(drawn), 18, 0, categories=["Colour"]).groups["seeing", "Colour", "global"]
    assert bound.group == bound.interaction_sign == 1
    assert bag.group == bag.image_to_text == bag.text_to_image == 0
    assert bag.tie_rates["group"] == 1


@pytest.mark.parametrize("rule", RULES)
def test_scores_do_not_depend_on_how_many_are_scored_at_once(model, drawn, rule):
    whole = quad_scores(model, drawn, rule)
    assert whole.shape == (18, 2, 2)
    assert torch.allclose(whole[16:], quad_scores(model, drawn[16:], rule), atol=1e-5)


def test_late_scores_are_late_interaction_of_the_tokens(model, drawn):
    pictures = [draw(scene, 64) for scene in drawn[0].scenes]
    image = model.encode_image(pictures, tokens=True)
    text = model.encode_text(list(drawn[0].captions), tokens=True)
    expected = late_interaction(image.tokens, text.tokens, text.mask)
    assert torch.allclose(quad_scores(model, drawn[:1], "late")[0], expected, atol=1e-5)


def test_beside_a_model_stand_scorers_that_do_not_look(model):
    found = controlled(model, 40, 0, rules=("global", "late"), categories=CATEGORIES[:2])
    scorers = [scorer for name, category, scorer in found.groups if category == "Colour"]
    assert scorers == ["global", "late", "other pictures", "captions only", "random", "constant"]
    for (_, _, scorer), groups in found.groups.items():
        assert groups.n == 40
        if scorer in ("constant", "captions only"):
            assert groups.group == 0
        if scorer == "random":
            low, high = groups.intervals["interaction_sign"]
            assert low <= 0.5 <= high


def test_random_scores_differ_between_categories(model):
    found = controlled(model, 40, 0).groups
    random = [found[model.name, category, "random"].intervals for category in CATEGORIES]
    assert len({str(each) for each in random}) > 1


def test_the_table_has_a_column_per_category_and_survives_storing(model):
    found = controlled(model, 5, 0, categories=CATEGORIES[:3], blind=False)
    table = found.table()
    assert table.header == ("model", "scorer", "Colour", "Material", "Size")
    assert "n = 5 per category, chance 16.7" in table.caption
    again = ControlledScores.from_json(found.to_json())
    assert again == found
    assert len((found + again).details().rows) == 3


def test_global_is_what_group_scores_make_of_its_scores(model, drawn):
    found = controlled(model, 18, 0, categories=["Colour"], blind=False).groups[model.name, "Colour", "global"]
    expected = group_scores(quad_scores(model, drawn))
    assert found.interaction_sign == pytest.approx(expected.interaction_sign, abs=2 / 18)


def test_bad_input_is_named(model, drawn):
    with pytest.raises(ValueError, match="rule='best'; choose one of global, late, crops, boxes"):
        quad_scores(model, drawn, "best")
    with pytest.raises(ValueError, match="n=1; give two or more"):
        controlled(model, 1)
    with pytest.raises(ValueError, match=r"rules=\(\)"):
        controlled(model, 2, rules=())
    with pytest.raises(TypeError, match="takes no colour"):
        controlled(model, 2, colour="red")
    with pytest.raises(ValueError, match="there are no quads"):
        quad_scores(model, [])


def test_panels_are_of_one_model_by_scorer(model):
    found = controlled(model, 4, 0, categories=["Colour", "Size"], rules=("global", "crops"), blind=False)
    panels = found.panels(["crops"], "interaction_sign")
    assert list(panels) == ["crops"]
    assert list(panels["crops"]) == ["Colour", "Size"]
    assert panels["crops"]["Size"] == found.groups[model.name, "Size", "crops"].interval("interaction_sign")
    with pytest.raises(ValueError, match="no scorer 'late'; there are crops, global"):
        found.panels(["late"])
    other = ControlledScores({("other", "Colour", "global"): found.groups[model.name, "Colour", "global"]})
    with pytest.raises(ValueError, match="scores of 2 models"):
        (found + other).panels(["global"])
