"""Extraction gives the model's own features by id, computes nothing twice, and loses nothing when it is stopped."""

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.cli import main
from workbench.extract import embeddings, match
from workbench.extract.run import keep
from workbench.extract.work import Job
from workbench.models.registry import load_model
from workbench.store import EmbeddingStore, ShardKey, sample_digest


@pytest.fixture(scope="module")
def model(clip_folder):
    return load_model(f"local-dir:{clip_folder}", device="cpu")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Forty small pictures, one that is none, one cut short."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(40):
        Image.fromarray(rng.integers(0, 255, (20 + i, 30, 3), dtype=np.uint8)).save(folder / f"{i:02d}.png")
    (folder / "05-bad.jpg").write_bytes(b"no picture")
    (folder / "17-cut.png").write_bytes((folder / "10.png").read_bytes()[:200])
    return folder


def good(pictures):
    return sorted(path for path in pictures.iterdir() if "-" not in path.name)


def test_rows_are_the_models_own_features_by_id(model, pictures):
    found = embeddings(model, pictures, kinds=("pre", "post", "tokens"), batch_size=7)
    expected = model.encode_image(good(pictures), tokens=True, batch_size=7)
    assert found.ids == tuple(path.name for path in good(pictures))
    for kind in ("pre", "post", "tokens"):
        assert np.allclose(found[kind], getattr(expected, kind).numpy(), atol=1e-5), kind
    assert set(found.failed) == {"05-bad.jpg", "17-cut.png"}
    assert "is not a picture that can be read" in found.failed["05-bad.jpg"]
    assert "05-bad.jpg" in str(found)


def test_options_reach_the_model(model, pictures):
    found = embeddings(model, pictures, kinds=("tokens",), layer=0)
    assert np.allclose(found["tokens"], model.encode_image(good(pictures), tokens=True, layer=0).tokens, atol=1e-5)
    dense = embeddings(model, pictures, kinds=("tokens",), dense="clearclip")
    expected = model.encode_image(good(pictures), tokens=True, dense="clearclip").tokens
    assert np.allclose(dense["tokens"], expected, atol=1e-5)


@pytest.fixture
def counted(model, monkeypatch):
    """How many pictures the model has been given."""
    seen = []
    original = type(model).encode_pixels
    monkeypatch.setattr(type(model), "encode_pixels", lambda self, x, **o: seen.extend(x) or original(self, x, **o))
    return seen


def test_nothing_is_computed_twice(model, pictures, tmp_path, counted):
    first = embeddings(model, pictures, store=tmp_path, shard_size=8)
    assert (first.shards, first.computed) == (first.shards, first.shards)
    assert first.shards > 2
    again = embeddings(model, pictures, store=tmp_path, shard_size=8)
    assert again.computed == 0
    assert len(counted) == 40
    assert np.array_equal(again["post"], first["post"])
    assert again.ids == first.ids
    assert again.failed == first.failed


def test_one_new_picture_recomputes_one_shard(model, pictures, tmp_path, counted):
    listed = {path.name: path for path in good(pictures)}
    new = listed.pop("03.png")
    embeddings(model, listed, store=tmp_path, shard_size=4)
    grown = dict(sorted({**listed, "03.png": new}.items()))
    counted.clear()
    found = embeddings(model, grown, store=tmp_path, shard_size=4)
    assert found.computed <= 2 < found.shards
    assert len(counted) < 20
    assert found.ids == tuple(grown)


def test_a_renamed_picture_is_not_computed_again(model, pictures, tmp_path):
    listed = {path.name: path for path in good(pictures)}
    embeddings(model, listed, store=tmp_path)
    renamed = embeddings(model, {f"new/{name}": path for name, path in listed.items()}, store=tmp_path)
    assert renamed.computed == 0
    assert renamed.ids[0] == "new/00.png"


@pytest.mark.parametrize("options", [{"layer": 0}, {"kinds": ("pre",)}, {"modality": "image", "kinds": ("tokens",)}])
def test_other_options_are_other_keys(model, pictures, tmp_path, options):
    embeddings(model, pictures, store=tmp_path)
    assert embeddings(model, pictures, store=tmp_path, **options).computed > 0
    assert embeddings(model, pictures, store=tmp_path, **options).computed == 0


def test_dense_variants_share_what_they_do_not_change(model, pictures, tmp_path):
    embeddings(model, pictures, store=tmp_path)
    assert embeddings(model, pictures, store=tmp_path, dense="sclip").computed == 0  # post is read, not the patches


def test_other_weights_are_other_keys(clip_folder, pictures, tmp_path):
    model = load_model(f"local-dir:{clip_folder}", device="cpu")
    before = embeddings(model, pictures, store=tmp_path)
    with torch.no_grad():
        model.module.visual.proj[0, 0] += 1  # a step of training, say
    after = embeddings(model, pictures, store=tmp_path)
    assert after.computed > 0
    assert not np.array_equal(before["post"], after["post"])


def test_stopped_half_way_it_goes_on_behind_the_last_finished_shard(model, pictures, tmp_path, monkeypatch):
    whole = embeddings(model, pictures, store=tmp_path / "whole", shard_size=8)
    put, done = EmbeddingStore.put, []

    def put_two(self, *args, **options):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(put(self, *args, **options))
        return done[-1]

    with monkeypatch.context() as patch:
        patch.setattr(EmbeddingStore, "put", put_two)
        with pytest.raises(KeyboardInterrupt):
            embeddings(model, pictures, store=tmp_path / "cut", shard_size=8)
    rest = embeddings(model, pictures, store=tmp_path / "cut", shard_size=8)
    assert rest.computed == whole.shards - 2
    assert np.array_equal(rest["post"], whole["post"])
    assert not list((tmp_path / "cut/.attempts").glob("*.json"))


# Memory ----------------------------------------------------------------------------------------------------------------


def small_memory(model, monkeypatch, limit):
    original, sizes = type(model).encode_pixels, []

    def encode(self, pixels, **options):
        sizes.append(len(pixels))
        if len(pixels) > limit:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return original(self, pixels, **options)

    monkeypatch.setattr(type(model), "encode_pixels", encode)
    return sizes


def test_out_of_memory_halves_the_batch_and_goes_on(model, pictures, monkeypatch):
    expected = embeddings(model, pictures)["post"]
    sizes = small_memory(model, monkeypatch, 5)
    found = embeddings(model, pictures, batch_size=16)
    assert np.allclose(found["post"], expected, atol=1e-5)
    assert sizes[:3] == [15, 8, 4]  # of the first sixteen one cannot be opened
    assert max(sizes[3:]) == 4  # it is not tried again


def test_one_picture_that_does_not_fit_is_said(model, pictures, monkeypatch):
    small_memory(model, monkeypatch, 0)
    with pytest.raises(MemoryError, match="does not fit one sample into memory; free some"):
        embeddings(model, pictures)


def test_other_failures_of_the_model_are_not_swallowed(model, pictures, monkeypatch):
    monkeypatch.setattr(type(model), "encode_pixels", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("shapes")))
    with pytest.raises(RuntimeError, match="shapes"):
        embeddings(model, pictures)


# Text ------------------------------------------------------------------------------------------------------------------

CAPTIONS = {"a.png": ["a red cube", "one cat on a mat"], "b.png": ["", "a blue ball"]}


def test_captions_with_tokens_and_mask(model, tmp_path):
    found = embeddings(model, CAPTIONS, modality="text", kinds=("post", "tokens", "mask"), store=tmp_path, batch_size=2)
    texts = ["a red cube", "one cat on a mat", "a blue ball"]
    expected = model.encode_text(texts, tokens=True)
    assert found.ids == ("a.png#0", "a.png#1", "b.png#1")
    assert "is empty" in found.failed["b.png#0"]
    assert np.allclose(found["post"], expected.post, atol=1e-5)
    assert found["tokens"].shape == (3, 16, 24)
    mask = np.asarray(found["mask"])
    assert mask.dtype == bool
    assert np.array_equal(mask, expected.mask.numpy())
    assert np.allclose(np.asarray(found["tokens"])[mask], expected.tokens.numpy()[mask], atol=1e-5)


def test_another_tokenizer_is_another_key(clip_folder, tmp_path):
    from open_clip.tokenizer import get_clean_fn

    model = load_model(f"local-dir:{clip_folder}", device="cpu")
    embeddings(model, CAPTIONS, modality="text", store=tmp_path)
    assert embeddings(model, CAPTIONS, modality="text", store=tmp_path).computed == 0
    model._tokenizer.clean_fn = get_clean_fn("canonicalize")
    assert embeddings(model, CAPTIONS, modality="text", store=tmp_path).computed == 1


def test_pairs_are_matched_by_id_whatever_the_order():
    images, texts = match(["x", "y", "a#1"], ["y#0", "z#0", "x#1", "a#1", "x#0"])
    with pytest.raises(ValueError, match="could belong to 'a#0' or to 'a'"):
        match(["a", "a#0"], ["a#0"])
    assert images.tolist() == [1, 0, 2, 0]
    assert texts.tolist() == [0, 2, 3, 4]
    with pytest.raises(ValueError, match="no caption belongs to a picture"):
        match(["x"], ["y#0"])


# What ends the process -------------------------------------------------------------------------------------------------


class Poisoned:
    """Stands for a worker: the sample called poison ends whoever opens it."""

    def compute(self, job, *, opening=None, skip=frozenset()):
        kept = [i for i in range(len(job.samples)) if i not in skip]
        for i in kept:
            if opening is not None:
                opening(i)
            if job.samples[i].id == "poison":
                os._exit(9)
        return {"post": np.array([[float(i)] for i in kept], np.float32)}, {}


def in_a_child(run) -> int:
    child = os.fork()
    if not child:
        run()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_picture_that_ends_the_process_is_left_out_the_third_time(tmp_path):
    from workbench.data.samples import Sample

    samples = tuple(Sample(name, text=name) for name in ("a", "b", "poison", "c"))
    digests = tuple(sample_digest(sample.read()) for sample in samples)
    key = ShardKey({"kind": "post"}, digests)
    job, store = Job(samples, digests, {"post": key}), EmbeddingStore(tmp_path)
    ends = [in_a_child(lambda: keep(Poisoned(), store, job)) for _ in range(4)]
    assert ends == [9, 9, 9, 0]  # all at once, then twice with a note of what was open, then without it
    shard = store.get(key)
    assert shard.rows.ravel().tolist() == [0, 1, 3]
    assert "ended the process 2 times" in shard.failed[2]


# Errors and the command line -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": ("all",)}, "choose among pre, post, tokens"),
        ({"kinds": ()}, "choose among"),
        ({"kinds": ("mask",)}, "choose among pre, post, tokens"),
        ({"modality": "sound"}, "choose 'image' or 'text'"),
        ({"engine": "dask"}, "engine='dask'; choose 'local' or 'ray'"),
        ({"engine": "ray"}, "give store=<folder>"),
        ({"batch_size": 0}, "batch_size=0; give a positive"),
        ({"layer": 5}, "this tower has 2 blocks"),
        ({"dense": "sharp"}, "choose one of raw, maskclip"),
        ({"image_size": 32}, "only takes 64"),
        ({"shard_size": 0.5}, "size is 0.5"),
    ],
)
def test_bad_options(model, pictures, options, message):
    with pytest.raises(ValueError, match=message):
        embeddings(model, pictures, **options)


def test_pictures_that_are_gone_are_in_the_report(model, tmp_path, pictures):
    found = embeddings(model, {"gone": tmp_path / "gone.png", "here": good(pictures)[0]})
    assert found.ids == ("here",)
    assert "No such file" in found.failed["gone"]
    nothing = embeddings(model, {"gone": tmp_path / "gone.png"}, store=tmp_path / "s")
    assert len(nothing) == 0


def test_the_command_line_keeps_and_writes(clip_folder, pictures, tmp_path, capsys):
    command = ["extract", f"local-dir:{clip_folder}", str(pictures), "--kinds", "pre,post"]
    command += ["--store", str(tmp_path / "store"), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "post    40 × 24" in said
    assert "05-bad.jpg" in said
    assert np.load(tmp_path / "out/post.npy").shape == (40, 24)
    assert json.loads((tmp_path / "out/ids.json").read_text()) == [path.name for path in good(pictures)]
    assert "17-cut.png" in json.loads((tmp_path / "out/failed.json").read_text())
    assert main(command) == 0
    assert "0 computed now" in capsys.readouterr().out


def test_the_command_line_says_what_is_wrong(clip_folder, tmp_path, capsys):
    assert main(["extract", f"local-dir:{clip_folder}", str(tmp_path / "nowhere")]) == 2
    assert "there is no" in capsys.readouterr().err


def test_a_picture_of_many_frames_and_one_with_alpha_are_read_like_any_other(model, tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    Image.new("RGBA", (8, 8), (255, 0, 0, 128)).save(tmp_path / "half.png")
    found = embeddings(model, tmp_path)
    expected = model.encode_image([tmp_path / "half.png", tmp_path / "two.gif"])
    assert np.allclose(found["post"], expected.post, atol=1e-5)
