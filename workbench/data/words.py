"""Where the words of a caption stand, in any script."""

from __future__ import annotations

import re
import unicodedata

# Python's \w knows no combining marks (Hindi vowels, Hebrew points) and no joined emoji, so a caption is first written
# as one letter per character for its kind, and words are found in that:
# w letter or digit, m mark, j invisible joiner, a apostrophe, h hyphen, e emoji, t skin tone, r half a flag, . break.
_WORD = re.compile(r"w(?:j*[wm])*(?:[ah]w(?:j*[wm])*)*|e[tm]*(?:je[tm]*)*|rr?")
_KINDS = {"L": "w", "N": "w", "M": "m", "P": ".", "C": " ", "Z": " ", "S": " "}
_SPECIAL = {**dict.fromkeys("'’\u05f3", "a"), **dict.fromkeys("-\u2010\u2011\u05be", "h"), **dict.fromkeys("<>|", ".")}


def kinds(caption: str) -> str:
    """One letter per character: what kind of character it is."""
    return "".join(map(_kind, caption))


def word_spans(kinds_of: str) -> list[tuple[int, int]]:
    """Where words start and end, from the kinds of a caption's characters."""
    return [match.span() for match in _WORD.finditer(kinds_of)]


def _kind(char: str) -> str:
    if char in _SPECIAL:
        return _SPECIAL[char]
    category = unicodedata.category(char)
    if category == "So" and char > "\u22ff":  # below: ©, °, arrows
        return "r" if "\U0001f1e6" <= char <= "\U0001f1ff" else "e"
    if "\U0001f3fb" <= char <= "\U0001f3ff":
        return "t"
    if "\U000e0020" <= char <= "\U000e007f":  # spells out the flag of Scotland
        return "m"
    if category == "Cf" and char != "\u200b":  # that one parts Thai words
        return "j"
    return " " if category == "Pc" else _KINDS[category[0]]
