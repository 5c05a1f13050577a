"""The word lists: lower case, no doubles, and what replaces a word excludes it."""

import pytest

from workbench.data import lexicon
from workbench.data.inflection import FORMS, article, is_plural, plural, singular, verb_forms

LISTS = {name: value for name, value in vars(lexicon).items() if name.isupper()}


def _leaves(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(key)
            yield from _leaves(each)
    else:
        for each in value:
            yield from _leaves(each)


@pytest.mark.parametrize("name", LISTS)
def test_lists_are_closed_lower_case_and_plain(name):
    assert isinstance(LISTS[name], (tuple, frozenset, dict))
    for word in _leaves(LISTS[name]):
        assert word == word.strip().lower()
        assert word


@pytest.mark.parametrize("name", [name for name, value in LISTS.items() if isinstance(value, tuple)])
def test_tuples_hold_nothing_twice(name):
    assert len(set(LISTS[name])) == len(LISTS[name])


def test_lists_are_dozens_long():
    for name in ("COLOURS", "MATERIALS", "RELATIONS", "PREPOSITIONS", "ADJECTIVES", "VERBS", "FIXED_RELATIONS"):
        assert len(LISTS[name]) >= 24, name
    assert len({verb for group in lexicon.ACTIONS for verb in group}) >= 60
    assert len(lexicon.SIZE_WORDS) >= 20


@pytest.mark.parametrize("relation", lexicon.RELATIONS)
def test_no_relation_replaces_itself(relation):
    others = lexicon.RELATIONS[relation]
    assert others
    assert relation not in others


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("to the left of", "to the right of"),
        ("above", "below"),
        ("in front of", "behind"),
        ("on", "under"),
        ("inside", "outside"),
        ("near", "far from"),
        ("up", "down"),
        ("with", "without"),
    ],
)
def test_opposites_come_first(one, other):
    assert lexicon.RELATIONS[one][0] == other


def test_shades_are_kin_of_their_colour():
    assert lexicon.COLOUR_KIN["grey"] == lexicon.COLOUR_KIN["gray"]
    assert lexicon.COLOUR_KIN["teal"] == {"blue", "green"}
    assert all(lexicon.COLOUR_KIN[colour] == {colour} for colour in lexicon.BASIC_COLOURS)


def test_opposite_sizes_are_disjoint():
    for ones, others in lexicon.SIZES:
        assert not set(ones) & set(others)


@pytest.mark.parametrize(
    ("base", "forms"),
    [
        ("sit", "sit sits sitting sat sat"),
        ("ride", "ride rides riding rode ridden"),
        ("lie", "lie lies lying lay lain"),
        ("watch", "watch watches watching watched watched"),
        ("carry", "carry carries carrying carried carried"),
        ("play", "play plays playing played played"),
        ("hug", "hug hugs hugging hugged hugged"),
        ("ski", "ski skis skiing skied skied"),
        ("open", "open opens opening opened opened"),
        ("eat", "eat eats eating ate eaten"),
        ("lean", "lean leans leaning leaned leaned"),
        ("graze", "graze grazes grazing grazed grazed"),
    ],
)
def test_verb_forms(base, forms):
    assert list(verb_forms(base).values()) == forms.split()
    assert all(FORMS[form][0] == base for form in forms.split() if form not in ("lay", "lain"))


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("dog", "dogs"),
        ("bus", "buses"),
        ("woman", "women"),
        ("fireman", "firemen"),
        ("child", "children"),
        ("box", "boxes"),
        ("puppy", "puppies"),
        ("toy", "toys"),
        ("knife", "knives"),
        ("couch", "couches"),
        ("horse", "horses"),
        ("glove", "gloves"),
        ("tie", "ties"),
    ],
)
def test_plurals_go_both_ways(one, many):
    assert plural(one) == many
    assert singular(many) == one
    assert is_plural(many)
    assert not is_plural(one)


@pytest.mark.parametrize("word", ["3d", "קוף", "dog's", "", "x", "t-shirt"])
def test_what_no_rule_knows_is_left_alone(word):
    assert plural(word) is None
    assert singular(word) is None


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("orange", "an"),
        ("Red", "a"),
        ("hour", "an"),
        ("unicorn", "a"),
        ("umbrella", "an"),
        ("unidentified", "an"),
        ("European", "a"),
        ("8", "an"),
        ("18", "an"),
        ("10", "a"),
        ("one", "a"),
        ("", "a"),
        ("ёлка", "a"),
    ],
)
def test_articles_go_by_the_sound(word, expected):
    assert article(word) == expected
