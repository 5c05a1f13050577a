"""Samples from every place that people keep them in: the same ids, the same bytes."""

import io
import json
import tarfile

import pytest
from PIL import Image

from workbench.data.samples import Sample, read_samples


def png(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (4, 4), (shade,) * 3).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "cats").mkdir()
    (tmp_path / "b.png").write_bytes(png(1))
    (tmp_path / "cats/a.JPG").write_bytes(png(2))
    (tmp_path / "cats/a.txt").write_text(" a cat \n", encoding="utf-8")
    (tmp_path / "notes.md").write_text("no picture")
    return tmp_path


@pytest.fixture
def tar(tmp_path):
    path = tmp_path / "shard-000.tar"
    with tarfile.open(path, "w") as out:
        for name, raw in {
            "./0001.jpg": png(1),
            "./0001.txt": b"one",
            "0002.png": png(2),
            "0002.json": json.dumps({"caption": "two"}).encode(),
            "0003.json": b'{"caption": "three", "x": 1}',
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            out.addfile(info, io.BytesIO(raw))
    return path


def test_a_folder_at_any_depth_in_order(folder):
    pictures = read_samples(folder)
    assert [sample.id for sample in pictures] == ["b.png", "cats/a.JPG"]
    assert pictures[0].read() == png(1)
    captions = read_samples(folder, modality="text")
    assert [(sample.id, sample.read()) for sample in captions] == [("cats/a.JPG#0", b"a cat")]


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_a_table_of_paths_and_captions(folder, ending):
    table = folder / f"captions.{ending}"
    rows = [("b.png", "a, dark one"), ("cats/a.JPG", "a cat"), ("b.png", 'again "it"')]
    if ending == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        import pyarrow.parquet as parquet

        parquet.write_table(pyarrow.table({"path": [r[0] for r in rows], "caption": [r[1] for r in rows]}), table)
    else:
        import csv

        with table.open("w", newline="", encoding="utf-8-sig") as file:
            csv.writer(file, delimiter="," if ending == "csv" else "\t").writerows([("path", "caption"), *rows])
    assert [sample.id for sample in read_samples(table)] == ["b.png", "cats/a.JPG"]  # each picture once
    assert read_samples(table)[1].read() == png(2)
    captions = read_samples(table, modality="text")
    assert [(sample.id, sample.text) for sample in captions] == [
        ("b.png#0", "a, dark one"),
        ("cats/a.JPG#0", "a cat"),
        ("b.png#1", 'again "it"'),
    ]


def test_columns_of_other_names(tmp_path):
    (tmp_path / "t.csv").write_text("photo,words\nx.png,hello\n")
    found = read_samples(tmp_path / "t.csv", modality="text", image_column="photo", caption_column="words")
    assert found == [Sample("x.png#0", text="hello")]


def test_a_webdataset_is_read_in_place(tar):
    pictures = read_samples(tar)
    assert [sample.id for sample in pictures] == ["0001", "0002"]
    assert [sample.read() for sample in pictures] == [png(1), png(2)]
    captions = read_samples(str(tar.parent / "shard-*.tar"), modality="text")
    assert [(sample.id, sample.text) for sample in captions] == [
        ("shard-000/0001#0", "one"),
        ("shard-000/0002#0", "two"),
        ("shard-000/0003#0", "three"),
    ]


def test_lists_and_mappings(folder):
    assert [sample.id for sample in read_samples([folder / "b.png"])] == [str(folder / "b.png")]
    assert read_samples({"x": folder / "b.png"})[0].read() == png(1)
    assert read_samples(["a", "b"], modality="text")[1] == Sample("1", text="b")
    several = read_samples({"x": ["a", "b"], "y": "c"}, modality="text")
    assert [sample.id for sample in several] == ["x#0", "x#1", "y#0"]


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        ("nowhere", {}, FileNotFoundError, "there is no nowhere; give a folder"),
        ([], {}, ValueError, r"no pictures in '\[\]'"),
        ([], {"modality": "text"}, ValueError, "no captions"),
        (3, {}, TypeError, "int is no source"),
        ([3], {}, TypeError, "int is no path"),
        ([3], {"modality": "text"}, TypeError, "a caption is text, not int 3"),
        (["a", "a"], {}, ValueError, "the id 'a' comes twice"),
        (["a"], {"modality": "sound"}, ValueError, "modality='sound'; choose 'image' or 'text'"),
    ],
)
def test_bad_sources(source, options, error, message):
    with pytest.raises(error, match=message):
        read_samples(source, **options)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"photo,words\nx,y\n", "has the columns photo, words; name one with read_samples"),
        ("t.csv", b"path,caption\nx\n", "row 2 of t.csv has another number of fields"),
        ("t.csv", b"path,caption\n\xff\xfe,y\n", "is no table that can be read"),
        ("t.csv", b"", "has the columns none"),
        ("t.tar", b"not a tar at all", "no whole, uncompressed tar"),
        ("t.tar.gz", b"\x1f\x8b", "is none of .csv, .tsv, .parquet, .tar"),
        ("t.parquet", b"PAR0", "no Parquet file that can be read"),
    ],
)
def test_bad_files(tmp_path, name, content, message):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_samples(tmp_path / name)


def test_a_tar_cut_short(tar):
    tar.write_bytes(tar.read_bytes()[:900])
    with pytest.raises(ValueError, match="no whole, uncompressed tar"):
        read_samples(tar)


def test_captions_that_are_not_text(folder, tar):
    (folder / "cats/a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"a\.txt is not UTF-8"):
        read_samples(folder, modality="text")
