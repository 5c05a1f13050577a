"""Noun phrases by a spaCy pipeline that is already installed: an option beside the built-in rules, never fetched."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from workbench.data.lexicon import DETERMINERS, FIXED_RELATIONS, PARTITIVES, PRONOUNS, QUANTIFIERS
from workbench.data.words import kinds, word_spans

_OUTSIDE = DETERMINERS | QUANTIFIERS
_FIXED = frozenset(tuple(relation.split()) for relation in FIXED_RELATIONS)


def installed_pipelines() -> tuple[str, ...]:
    """Names of the English spaCy pipelines that this Python can load, in order; empty without spaCy."""
    from importlib.metadata import entry_points
    from importlib.util import find_spec

    if find_spec("spacy") is None:
        return ()
    named = {entry.name for entry in entry_points(group="spacy_models")}
    return tuple(sorted(name for name in named if name.startswith("en_")))


@lru_cache(maxsize=4)
def spacy_chunker(name: str | None = None) -> Callable[[str], list[tuple[int, int]]]:
    """Caption → spans of spaCy's noun chunks, cut by the built-in rules: no determiner, pronoun, opening or fixed relation.

    `name` is a pipeline that is installed, by default the first of `installed_pipelines()`. Nothing is downloaded. Raises
    ImportError without spaCy, OSError without a pipeline. The trap: chunks depend on the pipeline and its version.
    """
    try:
        import spacy
    except ImportError as error:
        raise ImportError(
            "spaCy is not installed; pip install spacy and a pipeline, or use chunker='builtin', which needs neither"
        ) from error
    found = installed_pipelines()
    chosen = name or (found[0] if found else None)
    if chosen is None:
        raise OSError(
            "spaCy has no English pipeline here and none is downloaded; install one such as en_core_web_sm, or use "
            "chunker='builtin'"
        )
    try:
        pipeline = spacy.load(chosen, exclude=["ner"])
    except OSError as error:
        has = ", ".join(found) or "none"
        raise OSError(f"there is no spaCy pipeline {chosen!r}; installed are: {has}. Nothing is downloaded") from error
    return lambda caption: _cut_all(caption, [(c.start_char, c.end_char) for c in pipeline(caption).noun_chunks])


def _cut_all(caption: str, chunks: list[tuple[int, int]]) -> list[tuple[int, int]]:
    spans = [span for chunk in chunks if (span := cut(caption, *chunk))]
    return [span for i, span in enumerate(spans) if not i or span[0] >= spans[i - 1][1]]


def cut(caption: str, start: int, end: int) -> tuple[int, int] | None:
    """A chunk without what is outside a noun phrase; None where nothing is left, or where it only opens the next one."""
    words = [(start + a, start + b) for a, b in word_spans(kinds(caption[start:end]))]
    while words and caption[slice(*words[0])].lower() in _OUTSIDE:
        words = words[1:]
    texts = [caption[a:b].lower() for a, b in words]
    if not words or texts[-1] in PRONOUNS:
        return None
    after = caption[words[-1][1] :].split()[:1]
    if after == ["of"] and (texts[-1] in PARTITIVES or _ends_a_relation(caption[: words[-1][1]], len(texts))):
        return None
    return words[0][0], words[-1][1]


def _ends_a_relation(before: str, inside: int) -> bool:
    """Whether "of" closes a fixed relation that began before the chunk's words: "on | top | of"."""
    texts = (*before.lower().split(), "of")
    return any(texts[-size:] in _FIXED for size in range(inside + 2, 6))
