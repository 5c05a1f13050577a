"""The diagnostic's recipe in small: what it counts, what follows from it, and that what is stored belongs to what stands here."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from recipes import measure_rules, rules_claims
from recipes.files import sha256
from recipes.scenes_clip import Config
from workbench.claims import Ledger
from workbench.controlled import measured_curve
from workbench.data.scenes import CATEGORIES, quads
from workbench.evaluation import group_scores
from workbench.fine_grained import CONTROLS, FREE, RESULT, SCORERS, measured_costs, measured_diagnostic
from workbench.fine_grained.diagnostic import tied
from workbench.matching import RULES
from workbench.models.registry import load_model
from workbench.paths import assets
from workbench.plots import crop_costs, curve, interaction, intervals

FILE = assets() / "results" / RESULT
N = 24  # quads of planted rows
ALL = (*SCORERS, *(f"control: {name}" for name in CONTROLS))


@pytest.fixture(scope="module")
def planted():
    """Rows as the recipe leaves them: crops always right, global never, everything else by chance."""
    draws = np.random.default_rng(0)

    def told(scorer="random", n=N):
        fixed = {"crops": "1", "global": "0"}.get(scorer)
        return fixed * n if fixed else "".join(draws.choice(list("01t"), n))

    def answers():
        return {c: {name: {s: told(name) for s in measure_rules.SCORES} for name in ALL} for c in CATEGORIES}

    found = []
    for job in measure_rules.jobs():
        config, which = job.make.args[0], job.name.partition(", ")[2]
        row = {"run": config.run, "seed": config.seed}
        if which == "crops":
            layouts = {"1": 1, "86": 86, "270": 270, "86 at random places": 86}
            crops = {
                name: {"encoded": 40 * k, "seconds": 0.5 * k, "group": {c: told() for c in CATEGORIES}}
                for name, k in layouts.items()
            }
            found.append({**row, "n": N, "pictures": 40, "crops": crops})
            continue
        step, full = job.make.args[1], job.make.args[3] == measure_rules.FULL
        wrong = {c: {f"{q:g}": told() for q in measure_rules.WRONG} for c in CATEGORIES} if full else {}
        row |= {"step": step, "set": which, "n": N, "scores": answers(), "wrong segments": wrong}
        if which == measure_rules.TRAINED:
            one = {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 500}
            row |= {"single": {"colour": one, "shape": one, "both": one}, "probe": told().replace("t", "0")}
        found.append(row)
    return found


@pytest.fixture(scope="module")
def rows(planted):
    return json.loads(json.dumps(rules_claims.summary(planted)))


@pytest.fixture
def stored_rows(rows, tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / RESULT).write_text(json.dumps({"rows": rows, "claims": rules_claims.claims(rows)}))
    monkeypatch.setattr("workbench.paths.assets", lambda: tmp_path)
    return tmp_path / "results" / RESULT


# What is counted --------------------------------------------------------------------------------------------------------


def test_every_row_has_a_name_and_a_file_of_its_own():
    found = list(measure_rules.jobs())
    assert len(found) == (5 + 2 + 1) + 2 * (3 + 2 + 1)
    assert len({job.name for job in found}) == len({job.file for job in found}) == len(found)


def test_what_is_right_is_what_the_package_counts():
    scores = torch.randint(0, 3, (200, 2, 2), generator=torch.Generator().manual_seed(0)).float()
    found, groups = measure_rules.judged(scores), group_scores(tied(scores))
    for name in measure_rules.SCORES:
        assert found[name].count("1") / 200 == pytest.approx(getattr(groups, name)), name
        assert found[name].count("t") / 200 == pytest.approx(groups.tie_rates[name]), name


def test_a_constant_scorer_is_never_right_and_additive_scores_have_no_sign():
    assert set(measure_rules.judged(torch.ones(5, 2, 2))["group"]) == {"t"}
    picture, caption = torch.randn(2, 100, 2, generator=torch.Generator().manual_seed(0))
    found = measure_rules.judged(picture[:, :, None] + caption[:, None])
    assert "1" not in found["interaction_sign"] + found["group"]


@pytest.fixture
def tiny(clip_folder, tmp_path, monkeypatch):
    """The recipe on a random CLIP, one category, three quads."""
    model = load_model(f"local-dir:{clip_folder}", device="cpu")
    weights = tmp_path / "weights"
    weights.write_bytes(b"some")
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path))
    monkeypatch.setattr(measure_rules, "model_of", lambda config, step: model)
    monkeypatch.setattr(measure_rules, "step_file", lambda config, step: weights)
    monkeypatch.setattr(measure_rules, "CATEGORIES", ("Colour",))
    monkeypatch.setattr(measure_rules, "FULL", 3)
    return model


def test_a_row_holds_an_answer_of_every_scorer_to_every_quad(tiny, monkeypatch):
    row = measure_rules.read(Config(), 600, "held-out combinations", 3)
    assert list(row["scores"]["Colour"]) == list(ALL)
    assert {len(each) for scorer in row["scores"]["Colour"].values() for each in scorer.values()} == {3}
    assert list(row["wrong segments"]["Colour"]) == ["0", "0.25", "0.5", "0.59", "0.75", "1"]
    assert row["wrong segments"]["Colour"]["0"] == row["scores"]["Colour"]["crops"]["group"]
    assert row["wrong segments"]["Colour"]["1"] == row["scores"]["Colour"]["control: permuted segments"]["group"]
    monkeypatch.setattr(measure_rules, "quad_parts", None)  # a second reading encodes nothing
    assert measure_rules.read(Config(), 600, "held-out combinations", 3)["scores"] == row["scores"]


def test_other_weights_are_encoded_again(tiny, tmp_path):
    one = measure_rules.kept_parts(Config(), 600, measure_rules.TRAINED, "Colour", 3)
    (tmp_path / "weights").write_bytes(b"others")
    calls = []
    measure_rules_parts = measure_rules.quad_parts
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure_rules, "quad_parts", lambda *args: calls.append(1) or measure_rules_parts(*args))
        two = measure_rules.kept_parts(Config(), 600, measure_rules.TRAINED, "Colour", 3)
    assert calls == [1]
    assert torch.equal(one.image.post, two.image.post)


def test_encodings_are_counted_where_they_are_made(tiny):
    row = measure_rules.crop_costs(Config(), 2)
    counted = {name: each["encoded"] / row["pictures"] for name, each in row["crops"].items()}
    assert counted == {"1": 1, "86": 86, "270": 270, "86 at random places": 86}
    assert all(each["seconds"] > 0 for each in row["crops"].values())
    grid = measure_rules.kept_parts(Config(), measure_rules.AT, measure_rules.TRAINED, "Colour", 3)[:2]
    again = measure_rules.judged(measure_rules.rule_scores(grid, "crops"))["group"]
    assert row["crops"]["86"]["group"]["Colour"] == again


def test_a_probe_is_right_of_a_quad_where_all_four_objects_are(monkeypatch):
    colours = ("red", "blue", "green")

    def objects(model, drawn):
        labels = np.array([colours[k % 3] for k in range(4 * len(drawn))])
        features = torch.eye(3)[[colours.index(each) for each in labels]]
        if drawn[0].id.split("/")[3] == str(measure_rules.SEED):
            features[5] = torch.eye(3)[(5 + 1) % 3]  # an object of the second quad
        return features + 0.01 * torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(0)), labels

    monkeypatch.setattr(measure_rules, "CURVE", 9)
    monkeypatch.setattr(measure_rules, "model_of", lambda config, step: None)
    monkeypatch.setattr(measure_rules, "_objects", objects)
    assert measure_rules.probed(Config(), 600) == "101111111"


def test_objects_are_named_by_their_own_colour(tiny):
    drawn = quads("Colour", 2, 0)
    features, labels = measure_rules._objects(tiny, drawn)
    assert features.shape == (8, 24)
    for q, quad in enumerate(drawn):
        for k, scene in enumerate(quad.scenes):
            said = {thing.colour for thing in scene.things}
            assert set(labels[4 * q + 2 * k : 4 * q + 2 * k + 2]) == said


def test_a_row_that_is_there_is_not_made_again(tiny, tmp_path):
    job = next(measure_rules.jobs())
    made = []
    job = replace(job, make=lambda: made.append(1) or {"some": "row"}, weights=tmp_path / "weights")
    assert measure_rules.measured(job, False) is None
    first = measure_rules.measured(job, True)
    assert measure_rules.measured(job, True) == first
    assert made == [1]
    assert measure_rules.measured(replace(job, weights=tmp_path / "none"), True) is None
    with pytest.raises(ValueError, match="no row begins with 'nonsense'; there are free-seed0@600"):
        measure_rules.main(["nonsense"])


# What follows -----------------------------------------------------------------------------------------------------------


def test_scores_are_means_over_the_seeds_that_got_so_far(planted, rows):
    found = rows["scores"][rules_claims.TRAINED]
    assert {step: len(each["seeds"]) for step, each in found.items()} == dict.fromkeys(("600", "1000", "2000"), 3) | {
        "4000": 1,
        "8000": 1,
    }
    mean, low, high, ties, *seeds = found["600"]["categories"]["Size"]["late"]["group"]
    shown = [row for row in planted if (row.get("set"), row.get("step")) == (rules_claims.TRAINED, 600)]
    own = [row["scores"]["Size"]["late"]["group"] for row in shown]
    assert seeds == pytest.approx([each.count("1") / N for each in own], abs=1e-4)
    assert mean == pytest.approx(np.mean(seeds), abs=1e-4)
    assert ties == pytest.approx(np.mean([each.count("t") / N for each in own]), abs=1e-4)
    assert low <= mean <= high


def test_differences_are_paired_and_of_the_right_sign(rows):
    found = rows["differences"][rules_claims.TRAINED]["1000"]
    assert found["crops − global"]["Colour"] == {"mean": 1.0, "low": 1.0, "high": 1.0, "n": N, "by_seed": [1.0] * 3}
    assert set(rules_claims.AGAINST.values()) <= set(found)
    assert {rules_claims.WRONG, rules_claims.PLACES, rules_claims.SIGN, rules_claims.GAIN} <= set(found)
    assert set(rows["differences"]) == set(measure_rules.SETS)


def test_claims_have_the_letters_of_the_plan_and_the_verdicts_of_the_numbers(rows):
    found = rules_claims.claims(rows)
    assert {each["id"] for each in found} == set("ABCDHIJ")
    verdicts = {each["statement"]: each["verdict"] for each in found}
    assert verdicts["crops − global, Colour, domain B"] == "reproduced"
    assert verdicts["global cosine, group − chance, Relation"] == "reproduced"
    assert verdicts["crops, group − chance, Size"] == "contradicted"
    assert verdicts["encodings of a picture, overlap"] == "reproduced"
    assert verdicts["close-ups named by colour and shape, share − 95 %"] == "contradicted"
    assert [each["verdict"] for each in found if each["id"] == "H"] == ["needs weights"]


def test_what_is_stored_is_read_and_drawn(stored_rows):
    found = measured_diagnostic()
    assert found.sets == list(measure_rules.SETS)
    assert found.seeds[rules_claims.TRAINED][4000] == (0,)
    assert found.at().groups["scenes-clip@1000", "Colour", "crops"].group == 1
    assert len(found.by_seed[rules_claims.TRAINED][1000]["Colour", "late"]["group"]) == 3
    points = found.curve()
    assert [step for step, _ in points] == [600, 1000, 2000, 4000, 8000]
    assert curve.spec(points)["lines"]["Colour"]["crops"]["percent"] == [100] * 5
    assert [panel["title"] for panel in intervals.spec(found.panels())["panels"]] == ["global", "crops"]
    assert len(intervals.spec(found.ways())["names"]) == 10
    assert found.gains("crops − global")["crops − global"]["Colour"].mean == 1
    assert len(found.table().rows) == len(SCORERS)
    assert len(found.controls().rows) == 1 + len(CONTROLS)
    drawn = interaction.spec(found.at(), ["global", "crops"])
    assert [each["name"] for each in drawn["scorers"]] == ["global", "crops"]


def test_costs_are_read_and_drawn(stored_rows):
    found = measured_costs()
    assert found.encodings["270"] == 270
    assert found.ratios["86"] == (86.0,) * 3
    assert set(found.wrong["Colour"]) == set(measure_rules.WRONG)
    assert [row[1] for row in found.table().rows] == ["1", "86", "270", "86"]
    assert crop_costs.spec(found)["x"] == [1, 86, 270]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda found: found.at(700), "no step of 'trained combinations' 700; there are 600"),
        (lambda found: found.at(which="here"), "no set 'here'; there are trained"),
        (lambda found: found.curve(["best"]), "no scorer 'best'; there are global"),
        (lambda found: found.panels(score="sign"), "no score 'sign'; there are image_to_text"),
        (lambda found: found.gains("more"), "no difference 'more'; there are crops − global"),
    ],
)
def test_what_was_not_measured_is_named(stored_rows, call, message):
    with pytest.raises(ValueError, match=message):
        call(measured_diagnostic())


# What is stored ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored():
    return json.loads(FILE.read_text(encoding="utf-8"))


def test_numbers_are_of_the_scripts_that_stand_here(stored):
    claims = sha256(FILE.parents[2] / "recipes" / "rules_claims.py")
    known = {**measure_rules.digests(), "rules_claims.py": claims}
    assert stored["digests"] == known, "run `python -m recipes.measure_rules`"


def test_claims_follow_from_the_rows_and_verdicts_from_the_claims(stored):
    assert json.loads(json.dumps(rules_claims.claims(stored["rows"]))) == stored["claims"]
    assert [each.verdict for each in Ledger.stored(FILE).claims] == [each["verdict"] for each in stored["claims"]]


def test_the_curve_is_that_of_the_other_recipe():
    """The same quads, weights and four of the rules, by the workbench's other path."""
    found = measured_diagnostic().by_seed[rules_claims.TRAINED]
    for step, scores in measured_curve("free-seed0"):
        if step == measure_rules.AT:
            continue  # a thousand quads here
        for (_, category, rule), groups in scores.groups.items():
            own = found[step][category, {"boxes": "crops, true boxes"}.get(rule, rule)]["group"][0]
            assert own == pytest.approx(groups.group, abs=0.011), (step, category, rule)


def test_the_readme_says_what_is_stored():
    written = (FILE.parents[2] / "README.md").read_text(encoding="utf-8")
    groups = {key[1:]: each for key, each in measured_diagnostic().at().groups.items()}
    percent = {
        scorer: [f"{100 * groups[c, scorer].group:.1f} %" for c in ("Colour", "Material")]
        for scorer in ("global", "crops")
    }
    assert f"{percent['global'][0]} of Colour quads and {percent['global'][1]} of Material's" in written
    assert f"on the same frozen weights, {percent['crops'][0]} and {percent['crops'][1]}" in written
    patches = [scorer for scorer in FREE if "tokens" in RULES[scorer].image]
    most = max(each.group for (_, scorer), each in groups.items() if scorer in patches)
    assert f"at most {100 * most:.1f} %" in written
    signs = [f"{100 * groups['Colour', scorer].interaction_sign:.1f} %" for scorer in ("global", "crops")]
    assert f"right in {signs[0]} of Colour quads, and in {signs[1]} by crops" in written
    elsewhere = measured_costs().group["86 at random places"]["Colour"]
    assert f"{100 * elsewhere.mean:.1f} % of Colour with as many crops at random places" in written
