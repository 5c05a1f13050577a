"""Captions as words and phrases, in any script, of any length."""

import time

import pytest

from workbench.data.phrases import phrases, readings, words


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
    start = time.process_time()
    assert 1 <= len(readings(caption)) <= 24
    assert time.process_time() - start < 0.2  # about 0.01 s; a slow or busy machine gets some room


@pytest.mark.parametrize("function", [words, phrases, readings])
def test_no_caption(function):
    with pytest.raises(ValueError, match="empty; type at least one word"):
        function("  \n")
    with pytest.raises(TypeError, match="not int 3"):
        function(3)
