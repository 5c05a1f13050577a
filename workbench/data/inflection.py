"""Forms of English words by rule: verbs, plurals, "a" or "an". What the rules do not know is left alone (None)."""

from __future__ import annotations

import itertools

from workbench.data.lexicon import (
    ACTIONS,
    IRREGULAR_PLURALS,
    IRREGULAR_VERBS,
    S_NOUNS,
    SAID_WITH_CONSONANT,
    SAID_WITH_VOWEL,
    UN_WORDS,
    VERBS,
)

_VOWELS = "aeiou"
_SINGULARS = {many: one for one, many in IRREGULAR_PLURALS.items()}


def verb_forms(base: str) -> dict[str, str]:
    """The five forms of a verb by name: base, s, ing, past, participle."""
    past, participle = IRREGULAR_VERBS.get(base, (_with_ed(base), _with_ed(base)))
    return {"base": base, "s": _with_s(base), "ing": _with_ing(base), "past": past, "participle": participle}


def _with_s(base: str) -> str:
    if base == "have":
        return "has"
    if base.endswith(("s", "x", "z", "ch", "sh")) or base in ("go", "do"):
        return base + "es"
    return base[:-1] + "ies" if base.endswith("y") and base[-2] not in _VOWELS else base + "s"


def _with_ing(base: str) -> str:
    if base.endswith("ie"):
        return base[:-2] + "ying"
    if base.endswith("e") and not base.endswith(("ee", "oe", "ye")) and base != "be":
        return base[:-1] + "ing"
    return _doubled(base) + "ing"


def _with_ed(base: str) -> str:
    if base.endswith("e"):
        return base + "d"
    return base[:-1] + "ied" if base.endswith("y") and base[-2] not in _VOWELS else _doubled(base) + "ed"


def _doubled(base: str) -> str:
    """swim → swimm: one syllable that ends in one vowel and one consonant."""
    one_syllable = sum(a in _VOWELS and b not in _VOWELS for a, b in itertools.pairwise(base)) == 1
    closed = len(base) > 2 and base[-1] not in _VOWELS + "wxy" and base[-2] in _VOWELS
    simple = closed and (base[-3] not in _VOWELS or (base[-3:-1] == "ui" and base[0] == "q"))
    return base + base[-1] if simple and (one_syllable or base == "begin") else base


def _all_forms() -> dict[str, tuple[str, str]]:
    """Form → (base, its name). Where two verbs share a form ("lay") the first named in the actions has it."""
    found: dict[str, tuple[str, str]] = {}
    acting = [verb for group in ACTIONS for verb in group]
    for base in dict.fromkeys([*acting, *sorted(VERBS), *sorted(IRREGULAR_VERBS)]):
        for name, form in verb_forms(base).items():
            found.setdefault(form, (base, name))
    return found


FORMS = _all_forms()


def plural(noun: str) -> str | None:
    """dog → dogs, woman → women. None for what is plural already or no plain word of letters."""
    if not noun.isascii() or not noun.isalpha() or len(noun) < 2 or is_plural(noun):
        return None
    for one, many in IRREGULAR_PLURALS.items():
        if noun == one or (len(one) > 3 and noun.endswith(one)) or (one == "man" and noun.endswith("man")):
            return noun[: len(noun) - len(one)] + many
    return _with_s(noun)


def singular(noun: str) -> str | None:
    """dogs → dog, women → woman. None for what is singular already, or has no singular that a rule finds."""
    if not noun.isascii() or not noun.isalpha() or not is_plural(noun) or noun in S_NOUNS:
        return None
    for many, one in _SINGULARS.items():
        if noun == many or (len(many) > 3 and noun.endswith(many)) or (many == "men" and noun.endswith("men")):
            return noun[: len(noun) - len(many)] + one
    if not noun.endswith("s"):
        return None
    if noun.endswith("ies"):
        return noun[:-3] + "y" if len(noun) > 4 else noun[:-1]
    if noun.endswith(("sses", "xes", "ches", "shes", "zzes", "buses")):
        return noun[:-2]
    return noun[:-1]


def is_plural(noun: str) -> bool:
    """By the ending, and by the lists of exceptions. "Sheep" counts as plural: it may be."""
    if noun in _SINGULARS or (noun.endswith("men") and noun not in ("specimen", "abdomen", "ramen", "omen")):
        return True
    return (
        noun.endswith("s") and not noun.endswith(("ss", "us", "is")) and not noun.endswith("'s") and noun not in _ONE_S
    )


_ONE_S = S_NOUNS - frozenset(
    "glasses scissors pants jeans shorts trousers binoculars goggles sunglasses pajamas headphones tongs".split()
)


def article(word: str) -> str:
    """ "a" or "an" before the word, by its sound: an hour, a unicorn, an 8."""
    low = word.lower()
    if low.isdigit():
        return "an" if low[0] == "8" or low in ("11", "18") else "a"
    if low.startswith(SAID_WITH_VOWEL):
        return "an"
    if low.startswith(SAID_WITH_CONSONANT) and not low.startswith(UN_WORDS):
        return "a"
    return "an" if low[:1] in _VOWELS and low else "a"
