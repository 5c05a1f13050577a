"""Ways in which an extraction once lost, mixed up or kept the wrong thing."""

import json
import os
import threading
import time
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.data.samples import Sample, read_samples
from workbench.extract import embeddings
from workbench.extract.attempts import FOLDER, attempt
from workbench.extract.run import keep
from workbench.extract.work import Job
from workbench.models.registry import load_model
from workbench.store import EmbeddingStore, ShardKey, sample_digest


@pytest.fixture
def model(clip_folder):
    return load_model(f"local-dir:{clip_folder}", device="cpu")


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 255, (100, 100 + i, 3), dtype=np.uint8)).save(folder / f"{i:02d}.png")
    return folder


# Ends of processes -----------------------------------------------------------------------------------------------------


class DiesWhileEncoding:
    """Opens everything, then ends the process, as a kill for memory in the forward pass would."""

    def __init__(self, ends):
        self.ends = ends

    def compute(self, job, *, opening=None, skip=frozenset()):
        kept = [i for i in range(len(job.samples)) if i not in skip]
        if opening is not None:
            for i in kept:
                opening(i)
            opening(None)
        if self.ends:
            os._exit(9)
        return {"post": np.array([[float(i)] for i in kept], np.float32)}, {}


def test_a_death_between_two_pictures_blames_none(tmp_path):
    samples = tuple(Sample(name, text=name) for name in "abc")
    digests = tuple(sample_digest(sample.read()) for sample in samples)
    job = Job(samples, digests, {"post": ShardKey({"kind": "post"}, digests)})
    store = EmbeddingStore(tmp_path)
    for _ in range(4):
        child = os.fork()
        if not child:
            keep(DiesWhileEncoding(True), store, job)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    keep(DiesWhileEncoding(False), store, job)
    shard = store.get(job.keys["post"])
    assert len(shard.rows) == 3
    assert not shard.failed
    assert not list((tmp_path / FOLDER).iterdir())


def test_a_note_of_a_living_process_is_no_end(tmp_path):
    with attempt(tmp_path, "key") as mine:
        mine.opening(1)
        pid = os.fork()
        if not pid:
            with attempt(tmp_path, "key") as theirs:
                os._exit(int(theirs.careful))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    with attempt(tmp_path, "key") as later:  # the child's note is that of a dead process
        assert later.careful
        assert not later.skip


# What is kept ----------------------------------------------------------------------------------------------------------


def test_kinds_that_failed_at_different_samples_stay_aligned(model, pictures, tmp_path, monkeypatch):
    original = type(model).encode_pixels

    def broken(self, pixels, **options):
        features = original(self, pixels, **options)
        features.post[3] = float("nan")
        return features

    with monkeypatch.context() as patch:
        patch.setattr(type(model), "encode_pixels", broken)
        first = embeddings(model, pictures, store=tmp_path / "s")
    assert "NaN or infinite" in first.failed["03.png"]
    both = embeddings(model, pictures, kinds=("pre", "post"), store=tmp_path / "s")
    assert len(both) == len(both["pre"]) == len(both["post"]) == 11
    expected = model.encode_image([path for path in sorted(pictures.iterdir()) if path.name != "03.png"])
    assert np.allclose(both["pre"], expected.pre, atol=1e-5)
    assert np.allclose(both["post"], expected.post, atol=1e-5)


def test_a_picture_that_changes_while_the_run_goes_on_stops_it(model, pictures, tmp_path, monkeypatch):
    from workbench.extract import run

    digested = run._digested

    def then_changed(samples):
        found = digested(samples)
        (pictures / "05.png").write_bytes((pictures / "06.png").read_bytes())
        return found

    with monkeypatch.context() as patch:
        patch.setattr(run, "_digested", then_changed)
        with pytest.raises(OSError, match=r"05\.png changed while the run went on"):
            embeddings(model, pictures, store=tmp_path / "s")
    assert len(embeddings(model, pictures, store=tmp_path / "s")) == 12


def test_a_larger_limit_for_pictures_tries_again_what_was_too_large(model, pictures, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 10_450)
        some = embeddings(model, pictures, store=tmp_path / "s")
    assert 0 < len(some) < 12
    assert len(embeddings(model, pictures, store=tmp_path / "s")) == 12


def test_a_renamed_broken_picture_is_reported_under_its_new_name(model, pictures, tmp_path):
    (pictures / "bad.jpg").write_bytes(b"no picture")
    embeddings(model, pictures, store=tmp_path / "s")
    (pictures / "bad.jpg").rename(pictures / "worse.jpg")
    found = embeddings(model, pictures, store=tmp_path / "s")
    assert found.computed == 0
    assert list(found.failed) == ["worse.jpg"]
    assert "bad.jpg" not in found.failed["worse.jpg"]


def test_a_hook_that_changes_numbers_is_not_kept_under_the_models_name(model, pictures, tmp_path):
    handle = model.module.visual.ln_post.register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match=r"visual\.ln_post of .* has a hook.*remove it, or leave store out"):
        embeddings(model, pictures, store=tmp_path / "s")
    assert len(embeddings(model, pictures)) == 12
    handle.remove()
    assert len(embeddings(model, pictures, store=tmp_path / "s")) == 12


def test_a_model_in_training_gives_the_same_rows(model, pictures, tmp_path):
    expected = embeddings(model, pictures)["post"]
    model.module.visual.transformer.resblocks[0].ls_1 = torch.nn.Dropout(0.5)
    model.module.train()
    assert np.array_equal(embeddings(model, pictures, store=tmp_path / "s")["post"], expected)


def test_one_block_has_one_key(model, pictures, tmp_path):
    embeddings(model, pictures, layer=-1, store=tmp_path / "s")
    assert embeddings(model, pictures, layer=1, store=tmp_path / "s").computed == 0


# What must not stop a run ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [IndexError("x"), AttributeError("x"), MemoryError("x")])
def test_a_decoder_that_fails_in_its_own_way(model, pictures, monkeypatch, error):
    from workbench.extract import work

    original = work.open_picture

    def fails(raw, **options):
        if len(raw) == (pictures / "03.png").stat().st_size:
            raise error
        return original(raw, **options)

    monkeypatch.setattr(work, "open_picture", fails)
    found = embeddings(model, pictures)
    assert f"it cannot be opened ({type(error).__name__}: x)" in found.failed["03.png"]


def test_a_pipe_is_no_picture(model, pictures):
    os.mkfifo(pictures / "pipe.png")
    found = embeddings(model, {path.name: path for path in pictures.iterdir()})
    assert "no regular file" in found.failed["pipe.png"]


def test_missing_captions_are_reported_and_missing_paths_refused(model, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    table = tmp_path / "t.parquet"
    parquet.write_table(pyarrow.table({"path": ["a.png", "b.png"], "caption": ["a cat", None]}), table)
    found = embeddings(model, table, modality="text")
    assert found.ids == ("a.png#0",)
    assert "is empty" in found.failed["b.png#0"]
    parquet.write_table(pyarrow.table({"path": ["a.png", None], "caption": ["a", "b"]}), table)
    with pytest.raises(ValueError, match=r"row 2 of t\.parquet names no picture, but None"):
        read_samples(table)


def test_odd_names_are_kept_and_shown_harmlessly(model, pictures, tmp_path):
    for odd in (b"new\nline.png", b"half\xff.png", b"\x1b[31mred.png"):
        (pictures / "00.png").rename(os.fsdecode(os.fsencode(pictures) + b"/" + odd))
        (pictures / "01.png").rename(pictures / "00.png") if (pictures / "01.png").exists() else None
        (pictures / "02.png").rename(pictures / "01.png") if (pictures / "02.png").exists() else None
    (pictures / "\x1b[2J.jpg").write_bytes(b"no picture")
    found = embeddings(model, pictures)
    assert "\x1b" not in str(found)
    out = found.save(tmp_path / "out")
    assert tuple(json.loads((out / "ids.json").read_text())) == found.ids
    assert len(np.load(out / "post.npy")) == len(found.ids)


def test_rows_of_another_extraction_are_not_mixed_in(model, pictures, tmp_path):
    embeddings(model, pictures, kinds=("pre", "post")).save(tmp_path / "out")
    with pytest.raises(ValueError, match=r"holds pre\.npy of another extraction"):
        embeddings(model, pictures).save(tmp_path / "out")


# Warnings and interrupts -----------------------------------------------------------------------------------------------


def test_the_processs_warnings_are_left_as_they_were(model, pictures):
    before = list(warnings.filters)
    for _ in range(3):
        embeddings(model, pictures, batch_size=2)
    assert list(warnings.filters) == before


def test_cut_captions_are_counted_in_one_warning(model):
    long = "a red cube on a blue ball " * 10
    with pytest.warns(UserWarning, match="2 captions are longer than the 16 tokens") as said:
        embeddings(model, ["short", long, long + "!"], modality="text", batch_size=1)
    assert len(said) == 1


def test_an_interrupt_does_not_wait_for_what_nobody_wants(model, pictures, monkeypatch):
    def slow(self, image, size=None):
        time.sleep(0.2)
        return torch.zeros(3, 64, 64)

    def interrupt(self, pixels, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(model), "preprocess", slow)
    monkeypatch.setattr(type(model), "encode_pixels", interrupt)
    many = {f"{i}-{path.name}": path for i in range(10) for path in pictures.iterdir()}
    start, filters = time.monotonic(), list(warnings.filters)
    with pytest.raises(KeyboardInterrupt) as kept:  # and with it the traceback, as a notebook keeps it
        embeddings(model, many, batch_size=4)
    assert kept.tb is not None
    assert list(warnings.filters) == filters
    assert time.monotonic() - start < 120 * 0.2 / 4 * 0.7  # all of them on four threads would take six seconds
    assert threading.active_count() < 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": -3, "engine": "ray", "store": "s"}, "workers=-3"),
        ({"shard_size": 0}, "size is 0"),
        ({"kinds": "posts"}, "choose among pre, post, tokens"),
    ],
)
def test_bad_options(model, pictures, options, message):
    with pytest.raises(ValueError, match=message):
        embeddings(model, pictures, **options)


def test_one_kind_may_be_named_alone(model, pictures):
    assert list(embeddings(model, pictures, kinds="pre").arrays) == ["pre"]
