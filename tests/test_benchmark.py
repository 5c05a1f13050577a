"""Models on benchmarks in their own formats, with right answers that are known."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.benchmark_files import picture, write
from workbench.benchmark import SubsetChoices, choices, encoded, evaluate, sugarcrepe_claim
from workbench.benchmark.rules import RULES
from workbench.data.benchmarks import (
    BENCHMARKS,
    SUGARCREPE,
    Benchmark,
    Captioned,
    Item,
    Quad,
    as_sample,
    load_benchmark,
    sugarcrepe,
)
from workbench.evaluation import Choice, choice_accuracy
from workbench.extract import Embeddings
from workbench.models.registry import load_model


@pytest.fixture
def folder(tmp_path):
    write["sugarcrepe"](tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def model(clip_folder):
    return load_model(f"local-dir:{clip_folder}", device="cpu")


def test_items_go_by_key(folder, monkeypatch):
    items = sugarcrepe(folder)
    assert len(items) == 28
    assert items[2] == Item("add_att/3", "add_att", folder / "coco/val2017/0.jpg", "a 3 red cube", ("a 3 blue cat",))
    monkeypatch.setenv("WORKBENCH_DATA", str(folder))
    assert sugarcrepe() == items


def test_choices_are_the_models_own_cosines(folder, model, tmp_path):
    items = sugarcrepe(folder)
    found = choices(model, items, store=tmp_path / "store")
    expected = []
    for item in items[:4]:
        image, texts = model.encode_image(item.picture).post, model.encode_text([item.caption, *item.negatives]).post
        cosines = (image / image.norm() @ (texts / texts.norm(dim=1, keepdim=True)).T)[0]
        expected.append(bool(cosines[0] > cosines[1]))
    assert found.subsets["add_att"].accuracy == pytest.approx(np.mean(expected))
    assert list(found.subsets) == list(SUGARCREPE)
    assert found.macro == pytest.approx(np.mean([choice.accuracy for choice in found.subsets.values()]))
    assert "macro" in str(found)


def test_what_cannot_be_read_is_left_out_and_counted(folder, model):
    (folder / "coco/val2017/0.jpg").write_bytes(b"gone")
    found = choices(model, sugarcrepe(folder))
    assert found.failed == 14  # keys 0 and 3 of seven files
    assert found.subsets["add_att"].n == 2
    assert "14 items could not be read" in str(found)
    for path in (folder / "coco/val2017").iterdir():
        path.write_bytes(b"gone")
    with pytest.raises(ValueError, match="none of 28 items could be read"):
        choices(model, sugarcrepe(folder))


def test_what_is_missing_is_named_with_its_place(folder, tmp_path):
    (folder / "sugarcrepe/swap_obj.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"swap_obj\.json; put the seven files"):
        sugarcrepe(folder)
    with pytest.raises(FileNotFoundError, match=r"val2017.*WORKBENCH_DATA"):
        sugarcrepe(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["[]", "{", '{"0": {"filename": "x.jpg"}}'])
def test_another_format_is_refused(folder, content):
    (folder / "sugarcrepe/add_att.json").write_text(content)
    with pytest.raises(ValueError, match="is not SugarCrepe's format"):
        sugarcrepe(folder)


def test_the_published_number_waits_for_its_weights_or_is_met_or_not(folder, model):
    assert sugarcrepe_claim(None).verdict == "needs weights"
    found = choices(model, sugarcrepe(folder))
    claim = sugarcrepe_claim(found)
    assert (claim.n, claim.measured) == (28, found.macro)
    assert claim.verdict == "contradicted"  # a random model does not meet it
    met = {name: Choice(0.7305, 0.0, 10, (0.7, 0.8)) for name in SUGARCREPE}
    assert sugarcrepe_claim(SubsetChoices("x", met, 0)).verdict == "reproduced"


def test_no_items(model):
    with pytest.raises(ValueError, match="there are no items"):
        choices(model, [])


# Choice accuracy -------------------------------------------------------------------------------------------------------


def test_ties_are_wrong_and_counted():
    found = choice_accuracy([1.0, 2.0, 3.0, 4.0], [[0.0, 0.5], [2.0, 0.0], [9.0, 0.0], [1.0, 3.9]])
    assert (found.accuracy, found.tie_rate, found.n) == (0.5, 0.25, 4)
    assert found.interval[0] <= 0.5 <= found.interval[1]


def test_a_constant_scorer_scores_nothing_and_a_random_one_lands_on_chance():
    assert choice_accuracy(np.ones(50), np.ones((50, 1))).accuracy == 0
    rng = np.random.default_rng(0)
    low, high = choice_accuracy(rng.random(4000), rng.random((4000, 1))).interval
    assert low < 0.5 < high


@pytest.mark.parametrize(
    ("positive", "negatives", "message"),
    [
        ([], np.zeros((0, 1)), "n ≥ 1"),
        ([1.0], [[1.0], [2.0]], "give"),
        ([1.0], np.zeros((1, 0)), "K ≥ 1"),
        ([np.nan], [[1.0]], "NaN"),
    ],
)
def test_bad_scores(positive, negatives, message):
    with pytest.raises(ValueError, match=message):
        choice_accuracy(positive, negatives)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (lambda item: [item, item], "'add_att/0' comes twice"),
        (
            lambda item: [item, replace(item, id="x", negatives=("a", "b"))],
            "'x' has 2 negatives; give every item of a subset",
        ),
        (lambda item: [replace(item, negatives=())], "has 0 negatives"),
    ],
)
def test_items_that_cannot_be_scored_are_refused(folder, model, items, message):
    with pytest.raises(ValueError, match=message):
        choices(model, items(sugarcrepe(folder)[0]))


def test_items_may_come_one_by_one(folder, model):
    assert choices(model, iter(sugarcrepe(folder))).failed == 0


# Any benchmark ---------------------------------------------------------------------------------------------------------


def vectors(monkeypatch, give):
    """Stand in for `embeddings`: `give(modality, sample)` is a sample's vector, or None where it cannot be read."""

    def embeddings(model, samples, *, modality="image", store=None, batch_size=32):
        rows = {each.id: give(modality, each) for each in samples}
        failed = {name: "gone" for name, row in rows.items() if row is None}
        whole = {name: row for name, row in rows.items() if row is not None}
        return Embeddings(tuple(whole), {"post": np.stack([*whole.values()]) if whole else np.zeros((0, 2))}, failed)

    monkeypatch.setattr(encoded, "embeddings", embeddings)
    return SimpleNamespace(name="stand-in")


def test_every_rule_is_known(tmp_path):
    rules = set()
    for name, make in write.items():
        make(tmp_path / name)
        rules.add(load_benchmark(name, tmp_path / name).rule)
    assert rules == set(RULES)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_constant_model_earns_nothing(name, tmp_path, monkeypatch):
    write[name](tmp_path)
    found = evaluate(vectors(monkeypatch, lambda modality, sample: np.ones(4)), load_benchmark(name, tmp_path))
    assert found.measures
    for measure in found.measures.values():
        assert measure.value == 0
        assert measure.tie_rate in (None, 1.0)
        assert 0 < measure.chance < 1
        assert measure.interval[0] == 0
    assert "note" in str(found) or found.notes == ()


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_real_model_is_scored_by_its_own_cosines(name, model, tmp_path):
    write[name](tmp_path)
    items = load_benchmark(name, tmp_path)
    found = evaluate(model, items)
    assert found.ids == tuple(item.id for item in items.items)
    assert found.left_out == items.skipped
    assert found.model == model.name
    if found.scores is None:
        return
    assert len(found.scores) == len(items)
    for item, scores in zip(items.items[:3], found.scores, strict=False):
        pixels = [as_sample(each, getattr(item, "box", None)).read() for each in item.pictures]
        image, text = model.encode_image(pixels).post, model.encode_text(list(item.texts)).post
        cosines = (image / image.norm(dim=1, keepdim=True)) @ (text / text.norm(dim=1, keepdim=True)).T
        np.testing.assert_allclose(np.ravel(scores), np.ravel(cosines.detach().numpy()), atol=1e-5)


@pytest.mark.parametrize("name", ["aro-relation", "winoground"])
def test_a_store_changes_nothing(name, model, tmp_path):
    write[name](tmp_path)
    items = load_benchmark(name, tmp_path)
    whole = evaluate(model, items)
    for _ in range(2):
        kept = evaluate(model, items, store=tmp_path / "store")
        np.testing.assert_array_equal(kept.scores, whole.scores)
        assert kept == whole


def test_only_what_a_benchmark_says_is_scored(model, tmp_path):
    with pytest.raises(TypeError, match=r"list is no Benchmark; give load_benchmark\(name\)"):
        evaluate(model, [])


def test_what_was_left_out_stays_in_sight(tmp_path, monkeypatch):
    write["imagecode"](tmp_path)
    (tmp_path / "imagecode/image-sets/open-images-1_a/img3.jpg").unlink()
    found = evaluate(vectors(monkeypatch, lambda modality, sample: np.ones(4)), load_benchmark("imagecode", tmp_path))
    assert found.left_out == {"picture missing": 2}
    assert "left out: picture missing" in str(found)
    write["winoground"](tmp_path)
    broken = vectors(monkeypatch, lambda modality, sample: None if sample.id.endswith("ex_1_img_0.png") else np.ones(4))
    found = evaluate(broken, load_benchmark("winoground", tmp_path))
    assert (found.ids, found.left_out) == (("0", "2"), {"could not be read": 1})
    with pytest.raises(ValueError, match="none of 3 items could be read, for example"):
        evaluate(vectors(monkeypatch, lambda modality, sample: None), load_benchmark("winoground", tmp_path))


def test_captions_that_two_items_share_are_encoded_once(tmp_path, monkeypatch):
    seen = Counter()

    def count(modality, sample):
        seen[modality, sample.id] += 1
        return np.ones(4)

    write["whatsup-a"](tmp_path)
    evaluate(vectors(monkeypatch, count), load_benchmark("whatsup-a", tmp_path))
    assert set(seen.values()) == {1}
    assert Counter(modality for modality, _ in seen) == {"image": 8, "text": 8}  # two things, four relations


def by_text(good, bad=()):
    """Pictures look along the first axis; a text does, too, where it holds one of `good`."""

    def give(modality, sample):
        if modality == "image" or any(word in sample.text for word in good):
            return np.array([1.0, 0.0])
        return np.array([-1.0, 0.2 if any(word in sample.text for word in bad) else 0.0])

    return give


def test_subsets_and_their_means(folder, monkeypatch):
    found = evaluate(vectors(monkeypatch, by_text(["1 red", "3 red"])), load_benchmark("sugarcrepe", folder))
    assert [*found.measures][:7] == list(SUGARCREPE)
    assert found["swap_obj"].value == found["all items"].value == 0.5
    assert found["mean of subsets"].value == pytest.approx(0.5)
    assert found["swap_obj"].chance == 0.5
    assert found["all items"].n == found["mean of subsets"].n == 28
    assert found["mean of add, replace, swap over items"].value == pytest.approx(0.5)
    with pytest.raises(KeyError, match=r"no measure 'x' of sugarcrepe; there are add_att"):
        found["x"]


def test_both_captions_and_the_texts_alone(tmp_path, monkeypatch):
    write["sugarcrepe++"](tmp_path)
    items = load_benchmark("sugarcrepe++", tmp_path)
    both = evaluate(vectors(monkeypatch, by_text(["red"])), items)
    assert both["image to text, all items"].value == both["text only, all items"].value == 1
    assert both["image to text, swap_obj"].chance == pytest.approx(1 / 3)
    one = evaluate(vectors(monkeypatch, by_text(["red cube"], bad=["cat"])), items)
    assert one["image to text, all items"].value == one["text only, all items"].value == 0


def test_groups_are_averaged(tmp_path, monkeypatch):
    write["aro-relation"](tmp_path)
    write["aro-attribution"](tmp_path)
    right = by_text(["cat is on the mat", "cat is ('red', 'big') the mat"])
    found = evaluate(vectors(monkeypatch, right), load_benchmark("aro-relation", tmp_path))
    assert found["mean of 2 groups"].value == 0.5
    assert found["all items"].value == pytest.approx(26 / 29)
    found = evaluate(vectors(monkeypatch, right), load_benchmark("aro-attribution", tmp_path))
    assert found["mean of 1 groups"].value == 1  # the pair of attributes with three items does not count
    assert found.notes == ("1 groups of fewer than 25 items (3) do not count",)


def test_pairs_and_sets_have_their_chance(tmp_path, monkeypatch):
    write["whatsup-a"](tmp_path)
    (tmp_path / "whatsup/controlled_images/mug_under_table.jpeg").unlink()
    found = evaluate(vectors(monkeypatch, lambda modality, sample: np.ones(4)), load_benchmark("whatsup-a", tmp_path))
    assert [found[name].chance for name in ("individual", "pair", "set of four")] == [1 / 4, 1 / 16, 1 / 256]
    assert [found[name].n for name in ("individual", "pair", "set of four")] == [7, 3, 1]
    assert found.notes == ("2 pairs or sets lack an item and do not count",)


def test_quads_prefer_both_ways(tmp_path, monkeypatch):
    write["winoground"](tmp_path)

    def give(modality, sample):
        """In the first two items all is right; in the third both captions lie nearer to the same picture."""
        if modality == "image":
            return np.eye(3)[int(sample.path.stem[-1])]
        first, number, *_ = sample.text.split()
        right = np.eye(3)[0 if first == "cat" else 1]
        return np.array([1, 0.1 if first == "cat" else 0.2, 0]) if number == "2" else right

    found = evaluate(vectors(monkeypatch, give), load_benchmark("winoground", tmp_path))
    assert found["image to text, all items"].value == 1
    assert found["text to image, all items"].value == pytest.approx(2 / 3)
    assert found["group, Relation"].value == 1
    assert found["group, Object"].value == 0.5
    assert found["interaction sign, all items"].value == 1
    chances = [found[f"{name}, all items"].chance for name in ("image to text", "text to image", "group")]
    assert chances == pytest.approx([1 / 4, 1 / 4, 1 / 6])


def test_all_of_valses_averages(tmp_path, monkeypatch):
    write["valse"](tmp_path)
    found = evaluate(
        vectors(monkeypatch, by_text(["There are 1 cats", "There are 2 cats"])), load_benchmark("valse", tmp_path)
    )
    assert len(found.measures) == 11 + 3
    assert found["mean of seven phenomena"].value == found["all items"].value == pytest.approx(2 / 3)


def test_pictures_by_kind(tmp_path, monkeypatch):
    write["imagecode"](tmp_path)
    axes = {"a deer head": 5, "some grass": 1, "two girls": 9}

    def give(modality, sample):
        return np.eye(10)[axes[sample.text] if modality == "text" else int(sample.path.stem.removeprefix("img"))]

    found = evaluate(vectors(monkeypatch, give), load_benchmark("imagecode", tmp_path))
    assert (found["static"].value, found["video"].value) == (0.5, 1.0)
    assert (found["all items"].value, found["all items"].chance) == (pytest.approx(2 / 3), 0.1)


def test_retrieval_finds_any_caption_of_a_picture(tmp_path, monkeypatch):
    rows = ["image,caption"]
    for i in range(12):
        picture(tmp_path / f"{i}.png", (20 * i, 0, 0))
        rows += [f"{i}.png,right {i}", f"{i}.png,wrong {i}"]
    (tmp_path / "mine.csv").write_text("\n".join(rows))

    def give(modality, sample):
        kind, number = ("image", sample.path.stem) if modality == "image" else sample.text.split()
        return np.eye(13)[12 if kind == "wrong" else int(number)]

    found = evaluate(vectors(monkeypatch, give), load_benchmark(f"csv:{tmp_path / 'mine.csv'}"))
    assert found["image to text R@1"].value == 1  # one of both captions is enough
    assert found["text to image R@1"].value == 0.5
    assert (found["image to text R@1"].n, found["text to image R@1"].n) == (12, 24)
    assert found["text to image R@1"].chance == pytest.approx(1 / 12)
    assert found["image to text R@1"].chance == pytest.approx(1 / 12)
    assert found.notes == ("galleries: 24 captions, 12 pictures",)


def test_one_picture_is_no_gallery(tmp_path, monkeypatch):
    picture(tmp_path / "1.png")
    (tmp_path / "mine.csv").write_text("image,caption\n1.png,a cat\n1.png,a dog")
    with pytest.raises(ValueError, match="a gallery of 1 leaves nothing to find"):
        evaluate(vectors(monkeypatch, lambda *_: np.ones(2)), load_benchmark(f"csv:{tmp_path / 'mine.csv'}"))


def test_fewer_options_than_others_have(monkeypatch, tmp_path):
    path = picture(tmp_path / "1.png")
    items = (
        Item("1", "x", path, "good", ("b", "c", "d")),
        Item("2", "x", path, "good", ("b",)),
        Item("3", "x", path, "e", ("b",)),
    )
    found = evaluate(vectors(monkeypatch, by_text(["good"])), Benchmark("mine", "choice", items))
    assert found["x"].value == pytest.approx(2 / 3)
    assert found["x"].chance == pytest.approx((1 / 4 + 1 / 2 + 1 / 2) / 3)
    assert found.scores.shape == (3, 4)


# Scorers that do not look -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BENCHMARKS)
def test_blind_scorers_stand_beside_every_measure(name, tmp_path, model):
    write[name](tmp_path)
    found = evaluate(model, load_benchmark(name, tmp_path))
    assert {"mean picture", "random", "constant"} <= set(found.blind)
    assert ("other pictures" in found.blind) == (not name.startswith("aro-") or name.endswith("order"))  # one picture
    for scorer, measures in found.blind.items():
        assert measures.keys() == found.measures.keys()
        assert str(found).count(f"\n  {scorer} ") == len(found.measures)
    assert all(measure.value == 0 for measure in found.blind["constant"].values())
    alone = evaluate(model, load_benchmark(name, tmp_path), blind=False)
    assert (alone.blind, alone.measures) == ({}, found.measures)


def _worded(monkeypatch, n=400):
    """Items whose pictures say nothing, while true captions lie nearer to any picture than false ones do."""
    rng = np.random.default_rng(0)
    style = {True: rng.normal(size=32), False: rng.normal(size=32)}

    def give(modality, sample):
        return rng.normal(size=32) + (style[True] if modality == "image" else style[sample.text.startswith("true")])

    paths = [Path(f"{i}.png") for i in range(n)]
    items = [Item(str(i), "x", path, f"true {i}", (f"false {i}",)) for i, path in enumerate(paths)]
    return vectors(monkeypatch, give), Benchmark("mine", "choice", tuple(items))


def test_wording_that_gives_the_answer_away_shows(monkeypatch):
    found = evaluate(*_worded(monkeypatch))
    for scorer in ("other pictures", "mean picture"):
        assert found.blind[scorer]["x"].value > 0.9
    low, high = found.blind["random"]["x"].interval
    assert low <= 0.5 <= high


def test_blind_scorers_of_quads_land_on_chance(monkeypatch):
    """A model that knows every picture, and what it earns when each is in the place of another."""
    rng = np.random.default_rng(1)
    known = {f"{i}": rng.normal(size=64) for i in range(1200)}

    def give(modality, sample):
        return known[sample.text if modality == "text" else sample.path.stem]

    items = [
        Quad(str(i), "", (Path(f"{2 * i}.png"), Path(f"{2 * i + 1}.png")), (f"{2 * i}", f"{2 * i + 1}"))
        for i in range(600)
    ]
    found = evaluate(vectors(monkeypatch, give), Benchmark("mine", "quads", tuple(items)))
    assert found["group, all items"].value == 1
    for scorer in ("other pictures", "random"):
        for measure in found.blind[scorer].values():
            low, high = measure.interval
            assert low - 0.02 <= measure.chance <= high + 0.02
    assert {each.value for each in found.blind["mean picture"].values()} == {0}


def test_blind_scorers_find_nothing_in_a_gallery(monkeypatch):
    rng = np.random.default_rng(2)
    known = {f"{i}": rng.normal(size=16) for i in range(40)}

    def give(modality, sample):
        return known[sample.path.stem if modality == "image" else sample.text]

    items = tuple(Captioned(f"{i}", Path(f"{i}.png"), (f"{i}",)) for i in range(40))
    found = evaluate(vectors(monkeypatch, give), Benchmark("mine", "retrieval", items))
    assert found["text to image R@1"].value == 1
    for name in ("image to text R@5", "text to image R@5"):
        assert found.blind["constant"][name].value == found.blind["mean picture"]["text to image R@5"].value == 0
        for scorer in ("other pictures", "random"):
            assert found.blind[scorer][name].interval[0] <= found[name].chance + 0.05
            assert found.blind[scorer][name].value < 0.5


@pytest.mark.parametrize("broken", [np.zeros(4), np.full(4, np.nan), np.full(4, np.inf)])
def test_broken_features_are_named(broken, tmp_path, monkeypatch):
    write["winoground"](tmp_path)
    items = load_benchmark("winoground", tmp_path)
    for name in ("ex_1_img_0.png", "dog 1 on cat"):
        model = vectors(monkeypatch, lambda _, sample, name=name: broken if sample.id.endswith(name) else np.ones(4))
        with pytest.raises(ValueError, match=f"the feature of '.*{name}' is zeros, NaN or infinite"):
            evaluate(model, items)


def test_captions_of_one_picture_are_not_independent(monkeypatch):
    rng = np.random.default_rng(3)
    sides = {f"{i}.png": side for i, side in enumerate(rng.random(60) < 0.5)}

    def give(modality, sample):
        if modality == "image":
            return np.array([1.0, 0.0] if sides[sample.path.name] else [0.0, 1.0])
        return np.array([1.0, 0.2] if sample.text.startswith("true") else [0.2, 1.0])

    def width(of):
        items = [Item(f"{i}.{k}", "x", of(i, k), f"true {i} {k}", ("false",)) for i in range(60) for k in range(5)]
        found = evaluate(vectors(monkeypatch, give), Benchmark("mine", "choice", tuple(items)), blind=False)
        return np.diff(found["x"].interval)

    apart = width(lambda i, k: Path(f"{k}") / f"{i}.png")  # as if each caption had a picture of its own
    assert width(lambda i, k: Path(f"{i}.png")) > 1.8 * apart


def test_boxes_that_are_not_of_their_picture_are_counted(tmp_path, model):
    write["aro-relation"](tmp_path)
    items = load_benchmark("aro-relation", tmp_path)
    boxes = {3: (100, 0, 140, 30), 5: (0, 0, 10**6, 10), 6: (0, 0, 10**6, 10**6)}
    changed = tuple(replace(item, box=boxes.get(i, item.box)) for i, item in enumerate(items.items))
    found = evaluate(model, replace(items, items=changed))
    assert found.left_out == {"could not be read": 3}
    assert len(found.ids) == 26
