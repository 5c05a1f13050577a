"""Rules of parts on benchmarks in their published formats: against the cosine's own path, calls one by one, and bad input."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from tests.benchmark_files import picture, write
from workbench.benchmark import evaluate
from workbench.data.benchmarks import Benchmark, Item, load_benchmark
from workbench.data.phrases import segments
from workbench.fine_grained import FREE, folder_rules
from workbench.fine_grained import folder as module
from workbench.matching import RULES, crop_boxes, crop_features, score, segment_features
from workbench.matching.seen import seen_box
from workbench.models.registry import load_model
from workbench.store import EmbeddingStore

KINDS = ("sugarcrepe", "winoground", "bivlc")


@pytest.fixture(scope="module")
def model(clip_folder):
    return load_model(f"local-dir:{clip_folder}", device="cpu")


@pytest.fixture(params=KINDS)
def benchmark(request, tmp_path):
    return varied(request.param, tmp_path)


@pytest.fixture
def quads(tmp_path):
    return varied("winoground", tmp_path)


def varied(name, root):
    """The tiny files with pictures that differ in every crop."""
    write[name](root)
    for k, file in enumerate(sorted((*root.rglob("*.png"), *root.rglob("*.jpg")))):
        noise = np.random.default_rng(k).integers(0, 256, (60, 40 if k % 2 else 60, 3), dtype=np.uint8)
        Image.fromarray(noise).save(file)
    return load_benchmark(name, root)


@pytest.fixture
def counted(model, monkeypatch):
    """How many pictures and crops were encoded."""
    seen = []
    real = model.encode_pixels
    monkeypatch.setattr(model, "encode_pixels", lambda pixels, **rest: seen.append(len(pixels)) or real(pixels, **rest))
    return seen


def test_the_cosine_is_that_of_the_other_path(model, benchmark):
    found, expected = folder_rules(model, benchmark, ["global"])["global"], evaluate(model, benchmark, blind=False)
    assert found.measures.keys() == expected.measures.keys()
    for name, measure in expected.measures.items():
        assert found[name].value == pytest.approx(measure.value), name
        assert (found[name].n, found[name].chance) == (measure.n, measure.chance), name
        assert found[name].interval == pytest.approx(measure.interval), name
    assert found.ids == expected.ids
    assert np.abs(found.scores - expected.scores).max() < 1e-5


@pytest.mark.parametrize("rule", FREE)
def test_every_rule_is_what_it_gives_alone(model, quads, rule):
    found = folder_rules(model, quads, [rule])[rule].scores
    item = quads.items[1]
    pictures = [Image.open(path).convert("RGB") for path in item.pictures]
    texts = list(item.texts)
    image = crop_features(model, pictures) if rule == "crops" else model.encode_image(pictures, tokens=True)
    cut = [segments(text, "mid") for text in texts]
    text = segment_features(model, cut) if "segments" in RULES[rule].text else model.encode_text(texts, tokens=True)
    boxes = [crop_boxes(*each.size) for each in pictures]
    options = {"boxes": boxes, "frames": [seen_box(model, each.size) for each in pictures]} if rule == "roi" else {}
    assert np.allclose(found[1], score(rule, image, text, **options).numpy(), atol=2e-4)


def test_rules_are_of_the_same_items_and_printed_side_by_side(model, benchmark):
    found = folder_rules(model, benchmark)
    assert list(found.found) == ["global", "late", "segments", "roi", "crops"]
    assert {each.ids for each in found.found.values()} == {tuple(item.id for item in benchmark.items)}
    table = found.table()
    assert table.header == ("measure", *found.found, "chance", "n")
    assert [row[0] for row in table.rows][: len(found["crops"].measures)] == list(found["crops"].measures)
    for rule, column in (("global", 1), ("crops", 5)):
        for row, measure in zip(table.rows, found[rule].measures.values(), strict=False):
            assert row[column] == measure.cells()[0]
    if benchmark.rule == "quads":
        assert {"image to text", "text to image", "group", "interaction sign"} == {
            name.partition(",")[0] for name in found["crops"].measures
        }


def test_a_constant_model_is_never_right(model, benchmark, monkeypatch):
    real = model.encode_image
    monkeypatch.setattr(model, "encode_image", lambda pictures, **rest: same(real(pictures, **rest)))
    real_text = model.encode_text
    monkeypatch.setattr(model, "encode_text", lambda texts, **rest: same(real_text(texts, **rest)))
    found = folder_rules(model, benchmark, ["global"])["global"]
    assert {measure.value for measure in found.measures.values()} == {0}


def same(features):
    features.post[:] = 1
    return features


def test_captions_are_cut_with_their_whole_last(model, quads, monkeypatch):
    asked = []
    monkeypatch.setattr(
        module,
        "segment_features",
        lambda model, texts, **rest: asked.append(rest) or segment_features(model, texts, **rest),
    )
    for granularity in ("mid", "fine"):
        folder_rules(model, quads, ["segments"], granularity=granularity)
    assert [each["granularity"] for each in asked] == ["mid", "fine"]
    alone = segment_features(model, ["on and of"])
    assert alone.texts == (("on and of",),)


def test_pictures_come_a_few_at_a_time_and_each_once(model, tmp_path, counted):
    write["sugarcrepe"](tmp_path)
    benchmark = load_benchmark("sugarcrepe", tmp_path)
    assert max(len({str(item.picture) for item in block}) for block in module._blocks(benchmark.items)) <= 8
    folder_rules(model, benchmark, ["global"])
    assert sum(counted) == 3  # 28 items ask about three pictures
    many = [Item(f"{k}", "", tmp_path / f"{k % 20}.png", "a", ("b",)) for k in range(300)]
    blocks = list(module._blocks(many))
    assert sorted(item.id for block in blocks for item in block) == sorted(item.id for item in many)
    assert max(len({item.picture for item in block}) for block in blocks) == 8
    assert sum(len({item.picture for item in block}) for block in blocks) == 20


def test_crops_are_kept_so_that_a_second_run_encodes_none(model, quads, tmp_path, counted):
    first = folder_rules(model, quads, ["crops"], store=tmp_path / "store")
    assert sum(counted) == 6 + 6 * 86 + 1  # the pictures themselves, their crops, and the picture that tries the model
    counted.clear()
    again = folder_rules(model, quads, ["crops"], store=EmbeddingStore(tmp_path / "store"))
    assert sum(counted) == 6 + 1
    assert np.array_equal(first["crops"].scores, again["crops"].scores)


def test_what_was_done_before_a_stop_is_kept(model, quads, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PICTURES", 2)  # a quad at a time
    real, calls = module.crop_features, []

    def stopped(*args, **options):
        if calls:
            raise KeyboardInterrupt
        calls.append(1)
        return real(*args, **options)

    monkeypatch.setattr(module, "crop_features", stopped)
    with pytest.raises(KeyboardInterrupt):
        folder_rules(model, quads, ["crops"], store=tmp_path / "store")
    monkeypatch.setattr(module, "crop_features", real)
    seen = []
    own = model.encode_pixels
    monkeypatch.setattr(model, "encode_pixels", lambda pixels, **rest: seen.append(len(pixels)) or own(pixels, **rest))
    folder_rules(model, quads, ["crops"], store=tmp_path / "store")
    assert sum(seen) == 6 + 4 * 86 + 1


def test_n_draws_as_many_of_every_subset(model, tmp_path):
    benchmark = varied("sugarcrepe", tmp_path)
    found = folder_rules(model, benchmark, ["global", "late"], n=2)["late"]
    assert len(found.ids) == 2 * 7
    assert found["add_att"].n == 2
    assert found.ids == folder_rules(model, benchmark, ["global"], n=2)["global"].ids
    whole = folder_rules(model, benchmark, ["late"])["late"]
    for name, row in zip(found.ids, found.scores, strict=True):
        assert np.allclose(row, whole.scores[whole.ids.index(name)], atol=1e-5)


def test_items_that_cannot_be_read_are_left_out_of_every_rule(model, quads):
    gone, small = quads.items[0].pictures[0], quads.items[2].pictures[1]
    gone.write_bytes(b"no picture")
    Image.new("RGB", (9, 9)).save(small)  # no picture that crops can be cut from
    found = folder_rules(model, quads, ["global", "crops"])
    assert found["global"].ids == found["crops"].ids == (quads.items[1].id,)
    assert found["global"].left_out == {"could not be read": 2}
    assert "left out: could not be read" in str(found)
    assert len(folder_rules(model, quads, ["global"])["global"].ids) == 2  # nine pixels are enough for the cosine


def test_captions_of_several_lengths_are_padded_without_changing_a_choice(model, tmp_path):
    file = picture(tmp_path / "one.png", size=(40, 40))
    items = tuple(
        Item(f"{k}", "only", file, "a red cube", ("a blue cube", "a cat", "a ball")[: 1 + k]) for k in range(3)
    )
    found = folder_rules(model, Benchmark("own", "choice", items), ["global", "segments"])
    for rule in ("global", "segments"):
        assert found[rule].scores.shape == (3, 4)
        assert np.array_equal(found[rule].scores[0, 1:], np.repeat(found[rule].scores[0, 1], 3))


# Bad input --------------------------------------------------------------------------------------------------------------


def test_rules_that_the_model_cannot_serve_are_said_and_the_others_run(model, quads, monkeypatch):
    real = model.encode_image

    def without(pictures, *, tokens=False, **rest):
        if tokens:
            raise ValueError("tiny has no patch grid")
        return real(pictures, **rest)

    monkeypatch.setattr(model, "encode_image", without)
    found = folder_rules(model, quads)
    assert list(found.found) == ["global", "crops"]
    assert found.without == dict.fromkeys(("late", "segments", "roi"), "tiny has no patch grid")
    assert "without roi: tiny has no patch grid" in str(found)
    with pytest.raises(KeyError, match="no rule 'late' here; there are global, crops"):
        found["late"]
    with pytest.raises(ValueError, match="serves none of late: tiny has no patch grid"):
        folder_rules(model, quads, ["late"])


def test_no_item_at_all_is_an_error_with_its_reason(model, quads):
    for item in quads.items:
        item.pictures[0].write_bytes(b"")
    with pytest.raises(ValueError, match="none of 3 items could be read, for example"):
        folder_rules(model, quads, ["global"])


@pytest.mark.parametrize("name", ["coco", "aro-relation", "imagecode", "sugarcrepe++"])
def test_benchmarks_of_another_kind_are_told_which_work(model, name, tmp_path):
    write[name](tmp_path)
    with pytest.raises(ValueError, match=rf"{name.replace('+', '.')} asks by .*sugarcrepe, or by 'quads'"):
        folder_rules(model, load_benchmark(name, tmp_path))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rules": ["best"]}, ValueError, "rule 'best'; choose from global, late"),
        ({"rules": ["dense_map"]}, ValueError, "rule 'dense_map'; choose from"),
        ({"rules": []}, ValueError, "no rules given"),
        ({"rules": "crops"}, TypeError, "one string, 'crops'; give a list"),
        ({"grid": "fine"}, ValueError, "grid='fine'"),
        ({"granularity": "tiny"}, ValueError, "granularity='tiny'; choose one of fine"),
        ({"n": 0}, ValueError, "n=0; give a whole number from 1"),
        ({"batch_size": 0}, ValueError, "batch_size=0"),
    ],
)
def test_bad_input_is_named(model, quads, options, error, message):
    with pytest.raises(error, match=message):
        folder_rules(model, quads, **options)


def test_items_are_no_benchmark_and_hooks_no_key(model, quads, tmp_path):
    with pytest.raises(TypeError, match=r"tuple is no Benchmark; give data\.benchmarks"):
        folder_rules(model, quads.items)
    handle = model.module.register_forward_hook(lambda *_: None)
    try:
        with pytest.raises(ValueError, match="has a hook"):
            folder_rules(model, quads, ["crops"], store=tmp_path / "store")
    finally:
        handle.remove()


def test_a_picture_of_another_shape_keeps_its_own_boxes(model, tmp_path):
    """A folder holds portraits beside landscapes: boxes and frames go by picture."""
    lines = []
    for k, size in enumerate(((60, 40), (40, 90))):
        names = [picture(tmp_path / f"winoground/images/{k}{side}.png", (90 * k, 40, 10), size).name for side in "ab"]
        row = {"image_0": names[0], "image_1": names[1], "caption_0": "a red cube", "caption_1": "a cube on red"}
        lines.append(json.dumps({"id": k, **row}))
    (tmp_path / "winoground/examples.jsonl").write_text("\n".join(lines))
    found = folder_rules(model, load_benchmark("winoground", tmp_path), ["roi", "crops"])
    assert torch.isfinite(torch.from_numpy(found["roi"].scores)).all()
    assert found["roi"].scores.shape == (2, 2, 2)
