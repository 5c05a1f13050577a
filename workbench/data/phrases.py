"""Captions as words and phrases: small, offline, by closed lists of function words."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from workbench.data.grammar import ADVERB, BREAK, CONJUNCTION, COUNTS, DESCRIBES, NOUN, Word, parsed
from workbench.data.lexicon import PARTITIVES, QUANTIFIERS
from workbench.data.words import kinds, word_spans

_LONGEST = 8  # words; a longer run is a list of keywords, not a phrase
_LONGEST_RELATION = 6  # words between two phrases that a triple still joins
GRANULARITIES = ("fine", "mid", "coarse")

Chunker = Callable[[str], Iterable[tuple[int, int]]]

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


@dataclass(frozen=True)
class NounPhrase:
    """A noun phrase without its determiner: `text` is caption[start:end], `head` is where its last word, the noun, stands."""

    text: str
    start: int
    end: int
    head: tuple[int, int]
    modifiers: tuple[str, ...] = ()


def noun_phrases(caption: str, *, chunker: str | Chunker = "builtin") -> tuple[NounPhrase, ...]:
    """The caption's base noun phrases in order: "A black cat on the mat." → black cat, mat. Spans are exact characters.

    Inside are adjectives, noun modifiers and numbers; outside are articles, possessive pronouns, vague quantifiers, and what
    only opens a phrase ("a group of"). Relations such as "in front of" hold none. `chunker` is "builtin" (closed lists, the
    same on every machine), "spacy", "auto" (spaCy where a pipeline is installed, else the lists), or a function
    caption → (start, end) spans. Rules for English; elsewhere whole runs of words come back. Raises ValueError for an empty
    caption, an unknown chunker or spans that overlap or leave the text, TypeError for no text, ImportError and OSError for
    "spacy" where spaCy or a pipeline is missing. The trap: rules err; a benchmark names its chunker.
    """
    _check(caption)
    if chunker == "builtin":
        return _builtin(caption)
    if chunker in ("spacy", "auto"):
        from workbench.data.spacy_chunks import installed_pipelines, spacy_chunker

        if chunker == "auto" and not installed_pipelines():
            return _builtin(caption)
        return noun_phrases(caption, chunker=spacy_chunker())
    if not callable(chunker):
        raise ValueError(f"chunker is {chunker!r}; give 'builtin', 'spacy', 'auto' or a function caption → spans")
    return tuple(_noun_phrase(caption, *span) for span in _checked_spans(caption, chunker(caption)))


def segments(caption: str, granularity: str = "fine", *, chunker: str | Chunker = "builtin") -> tuple[str, ...]:
    """The text segments that structure-guided inference encodes (arXiv 2506.09691; 2604.11496, section 3), caption last.

    | granularity | segments |
    |---|---|
    | fine | head nouns, phrases with what describes them, phrase–relation–phrase triples, the caption |
    | mid | the same without bare heads |
    | coarse | triples, phrases that are in no triple, and the caption |

    Text is the caption's own, without the last full stop; each once, case ignored. A triple runs from one phrase through at
    most six words to the next; a comma or a bare "and" joins nothing. The papers do not define the third level: coarse is
    our reading. Raises as `noun_phrases`, and ValueError for another granularity.
    """
    if granularity not in GRANULARITIES:
        raise ValueError(f"granularity is {granularity!r}; give one of {', '.join(GRANULARITIES)}")
    found = noun_phrases(caption, chunker=chunker)
    heads = [caption[slice(*phrase.head)] for phrase in found]
    full = [phrase.text for phrase in found]
    related = [i for i, between in enumerate(_between(caption, found)) if _relate(between)]
    joined = [caption[found[i].start : found[i + 1].end] for i in related]
    paired = {*related, *(i + 1 for i in related)}
    alone = [text for i, text in enumerate(full) if i not in paired]
    whole = caption.strip().rstrip(".").rstrip() or caption.strip()
    parts = {"fine": heads + full + joined, "mid": full + joined, "coarse": alone + joined}[granularity]
    folded = whole.casefold()
    return (*(text for text in _unique(parts) if text.casefold() != folded), whole)


@lru_cache(maxsize=4096)
def _builtin(caption: str) -> tuple[NounPhrase, ...]:
    return tuple(_noun_phrase(caption, run[0].start, run[-1].end, run) for run in phrase_words(caption))


def _noun_phrase(caption: str, start: int, end: int, run: Iterable[Word] = ()) -> NounPhrase:
    places = [(word.start, word.end) for word in run]
    if not places:
        places = [(start + a, start + b) for a, b in word_spans(kinds(caption[start:end]))] or [(start, end)]
    before = tuple(caption[a:b] for a, b in places[:-1])
    return NounPhrase(caption[start:end], start, end, places[-1], before)


@lru_cache(maxsize=4096)
def phrase_words(caption: str) -> tuple[tuple[Word, ...], ...]:
    """The words of each noun phrase with their roles; the last is the head."""
    found: list[tuple[Word, ...]] = []
    run: list[Word] = []
    for word in (*parsed(caption), Word("", 0, 0, BREAK)):
        if word.role in (DESCRIBES, NOUN) or (word.role == COUNTS and not _has_noun(run)):
            run.append(word)
            continue
        found += _closed(run, word)
        run = [word] if word.role == COUNTS else []
    return tuple(found)


def _has_noun(run: list[Word]) -> bool:
    return any(word.role == NOUN for word in run)


def _closed(run: list[Word], after: Word) -> list[tuple[Word, ...]]:
    """The run up to its last noun, unless it only opens the next phrase: "a large group | of people"."""
    last = max((i for i, word in enumerate(run) if word.role == NOUN), default=-1)
    kept = tuple(run[: last + 1])
    opens = after.text == "of" and kept and kept[-1].text in PARTITIVES and not _has_noun(run[:last])
    return [kept] if kept and len(kept) <= _LONGEST and not opens else []


def _between(caption: str, found: tuple[NounPhrase, ...]) -> Iterator[list[Word]]:
    """The words between each phrase and the next."""
    words = parsed(caption)
    starts = [word.start for word in words]
    for a, b in pairwise(found):
        here = words[bisect_left(starts, a.end) : bisect_right(starts, b.start)]
        yield [word for word in here if word.end <= b.start]


def _relate(between: list[Word]) -> bool:
    """Whether a relation or a verb is among the words: a few that are more than "and" and articles."""
    if any(word.role == BREAK for word in between) or len(between) > _LONGEST_RELATION:
        return False
    return any(
        word.role not in (CONJUNCTION, ADVERB) and word.text not in DETERMINERS | QUANTIFIERS for word in between
    )


def _checked_spans(caption: str, spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    found, last = [], 0
    for span in spans:
        start, end = span
        if not isinstance(start, int) or not isinstance(end, int) or not last <= start < end <= len(caption):
            raise ValueError(
                f"the chunker gave the span {tuple(span)!r} after character {last} of {len(caption)}; give (start, end) "
                "pairs within the caption, in order, that do not overlap"
            )
        found.append((start, end))
        last = end
    return found


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
    letters = kinds(caption)
    clauses: list[list[str]] = [[]]
    end = 0
    for start, stop in word_spans(letters):
        if set(letters[end:start]) & {".", "h"}:
            clauses.append([])
        clauses[-1].append(caption[start:stop])
        end = stop
    return clauses


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
