"""ARO's COCO-Order and Flickr-Order (arXiv 2210.01936): a caption among four shuffles of its words.

What is published are the captions; the shuffles are random, so everybody makes their own. Ours follow the authors' four
recipes with three differences:

* Kinds of words come from the built-in grammar of closed lists, not from spaCy's tagger (`kinds=` takes another).
* A caption is cleaned and cut to 30 words before its words are shuffled, not after, so that nothing but the order tells the
  options apart: all have the same words, and none shows a tokenizer's spaces ("man 's").
* A shuffle that gives the caption back is drawn again, and left out where no other order exists. The authors keep it, and
  where a tie goes to the first option it counts as right.
"""

from __future__ import annotations

import random
import re
from bisect import bisect
from collections.abc import Callable, Sequence
from pathlib import Path

from workbench.data.benchmarks.captions import test_split
from workbench.data.benchmarks.items import Item
from workbench.data.benchmarks.record import EMPTY, Benchmark, Gathering

MOST_WORDS = 30
TRIES = 50
UNSHUFFLED = "caption without another order of its words"
Kinds = Callable[[Sequence[str]], Sequence[str]]


def read_order(of: str, folder: Path, name: str, *, seed: int = 0, kinds: Kinds | None = None, **facts) -> Benchmark:
    """One item for each caption of the test split of "coco" or "flickr30k"."""
    found = Gathering(name)
    fewer = 0
    for picture, captions in test_split(of, folder):
        for k, caption in enumerate(captions):
            clean = cleaned(caption)
            options = order_negatives(clean, f"{seed}/{picture}#{k}", kinds=kinds)
            fewer += 0 < len(options) < 4
            if options:
                found.add(Item(f"{picture}#{k}", "order", folder / of / picture, clean, options))
            else:
                found.skipped[UNSHUFFLED if clean else EMPTY] += 1
    notes = (f"shuffled here, seed {seed}",)
    notes += (f"{fewer:,} captions have fewer than four shuffles that differ from them",) if fewer else ()
    return found.done("choice", notes=notes, **facts)


def cleaned(caption: str) -> str:
    """Lower case, without .!"()*#:;~, at most 30 words."""
    return " ".join(re.sub(r'[.!"()*#:;~]', " ", caption.lower()).split()[:MOST_WORDS])


def order_negatives(caption: str, seed: str, *, kinds: Kinds | None = None) -> tuple[str, ...]:
    """Up to four other orders of a caption's words, the same for the same caption and seed: nouns and adjectives each among
    themselves; all but nouns and adjectives; within each trigram; whole trigrams. `kinds` says of words which are "noun",
    "adjective" or something else."""
    words = caption.split()
    found = (kinds or word_kinds)(words)
    if len(found) != len(words):
        raise ValueError(f"kinds gave {len(found)} for {len(words)} words; give one for each")
    nouns, adjectives = ([i for i, kind in enumerate(found) if kind == one] for one in ("noun", "adjective"))
    others = [i for i, kind in enumerate(found) if kind not in ("noun", "adjective")]
    trigrams = [list(range(i, min(i + 3, len(words)))) for i in range(0, len(words), 3)]
    recipes = (
        lambda draw: _moved(words, (nouns, adjectives), draw),
        lambda draw: _moved(words, (others,), draw),
        lambda draw: _moved(words, trigrams, draw),
        lambda draw: [words[i] for trigram in _shuffled(trigrams, draw) for i in trigram],
    )
    shuffles = [_another(words, recipe, random.Random(f"{seed}/{k}")) for k, recipe in enumerate(recipes)]
    return tuple(" ".join(each) for each in shuffles if each)


def _another(words: list[str], recipe, draw: random.Random) -> list[str] | None:
    """The first order drawn that is not the caption's own; None where none turns up."""
    return next((found for _ in range(TRIES) if (found := recipe(draw)) != words), None)


def _moved(words: list[str], groups, draw: random.Random) -> list[str]:
    """The words of each group of places, among its places."""
    moved = list(words)
    for places in groups:
        for place, source in zip(places, _shuffled(places, draw), strict=True):
            moved[place] = words[source]
    return moved


def _shuffled(things: Sequence, draw: random.Random) -> list:
    """Python keeps what random() gives from version to version, but not what shuffle() does with it."""
    keys = [draw.random() for _ in things]
    return [things[i] for i in sorted(range(len(things)), key=keys.__getitem__)]


# Kinds of words --------------------------------------------------------------------------------------------------------

_JOINS = frozenset("and or but very".split())  # inside "black and white" they describe, and are no adjectives


def word_kinds(words: Sequence[str]) -> list[str]:
    """For each word of a lower-case caption "noun", "adjective" or "other", as the built-in grammar reads them: what
    describes a thing is an adjective, so "parked" in "a parked car", which spaCy may call a verb."""
    from workbench.data.grammar import DESCRIBES, NOUN, parsed

    starts = [sum(len(word) + 1 for word in words[:i]) for i in range(len(words))]
    known = {NOUN: "noun", DESCRIBES: "adjective"}
    found = ["other"] * len(words)
    for each in parsed(" ".join(words)):
        if each.end > each.start and each.text not in _JOINS:
            found[bisect(starts, each.start) - 1] = known.get(each.role, "other")
    return found
