"""What follows from the ranks that `measure_sail` kept: intervals, steps of the ladder, a ledger beside the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from workbench.claims import Claim, to_json
from workbench.data.scenes import CATEGORIES
from workbench.evaluation import bootstrap, paired_difference, share
from workbench.sail import EDGES, NAMING, PAPER, PLACES, RUNGS, SCORES

KS, SEEDS = (1, 5, 10), (0, 1, 2)
DIRECTIONS = ("image to text", "text to image")
OWN_RATE = "linear + InfoNCE at its own rate"
LAST = RUNGS[-1].name
BESIDE = (  # further differences: (what, from, to)
    ("GLU × 8 against linear", RUNGS[0].name, RUNGS[3].name),
    ("GLU × 8 against linear at its own rate", OWN_RATE, RUNGS[3].name),
    ("multi-positive against short captions alone", RUNGS[5].name, LAST),
    ("the whole ladder", RUNGS[0].name, LAST),
    ("the whole ladder against linear at its own rate", OWN_RATE, LAST),
)
HERE = "Lite2 and MiniLM, 723 drawings"


# From ranks to rows -----------------------------------------------------------------------------------------------------


def summary(found: Mapping[str, dict], setting: dict) -> dict:
    """The rows of `sail.json`, from every row that was measured and the setting that was chosen."""
    climbs = {each.name: [found[f"ladder: rung {k}, seed {s}"] for s in SEEDS] for k, each in enumerate(RUNGS)}
    climbs[OWN_RATE] = [found[f"ladder: rung 0 at its own rate, seed {s}"] for s in SEEDS]
    hits = {name: right(rows) for name, rows in climbs.items()}
    neighbours = [(each.name, before.name, each.name) for before, each in pairwise(RUNGS)]
    shown = {name.partition(": ")[2]: row for name, row in found.items() if name.startswith("quads: ")}
    bars = {name: [np.array(row["quads"])] for name, row in shown.items()}
    bars[f"ladder, {LAST}"] = [np.array(row["quads"]) for row in climbs[LAST]]
    return {
        "choice": {**found["choice"], "used": setting},
        "ladder": {name: {"recalls": scored(hits[name]), **described(rows)} for name, rows in climbs.items()},
        "steps": {what: stepped(hits[before], hits[after]) for what, before, after in (*neighbours, *BESIDE)},
        "no-op": found["no-op"],
        "swap quads": {
            name: {score: by_category(each, k) for k, score in enumerate(SCORES)} for name, each in bars.items()
        },
        "swap differences": {score: swap_difference(bars, k) for k, score in enumerate(SCORES)},
        "pair cosines": {name: spread(each) for name, each in spaces(found, climbs).items()},
        "cosine differences": compared(spaces(found, climbs)),
    }


def right(rows: Sequence[dict]) -> dict[str, list[np.ndarray]]:
    """Hits of each seed (n,) by what is asked: R@k one way, the mean of both ways at 10 (SAIL's score), and naming."""
    found = {}
    for place in PLACES:
        ranks = [{way: np.array(row[place][way]) for way in DIRECTIONS} for row in rows]
        for way in DIRECTIONS:
            for k in KS:
                found[f"{place}: {way}, R@{k}"] = [(each[way] <= k).astype(float) for each in ranks]
        found[f"{place}: both ways, R@10"] = [np.mean([each[way] <= 10 for way in DIRECTIONS], 0) for each in ranks]
    found[NAMING] = [(np.array(row["naming"]) == 1).astype(float) for row in rows]
    return found


def items(what: str, seeds: Sequence[np.ndarray]) -> np.ndarray:
    """Drawings are each asked for by one seed, so they follow each other; stamps by all, so their hits are means over seeds."""
    return np.concatenate(seeds) if what.startswith("drawings") else np.mean(seeds, 0)


def scored(hits: dict[str, list[np.ndarray]]) -> dict:
    return {
        what: {**interval(share(items(what, seeds))), "by_seed": [float(each.mean()) for each in seeds]}
        for what, seeds in hits.items()
    }


def stepped(before: dict[str, list[np.ndarray]], after: dict[str, list[np.ndarray]]) -> dict:
    """Paired by item, after minus before. The interval is over items: how far another run would lie off, the seeds tell."""
    found = {}
    for what in before:
        each = [b - a for a, b in zip(before[what], after[what], strict=True)]
        whole = paired_difference(items(what, after[what]), items(what, before[what]))
        found[what] = {**interval(whole), "by_seed": [float(one.mean()) for one in each]}
    return found


def described(rows: Sequence[dict]) -> dict:
    first = rows[0]
    return {
        "config": {key: value for key, value in first["config"].items() if key != "seed"},
        "parameters": first["parameters"],
        **{key: [row[key] for row in rows] for key in ("steps", "best_step", "validation", "weights", "seconds")},
    }


def by_category(seeds: Sequence[np.ndarray], score: int) -> dict:
    """All quads, and those of each category: (n, 3) a seed."""
    each = np.mean([one[:, score] for one in seeds], 0)
    whole = {**interval(share(each)), "by_seed": [float(one[:, score].mean()) for one in seeds]}
    parts = each.reshape(len(CATEGORIES), -1)
    return {"all": whole, **{name: interval(share(part)) for name, part in zip(CATEGORIES, parts, strict=True)}}


def swap_difference(bars: Mapping[str, list[np.ndarray]], score: int) -> dict:
    """The ladder's end minus scenes-clip, quad by quad."""
    one, two = ([each[:, score].astype(float) for each in bars[name]] for name in (f"ladder, {LAST}", "scenes-clip"))
    return _paired(one, two)


def spaces(found: Mapping[str, dict], climbs: Mapping[str, list[dict]]) -> dict[str, list[dict]]:
    """Cosines of each seed, by the space that they are taken in."""
    pre = {name.partition(": ")[2]: [row["cosines"]] for name, row in found.items() if name.startswith("cosines: ")}
    post = {f"{name}, post": [found[f"quads: {name}"]["cosines"]] for name in ("lite2-minilm", "lite2-ensemble")}
    clip = {"scenes-clip, post": [found["quads: scenes-clip"]["cosines"]]}
    ladder = {name: [row["cosines"] for row in climbs[name]] for name in (RUNGS[0].name, LAST)}
    return {**pre, **post, **{f"ladder, {name}": each for name, each in ladder.items()}, **clip}


def spread(seeds: Sequence[dict]) -> dict:
    """Mean, interval, quartiles and counts of every pair's cosine, its mean over seeds where there are several."""
    return {part: _spread([np.array(each[part]) for each in seeds]) for part in ("own", "other")}


def _spread(seeds: Sequence[np.ndarray]) -> dict:
    each = np.mean(seeds, 0)
    return {
        **interval(bootstrap(each)),
        "quartiles": np.percentile(each, [25, 50, 75]).tolist(),
        "counts": np.histogram(each.clip(EDGES[0], EDGES[-1]), np.array(EDGES))[0].tolist(),
        "least": float(each.min()),
        "by_seed": [float(one.mean()) for one in seeds],
    }


def compared(found: Mapping[str, list[dict]]) -> dict:
    """Differences of a quad's own cosine between two spaces, and between a space's own pairs and pairs of two quads."""
    own = {name: [np.array(each["own"]) for each in seeds] for name, seeds in found.items()}
    other = {name: [np.array(each["other"]) for each in seeds] for name, seeds in found.items()}
    within = {f"{name}: own − other quads": (own[name], other[name]) for name in found}
    return {name: _paired(*sides) for name, sides in {**within, **_between(own)}.items()}


def _between(own: dict[str, list[np.ndarray]]) -> dict[str, tuple]:
    clip, tower, ladder = "scenes-clip, post", "efficientnet_lite2, pre", f"ladder, {LAST}"
    aligned = ("lite2-minilm, post", "lite2-ensemble, post", ladder)
    taught = [name for name in own if "seed" in name]
    pairs = [*((name, clip) for name in (*aligned, tower, *taught)), *((name, tower) for name in aligned)]
    return {f"{one} − {two}": (own[one], own[two]) for one, two in pairs}


def _paired(one: Sequence[np.ndarray], two: Sequence[np.ndarray]) -> dict:
    """Seeds of one side against the only one of the other, or seed by seed; the interval is over quads, of seed means."""
    seeds = max(len(one), len(two))
    each = [one[s % len(one)] - two[s % len(two)] for s in range(seeds)]
    return {**interval(bootstrap(np.mean(each, 0))), "by_seed": [float(values.mean()) for values in each]}


def interval(found) -> dict:
    return {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n}


# Claims -----------------------------------------------------------------------------------------------------------------

ASKED = {  # what is asked here, and the paper's column beside it
    "drawings: text to image, R@1": "text_to_image",
    "drawings: image to text, R@1": "image_to_text",
    NAMING: "naming",
}


def claims(rows: dict) -> list[dict]:
    """Of the ladder alone. Bars and cosines are figures: the paper compares with CLIP-L on Winoground and on MMVP, whose pairs
    were chosen for CLIP's high cosine and DINOv2's low one, and scenes-clip on the scenes that it was trained on is no CLIP-L.
    """
    return [to_json(each) for each in (*steps(rows), *beside(rows), *no_op(rows))]


def claim(key, statement, expected, row, scale, kind="direction", margin=0.0, paper=PAPER) -> Claim:
    ends, seeds = (row["low"], row["high"]), tuple(row["by_seed"])
    return Claim(key, paper, statement, kind, expected, row["mean"], row["n"], seeds, ends, scale, margin)


def printed(name: str, column: str) -> float:
    """A fraction of the table."""
    return getattr(next(each for each in RUNGS if each.name == name), column) / 100


def steps(rows: dict) -> list[Claim]:
    """What each rung adds to the one below it: the sign that the paper's change has."""
    found = []
    for k, (before, after) in enumerate(pairwise(RUNGS), 1):
        for what, column in ASKED.items():
            change = round(printed(after.name, column) - printed(before.name, column), 4)
            row = rows["steps"][after.name][what]
            found.append(claim(f"L{k}", f"{after.name}, {what}", change, row, HERE))
    return found


def beside(rows: dict) -> list[Claim]:
    """Rungs further apart; where one stands at a rate of its own, the paper's change is that of the same rungs."""
    found = []
    for number, (told, before, after) in enumerate(BESIDE, 1):
        for what, column in ASKED.items():
            start = RUNGS[0].name if before == OWN_RATE else before
            change = round(printed(after, column) - printed(start, column), 4)
            found.append(claim(f"B{number}", f"{told}, {what}", change, rows["steps"][told][what], HERE))
    return found


def no_op(rows: dict) -> list[Claim]:
    """Lion takes signs: a loss divided by |B| once more trains the same weights, where the division does not round."""
    found = []
    for name, row in rows["no-op"].items():
        if not name.startswith("lion"):
            continue  # AdamW's are stored beside: nobody says that they are the same
        text = f"|B| or |B|², {name}: largest difference of a weight, {row['steps']} steps"
        told = {"mean": row["largest"], "low": row["largest"], "high": row["largest"]}
        found.append(claim("N1", text, 0.0, {**told, "n": row["steps"], "by_seed": [row["largest"]]}, HERE, "exact"))
    return found
