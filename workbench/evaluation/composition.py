"""Can a model tell a true caption from a hard negative? Strictly: a tie is wrong, so a constant scorer scores nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from workbench.evaluation.ranking import ROUNDING
from workbench.evaluation.statistics import Interval, as_array, percent, share
from workbench.records import Record, Table


@dataclass(frozen=True)
class Choice(Record):
    """`accuracy` of n choices (a fraction), `tie_rate` of those where the best negative ties, 95 % `interval` over items."""

    accuracy: float
    tie_rate: float
    n: int
    interval: tuple[float, float]

    def table(self) -> Table:
        cells = (percent(self.accuracy, self.interval), f"{100 * self.tie_rate:.2f}", str(self.n))
        return Table("Choice accuracy, percent", ("accuracy [95 %]", "ties", "n"), (cells,))


@dataclass(frozen=True)
class Groups(Record):
    """Four scores of n quads, as fractions: two pictures with two captions each, all judged by strict comparisons.

    `image_to_text`: each picture prefers its own caption; `text_to_image`: each caption its own picture; `group`: both.
    `interaction_sign`: the two right pairs together score above the two wrong ones, s00 + s11 > s01 + s10. `intervals` are
    95 % over quads; `tie_rates` say how often only a tie kept a quad from being right.
    """

    image_to_text: float
    text_to_image: float
    group: float
    interaction_sign: float
    n: int
    intervals: dict[str, tuple[float, float]]
    tie_rates: dict[str, float]

    # what independent random scores earn: of 24 orders of four scores, 6, 6, 4 and 12 are right
    chance: ClassVar[dict[str, float]] = {
        "image_to_text": 1 / 4,
        "text_to_image": 1 / 4,
        "group": 1 / 6,
        "interaction_sign": 1 / 2,
    }

    def interval(self, score: str = "group") -> Interval:
        """One score with its interval and n. Raises ValueError for a score that is none of the four."""
        if score not in self.chance:
            raise ValueError(f"no score {score!r}; there are {', '.join(self.chance)}")
        return Interval(getattr(self, score), *self.intervals[score], self.n)

    def table(self) -> Table:
        rows = [
            (
                name.replace("_", " "),
                percent(getattr(self, name), self.intervals[name]),
                f"{100 * self.tie_rates[name]:.2f}",
                f"{100 * chance:.1f}",
            )
            for name, chance in self.chance.items()
        ]
        header = ("score", "[95 %]", "ties", "chance")
        return Table(f"Pictures and captions in quads, percent: {self.n} quads", header, tuple(rows))


@dataclass(frozen=True)
class SugarCrepeAverages(Record):
    """The averages of SugarCrepe's seven subsets that circulate under one name, as fractions with 95 % intervals.

    `micro`: over items, as the benchmark's authors print it (arXiv 2306.14610, Table 5). `macro`: unweighted over the
    seven subsets, as the authors of BiVLC do (arXiv 2406.09952) and those of late local matching (arXiv 2604.11496).
    `groups_micro`: over items inside add, replace and swap, the three then unweighted, as vl_compo and FSC-CLIP do (arXiv
    2410.05210). `groups_macro`: unweighted inside the three and over them; VladVA (arXiv 2412.04378) prints the three,
    here in `groups`. They differ by points: never put one beside another.
    """

    micro: float
    macro: float
    groups_micro: float
    groups_macro: float
    groups: dict[str, float]
    n: int
    intervals: dict[str, tuple[float, float]]

    def table(self) -> Table:
        names = {
            "micro": "over items (SugarCrepe)",
            "macro": "over seven subsets (BiVLC)",
            "groups_micro": "over items in add, replace, swap; then over the three (vl_compo)",
            "groups_macro": "over subsets in add, replace, swap; then over the three",
        }
        rows = [(told, percent(getattr(self, name), self.intervals[name])) for name, told in names.items()]
        rows += [(f"{name} over its subsets (VladVA)", f"{100 * value:.2f}") for name, value in self.groups.items()]
        return Table(f"SugarCrepe's averages, percent: {self.n} items", ("average", "[95 %]"), tuple(rows))


SUGARCREPE_GROUPS = {
    "add": ("add_att", "add_obj"),
    "replace": ("replace_att", "replace_obj", "replace_rel"),
    "swap": ("swap_att", "swap_obj"),
}
"""SugarCrepe's groups and their subsets."""


def levelled(scores: np.ndarray, within: float = ROUNDING) -> np.ndarray:
    """Cosines of n items (n, …) with those of an item that differ by rounding alone made equal, so that they tie.

    The features of the same words in another order are sums of the same numbers in another order: equal but for the last
    bits, and strict > would take those bits for knowledge. `within` is four times the spacing of float32 at 1, as in
    `retrieval_ranks`. Raises ValueError for NaN.
    """
    scores = as_array(scores)
    check_no_nan(scores)
    flat = scores.reshape(len(scores), -1)
    order = np.argsort(flat, axis=1, kind="stable")
    ascending = np.take_along_axis(flat, order, axis=1)
    # each score takes the place of the first of its run of close ones
    starts = np.diff(ascending, axis=1, prepend=-np.inf) > within
    first = np.maximum.accumulate(np.where(starts, np.arange(flat.shape[1]), 0), axis=1)
    level = np.empty_like(flat)
    np.put_along_axis(level, order, np.take_along_axis(ascending, first, axis=1), axis=1)
    return level.reshape(scores.shape)


def check_no_nan(*scores: np.ndarray) -> None:
    """A comparison with NaN is false whatever stands on the other side: a broken feature would pass for a wrong answer."""
    if any(np.isnan(each).any() for each in scores):
        raise ValueError("a score is NaN; look at the features it came from")


def choice_accuracy(positive: np.ndarray, negatives: np.ndarray, *, groups=None, seed: int = 0) -> Choice:
    """Fraction of items whose true caption scores above every negative: positive (n,), negatives (n, K).

    Strict >, as SugarCrepe defines it (arXiv 2306.14610). The trap: take both scores from the same product, or rounding
    decides ties. `groups` (n,) names what items have in common, such as their picture: the bootstrap draws whole groups
    then. Raises ValueError for no items, other shapes, or NaN.
    """
    positive, negatives = as_array(positive), as_array(negatives)
    if positive.ndim != 1 or not len(positive) or negatives.ndim != 2 or len(negatives) != len(positive):
        raise ValueError(f"positive {positive.shape}, negatives {negatives.shape}; give (n,) and (n, K) with n ≥ 1")
    if not negatives.shape[1]:
        raise ValueError("there is no negative to choose against; give K ≥ 1 columns")
    check_no_nan(positive, negatives)
    best = negatives.max(1)
    right = (positive > best).astype(float)
    found = share(right, groups=groups, seed=seed)
    return Choice(found.mean, float((positive == best).mean()), found.n, (found.low, found.high))


def group_scores(scores: np.ndarray, *, seed: int = 0) -> Groups:
    """Scores of quads (n, 2, 2), scores[item, image, text] with the right pairs on the diagonal, in four ways.

    Winoground's text, image and group score (arXiv 2204.03162, eq. 1-3) and the sign of the interaction, in which all that
    a picture or a caption scores on its own cancels: additive scores (picture + caption) earn nothing in the first three,
    however much the model knows, so a group score near 0 is no proof of ignorance. The trap: the sign alone is GroupMatch
    of Test-Time Matching (arXiv 2510.07632), chance 50 %, and is not comparable with a group score, chance 16.7 %. Its sums
    tie within four ulps of float32 of the largest score, or rounding would give purely additive scores a sign. Raises
    ValueError for no items, another shape, NaN or +inf (-inf rules a pair out).
    """
    scores = as_array(scores)
    if scores.ndim != 3 or scores.shape[1:] != (2, 2) or not len(scores):
        raise ValueError(f"scores of shape {scores.shape}; give (n, 2, 2), item by image by text, with n ≥ 1")
    if (np.isnan(scores) | np.isposinf(scores)).any():
        raise ValueError("scores hold NaN or +inf; a model gave a broken feature, check its inputs")
    gaps = _gaps(scores)
    right = {name: (gap > 0).all(1).astype(float) for name, gap in gaps.items()}
    found = {name: share(values, seed=seed) for name, values in right.items()}
    tied = {name: float(((gap >= 0).all(1) & (gap == 0).any(1)).mean()) for name, gap in gaps.items()}
    means = {name: interval.mean for name, interval in found.items()}
    return Groups(**means, n=len(scores), intervals={k: (i.low, i.high) for k, i in found.items()}, tie_rates=tied)


def sugarcrepe_averages(subsets: Mapping[str, Choice]) -> SugarCrepeAverages:
    """SugarCrepe's averages from the choices of its seven subsets (names as in `SUGARCREPE_GROUPS`) and their intervals.

    Raises ValueError where a subset is missing or is none of the seven.
    """
    names = [name for group in SUGARCREPE_GROUPS.values() for name in group]
    if set(subsets) != set(names):
        raise ValueError(f"subsets {sorted(subsets)}; give all seven: {', '.join(names)}")
    every = [subsets[name] for name in names]
    weights = _weights(names, np.array([each.n for each in every]))
    found = {name: weighted_mean(every, each) for name, each in weights.items()}
    means = {name: each.mean for name, each in found.items()}
    intervals = {name: (each.low, each.high) for name, each in found.items()}
    groups = {
        group: float(np.mean([subsets[name].accuracy for name in its])) for group, its in SUGARCREPE_GROUPS.items()
    }
    return SugarCrepeAverages(**means, groups=groups, n=sum(each.n for each in every), intervals=intervals)


def weighted_mean(choices: Sequence[Choice], weights: np.ndarray) -> Interval:
    """Mean of accuracies by weights that add up to 1. Its interval squares and adds what each choice's own interval leaves
    on either side (Zou and Donner, 2008), so items that share a picture count there as they did; choices are taken to be
    independent of each other."""
    accuracy, low, high = np.array([(each.accuracy, *each.interval) for each in choices]).T
    mean = accuracy @ weights
    below, above = (float(np.linalg.norm(weights * part)) for part in (accuracy - low, high - accuracy))
    return Interval(float(mean), float(mean) - below, float(mean) + above, sum(each.n for each in choices))


def _gaps(scores: np.ndarray) -> dict[str, np.ndarray]:
    """By how much each comparison of a score is won: (n, comparisons)."""
    (s00, s01), (s10, s11) = scores[:, 0].T, scores[:, 1].T
    to_text = np.stack([_gap(s00, s01), _gap(s11, s10)], 1)
    to_image = np.stack([_gap(s00, s10), _gap(s11, s01)], 1)
    return {
        "image_to_text": to_text,
        "text_to_image": to_image,
        "group": np.concatenate([to_text, to_image], 1),
        "interaction_sign": _gap(s00 + s11, s01 + s10, _rounding(scores))[:, None],
    }


def _gap(a: np.ndarray, b: np.ndarray, tie: np.ndarray | float = 0.0) -> np.ndarray:
    """-1, 0 or 1: a difference would make NaN of two infinite scores."""
    return (a > b + tie).astype(int) - (a < b - tie)


def _rounding(scores: np.ndarray) -> np.ndarray:
    """What sums of the scores of a quad (n, 2, 2) may be off: ROUNDING is four ulps of float32 at 1."""
    return ROUNDING * np.abs(scores).max((1, 2), where=np.isfinite(scores), initial=0.0)


def _weights(names: list[str], n: np.ndarray) -> dict[str, np.ndarray]:
    """What each subset weighs in each average."""
    groups = np.array([[name in its for name in names] for its in SUGARCREPE_GROUPS.values()], dtype=float)
    return {
        "micro": n / n.sum(),
        "macro": np.full(len(names), 1 / len(names)),
        "groups_micro": (groups * n / (groups * n).sum(1, keepdims=True)).mean(0),
        "groups_macro": (groups / groups.sum(1, keepdims=True)).mean(0),
    }
