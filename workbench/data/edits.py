"""A wrong caption from a right one by edits of its text, and the numbers that a seed draws."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Integral

from workbench.data.grammar import Word
from workbench.data.inflection import article


@dataclass(frozen=True)
class Negative:
    """A wrong caption. `text[span]` is what stands where `caption[original_span]` stood; before and after, both are equal.

    Where two places changed, the span runs from the first to the last. It takes in an article that had to follow ("a red" →
    "an orange") and may be empty on one side where a word was put in or left out.
    """

    text: str
    operator: str
    span: tuple[int, int]
    original_span: tuple[int, int]
    seed: int


Operator = Callable[[str, int], Negative | None]
_Edit = tuple[int, int, str]  # caption[start:end] becomes the text
Edits = tuple[_Edit, ...]


class Draw:
    """Numbers that follow from the operator, the caption and the seed alone. Not `random`: its draws may change with Python,
    and seeding it costs more than a whole operator."""

    def __init__(self, *parts: object):
        self._key = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
        self._round, self._pool, self._size = 0, 0, 1

    def below(self, n: int) -> int:
        """A number from 0 to n - 1."""
        if self._size < n << 32:  # so much is left that the remainder's bias is below 2**-32
            digest = hashlib.blake2b(self._key, digest_size=64, salt=self._round.to_bytes(8, "big")).digest()
            self._round, self._pool, self._size = self._round + 1, int.from_bytes(digest, "big"), 1 << 512
        self._pool, drawn = divmod(self._pool, n)
        self._size //= n
        return drawn

    def shuffled(self, items: Iterable) -> list:
        """The items in an order that is drawn."""
        left = list(items)
        return [left.pop(self.below(len(left))) for _ in range(len(left))]


def by_edits(name: str, options: Callable[[str], list[Edits]], *, moves: bool = False) -> Operator:
    """The operator that makes one of the options, drawn by the seed; the next one where that changes nothing.

    New words take the capitals of those they replace. With `moves` they are the caption's own and keep theirs ("a TV").
    """

    def operator(caption: str, seed: int) -> Negative | None:
        check(caption, seed)
        draw, left = Draw(name, int(seed), caption), list(options(caption))
        while left:
            edits = left.pop(draw.below(len(left)))
            fitting = edits if moves else tuple(_in_capitals(caption, edit) for edit in edits)
            made = edited(caption, fitting, name, seed)
            if made:
                return made
        return None

    operator.__name__ = operator.__qualname__ = name
    operator.__doc__ = options.__doc__
    return operator


def edited(caption: str, edits: Edits, name: str, seed: int) -> Negative | None:
    """The caption with the edits made, articles and the first capital seen to; None where that is the caption again."""
    edits = tuple(_with_capital(caption, _with_article(caption, edit)) for edit in sorted(edits))
    pieces, last = [], 0
    for start, end, text in edits:
        pieces += [caption[last:start], text]
        last = end
    text = "".join([*pieces, caption[last:]])
    if same(text, caption):
        return None
    start, end = edits[0][0], edits[-1][1]
    return Negative(text, name, (start, end + len(text) - len(caption)), (start, end), int(seed))


def _with_article(caption: str, edit: _Edit) -> _Edit:
    """Takes in an "a" or "an" before the edit where the new word asks for the other."""
    start, end, text = edit
    before = caption[:start].rstrip()
    word = before.rpartition(" ")[2]
    if word.lower() not in ("a", "an") or len(before) == start or not text:
        return edit
    right = article(text)
    if right == word.lower():
        return edit
    place = len(before) - len(word), len(before)
    return place[0], end, _in_capitals(caption, (*place, right))[2] + caption[len(before) : start] + text


def _in_capitals(caption: str, edit: _Edit) -> _Edit:
    """RED → YELLOW, Red → Yellow; where the old text is one letter or none, and for further words, the caption decides."""
    start, end, text = edit
    old = caption[start:end]
    if (old if len(old) > 1 else caption).isupper():
        return start, end, text.upper()
    if _titled(caption):
        return start, end, " ".join(word[:1].upper() + word[1:] for word in text.split(" "))
    return (start, end, text[:1].upper() + text[1:]) if old[:1].isupper() else edit


def _titled(caption: str) -> bool:
    """Whether it is Written Like This, or in capitals: a word in the middle begins as the first does."""
    return not any(word[0].islower() for word in caption.split())


def _with_capital(caption: str, edit: _Edit) -> _Edit:
    """A caption that began with a capital begins with one."""
    start, end, text = edit
    first = start == len(caption) - len(caption.lstrip()) and caption[start : start + 1].isupper()
    return (start, end, text[:1].upper() + text[1:]) if first else edit


def same(text: str, caption: str) -> bool:
    """Whether two texts differ in case and spaces at most."""
    return " ".join(text.casefold().split()) == " ".join(caption.casefold().split())


def moved(caption: str, start: int, end: int) -> str:
    """The text as it reads elsewhere: the capital of the caption's first word stays behind."""
    text = caption[start:end]
    if caption[:start].strip() or _titled(caption):
        return text
    word = text.split(maxsplit=1)[0] if text.strip() else ""
    plain = word == "A" or word[1:].islower()  # a name of capitals ("TV", "I") keeps them
    return text[:1].lower() + text[1:] if plain else text


def exchange(caption: str, one: tuple[int, int], other: tuple[int, int]) -> Edits:
    """Two places of the caption with their texts exchanged."""
    return (*one, moved(caption, *other)), (*other, moved(caption, *one))


def instead(word: Word, others: Iterable[str]) -> list[Edits]:
    """The word replaced by each of the others."""
    return [((word.start, word.end, other),) for other in others]


def check(caption: str, seed: int) -> None:
    """Raises TypeError for no text or no whole number, ValueError for an empty caption."""
    if not isinstance(caption, str):
        raise TypeError(f"a caption is a string, not {type(caption).__name__} {caption!r}")
    if not caption.strip():
        raise ValueError("the caption is empty; give at least one word")
    if not isinstance(seed, Integral) or isinstance(seed, bool):
        raise TypeError(f"seed is {seed!r}; give a whole number")
