"""WordNet, where its data are installed already (through nltk or wn): nouns of the same kind. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache


@lru_cache(maxsize=1)
def siblings_in_wordnet() -> Callable[[str], tuple[str, ...]] | None:
    """Noun → nouns that share its parent in WordNet, or None where no data are installed. Nothing is downloaded."""
    for synsets in (_nltk_synsets, _wn_synsets):
        try:
            find = synsets()
            known = find("dog")
        except Exception:  # not installed, or installed without data: each library says so in its own way
            continue
        if not known:  # or it says nothing, and finds nothing
            continue
        return lru_cache(maxsize=4096)(lambda noun, find=find: _siblings(noun, find))
    return None


def _nltk_synsets() -> Callable:
    from nltk.corpus import wordnet

    return lambda noun: wordnet.synsets(noun, pos="n")


def _wn_synsets() -> Callable:
    """From the first English lexicon that has nouns: all at once would mix languages, editions and extensions."""
    import wn

    names = sorted(lexicon.specifier() for lexicon in wn.lexicons(lang="en"))
    lexicons = (wn.Wordnet(lexicon=name, expand="") for name in names)
    english = next(lexicon for lexicon in lexicons if lexicon.synsets("dog", pos="n"))
    return lambda noun: english.synsets(noun, pos="n")


def _siblings(noun: str, find: Callable) -> tuple[str, ...]:
    """Single words that are another kind of what the noun's first meaning is a kind of, in alphabetical order."""
    meanings = find(noun)
    own = {name for meaning in meanings for name in _names(meaning)}
    found = {
        name
        for parent in (meanings[0].hypernyms() if meanings else ())
        for child in parent.hyponyms()
        for name in _names(child)
    }
    return tuple(sorted(name for name in found - own if name.isascii() and name.isalpha() and name.islower()))


def _names(meaning) -> list[str]:
    return list(meaning.lemma_names() if hasattr(meaning, "lemma_names") else meaning.lemmas())
