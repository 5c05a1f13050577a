"""How far hard negatives give themselves away: what a classifier that sees no picture gets right, operator by operator.

SugarCrepe (arXiv 2306.14610) found rule-made sets that a blind model solves better than CLIP does. So before a number on
such a set is believed, its blind score is looked at: at 0.5 a pair says nothing without its picture, near 1 it says all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral

import numpy as np

from workbench.data.negatives import OPERATORS, Operator, chosen_operators
from workbench.evaluation.composition import Choice, choice_accuracy
from workbench.evaluation.statistics import percent
from workbench.records import Record, Table


@dataclass(frozen=True)
class BlindScores(Record):
    """By operator, the choice accuracy of a text-only classifier; None where too few captions could be changed.

    `changed` says how many of the `n` different captions each operator could change; `seed` drew negatives and folds.
    """

    n: int
    changed: dict[str, int]
    scores: dict[str, Choice | None]
    folds: int
    seed: int

    def table(self) -> Table:
        rows = [(name, str(self.changed[name]), *_cells(score)) for name, score in self.scores.items()]
        caption = f"Blind classifier, {self.n} captions, {self.folds} folds, seed {self.seed}; percent, chance 50"
        return Table(caption, ("operator", "n", "accuracy [95 %]", "ties"), tuple(rows))


def _cells(score: Choice | None) -> tuple[str, str]:
    if score is None:
        return "too few", "-"
    return percent(score.accuracy, score.interval, digits=1), f"{100 * score.tie_rate:.1f}"


def blind_scores(
    captions: Iterable[str],
    operators: Mapping[str, Operator] | Iterable[str] = OPERATORS,
    *,
    seed: int = 0,
    folds: int = 5,
) -> BlindScores:
    """How often logistic regression on 1–2-grams of words scores a caption above its negative, without any picture.

    One negative per caption and operator; both sides of a pair are always in the same fold, and equal captions count once.
    Strictly above, as `choice_accuracy`: a pair whose n-grams are the same is a tie and counts as wrong. The trap: with few
    captions a low score says little, and a stronger language model may still tell. Raises ValueError for no captions, fewer
    than two folds, a seed below 0 or an unknown operator, TypeError for a bare string or a seed that is no whole number.
    """
    if isinstance(captions, str):
        raise TypeError(f"captions is one string, {captions!r}; give a list of captions")
    if not isinstance(folds, int) or folds < 2:
        raise ValueError(f"folds is {folds!r}; give a whole number from 2, such as 5")
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise TypeError(f"seed is {seed!r}; give a whole number from 0")
    if seed < 0:
        raise ValueError(f"seed is {seed}; give a whole number from 0")
    chosen, different = chosen_operators(operators), _different(captions)
    if not different:
        raise ValueError("there are no captions; give at least one")
    pairs = {name: _pairs(different, operator, seed) for name, operator in chosen.items()}
    scores = {name: _score(found, folds, seed) if len(found) >= 2 * folds else None for name, found in pairs.items()}
    return BlindScores(len(different), {name: len(found) for name, found in pairs.items()}, scores, folds, seed)


def _different(captions: Iterable[str]) -> list[str]:
    """Each caption once, case and spaces ignored."""
    found: dict[str, str] = {}
    for caption in captions:
        found.setdefault(" ".join(caption.casefold().split()), caption)
    return list(found.values())


def _pairs(captions: list[str], operator: Operator, seed: int) -> list[tuple[str, str]]:
    made = ((caption, operator(caption, seed)) for caption in captions)
    return [(caption, negative.text) for caption, negative in made if negative]


def _score(pairs: list[tuple[str, str]], folds: int, seed: int) -> Choice:
    fold = np.random.default_rng(seed).permutation(len(pairs)) % folds
    true, false = np.zeros(len(pairs)), np.zeros(len(pairs))
    for k in range(folds):
        inside = np.flatnonzero(fold == k)
        classifier = _fitted([pairs[i] for i in np.flatnonzero(fold != k)])
        true[inside] = classifier.decision_function([pairs[i][0] for i in inside])
        false[inside] = classifier.decision_function([pairs[i][1] for i in inside])
    return choice_accuracy(true, false[:, None], seed=seed)


def _fitted(pairs: list[tuple[str, str]]):
    """Log-odds that a text is a true caption; they order texts as probabilities do, and do not round to 1."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts, labels = zip(*((text, side == 0) for pair in pairs for side, text in enumerate(pair)), strict=True)
    grams = CountVectorizer(ngram_range=(1, 2), token_pattern=r"\b\w+\b", binary=True, dtype=np.float64)
    return make_pipeline(grams, LogisticRegression(max_iter=1000)).fit(texts, labels)
