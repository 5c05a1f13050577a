"""Verdicts follow from numbers, in every combination."""

import json
from pathlib import Path

import pytest

from workbench.claims import Claim, Ledger, ledgers, markdown, to_json
from workbench.paths import assets


def claim(**fields):
    known = {
        "id": "C1",
        "paper": "p",
        "statement": "s",
        "kind": "direction",
        "expected": 1.0,
        "measured": 0.2,
        "n": 100,
    }
    return Claim(**{**known, "seeds": (0.1, 0.3), "interval": (0.1, 0.3), "scale": "toy", **fields})


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        ({}, "reproduced"),
        ({"interval": (-0.1, 0.3)}, "not at this scale"),
        ({"seeds": (0.3, -0.01)}, "not at this scale"),  # clear of zero, but not in every seed
        ({"measured": -0.2, "interval": (-0.3, -0.1), "seeds": (-0.2,)}, "contradicted"),
        ({"expected": -1.0}, "contradicted"),
        ({"expected": -1.0, "measured": -0.2, "interval": (-0.3, -0.1), "seeds": (-0.2,)}, "reproduced"),
        ({"measured": None, "interval": None, "seeds": ()}, "needs weights"),
        ({"kind": "equivalence", "expected": 0.2, "margin": 0.1}, "reproduced"),
        ({"kind": "equivalence", "expected": 0.2, "margin": 0.05}, "not at this scale"),
        ({"kind": "equivalence", "expected": 0.9, "margin": 0.1}, "contradicted"),
        ({"kind": "exact", "expected": 0.2, "margin": 1e-6}, "reproduced"),
        ({"kind": "exact", "expected": 0.21, "margin": 1e-6}, "contradicted"),
    ],
)
def test_verdicts(fields, verdict):
    assert claim(**fields).verdict == verdict


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "vibe"}, "kind 'vibe'; choose direction, equivalence or exact"),
        ({"expected": 0.0}, "needs an expected value with a sign"),
        ({"interval": None}, "needs its interval"),
    ],
)
def test_claims_that_say_too_little(fields, message):
    with pytest.raises(ValueError, match=message):
        claim(**fields)


def test_a_ledger_survives_its_file(tmp_path):
    claims = (claim(), claim(id="C2", measured=None, interval=None, seeds=()))
    file = tmp_path / "ledger.json"
    file.write_text(json.dumps({"title": "T", "claims": [to_json(each) for each in claims]}))
    ledger = Ledger.stored(file)
    assert ledger == Ledger(claims, "T")
    assert ledger.counts() == {"reproduced": 1, "needs weights": 1}


def test_a_file_without_claims(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ValueError, match="holds no claims"):
        Ledger.stored(tmp_path / "a.json")


def test_the_page_of_claims_is_that_of_the_stored_results():
    written = (Path(__file__).parents[1] / "CLAIMS.md").read_text(encoding="utf-8")
    assert written == markdown(ledgers(assets() / "results")), "run `make reproduce`"


def test_the_page_counts_and_escapes():
    one = Ledger((claim(), claim(id="C2", statement="a | <b> & c", measured=None, interval=None, seeds=())), "T | x")
    page = markdown([one, Ledger((claim(interval=(-0.3, -0.1), seeds=(-0.2,)),), "other")])
    assert "3 claims: 1 reproduced, 1 contradicted, 1 needs weights." in page
    assert "## T \\| x\n\np: 1 reproduced, 1 needs weights." in page
    rows = [line for line in page.splitlines() if line.startswith("| C")]
    assert len(rows) == 3
    assert "| a \\| &lt;b> &amp; c |" in rows[1]
    assert rows[2].endswith("| contradicted |")


def test_results_without_claims_are_no_ledger(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "b.json").write_text(json.dumps({"title": "B", "claims": [to_json(claim())]}))
    assert [each.title for each in ledgers(tmp_path)] == ["B"]
