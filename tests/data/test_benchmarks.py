"""Published formats, from tiny files of the same form: what is read, what is counted, what is refused."""

import json
import random
import tracemalloc

import pytest
from PIL import Image

from tests.benchmark_files import ITEMS, picture, save, write
from workbench.data.benchmarks import BENCHMARKS, Item, Quad, as_sample, list_benchmarks, load_benchmark, sugarcrepe
from workbench.data.benchmarks.record import EMPTY, MISSING, SAME
from workbench.data.pictures import open_picture


def load(name, root):
    write[name](root)
    return load_benchmark(name, root)


# All of them -----------------------------------------------------------------------------------------------------------


def test_every_benchmark_is_tested():
    assert set(write) == set(ITEMS) == set(BENCHMARKS)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_whole_folders_are_read(name, tmp_path):
    assert name not in list_benchmarks(tmp_path).ready
    found = load(name, tmp_path)
    assert name in list_benchmarks(tmp_path).ready
    assert len(found) == ITEMS[name]
    assert found.missing == ()
    assert len({item.id for item in found.items}) == len(found)
    assert all(open_picture(as_sample(each).read()) for item in found.items for each in item.pictures)
    assert found.expected == BENCHMARKS[name].n
    assert f"Benchmark {name}" in str(found)
    assert f"of {found.expected:,} published" in str(found)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_an_empty_folder_is_told_what_is_missing(name, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        load_benchmark(name, tmp_path)
    message = str(caught.value)
    first = BENCHMARKS[name].needs[0].partition(" | ")[0]
    assert str(tmp_path / first) in message
    assert f"{name} needs" in message
    assert BENCHMARKS[name].put in message
    assert "WORKBENCH_DATA" in message


@pytest.mark.parametrize("name", BENCHMARKS)
def test_another_level_is_said(name, tmp_path):
    root = tmp_path / "root"
    write[name](root)
    below = root / BENCHMARKS[name].needs[0].partition("/")[0]
    with pytest.raises(FileNotFoundError, match=r"one folder too deep: give"):
        load_benchmark(name, below)
    with pytest.raises(FileNotFoundError, match=rf"more of it is in {root}: give that folder"):
        load_benchmark(name, tmp_path)


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if "|" not in BENCHMARKS[name].needs[0]])
@pytest.mark.parametrize(
    "content", ["", "{", '{"0": ', "[]", "{}", "3", '["x"]', '{"0": 3}', "[[]]", '{"a": {"1": 2}}', "[null]"]
)
def test_another_format_is_refused(name, content, tmp_path):
    write[name](tmp_path)
    file = tmp_path / BENCHMARKS[name].needs[0]
    file.write_text(content)
    with pytest.raises(ValueError, match=r"is not .*'s format, a (dict|list) of .*get it again") as caught:
        load_benchmark(name, tmp_path)
    assert str(file) in str(caught.value)


def test_what_breaks_off_says_so(tmp_path):
    write["sugarcrepe++"](tmp_path)
    file = tmp_path / "sugarcrepe++/swap_obj.json"
    file.write_text(file.read_text()[:-20])
    with pytest.raises(ValueError, match="cut short"):
        load_benchmark("sugarcrepe++", tmp_path)
    file.write_bytes(b'["\xff"]')
    with pytest.raises(ValueError, match="is not SugarCrepe"):
        load_benchmark("sugarcrepe++", tmp_path)


def test_unknown_names_get_the_near_ones(tmp_path):
    with pytest.raises(
        ValueError, match=r"no benchmark 'Sugarcrep', did you mean sugarcrepe or .*imagecode.* csv:<path>"
    ):
        load_benchmark("Sugarcrep", tmp_path)
    with pytest.raises(ValueError, match="no benchmark 'xyz'; there are sugarcrepe"):
        load_benchmark("xyz", tmp_path)
    with pytest.raises(TypeError, match="not int"):
        load_benchmark(3, tmp_path)


def test_the_list_says_what_is_ready(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path))
    write["winoground"](tmp_path)
    write["valse"](tmp_path)
    (tmp_path / "valse/plurals.json").unlink()
    found = list_benchmarks()
    assert found.ready == ("winoground",)
    assert found.lacking["valse"] == ("valse/plurals.json",)
    lines = {line.split()[0]: line for line in str(found).splitlines()[2:]}
    assert "yes" in lines["winoground"]
    assert "behind a form" in lines["winoground"]
    assert "no, lacks 1" in lines["valse"]
    assert set(BENCHMARKS) < set(lines)


def test_the_environment_names_the_folder(tmp_path, monkeypatch):
    write["coco"](tmp_path)
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path))
    assert len(load_benchmark("coco")) == 2


# What is left out ------------------------------------------------------------------------------------------------------


def test_missing_pictures_are_named_and_counted(tmp_path):
    write["sugarcrepe"](tmp_path)
    gone = tmp_path / "coco/val2017/0.jpg"
    gone.unlink()
    found = load_benchmark("sugarcrepe", tmp_path)
    assert found.missing == (gone,)
    assert (len(found), found.skipped) == (14, {MISSING: 14})
    assert str(gone) in str(found)
    assert "14" in str(found)


def test_many_missing_pictures_are_summed_up(tmp_path):
    write["imagecode"](tmp_path)
    for k in range(1, 8):
        (tmp_path / f"imagecode/image-sets/open-images-1_a/img{k}.jpg").unlink()
    found = load_benchmark("imagecode", tmp_path)
    assert (len(found.missing), found.skipped) == (7, {MISSING: 2})
    assert "pictures in all, 2 more" in str(found)


def test_no_picture_at_all_is_an_error_that_finds_them(tmp_path):
    write["sugarcrepe"](tmp_path)
    (tmp_path / "coco/val2017").rename(tmp_path / "coco/deep")
    (tmp_path / "coco/val2017").mkdir()
    with pytest.raises(FileNotFoundError, match=r"none of its 2 pictures is there, such as .*0\.jpg; put"):
        load_benchmark("sugarcrepe", tmp_path)
    (tmp_path / "coco/deep").rename(tmp_path / "coco/val2017/val2017")
    with pytest.raises(FileNotFoundError, match=r"but there is .*val2017/val2017/0\.jpg: move"):
        load_benchmark("sugarcrepe", tmp_path)


def test_empty_captions_are_counted(tmp_path):
    write["sugarcrepe"](tmp_path)
    file = tmp_path / "sugarcrepe/add_obj.json"
    entries = json.loads(file.read_text())
    entries["1"]["negative_caption"] = "  \n"
    entries["3"]["caption"] = ""
    save(file, entries)
    found = load_benchmark("sugarcrepe", tmp_path)
    assert found.skipped == {EMPTY: 2}
    assert [item.id for item in found.items if item.subset == "add_obj"] == ["add_obj/0", "add_obj/4"]


def test_nothing_left_is_an_error(tmp_path):
    write["whatsup-vg-one"](tmp_path)
    save(tmp_path / "whatsup/vg_qa_one_obj.json", [[7, "", "a cat"]])
    with pytest.raises(ValueError, match=r"whatsup-vg-one has no items \(1 × empty caption\)"):
        load_benchmark("whatsup-vg-one", tmp_path)


def test_ids_that_come_twice_are_refused(tmp_path):
    write["sugarcrepe++"](tmp_path)
    file = tmp_path / "sugarcrepe++/swap_obj.json"
    entries = json.loads(file.read_text())
    entries[1]["id"] = entries[0]["id"]
    save(file, entries)
    with pytest.raises(ValueError, match="'swap_obj/0' comes twice"):
        load_benchmark("sugarcrepe++", tmp_path)


def test_keys_that_come_twice_are_refused(tmp_path):
    write["sugarcrepe"](tmp_path)
    file = tmp_path / "sugarcrepe/swap_obj.json"
    entry = json.dumps(json.loads(file.read_text())["0"])
    file.write_text(f'{{"0": {entry}, "0": {entry}}}')
    with pytest.raises(ValueError, match="the key '0' comes twice"):
        load_benchmark("sugarcrepe", tmp_path)


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/secret.jpg", "a/../../x.jpg", "", 7, None])
def test_pictures_stay_inside_their_folder(name, tmp_path):
    write["sugarcrepe"](tmp_path)
    file = tmp_path / "sugarcrepe/add_att.json"
    entries = json.loads(file.read_text())
    entries["0"]["filename"] = name
    save(file, entries)
    with pytest.raises(ValueError, match="is not SugarCrepe's format"):
        load_benchmark("sugarcrepe", tmp_path)


# One by one ------------------------------------------------------------------------------------------------------------


def test_sugarcrepe_goes_by_key(tmp_path):
    items = {item.id: item for item in load("sugarcrepe", tmp_path).items}
    assert list(items)[:4] == ["add_att/0", "add_att/1", "add_att/3", "add_att/4"]  # as swap_obj lacks key 108
    assert items["swap_obj/4"].caption == "a 4 red cube"


def test_sugarcrepe_pp_has_two_true_captions(tmp_path):
    item = load("sugarcrepe++", tmp_path).items[1]
    assert (item.id, item.texts) == ("replace_att/2", ("a 2 red cube", "one cube, 2, in red", "a 2 blue cat"))
    assert (item.also_true, item.negatives) == ("one cube, 2, in red", ("a 2 blue cat",))


@pytest.mark.parametrize(("half", "group", "least"), [("relation", "under", 1), ("attribution", "old_wet", 25)])
def test_aro_has_boxes_and_groups(half, group, least, tmp_path):
    found = load(f"aro-{half}", tmp_path)
    assert found.least_group == least  # small attribute groups do not count, relations all do
    item = found.items[-1]
    assert (item.id, item.group, item.box) == (f"{half}/28", group, (4, 6, 24, 16))
    assert item.caption.startswith("the 2 cat")


def test_only_the_box_is_seen(tmp_path):
    write["aro-relation"](tmp_path)
    whole = Image.new("RGB", (40, 30), "white")
    whole.paste("red", (4, 6, 24, 16))
    whole.save(tmp_path / "aro/images/1.jpg", "PNG")
    item = load_benchmark("aro-relation", tmp_path).items[0]
    seen = open_picture(as_sample(item.picture, item.box).read()).image
    assert (seen.size, seen.getcolors()) == ((20, 10), [(200, (255, 0, 0))])
    assert as_sample(item.picture, item.box).id != as_sample(item.picture).id


@pytest.mark.parametrize(
    ("side", "reason"), [(0, "counted"), (-3, "counted"), ("4", "refused"), (True, "refused"), (None, "refused")]
)
def test_boxes_that_hold_nothing(side, reason, tmp_path):
    write["aro-relation"](tmp_path)
    file = tmp_path / "aro/visual_genome_relation.json"
    entries = json.loads(file.read_text())
    entries[3]["bbox_w"] = side
    save(file, entries)
    if reason == "refused":
        with pytest.raises(ValueError, match="bbox_w"):
            load_benchmark("aro-relation", tmp_path)
    else:
        found = load_benchmark("aro-relation", tmp_path)
        assert found.skipped == {"empty box": 1}
        assert [item.id for item in found.items][3] == "relation/4"  # ids do not move up


def test_winoground_from_its_folder(tmp_path):
    found = load("winoground", tmp_path)
    images = tmp_path / "winoground/images"
    expected = Quad(
        "1", "Relation", (images / "ex_1_img_0.png", images / "ex_1_img_1.png"), ("cat 1 on dog", "dog 1 on cat")
    )
    assert found.items[1] == expected


def _rows(tmp_path, fields):
    rows = []
    for i in range(5):
        cells = {}
        for k in (0, 1):
            path = picture(tmp_path / "raw.png", (40 * i, 120 * k, 7))
            cells[fields[k]] = {"bytes": path.read_bytes(), "path": f"{i}_{k}.png"}
        rows.append({**cells, fields[2]: f"cat {i} on dog", fields[3]: f"dog {i} on cat", "type": "swap", "id": i})
    return rows


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_quads_from_a_saved_data_set(ending, tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = _rows(tmp_path, ("image_0", "image_1", "caption_0", "caption_1"))
    folder = tmp_path / "winoground/test"
    folder.mkdir(parents=True)
    for n, part in enumerate((rows[:3], rows[3:])):
        table = pa.Table.from_pylist(part)
        if ending == "parquet":
            parquet.write_table(table, folder / f"test-{n}.parquet", row_group_size=2)
        else:
            with pa.OSFile(str(folder / f"data-{n}.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as out:
                out.write_table(table, max_chunksize=2)
    found = load_benchmark("winoground", tmp_path)
    assert [item.id for item in found.items] == list("01234")
    for i, item in enumerate(found.items):
        assert item.texts == (f"cat {i} on dog", f"dog {i} on cat")
        for k, each in enumerate(item.pictures):
            assert open_picture(each.read()).image.getpixel((0, 0)) == (40 * i, 120 * k, 7)


def test_rows_without_a_picture_fail_when_read(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = _rows(tmp_path, ("image", "negative_image", "caption", "negative_caption"))
    for row in rows:
        del row["id"]
    rows[1]["image"] = None
    (tmp_path / "bivlc/data").mkdir(parents=True)
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "bivlc/data/test-0.parquet")
    found = load_benchmark("bivlc", tmp_path)
    assert [item.id for item in found.items] == [f"test-0/{i}" for i in range(5)]
    assert found.items[0].subset == "swap"
    with pytest.raises(OSError, match="holds no bytes"):
        found.items[1].pictures[0].read()


def test_caches_are_no_data(tmp_path):
    write["winoground"](tmp_path)
    for name in (".cache/x.parquet", "cache-1.arrow"):
        path = tmp_path / "winoground" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"nothing")
    assert len(load_benchmark("winoground", tmp_path)) == 3


@pytest.mark.parametrize("content", [b"PAR1 and no more", b""])
def test_a_broken_table_is_refused(content, tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "bivlc").mkdir()
    (tmp_path / "bivlc/test.parquet").write_bytes(content)
    with pytest.raises(ValueError, match="cut short or no table"):
        load_benchmark("bivlc", tmp_path)


def test_a_table_of_other_columns_is_refused(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "bivlc").mkdir()
    parquet.write_table(pa.table({"image": [b""], "caption": ["x"]}), tmp_path / "bivlc/test.parquet")
    with pytest.raises(ValueError, match="it has the columns image, caption, not negative_image"):
        load_benchmark("bivlc", tmp_path)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_bivlc_from_a_table_of_names(ending, tmp_path):
    write["bivlc"](tmp_path)
    whole = load_benchmark("bivlc", tmp_path).items
    entries = json.loads((tmp_path / "bivlc/examples.json").read_text())
    (tmp_path / "bivlc/examples.json").unlink()
    if ending == "csv":
        lines = [",".join(entries[0]), *(",".join(f'"{cell}"' for cell in entry.values()) for entry in entries)]
    else:
        lines = [json.dumps(entry) for entry in entries]
    (tmp_path / f"bivlc/examples.{ending}").write_text("\n".join(lines))
    assert load_benchmark("bivlc", tmp_path).items == whole
    (tmp_path / f"bivlc/examples.{ending}").write_text('image,caption\n"a.png')
    with pytest.raises(ValueError, match="is not bivlc's format, rows of image, negative_image"):
        load_benchmark("bivlc", tmp_path)


def test_whatsup_knows_its_sets(tmp_path):
    found = load("whatsup-b", tmp_path)
    assert {item.group for item in found.items} == {"mug, table", "beer-bottle, chair"}
    assert [item.subset for item in found.items[:4]] == ["left", "right", "in-front", "behind"]
    item = found.items[6]
    assert item.id == "beer-bottle_in-front_of_chair"
    assert (item.caption, len(item.negatives)) == ("A beer-bottle in front of a chair", 3)


def test_whatsup_refuses_a_relation_it_does_not_know(tmp_path):
    write["whatsup-a"](tmp_path)
    entry = {"image_path": "data/controlled_images/mug_near_table.jpeg", "caption_options": list("abcd")}
    save(tmp_path / "whatsup/controlled_images_dataset.json", [entry])
    with pytest.raises(ValueError, match="'mug_near_table' has no relation"):
        load_benchmark("whatsup-a", tmp_path)


def test_whatsup_takes_coco_from_where_it_lies(tmp_path):
    write["whatsup-coco-two"](tmp_path)
    (tmp_path / "coco").mkdir()
    (tmp_path / "whatsup/val2017").rename(tmp_path / "coco/val2017")
    item = load_benchmark("whatsup-coco-two", tmp_path).items[1]
    assert item.picture == tmp_path / "coco/val2017/000000000012.jpg"
    assert item.texts == ("a cat 12 on the left", "a cat 12 on the right")


def test_valse_keeps_what_two_annotators_confirm(tmp_path):
    found = load("valse", tmp_path)
    assert found.skipped == {"fewer than two annotators for the caption (mturk.caption < 2)": 11}
    first = [item for item in found.items if item.subset == "existence"]
    assert [item.id for item in first] == [f"existence/existence_{k}" for k in range(3)]
    assert [item.picture.relative_to(tmp_path).as_posix() for item in first] == [
        "valse/images/v7w_1.jpg",
        "valse/images/SWiG/a.jpg",
        "coco/val2014/b.jpg",
    ]


def test_imagecode_goes_by_the_number_in_the_name(tmp_path):
    found = load("imagecode", tmp_path)
    assert [(item.id.rpartition("/")[2], item.subset, item.target) for item in found.items] == [
        ("5", "static", 5),
        ("0", "static", 0),
        ("9", "video", 9),
    ]
    assert found.items[0].pictures[5].name == "img5.jpg"
    assert found.items[1].text == "some grass"
    gone = tmp_path / "imagecode/image-sets/open-images-1_a/img2.jpg"
    gone.unlink()  # by position, 5 would now be img6
    less = load_benchmark("imagecode", tmp_path)
    assert (less.missing, [item.subset for item in less.items]) == ((gone,), ["video"])


@pytest.mark.parametrize("number", ["10", "-1", "x", ""])
def test_imagecode_has_ten_pictures(number, tmp_path):
    write["imagecode"](tmp_path)
    save(tmp_path / "imagecode/valid_data.json", {"open-images-1_a": {number: "a deer"}})
    with pytest.raises(ValueError, match="is none of 0 to 9"):
        load_benchmark("imagecode", tmp_path)


def test_both_formats_of_the_test_split_are_the_same(tmp_path):
    first = load("coco", tmp_path)
    listed = tmp_path / "coco/coco_karpathy_test.json"
    images = [
        {
            "filepath": "val2014",
            "filename": entry["image"].rpartition("/")[2],
            "split": "test",
            "sentences": [{"raw": caption, "tokens": []} for caption in entry["caption"]],
        }
        for entry in json.loads(listed.read_text())
    ]
    listed.unlink()
    save(
        tmp_path / "coco/dataset_coco.json",
        {"images": [*images, {"split": "restval", "filename": "x.jpg", "sentences": []}]},
    )
    assert load_benchmark("coco", tmp_path) == first
    assert first.items[0].id == "val2014/COCO_val2014_0.jpg"
    assert len(first.items[0].texts) == 5


def test_a_table_of_your_own(tmp_path):
    picture(tmp_path / "pics/1.png")
    picture(tmp_path / "pics/2.png")
    table = tmp_path / "mine.csv"
    table.write_text(
        "image,caption\npics/1.png,a cat\npics/1.png,one cat\npics/2.png,\npics/2.png,a dog\npics/3.png,a cow\n"
    )
    found = load_benchmark(f"csv:{table}")
    assert [(item.id, item.texts) for item in found.items] == [
        ("pics/1.png", ("a cat", "one cat")),
        ("pics/2.png", ("a dog",)),
    ]
    assert found.missing == (tmp_path / "pics/3.png",)
    assert found.skipped == {"empty caption, its picture kept with the others": 1, MISSING: 1}
    with pytest.raises(FileNotFoundError, match="there is no"):
        load_benchmark(f"csv:{tmp_path / 'other.csv'}")
    with pytest.raises(ValueError, match=r"is none of \.csv"):
        load_benchmark(f"csv:{tmp_path / 'pics'}")


def test_names_of_files_are_escaped(tmp_path):
    write["sugarcrepe"](tmp_path)
    file = tmp_path / "sugarcrepe/add_att.json"
    save(file, {"0": {"filename": "<b>\x1b[2J.jpg", "caption": "a", "negative_caption": "b"}})
    shown = load_benchmark("sugarcrepe", tmp_path)._repr_mimebundle_()
    assert "&lt;b&gt;" in shown["text/html"]
    assert "<b>" not in shown["text/html"]
    assert "\x1b" not in shown["text/plain"]


def test_items_say_their_captions():
    assert Item("1", "x", None, "a", ("b", "c")).texts == ("a", "b", "c")


# What is not what it says ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", ["abcd", list("abcde"), list("abc")])
def test_whatsup_has_four_options(options, tmp_path):
    write["whatsup-a"](tmp_path)
    entry = {"image_path": "data/controlled_images/mug_on_table.jpeg", "caption_options": options}
    save(tmp_path / "whatsup/controlled_images_dataset.json", [entry])
    with pytest.raises(ValueError, match="caption_options"):
        load_benchmark("whatsup-a", tmp_path)


@pytest.mark.parametrize("attributes", ["ab", ["a", "b", "c"], ["a"]])
def test_aro_has_two_attributes(attributes, tmp_path):
    write["aro-attribution"](tmp_path)
    file = tmp_path / "aro/visual_genome_attribution.json"
    entries = json.loads(file.read_text())
    entries[0]["attributes"] = attributes
    save(file, entries)
    with pytest.raises(ValueError, match="attributes"):
        load_benchmark("aro-attribution", tmp_path)


def test_a_caption_that_is_its_own_negative_asks_nothing(tmp_path):
    write["sugarcrepe"](tmp_path)
    file = tmp_path / "sugarcrepe/add_obj.json"
    entries = json.loads(file.read_text())
    entries["1"]["negative_caption"] = entries["1"]["caption"] + " "
    save(file, entries)
    assert load_benchmark("sugarcrepe", tmp_path).skipped == {SAME: 1}
    write["sugarcrepe++"](tmp_path)
    file = tmp_path / "sugarcrepe++/swap_obj.json"
    entries = json.loads(file.read_text())
    entries[0]["negative_caption"] = entries[0]["caption2"]
    save(file, entries)
    assert load_benchmark("sugarcrepe++", tmp_path).skipped == {SAME: 1}
    write["bivlc"](tmp_path)
    file = tmp_path / "bivlc/examples.json"
    entries = json.loads(file.read_text())
    entries[0]["negative_caption"] = entries[0]["caption"]
    save(file, entries)
    assert load_benchmark("bivlc", tmp_path).skipped == {SAME: 1}


LONG = "x" * 300 + ".jpg"


def test_names_too_long_for_the_system_are_missing_pictures(tmp_path):
    places = {
        "sugarcrepe": ("sugarcrepe/add_obj.json", lambda it: it["0"].update(filename=LONG)),
        "valse": ("valse/plurals.json", lambda it: it["plurals_0"].update(image_file=LONG)),
        "bivlc": ("bivlc/examples.json", lambda it: it[0].update(image=LONG)),
        "imagecode": ("imagecode/valid_data.json", lambda it: it.update({"x" * 300: {"1": "a cat"}})),
    }
    for name, (place, change) in places.items():
        write[name](tmp_path / name)
        entries = json.loads((tmp_path / name / place).read_text())
        change(entries)
        save(tmp_path / name / place, entries)
        assert load_benchmark(name, tmp_path / name).skipped[MISSING] == 1
    table = tmp_path / "mine.csv"
    table.write_text(f"image,caption\n{LONG},a cat\n")
    with pytest.raises(FileNotFoundError, match="none of its 1 pictures is there"):
        load_benchmark(f"csv:{table}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("picture,words\n1.png,a cat\n", "mine.csv has the columns picture, words; give a table"),
        ("image,caption\n", "no captions in .*mine.csv'; give a table"),
        ("image,caption\n,a cat\n", "row 1 of mine.csv names no picture, but ''; give a table"),
    ],
)
def test_advice_on_a_table_of_your_own_can_be_followed(content, message, tmp_path):
    (tmp_path / "mine.csv").write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        load_benchmark(f"csv:{tmp_path / 'mine.csv'}")
    assert "columns image and caption" in str(caught.value)
    assert not any(other in str(caught.value) for other in ("read_samples", "modality", ".tar"))
    with pytest.raises(FileNotFoundError, match="give csv: and the path of a table") as caught:
        load_benchmark(f"csv:{tmp_path / 'other.csv'}")


def test_items_come_without_their_pictures_but_not_without_the_folder(tmp_path):
    write["sugarcrepe"](tmp_path)
    for path in (tmp_path / "coco/val2017").iterdir():
        path.unlink()
    assert len(sugarcrepe(tmp_path)) == 28
    (tmp_path / "coco/val2017").rmdir()
    with pytest.raises(FileNotFoundError, match="val2017"):
        sugarcrepe(tmp_path)


@pytest.mark.parametrize(
    ("box", "fits"),
    [
        ((4, 6, 24, 16), True),
        ((-5, -5, 45, 35), True),  # a few pixels over the edge, as published boxes have it
        ((40, 0, 60, 10), False),
        ((-20, 0, 0, 10), False),
        ((0, 30, 10, 40), False),
        ((0, 0, 10**6, 10), False),
        ((0, 0, 10**6, 10**6), False),
    ],
)
def test_a_box_is_of_its_picture(box, fits, tmp_path):
    path = picture(tmp_path / "1.jpg")
    if fits:
        assert open_picture(as_sample(path, box).read()).image.size == (box[2] - box[0], box[3] - box[1])
    else:
        with pytest.raises(ValueError, match=r"1\.jpg\[.*the box .* is not of a picture of 40 × 30 pixels"):
            as_sample(path, box).read()


def test_pictures_in_a_table_are_held_a_few_at_a_time(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    draw, n, size = random.Random(0), 120, 100_000
    cells = [{"bytes": draw.randbytes(size), "path": None} for _ in range(n)]
    texts = [[f"{kind} {i}" for i in range(n)] for kind in ("a", "b")]
    table = pa.table(dict(zip(("caption", "negative_caption"), texts, strict=True)))
    for name in ("image", "negative_image"):
        table = table.append_column(name, pa.array(cells))
    (tmp_path / "bivlc").mkdir()
    parquet.write_table(table, tmp_path / "bivlc/test.parquet", use_dictionary=False, data_page_size=size)
    items = load_benchmark("bivlc", tmp_path).items
    tracemalloc.start()
    try:
        for item, cell in zip(items, cells, strict=True):
            assert all(each.read() == cell["bytes"] for each in item.pictures)
        assert tracemalloc.get_traced_memory()[1] < 20 * size
    finally:
        tracemalloc.stop()
    for i in draw.sample(range(n), 30):  # in any order, too
        assert items[i].pictures[i % 2].read() == cells[i]["bytes"]
