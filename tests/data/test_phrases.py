"""Captions as words and phrases, in any script, of any length."""

import json
import random
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.clock import quickest
from workbench.data import spacy_chunks
from workbench.data.phrases import GRANULARITIES, noun_phrases, phrases, readings, segments, words


def test_noun_phrases_without_determiners():
    assert phrases("a small cat on the red wooden table") == ["small cat", "red wooden table"]


def test_readings_keep_the_order_and_drop_function_words():
    assert readings("a cup of coffee on a wooden table") == ["cup", "coffee", "wooden", "table", "wooden table"]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("the dog's well-worn ball", ["the", "dog's", "well-worn", "ball"]),
        ("חתול אדום", ["חתול", "אדום"]),
        ("猫 and 🐱🚀", ["猫", "and", "🐱", "🚀"]),
        ("<script>alert(1)</script>", ["script", "alert", "1", "script"]),
        ("हिन्दी में बिल्ली", ["हिन्दी", "में", "बिल्ली"]),
        ("קוֹלנוֹעַ בבית־ספר", ["קוֹלנוֹעַ", "בבית־ספר"]),
        ("قِطٌّ أحمر\u200f.", ["قِطٌّ", "أحمر"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("cafe\u0301 noir", ["cafe\u0301", "noir"]),
        ("👩\u200d🚀👍🏽 🇫🇷🇩🇪 ❤️\u200d🔥 1️⃣ ⭐⌚", ["👩\u200d🚀", "👍🏽", "🇫🇷", "🇩🇪", "❤️\u200d🔥", "1️⃣", "⭐", "⌚"]),
        ("20° © snake_case", ["20", "snake", "case"]),
        ("'dogs' - -well-", ["dogs", "well"]),
    ],
)
def test_words_of_any_script(caption, expected):
    assert words(caption) == expected


@pytest.mark.parametrize("mark", [",", ".", "…", "—", " - ", "،", "、", "|", ") ("])
def test_phrases_stop_at_punctuation(mark):
    assert phrases(f"red cube{mark}blue ball") == ["red cube", "blue ball"]


def test_a_long_run_is_no_phrase():
    eight = "one two three four five six seven eight"
    assert phrases(eight) == [eight]
    assert phrases(f"{eight} nine") == []


@pytest.mark.parametrize("caption", ["It's a dog, isn't it", "it’s the dog that we don't see", "a dog's", "the dog"])
def test_contractions_of_function_words_are_function_words(caption):
    assert readings(caption)[0].startswith("dog")


def test_readings_are_capped_in_order():
    assert readings("red cube on blue ball", limit=4) == ["red", "cube", "red cube", "blue"]
    with pytest.raises(ValueError, match="limit is 0; give how many"):
        readings("red cube", limit=0)


def test_duplicates_are_read_once():
    assert readings("Red red RED cat") == ["Red", "cat", "Red red RED cat"]


@pytest.mark.parametrize(("caption", "expected"), [("of the", ["of", "the"]), ("!!!", ["!!!"])])
def test_nothing_but_function_words_or_symbols_is_read_as_it_stands(caption, expected):
    assert readings(caption) == expected


@pytest.mark.parametrize("piece", ["cat dog ", "a-", "'", "a of ", "🚀", "a\u200d", "👩\u200d"])
def test_ten_thousand_characters_are_quick_and_capped(piece):
    caption = piece * (10_000 // len(piece))
    assert 1 <= len(readings(caption)) <= 24
    assert quickest(lambda: readings(caption)) < 0.2  # about 0.01 s


@pytest.mark.parametrize("function", [words, phrases, readings, noun_phrases, segments])
def test_no_caption(function):
    with pytest.raises(ValueError, match="empty; type at least one word"):
        function("  \n")
    with pytest.raises(TypeError, match="not int 3"):
        function(3)


def _marked(part):
    return json.loads(Path(__file__).with_name(f"captions_{part}.json").read_text(encoding="utf-8"))


def span_f1(found, gold):
    """Precision, recall and F1 of exact spans, over all captions: two lists of collections of spans."""
    hits = sum(len(set(map(tuple, a)) & set(map(tuple, b))) for a, b in zip(found, gold, strict=True))
    given_, wanted = sum(map(len, found)), sum(map(len, gold))
    return hits / max(given_, 1), hits / max(wanted, 1), 2 * hits / max(given_ + wanted, 1)


def test_span_f1_by_hand():
    assert span_f1([[(0, 1), (2, 3)], []], [[(0, 1)], [(4, 5), (6, 7)]]) == (1 / 2, 1 / 3, 2 / 5)


@pytest.mark.parametrize("part", ["dev", "held_out"])
def test_phrases_of_marked_captions(part):
    marked = _marked(part)
    found = [noun_phrases(each["caption"]) for each in marked]
    scores = span_f1([[(p.start, p.end) for p in each] for each in found], [each["phrases"] for each in marked])
    heads = span_f1([[p.head for p in each] for each in found], [each["heads"] for each in marked])
    sys.stdout.write(
        f"{part}: precision {scores[0]:.3f}, recall {scores[1]:.3f}, F1 {scores[2]:.3f}; heads F1 {heads[2]:.3f}\n"
    )
    assert scores[2] >= 0.95
    assert heads[2] >= 0.95


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        # -ing: the verb, what describes, what a thing is for, a noun
        ("A smiling woman", ["smiling woman"]),
        ("A woman smiling at a parking meter", ["woman", "parking meter"]),
        ("Men riding horses past a street parking sign", ["Men", "horses", "street parking sign"]),
        ("A building with a railing", ["building", "railing"]),
        ("A herd of grazing sheep in running water", ["grazing sheep", "running water"]),
        # participles
        ("Parked cars by a snow covered mountain", ["Parked cars", "snow covered mountain"]),
        ("A man dressed in white", ["man", "white"]),
        # verbs that may be nouns, known and unknown
        ("A man lights a candle", ["man", "candle"]),
        ("The street lights at night", ["street lights", "night"]),
        ("Two bus stops near a train", ["Two bus stops", "train"]),
        ("A clown juggles three oranges", ["clown", "three oranges"]),
        ("Two blorps grick on a zundle", ["Two blorps", "zundle"]),
        ("People watch a tennis match", ["People", "tennis match"]),
        ("A bike is about to park next to a bench", ["bike", "bench"]),
        # adjectives joined, predicative, of degree; colours as names
        ("A big, fluffy dog and a red and white bus", ["big, fluffy dog", "red and white bus"]),
        ("The street is wet and empty", ["street"]),
        ("A very large, brightly colored kite", ["very large, brightly colored kite"]),
        ("An orange next to orange juice", ["orange", "orange juice"]),
        # openings, fixed relations, owners, numbers
        ("A large group of people in front of a store", ["people", "store"]),
        ("A slice of pizza on top of a box", ["slice", "pizza", "box"]),
        ("Another man's hat on the left side of a chair", ["man's hat", "chair"]),
        ("One dog and 2 cats, both of them asleep", ["One dog", "2 cats"]),
        ("There are some apples in the bowl that he holds", ["apples", "bowl"]),
        # no English: whole runs
        ("חתול אדום, 猫", ["חתול אדום", "猫"]),
        ("of the", []),
        ("!!!", []),
    ],
)
def test_noun_phrases_by_rule(caption, expected):
    assert [phrase.text for phrase in noun_phrases(caption)] == expected


def test_a_noun_phrase_says_where_it_stands():
    (phrase,) = noun_phrases("On  a very  old Wooden bench.")
    assert (phrase.text, phrase.start, phrase.end) == ("very  old Wooden bench", 6, 28)
    assert phrase.head == (23, 28)
    assert phrase.modifiers == ("very", "old", "Wooden")


def _is_sound(caption):
    last = 0
    for phrase in noun_phrases(caption):
        assert last <= phrase.start <= phrase.head[0] < phrase.head[1] == phrase.end <= len(caption)
        assert caption[phrase.start : phrase.end] == phrase.text
        last = phrase.end
    for granularity in GRANULARITIES:
        found = segments(caption, granularity)
        assert len({text.casefold() for text in found}) == len(found) >= 1
        assert all(text in caption for text in found)


_PIECES = "a an the dog dogs red running parked on in top of next to is there that and , . ' -ing 's 2 é 🐱 very black".split()
_RANGES = ((32, 126), (1, 0x2FFF), (0x1F1E6, 0x1FAFF), (0x200B, 0x200F), (0x300, 0x36F), (32, 32), (39, 39))


@pytest.mark.parametrize("seed", range(4))
def test_spans_of_any_text_are_in_it_in_order_and_apart(seed):
    draw = random.Random(seed)
    for _ in range(500):
        _is_sound(" ".join(draw.choices(_PIECES, k=draw.randint(1, 14))))
        odd = "".join(chr(draw.randint(*draw.choice(_RANGES))) for _ in range(draw.randint(1, 20)))
        _is_sound(odd if odd.strip() else odd + "x")


@pytest.mark.parametrize(
    "caption", ["a\u200d", "\ud800 dog", "İstanbul'un", "a\x00b", "'' dog", "x" * 5000, "e\u0301 " * 99]
)
def test_spans_of_odd_captions(caption):
    _is_sound(caption)


@pytest.mark.parametrize("piece", ["red ", "a red and ", "dog on ", "is running ", "black, "])
def test_noun_phrases_of_a_page_are_quick(piece):
    assert quickest(lambda: noun_phrases(piece * (10_000 // len(piece)))) < 0.5  # about 0.02 s


@pytest.mark.parametrize("piece", ["red dog on a ", "a dog and ", "dog, "])
def test_segments_of_a_book_are_quick(piece):
    caption = piece * (50_000 // len(piece))
    assert (
        quickest(lambda: segments(caption, "coarse")) < 1.5
    )  # about 0.2 s; it was 10 s when each pair looked through the whole caption


def test_segments_by_hand():
    caption = "A black cat next to a white dog."
    whole = caption[:-1]
    triple = "black cat next to a white dog"
    assert segments(caption) == ("cat", "dog", "black cat", "white dog", triple, whole)
    assert segments(caption, "mid") == ("black cat", "white dog", triple, whole)
    assert segments(caption, "coarse") == (triple, whole)


def test_segments_join_by_relations_only_and_lose_nothing():
    assert segments("A red cube and a ball.", "mid") == ("red cube", "ball", "A red cube and a ball")
    assert segments("A cup on a tray, a spoon", "coarse") == ("spoon", "cup on a tray", "A cup on a tray, a spoon")
    assert segments("Dog") == ("Dog",)
    assert segments("Running. ") == ("Running",)
    assert segments("...") == ("...",)
    far = "a dog that he has not ever seen before today near it and a cat"
    assert segments(far, "coarse") == ("dog", "cat", far)


def test_segments_of_another_granularity():
    with pytest.raises(ValueError, match="granularity is 'finest'; give one of fine, mid, coarse"):
        segments("a dog", "finest")


def test_a_chunker_of_ones_own():
    found = noun_phrases("a red dog runs", chunker=lambda caption: [(2, 9)])
    assert [(p.text, p.head, p.modifiers) for p in found] == [("red dog", (6, 9), ("red",))]
    assert segments("a red dog runs", chunker=lambda caption: []) == ("a red dog runs",)


@pytest.mark.parametrize("spans", [[(0, 99)], [(3, 3)], [(2, 5), (4, 6)], [(5, 6), (1, 2)], [(-3, 2)], [("0", 1)]])
def test_a_chunker_that_leaves_the_text(spans):
    with pytest.raises(ValueError, match=r"the chunker gave the span .*within the caption, in order"):
        noun_phrases("a red dog", chunker=lambda caption: spans)


def test_an_unknown_chunker():
    with pytest.raises(ValueError, match="chunker is 'stanza'; give 'builtin', 'spacy', 'auto' or a function"):
        noun_phrases("a dog", chunker="stanza")


@pytest.fixture
def spacy_here(monkeypatch):
    """A stand-in for spaCy with one pipeline, which takes two words at a time for a noun chunk."""

    def load(name, exclude):
        if name != "en_small":
            raise OSError(f"no {name}")
        return lambda text: SimpleNamespace(noun_chunks=_two_by_two(text))

    monkeypatch.setitem(sys.modules, "spacy", SimpleNamespace(load=load, __spec__=SimpleNamespace()))
    monkeypatch.setattr(spacy_chunks, "installed_pipelines", lambda: ("en_small",))
    spacy_chunks.spacy_chunker.cache_clear()
    yield
    spacy_chunks.spacy_chunker.cache_clear()


def _two_by_two(text):
    places, at = [], 0
    for word in text.split(" "):
        places.append((at, at + len(word)))
        at += len(word) + 1
    return [SimpleNamespace(start_char=a[0], end_char=b[1]) for a, b in zip(places[::2], places[1::2], strict=False)]


@pytest.mark.usefixtures("spacy_here")
def test_spacy_chunks_are_cut_by_the_same_rules():
    caption = "a group of dogs the top of him"
    assert [p.text for p in noun_phrases(caption, chunker="spacy")] == ["of dogs", "top"]
    assert noun_phrases("the cat", chunker="auto")[0].text == "cat"
    with pytest.raises(OSError, match=r"no spaCy pipeline 'en_huge'; installed are: en_small\. Nothing is downloaded"):
        spacy_chunks.spacy_chunker("en_huge")


def test_without_spacy_auto_is_the_built_in_one(monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    monkeypatch.setattr(spacy_chunks, "installed_pipelines", lambda: ())
    spacy_chunks.spacy_chunker.cache_clear()
    assert noun_phrases("A red dog", chunker="auto") == noun_phrases("A red dog")
    with pytest.raises(ImportError, match=r"spaCy is not installed; .*chunker='builtin'"):
        noun_phrases("A red dog", chunker="spacy")


def test_without_a_pipeline_spacy_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", SimpleNamespace(__spec__=SimpleNamespace()))
    monkeypatch.setattr(spacy_chunks, "installed_pipelines", lambda: ())
    spacy_chunks.spacy_chunker.cache_clear()
    with pytest.raises(OSError, match="no English pipeline here and none is downloaded"):
        noun_phrases("A red dog", chunker="spacy")
