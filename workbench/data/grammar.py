"""What each word of an English caption does in it, by closed lists, endings and the words beside it: no model.

Written for captions as MS-COCO has them ("A man riding a wave on top of a surfboard."): present tense, few clauses. Words
that are in no list are nouns. In another language everything is a noun, and nothing fails.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from workbench.data import lexicon
from workbench.data.inflection import FORMS, is_plural
from workbench.data.words import kinds, word_spans

# What a word does. An adverb or a conjunction within a phrase ("very large", "black and white") describes, too.
NOUN, DESCRIBES, COUNTS, DETERMINER = "noun", "describes", "counts", "determiner"
VERB, AUXILIARY, RELATION, PRONOUN = "verb", "auxiliary", "relation", "pronoun"
CONJUNCTION, ADVERB, BREAK, END = "conjunction", "adverb", "break", "end"

# Before its neighbours are asked, a word may also be one of these: "riding", "parked", "rode", "rides", "ride"
_ING, _ED, _PAST, _S, _BASE = "ing", "ed", "past", "s", "base"

_CONTENT = frozenset((NOUN, DESCRIBES, COUNTS, _ING, _ED, _PAST, _S, _BASE))
_AFTER_VERBS = frozenset((DETERMINER, PRONOUN, COUNTS, RELATION, ADVERB))  # what shows that the word before is a verb
_LOOK_AHEAD = 12  # words; no phrase is longer
_STRONG, _MEDIUM, _WEAK = 3, 2, 1  # how surely a word that may be a verb is one

# Participles that follow the noun they belong with: "snow covered mountain"
_AFTER_NOUN = frozenset(
    """
    covered lined filled shaped colored coloured topped themed sized powered wrapped tiled capped drawn styled made baked
    grown dried haired faced eyed legged framed driven patterned printed lit stained fried
    """.split()
)
_DEGREES = frozenset("very quite too well extremely highly semi all".split())
# Words of place that are a thing, or describe one, after a determiner: "the back", "an inside wall"
_PLACES = frozenset("inside outside back overhead near past opposite".split())
_ONE_PERSON = frozenset("he she it who which that something someone everyone there".split())
_MANY_PERSONS = frozenset("they we you i who that which others".split())
_DO_WORDS = frozenset(
    """
    do does did will would can could may might must shall should don't doesn't didn't won't wouldn't can't cannot
    couldn't shouldn't
    """.split()
)
_HAVE = frozenset("has have had having".split())
_ONE = frozenset("a an one each every this another".split())
_GERUND_PREPOSITIONS = frozenset("while when before after by without as since until for from to".split())
_COLLECTIVES = frozenset("group couple pair crowd team herd flock family bunch".split())
_ACTOR_ENDINGS = ("man", "woman", "ist")
_MOTION = frozenset("along across through over past toward towards around into onto down up away".split())
_SAME_PARTICIPLE = frozenset("cut put spread shut split".split())
_SET_WITH = frozenset("with for up by".split())

_ASCII_WORD = re.compile(r"[A-Za-z0-9]+(?:['-][A-Za-z0-9]+)*(?:(?<=s)'(?=\s+[A-Za-z]))?|&")
_NUMBER = re.compile(r"\d[\d,.:/]*(?:st|nd|rd|th)?")


class Word(NamedTuple):
    """A word in lower case, where it stands in the caption, and what it does there. A BREAK is an empty place."""

    text: str
    start: int
    end: int
    role: str


@lru_cache(maxsize=4096)
def parsed(caption: str) -> tuple[Word, ...]:
    """Every word with its role, and a BREAK where punctuation parts two words. The last few thousand captions are kept."""
    places = _places(caption)
    roles = _Reader([text for text, _, _ in places]).roles()
    return tuple(Word(*place, role) for place, role in zip(places, roles, strict=True))


def _places(caption: str) -> list[tuple[str, int, int]]:
    """Words and breaks in order: (text in lower case, start, end)."""
    spans = (
        [match.span() for match in _ASCII_WORD.finditer(caption)] if caption.isascii() else word_spans(kinds(caption))
    )
    found: list[tuple[str, int, int]] = []
    last = 0
    for start, end in spans:
        between = caption[last:start].strip()
        if between and found:
            found.append((between[0], last, last))
        found.append((caption[start:end].lower().replace("’", "'"), start, end))
        last = end
    return found


@lru_cache(maxsize=1 << 16)
def _kind(word: str) -> tuple[str, int]:
    """What the word may be, and how surely a possible verb is one (0 where there is no question)."""
    for words, role in _CLOSED:
        if word in words:
            return role, 0
    if not word[:1].isalnum() and len(word) == 1:
        return BREAK, 0
    if _NUMBER.fullmatch(word):
        return (COUNTS if word[-1].isdigit() else DESCRIBES), 0
    if word.endswith(("'s", "s'")):
        return NOUN, 0
    if word.endswith(("ful", "ous", "less", "ible")) or ("-" in word and word.endswith(("ed", "ing"))):
        return DESCRIBES, 0
    if word.endswith("ly") and len(word) > 4 and word not in lexicon.LY_WORDS:
        return ADVERB, 0
    return _verbal(word)


_CLOSED = (
    (lexicon.DETERMINERS | lexicon.QUANTIFIERS, DETERMINER),
    (lexicon.NUMBERS, COUNTS),
    (lexicon.AUXILIARIES, AUXILIARY),
    (lexicon.CONJUNCTIONS, CONJUNCTION),
    (lexicon.PRONOUNS, PRONOUN),
    (lexicon.PREPOSITIONS, RELATION),
    (lexicon.ADVERBS, ADVERB),
    (lexicon.ADJECTIVES | frozenset(lexicon.COLOURS) | lexicon.SIZE_WORDS, DESCRIBES),
    (lexicon.ING_NOUNS | lexicon.S_NOUNS | lexicon.PLURALS | frozenset(lexicon.MATERIALS), NOUN),
)
_NOT_ED = frozenset(
    "red bed sled shed seed weed reed feed speed breed need steed creed deed greed bed ted bobsled".split()
)


def _verbal(word: str) -> tuple[str, int]:
    base, form = FORMS.get(word, ("", ""))
    if form == "ing" or (word.endswith("ing") and len(word) > 4):
        return _ING, 0
    if form in ("s", "base"):
        grade = _STRONG if base in lexicon.STRONG_VERBS else _MEDIUM if base in lexicon.MEDIUM_VERBS else _WEAK
        return (_S if form == "s" else _BASE), grade
    if form == "participle" or (word.endswith("ed") and len(word) > 3 and word not in _NOT_ED):
        return _ED, 0
    if form == "past":
        return (_ED if lexicon.IRREGULAR_VERBS[base][1] == word else _PAST), 0
    return NOUN, 0


class _Reader:
    """Reads the words from left to right; each `_of_*` decides one kind of word from what was read and what comes next.

    `head` is the last noun of the phrase that is open, or -1; `opened` says that a phrase has begun.
    """

    def __init__(self, texts: list[str]):
        self.texts = texts
        self.kinds = [*map(_kind, texts), (END, 0)]
        for i in range(len(texts) - 1):
            if texts[i : i + 2] == ["close", "up"] and (i == 0 or texts[i - 1] in lexicon.ARTICLES):
                self.kinds[i : i + 2] = [(NOUN, 0)] * 2  # "a close up of a pizza"
        self.done: list[str] = []
        self.head, self.opened, self.opener, self.counted = -1, False, "", False
        self.subject = -1  # the last noun read, while no verb or relation came after it
        self.joined = False  # "a man and a woman": together they are many
        self.verb = ""  # form of the last verb
        self.to_be, self.there = False, False

    def roles(self) -> list[str]:
        fixed = _fixed_relations(self.texts)
        for i in range(len(self.texts)):
            role = RELATION if i in fixed else self._role(i)
            self.done.append(role)
            self._remember(i, role)
        return self.done

    def _role(self, i: int) -> str:
        kind = self.kinds[i][0]
        decide = _DECISIONS.get(kind)
        return decide(self, i) if decide else kind

    # ---- what was read

    def _remember(self, i: int, role: str) -> None:
        if role == NOUN:
            self._remember_noun(i)
        elif role == DETERMINER or (role == COUNTS and self.head >= 0):
            self._open(self.texts[i])
            self.counted = role == COUNTS and self.texts[i] not in ("one", "1")
        elif role in (DESCRIBES, COUNTS):
            self.opened = True
            self.counted |= role == COUNTS and self.texts[i] not in ("one", "1")
            self.opener = self.opener or (self.texts[i] if role == COUNTS else "")
        else:
            self._close(i, role)

    def _remember_noun(self, i: int) -> None:
        owner = self.texts[i].endswith(("'s", "s'"))
        self.opened, self.head = True, -1 if owner else i
        self.subject = i
        if owner:
            self.opener = self.opener or "the"

    def _open(self, opener: str) -> None:
        self.opened, self.head, self.opener, self.counted = True, -1, opener, False

    def _close(self, i: int, role: str) -> None:
        if role == CONJUNCTION:
            listed = self.done[-3:-1] == [NOUN, BREAK]
            self.joined = (self.head >= 0 or listed) and self.texts[i] in ("and", "&")
        elif role in (RELATION, VERB, AUXILIARY):
            self.joined = False
        if role in (RELATION, BREAK):
            self.subject = -1
        if role == VERB:
            self.verb, self.to_be = self._form(i), self.to_be and self.kinds[i][0] == _ED
        elif role == AUXILIARY:
            self.to_be = self.texts[i] in ("is", "are", "was", "were", "be", "been", "being", "it's", "there's")
            self.there = self.texts[i - 1 : i] == ["there"] or self.texts[i] == "there's" or self._inverted()
        elif role != ADVERB:
            self.to_be = False
        self.opened, self.head, self.opener, self.counted = False, -1, "", False

    def _inverted(self) -> bool:
        """ "In the bowl are apples": what comes first is a place, so what comes after is the thing."""
        return bool(self.done) and self.done[0] == RELATION and VERB not in self.done and AUXILIARY not in self.done

    def _form(self, i: int) -> str:
        kind = self.kinds[i][0]
        return kind if kind != NOUN else FORMS.get(self.texts[i], ("", _S))[1]

    # ---- what comes next, what came before

    def _next(self, i: int) -> str:
        return self.kinds[i + 1][0]

    def _before(self) -> str:
        return self.done[-1] if self.done else BREAK

    def _word_before(self, i: int) -> str:
        return self.texts[i - 1] if i else ""

    def _leads(self, first: int) -> bool:
        """Whether words that describe, from the first on, end in a noun they describe: "white and brown | dog"."""
        joined = False
        for i in range(first, min(first + _LOOK_AHEAD, len(self.texts))):
            kind, grade = self.kinds[i]
            if self._names(i):
                return True
            if kind in (NOUN, _S, _BASE, _PAST):
                return grade < _STRONG or (kind == _BASE and bool(self.opener))
            if kind == _ING and not (self._next(i) in _CONTENT or self.opened):
                return False
            if kind in (DESCRIBES, _ED, _ING, COUNTS):
                joined = False
            elif kind == ADVERB and self._next(i) in (DESCRIBES, _ED):
                pass
            elif not joined and self._joins(i):
                joined = True
            else:
                return False
        return False

    def _names(self, i: int) -> bool:
        """A word that may name or describe names, where nothing follows for it to describe: "a traffic light | on"."""
        strong = self.kinds[i + 1][1] == _STRONG
        return self.texts[i] in lexicon.ADJECTIVAL_NOUNS and (self._next(i) not in _CONTENT or strong)

    def _joins(self, i: int) -> bool:
        """An "and" or a comma between two words that describe one thing: "black and white cat"."""
        if self.texts[i] not in ("and", "or", ",", "&"):
            return False
        after = self._next(i)
        if self.texts[i] == "," and self.texts[i + 1 : i + 2] == ["and"]:
            return self.kinds[i + 2][0] == DESCRIBES
        if after == NOUN:
            return self.texts[i] != "," and self.opened and bool(self.opener)
        if after == ADVERB:
            return self.opened and self.kinds[i + 2][0] in (DESCRIBES, _ED)
        return after == DESCRIBES or (after in (_ED, _ING) and self.opened)

    def _subject_is_many(self) -> bool:
        if self.subject < 0:
            return False
        noun = self.texts[self.subject]
        return is_plural(noun) or noun in _COLLECTIVES or self.joined

    def _subject_acts(self) -> bool:
        noun = self.texts[self.subject] if self.subject >= 0 else ""
        return noun in lexicon.ACTORS or (len(noun) > 4 and noun.endswith(_ACTOR_ENDINGS))

    # ---- words that open, point and count

    def _of_determiner(self, i: int) -> str:
        word, after = self.texts[i], self._next(i)
        if word == "that" and self._before() == NOUN:
            return PRONOUN
        if word in lexicon.ARTICLES or after in _CONTENT or (after == ADVERB and self._leads(i + 1)):
            return DETERMINER
        return DETERMINER if self.texts[i + 1 : i + 2] and self.texts[i + 1] in _PLACES and word != "her" else PRONOUN

    def _of_counts(self, i: int) -> str:
        return COUNTS if self._next(i) in _CONTENT else PRONOUN

    def _of_adverb(self, i: int) -> str:
        word = self.texts[i]
        if word in _PLACES and self._before() in (DETERMINER, COUNTS, DESCRIBES) and self.opened:
            return DESCRIBES if self._next(i) in _CONTENT and self.kinds[i + 1][1] < _STRONG else NOUN
        degree = (word in _DEGREES or word.endswith("ly")) and self._next(i) in (DESCRIBES, _ED, ADVERB)
        if degree and self.head < 0 and (self.opened or self._before() not in (NOUN, PRONOUN)) and self._leads(i + 1):
            return DESCRIBES if not self._follows_to_be() else ADVERB
        return ADVERB

    def _of_relation(self, i: int) -> str:
        return self._of_adverb(i) if self.texts[i] in _PLACES and self.opened and self.head < 0 else RELATION

    def _of_conjunction(self, i: int) -> str:
        describing = self.opened and self.head < 0 and self._before() == DESCRIBES
        return DESCRIBES if describing and self._joins(i) and self._leads(i + 1) else CONJUNCTION

    def _of_break(self, i: int) -> str:
        return self._of_conjunction(i) if self._of_conjunction(i) == DESCRIBES else BREAK

    # ---- words that describe or name

    def _of_describes(self, i: int) -> str:
        if self._names(i) and not self._follows_to_be():
            return NOUN
        if self.head >= 0 or (self._leads(i + 1) and not self._names_a_colour(i)):
            return DESCRIBES
        if self._next(i) == DESCRIBES:
            return DESCRIBES
        if self.opened and self.opener and self.texts[i] not in lexicon.PREDICATIVE:
            return NOUN  # "the left", "the other"
        return NOUN if self._names_a_colour(i) else DESCRIBES

    def _names_a_colour(self, i: int) -> bool:
        """ "A man in white riding": no thing follows that is white."""
        alone = self._before() == RELATION and self.texts[i] in lexicon.COLOURS
        return alone and (self._next(i) == _ING or not self._leads(i + 1))

    def _of_noun(self, i: int) -> str:
        word, after = self.texts[i], self._next(i)
        if word.endswith("ing") and after == DETERMINER and (self.head >= 0 or self._before() == AUXILIARY):
            return VERB if word in FORMS else NOUN
        if self._disagrees(i):
            return VERB
        alone = self._before() in (AUXILIARY, ADVERB, VERB) and after not in _CONTENT and not is_plural(word)
        return DESCRIBES if self._follows_to_be() and alone else NOUN

    def _disagrees(self, i: int) -> bool:
        """ "A clown juggles three oranges", "Two wrestlers grapple": one thing or two, and a word that does not agree."""
        word = self.texts[i]
        if self.head < 0 or word in lexicon.S_NOUNS or is_plural(word) == is_plural(self.texts[self.head]):
            return False
        if is_plural(word):
            return self.opener in _ONE and word.endswith("s") and self._next(i) in _AFTER_VERBS
        moves = i == 1 and self.texts[i + 1] in _MOTION if self._next(i) == RELATION else self._next(i) == DETERMINER
        return self.counted or (moves and not word.endswith("'s"))

    def _follows_to_be(self) -> bool:
        return self.to_be and not self.there and not self.opened

    # ---- words that may be verbs

    def _of_s(self, i: int) -> str:
        if self.head >= 0:
            return VERB if self._s_after_noun(i) else NOUN
        if self.opened:
            return NOUN
        grade, before = self.kinds[i][1], self._before()
        verb_follows = grade == _STRONG or self._next(i) in _AFTER_VERBS
        if before == PRONOUN and self._word_before(i) in _ONE_PERSON:
            return VERB
        if (before == CONJUNCTION and self.verb == _S) or (before == ADVERB and self.subject >= 0):
            return VERB if verb_follows else NOUN
        return VERB if before in (BREAK, PRONOUN) and i and grade == _STRONG else NOUN

    def _s_after_noun(self, i: int) -> bool:
        grade, after = self.kinds[i][1], self._next(i)
        if grade == _STRONG:
            return not self.counted
        if self.counted or is_plural(self.texts[self.head]):
            return False
        if self.opener in _ONE or self._subject_acts():
            return grade == _MEDIUM or after not in _CONTENT
        if grade == _MEDIUM and self.opener:
            return after in _AFTER_VERBS
        return after in (DETERMINER, PRONOUN)

    def _of_base(self, i: int) -> str:
        word, before = self.texts[i], self._before()
        if self.head >= 0:
            return VERB if self._base_after_noun(i) else NOUN
        if self.opened:
            return NOUN
        grade, shown = self.kinds[i][1], self._next(i) in _AFTER_VERBS
        if self._word_before(i) == "to":
            return VERB if grade >= _MEDIUM or shown else NOUN
        if before == AUXILIARY and self._word_before(i) in _DO_WORDS:
            return VERB
        if before == PRONOUN and self._word_before(i) in _MANY_PERSONS:
            return VERB
        if before == ADVERB and self._subject_is_many():
            return VERB if grade >= _MEDIUM else NOUN
        if (before == CONJUNCTION and self.verb == _BASE) or (
            before == BREAK and not i and word not in ("stop", "rest")
        ):
            return VERB if shown or (grade == _STRONG and before == CONJUNCTION) else NOUN
        return NOUN

    def _base_after_noun(self, i: int) -> bool:
        word, grade, after = self.texts[i], self.kinds[i][1], self._next(i)
        plural = is_plural(self.texts[self.head]) or self.texts[self.head] in _COLLECTIVES
        if plural or (self.joined and self._subject_acts()):
            return grade >= _MEDIUM or after in (DETERMINER, PRONOUN)
        if self.joined and grade >= _MEDIUM:
            return after in _AFTER_VERBS
        if word == "set":
            return self.texts[i + 1 : i + 2] != [] and self.texts[i + 1] in _SET_WITH
        return (word in _SAME_PARTICIPLE and after in _AFTER_VERBS) or (grade == _STRONG and after == DETERMINER)

    def _of_past(self, i: int) -> str:
        if self.head >= 0:
            return VERB
        return VERB if not self.opened and self._before() in (PRONOUN, CONJUNCTION, ADVERB) else NOUN

    def _of_ed(self, i: int) -> str:
        if self.head >= 0:
            return DESCRIBES if self.texts[i] in _AFTER_NOUN and self._next(i) in _CONTENT else VERB
        leads = self._leads(i + 1)
        if self.opened:
            return DESCRIBES if leads else NOUN if self.opener in lexicon.DETERMINERS else VERB
        before = self._before()
        if before == AUXILIARY and not (self.there or self._word_before(i) in _HAVE):
            return VERB
        return DESCRIBES if leads and before not in (PRONOUN, ADVERB) else VERB

    def _of_ing(self, i: int) -> str:
        if self.texts[i + 1 : i + 2] and self.texts[i + 1] in lexicon.ING_PURPOSES.get(self.texts[i], ()):
            return VERB if self.texts[i] in ("drinking", "riding") and self._before() == NOUN else DESCRIBES
        if self.head >= 0:
            return VERB
        after, content = self._next(i), self._next(i) in _CONTENT and self._leads(i + 1)
        if self.opened:
            return self._ing_after_opener(after, content)
        if content and self.texts[i] in lexicon.ING_DESCRIBES and self._before() != AUXILIARY:
            return DESCRIBES
        return DESCRIBES if content and self._ing_describes_here(i) else VERB

    def _ing_after_opener(self, after: str, content: bool) -> str:
        if content:
            return DESCRIBES
        article = self.opener in lexicon.ARTICLES or (self.opener and self._before() == NOUN)
        return VERB if after == DETERMINER or not (article or (self.opener and after in (BREAK, END))) else NOUN

    def _ing_describes_here(self, i: int) -> bool:
        """Before a noun, without a determiner: "with sparkling lights", but "while eating pizza"."""
        before, word = self._before(), self._word_before(i)
        if before == RELATION:
            return word not in _GERUND_PREPOSITIONS
        if before == AUXILIARY:
            return self.there
        if before == CONJUNCTION:
            return not self.verb
        return not i and self.texts[i] not in FORMS


_DECISIONS = {
    DETERMINER: _Reader._of_determiner, COUNTS: _Reader._of_counts, ADVERB: _Reader._of_adverb,
    RELATION: _Reader._of_relation, CONJUNCTION: _Reader._of_conjunction, BREAK: _Reader._of_break,
    DESCRIBES: _Reader._of_describes, NOUN: _Reader._of_noun, _S: _Reader._of_s, _BASE: _Reader._of_base,
    _PAST: _Reader._of_past, _ED: _Reader._of_ed, _ING: _Reader._of_ing,
}  # fmt: skip

_FIXED: dict[str, list[tuple[str, ...]]] = {}
for _relation in sorted(lexicon.FIXED_RELATIONS, key=lambda each: -len(each.split())):
    _FIXED.setdefault(_relation.split()[0], []).append(tuple(_relation.split()))


def _fixed_relations(texts: list[str]) -> set[int]:
    """Places of words that together are one relation, the longest first."""
    found: set[int] = set()
    for i, text in enumerate(texts):
        opened = i > 0 and texts[i - 1] in lexicon.ARTICLES  # "the inside of a drawer" is a thing
        for relation in _FIXED.get(text, ()) if i not in found and not opened else ():
            if tuple(texts[i : i + len(relation)]) == relation:
                found.update(range(i, i + len(relation)))
                break
    return found
