"""What is put comes back bit by bit, and what is broken, missing or too much says so."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from workbench.store import NUMBERS, EmbeddingStore, ShardKey, entry, keys, sample_digest

FACTS = {"weights": "ab12", "preprocessing": "resize 224", "kind": "post", "layer": -1}

TEXT = {"capture_output": True, "text": True, "cwd": Path(__file__).parents[2]}


def key(n=4, *, seed=0, **facts) -> ShardKey:
    return ShardKey({**FACTS, **facts}, [sample_digest(f"{seed} {i}".encode()) for i in range(n)])


def some(*shape, dtype=np.float32, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def folder(store, key) -> Path:
    return store.root / key.hex[:2] / key.hex


def files(store) -> list[str]:
    return sorted(str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file())


# Round trips ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("shape", [(4,), (4, 7), (4, 3, 5), (4, 2, 3, 2), (0,), (0, 7), (0, 3, 5), (4, 0)], ids=str)
def test_what_is_put_comes_back_bit_by_bit(store, shape, dtype):
    array, its_key = some(*shape, dtype=dtype), key(shape[0])
    array.reshape(-1)[:2] = [-0.0, np.finfo(dtype).smallest_subnormal][: array.size]
    put = store.put(its_key, array)
    for shard in (put, store.get(its_key), EmbeddingStore(store.root).get(its_key, verify=True)):
        assert (shard.shape, shard.dtype) == (array.shape, array.dtype)
        assert shard.rows.tobytes() == array.tobytes()
        assert isinstance(shard.rows, np.memmap) or not array.size


def test_arrays_of_any_layout(store):
    for name, array in {"columns first": np.asfortranarray(some(4, 7)), "every other": some(8, 7)[::2]}.items():
        assert np.array_equal(store.put(key(layout=name), array).rows, array)


def test_failed_samples_have_a_reason_and_no_row(store):
    store.put(key(5), some(3, 7), failed={3: "cut short", 0: "<b>no picture</b> \udcff"})
    shard = store.get(key(5))
    assert shard.failed == {0: "<b>no picture</b> \udcff", 3: "cut short"}
    assert shard.kept.tolist() == [1, 2, 4]
    assert store.put(key(2), some(0, 7), failed={0: "a", 1: "b"}).kept.tolist() == []


def test_the_files_are_what_other_tools_read(store):
    from safetensors.numpy import load_file

    vectors, tokens = some(4, 7), some(4, 3, 5)
    store.put(key(kind="post"), vectors), store.put(key(kind="tokens"), tokens)
    assert np.array_equal(load_file(folder(store, key(kind="post")) / "data.safetensors")["rows"], vectors)
    assert np.array_equal(np.load(folder(store, key(kind="tokens")) / "data.npy", mmap_mode="r"), tokens)
    samples = (folder(store, key()) / "samples.txt").read_text().splitlines()
    assert tuple(samples) == key().samples


def test_versions_are_noted_and_no_part_of_the_key(store, monkeypatch):
    monkeypatch.setattr(entry, "_versions", lambda: {"torch": "1.0", "timm": None})
    store.put(key(), some(4, 7))
    monkeypatch.undo()
    shard = store.get(key())
    assert shard.versions == {"torch": "1.0", "timm": None}
    assert shard.created.endswith("+00:00")
    assert entry._versions()["pillow"]


def test_what_is_there_stays(store):
    store.put(key(), some(4, 7))
    assert np.array_equal(store.put(key(), some(4, 7, seed=1)).rows, some(4, 7))
    assert key() in store
    assert key(layer=-2) not in store


# Bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (some(4, 7, dtype=np.float64), TypeError, r"rows are float64; give a NumPy array of float32, float16, bool"),
        (some(4, 7).astype(">f4"), TypeError, "rows are >f4"),
        (np.ones((4, 7), int), TypeError, "int64"),
        ([[1.0]], TypeError, "rows are list"),
        (some(3, 7), ValueError, r"rows of shape \(3, 7\) for 4 samples of which 0 failed; give 4 rows"),
        (np.array(1, np.float32), ValueError, r"rows of shape \(\)"),
        (np.where(np.eye(4, dtype=np.float32), np.nan, np.float32(1)), ValueError, r"row 0 .*NaN or infinite"),
        (np.float32([1, 2, np.inf, 4]), ValueError, "row 2"),
        (np.array([[1], [np.inf], [1], [1]], np.float16), ValueError, "float16 ends at 65,504"),
    ],
    ids=str,
)
def test_rows_that_are_refused(store, rows, error, message):
    with pytest.raises(error, match=message):
        store.put(key(), rows)
    assert not store.root.exists()


def test_a_row_that_is_refused_is_named_by_its_sample(store):
    rows = some(4, 7)
    rows[2, 0] = np.nan
    with pytest.raises(ValueError, match=f"row 2 .sample {key(5).samples[3][:12]}"):
        store.put(key(5), rows, failed={1: "cut short"})


@pytest.mark.parametrize(
    ("failed", "error"), [({4: "x"}, ValueError), ({-1: "x"}, ValueError), ({1.5: "x"}, TypeError)]
)
def test_failed_samples_that_there_are_not(store, failed, error):
    with pytest.raises(error):
        store.put(key(), some(3, 7), failed=failed)


def test_keys_that_are_none(store):
    for call in (store.get, store.why_missing, store.__contains__, lambda name: store.put(name, some(4))):
        with pytest.raises(TypeError, match=r"give a workbench\.store\.ShardKey"):
            call("ab" * 32)


# Where ---------------------------------------------------------------------------------------------------------------


def test_the_place(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("WORKBENCH_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    assert EmbeddingStore().root.parts[-2:] == ("alignment-workbench", "store")
    assert EmbeddingStore("~/mine").root == tmp_path / "mine" == EmbeddingStore("mine").root
    monkeypatch.setenv("WORKBENCH_STORE", "~/other")
    assert EmbeddingStore().root == tmp_path / "other"
    assert list(tmp_path.iterdir()) == []  # nothing is made before something is kept


def test_two_ways_to_the_same_place(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    relative = EmbeddingStore("a/../store")
    relative.put(key(), some(4, 7))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    relative.put(key(layer=-2), some(4, 7))
    assert np.array_equal(EmbeddingStore("~/store").get(key()).rows, some(4, 7))
    assert EmbeddingStore("~/store").get(key(layer=-2)) is not None


@pytest.mark.parametrize("below", ["", "sub/store"])
def test_a_place_that_is_a_file(tmp_path, below):
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError, match=r"file is no folder; choose a folder \(root=, or WORKBENCH_STORE\)"):
        EmbeddingStore(tmp_path / "file" / below)


READ_ONLY = """
import os, sys, warnings
from pathlib import Path
import numpy as np
from workbench.store import EmbeddingStore, ShardKey

def key(kind):
    return ShardKey({"kind": kind}, ["ab" * 32])

ones = np.ones((1, 3), np.float32)
store = EmbeddingStore(sys.argv[1])
for kind in ("here", "new", "broken"):
    store.put(key(kind), ones)
store.get(key("here"))  # also imports what is imported late, while it can still be read
(store.root / key("broken").hex[:2] / key("broken").hex / "data.safetensors").unlink()
for path in (*store.root.rglob("*"), store.root):
    path.chmod(0o555 if path.is_dir() else 0o444)
if os.getuid() == 0:  # no permission stops root
    os.setgid(65534), os.setuid(65534)

store = EmbeddingStore(sys.argv[1])
for kind in ("here", "new", "new"):
    assert np.array_equal(store.get(key(kind)).rows, ones)
assert store.why_missing(key("other")).startswith("the same samples are stored with other facts: kind")
assert (len(store.describe().groups), store.describe().broken) == (2, 1)
try:
    store.put(key("other"), ones)
except PermissionError as error:
    print(error)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    assert store.get(key("broken")) is None
print(said[0].message)
"""


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="needs users")
def test_a_store_that_may_only_be_read():
    with tempfile.TemporaryDirectory() as place:  # not tmp_path, whose parents only their owner may enter
        done = subprocess.run([sys.executable, "-c", READ_ONLY, place], **TEXT)
        for path in (Path(place), *Path(place).glob("*"), *Path(place).glob("*/*")):
            path.chmod(0o755)
    assert done.returncode == 0, done.stderr
    refused, broken = done.stdout.splitlines()
    assert "check who may write there" in refused
    assert place in refused
    assert "data.safetensors is missing; it counts as missing and stays there (Permission denied)" in broken


# Damage --------------------------------------------------------------------------------------------------------------


def _cut(path, data):
    path.write_bytes(data[:-5])


def _empty(path, data):
    path.write_bytes(b"")


def _flip(path, data):
    path.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])


def _remove(path, data):
    path.unlink()


def _lengthen(path, data):
    path.write_bytes(data + b"\0")


def _edit(path, data):
    path.write_bytes(data.replace(b'"n": 4', b'"n": 5'))


def _header(path, data):
    path.write_bytes(data.replace(b"F32", b"F16").replace(b"<f4", b"<i4"))


def _giant_header(path, data):
    path.write_bytes(b"\xff" * 8 + data[8:])


DAMAGE = [
    ("data", _cut, "bytes instead of"),
    ("data", _lengthen, "bytes instead of"),
    ("data", _empty, "damaged header"),
    ("data", _giant_header, "damaged header"),
    ("data", _header, "header"),
    ("data", _flip, "not what was written"),
    ("data", _remove, "is missing"),
    ("manifest.json", _cut, "cut short or damaged"),
    ("manifest.json", _empty, "cut short or damaged"),
    ("manifest.json", _edit, "changed after it was written"),
    ("manifest.json", _remove, "manifest.json is missing"),
]


@pytest.mark.parametrize(("name", "damage", "reason"), DAMAGE, ids=lambda value: getattr(value, "__name__", None))
@pytest.mark.parametrize("shape", [(4, 7), (4, 3, 5)], ids=str)
@pytest.mark.parametrize("opened", [False, True], ids=["new", "opened before"])
def test_damage_is_a_miss_with_a_reason(store, shape, name, damage, reason, opened):
    store.put(key(), some(*shape))
    store.put(key(layer=-2), some(*shape))
    if opened:
        assert store.get(key()) is not None
    path = next(folder(store, key()).glob(f"{name}*"))
    damage(path, path.read_bytes())
    with pytest.warns(UserWarning, match=f"is broken: .*{reason}.*counts as missing and was moved to .broken-"):
        assert store.get(key()) is None
    assert reason in store.why_missing(key())
    assert "was moved aside" in store.why_missing(key())
    assert store.describe().broken == 1
    assert np.array_equal(store.put(key(), some(*shape)).rows, some(*shape))
    assert np.array_equal(store.get(key(), verify=True).rows, some(*shape))
    assert not list(store.root.glob(".*"))  # with a whole one there, the broken one goes
    assert store.get(key(layer=-2), verify=True) is not None


def test_damage_that_leaves_size_and_time_needs_verify(store):
    """What the cheap checks cannot see: verify=True reads everything."""
    store.put(key(), some(4, 7))
    store.get(key())
    path = folder(store, key()) / "data.safetensors"
    before = path.stat()
    with path.open("r+b") as file:  # the same inode
        file.seek(-3, os.SEEK_END)
        file.write(b"\x55")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.get(key()) is not None
    with pytest.warns(UserWarning, match="not what was written"):
        assert store.get(key(), verify=True) is None


def test_all_bytes_are_read_once_and_after_a_change(store, monkeypatch):
    reads = []
    full = entry.Entry.verify
    monkeypatch.setattr(entry.Entry, "verify", lambda self: (reads.append(1), full(self)))
    store.put(key(), some(4, 7))

    def reads_of(opening, **options):
        reads.clear()
        assert opening.get(key(), **options) is not None
        return len(reads)

    assert [reads_of(store), reads_of(store), reads_of(EmbeddingStore(store.root))] == [1, 0, 0]
    assert reads_of(store, verify=True) == 1
    data = folder(store, key()) / "data.safetensors"
    os.utime(data)
    assert [reads_of(store), reads_of(store)] == [1, 0]
    shutil.copy2(data, data.with_suffix(".copy"))  # the same size and time in another place, as after moving house
    data.with_suffix(".copy").replace(data)
    assert [reads_of(EmbeddingStore(store.root)), reads_of(store)] == [1, 0]
    (data.parent / "verified.json").write_text('["torn')
    assert reads_of(EmbeddingStore(store.root)) == 1


def test_an_entry_under_another_name(store):
    store.put(key(), some(4, 7))
    other = folder(store, key(layer=-2))
    other.parent.mkdir(exist_ok=True)
    shutil.copytree(folder(store, key()), other)
    with pytest.warns(UserWarning, match="belongs to another key"):
        assert store.get(key(layer=-2)) is None


def test_a_manifest_cannot_point_elsewhere(store, tmp_path):
    store.put(key(), some(4, 7))
    path = folder(store, key()) / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["file"] = "../../../secret"
    manifest["digest"] = entry._own_digest(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.warns(UserWarning, match="changed after it was written"):
        assert store.get(key()) is None


def test_trouble_in_reading_is_no_damage(store, monkeypatch):
    """Too many open files, say: the entry stays where it is."""
    store.put(key(), some(4, 7))

    def fails(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("workbench.store.embedding_store.read_entry", fails)
    with pytest.warns(UserWarning, match="cannot be read .*Too many open files.*stays there"):
        assert store.get(key()) is None
    monkeypatch.undo()
    assert store.get(key()) is not None


def test_an_entry_replaced_between_two_looks_is_no_damage(store, monkeypatch):
    store.put(key(), some(4, 7))
    looks, real = [], entry.read_entry

    def once_torn(*arguments):
        looks.append(1)
        if len(looks) == 1:
            raise entry.BrokenEntryError("the manifest of one writer, the data of another")
        return real(*arguments)

    monkeypatch.setattr("workbench.store.embedding_store.read_entry", once_torn)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(store.get(key()).rows, some(4, 7))
    assert len(looks) == 2


# A full disk ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_full_disk(store, monkeypatch, number, at):
    store.put(key(), some(4, 7))
    before, calls, sync = files(store), [], os.fsync

    def full(handle):
        calls.append(handle)
        if len(calls) == at:
            raise OSError(number, os.strerror(number))
        return sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"132 KiB could not be kept in .* free\).*prune\(\).*WORKBENCH_STORE") as caught:
        store.put(key(64), some(64, 512)[:, :511])
    assert caught.value.errno == number
    monkeypatch.undo()
    assert files(store) == before
    assert store.get(key(), verify=True) is not None


LIMITED = """
import resource, signal, sys
import numpy as np
from workbench.store import EmbeddingStore, ShardKey
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
store = EmbeddingStore(sys.argv[1])
key = lambda kind: ShardKey({"kind": kind}, ["ab" * 32])
store.put(key("small"), np.ones((1, 1000), np.float32))
for kind, shape in (("vectors", (1, 60000)), ("tokens", (1, 10, 6000))):
    try:
        store.put(key(kind), np.ones(shape, np.float32))
    except OSError as error:
        print(error.errno, error)
assert store.get(key("small"), verify=True) is not None
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_file_that_may_not_grow(tmp_path):
    """A real write that stops half-way, in a child whose files may not exceed 200 kB."""
    done = subprocess.run([sys.executable, "-c", LIMITED, tmp_path], **TEXT)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert [line.split()[0] for line in said] == [str(errno.EFBIG)] * 2
    assert all("234 KiB could not be kept" in line and "ulimit -f" in line and "prune()" in line for line in said)
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == set()
    assert len(list(tmp_path.rglob("*.json"))) == 2  # the small entry's manifest and its note


# Size, age, leftovers ------------------------------------------------------------------------------------------------


def used(store, key, days_ago: float):
    for path in folder(store, key).iterdir():
        if path.name in ("manifest.json", "verified.json"):
            os.utime(path, (time.time() - 86400 * days_ago,) * 2)


def test_the_cap_removes_what_was_not_used_for_longest(tmp_path):
    store = EmbeddingStore(tmp_path / "store", max_bytes=50_000)
    for layer in (1, 2, 3):
        store.put(key(layer=layer), some(4, 900))  # 16 kB each with all that belongs to it
        assert store.get(key(layer=layer)) is not None
        used(store, key(layer=layer), 10 - layer)
    assert store.get(key(layer=1)) is not None  # now the most recently used
    kept = store.put(key(layer=4), some(4, 900))
    assert [layer for layer in (1, 2, 3, 4) if key(layer=layer) in store] == [1, 3, 4]
    assert store.describe().bytes <= 50_000
    store.put(key(layer=5), some(4, 2900))
    assert [layer for layer in range(6) if key(layer=layer) in store] == [5]
    assert np.array_equal(kept.rows, some(4, 900))  # what is mapped outlives its files


def test_the_cap_spares_what_was_just_written(tmp_path):
    """Even where another machine's clock is ahead."""
    store = EmbeddingStore(tmp_path / "store", max_bytes=40_000)
    for layer in (1, 2):
        store.put(key(layer=layer), some(4, 900))
        used(store, key(layer=layer), -layer)
    store.put(key(layer=3), some(4, 900))
    assert [layer for layer in (1, 2, 3) if key(layer=layer) in store] == [2, 3]


def test_an_entry_larger_than_the_cap(tmp_path):
    store = EmbeddingStore(tmp_path / "store", max_bytes=10_000)
    store.put(key(), some(4, 100))
    with pytest.raises(
        ValueError, match=r"the entry takes 15.6 KiB, the whole store may take 9.8 KiB; raise max_bytes"
    ):
        store.put(key(layer=-2), some(4, 1000))
    with pytest.raises(ValueError, match="the entry takes 1"):  # its data would just fit, its manifest does not
        store.put(key(layer=-2), some(4, 620))
    assert key() in store
    assert not list(store.root.glob(".*"))


@pytest.mark.parametrize("limit", [-1, 1.5, "20 GiB"])
def test_caps_that_are_none(tmp_path, limit):
    with pytest.raises(ValueError, match=r"max_bytes is .*whole number of bytes"):
        EmbeddingStore(tmp_path, max_bytes=limit)
    with pytest.raises(ValueError, match="max_bytes is"):
        EmbeddingStore(tmp_path).prune(max_bytes=limit)


def test_pruning(store):
    for layer in range(5):
        store.put(key(layer=layer), some(4, 1000))
        used(store, key(layer=layer), 50 - 10 * layer)
    size = store.describe().bytes
    assert store.prune() == 0
    assert store.prune(unused_days=45) == pytest.approx(size / 5, rel=0.01)
    assert [key(layer=layer) in store for layer in range(5)] == [False, True, True, True, True]
    store.prune(max_bytes=size // 2)
    assert [key(layer=layer) in store for layer in range(5)] == [False, False, False, True, True]
    store.prune(max_bytes=0)
    assert files(store) == []
    with pytest.raises(ValueError, match="unused_days is -1"):
        store.prune(unused_days=-1)


def test_pruning_takes_what_is_broken(store):
    for layer in range(3):
        store.put(key(layer=layer), some(4, 7))
    (folder(store, key(layer=0)) / "manifest.json").write_text("{}")
    with pytest.warns(UserWarning, match="broken"):
        store.get(key(layer=0))
    (folder(store, key(layer=1)) / "data.safetensors").write_bytes(b"")
    assert store.describe().broken == 2
    assert store.prune() > 0
    assert (store.describe().broken, store.describe().groups[0].entries) == (0, 1)


def test_leftovers_of_dead_processes_only(store):
    from workbench.store.folders import _here

    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], **TEXT).stdout.strip()
    names = {
        f".tmp-{_here()}-{dead}-0a": False,
        f".tmp-{_here()}-{os.getpid()}-0b": True,
        f".tmp-other-host-{dead}-0c": True,
        ".tmp-other-host-1-old": False,
        ".tmp-strange": True,
    }
    for name in names:
        (store.root / name).mkdir(parents=True)
        (store.root / name / "data.npy").write_bytes(b"x" * 100)
    os.utime(store.root / ".tmp-other-host-1-old", (time.time() - 2 * 86400,) * 2)
    EmbeddingStore(store.root)
    assert {name: (store.root / name).exists() for name in names} == names


# In words ------------------------------------------------------------------------------------------------------------


def test_why_a_key_is_missing(store, monkeypatch):
    assert store.why_missing(key()) == f"nothing is stored yet in {store.root}"
    store.put(key(10), some(10, 3))
    store.put(key(10, seed=1), some(10, 3))
    store.put(key(10, layer=-3, weights="cd34"), some(10, 3))
    assert store.why_missing(key(10)) == "nothing is missing: the entry is there"
    assert store.why_missing(key(10, layer=-2)) == (
        "the same samples are stored with other facts: layer is -1, asked for is -2"
    )
    fewer = ShardKey({k: v for k, v in FACTS.items() if k != "layer"}, key(10).samples)
    assert store.why_missing(fewer).endswith("layer is -1, asked for is absent")
    assert store.why_missing(key(11)) == (
        "the same facts are stored for other samples: of the 11 asked for, the nearest entry has 10 among its 10"
    )
    backwards = ShardKey(FACTS, key(10).samples[::-1])
    assert store.why_missing(backwards) == "the same facts are stored for these samples in another order"
    assert "but for none of these samples" in store.why_missing(key(10, seed=2))
    assert store.why_missing(key(10, seed=2, layer=-2)) == (
        "neither these facts nor these samples are stored; in the nearest entry layer is -1, asked for is -2"
    )
    monkeypatch.setattr(keys, "NUMBERS", NUMBERS + 1)
    assert "computed other numbers" in store.why_missing(key(10))


def test_long_facts_are_shown_where_they_differ(store):
    before, after = (f"{'resize 224, ' * 30}{how}, {'normalise ' * 30}" for how in ("bicubic", "bilinear"))
    store.put(key(preprocessing=before), some(4, 3))
    said = store.why_missing(key(preprocessing=after))
    assert "bicubic" in said
    assert "bilinear" in said
    assert len(said) < 250


def test_samples_that_were_changed_explain_nothing(store):
    store.put(key(10), some(10, 3))
    (folder(store, key(10)) / "samples.txt").write_text("\n".join(key(11).samples))
    assert "but for none of these samples" in store.why_missing(key(11))


def test_describing(store):
    assert "0 B" in str(store.describe())
    for part in range(3):
        store.put(key(10, seed=part), some(9, 1000), failed={0: "cut short"})
    store.put(key(4, kind="<i>tokens</i>"), some(4, 3, 5))
    used(store, key(10), 3)
    report = EmbeddingStore(store.root, max_bytes=2**20).describe()
    assert [(group.entries, group.rows) for group in report.groups] == [(3, 27), (1, 4)]
    assert (
        sum(group.bytes for group in report.groups)
        == report.bytes
        == sum((store.root / name).stat().st_size for name in files(store))
    )
    caption, header, first, _ = str(report).splitlines()
    assert caption.startswith(f"Embeddings in {store.root}: 11")
    assert caption.endswith(" KiB of at most 1.0 MiB")
    assert header.split() == ["facts", "entries", "rows", "bytes", "last", "used"]
    assert first.startswith("kind post, layer -1, preprocessing resize 224, weights ab12           3        27    1")
    assert "<i>" not in report._repr_mimebundle_()["text/html"]


def test_nothing_is_said_where_all_is_well(store):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.put(key(), some(4, 7))
        assert store.get(key()) is not None
        assert store.get(key(layer=-2)) is None
        store.prune()
