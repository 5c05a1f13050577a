"""Scoring rules that belong to one benchmark each, on plain arrays of scores. Strict everywhere: a tie is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.data.benchmarks.valse import PHENOMENA
from workbench.evaluation.composition import Choice, check_no_nan, choice_accuracy, weighted_mean
from workbench.evaluation.statistics import Interval, as_array, group_codes, percent, share
from workbench.records import Record, Table

PAIRS = (frozenset({"left", "right"}), frozenset({"on", "under"}), frozenset({"in-front", "behind"}))

_CHUNK = 32 << 20  # bytes of draws held at a time


# SugarCrepe++ ----------------------------------------------------------------------------------------------------------


def two_positives(scores: np.ndarray, *, groups=None) -> Choice:
    """How often both true captions beat every false one: scores (n, 2 + K), the two true ones first. Chance 1/3 at K = 1.

    Image-to-text of SugarCrepe++ (arXiv 2406.11171). `groups` as in `choice_accuracy`. Raises ValueError for other shapes
    or NaN.
    """
    scores = _table(scores, 3)
    return choice_accuracy(scores[:, :2].min(1), scores[:, 2:], groups=groups)


def text_only(alike: np.ndarray, different: np.ndarray, *, groups=None) -> Choice:
    """How often two captions that mean the same are nearer to each other than either to the third: cosines alike (n,) of the
    two, different (n, 2) of each with the false one. No picture is looked at; chance 1/3.

    Text-only task of SugarCrepe++. `groups` as in `choice_accuracy`. Raises ValueError for other shapes or NaN.
    """
    if as_array(different).shape[1:] != (2,):
        raise ValueError(
            f"different {as_array(different).shape}; give (n, 2), of both true captions with the false one"
        )
    return choice_accuracy(alike, different, groups=groups)


# ARO -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Macro(Record):
    """`mean` of the accuracies of `groups` {name: (accuracy, n)}, of which every one counts the same; `micro` is over all n
    items of these groups. `small` groups {name: n} were left out."""

    mean: float
    interval: tuple[float, float]
    micro: float
    tie_rate: float
    n: int
    groups: dict[str, tuple[float, int]]
    small: dict[str, int]

    def table(self) -> Table:
        rows = [("all groups", percent(self.mean, self.interval), str(self.n))]
        rows += [(name, f"{100 * accuracy:.2f}", str(n)) for name, (accuracy, n) in self.groups.items()]
        left_out = f"; {len(self.small)} groups are too small" if self.small else ""
        return Table(
            f"Accuracy averaged over groups, percent{left_out}", ("group", "accuracy [95 %]", "n"), tuple(rows)
        )


def macro_over_groups(
    scores: np.ndarray, groups: Sequence[str], *, least: int = 1, pictures=None, seed: int = 0
) -> Macro:
    """Accuracy by group, then their mean: scores (n, 1 + K), the true caption first, and a group for each item.

    ARO's headline (arXiv 2210.01936); its attributes need `least` = 25 items. The interval is a bootstrap over items or,
    where `pictures` (n,) name what each item is asked of, over pictures. The trap: the mean over items, `micro`, is another
    number. Raises ValueError for other shapes, NaN, groups that are no strings, or where every group is too small.
    """
    scores = _table(scores, 2)
    if len(groups) != len(scores):
        raise ValueError(f"{len(groups)} groups for {len(scores)} items; give one each")
    if odd := [group for group in groups if not isinstance(group, str)]:
        raise ValueError(f"the group {odd[0]!r} is no string; name a group for each item")
    sizes = Counter(groups)
    kept = np.array([sizes[group] >= least for group in groups])
    if not kept.any():
        raise ValueError(f"none of {len(sizes)} groups has {least} items (the largest: {max(sizes.values())})")
    scores = scores[kept]
    known, at = np.unique(np.array(groups)[kept], return_inverse=True)
    drawn = np.arange(len(at)) if pictures is None else group_codes(pictures, len(kept))[kept]
    best = scores[:, 1:].max(1)
    right = scores[:, 0] > best
    n, hits = np.bincount(at, minlength=len(known)), np.bincount(at, weights=right, minlength=len(known))
    found = {str(name): (float(hits[i] / n[i]), int(n[i])) for i, name in enumerate(known)}
    return Macro(
        float((hits / n).mean()),
        _macro_interval(right, at, drawn, seed),
        float(right.mean()),
        float((scores[:, 0] == best).mean()),
        len(scores),
        found,
        {name: size for name, size in sizes.items() if size < least},
    )


def _macro_interval(
    right: np.ndarray, at: np.ndarray, drawn: np.ndarray, seed: int, resamples: int = 2000
) -> tuple[float, float]:
    """Of items right (n,) in groups at (n,), where what `drawn` (n,) says is drawn whole; a group that gets none counts not."""
    from scipy.sparse import csr_array

    rng, unit = np.random.default_rng(seed), np.unique(drawn, return_inverse=True)[1]
    shape = (int(unit.max()) + 1, int(at.max()) + 1)
    n, hits = (csr_array((values, (unit, at)), shape) for values in (np.ones(len(at)), right.astype(float)))
    means, chunk = [], max(1, _CHUNK // (16 * max(shape)))
    for start in range(0, resamples, chunk):
        times = rng.multinomial(shape[0], np.full(shape[0], 1 / shape[0]), size=min(chunk, resamples - start))
        total = times @ n
        share = np.divide(times @ hits, total, out=np.full(total.shape, np.nan), where=total > 0)
        means.append(np.nanmean(share, axis=1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)


# What'sUp --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sets(Record):
    """Accuracy over items, over pairs of opposite relations of the same two things, and over whole sets of four; pairs and
    sets of which an item is missing do not count and are `incomplete`."""

    individual: Choice
    pair: Interval | None
    whole: Interval | None
    incomplete: int

    def table(self) -> Table:
        rows = [("individual", *self.individual.table().rows[0])]
        for name, found in (("pair", self.pair), ("set of four", self.whole)):
            if found is not None:
                rows.append((name, found.percent(), "", str(found.n)))
        missing = f"; {self.incomplete} pairs or sets are incomplete" if self.incomplete else ""
        return Table(f"Accuracy, percent{missing}", ("what", "accuracy [95 %]", "ties", "n"), tuple(rows))


def set_accuracy(scores: np.ndarray, things: Sequence[str], relations: Sequence[str]) -> Sets:
    """Scores (n, 1 + K), the true caption first; what things an item shows and in which relation of PAIRS.

    What'sUp (arXiv 2310.19785): a pair is right where both of left and right (or on and under, or in front and behind) are;
    a set where all four are. Chance with four options: 1/4, 1/16, 1/256. Raises ValueError for other shapes, NaN, an unknown
    relation, or one that comes twice for the same things.
    """
    scores = _table(scores, 2)
    if not len(scores) == len(things) == len(relations):
        raise ValueError(f"{len(scores)} items, {len(things)} things, {len(relations)} relations; give one each")
    individual = choice_accuracy(scores[:, 0], scores[:, 1:])
    sets: dict[str, dict[str, bool]] = {}
    for these, relation, right in zip(things, relations, scores[:, 0] > scores[:, 1:].max(1), strict=True):
        if not any(relation in pair for pair in PAIRS) or relation in sets.setdefault(these, {}):
            known = ", ".join(sorted(frozenset().union(*PAIRS)))
            raise ValueError(f"the relation {relation!r} of {these!r} is unknown or comes twice; known are {known}")
        sets[these][relation] = bool(right)
    begun = [(found, pair) for found in sets.values() for pair in PAIRS if pair & found.keys()]
    pairs = [all(found[one] for one in pair) for found, pair in begun if pair <= found.keys()]
    wholes = [all(found.values()) for found in sets.values() if len(found) == 4]
    incomplete = len(begun) - len(pairs) + len(sets) - len(wholes)
    return Sets(individual, _share(pairs), _share(wholes), incomplete)


def _share(right: list[bool]) -> Interval | None:
    return share(np.array(right, dtype=float)) if right else None


# ImageCoDe -------------------------------------------------------------------------------------------------------------


def picture_choice(scores: np.ndarray, targets: Sequence[int], *, groups=None) -> Choice:
    """How often the picture that a text means scores above all others: scores (n, P), targets (n,) in 0 … P - 1.

    ImageCoDe (arXiv 2203.15867) has P = 10, chance 1/10. `groups` as in `choice_accuracy`. Raises ValueError for other
    shapes, a target that is none of the pictures, or NaN.
    """
    scores, targets = _table(scores, 2), np.asarray(targets)
    whole = targets.shape == (len(scores),) and targets.dtype.kind in "iu"
    if not whole or not ((targets >= 0) & (targets < scores.shape[1])).all():
        raise ValueError(
            f"targets {targets.shape} of type {targets.dtype} for {len(scores)} texts; give each the place of its picture, 0 to "
            f"{scores.shape[1] - 1}"
        )
    others = np.ones(scores.shape, dtype=bool)
    others[np.arange(len(scores)), targets] = False
    return choice_accuracy(scores[~others], scores[others].reshape(len(scores), -1), groups=groups)


# Means over subsets -----------------------------------------------------------------------------------------------------


def mean_of_subsets(subsets: Mapping[str, Choice]) -> Interval:
    """Unweighted mean of the subsets' accuracies; its interval is over items in each. Raises ValueError for no subset."""
    if not subsets:
        raise ValueError("there is no subset to average; give choices by name")
    return weighted_mean(list(subsets.values()), np.full(len(subsets), 1 / len(subsets)))


def valse_mean(subsets: Mapping[str, Choice]) -> Interval:
    """Mean over VALSE's seven phenomena, each the mean of its files, from choices by file.

    As vl_compo averages it for published comparisons (arXiv 2410.05210); the mean over files is another number. Raises
    ValueError where a file is missing.
    """
    weights = {file: 1 / len(files) / len(PHENOMENA) for files in PHENOMENA.values() for file in files}
    if lacking := [file for file in weights if file not in subsets]:
        raise ValueError(f"VALSE's mean needs all of its files; {', '.join(lacking)} is missing")
    return weighted_mean([subsets[file] for file in weights], np.array(list(weights.values())))


def _table(scores: np.ndarray, least: int) -> np.ndarray:
    scores = as_array(scores)
    if scores.ndim != 2 or not len(scores) or scores.shape[1] < least:
        raise ValueError(f"scores {scores.shape}; give (n, K) with n ≥ 1 and K ≥ {least}")
    check_no_nan(scores)
    return scores
