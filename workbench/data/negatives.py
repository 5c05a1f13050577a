"""Hard negatives: a caption with one thing made wrong, by seeded rules and without a model.

Every operator is a pure function of (caption, seed): the same in every process and on every machine, so training can make
negatives while it runs and go on after a break. It returns None where it cannot change a caption; it never returns the
caption itself. What rules make can be told from captions by its wording alone, to a degree that differs by operator
(SugarCrepe, arXiv 2306.14610): `workbench.hackability` measures it. The kinds follow FSC-CLIP (arXiv 2410.05210, appendix
A.1) and the attribute lists of structured negatives; the rules and lists are this project's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from workbench.data import lexicon
from workbench.data.edits import (
    Draw,
    Edits,
    Negative,
    Operator,
    by_edits,
    check,
    edited,
    exchange,
    instead,
    moved,
    same,
)
from workbench.data.grammar import (
    AUXILIARY,
    BREAK,
    CONJUNCTION,
    COUNTS,
    DESCRIBES,
    DETERMINER,
    NOUN,
    PRONOUN,
    RELATION,
    VERB,
    Word,
    parsed,
)
from workbench.data.inflection import FORMS, is_plural, plural, singular, verb_forms
from workbench.data.phrases import noun_phrases, phrase_words
from workbench.data.wordnet import siblings_in_wordnet
from workbench.records import Record, Table

_NOTHING = Word("", 0, 0, BREAK)

# ---- swaps


def _noun_swaps(caption: str) -> list[Edits]:
    """Two nouns, or two whole phrases, change places: "a man on a horse" → "a horse on a man".

    Both are singular or both plural. Places that say the same from both ends ("a cat next to a dog") stay, and so does
    "close up".
    """
    found: list[Edits] = []
    runs, links, wholes = phrase_words(caption), _links(caption), _wholes(caption)
    for i, j in _near(len(runs)):
        one, other = runs[i], runs[j]
        if one[-1].text == other[-1].text or _many(one) != _many(other) or "up" in (one[-1].text, other[-1].text):
            continue
        told_apart = _described(one) != _described(other)
        if told_apart or links[i] != links[j]:
            found.append(exchange(caption, one[-1][1:3], other[-1][1:3]))
        if links[i] != links[j] and (len(one) > 1 or len(other) > 1):
            found.append(exchange(caption, wholes[i], wholes[j]))
    return found


def _attribute_swaps(caption: str) -> list[Edits]:
    """What describes two different things changes places: "a red cube and a blue ball" → "a blue cube and a red ball"."""
    described = [(run, block) for run in phrase_words(caption) if (block := _block(run))]
    return [
        exchange(caption, block, other_block)
        for (one, block), (other, other_block) in ((described[i], described[j]) for i, j in _near(len(described)))
        if one[-1].text != other[-1].text and not same(caption[slice(*block)], caption[slice(*other_block)])
    ]


def _block(run: tuple[Word, ...]) -> tuple[int, int] | None:
    """Where the describing words before a phrase's first noun stand."""
    words = []
    for word in run:
        if word.role == DESCRIBES and word.text not in lexicon.ING_PURPOSES:
            words.append(word)
        elif words or word.role != COUNTS:
            break
    return (words[0].start, words[-1].end) if words and words[0].text != "other" else None


def _described(run: tuple[Word, ...]) -> tuple[str, ...]:
    return tuple(word.text for word in run[:-1])


def _many(run: tuple[Word, ...]) -> bool:
    return is_plural(run[-1].text)


def _near(n: int) -> Iterator[tuple[int, int]]:
    """Pairs of phrases at most eight apart: all of a caption, and not a million of a page."""
    return ((i, j) for i in range(n) for j in range(i + 1, min(i + 9, n)))


def _wholes(caption: str) -> list[tuple[int, int]]:
    """Each phrase with the articles and other words that open it."""
    opening, starts = None, {}
    for word in parsed(caption):
        starts[word.start] = word.start if opening is None else opening
        opening = None if word.role != DETERMINER else starts[word.start]
    return [(starts[run[0].start], run[-1].end) for run in phrase_words(caption)]


def _links(caption: str) -> list[int]:
    """One number per phrase, equal where only "and", a comma or a relation like "next to" stands between neighbours."""
    ends = {run[-1].end: i for i, run in enumerate(phrase_words(caption))}
    starts = {run[0].start for run in phrase_words(caption)}
    links: list[int] = []
    inside, linked = False, False
    for word in parsed(caption):
        if word.start in starts and word.text:
            inside = True
            links.append(links[-1] if linked else len(links))
        if not inside:
            linked = linked and _symmetric(word)
        if word.end in ends and word.text:
            inside, linked = False, True
    return links


def _statement(text: str) -> tuple:
    """What a text says, equal for "a red cube and a blue ball" and "the blue ball and a red cube".

    The words outside of phrases in order, but for articles, and the phrases, in any order where their link is symmetric.
    """
    runs, groups = phrase_words(text), {}
    for run, link in zip(runs, _links(text), strict=True):
        groups.setdefault(link, []).append(tuple(word.text for word in run))
    inside, heads = {word for run in runs for word in run}, {run[-1] for run in runs}
    outside = (
        "" if word in heads else word.text  # "": here a phrase stands
        for word in parsed(text)
        if word in heads or not (word in inside or word.text in lexicon.ARTICLES)
    )
    return tuple(outside), tuple(tuple(sorted(group)) for group in groups.values())


def _symmetric(word: Word) -> bool:
    if word.role in (CONJUNCTION, DETERMINER, AUXILIARY) or word.text == ",":
        return word.text not in ("but", "not")
    if word.role == VERB:
        return FORMS.get(word.text, ("",))[0] in lexicon.POSTURES
    return word.text in lexicon.SYMMETRIC_RELATIONS


# ---- one word for another


def _colours(caption: str) -> list[Edits]:
    """Another colour: "a red ball" → "a green ball". Shades that pass for each other are never exchanged."""
    found: list[Edits] = []
    for run in _runs_and_rest(caption):
        here = [word for before, word in zip((None, *run), run, strict=False) if _is_colour(before, word, run)]
        taken = frozenset().union(*(lexicon.COLOUR_KIN[word.text] for word in here))
        others = [colour for colour in lexicon.BASIC_COLOURS if colour not in taken]
        for word in here:
            found += instead(word, others)
    return found


def _is_colour(before: Word | None, word: Word, run: tuple[Word, ...]) -> bool:
    """Not the cream of "ice cream", nor the fruit; but "in red" names a colour."""
    if word.text not in lexicon.COLOUR_KIN or (before and before.role == NOUN):
        return False
    return word.role == DESCRIBES or (len(run) == 1 and word.text not in lexicon.ADJECTIVAL_NOUNS)


def _sizes(caption: str) -> list[Edits]:
    """The opposite size: "a large dog" → "a small dog"."""
    found: list[Edits] = []
    for run in _runs_and_rest(caption):
        thing = run[-1].text if run[-1].role == NOUN else ""
        for word in run:
            if word.role == DESCRIBES and (word.text, thing) not in lexicon.SIZE_IDIOMS:
                found += instead(word, _opposite_sizes(word.text, thing))
    return found


def _opposite_sizes(size: str, thing: str) -> tuple[str, ...]:
    if size in ("short", "shorter"):  # of a person or a tower, not tall; of hair or a road, not long
        tall = thing in lexicon.ACTORS or thing in lexicon.TALL_THINGS or singular(thing) in lexicon.ACTORS
        return (({"short": "tall", "shorter": "taller"} if tall else {"short": "long", "shorter": "longer"})[size],)
    for ones, others in lexicon.SIZES:
        if size in ones:
            return others[:2]
        if size in others:
            return ones[:2]
    return ()


def _materials(caption: str) -> list[Edits]:
    """Another material: "a wooden bench" → "a metal bench"."""
    found: list[Edits] = []
    for run in phrase_words(caption):
        for before, word in zip((None, *run), run[:-1], strict=False):
            if word.text not in lexicon.MATERIAL_KIN or word.role not in (DESCRIBES, NOUN):
                continue
            whole = word._replace(start=before.start) if before and before.text == "stainless" else word
            kin = lexicon.MATERIAL_KIN[word.text]
            others = (each for each in lexicon.COMMON_MATERIALS if lexicon.MATERIAL_KIN[each] != kin)
            found += instead(whole, others)
    return found


def _counts(caption: str) -> list[Edits]:
    """Another number: "two dogs" → "five dogs"; from and to one where the noun and what follows can go along."""
    found: list[Edits] = []
    words = parsed(caption)
    for run in phrase_words(caption):
        number, noun = run[0], run[-1]
        for style in (lexicon.COUNTS, lexicon.DIGITS):
            if number.role != COUNTS or number.text not in style:
                continue
            one = style[0]
            if is_plural(noun.text) and number.text != one:
                found += instead(number, (other for other in style[1:] if other != number.text))
            changed = plural(noun.text) if number.text == one else singular(noun.text)
            if changed and len(run) > 1 and _stands_apart(words, run):
                others = style[1:4] if number.text == one else style[:1]
                found += [((*number[1:3], other), (*noun[1:3], changed)) for other in others]
    return found


def _stands_apart(words: tuple[Word, ...], run: tuple[Word, ...]) -> bool:
    """Whether nothing beside the phrase would have to agree with its number: no "are", "sits", "and", "its"."""
    at = next(i for i, word in enumerate(words) if word.start == run[-1].start)
    first = next(i for i, word in enumerate(words) if word.start == run[0].start)
    after = words[at + 1 :][:1]
    if first and words[first - 1].role in (CONJUNCTION, DETERMINER):
        return False
    if after and after[0].role in (AUXILIARY, PRONOUN, CONJUNCTION):
        return False
    return not (after and after[0].role == VERB and not after[0].text.endswith(("ing", "ed")))


def _actions(caption: str) -> list[Edits]:
    """Another action of the same form: "a man sitting on" → "a man standing on". With an object only where one follows."""
    words, found = parsed(caption), []
    for i, word in enumerate(words):
        base, form = FORMS.get(word.text, ("", ""))
        if not base or word.role not in (VERB, DESCRIBES) or _forms_clash(base, form):
            continue
        after = words[i + 1] if i + 1 < len(words) else _NOTHING
        if word.role == DESCRIBES:
            purpose = after.text in lexicon.ING_PURPOSES.get(word.text, ())
            found += [] if purpose or form != "ing" else instead(word, _other_actions(base, form, False))
            continue
        passive = i > 0 and words[i - 1].role == AUXILIARY and form in ("past", "participle")
        has_object = passive or after.role in (DETERMINER, COUNTS, NOUN, DESCRIBES)
        found += instead(word, _other_actions(base, "participle" if passive else form, has_object))
    return found


def _forms_clash(base: str, form: str) -> bool:
    """Whether a form may be now or past ("cut", "read"): its replacement would have to know."""
    return form == "base" and verb_forms(base)["past"] == base


@lru_cache(maxsize=4096)
def _other_actions(base: str, form: str, has_object: bool) -> tuple[str, ...]:
    groups = lexicon.ACTIONS_WITH_OBJECT if has_object else lexicon.ACTIONS_ALONE
    others = dict.fromkeys(other for group in groups if base in group for other in group if other != base)
    return tuple(verb_forms(other)[form] for other in others)


def _relations(caption: str) -> list[Edits]:
    """Another relation, the opposite above all: "left of" → "right of", "on" → "under"."""
    words, found, i = parsed(caption), [], 0
    while i < len(words):
        relation = _relation_at(words, i)
        if relation and not _bound(words, i, i + len(relation)):
            whole = words[i]._replace(end=words[i + len(relation) - 1].end)
            found += instead(whole, lexicon.RELATIONS[" ".join(relation)])
        i += max(1, len(relation))
    return found


def _relation_at(words: tuple[Word, ...], i: int) -> tuple[str, ...]:
    """The longest relation of the list that begins at this word."""
    for size in range(min(5, len(words) - i), 0, -1):
        texts = tuple(word.text for word in words[i : i + size])
        if texts in _RELATIONS and all(word.role == RELATION for word in words[i : i + size]):
            return texts
    return ()


_RELATIONS = frozenset(tuple(relation.split()) for relation in lexicon.RELATIONS)


def _bound(words: tuple[Word, ...], start: int, end: int) -> bool:
    """Whether the relation belongs to a participle ("filled with", "made by"), to another relation, or governs nothing."""
    before, after = words[start - 1] if start else None, words[end] if end < len(words) else None
    if after is None or after.role not in (DETERMINER, COUNTS, NOUN, DESCRIBES, PRONOUN):
        return True
    if before and before.role == RELATION:
        return True
    governed = next((w.text for w, then in pairwise((*words[end:], _NOTHING)) if w.role == NOUN != then.role), "")
    if words[start].text in ("in", "on") and governed in lexicon.SAYINGS:
        return True
    if not before or before.role != VERB:
        return False
    participle = before.text.endswith("ed") or FORMS.get(before.text, ("", ""))[1] in ("participle", "past")
    return (words[start].text in ("with", "by") and participle) or before.text in lexicon.TAKE_IN


def _runs_and_rest(caption: str) -> Iterator[tuple[Word, ...]]:
    """Noun phrases, and every word outside them for itself ("the ball is red")."""
    runs = phrase_words(caption)
    inside = {word.start for run in runs for word in run}
    yield from runs
    yield from ((word,) for word in parsed(caption) if word.start not in inside and word.text)


# ---- denial, control, WordNet


def _denials(caption: str) -> list[Edits]:
    """The action or the place is denied: "is riding" → "is not riding", "rides" → "does not ride", "on" → "not on"."""
    words, found = parsed(caption), []
    for i, word in enumerate(words):
        around = {each.text for each in words[max(0, i - 1) : i + 3]}
        if not around & {"not", "no", "never", "n't"} and not any(text.endswith("n't") for text in around):
            found += _denied(words, i, word)
    return found or _denied_places(words)


def _denied_places(words: tuple[Word, ...]) -> list[Edits]:
    """Where there is no verb: "a cat not on a mat", "a donut without sprinkles"."""
    if any(word.text in ("not", "no", "without") for word in words):
        return []
    return [
        ((word.start, word.end, "without") if word.text == "with" else (word.start, word.start, "not "),)
        for word in words[1:]
        if word.role == RELATION and word.text in lexicon.RELATIONS
    ][:1]


def _denied(words: tuple[Word, ...], i: int, word: Word) -> list[Edits]:
    before = words[i - 1].role if i else ""
    if word.role == AUXILIARY and word.text in lexicon.DENIABLE:
        there_is = i and words[i - 1].text == "there" and words[i + 1 : i + 2] and words[i + 1].text in ("a", "an")
        if there_is:
            return [((words[i + 1].start, words[i + 1].end, "no"),)]
        return [((word.end, word.end, " not"),)]
    if (
        word.text in ("has", "have")
        and words[i + 1 : i + 2]
        and words[i + 1].role in (DETERMINER, COUNTS, NOUN, DESCRIBES)
    ):
        return [((word.start, word.end, "does not have" if word.text == "has" else "do not have"),)]
    if word.role != VERB or before in (AUXILIARY, RELATION, VERB, CONJUNCTION, ""):
        return []
    base, form = FORMS.get(word.text, ("", ""))
    if form == "s":
        return [((word.start, word.end, f"does not {base}"),)]
    if form == "base" and before == NOUN and not _forms_clash(base, form):
        return [((word.start, word.end, f"do not {base}"),)]
    return [((word.start, word.start, "not "),)] if word.text.endswith(("ing", "ed")) else []


def shuffle_bigrams(caption: str, seed: int) -> Negative | None:
    """Word pairs in another order, the full stop kept: a control that is no language (FSC-CLIP, arXiv 2410.05210, A.1)."""
    check(caption, seed)
    start = len(caption) - len(caption.lstrip())
    end = len(caption.rstrip().rstrip(".").rstrip()) or len(caption.rstrip())
    tokens = moved(caption, start, end).split()
    pairs = [" ".join(tokens[i : i + 2]) for i in range(0, len(tokens), 2)]
    draw = Draw("shuffle_bigrams", int(seed), caption)
    for _ in range(10 if len(set(pairs)) > 1 else 0):
        made = edited(caption, ((start, end, " ".join(draw.shuffled(pairs))),), "shuffle_bigrams", seed)
        if made and _statement(made.text) != _statement(caption):  # "a cat and a dog" would be true
            return made
    return None


def _wordnet_nouns(caption: str) -> list[Edits]:
    """Another noun of the same kind by WordNet, where its data are installed (`wn` or nltk): "a dog" → "a wolf"."""
    siblings = siblings_in_wordnet()
    if siblings is None:
        return []
    found: list[Edits] = []
    for phrase, run in zip(noun_phrases(caption), phrase_words(caption), strict=True):
        noun = run[-1].text
        base = singular(noun) or noun
        for other in siblings(base):
            form = other if base == noun else plural(other)
            if form and form != noun:
                found.append(((*phrase.head, form),))
    return found


# ---- the table of operators

OPERATORS: dict[str, Operator] = {
    "swap_nouns": by_edits("swap_nouns", _noun_swaps, moves=True),
    "swap_attributes": by_edits("swap_attributes", _attribute_swaps, moves=True),
    **{
        name: by_edits(name, options)
        for name, options in (
            ("replace_colour", _colours),
            ("replace_count", _counts),
            ("replace_size", _sizes),
            ("replace_material", _materials),
            ("replace_action", _actions),
            ("replace_relation", _relations),
            ("negate", _denials),
            ("replace_noun_wordnet", _wordnet_nouns),
        )
    },
    "shuffle_bigrams": shuffle_bigrams,
}
swap_nouns, swap_attributes = OPERATORS["swap_nouns"], OPERATORS["swap_attributes"]
replace_colour, replace_count, replace_size = (OPERATORS[f"replace_{kind}"] for kind in ("colour", "count", "size"))
replace_material, replace_action = OPERATORS["replace_material"], OPERATORS["replace_action"]
replace_relation, negate = OPERATORS["replace_relation"], OPERATORS["negate"]
replace_noun_wordnet = OPERATORS["replace_noun_wordnet"]


def available_operators() -> tuple[str, ...]:
    """Names of the operators that can work here: all but `replace_noun_wordnet` where WordNet's data are not installed."""
    return tuple(name for name in OPERATORS if name != "replace_noun_wordnet" or siblings_in_wordnet() is not None)


def chosen_operators(operators: Mapping[str, Operator] | Iterable[str]) -> dict[str, Operator]:
    """Operators by name, from a mapping of your own or from names of `OPERATORS`. Raises ValueError for an unknown name."""
    if isinstance(operators, Mapping):
        chosen = dict(operators)
    else:
        names = [operators] if isinstance(operators, str) else list(operators)
        unknown = [name for name in names if name not in OPERATORS]
        if unknown:
            raise ValueError(f"there is no operator {unknown[0]!r}; there are {', '.join(OPERATORS)}")
        chosen = {name: OPERATORS[name] for name in names}
    if not chosen:
        raise ValueError(f"no operator is given; give some of {', '.join(OPERATORS)}")
    return chosen


def negatives(
    caption: str, operators: Mapping[str, Operator] | Iterable[str] = OPERATORS, *, k: int = 3, seed: int = 0
) -> tuple[Negative, ...]:
    """Up to k different wrong captions by different operators, drawn by the seed; fewer, or none, where no more apply.

    Two texts that say the same, such as "a red cube and a blue ball" from both ends, count as one. Depends on (caption,
    operators, k, seed) alone. The trap: `shuffle_bigrams` applies to nearly every caption and is the
    easiest to tell; leave it out where negatives should be language. Raises TypeError and ValueError for another caption,
    seed, k or operator.
    """
    check(caption, seed)
    if not isinstance(k, int) or k < 1:
        raise ValueError(f"k is {k!r}; give how many negatives to make, from 1")
    chosen = operators if operators is OPERATORS else chosen_operators(operators)
    found: dict[tuple, Negative] = {}
    for name in Draw("negatives", int(seed), caption).shuffled(chosen):
        made = chosen[name](caption, seed)
        if made:
            found.setdefault(_statement(made.text) if parsed(made.text) else (made.text,), made)
        if len(found) == k:
            break
    return tuple(found.values())


@dataclass(frozen=True)
class Applicability(Record):
    """Of n captions, how many each operator can change, and `none`: how many no operator can."""

    n: int
    changed: dict[str, int]
    none: int

    def table(self) -> Table:
        rows = [(name, str(count), f"{100 * count / self.n:.1f}") for name, count in self.changed.items()]
        rows.append(("no operator", str(self.none), f"{100 * self.none / self.n:.1f}"))
        return Table(
            f"Captions that an operator can change, of {self.n}", ("operator", "captions", "percent"), tuple(rows)
        )


def applicability(
    captions: Iterable[str], operators: Mapping[str, Operator] | Iterable[str] = OPERATORS, *, seed: int = 0
) -> Applicability:
    """How many captions each operator can change; those that none can are counted. Raises ValueError for no captions."""
    if isinstance(captions, str):
        raise TypeError(f"captions is one string, {captions!r}; give a list of captions")
    chosen, n, none = chosen_operators(operators), 0, 0
    changed = dict.fromkeys(chosen, 0)
    for caption in captions:
        able = [name for name, operator in chosen.items() if operator(caption, seed)]
        n, none = n + 1, none + (not able)
        for name in able:
            changed[name] += 1
    if not n:
        raise ValueError("there are no captions; give at least one")
    return Applicability(n, changed, none)
