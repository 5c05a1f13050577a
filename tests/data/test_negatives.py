"""Hard negatives: never the caption itself, the same everywhere, and changed where they say."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.clock import quickest
from workbench.data import lexicon, wordnet
from workbench.data.edits import Draw, Negative
from workbench.data.negatives import OPERATORS, applicability, available_operators, negatives

CAPTIONS = tuple(
    each["caption"] for each in json.loads(Path(__file__).with_name("captions_dev.json").read_text(encoding="utf-8"))
)
ODD = (
    "a",
    "dog",
    "dog dog",
    "Dog DOG dog",
    "of the",
    "!!!",
    "...",
    "red red",
    " an  orange\tcat\n next to a red dog ",
    "A A A A",
    "is is is",
    "two",
    "one one",
    "חתול אדום על שולחן",
    "قِطٌّ أحمر",
    "🐱 on 🚀 and 🐱",
    "\ud800 dog on a mat",
    "İstanbul on a Red mat",
    "STRASSE on a straße",
    "a dog, not a cat",
    "There is no dog",
    "TV on a table",
    "A " + "red dog on a blue " * 60 + "mat",
)
REPLACING = tuple(name for name in OPERATORS if name.startswith("replace_"))


def _plain(text):
    return " ".join(text.casefold().split())


def _is_sound(made, caption, name, seed):
    (start, end), (first, last) = made.span, made.original_span
    assert (made.operator, made.seed) == (name, seed)
    assert _plain(made.text) != _plain(caption)
    assert 0 <= start <= end <= len(made.text)
    assert 0 <= first <= last <= len(caption)
    assert made.text[:start] == caption[:first]
    assert made.text[end:] == caption[last:]
    assert made.text[start:end] != caption[first:last]
    begins = caption.lstrip()[0]
    if begins.isupper():
        assert not made.text.lstrip()[0].islower()


@pytest.mark.parametrize("name", OPERATORS)
def test_negatives_are_no_captions_and_changed_where_they_say(name):
    for caption in CAPTIONS + ODD:
        for seed in (0, 1, -7, 10**30):
            made = OPERATORS[name](caption, seed)
            assert made == OPERATORS[name](caption, seed)
            if made:
                _is_sound(made, caption, name, seed)


@pytest.mark.parametrize("name", [name for name in REPLACING if name != "replace_noun_wordnet"])
def test_a_replacement_changes_a_few_words_only(name):
    made = [(each, caption) for caption in CAPTIONS if (each := OPERATORS[name](caption, 3))]
    assert made
    for each, caption in made:
        first, last = each.original_span
        assert len(caption[first:last].split()) <= 5
        assert len(each.text[slice(*each.span)].split()) <= 5


@pytest.mark.parametrize(
    ("name", "caption", "expected"),
    [
        ("swap_nouns", "A man rides a horse.", {"A horse rides a man."}),
        ("swap_nouns", "An ox on a mat", {"A mat on an ox"}),
        ("swap_nouns", "A red ball on two mats", set()),  # one and many
        ("swap_nouns", "A cat next to a dog and a bird", set()),  # the same from both ends
        ("swap_nouns", "A black cat and a dog", {"A black dog and a cat"}),
        ("swap_attributes", "A red cube and a blue ball", {"A blue cube and a red ball"}),
        ("swap_attributes", "A red cube and a blue cube", set()),  # still a red and a blue cube
        ("swap_attributes", "Two old men on an empty bus", {"Two empty men on an old bus"}),
        ("replace_size", "A large dog", {"A small dog", "A little dog"}),
        ("replace_size", "A short man with short hair", {"A tall man with short hair", "A short man with long hair"}),
        ("replace_size", "A high chair", set()),
        ("replace_count", "One dog running", {"Two dogs running", "Three dogs running", "Four dogs running"}),
        ("replace_count", "One dog is here", set()),  # "two dogs is"
        ("replace_count", "At 5:30 a dog", set()),
        ("replace_action", "A man sits on a mat.", {f"A man {verb} on a mat." for verb in "stands lies kneels crouches".split()}),
        ("replace_action", "A door opened by a man", set()),
        ("replace_relation", "A dog to the left of a cat", {"A dog to the right of a cat"}),
        ("replace_relation", "A bowl filled with soup", set()),
        ("replace_relation", "A bird in the air", set()),
        ("replace_relation", "A dog above", set()),
        ("negate", "A man rides a horse.", {"A man does not ride a horse."}),
        ("negate", "A dog is running", {"A dog is not running"}),
        ("negate", "There is a dog", {"There is no dog"}),
        ("negate", "A cat on a mat", {"A cat not on a mat"}),
        ("negate", "A donut with sprinkles", {"A donut without sprinkles"}),
        ("negate", "A dog is not running", set()),
        ("shuffle_bigrams", "a red dog", {"dog a red"}),
        ("shuffle_bigrams", "Red dogs", set()),
    ],
)  # fmt: skip
def test_operators_by_hand(name, caption, expected):
    made = [OPERATORS[name](caption, seed) for seed in range(60)]
    assert {each.text for each in made if each} == expected
    assert all(made) if expected else not any(made)


def test_a_colour_gives_way_to_every_other_one_and_takes_its_article_along():
    texts = {OPERATORS["replace_colour"]("Next to a red and white ball", seed).text for seed in range(400)}
    others = set(lexicon.BASIC_COLOURS) - {"red", "white"}
    first = {f"Next to {'an' if colour == 'orange' else 'a'} {colour} and white ball" for colour in others}
    assert texts == first | {f"Next to a red and {colour} ball" for colour in others}


@pytest.mark.parametrize("caption", ["A boy eating ice cream", "An orange on a plate", "A glass of orange", "A dog"])
def test_what_only_looks_like_a_colour_stays(caption):
    assert OPERATORS["replace_colour"](caption, 0) is None


@pytest.mark.parametrize("relation", lexicon.RELATIONS)
def test_every_relation_is_found_and_replaced_by_its_own(relation):
    made = {OPERATORS["replace_relation"](f"A cat {relation} the box", seed).text for seed in range(60)}
    assert made == {f"A cat {other} the box" for other in lexicon.RELATIONS[relation]}


@pytest.mark.parametrize("material", lexicon.COMMON_MATERIALS)
def test_materials_never_pass_for_each_other(material):
    made = [OPERATORS["replace_material"](f"On the {material} bench", seed) for seed in range(60)]
    assert {each.text.split()[2] for each in made} == set(lexicon.COMMON_MATERIALS) - {material}


def test_a_noun_that_moves_leaves_the_capital_behind():
    assert OPERATORS["swap_nouns"]("Dogs chase cats", 0).text == "Cats chase dogs"
    assert OPERATORS["swap_nouns"]("TV on a table", 0).text == "Table on a TV"
    made = OPERATORS["replace_colour"]("  Red dog", 0)
    assert made.text[2].isupper()


@pytest.mark.parametrize("name", [name for name in OPERATORS if name not in ("replace_noun_wordnet", "negate")])
def test_other_seeds_reach_other_captions(name):
    caption = (
        "Two small red dogs run on a long wooden bench while a man in a blue hat sits near a large black cat and a child "
        "holds a tall glass vase above a green metal box"
    )
    assert len({OPERATORS[name](caption, seed).text for seed in range(30)}) >= 3


def test_up_to_k_by_different_operators():
    for caption in CAPTIONS:
        for k in (1, 3, 20):
            found = negatives(caption, k=k, seed=5)
            assert found == negatives(caption, k=k, seed=5)
            assert len(found) <= k
            assert len({each.operator for each in found}) == len({_plain(each.text) for each in found}) == len(found)
            for each in found:
                _is_sound(each, caption, each.operator, 5)
        assert len(negatives(caption, k=3)) == 3
    assert negatives("dog") == ()
    drawn = {each.operator for seed in range(40) for each in negatives(CAPTIONS[0], k=1, seed=seed)}
    assert len(drawn) >= 3


@pytest.mark.parametrize("link", ["and", "next to", ", with", "is near"])
def test_two_ways_to_say_the_same_are_one_negative(link):
    swaps = ["swap_nouns", "swap_attributes"]
    for seed in range(4):
        assert len(negatives(f"a red cube {link} a blue ball", swaps, seed=seed)) == 1
        assert len(negatives(f"a red cube {link} an old blue ball", swaps, seed=seed)) == 1
    assert (
        len({each.text for seed in range(9) for each in negatives("a red cube on a blue ball", swaps, seed=seed)}) > 1
    )


def test_what_only_looks_like_the_same_counts_as_two():
    caption = "a red cube next to a blue ball"
    own = {
        text: lambda caption, seed, text=text: Negative(text, "own", (0, 1), (0, 1), seed)
        for text in (
            "a blue ball next to a red dog",
            "a red dog far from a blue ball",  # another relation
            "a red dog next to a blue ball",  # says the first again
            "a blue ball on a red dog",
            "a red dog on a blue ball",  # on what?
            "a red ball next to a blue dog",
            "???",
            "!!!",
        )
    }
    assert len(negatives(caption, own, k=9)) == 7


def test_shuffled_pairs_never_say_the_caption_again():
    caption = "a dog and a cat and a fish"
    made = {OPERATORS["shuffle_bigrams"](caption, seed).text for seed in range(60)}
    assert len(made) > 5
    assert "a fish and a cat and a dog" not in made


SHOUTED = "THE RED CAR AND A BLUE BUS"


def test_a_replacement_follows_the_capitals_of_what_it_replaces():
    made = {OPERATORS["replace_colour"](SHOUTED, seed).text for seed in range(60)}
    assert "THE YELLOW CAR AND A BLUE BUS" in made
    assert "THE RED CAR AND AN ORANGE BUS" in made
    assert {OPERATORS["negate"]("The Dog Is Running", 0).text} == {"The Dog Is Not Running"}
    asked = {OPERATORS["negate"]("Is the dog running", seed).text for seed in range(9)}
    assert asked == {"Is not the dog running", "Is the dog not running"}
    assert {OPERATORS["negate"]("THERE IS A DOG", 0).text} == {"THERE IS NO DOG"}
    assert {OPERATORS["negate"]("A TV on a table", 0).text} == {"A TV not on a table"}
    assert OPERATORS["replace_size"]("a LARGE dog", 0).text in ("a SMALL dog", "a LITTLE dog")
    assert OPERATORS["replace_relation"]("A Dog To The Left Of A Cat", 0).text == "A Dog To The Right Of A Cat"
    assert OPERATORS["swap_nouns"]("a TV on a table", 0).text == "a table on a TV"


@pytest.mark.parametrize("name", [name for name in OPERATORS if name != "replace_noun_wordnet"])
def test_capitals_do_not_tell_a_negative(name):
    """Of captions in capitals, and of captions Written Like This."""
    titled = [" ".join(word[:1].upper() + word[1:] for word in caption.split(" ")) for caption in CAPTIONS]
    made = [
        (each, caption) for caption in (*map(str.upper, CAPTIONS), *titled) if (each := OPERATORS[name](caption, 0))
    ]
    assert len(made) > 4
    for each, caption in made:
        assert each.text.isupper() == caption.isupper(), each.text
        assert not [word for word in each.text.split() if word[0].islower()], each.text
        _is_sound(each, caption, name, 0)


def test_operators_are_chosen_by_name_or_given():
    only = negatives("A red dog on a mat", ["replace_colour", "negate"])
    assert {each.operator for each in only} == {"replace_colour", "negate"}
    own = {"shout": lambda caption, seed: Negative(caption + " loudly", "shout", (1, 2), (1, 2), seed)}
    assert [each.text for each in negatives("a dog", own)] == ["a dog loudly"]


def test_the_same_in_another_process_whatever_its_hash_seed():
    code = (
        "import json, sys; from workbench.data.negatives import negatives;"
        "print(json.dumps([[n.text for n in negatives(c, k=9, seed=s)] for c in json.loads(sys.argv[1]) for s in (0, 1)]))"
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONHASHSEED": "123"}
    arguments = [sys.executable, "-c", code, json.dumps(CAPTIONS[:12])]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, env=environment)
    here = [[each.text for each in negatives(caption, k=9, seed=s)] for caption in CAPTIONS[:12] for s in (0, 1)]
    assert json.loads(done.stdout) == here


def test_draws_are_fixed_for_good():
    draw = Draw("name", 0, "a dog")
    assert [draw.below(10) for _ in range(12)] == [4, 5, 2, 5, 6, 6, 0, 8, 0, 9, 3, 7]
    assert sorted(Draw("x").shuffled(range(300))) == list(range(300))
    counts = np.bincount([Draw(seed).below(5) for seed in range(5000)], minlength=5)
    assert abs(counts - 1000).max() < 130  # more than four standard deviations


def test_applicability_counts_what_cannot_be_changed():
    record = applicability(["A red dog on a mat", "dog", "!!!"], ["replace_colour", "negate"])
    assert (record.n, record.changed, record.none) == (3, {"replace_colour": 1, "negate": 1}, 2)
    assert "no operator     2         66.7" in str(record)
    assert applicability(CAPTIONS).none == 0


def test_online_in_training():
    captions = CAPTIONS * 20
    work = lambda: [negatives(caption, seed=seed) for seed, caption in enumerate(captions)]  # noqa: E731
    rate = len(captions) / quickest(work)
    assert rate > 500  # thousands on one core; a busy machine gets some room


@pytest.mark.parametrize("piece", ["red dog on a ", "dog and ", "is not ", "two dogs, "])
@pytest.mark.parametrize("name", OPERATORS)
def test_a_page_takes_no_longer_than_a_page_should(name, piece):
    assert quickest(lambda: OPERATORS[name](piece * (10_000 // len(piece)), 0), times=2) < 2  # about 0.05 s


@pytest.fixture
def wordnet_here(monkeypatch):
    """A stand-in for nltk's WordNet of one family."""
    names = {"dog": ["dog", "domestic_dog"], "wolf": ["wolf"], "fox": ["fox", "dog"]}
    family = {}
    canine = SimpleNamespace(hyponyms=lambda: list(family.values()))
    for first, lemmas in names.items():
        family[first] = SimpleNamespace(lemma_names=lambda lemmas=lemmas: lemmas, hypernyms=lambda: [canine])
    find = lambda noun, pos: [family[noun]] if noun in family else []  # noqa: E731
    monkeypatch.setitem(sys.modules, "nltk", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "nltk.corpus", SimpleNamespace(wordnet=SimpleNamespace(synsets=find)))
    wordnet.siblings_in_wordnet.cache_clear()
    yield
    wordnet.siblings_in_wordnet.cache_clear()


@pytest.mark.usefixtures("wordnet_here")
def test_wordnet_where_it_is_installed():
    assert "replace_noun_wordnet" in available_operators()
    made = {OPERATORS["replace_noun_wordnet"]("Dogs on a mat", seed).text for seed in range(20)}
    assert made == {"Foxes on a mat", "Wolves on a mat"}


def _wn(lexicons):
    """A stand-in for `wn`: lexicons by name, each its language and the kinds of canine that it knows."""

    def wordnet(*, lexicon, expand):
        assert expand == ""  # hypernyms of this lexicon, whatever else is installed
        names = lexicons[lexicon][1]
        family = {name: SimpleNamespace(lemmas=lambda name=name: [name], hypernyms=lambda: [canine]) for name in names}
        canine = SimpleNamespace(hyponyms=lambda: list(family.values()))
        return SimpleNamespace(synsets=lambda noun, pos: [family[noun]] if noun in family else [])

    def listed(*, lang):
        return [SimpleNamespace(specifier=lambda name=name: name) for name, (own, _) in lexicons.items() if own == lang]

    return SimpleNamespace(lexicons=listed, Wordnet=wordnet, synsets=lambda noun, pos: [])


@pytest.fixture
def only_wn(monkeypatch):
    for library in ("nltk", "nltk.corpus"):
        monkeypatch.setitem(sys.modules, library, None)
    yield lambda lexicons: (
        monkeypatch.setitem(sys.modules, "wn", _wn(lexicons)),
        wordnet.siblings_in_wordnet.cache_clear(),
    )
    wordnet.siblings_in_wordnet.cache_clear()


@pytest.mark.parametrize("lexicons", [{}, {"odenet:1.4": ("de", ["dog", "dogge"])}, {"ewn-names:1": ("en", ["york"])}])
def test_wn_without_english_data_is_not_there(only_wn, lexicons):
    only_wn(lexicons)
    assert wordnet.siblings_in_wordnet() is None
    assert "replace_noun_wordnet" not in available_operators()


def test_wn_is_asked_for_one_english_lexicon(only_wn):
    only_wn({"odenet:1.4": ("de", ["dog", "dogge"]), "oewn:1": ("en", ["dog", "wolf"]), "zz:1": ("en", ["dog", "fox"])})
    assert wordnet.siblings_in_wordnet()("dog") == ("wolf",)
    assert "replace_noun_wordnet" in available_operators()


def test_nltk_that_knows_no_dog_is_not_there(monkeypatch):
    empty = SimpleNamespace(wordnet=SimpleNamespace(synsets=lambda noun, pos: []))
    monkeypatch.setitem(sys.modules, "nltk", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "nltk.corpus", empty)
    monkeypatch.setitem(sys.modules, "wn", None)
    wordnet.siblings_in_wordnet.cache_clear()
    assert wordnet.siblings_in_wordnet() is None
    wordnet.siblings_in_wordnet.cache_clear()


def test_without_wordnet_the_operator_is_none_and_says_so(monkeypatch):
    for library in ("nltk", "nltk.corpus", "wn"):
        monkeypatch.setitem(sys.modules, library, None)
    wordnet.siblings_in_wordnet.cache_clear()
    assert OPERATORS["replace_noun_wordnet"]("a dog", 0) is None
    assert set(OPERATORS) - set(available_operators()) == {"replace_noun_wordnet"}
    wordnet.siblings_in_wordnet.cache_clear()


@pytest.mark.parametrize("function", [*OPERATORS.values(), lambda caption, seed: negatives(caption, seed=seed)])
def test_bad_captions_and_seeds(function):
    with pytest.raises(ValueError, match="the caption is empty; give at least one word"):
        function(" \n", 0)
    with pytest.raises(TypeError, match="a caption is a string, not int 3"):
        function(3, 0)
    for seed in (0.5, None, "0", True):
        with pytest.raises(TypeError, match="give a whole number"):
            function("a dog", seed)
    assert function("a red dog runs", np.int64(3)) == function("a red dog runs", 3)


def test_bad_choices():
    with pytest.raises(ValueError, match="k is 0; give how many negatives"):
        negatives("a dog", k=0)
    with pytest.raises(ValueError, match="no operator 'replace_color'; there are swap_nouns, "):
        negatives("a dog", ["replace_color"])
    with pytest.raises(ValueError, match="no operator is given"):
        negatives("a dog", [])
    with pytest.raises(ValueError, match="no captions; give at least one"):
        applicability([])
    with pytest.raises(TypeError, match="captions is one string, 'a dog'"):
        applicability("a dog")
