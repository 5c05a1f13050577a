"""Captions as words and phrases: small, offline, by closed lists of function words."""

from __future__ import annotations

import re

# Letters and digits of any script with inner apostrophes and hyphens, or one symbol that is not punctuation (an emoji).
_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*|[\U0001F000-\U0001FAFF☀-➿]️?")
_BREAK = re.compile(r"[.,;:!?()\[\]{}<>\"“”|/\\]")

DETERMINERS = frozenset("a an the this that these those my your his her its our their some any each every no".split())
FUNCTION_WORDS = DETERMINERS | frozenset(
    """
    of in on at by for with without from to into onto over under above below behind beside between near next left right
    against across along around through inside outside and or but nor so as than then there here up down off out
    i you he she it we they them him who whom which what
    is are was were be been being am has have had do does did will would can could may might must shall should not
    """.split()
)


def words(caption: str) -> list[str]:
    """The caption's words in order, punctuation left out. Raises ValueError for an empty caption, TypeError for no text."""
    _check(caption)
    return _WORD.findall(caption)


def phrases(caption: str) -> list[str]:
    """Runs of two or more words between function words and punctuation: "a small cat on the red table" → small cat, red table."""
    _check(caption)
    runs = [run for clause in _BREAK.split(caption) for run in _runs(_WORD.findall(clause))]
    return _unique([" ".join(run) for run in runs if len(run) > 1])


def readings(caption: str, *, limit: int = 24) -> list[str]:
    """Content words and phrases in order of appearance, each once, at most `limit`: the buttons of a caption.

    A caption of function words only, or of symbols only, is read as it stands.
    """
    _check(caption)
    found = []
    for clause in _BREAK.split(caption):
        for run in _runs(_WORD.findall(clause)):
            found += [*run, " ".join(run)]
    return (_unique(found) or _unique(_WORD.findall(caption)) or [caption.strip()])[:limit]


def _runs(tokens: list[str]) -> list[list[str]]:
    """Maximal runs without function words."""
    runs: list[list[str]] = [[]]
    for token in tokens:
        if token.lower() in FUNCTION_WORDS:
            runs.append([])
        else:
            runs[-1].append(token)
    return [run for run in runs if run]


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
