"""Drawings with titles, read in place."""

from pathlib import Path

import pytest
from PIL import Image

from workbench.data.openclipart import ROOT, cliparts, named_cliparts

RDF = """<?xml version="1.0"?>
<svg xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>
<rdf:RDF><Work><dc:title>{title}</dc:title><dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>
<dc:creator><Agent><dc:title>A. Maker</dc:title></Agent></dc:creator></Work></rdf:RDF></metadata><path d="M 0,0"/></svg>"""


@pytest.fixture
def tree(tmp_path):
    def drawing(name, title, *keywords, svg=None):
        picture, text = (tmp_path / kind / f"{name}.{kind}" for kind in ("png", "svg"))
        picture.parent.mkdir(parents=True, exist_ok=True)
        text.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGBA", (2, 2)).save(picture)
        items = "".join(f"<rdf:li>{keyword}</rdf:li>" for keyword in keywords)
        text.write_text(RDF.format(title=title, items=items) if svg is None else svg, encoding="utf-8")

    drawing("food/apple_pie_02", "Apple Pie #2 (BW)", "food", "hash(0x8a0b6a8)", "Baked_Goods", "11")
    drawing("animals/seal", "Clipart by A. Maker - nosmoke", "mammal")
    drawing("animals/rana_architetto_01", "Rana", "animal")
    drawing("shapes/stars/star_1", "gramastar")
    drawing("food/exit", "Exit", "RoadSign")
    drawing("tools/broken_hammer", "", svg="<svg><metadata")
    for number in range(9):
        drawing(f"office/pin_{number}", "A Collection", "office")
    Image.new("RGB", (2, 2)).save(tmp_path / "png" / "food" / "alone.png")
    return tmp_path


def test_titles_and_keywords_are_as_written(tree):
    found = {each.path.stem: each for each in cliparts(tree)}
    assert len(found) == 15
    pie = found["apple_pie_02"]
    assert (pie.title, pie.folder) == ("Apple Pie #2 (BW)", "food")
    assert pie.keywords == ("food", "hash(0x8a0b6a8)", "Baked_Goods", "11")
    assert found["broken_hammer"].title == ""


def test_named_pictures_are_things_in_plain_words(tree):
    found = {each.path.stem: each for each in named_cliparts(tree)}
    assert found["apple_pie_02"].title == "apple pie"
    assert found["apple_pie_02"].keywords == ("food", "baked goods")


def test_signs_and_italian_titles_are_left_out(tree):
    stems = {each.path.stem for each in named_cliparts(tree)}
    assert not stems & {"star_1", "exit", "rana_architetto_01", "alone"}


def test_a_collections_title_and_a_credit_give_way_to_the_files_name(tree):
    titles = {each.path.stem: each.title for each in named_cliparts(tree)}
    assert titles["seal"] == "seal"
    assert titles["pin_3"] == "pin"
    assert titles["broken_hammer"] == "broken hammer"


def test_missing_folder_says_what_to_install(tmp_path):
    with pytest.raises(FileNotFoundError, match="apt-get install openclipart-png openclipart-svg"):
        cliparts(tmp_path / "none")
    (tmp_path / "png").mkdir()
    (tmp_path / "svg").mkdir()
    with pytest.raises(ValueError, match="holds no png"):
        cliparts(tmp_path)


@pytest.mark.skipif(not Path(ROOT).is_dir(), reason="openclipart-png is not installed")
def test_debians_package():
    named = named_cliparts()
    assert 1_500 < len(named) < len(cliparts())
    assert all(each.title == each.title.strip() == each.title.casefold() for each in named)
