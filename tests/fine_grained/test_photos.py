"""The stored diagnostic on photographs: what the reader makes of it, and what it refuses."""

import json

import pytest

from workbench.fine_grained import CONTROLS, SCORERS, measured_photos
from workbench.fine_grained.photos import EXACT, EXACT_TRUE, RESULT
from workbench.paths import assets
from workbench.plots import interaction, intervals

SCORES = ("image_to_text", "text_to_image", "group", "interaction_sign")
ALL = (*SCORERS, EXACT, EXACT_TRUE, *(f"control: {name}" for name in CONTROLS))
N = {"Colour": 120, "Size": 120, "Other pair": 60}


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A small result: scorer k scores (k + 1) percent in Colour, twice that elsewhere."""

    def row(category):
        each = 1 if category == "Colour" else 2
        made = {name: {score: [each * (k + 1) / 100, 0.0, 1.0, 0.02] for score in SCORES} for k, name in enumerate(ALL)}
        return {"n": N[category], "scorers": made}

    told = {"mean": 0.25, "low": 0.125, "high": 0.5, "n": 120, "by_seed": [0.25]}
    rows = {
        "scores": {category: row(category) for category in N},
        "differences": {"crops − global": dict.fromkeys(N, told)},
        "named": {"Colour": {"true boxes re-encoded": {"object": told, "colour": told}}},
    }
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / RESULT).write_text(json.dumps({"rows": rows, "weights": {"some-model": "digest"}}))
    monkeypatch.setattr("workbench.paths.assets", lambda: tmp_path)
    return measured_photos()


def test_the_table_has_every_rule_and_category(planted):
    table = planted.table()
    assert planted.categories == list(N)
    assert table.header == ("model", "scorer", *N)
    assert [row[1] for row in table.rows] == [*SCORERS, EXACT, EXACT_TRUE]
    assert {row[0] for row in table.rows} == {"some-model"}
    assert table.rows[1][2].startswith("2.0")
    assert table.rows[1][3].startswith("4.0")
    assert "n = 60–120 per category, chance 16.7" in table.caption


def test_controls_stand_below_crops(planted):
    assert [row[1] for row in planted.controls().rows] == ["crops", *(f"control: {name}" for name in CONTROLS)]


def test_figures_take_what_the_record_gives(planted):
    shown = planted.panels(("global", "crops", EXACT))
    assert shown["global"]["Size"].mean == 0.02
    assert [panel["title"] for panel in intervals.spec(shown)["panels"]] == ["global", "crops", EXACT]
    assert len(intervals.spec(planted.ways())["names"]) == 2 * len(N)
    assert planted.gains("crops − global")["crops − global"]["Colour"].mean == 0.25
    drawn = interaction.spec(planted.some(("global", "crops")), ["global", "crops"])
    assert [each["name"] for each in drawn["scorers"]] == ["global", "crops"]


def test_parts_are_told_by_reading(planted):
    assert planted.parts().rows[1][:3] == ("Colour", "true boxes re-encoded", "colour")
    assert planted.parts().rows[0][3].startswith("25.0")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda found: found.panels(["best"]), "no scorer 'best'; there are global"),
        (lambda found: found.panels(score="sign"), "no score 'sign'; there are image_to_text"),
        (lambda found: found.gains("more"), "no difference 'more'; there are crops − global"),
    ],
)
def test_what_was_not_measured_is_named(planted, call, message):
    with pytest.raises(ValueError, match=message):
        call(planted)


@pytest.mark.skipif(not (assets() / "results" / RESULT).is_file(), reason="run the recipe measure_rules_photos")
def test_what_ships_is_read():
    found = measured_photos()
    assert found.categories[:2] == ["Colour", "Relation"]
    assert {row[0] for row in found.table().rows} == {"lite2-minilm"}
    assert all(groups.n >= 120 for key, groups in found.scores.groups.items() if key[1] != "Other pair")
    assert {row[0] for row in found.parts().rows} == {"Colour", "Relation"}
