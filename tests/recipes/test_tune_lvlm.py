"""The recipes of VladVA's ladder: their rows, what they are summed up to, one row in small, and what ships."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recipes import discriminative_claims, look_into_lvlm, tune_scenes_lvlm, tuned_lvlm
from recipes.discriminative_claims import ALL, BEFORE, BEHIND, BOTH, GROUPS, LONG, SOFT, START, answers
from recipes.files import sha256
from recipes.rows import Rows
from workbench.claims import Ledger
from workbench.data.scenes.asking import long_caption
from workbench.discriminative import LADDER, DiscriminativeConfig, TwoCaptions
from workbench.discriminative.run import steps_until
from workbench.discriminative.stored import SHOWN, measured_ladder
from workbench.fine_tuning import Trial
from workbench.fine_tuning.evaluation import COMPOSITION, SIDES, TO_TEXT
from workbench.models.registry import load_model
from workbench.models.weights import weights_digest
from workbench.paths import assets

RESULT = assets() / "results" / look_into_lvlm.RESULT
FOLDER = Path(tune_scenes_lvlm.__file__).parent
STARTS = tuple(tune_scenes_lvlm.STARTS)


@pytest.fixture(scope="module")
def stored():
    return json.loads(RESULT.read_text(encoding="utf-8"))


# Rows -------------------------------------------------------------------------------------------------------------------


def test_rows_are_made_once_and_kept(tmp_path, capsys):
    made = []
    rows = Rows(tmp_path, {"a: one": lambda: made.append(1) or {"n": 1}, "b": lambda: {"n": 2}}, {"script": "x"})
    assert rows.row("a: one") == rows.row("a: one") == {"n": 1}
    assert made == [1]
    assert rows.row("b", wanted=False) is None
    assert rows.all(["a"]) is None
    assert "to be measured: b" in capsys.readouterr().out
    assert rows.all([]) == {"a: one": {"n": 1}, "b": {"n": 2}}
    other = replace(rows, digests={"script": "y"})
    assert other.row("b", wanted=False) is None, "kept by another script"
    with pytest.raises(ValueError, match="no row begins with 'c'; there are a: one, b"):
        rows.all(["c"])


def test_every_row_has_a_name():
    make = tune_scenes_lvlm.rows().make
    assert len(make) == 2 + 2 + 2 * 4 * 3 + 2
    assert next(name for name in make if name.endswith("seed 2")) == "E5-V: soft prompts, seed 2"
    assert set(look_into_lvlm.rows().make) == {f"look into {name}" for name in make if not name.startswith("rate")}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Three steps on 16 scenes, asked four items of each measure."""
    shown = tune_scenes_lvlm.distinct(16, "small")
    pictures, long = tune_scenes_lvlm._pictures(shown), [long_caption(each) for each in shown]
    few = TwoCaptions(pictures, [each.caption for each in shown], long)
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path))
    monkeypatch.setattr(tune_scenes_lvlm, "pairs", lambda kind="short": few)
    monkeypatch.setattr(tune_scenes_lvlm, "trial", lambda *_: Trial(4))
    monkeypatch.setattr(tune_scenes_lvlm, "to_write", lambda: (shown, pictures))
    monkeypatch.setattr(tune_scenes_lvlm, "to_tell", lambda: (shown, pictures))
    monkeypatch.setattr(look_into_lvlm, "pairs", lambda: (pictures, [each.caption for each in shown]))
    monkeypatch.setattr(tune_scenes_lvlm, "SIZE", {"batch_size": 8, "steps": 3, "warmup": 1, "every": 1})
    config = DiscriminativeConfig(learning_rate=1e-3, prompt_rate=1e-2, rank=4)
    made = lambda rung, seed: replace(  # noqa: E731
        LADDER[rung], **tune_scenes_lvlm.SIZE, learning_rate=1e-3, prompt_rate=1e-2, seed=seed, rank=config.rank
    )
    monkeypatch.setattr(tune_scenes_lvlm, "config_of", made)


@pytest.mark.parametrize("start", STARTS)
def test_a_row_in_small(small, start):
    row = tune_scenes_lvlm.tuned("one", start, "both, next token", 0)
    assert len(row["losses"]) == 3
    assert set(row["right"]) == set(SIDES)
    assert len(row["nats"]) == len(row["tokens"]) == len(row["f1"]) == 16
    assert (row["start"], row["row"], row["seed"]) == (start, "both, next token", 0)
    saved = load_model(f"lvlm:{tune_scenes_lvlm.model_of('one')}", device="cpu")
    assert saved.soft_prompts
    seen = look_into_lvlm.look(saved)
    assert len(seen["entropy of pictures"]) == len(seen["support"]) == len(seen[BEHIND]) == 16
    assert np.array(seen["maps"]).shape == (4, 4, 16)


def test_a_rate_is_the_first_of_the_best(small, monkeypatch):
    monkeypatch.setattr(tune_scenes_lvlm, "RATES", {"LoRA": (1e-9, 2e-9)})
    found = tune_scenes_lvlm.rates("LoRA")
    assert found["rate"] == 1e-9, "so small a rate changes nothing"
    assert set(found["rates"]) == {"1e-09", "2e-09"}


def test_training_sees_each_contents_once():
    shown = tune_scenes_lvlm.distinct(200, tune_scenes_lvlm.TRAIN_SEED)
    assert len({each.contents for each in shown}) == 200


# What is summed up ------------------------------------------------------------------------------------------------------


def test_groups_are_of_the_measures_that_are_there(stored):
    measures = stored["rows"]["ladder"][START][BEFORE]["measures"][COMPOSITION]
    assert set().union(*GROUPS.values()) <= set(measures)


def test_means_are_those_of_their_measures(stored):
    for own in stored["rows"]["ladder"].values():
        for row in own.values():
            for group, names in GROUPS.items():
                mean = np.mean([row["measures"][COMPOSITION][name]["mean"] for name in names])
                assert row["sides"][group]["mean"] == pytest.approx(mean, abs=1e-4)


def test_differences_are_of_the_means(stored):
    for start, found in stored["rows"]["differences"].items():
        for what, row in found.items():
            a, b = what.split(" − ")
            for side in SIDES:
                means = [stored["rows"]["ladder"][start][each]["sides"][side]["mean"] for each in (a, b)]
                assert row[side]["mean"] == pytest.approx(means[0] - means[1], abs=2e-4)


def test_the_share_of_the_gain_by_hand(stored):
    for start, found in stored["rows"]["share of the gain"].items():
        own = stored["rows"]["ladder"][start]
        base, soft, both = (own[row]["sides"][TO_TEXT]["mean"] for row in (BEFORE, SOFT, BOTH))
        assert found[TO_TEXT]["mean"] == pytest.approx((soft - base) / (both - base), abs=0.01)


def test_net_takes_off_what_wording_decides():
    names = GROUPS["swap"]
    row = {
        "right": {COMPOSITION: dict.fromkeys(names, "1110")},
        "beside": {n.removeprefix("choose: "): "1001" for n in names},
    }
    assert answers(row, "swap, net").tolist() == [0, 1, 1, -1] * 2


def test_net_differences_are_of_net_means(stored):
    for start, found in stored["rows"]["differences"].items():
        for what, row in found.items():
            a, b = (stored["rows"]["ladder"][start][each]["sides"]["swap, net"]["mean"] for each in what.split(" − "))
            assert row["swap, net"]["mean"] == pytest.approx(a - b, abs=2e-4)


def test_answers_of_a_group_count_each_measure_alike():
    right = {COMPOSITION: dict.fromkeys(GROUPS["swap"], "10") | {"choose: negate": "11"}}
    assert answers({"right": right}, "swap").mean() == 0.5
    assert answers({"right": right}, COMPOSITION).mean() == pytest.approx(2 / 3)


# What is stored and what ships ------------------------------------------------------------------------------------------


def test_numbers_are_of_the_scripts_and_weights_that_stand_here(stored):
    scripts = (*tune_scenes_lvlm.SCRIPTS, "look_into_lvlm.py", "discriminative_claims.py")
    for name in scripts:
        assert stored["digests"][name] == sha256(FOLDER / name), f"{name}: run `make assets`"
    weights = assets() / "models" / "scenes-lvlm" / "model.safetensors"
    assert stored["digests"]["weights"] == sha256(weights)


def test_claims_follow_from_the_rows(stored):
    again = json.loads(json.dumps(discriminative_claims.claims(stored["rows"])))
    assert again == stored["claims"], "run `python -m recipes.look_into_lvlm`"
    ledger = Ledger.stored(RESULT)
    assert {each.id for each in ledger.claims} == {*(f"V{k}" for k in range(1, 8)), "Table 4"}


@pytest.mark.parametrize("start", STARTS)
def test_the_ladder_is_read_back(stored, start):
    found = measured_ladder(start)
    assert set(found.sides) == {BEFORE, *LADDER, LONG}
    assert found.sides[ALL]["swap"].mean == stored["rows"]["ladder"][start][ALL]["sides"]["swap"]["mean"]
    assert {side: len(each) for side, each in found.by_seed[ALL].items()} == dict.fromkeys(found.by_seed[ALL], 3)
    assert list(found.labelled()["both"]) == list(SHOWN)
    assert found.until["long"] == (steps_until(found.contrast["long"], 0.05),)
    assert found.maps[ALL].shape == (4, 4, 16)
    assert found.readings[ALL].pictures.tokens
    for table in (found.table(), found.within(), found.against("both − LoRA")):
        assert len(table.rows) in (1, 5)
    captions = found.captions(0, 5).rows
    assert [who for who, _ in captions] == ["there", "before tuning", "both", "both + next token"] * 2
    assert captions[0][1] == found.told[0]["true"]
    assert all(said for _, said in found.captions().rows)
    with pytest.raises(ValueError, match="no difference 'LoRA − both'"):
        found.against("LoRA − both")
    with pytest.raises(ValueError, match="no start 'other'"):
        measured_ladder("other")


def test_what_ships_is_the_run_that_was_measured(stored):
    model = load_model(tuned_lvlm.NAME, device="cpu")
    training = json.loads((tuned_lvlm.model_folder() / "training.json").read_text(encoding="utf-8"))
    assert training["steps"] == 200
    assert training["seed"] == tuned_lvlm.SEED
    assert {side: tuple(each.shape) for side, each in model.soft_prompts.items()} == {
        "image": (7, 128),
        "text": (7, 128),
    }
    assert weights_digest(model.module) == model.card.digest
    log = [json.loads(line) for line in (tuned_lvlm.model_folder() / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 200
    assert log[-1]["loss"] < log[0]["loss"]
    assert sum(file.stat().st_size for file in tuned_lvlm.model_folder().iterdir()) < 16e6


def test_the_shipped_model_answers_as_it_was_measured(stored):
    """Some of the trial's items again: a mean within what so few may differ by."""
    model = load_model(tuned_lvlm.NAME, device="cpu")
    shown = tune_scenes_lvlm.distinct(100, "again")
    pictures, texts = tune_scenes_lvlm._pictures(shown), [each.caption for each in shown]
    found = [model.encode_image(pictures).post, model.encode_text(texts).post]
    image, text = (each / each.norm(dim=1, keepdim=True) for each in found)
    right = ((image @ text.T).argmax(1).numpy() == np.arange(100)).mean()
    assert right > stored["rows"]["ladder"][START][ALL]["sides"][TO_TEXT]["mean"] - 0.06


def test_the_card_is_written_from_the_result(stored):
    training = json.loads((tuned_lvlm.model_folder() / "training.json").read_text(encoding="utf-8"))
    card = (tuned_lvlm.model_folder() / "README.md").read_text(encoding="utf-8")
    assert card == tuned_lvlm.card(training, stored)


def test_the_readme_says_these_numbers(stored):
    written = (assets().parent / "README.md").read_text(encoding="utf-8")
    plain = stored["rows"]["ladder"]["plain"]
    found = {row: f"{100 * plain[row]['sides'][TO_TEXT]['mean']:.1f}" for row in plain}
    f1 = {row: f"{100 * plain[row]['f1']['mean']:.1f}" for row in plain}
    swap = stored["rows"]["differences"]["plain"][f"{ALL} − {BOTH}"]["swap, net"]
    told = "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * swap[key] for key in ("mean", "low", "high")))
    assert (
        f"finds {found[BEFORE]} percent of texts; three soft words bring that to {found[SOFT]}, adapters to {found['LoRA']}"
        in written
    )
    assert (
        f"from {f1[BEFORE]} to {f1[BOTH]}); the next-token loss keeps {f1[ALL]}, at {found[ALL]} of texts found"
        in written
    )
    assert f"adds {told} points where nouns or attributes are swapped, less what wording decides" in written
    prompts = json.loads((assets() / "results" / "prompts.json").read_text(encoding="utf-8"))
    row = prompts["correlations"]["over tasks"]["R@1, picture → text"]
    assert (
        f"(ρ {row['r']:.2f} over {row['n']} wordings, interval over tasks {row['low']:.2f} to {row['high']:.2f})".replace(
            "-", "−"
        )
        in written
    )
