"""The recipe on photographs in small, with a random CLIP on cut-outs of ours; and that what is stored belongs to what is here."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from recipes import measure_rules_photos as recipe
from recipes import photos_claims
from recipes.files import sha256
from recipes.measure_rules import SCORES
from workbench.claims import Ledger
from workbench.data.scenes import draw
from workbench.data.scenes.cutouts import photo_quads
from workbench.data.scenes.tinted import TINTS, tinted_cutter
from workbench.fine_grained import CONTROLS, SCORERS
from workbench.fine_grained.photos import EXACT, EXACT_TRUE, RESULT, measured_photos
from workbench.matching import crop_features, score
from workbench.models.registry import load_model
from workbench.paths import assets

FILE = assets() / "results" / RESULT
ALL = (*SCORERS, EXACT, EXACT_TRUE, *(f"control: {name}" for name in CONTROLS))
NAMES = ("bar", "disc", "ring")
N = 24  # quads of planted rows


@pytest.fixture
def tiny(clip_folder, tmp_path, monkeypatch):
    """The recipe on a random CLIP, three cut-outs of ours and four quads."""
    y, x = np.mgrid[0:40, 0:40]
    radius = (x - 20) ** 2 + (y - 20) ** 2
    for name, inside in zip(NAMES, (abs(y - 20) < 6, radius < 200, abs(radius - 200) < 90), strict=True):
        rgba = np.dstack([x * 6, y * 6, x * 3, np.where(inside, 255, 0)]).astype(np.uint8)
        Image.fromarray(rgba).save(tmp_path / f"{name}.png")
    model = load_model(f"local-dir:{clip_folder}", device="cpu")
    found = {name: tmp_path / f"{name}.png" for name in NAMES}
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "runs"))
    for name, value in {
        "NAMES": NAMES,
        "QUADS": 4,
        "COMPARED": 2,
        "model_of": lambda: model,
        "quick": lambda: recipe.Quick(model, model.forward_image),
        "pictures": lambda: found,
        "bits": lambda: "drawn",
        "weights": lambda: "weights",
    }.items():
        monkeypatch.setattr(recipe, name, value)
    return model


# Rows -------------------------------------------------------------------------------------------------------------------


def test_a_row_holds_an_answer_of_every_scorer_to_every_quad(tiny, monkeypatch):
    row = recipe.read("Colour")
    assert list(row["scores"]) == list(ALL)
    assert {len(each) for scorer in row["scores"].values() for each in scorer.values()} == {4}
    assert {len(each) for reading in row["named"].values() for each in reading.values()} == {16}
    assert list(row["named"]) == list(recipe.READINGS)
    monkeypatch.setattr(recipe, "quad_parts", None)  # a second reading encodes nothing
    assert recipe.read("Colour") == row


def test_crops_come_a_few_at_a_time_and_are_those_of_the_model(tiny):
    picture = draw(recipe.drawn("Relation")[0].scenes[0], 64, cutter=tinted_cutter(recipe.pictures()))
    sizes = []
    forward = lambda pixels: sizes.append(len(pixels)) or tiny.forward_image(pixels)  # noqa: E731
    found = crop_features(recipe.Quick(tiny, forward, 8), [picture])
    assert max(sizes) == 8
    assert sum(sizes) == 86
    assert torch.allclose(found.tokens, crop_features(tiny, [picture]).tokens, atol=1e-5)


def test_the_exact_map_pools_cells_as_they_are(tiny):
    parts = recipe.kept_parts("Relation")
    found = recipe.exact_scores(parts, EXACT)
    one = parts[2:3]
    frames = [(0, 0, 64, 64)] * 2
    alone = score("roi", one.image, one.segments, boxes=one.crops.boxes, frames=frames, normalize="whole")
    assert torch.allclose(found[2], alone, atol=1e-5)
    assert not torch.allclose(found, recipe.rule_scores(parts, "roi"), atol=1e-5)
    assert not torch.allclose(found, recipe.exact_scores(parts, EXACT_TRUE), atol=1e-5)


def test_the_other_pair_is_two_quads_first_pictures_and_captions(tiny, monkeypatch):
    parts, seen = recipe.kept_parts("Relation"), []
    monkeypatch.setattr(recipe, "answers", lambda found: seen.append(found) or {})
    row = recipe.other_pair()
    assert (row["n"], row["category"]) == (2, "Other pair")
    for k in range(2):
        for side in range(2):
            expected = parts.image.post[2 * (2 * k + side)]
            assert torch.equal(seen[0].image.post[2 * k + side], expected)
            assert seen[0].segments.texts[2 * k + side] == parts.segments.texts[2 * (2 * k + side)]


def test_objects_are_named_by_what_stands_in_their_boxes(tiny):
    quads = recipe.drawn("Colour")
    parts = recipe.kept_parts("Colour")
    things = [(colour, name) for colour in TINTS for name in NAMES]
    texts = tiny.encode_text([recipe.Thing(name, colour).phrase for colour, name in things]).post
    shown = [scene.things[k] for quad in quads for scene in quad.scenes for k in scene.owners]
    perfect = torch.stack([texts[things.index((each.colour, each.shape))] for each in shown]).unflatten(0, (-1, 2))
    parts = replace(parts, objects=replace(parts.objects, tokens=perfect))
    told = recipe.named(parts, quads)["true boxes re-encoded"]
    assert told == dict.fromkeys(("object", "colour", "object and colour"), "1" * 16)
    inks = torch.stack([texts[things.index((each.colour, NAMES[0]))] for each in shown]).unflatten(0, (-1, 2))
    told = recipe.named(replace(parts, objects=replace(parts.objects, tokens=inks)), quads)["true boxes re-encoded"]
    assert told["colour"] == "1" * 16
    assert told["object"] == "".join("01"[each.shape == NAMES[0]] for each in shown) == told["object and colour"]


def test_precision_of_a_model_with_itself_is_perfect(tiny):
    found = recipe.precision()["precision"]
    assert found["same"] == found["n"] == 2
    assert found["largest"] < 1e-5
    assert found["between captions"] > 0


def test_a_row_that_is_there_is_not_made_again(tiny):
    made = []
    job = recipe.Job("some row", lambda: made.append(1) or {"some": "row"})
    assert recipe.measured(job, False) is None
    assert recipe.measured(job, True) == recipe.measured(job, True) == {"some": "row"}
    assert made == [1]
    with pytest.raises(ValueError, match="no row begins with 'nonsense'; there are Colour, Relation"):
        recipe.main(["nonsense"])


def test_without_stamps_it_says_so_and_stops(monkeypatch):
    def none():
        raise FileNotFoundError("run `apt-get install tuxpaint-stamps-default`")

    monkeypatch.setattr(recipe, "pictures", none)
    with pytest.raises(SystemExit, match="no photographs to compose: run `apt-get install"):
        recipe.main([])


# What follows -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows():
    """Crops always right, global never, everything else by chance; all objects named."""
    draws = np.random.default_rng(0)

    def told(scorer="random"):
        fixed = {"crops": "1", "global": "0"}.get(scorer)
        return fixed * N if fixed else "".join(draws.choice(list("01t"), N))

    found = [{"precision": {"n": 2, "same": 2, "largest": 0.0, "between captions": 0.1}}]
    for category in (photos_claims.LOCAL, *photos_claims.OTHERS, photos_claims.OTHER_PAIR):
        row = {"category": category, "n": N, "scores": {name: {s: told(name) for s in SCORES} for name in ALL}}
        if category in ("Colour", "Relation"):
            whats = ("object", "colour", "object and colour") if category == "Colour" else ("object",)
            row["named"] = {reading: dict.fromkeys(whats, "1" * 4 * N) for reading in recipe.READINGS}
        found.append(row)
    return json.loads(json.dumps(photos_claims.summary(found)))


def test_scores_and_differences_have_the_right_sign(rows):
    assert rows["scores"]["Colour"]["scorers"]["crops"]["group"] == [1, pytest.approx(1, abs=0.2), 1, 0]
    assert rows["differences"]["crops − global"]["Size"]["mean"] == 1
    assert rows["differences"]["crops − boxes of the exact map"]["Colour"]["mean"] > 0
    assert rows["named"]["Colour"]["true boxes re-encoded"]["object"]["n"] == N


def test_claims_have_the_letters_of_the_plan_and_the_verdicts_of_the_numbers(rows):
    found = photos_claims.claims(rows)
    assert [each["id"] for each in found] == sorted(each["id"] for each in found)
    assert {each["id"] for each in found} == set("ABCD")
    assert {each["scale"] for each in found} == {"lite2-minilm, composed photographs"}
    verdicts = {each["statement"]: each["verdict"] for each in found}
    assert verdicts["global cosine, group − chance, Relation"] == "reproduced"
    assert verdicts["crops − global, Colour"] == "reproduced"
    assert verdicts["crops − permuted segments, Colour"] == "reproduced"
    assert verdicts["crops, group − chance, Size"] == "contradicted"
    assert verdicts["true boxes named by object, share − 95 %, Relation"] == "reproduced"


# What is stored ---------------------------------------------------------------------------------------------------------

needs_result = pytest.mark.skipif(not FILE.is_file(), reason="run `python -m recipes.measure_rules_photos`")


@pytest.fixture(scope="module")
def stored():
    return json.loads(FILE.read_text(encoding="utf-8"))


@needs_result
def test_numbers_are_of_the_scripts_and_weights_that_stand_here(stored):
    claims = sha256(FILE.parents[2] / "recipes" / "photos_claims.py")
    assert stored["digests"] == {**recipe.scripts(), "photos_claims.py": claims}, "run the recipe again"
    assert stored["weights"] == {recipe.MODEL: recipe.weights()}
    assert stored["names"] == list(recipe.NAMES)


@needs_result
def test_claims_follow_from_the_rows_and_verdicts_from_the_claims(stored):
    assert json.loads(json.dumps(photos_claims.claims(stored["rows"]))) == stored["claims"]
    assert [each.verdict for each in Ledger.stored(FILE).claims] == [each["verdict"] for each in stored["claims"]]
    assert stored["rows"]["precision"]["largest"] < stored["rows"]["precision"]["between captions"] / 100


def test_folded_batch_norms_change_nothing_that_is_read():
    model = recipe.model_of()
    pixels = list(torch.rand(3, 3, 260, 260, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    found, expected = recipe.quick().encode_pixels(pixels), model.encode_pixels(pixels)
    assert torch.allclose(found.post, expected.post, atol=1e-5)
    assert torch.allclose(found.pre, expected.pre, atol=1e-4)


@needs_result
def test_what_ships_is_drawn_of_the_same_pictures(stored):
    try:
        assert stored["pictures"] == recipe.bits()
        assert len(photo_quads("Relation", 1, 0, pictures=recipe.pictures())) == 1
    except FileNotFoundError:
        pytest.skip("apt-get install tuxpaint-stamps-default")
    assert measured_photos().scores.groups[recipe.MODEL, "Colour", "crops"].n == recipe.QUADS
