"""What of SAIL needs no tower, and what of it needs published weights."""

import pytest

from workbench import sail
from workbench.benchmark.scores import BenchmarkScores, Measure


@pytest.fixture(scope="module")
def scales():
    return sail.loss_scales(factors=(1e-2, 0.25, 4.0), steps=20)


def test_lion_does_not_see_a_multiplied_loss_and_adamw_does(scales):
    assert set(scales["lion"].values()) == {0.0}
    assert scales["adamw"][1e-2] > 1e-5
    assert set(scales) == {"lion", "adamw"}


def test_the_distance_of_a_run_from_itself_is_nothing():
    assert sail.loss_scales(factors=(1.0,), steps=3) == {"lion": {1.0: 0.0}, "adamw": {1.0: 0.0}}


def test_the_exact_ledger_holds(scales):
    claims = sail.exact_claims(scales)
    assert {claim.id for claim in claims} == {"E1", "E2", "E3", "E4", "E5", "E6"}
    assert [claim.statement for claim in claims if claim.verdict != "reproduced"] == []


def test_an_optimiser_that_saw_the_factor_would_be_told():
    seen = {name: {0.25: 1e-3, 4.0: 1e-3} for name in ("lion", "adamw")}
    lion = next(claim for claim in sail.exact_claims(seen) if claim.id == "E6")
    assert lion.verdict == "contradicted"
    assert lion.measured == pytest.approx(1000)


def test_without_weights_nothing_is_claimed():
    claims = sail.published_claims()
    assert {claim.verdict for claim in claims} == {"needs weights"}
    assert {claim.expected for claim in claims if claim.id == "V1"} == {0.34, 0.1325, 0.0875}


def test_winoground_is_held_to_its_published_scores():
    told = {"image to text, all": 0.34, "text to image, all": 0.12, "group, all": 0.09}
    measures = {name: Measure(value, 400, (value - 0.04, value + 0.04), 0.25) for name, value in told.items()}
    claims = [each for each in sail.published_claims(BenchmarkScores("m", "winoground", measures)) if each.id == "V1"]
    assert [claim.verdict for claim in claims] == ["reproduced", "contradicted", "reproduced"]
    assert claims[0].n == 400


def test_a_head_that_is_not_named_says_where_it_comes_from(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no published head is named; give the path of sail_dinov2l_gte\.pt"):
        sail.published_winoground(None)
    with pytest.raises(FileNotFoundError, match="is not a file; give the path"):
        sail.published_winoground(tmp_path / "none.pt")
