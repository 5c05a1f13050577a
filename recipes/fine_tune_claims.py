"""What follows from the answers that `fine_tune_scenes` kept: both sides of every setting, differences, and claims C1 to C7."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple

import numpy as np

from workbench.claims import Claim, to_json
from workbench.evaluation import Interval, bootstrap
from workbench.fine_tuning.evaluation import COMPOSITION, SIDES, TO_IMAGE, TO_TEXT, ZERO_SHOT, evenly
from workbench.fine_tuning.published import COMPONENTS, MODELS, NORMALISERS, PAPER, SENSITIVITY, Means

CAPTIONS = 3  # of a picture, counted together in text to picture
PARTS = {"swap quads": "swap quads: ", "choices": "choose: "}  # of composition
FULL, LORA, NEGCLIP, ALONE = "setting 6", "LoRA", "NegCLIP", "contrast alone"
DIFFERENCES = (
    *((f"setting {row}", "before") for row in range(1, 9)),
    *((name, "before") for name in (LORA, NEGCLIP, ALONE)),
    *((name, ALONE) for name in (*(f"setting {row}" for row in range(1, 9)), LORA, NEGCLIP)),
    ("setting 2", "setting 1"),
    ("setting 3", "setting 1"),
    ("setting 4", "setting 3"),
    ("setting 5", "setting 3"),
    ("setting 6", "setting 3"),
    ("setting 6", "setting 4"),
    ("setting 6", "setting 5"),
    ("setting 6", "setting 7"),
    ("setting 6", "setting 8"),
    (FULL, NEGCLIP),
    (LORA, FULL),
    (LORA, NEGCLIP),
)
ENDS = {"gamma": ("gamma 5", "setting 5"), "beta": ("beta 0.1", "setting 4")}  # strongest, and none; one seed
FACTS = ("trained", "steps", "seconds", "loss")
BASE = MODELS[0].means
LAION = {model.name: model.means for model in MODELS if model.data == "LAION-COCO 100K"}
SCALE = "scenes-clip after 1,000 steps, tuned for 200"
MARGIN = 0.02
"""What "hardly matters" and "the same" allow, in percent right: ours, the paper has no interval."""
WITHIN = 0.01  # how far below the model before a path may lie on the side that it has to keep


def summary(found: Sequence[dict]) -> dict:
    """The rows of the result, from every row that was measured, in any order."""
    before = [row for row in found if row.get("setting") == "before"]
    trained = {"before": before, **_by_setting(row for row in found if "seed" in row and "setting" in row)}
    paths = {row["path"]: _of(found, path=row["path"]) for row in found if "path" in row}
    return {
        "rates": {row["parts"]: row["rates"] for row in found if "rates" in row},
        "settings": {name: _setting(rows) for name, rows in trained.items()},
        "differences": {f"{a} − {b}": _differences(trained[a], trained[b]) for a, b in DIFFERENCES},
        "sweeps": {name: _differences(rows, trained[FULL][:1]) for name, rows in trained.items() if _swept(name)},
        "ends": {name: _differences(trained[a][:1], trained[b][:1]) for name, (a, b) in ENDS.items()},
        "normalisers": _normalisers(trained),
        "share of the gain": _share(trained),
        "paths": {name: _path(rows) for name, rows in paths.items()},
        "path against path": {
            side: {f"{a} − {NEGCLIP}": _ahead(paths[a], paths[NEGCLIP], trained, side) for a in (FULL, LORA)}
            for side in (ZERO_SHOT, TO_IMAGE)
        },
    }


def _swept(name: str) -> bool:
    return name.startswith(("gamma", "beta", "local weight", "all, "))


def _by_setting(rows: Iterable[dict]) -> dict[str, list[dict]]:
    rows = list(rows)
    return {name: _of(rows, setting=name) for name in dict.fromkeys(row["setting"] for row in rows)}


def _of(rows: Iterable[dict], **which) -> list[dict]:
    """Rows that say so, by seed."""
    return sorted((row for row in rows if all(row.get(k) == v for k, v in which.items())), key=lambda row: row["seed"])


# Answers ----------------------------------------------------------------------------------------------------------------


def answers(right: Mapping[str, Mapping[str, str]], side: str) -> np.ndarray:
    """Every item of a side, or of one part of composition, weighted so that each measure counts alike: (n,)."""
    of = COMPOSITION if side in PARTS else side
    return evenly({name: values(kept, of) for name, kept in right[of].items() if name.startswith(PARTS.get(side, ""))})


def values(kept: str, side: str) -> np.ndarray:
    """Items of one measure as they are kept, a digit each."""
    return np.array(list(kept), dtype=float) / (CAPTIONS if side == TO_IMAGE else 1)


def _stacked(rows: Sequence[dict], side: str) -> np.ndarray:
    return np.array([answers(row["right"], side) for row in rows])


def told(found: np.ndarray) -> dict:
    """Items of every seed (seeds, n): their mean with its interval over items, and each seed's own."""
    summed = {name: round(x, 5) for name, x in asdict(bootstrap(found.mean(0))).items()}
    return {**summed, "by_seed": [round(float(each.mean()), 5) for each in found]}


def _setting(rows: Sequence[dict]) -> dict:
    facts = {name: [row[name] for row in rows] for name in FACTS if name in rows[0]}
    measures = {
        side: {name: told(np.array([values(row["right"][side][name], side) for row in rows])) for name in measured}
        for side, measured in rows[0]["right"].items()
    }
    blind = np.array([evenly({name: values(each, "") for name, each in row["beside"].items()}) for row in rows])
    sides = {side: told(_stacked(rows, side)) for side in (*SIDES, *PARTS)}
    return {**facts, "sides": sides, "measures": measures, "choices, another picture": told(blind)}


def _differences(one: Sequence[dict], other: Sequence[dict]) -> dict:
    """Of every side, paired by item; a single model stands against every seed."""
    return {side: told(_stacked(one, side) - _stacked(other, side)) for side in (*SIDES, *PARTS)}


def _normalisers(trained: Mapping[str, list[dict]]) -> dict:
    against = {"all": FULL, "local alone": "setting 2"}
    return {
        name: _differences(rows, trained[against[name.partition(", ")[0]]][:1])
        for name, rows in trained.items()
        if name.partition(", ")[0] in against
    }


def _share(trained: Mapping[str, list[dict]], resamples: int = 2000) -> dict:
    """How much of the composition that the global loss gains the local loss gains alone, a ratio of means."""
    base, globally, locally = (_stacked(trained[name], COMPOSITION) for name in ("before", "setting 1", "setting 2"))
    gains = np.stack([(locally - base).mean(0), (globally - base).mean(0)])
    rng = np.random.default_rng(0)
    drawn = [gains[:, rng.integers(0, gains.shape[1], gains.shape[1])].mean(1) for _ in range(resamples)]
    ratios = [a / b for a, b in drawn]
    by_seed = [float((a - base[0]).mean() / (b - base[0]).mean()) for a, b in zip(locally, globally, strict=True)]
    low, high = np.percentile(ratios, [2.5, 97.5])
    mean = float(gains[0].mean() / gains[1].mean())
    return {"mean": mean, "low": float(low), "high": float(high), "n": gains.shape[1], "by_seed": by_seed}


# Paths ------------------------------------------------------------------------------------------------------------------


def _path(rows: Sequence[dict]) -> dict:
    alphas = list(rows[0]["at"])
    return {
        alpha: {side: told(np.array([answers(row["at"][alpha], side) for row in rows])) for side in (*SIDES, *PARTS)}
        for alpha in alphas
    }


def _ahead(one: Sequence[dict], other: Sequence[dict], trained: Mapping[str, list[dict]], side: str) -> dict:
    """Composition of two paths, each where it is best among points at which a side is within 1 point of before, or above.

    The trap: points are chosen on the items that are compared, for both alike.
    """
    best = [_best(rows, trained, side) for rows in (one, other)]
    difference = told(best[0][1] - best[1][1])
    return {**difference, "alphas": [alpha for alpha, _ in best]}


def _best(rows: Sequence[dict], trained: Mapping[str, list[dict]], side: str) -> tuple[float, np.ndarray]:
    end = trained[rows[0]["path"]]
    points = {float(alpha): [row["at"][alpha] for row in rows] for alpha in rows[0]["at"]}
    points |= {0.0: [row["right"] for row in trained["before"]] * len(rows), 1.0: [row["right"] for row in end]}
    stacked = {
        alpha: [np.array([answers(each, of) for each in found]) for of in (side, COMPOSITION)]
        for alpha, found in points.items()
    }
    least = stacked[0.0][0].mean() - WITHIN
    alpha = max((a for a, (kept, _) in stacked.items() if kept.mean() >= least), key=lambda a: stacked[a][1].mean())
    return alpha, stacked[alpha][1]


# Claims -----------------------------------------------------------------------------------------------------------------


def points(one: Means, other: Means) -> dict[str, float]:
    """The paper's difference on every side, as a fraction."""
    return dict(zip(SIDES, (round(each / 100, 4) for each in astuple(one.minus(other))), strict=True))


def claims(rows: dict) -> list[dict]:
    """C1 to C7 of the paper, its own numbers as what is expected; signs are what counts, sizes are of another world."""
    found = (*_of_losses(rows), *_of_calibration(rows), *_of_strength(rows), *_of_the_rest(rows), *_unseen())
    return [to_json(each) for each in found]


def _claim(key: str, statement: str, row: dict, expected: float, kind: str = "direction", scale: str = SCALE) -> Claim:
    margin = MARGIN if kind == "equivalence" else 0.0
    ends, seeds = (row["low"], row["high"]), tuple(row["by_seed"])
    return Claim(key, PAPER, statement, kind, expected, row["mean"], row["n"], seeds, ends, scale, margin)


def _row(rows: dict, key: str, what: str, side: str, expected: Mapping[str, float], kind: str = "direction") -> Claim:
    return _claim(key, f"{what}: {side}", rows["differences"][what][side], expected[side], kind)


def _control(rows: dict, key: str, what: str, side: str, sign: int) -> Claim:
    """Against contrast without negatives, which the paper has not: the sign that its claim asks for."""
    return _claim(key, f"{what}: {side} (a control that the paper lacks)", rows["differences"][what][side], sign)


def _of_losses(rows: dict) -> list[Claim]:
    of = {row: points(each.means, BASE) for row, each in COMPONENTS.items()}
    found = [_row(rows, "C1", "setting 1 − before", side, of[1]) for side in SIDES[:3]]
    found += [_control(rows, "C1", f"setting 1 − {ALONE}", side, -1) for side in SIDES[1:]]
    found += [_row(rows, "C2", "setting 2 − before", side, of[2]) for side in (COMPOSITION, TO_TEXT)]
    found.append(_control(rows, "C2", f"setting 2 − {ALONE}", COMPOSITION, 1))
    found.append(_row(rows, "C2", "setting 2 − setting 1", TO_TEXT, points(COMPONENTS[2].means, COMPONENTS[1].means)))
    share = round(of[2][COMPOSITION] / of[1][COMPOSITION], 2)
    what = "share of the global loss's gain in composition that the local loss has alone"
    return [*found, _claim("C2", what, rows["share of the gain"], share, "equivalence")]


def _of_calibration(rows: dict) -> list[Claim]:
    found = []
    for more, less in ((4, 3), (5, 3), (6, 3), (6, 4), (6, 5)):
        expected = points(COMPONENTS[more].means, COMPONENTS[less].means)
        found.append(_row(rows, "C3", f"setting {more} − setting {less}", TO_TEXT, expected))
    return found


def _of_strength(rows: dict) -> list[Claim]:
    found, told_of = [], {"gamma": ("gamma", 5.0), "beta": ("smoothing", 0.1)}
    for name, (field, strongest) in told_of.items():
        expected = points(SENSITIVITY[field][strongest], SENSITIVITY[field][0.0])
        for side in (COMPOSITION, TO_TEXT):
            statement = f"{name} {strongest:g} against none: {side}"
            found.append(_claim("C4", statement, rows["ends"][name][side], expected[side], scale=f"{SCALE}, one seed"))
    return found


def _of_the_rest(rows: dict) -> list[Claim]:
    found, published = [], {"all": NORMALISERS["whole loss"], "local alone": NORMALISERS["local loss alone"]}
    for name, row in rows["normalisers"].items():
        whole, _, kind = name.partition(", ")
        expected = points(published[whole][kind], published[whole]["minmax"])
        found += [
            _claim("C5", f"{name} − min–max: {side}", row[side], expected[side], "equivalence", f"{SCALE}, one seed")
            for side in SIDES
        ]
    for what, row in rows["path against path"][ZERO_SHOT].items():
        statement = (
            f"WiSE-FT, {what} (the paper's rivals are others): best composition, zero-shot at most a point below before"
        )
        found.append(_claim("C6", statement, row, 1))
    against = points(LAION["FSC-CLIP LoRA"], LAION["FSC-CLIP"])
    found += [_row(rows, "C7", f"{LORA} − {FULL}", side, against, "equivalence") for side in SIDES[:2]]
    beside = points(LAION["FSC-CLIP"], LAION["NegCLIP again"])
    found.append(_row(rows, "Table 1", f"{FULL} − {NEGCLIP}", COMPOSITION, beside, "equivalence"))
    return found + [_row(rows, "Table 1", f"{FULL} − {NEGCLIP}", side, beside) for side in SIDES[1:]]


def _unseen() -> list[Claim]:
    """What needs CLIP's weights and the benchmarks."""
    found = []
    for side, value in zip(SIDES, astuple(LAION["FSC-CLIP"]), strict=True):
        statement = f"FSC-CLIP, ViT-B/32, LAION-COCO 100K: {side}"
        found.append(
            Claim("Table 1", PAPER, statement, "exact", round(value / 100, 4), None, 0, (), None, "not here", 0.005)
        )
    return found


def interval(row: Mapping) -> Interval:
    """A stored mean with its interval."""
    return Interval(row["mean"], row["low"], row["high"], row["n"])
