"""How each kind of benchmark is scored: cosines of its items in, measures by name out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from workbench.benchmark.choices import by_subset, pictures_of
from workbench.benchmark.encoded import Encoded, samples_of
from workbench.benchmark.scores import Measure
from workbench.data.benchmarks import Benchmark, Captioned, Item, PictureChoice, Quad
from workbench.evaluation import benchmarks as rules
from workbench.evaluation.composition import Choice, choice_accuracy, group_scores, levelled, sugarcrepe_averages
from workbench.evaluation.retrieval import recalls
from workbench.evaluation.statistics import Interval

KS = (1, 5, 10)  # of R@k
Found = tuple[dict[str, Measure], tuple[str, ...], np.ndarray | None]


def _measure(choice: Choice, chance: float) -> Measure:
    return Measure(choice.accuracy, choice.n, choice.interval, chance, choice.tie_rate)


def _share(share: Interval, chance: float) -> Measure:
    return Measure(share.mean, share.n, (share.low, share.high), chance)


def _chance(items: Sequence[Item]) -> float:
    return float(np.mean([1 / (1 + len(set(item.negatives))) for item in items]))


def _choice(encoded: Encoded, benchmark: Benchmark) -> Found:
    items = encoded.whole
    scores = encoded.options(items)
    subsets = by_subset(items, scores)
    measures = {
        name: _measure(choice, _chance([item for item in items if item.subset == name]))
        for name, choice in subsets.items()
    }
    if len(subsets) > 1:
        measures |= _means(benchmark.name, subsets, _chance(items))
        measures["all items"] = _measure(_every(items, scores), _chance(items))
    return measures, (), scores


def _every(items: Sequence[Item], scores: np.ndarray) -> Choice:
    return choice_accuracy(scores[:, 0], scores[:, 1:], groups=pictures_of(items))


def _means(name: str, subsets: Mapping[str, Choice], chance: float) -> dict[str, Measure]:
    """The averages that are published of a benchmark's subsets: they are different numbers."""
    means = {"mean of subsets": _share(rules.mean_of_subsets(subsets), chance)}
    if name == "sugarcrepe" and len(subsets) == 7:
        found = sugarcrepe_averages(subsets)
        for way, kind in (("items", "groups_micro"), ("subsets", "groups_macro")):
            value, interval = getattr(found, kind), found.intervals[kind]
            means[f"mean of add, replace, swap over {way}"] = Measure(value, found.n, interval, chance)
    if name == "valse" and len(subsets) == 11:
        means["mean of seven phenomena"] = _share(rules.valse_mean(subsets), chance)
    return means


def _two_positives(encoded: Encoded, benchmark: Benchmark) -> Found:
    items = encoded.whole
    scores, between = encoded.options(items), _between_texts(encoded, items)
    measures, pictures = {}, pictures_of(items)
    for name, of in _parts(items):
        to_text = rules.two_positives(scores[of], groups=pictures[of])
        alone = rules.text_only(between[of, 0], between[of, 1:], groups=pictures[of])
        measures |= {f"image to text, {name}": _measure(to_text, 1 / 3), f"text only, {name}": _measure(alone, 1 / 3)}
    return measures, (), scores


def _between_texts(encoded: Encoded, items: Sequence[Item]) -> np.ndarray:
    """Cosines (n, 3): the two true captions with each other, then each with the false one."""
    first, second, false = (encoded.text(item.texts[k] for item in items) for k in range(3))
    return levelled(np.stack([(first * second).sum(1), (first * false).sum(1), (second * false).sum(1)], axis=1))


def _parts(items: Sequence) -> list[tuple[str, np.ndarray]]:
    """Every subset with the mask of its items; then all of them where there are several."""
    subsets = np.array([item.subset for item in items])
    names = list(dict.fromkeys(item.subset for item in items))
    parts = [(name, subsets == name) for name in names if name]
    return [*parts, ("all items", np.ones(len(items), bool))] if len(names) != 1 or not parts else parts


def _groups(encoded: Encoded, benchmark: Benchmark) -> Found:
    items = encoded.whole
    scores = encoded.options(items)
    groups, pictures = [item.group for item in items], pictures_of(items)
    found = rules.macro_over_groups(scores, groups, least=benchmark.least_group, pictures=pictures)
    chance = _chance(items)
    measures = {
        f"mean of {len(found.groups)} groups": Measure(found.mean, found.n, found.interval, chance, found.tie_rate),
        "all items": _measure(_every(items, scores), chance),
    }
    small = f"{len(found.small)} groups of fewer than {benchmark.least_group} items ({sum(found.small.values())}) do not count"
    return measures, (small,) if found.small else (), scores


def _sets(encoded: Encoded, benchmark: Benchmark) -> Found:
    items = encoded.whole
    scores = encoded.options(items)
    found = rules.set_accuracy(scores, [item.group for item in items], [item.subset for item in items])
    chance = _chance(items)
    measures = {"individual": _measure(found.individual, chance)}
    measures |= {"pair": _share(found.pair, chance**2)} if found.pair else {}
    measures |= {"set of four": _share(found.whole, chance**4)} if found.whole else {}
    notes = (f"{found.incomplete} pairs or sets lack an item and do not count",) if found.incomplete else ()
    return measures, notes, scores


def _pictures(encoded: Encoded, benchmark: Benchmark) -> Found:
    items: list[PictureChoice] = encoded.whole
    scores, targets = encoded.grid(items)[:, :, 0], np.array([item.target for item in items])
    pictures = pictures_of(items)
    found = {name: rules.picture_choice(scores[of], targets[of], groups=pictures[of]) for name, of in _parts(items)}
    return {name: _measure(choice, 1 / scores.shape[1]) for name, choice in found.items()}, (), scores


def _quads(encoded: Encoded, benchmark: Benchmark) -> Found:
    items: list[Quad] = encoded.whole
    scores = encoded.grid(items)
    measures = {}
    for part, of in _parts(items):
        found = group_scores(scores[of])
        for name, chance in found.chance.items():
            told = f"{name.replace('_', ' ')}, {part}"
            measures[told] = Measure(
                getattr(found, name), found.n, found.intervals[name], chance, found.tie_rates[name]
            )
    return measures, ("image to text is Winoground's text score, text to image its image score",), scores


def _retrieval(encoded: Encoded, benchmark: Benchmark) -> Found:
    items: list[Captioned] = encoded.whole
    image = torch.from_numpy(encoded.image(samples_of(item)[0] for item in items))
    text = torch.from_numpy(encoded.text(each for item in items for each in item.texts))
    owners = np.repeat(np.arange(len(items)), [len(item.texts) for item in items])
    captions = np.split(np.arange(len(owners)), np.flatnonzero(np.diff(owners)) + 1)
    measures = _recalls("image to text", image, text, captions, None)
    measures |= _recalls("text to image", text, image, owners, owners)
    return measures, (f"galleries: {len(text):,} captions, {len(image):,} pictures",), None


def _recalls(name: str, queries, gallery, positives, groups) -> dict[str, Measure]:
    """R@k for the k below the size of the gallery; captions of one picture are resampled together."""
    if len(gallery) < 2:
        raise ValueError(f"{name}: a gallery of {len(gallery)} leaves nothing to find; give two pictures or more")
    ks = [k for k in KS if k < len(gallery)]
    found = recalls(queries, gallery, positives, ks, groups=groups)
    return {f"{name} R@{k}": _share(found.at[k], found.chance[k]) for k in ks}


RULES = {
    "choice": _choice,
    "two positives": _two_positives,
    "groups": _groups,
    "sets": _sets,
    "pictures": _pictures,
    "quads": _quads,
    "retrieval": _retrieval,
}
