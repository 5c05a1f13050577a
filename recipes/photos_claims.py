"""What follows from the answers that `measure_rules_photos` kept: intervals, differences, and a ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from recipes.rules_claims import AGAINST, CHANCE, EARLIER, GAIN, OURS, SIGN, TRUE, _entry, _told, bits, claim, minus
from workbench.claims import Claim, to_json
from workbench.evaluation import bootstrap
from workbench.fine_grained.photos import EXACT, EXACT_TRUE
from workbench.fine_grained.published import SIGLIP_CROPS, SIGLIP_GLOBAL

OTHER_PAIR = "Other pair"
SCALE = "lite2-minilm, composed photographs"
LOCAL, OTHERS = "Colour", ("Relation", "Size", "Quantity")
COMPARED = {**AGAINST, EXACT: "crops − boxes of the exact map"}
TRUE_EXACT = "true boxes re-encoded − true boxes of the exact map"
CLIP_CROPS = {"Size": 0.047, "Quantity": 0.025}  # CLIP ViT-B/32, as published
LEAST = 0.95  # of objects named, so that parts count as encoded


# From answers to rows ---------------------------------------------------------------------------------------------------


def summary(found: Sequence[dict]) -> dict:
    """The rows of the result, from every row that was measured."""
    reads = {row["category"]: row for row in found if "scores" in row}
    (precision,) = (row["precision"] for row in found if "precision" in row)
    return {
        "scores": {
            category: {
                "n": row["n"],
                "scorers": {
                    scorer: {name: _entry([told])[:4] for name, told in each.items()}
                    for scorer, each in row["scores"].items()
                },
            }
            for category, row in reads.items()
        },
        "differences": compared(reads),
        "named": {category: _shares(row["named"]) for category, row in reads.items() if "named" in row},
        "precision": precision,
    }


def compared(reads: Mapping[str, dict]) -> dict:
    """Differences paired by quad, by what they compare and category."""

    def right(row: dict, scorer: str, score: str = "group") -> np.ndarray:
        return bits([row["scores"][scorer][score]])[0]

    def gain(row: dict, score: str) -> np.ndarray:
        return right(row, "crops", score) - right(row, "global", score)

    ways = {told: lambda row, other=other: right(row, "crops") - right(row, other) for other, told in COMPARED.items()}
    ways |= {
        TRUE: lambda row: right(row, "crops, true boxes") - right(row, "roi, true boxes"),
        TRUE_EXACT: lambda row: right(row, "crops, true boxes") - right(row, EXACT_TRUE),
        SIGN: lambda row: gain(row, "interaction_sign"),
        GAIN: lambda row: gain(row, "text_to_image") - gain(row, "image_to_text"),
    }
    return {
        told: {category: _resampled(values(row)[None]) for category, row in reads.items()}
        for told, values in ways.items()
    }


def _resampled(values: np.ndarray) -> dict:
    return _told(bootstrap(values), values)


def _shares(named: Mapping[str, Mapping[str, str]]) -> dict:
    """Of objects named rightly; the four of a quad are resampled together."""
    return {
        reading: {what: _resampled(bits([told]).reshape(1, -1, 4).mean(2)) for what, told in each.items()}
        for reading, each in named.items()
    }


# Claims -----------------------------------------------------------------------------------------------------------------


def claims(rows: dict) -> list[dict]:
    """Letters are those of `rules_claims`: A the global cosine fails although parts are encoded, B crops mend it and beat
    controls, C patches of one pass do not, D only for local attributes."""
    return [to_json(each) for each in (*failing(rows), *mended(rows), *patches(rows), *others(rows))]


def failing(rows: dict) -> list[Claim]:
    printed = {LOCAL: round(SIGLIP_GLOBAL["Colour"] - CHANCE, 3)}
    found = [
        _claim(
            "A",
            f"global cosine, group − chance, {category}",
            printed.get(category, -1),
            _from_chance(rows, category, "global"),
            OURS if category == "Relation" else None,
        )
        for category in (LOCAL, *OTHERS)
    ]
    for category, what in ((LOCAL, "object and colour"), ("Relation", "object")):
        row = rows["named"][category]["true boxes re-encoded"][what]
        level = minus([row["mean"], row["low"], row["high"], 0, *row["by_seed"]], LEAST, row["n"])
        found.append(_claim("A", f"true boxes named by {what}, share − 95 %, {category}", 1, level, OURS))
    return found


def mended(rows: dict) -> list[Claim]:
    printed = {AGAINST["global"]: round(SIGLIP_CROPS["Colour"] - SIGLIP_GLOBAL["Colour"], 3)}
    beaten = (AGAINST["global"], SIGN, *(told for other, told in AGAINST.items() if other.startswith("control")))
    found = [_differing(rows, "B", told, LOCAL, printed.get(told, 1)) for told in beaten]
    # BiVLC's swaps, SigLIP 2-Giant: text to image 9.2 → 36.5, image to text 57.1 → 56.3
    return [*found, _differing(rows, "B", GAIN, LOCAL, 0.281, EARLIER)]


def patches(rows: dict) -> list[Claim]:
    told = (*(COMPARED[name] for name in ("segments", "roi", EXACT, "late")), TRUE, TRUE_EXACT)
    return [_differing(rows, "C", each, LOCAL, 1, EARLIER) for each in told]


def others(rows: dict) -> list[Claim]:
    return [
        _claim(
            "D",
            f"crops, group − chance, {category}",
            round(CLIP_CROPS[category] - CHANCE, 3) if category in CLIP_CROPS else -1,
            _from_chance(rows, category, "crops"),
            OURS if category == "Relation" else None,
        )
        for category in OTHERS
    ]


def _claim(key: str, statement: str, expected: float, row: Mapping, paper: str | None = None) -> Claim:
    return claim(key, statement, expected, row, SCALE, **({"paper": paper} if paper else {}))


def _differing(rows: dict, key: str, told: str, category: str, expected: float, paper: str | None = None) -> Claim:
    return _claim(key, f"{told}, {category}", expected, rows["differences"][told][category], paper)


def _from_chance(rows: dict, category: str, scorer: str) -> dict:
    found = rows["scores"][category]
    entry = found["scorers"][scorer]["group"]
    return minus([*entry, entry[0]], CHANCE, found["n"])
