"""Captions as words and phrases: small, offline, by closed lists of function words."""

from __future__ import annotations

import re
import unicodedata

# Python's \w knows no combining marks (Hindi vowels, Hebrew points) and no joined emoji, so a caption is first written
# as one letter per character for its kind, and words are found in that:
# w letter or digit, m mark, j invisible joiner, a apostrophe, h hyphen, e emoji, t skin tone, r half a flag, . break.
_WORD = re.compile(r"w(?:j*[wm])*(?:[ah]w(?:j*[wm])*)*|e[tm]*(?:je[tm]*)*|rr?")
_KINDS = {"L": "w", "N": "w", "M": "m", "P": ".", "C": " ", "Z": " ", "S": " "}
_SPECIAL = {**dict.fromkeys("'’\u05f3", "a"), **dict.fromkeys("-\u2010\u2011\u05be", "h"), **dict.fromkeys("<>|", ".")}
_LONGEST = 8  # words; a longer run is a list of keywords, not a phrase

DETERMINERS = frozenset("a an the this that these those my your his her its our their some any each every no".split())
FUNCTION_WORDS = DETERMINERS | frozenset(
    """
    of in on at by for with without from to into onto over under above below behind beside between near next left right
    against across along around through inside outside and or but nor so as than then there here up down off out
    i you he she it we they me us them him who whom which what
    is are was were be been being am has have had do does did will would can could may might must shall should not
    isn't aren't wasn't weren't don't doesn't didn't hasn't haven't hadn't won't wouldn't couldn't shouldn't
    """.split()
)


def words(caption: str) -> list[str]:
    """The caption's words in order, punctuation left out. Raises ValueError for an empty caption, TypeError for no text."""
    _check(caption)
    return [word for clause in _clauses(caption) for word in clause]


def phrases(caption: str) -> list[str]:
    """Runs of two to eight words between function words or punctuation: "a small cat on the mat or bed" → small cat."""
    _check(caption)
    return _unique([phrase for run in _runs(caption) for phrase in _phrase(run)])


def readings(caption: str, *, limit: int = 24) -> list[str]:
    """Content words and phrases in order of appearance, each once, at most `limit`: the buttons of a caption.

    A caption of function words only, or of symbols only, is read as it stands.
    """
    _check(caption)
    if limit < 1:
        raise ValueError(f"limit is {limit}; give how many readings to keep, from 1")
    found = [text for run in _runs(caption) for text in (*run, *_phrase(run))]
    return (_unique(found) or _unique(words(caption)) or [caption.strip()])[:limit]


def _runs(caption: str) -> list[list[str]]:
    """Maximal runs of words without punctuation or function words between them."""
    runs: list[list[str]] = []
    for clause in _clauses(caption):
        runs.append([])
        for word in clause:
            if _is_function(word):
                runs.append([])
            else:
                runs[-1].append(word)
    return [run for run in runs if run]


def _phrase(run: list[str]) -> list[str]:
    return [" ".join(run)] if 1 < len(run) <= _LONGEST else []


def _clauses(caption: str) -> list[list[str]]:
    """Words, parted where punctuation or a dash of its own stands between them."""
    kinds = "".join(map(_kind, caption))
    clauses: list[list[str]] = [[]]
    end = 0
    for match in _WORD.finditer(kinds):
        if set(kinds[end : match.start()]) & {".", "h"}:
            clauses.append([])
        clauses[-1].append(caption[slice(*match.span())])
        end = match.end()
    return clauses


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


def _is_function(word: str) -> bool:
    """In the closed list, alone or before an apostrophe: it, it's."""
    plain = word.lower().replace("’", "'")
    return plain in FUNCTION_WORDS or plain.partition("'")[0] in FUNCTION_WORDS


def _unique(texts: list[str]) -> list[str]:
    """The first of each, case ignored."""
    seen: dict[str, str] = {}
    for text in texts:
        seen.setdefault(text.casefold(), text)
    return list(seen.values())


def _check(caption: str) -> None:
    if not isinstance(caption, str):
        raise TypeError(f"a caption is a string, not {type(caption).__name__} {caption!r}")
    if not caption.strip():
        raise ValueError("the caption is empty; type at least one word")
