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
    ],
)
def test_words_of_any_script(caption, expected):
    assert words(caption) == expected


def test_phrases_stop_at_punctuation():
    assert phrases("red cube, blue ball") == ["red cube", "blue ball"]


def test_duplicates_are_read_once():
    assert readings("Red red RED cat") == ["Red", "cat", "Red red RED cat"]


@pytest.mark.parametrize(("caption", "expected"), [("of the", ["of", "the"]), ("!!!", ["!!!"])])
def test_nothing_but_function_words_or_symbols_is_read_as_it_stands(caption, expected):
    assert readings(caption) == expected


def test_ten_thousand_characters_are_quick_and_capped():
    start = time.process_time()
    assert len(readings("cat dog " * 1250)) <= 24
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize("function", [words, phrases, readings])
def test_no_caption(function):
    with pytest.raises(ValueError, match="empty; type at least one word"):
        function("  \n")
    with pytest.raises(TypeError, match="not int 3"):
        function(3)
