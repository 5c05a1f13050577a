"""What `pair_claims` makes of answers: means over seeds, pairs of the same quads, claims whose verdict follows."""

import json

import numpy as np
import pytest

from recipes import pair_claims
from recipes.files import sha256
from recipes.pair_heads import BUDGETS, RESULT, SYSTEMS, digests
from workbench.claims import Claim, Ledger
from workbench.data.scenes import CATEGORIES
from workbench.evaluation import paired_difference
from workbench.fine_grained import measured_heads
from workbench.fine_grained.heads import learned_scores
from workbench.paths import assets

FILE = assets() / "results" / RESULT
SETS = (pair_claims.HOME, pair_claims.HELD, pair_claims.AWAY)
N, FEWER = 40, 10
SHARE = {"cosine": 0.1, "crops": 0.6, "local": 0.4, "global": 0.2, "fine-tuned": 0.8}


def told(system: str, seed: int, n: int, more=()) -> dict:
    rng = np.random.default_rng([seed, *map(ord, system)])
    share = SHARE.get(system, 0.3)
    draw = lambda: "".join("01"[int(x)] for x in rng.random(n) < share)  # noqa: E731
    return {which: {c: {"group": draw(), "interaction_sign": draw()} for c in CATEGORIES} for which in (*SETS, *more)}


def two_stage(seed: int) -> dict:
    row = {"mean": seed / 10, "low": 0.0, "high": 0.5, "n": 20}
    return {"gallery": 40, "pairs": {"1": 0, "5": 100}, "at": {k: {"recall": row, "reached": row} for k in ("1", "5")}}


@pytest.fixture
def found():
    rows = [
        {"system": name, "seed": seed, "sets": told(name, seed, N if name == "cosine" else FEWER)}
        for name in ("cosine", "crops")
        for seed in range(3)
    ]
    facts = {"parameters": 5, "steps": 7, "seconds": 1.0, "loss": 0.5, "config": {"learning_rate": 0.1}}
    rows += [{"system": "local", "rates": {"0.1": 0.5}, "rate": 0.1}]
    for budget in BUDGETS:
        for name in SYSTEMS:
            rows += [
                {"system": name, "budget": budget, "seed": seed, **facts, "sets": told(name + budget, seed, N)}
                | ({} if SYSTEMS[name].raw else {"two_stage": two_stage(seed)})
                for seed in (2, 0, 1)
            ]
    return [*rows, {"system": "blind", "budget": "equal steps", "seed": 0, **facts, "sets": told("blind", 0, N)}]


def test_means_and_differences_are_those_of_the_package(found):
    rows = pair_claims.summary(found)
    of = {name: pair_claims._of(found, system=name, budget="equal steps") for name in ("local", "global")}
    local, control = (pair_claims.answers(each, pair_claims.AWAY, "all") for each in of.values())
    assert local.shape == (3, N * len(CATEGORIES))
    there = rows["differences"]["equal steps"]["local − global"][pair_claims.AWAY]["all"]
    expected = paired_difference(local, control)
    assert there["mean"] == pytest.approx(expected.mean, abs=1e-5)
    assert (there["low"], there["high"]) == pytest.approx((expected.low, expected.high), abs=1e-5)
    assert there["by_seed"] == pytest.approx((local - control).mean(1), abs=1e-5)
    shortlists = rows["trained"]["equal steps"]["local"]["two_stage"]
    assert [each["at"]["5"]["recall"]["mean"] for each in shortlists] == [0, 0.1, 0.2], "in the order of seeds"


def test_crops_meet_others_on_the_quads_that_both_have(found):
    there = pair_claims.summary(found)["differences"]["equal time"]["crops − local"]
    assert list(there) == [pair_claims.AWAY]
    assert there[pair_claims.AWAY]["all"]["n"] == FEWER * len(CATEGORIES)


def test_claims_follow_from_the_rows(found):
    rows = pair_claims.summary(found)
    made = [Claim(**{k: v for k, v in each.items() if k != "verdict"}) for each in pair_claims.claims(rows)]
    assert {each.id for each in made} == {"E", "F", "G"}
    assert len(made) == 2 * 3 * 8
    for each in made:
        assert each.seeds
        assert each.n in (N, FEWER, N * len(CATEGORIES), FEWER * len(CATEGORIES))


def test_the_record_reads_what_was_stored(found):
    rows = json.loads(json.dumps(pair_claims.summary(found)))
    heads = learned_scores(rows)
    assert heads.budgets == list(BUDGETS)
    points = heads.points("equal time")
    assert list(points) == ["cosine", "crops", *SYSTEMS]
    home, away = points["local"]
    assert home.mean == rows["trained"]["equal time"]["local"]["sets"][pair_claims.HOME]["all"]["group"]["mean"]
    assert away.n == N * len(CATEGORIES)
    assert list(heads.gains("local − global", "crops − local", budget="equal steps")["local − global"]) == list(SETS)
    assert [each.mean for each in heads.shortlist("equal steps")["local"][5]] == [0, 0.1, 0.2]
    assert list(heads.shortlist("equal steps")) == ["LABCLIP", "DCSM", "local", "global"]
    assert sorted(heads.reached("equal steps")) == [1, 5]
    assert len(heads.table().rows) == 2 + 2 * len(SYSTEMS) + 1
    with pytest.raises(ValueError, match="no budget 'equal cost'; there are equal steps, equal time"):
        heads.points("equal cost")
    with pytest.raises(ValueError, match="no difference 'local − DCLM'"):
        heads.gains("local − DCLM", budget="equal steps")


# What is stored ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored():
    return json.loads(FILE.read_text(encoding="utf-8"))


def test_numbers_are_of_the_scripts_that_stand_here(stored):
    known = {**digests(), "pair_claims.py": sha256(FILE.parents[2] / "recipes" / "pair_claims.py")}
    assert stored["digests"] == known, "run `python -m recipes.pair_heads`"


def test_claims_follow_from_the_rows_and_verdicts_from_the_claims(stored):
    assert json.loads(json.dumps(pair_claims.claims(stored["rows"]))) == stored["claims"]
    assert [each.verdict for each in Ledger.stored(FILE).claims] == [each["verdict"] for each in stored["claims"]]


def test_the_readme_says_what_is_stored():
    written = (FILE.parents[2] / "README.md").read_text(encoding="utf-8")
    gains = measured_heads().gains("local − global", budget="equal steps")["local − global"]
    home, away = (
        [100 * x for x in (each.mean, each.low, each.high)] for each in (gains["domain A"], gains["domain B"])
    )
    assert "by {:.1f} [{:.1f}, {:.1f}] points and loses".format(*home) in written
    assert f"by {-away[0]:.1f} [{-away[2]:.1f}, {-away[1]:.1f}] in another" in written
    points = {name: away.mean for name, (_, away) in measured_heads().points("equal steps").items()}
    assert max(points, key=points.get) == "fine-tuned"
    colour = {name: away.mean for name, (_, away) in measured_heads().points("equal steps", "Colour").items()}
    assert max(colour, key=colour.get) == "crops"
    said = f"score highest ({100 * points['fine-tuned']:.1f} %), and on Colour untrained crops ({100 * colour['crops']:.1f} %)"
    assert said in written
