"""What follows from the answers that `pair_heads` kept: means over seeds, intervals, differences, and claims E to G."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict

import numpy as np

from workbench.claims import Claim, to_json
from workbench.data.scenes import CATEGORIES
from workbench.evaluation import Interval, bootstrap, share
from workbench.fine_grained.published import CROPS, FINE_TUNED, IN_DOMAIN, PAPER, TRANSFORMER

HOME, HELD, AWAY = "domain A", "domain A, held out", "domain B"
EVERY, LOCAL = "all", ("Colour", "Material")
AGAINST = (
    ("local", "global"),
    ("local", "fine-tuned"),
    ("local", "DCSM"),
    ("global", "LABCLIP"),
    ("fine-tuned", "NegCLIP"),
)
FACTS = ("parameters", "steps", "seconds", "loss")
AT_HOME = round(IN_DOMAIN["TFLocal"] - IN_DOMAIN["fine-tuned"], 3)
MARGIN = 0.05
"""What "as good as" allows, in group score: ours, the paper has no interval."""


def summary(found: Sequence[dict]) -> dict:
    """The rows of the result, from every row that was measured, in any order."""
    trained = [row for row in found if "budget" in row and row["system"] != "blind"]
    frozen = {name: _of(found, system=name) for name in ("cosine", "crops")}
    budgets = dict.fromkeys(row["budget"] for row in trained)
    return {
        "frozen": {name: _scores(rows) for name, rows in frozen.items()},
        "rates": {row["system"]: row["rates"] for row in found if "rates" in row},
        "trained": {budget: _systems(_of(trained, budget=budget)) for budget in budgets},
        "differences": {budget: _differences(_of(trained, budget=budget), frozen) for budget in budgets},
        "blind": _scores(_of(found, system="blind")),
    }


def _of(rows: Iterable[dict], **which) -> list[dict]:
    """Rows that say so, by seed."""
    return sorted((row for row in rows if all(row.get(k) == v for k, v in which.items())), key=lambda row: row["seed"])


def _systems(rows: Sequence[dict]) -> dict:
    return {system: _system(_of(rows, system=system)) for system in dict.fromkeys(row["system"] for row in rows)}


def _system(rows: Sequence[dict]) -> dict:
    told = {name: [row[name] for row in rows] for name in FACTS}
    told["rate"] = rows[0]["config"]["learning_rate"]
    two_stage = {"two_stage": [row["two_stage"] for row in rows]} if "two_stage" in rows[0] else {}
    return {**told, "sets": _scores(rows), **two_stage}


def answers(
    rows: Sequence[dict], which: str, category: str, score: str = "group", first: int | None = None
) -> np.ndarray:
    """(seeds, n) of 0 and 1, of the `first` quads of a category, or of all categories one after the other."""
    names = CATEGORIES if category == EVERY else (category,)
    return np.array([[float(one) for name in names for one in row["sets"][which][name][score][:first]] for row in rows])


def _scores(rows: Sequence[dict]) -> dict:
    """Set, category and score: the mean of seeds with its interval over quads, and every seed's own."""
    names = list(rows[0]["sets"][HOME][CATEGORIES[0]])
    return {
        which: {
            category: {score: told(answers(rows, which, category, score), share) for score in names}
            for category in (*CATEGORIES, EVERY)
        }
        for which in rows[0]["sets"]
    }


def told(values: np.ndarray, interval: Callable[..., Interval] = bootstrap) -> dict:
    found = {name: round(x, 5) for name, x in asdict(interval(values.mean(0))).items()}
    return {**found, "by_seed": [round(float(each.mean()), 5) for each in values]}


def _differences(rows: Sequence[dict], frozen: dict[str, list[dict]]) -> dict:
    """Of group scores on the same quads, paired: between systems, of each over the frozen cosine, and of crops over "local"."""
    of = {row["system"]: _of(rows, system=row["system"]) for row in rows}
    pairs = {f"{one} − {other}": (of[one], of[other]) for one, other in AGAINST}
    pairs |= {f"{system} − cosine": (each, frozen["cosine"]) for system, each in of.items()}
    found = {what: {which: _difference(*both, which) for which in (HOME, HELD, AWAY)} for what, both in pairs.items()}
    shared = {system: {AWAY: _shared(frozen["crops"], each)} for system, each in of.items()}
    return found | {f"crops − {system}": each for system, each in shared.items()}


def _difference(one: list[dict], other: list[dict], which: str, first: int | None = None) -> dict:
    def values(category: str) -> np.ndarray:
        return answers(one, which, category, first=first) - answers(other, which, category, first=first)

    return {category: told(values(category)) for category in (*CATEGORIES, EVERY)}


def _shared(crops: list[dict], rows: list[dict]) -> dict:
    """On domain B, whose first quads are the diagnostic's."""
    return _difference(crops, rows, AWAY, len(crops[0]["sets"][AWAY][CATEGORIES[0]]["group"]))


# Claims -----------------------------------------------------------------------------------------------------------------


def claims(rows: dict) -> list[dict]:
    """E the pair transformer is as good as fine-tuning at home, F better than its control on globals, G and away from home.

    Published: SugarCrepe at home 86.3 and 85.5, BiSCoR-Ctrl away 13.2 and 1.9, with crops without training 24.9. Of all
    categories together, whose signs differ, and of the two local attributes.
    """
    found = []
    for budget, each in rows["differences"].items():
        for category in (EVERY, *LOCAL):

            def claim(key, what, expected, which, kind="direction", margin=0.0, each=each, budget=budget, c=category):
                row = each[what][which][c]
                of = "" if c == EVERY else f", {c}"
                said, scale = f"{what}, group, {which}{of}", f"scenes-clip, 1,000 steps; {budget}"
                seeds, ends = tuple(row["by_seed"]), (row["low"], row["high"])
                return Claim(key, PAPER, said, kind, expected, row["mean"], row["n"], seeds, ends, scale, margin)

            found += [
                claim("E", "local − fine-tuned", AT_HOME, HOME, "equivalence", MARGIN),
                *(claim("F", "local − global", 1, which) for which in (HOME, HELD, AWAY)),
                claim("G", "local − fine-tuned", round(TRANSFORMER - FINE_TUNED, 3), AWAY),
                claim("G", "fine-tuned − cosine", -1, AWAY),
                claim("G", "local − cosine", 1, AWAY),
                claim("G", "crops − local", round(CROPS["CLIP ViT-B/32"] - TRANSFORMER, 3), AWAY),
            ]
    return [to_json(each) for each in found]
