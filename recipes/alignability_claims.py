"""The ledger of alignment probing: what SAIL says of its own points and of ours, beside what `measure_alignability` found."""

from __future__ import annotations

import numpy as np

from workbench.alignability import measured, published
from workbench.claims import Claim, to_json
from workbench.evaluation.alignment_probes import ProbeCorrelations
from workbench.evaluation.statistics import Correlation, Interval, correlation_difference, pearson

SAIL, OURS = "arXiv 2412.04616", "this project"
PRINTED = {"k-NN": 0.991, "linear probe": 0.847}
MTEB = 0.994  # text towers
READ_OFF = 0.02  # how far ±0.5 points on a scatter plot can move these r
SCENES = ("object", "shape", "colour")
GAP = PRINTED["k-NN"] - PRINTED["linear probe"]


def claims(rows: dict) -> list[dict]:
    found = [
        *printed(),
        *leaning(),
        *(told for by in SCENES for told in here(rows, by)),
        *clusters(rows),
        captions(rows),
        *(told for pairs in ("stamps", "openclipart") for told in elsewhere(rows, pairs)),
    ]
    return [to_json(claim) for claim in found]


def claim(
    key, paper, statement, expected, measured, interval, seeds, scale, kind="direction", margin=0.0, n=0
) -> Claim:
    return Claim(key, paper, statement, kind, expected, measured, n, tuple(seeds), interval, scale, margin)


# The published points ---------------------------------------------------------------------------------------------------


def printed() -> list[Claim]:
    """Whether the digitised points are those behind the printed correlations."""
    vision, language = published(), published("language")
    found = [(vision.r["Pearson"][probe], probe, value) for probe, value in PRINTED.items()]
    found.append((language.r["Pearson"]["MTEB"], "MTEB", MTEB))
    return [
        claim(
            "P1",
            SAIL,
            f"Pearson's r of {probe} and alignment",
            value,
            each.r,
            (each.low, each.high),
            (each.r,),
            "published points, digitised",
            "exact",
            READ_OFF,
            each.n,
        )
        for each, probe, value in found
    ]


def leaning() -> list[Claim]:
    """Is r higher for k-NN, by items drawn in pairs; and without the family that lies far from all others?"""
    vision = published()
    scale = "published points, digitised"
    found = []
    for kind in ("Pearson", "Spearman"):
        whole, without = vision.gap[kind]["linear probe"], vision.gap_without[kind]["linear probe"]["MAE"]
        found.append(difference("P2", SAIL, f"r ({kind}) of k-NN minus linear probe", whole, scale))
        found.append(difference("P3", OURS, f"r ({kind}) of k-NN minus linear probe, without MAE", without, scale))
    return found


def difference(key: str, paper: str, statement: str, found: Interval, scale: str, seeds=None) -> Claim:
    seeds = (found.mean,) if seeds is None else seeds
    return claim(key, paper, statement, GAP, found.mean, (found.low, found.high), seeds, scale, n=found.n)


# Measured here ----------------------------------------------------------------------------------------------------------


def here(rows: dict, by: str) -> list[Claim]:
    """Both correlations and their difference on scenes: interval over towers, seeds of the alignment probe."""
    found, seeds = measured("scenes", by, stored=rows), by_seed(rows, "scenes")
    knn, linear = found.probes["k-NN"], found.probes["linear probe"]
    scale = f"{len(found.names)} readings of {found.networks} networks, scenes by {by}"
    gaps = [correlation_difference(knn, linear, each, resamples=1).mean for each in seeds]
    return [
        *(correlated("P4", found, probe, scale, seeds) for probe in PRINTED),
        difference(
            "P5", SAIL, "r (Pearson) of k-NN minus linear probe", found.gap["Pearson"]["linear probe"], scale, gaps
        ),
    ]


def correlated(
    key: str, found: ProbeCorrelations, probe: str, scale: str, seeds: np.ndarray, kind="Pearson", expected=None
) -> Claim:
    each: Correlation = found.r[kind][probe]
    of_seeds = [pearson(found.probes[probe], one, resamples=1).r for one in seeds]
    statement = f"{probe} and alignment go together (r, {kind})"
    expected = PRINTED.get(probe, 1.0) if expected is None else expected
    return claim(key, SAIL, statement, expected, each.r, (each.low, each.high), of_seeds, scale, n=each.n)


def clusters(rows: dict) -> list[Claim]:
    found, seeds = measured("scenes", SCENES[0], stored=rows), by_seed(rows, "scenes")
    scale = f"{len(found.names)} readings of {found.networks} networks, scenes by {SCENES[0]}"
    return [correlated("P6", found, probe, scale, seeds) for probe in ("silhouette", "agreement of k-means")]


def captions(rows: dict) -> Claim:
    """In MTEB's place: k-NN on captions of the same shapes."""
    found, seeds = measured("text", stored=rows), by_seed(rows, "text")
    scale = f"{len(found.names)} readings of 3 text towers, captions by shape"
    return correlated("P7", found, "k-NN", scale, seeds, expected=MTEB)


def elsewhere(rows: dict, pairs: str) -> list[Claim]:
    """EfficientNets only: other depths of one family, so that r says little of families."""
    found, seeds = measured(pairs, stored=rows), by_seed(rows, pairs)
    scale = f"{len(found.names)} EfficientNet readings, {pairs}"
    gaps = [
        correlation_difference(found.probes["k-NN"], found.probes["linear probe"], each, resamples=1).mean
        for each in seeds
    ]
    whole = found.gap["Pearson"]["linear probe"]
    return [
        *(correlated("P8", found, probe, scale, seeds) for probe in PRINTED),
        difference("P9", SAIL, "r (Pearson) of k-NN minus linear probe", whole, scale, gaps),
    ]


def by_seed(rows: dict, pairs: str) -> np.ndarray:
    """(seeds, towers)"""
    return np.array([row["by_seed"] for name, row in rows.items() if name.startswith(f"{pairs}: ")]).T
