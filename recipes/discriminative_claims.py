"""What follows from the answers that `tune_scenes_lvlm` and `look_into_lvlm` kept: VladVA's ladder, and claims V1 to V7."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from recipes.fine_tune_claims import told, values
from workbench.claims import Claim, to_json
from workbench.discriminative.published import COMPONENTS, PAPER
from workbench.discriminative.run import steps_until
from workbench.discriminative.writing import per_token
from workbench.fine_tuning.evaluation import COMPOSITION, SIDES, TO_IMAGE, TO_TEXT, evenly
from workbench.stored import stored_result

START, OTHER = "E5-V", "plain"
BEFORE, SOFT, LORA, BOTH, ALL = "before", "soft prompts", "LoRA", "both", "both, next token"
LADDER = (BEFORE, SOFT, LORA, BOTH, ALL)
LONG = "long captions in the contrast"
GROUPS = {
    "replace": ("choose: replace_colour", "choose: replace_count", "choose: replace_size", "choose: replace_relation"),
    "swap": ("choose: swap_nouns", "choose: swap_attributes"),
    "swap quads": tuple(f"swap quads: {each}" for each in ("Colour", "Material", "Size", "Quantity", "Relation")),
}
BEHIND = "f1 behind its prompt"
NET = {f"{group}, net": names for group, names in GROUPS.items() if group != "swap quads"}
"""Choices less the same choices with another's picture: what wording decides falls out."""
INSIDE = ("entropy of pictures", "entropy of captions", "support", "share", BEHIND)
DIFFERENCES = (
    *((row, BEFORE) for row in LADDER[1:]),
    (LORA, SOFT),
    (BOTH, LORA),
    (BOTH, SOFT),
    (ALL, BOTH),
)
CHANCE = 1 / 400  # of R@1: scenes in a trial
SCALE, UNTUNED = "scenes-lvlm, tuned for 200 steps", "scenes-lvlm, untuned"
TRAINED = f"{UNTUNED}, words of its training"
A_POINT, NEAR, KEPT = 0.0095, 0.02, 0.05
"""From where on a difference of the paper claims something; what "the same" allows; what "generation survives" allows in F1: all
ours, the paper has no interval."""
SATURATED = 0.05


def summary(found: Mapping[str, dict], inside: Mapping[str, dict]) -> dict:
    """The rows of the result, from every row that was measured."""
    trained = {(row["start"], row["row"]): _of(found, row) for row in found.values() if "start" in row}
    looked = {
        (found[name]["start"], found[name]["row"]): [inside[name] for name in _names(found, found[name])]
        for name in inside
    }
    starts = tuple(dict.fromkeys(start for start, _ in trained))
    rungs = tuple(row for start, row in trained if start == starts[0])
    return {
        "rates": {row["part"]: row["rates"] for row in found.values() if "part" in row},
        "ladder": {start: {row: _rung(trained[start, row]) for row in rungs} for start in starts},
        "inside": {start: {row: _inside(looked[start, row]) for row in rungs} for start in starts},
        "differences": {
            start: {f"{a} − {b}": _differences(trained[start, a], trained[start, b]) for a, b in DIFFERENCES}
            for start in starts
        },
        "changes inside": {
            start: {
                f"{row} − {BEFORE}": _changes(looked[start, row], looked[start, BEFORE])
                for row in rungs
                if row != BEFORE
            }
            for start in starts
        },
        "share of the gain": {start: _shares(trained, start) for start in starts},
        "contrast": {start: _contrast(trained, start) for start in starts},
        "told": {start: _told(trained, start) for start in starts},
    }


def _names(found: Mapping[str, dict], like: Mapping) -> list[str]:
    """Rows of the same start and rung, by seed."""
    same = [name for name, row in found.items() if all(row.get(key) == like[key] for key in ("start", "row"))]
    return sorted(same, key=lambda name: found[name].get("seed", 0))


def _of(found: Mapping[str, dict], like: Mapping) -> list[dict]:
    return [found[name] for name in _names(found, like)]


# A row of the ladder ----------------------------------------------------------------------------------------------------


def answers(row: Mapping, side: str) -> np.ndarray:
    """Every item of a side or of a group of its measures, each measure counted alike: (n,)."""
    of = COMPOSITION if side in (*GROUPS, *NET) else side
    kept = row["right"][of]
    if side in NET:
        beside = {name: row["beside"][name.removeprefix("choose: ")] for name in NET[side]}
        return evenly({name: values(kept[name], of) - values(beside[name], of) for name in NET[side]})
    return evenly({name: values(kept[name], of) for name in GROUPS.get(side, kept)})


def _stacked(rows: Sequence[Mapping], side: str) -> np.ndarray:
    return np.array([answers(row, side) for row in rows])


def _nats(rows: Sequence[Mapping]) -> np.ndarray:
    """Nats a token: a number for each caption whose mean is that over tokens, and whose spread is the ratio's: (seeds, n)."""
    return np.array([per_token(np.array(row["nats"]), np.array(row["tokens"])) for row in rows])


def _f1(rows: Sequence[Mapping]) -> np.ndarray:
    return np.array([row["f1"] for row in rows])


def _rung(rows: Sequence[Mapping]) -> dict:
    facts = {name: [row[name] for row in rows] for name in ("trained", "seconds") if name in rows[0]}
    measures = {
        side: {name: told(np.array([values(row["right"][side][name], side) for row in rows])) for name in own}
        for side, own in rows[0]["right"].items()
    }
    return {
        **facts,
        "sides": {side: told(_stacked(rows, side)) for side in (*SIDES, *GROUPS, *NET)},
        "measures": measures,
        "nats": told(_nats(rows)),
        "f1": told(_f1(rows)),
    }


def _differences(one: Sequence[Mapping], other: Sequence[Mapping]) -> dict:
    """Paired by item; a single model stands against every seed."""
    found = {side: told(_stacked(one, side) - _stacked(other, side)) for side in (*SIDES, *GROUPS, *NET)}
    return {**found, "nats": told(_nats(one) - _nats(other)), "f1": told(_f1(one) - _f1(other))}


def _shares(trained: Mapping, start: str, resamples: int = 2000) -> dict:
    """How much of what both gain soft prompts gain alone, a ratio of means, each way of retrieval."""
    found = {}
    for side in (TO_TEXT, TO_IMAGE):
        base, soft, both = (_stacked(trained[start, row], side) for row in (BEFORE, SOFT, BOTH))
        gains = np.stack([(soft - base).mean(0), (both - base).mean(0)])
        rng = np.random.default_rng(0)
        drawn = [gains[:, rng.integers(0, gains.shape[1], gains.shape[1])].mean(1) for _ in range(resamples)]
        low, high = np.percentile([a / b for a, b in drawn], [2.5, 97.5])
        by_seed = [float((a - base[0]).mean() / (b - base[0]).mean()) for a, b in zip(soft, both, strict=True)]
        mean = float(gains[0].mean() / gains[1].mean())
        found[side] = {"mean": mean, "low": float(low), "high": float(high), "n": gains.shape[1], "by_seed": by_seed}
    return found


# Losses, inside, captions -----------------------------------------------------------------------------------------------


def _contrast(trained: Mapping, start: str) -> dict:
    """The loss of contrast alone along the way, by what is contrasted; `last` over the steps of the last epoch."""
    runs = {"short": trained[start, BOTH], "long": trained[start, LONG]}
    return {
        kind: {
            "losses": rows[0]["losses"],
            "last": told(np.array([row["losses"][-40:] for row in rows])),
            "steps until 0.05": [steps_until(row["losses"], SATURATED) for row in rows],
        }
        for kind, rows in runs.items()
    }


def _inside(rows: Sequence[Mapping]) -> dict:
    """Means of what was looked at, seed 0's reading and maps."""
    found = {name: told(np.array([row[name] for row in rows])) for name in INSIDE}
    ranks = {side: [row["reading"][side]["rank"] for row in rows] for side in ("pictures", "captions")}
    return {
        **found,
        "rank": ranks,
        "reading": rows[0]["reading"],
        "maps": rows[0]["maps"],
        "heads": rows[0]["support by head"],
    }


def _changes(after: Sequence[Mapping], before: Sequence[Mapping]) -> dict:
    return {
        name: told(np.array([row[name] for row in after]) - np.array([row[name] for row in before])) for name in INSIDE
    }


def _told(trained: Mapping, start: str) -> list[dict]:
    """True captions and what seed 0 of some rungs tells."""
    kept = {row: trained[start, row][0]["told"] for row in (BEFORE, BOTH, ALL)}
    return [
        {"true": pairs[0][0], **{row: pair[1] for row, pair in zip(kept, pairs, strict=True)}}
        for pairs in zip(*kept.values(), strict=True)
    ]


# Claims -----------------------------------------------------------------------------------------------------------------


def claims(rows: dict) -> list[dict]:
    """V1 to V7, the paper's own numbers as what is expected; signs are what counts, sizes are of another world."""
    made = (
        _untuned(rows),
        _openness(),
        _saturation(rows),
        _ladder(rows),
        _next_token(rows),
        _within(rows),
        _written(rows),
    )
    return [to_json(each) for found in (*made, _unseen()) for each in found]


def _claim(
    key: str, what: str, row: Mapping, expected: float, kind: str = "direction", margin: float = 0.0, scale: str = SCALE
) -> Claim:
    ends, seeds = (row["low"], row["high"]), tuple(row.get("by_seed", ()))
    return Claim(key, PAPER, what, kind, expected, row["mean"], row["n"], seeds, ends, scale, margin)


def _shifted(row: Mapping, by: float) -> dict:
    return {
        **row,
        **{key: row[key] - by for key in ("mean", "low", "high")},
        "by_seed": [x - by for x in row["by_seed"]],
    }


def _untuned(rows: dict) -> list[Claim]:
    base = COMPONENTS["base"]
    expected = {TO_IMAGE: base.to_image / 100, TO_TEXT: base.to_text / 100}
    return [
        _claim("V1", f"R@1 − chance before any tuning, asked in {start} words: {side}",
               _shifted(rows["ladder"][start][BEFORE]["sides"][side], CHANCE), expected[side], scale=TRAINED)
        for start in rows["ladder"] for side in (TO_TEXT, TO_IMAGE)
    ]  # fmt: skip


def _openness() -> list[Claim]:
    """Over prompts of the model before tuning, intervals over tasks."""
    stored = stored_result("prompts.json")
    return [
        Claim("V2", PAPER, f"Spearman's correlation of next-token entropy and {name}, over prompts", "direction", 1.0,
              row["r"], row["n"], (), (row["low"], row["high"]), f"{UNTUNED}, intervals over tasks")
        for name, row in stored["correlations"]["over tasks"].items()
    ]  # fmt: skip


def _saturation(rows: dict) -> list[Claim]:
    """What the paper says of long captions is said of short ones too, unless these take longer, or stay above."""
    found = []
    for start, own in rows["contrast"].items():
        [long] = own["long"]["steps until 0.05"]
        above = np.array(own["short"]["last"]["by_seed"]) - SATURATED
        steps = np.array([n - long for n in own["short"]["steps until 0.05"]])
        found += [
            _over_seeds("V3", f"loss of short captions over the fifth pass − 0.05, {start} words", above),
            _over_seeds(
                "V3", f"steps until the loss is 0.05, short − long captions (one training), {start} words", steps
            ),
        ]
    return found


def points(one: str, other: str) -> dict[str, float]:
    """The paper's difference between two rows of Table 4, as fractions."""
    a, b = (COMPONENTS[PUBLISHED[row]] for row in (one, other))
    named = {"replace, net": "replace", "swap, net": "swap", TO_IMAGE: "to_image", TO_TEXT: "to_text"}
    return {side: round((getattr(a, field) - getattr(b, field)) / 100, 4) for side, field in named.items()}


PUBLISHED = {BEFORE: "base", SOFT: "+ soft prompt", LORA: "+ LoRA", BOTH: "+ both", ALL: "+ both and next token"}


def _ladder(rows: dict) -> list[Claim]:
    found = []
    for start, own in rows["differences"].items():
        for a, b in ((SOFT, BEFORE), (LORA, BEFORE), (LORA, SOFT), (BOTH, SOFT), (BOTH, LORA)):
            found += [
                _difference("V4", own, f"{a} − {b}", start, side, by)
                for side, by in points(a, b).items()
                if abs(by) >= A_POINT
            ]
        for side, row in rows["share of the gain"][start].items():
            half = f"share of both's gain that soft prompts have alone, − a half, from {start} words: {side}"
            paper = points(SOFT, BEFORE)[side] / points(BOTH, BEFORE)[side] - 0.5
            found.append(_claim("V4", half, _shifted(row, 0.5), round(paper, 3)))
    return found


def _difference(key: str, own: Mapping, what: str, start: str, side: str, expected: float) -> Claim:
    """The sign of a difference of a point or more; of less, from one training a row, the paper claims nothing."""
    return _claim(key, f"{what}, from {start} words: {side}", own[what][side], expected)


def _next_token(rows: dict) -> list[Claim]:
    found, expected, what = [], points(ALL, BOTH), f"{ALL} − {BOTH}"
    for start, own in rows["differences"].items():
        found += [_difference("V5", own, what, start, side, expected[side]) for side in NET]
        found += [
            _claim("V5", f"{what}, from {start} words: {side}", own[what][side], 0.0, "equivalence", NEAR)
            for side in (TO_TEXT, TO_IMAGE)
        ]
    return found


def _within(rows: dict) -> list[Claim]:
    counts = "next-token entropy at the summary, nats (every long caption begins with a number), "
    found = []
    for start, own in rows["changes inside"].items():
        for side, row in (("pictures", BOTH), ("pictures", ALL), ("captions", BOTH), ("captions", ALL)):
            what = f"{counts}{side}: {row} − {BEFORE}, from {start} words"
            found.append(_claim("V6", what, own[f"{row} − {BEFORE}"][f"entropy of {side}"], 1))
        for name, said in (("support", "effective support of"), ("share", "share on the picture of")):
            what = f"{said} the summary's attention: {ALL} − {BEFORE}, from {start} words"
            found.append(_claim("V6", what, own[f"{ALL} − {BEFORE}"][name], 1))
    for start, own in rows["inside"].items():
        for side in ("pictures", "captions"):
            change = np.array(own[ALL]["rank"][side]) - own[BEFORE]["rank"][side][0]
            what = f"effective rank of embeddings, {side}: {ALL} − {BEFORE}, from {start} words"
            found.append(_over_seeds("V6", what, change))
    return found


def _over_seeds(key: str, what: str, change: np.ndarray) -> Claim:
    """A number that a model has once: its interval is the range of the seeds, which is said."""
    ends = (float(change.min()), float(change.max()))
    return Claim(
        key,
        PAPER,
        f"{what} (range of seeds)",
        "direction",
        1.0,
        float(change.mean()),
        len(change),
        tuple(map(float, change)),
        ends,
        SCALE,
    )


def _written(rows: dict) -> list[Claim]:
    found = []
    for start, own in rows["differences"].items():
        kept, saved = own[f"{ALL} − {BEFORE}"]["f1"], own[f"{ALL} − {BOTH}"]["f1"]
        found.append(
            _claim("V7", f"F1 of captions, {ALL} − {BEFORE}, from {start} words", kept, 0.0, "equivalence", KEPT)
        )
        found.append(_claim("V7", f"F1 of captions, {ALL} − {BOTH}, from {start} words", saved, 1))
    return found


def _unseen() -> Iterable[Claim]:
    """What needs LLaVA's weights and Flickr30k."""
    full = COMPONENTS["+ both and next token"]
    for side, value in ((TO_IMAGE, full.to_image), (TO_TEXT, full.to_text)):
        statement = f"LLaVA-1.5-7B, 1M samples, all of it, Flickr30k R@1: {side}"
        yield Claim("Table 4", PAPER, statement, "exact", value / 100, None, 0, (), None, "not here", 0.005)
