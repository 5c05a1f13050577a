"""The segments panel of its page: captions typed, a rule chosen, a piece clicked and chosen by keyboard."""

from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import expect

PAGE = Path(__file__).parents[2] / "notebooks/01_fine_grained_alignment.ipynb"
BEFORE = """import os
os.environ["TQDM_DISABLE"] = ""  # as readers have it: bars are shown
MODEL = 'lite2-minilm'"""


@pytest.fixture
def segments_notebook(tmp_path):
    """The cell of the page, alone: the rest of it takes minutes."""
    page = nbformat.read(PAGE, 4)
    own = next(cell.source for cell in page.cells if "wb.SegmentsPanel" in cell.source)
    cells = [nbformat.v4.new_code_cell(source) for source in (BEFORE, own)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=page.metadata), tmp_path / "segments.ipynb")
    return tmp_path / "segments.ipynb"


def matrix(page):
    return page.locator(".jupyter-widgets .js-plotly-plot").first


def large(page):
    return page.locator(".jupyter-widgets figcaption")


def photo(page):
    return page.locator(".jupyter-widgets").get_by_role("img", name="with the region that each piece takes")


def type_caption(page, letter, text):
    page.get_by_label(f"Caption {letter}").fill(text)
    page.get_by_label(f"Caption {letter}").press("Enter")


def test_pieces_and_their_regions(lab_page, segments_notebook, keep_picture):
    lab = lab_page(segments_notebook, width=1280, height=1400)
    lab.run_all(timeout=240)
    page = lab.page
    matrix(page).wait_for()
    expect(photo(page)).to_be_visible()
    said = page.get_by_role("status")
    page.get_by_label("Picture", exact=True).select_option("coffee")
    expect(said).to_contain_text("lite2-minilm on coffee", timeout=60_000)

    # Captions typed: other pieces, other rectangles.
    type_caption(page, "A", "a red cup and a silver spoon")
    type_caption(page, "B", "a silver cup and a red spoon")
    expect(matrix(page)).to_contain_text("A1 red cup")
    expect(matrix(page)).to_contain_text("B2 red spoon")
    assert "B2 red spoon: crop" in photo(page).get_attribute("aria-label")

    # A row clicked, and a piece chosen from the list with the keyboard.
    area = matrix(page).locator(".nsewdrag").bounding_box()
    rows = matrix(page).evaluate("plot => plot._fullData[0].z.length")
    page.mouse.click(area["x"] + area["width"] * 0.5, area["y"] + area["height"] * 1.5 / rows)
    expect(large(page)).to_contain_text("A2 “silver spoon” takes")
    page.get_by_label("Piece", exact=True).focus()
    for key in ("Space", "ArrowDown", "Enter"):  # a closed list leaves the arrows to Lab, which moves between cells
        page.keyboard.press(key)
    expect(large(page)).to_contain_text("A3 “")
    assert page.locator(".jupyter-widgets figure img").get_attribute("alt")
    page.mouse.move(0, 0)  # no cell's hover text in the picture
    page.wait_for_timeout(500)
    keep_picture(page.locator(".jp-OutputArea-child", has=matrix(page)).last, "segments_panel.png")

    # Another rule, a drawn scene with boxes, and a caption that cannot be read.
    page.get_by_label("Rule", exact=True).select_option("late: late interaction: each word takes its best patch")
    expect(large(page)).to_contain_text("takes row")
    page.get_by_label("Picture", exact=True).select_option("Colour 1, picture 1")
    expect(said).to_contain_text("Colour 1, picture 1")
    page.get_by_label("Rule", exact=True).select_option("roi: boxes pooled from the patches of one pass × segments")
    expect(large(page)).to_contain_text("takes box")
    page.get_by_label("Rule", exact=True).select_option(
        "crops: structure-guided inference: crops and segments, each encoded alone"
    )
    expect(large(page)).to_contain_text("takes crop", timeout=60_000)  # 86 crops of a picture that is new
    shown = large(page).inner_text()
    type_caption(page, "A", "   ")
    expect(said).to_contain_text("Not shown: caption A is empty")
    assert large(page).inner_text() == shown
    type_caption(page, "A", "<script>document.title='taken'</script> cup")
    expect(matrix(page)).to_contain_text("script")
    assert page.title() != "taken"

    check_narrow(page)
    expect(page.get_by_text("Error displaying widget")).to_have_count(0)  # what a bar that closed would leave
    assert lab.stderr_texts() == []
    assert lab.console_errors == []
    assert lab.outside_requests == []


def check_narrow(page):
    """Every control stays inside a window of 700 pixels."""
    page.set_viewport_size({"width": 700, "height": 900})
    page.wait_for_timeout(500)  # Lab lays itself out anew
    for label in ("Picture", "Caption A", "Caption B", "Rule", "Pieces", "Crops", "Piece"):
        box = page.get_by_label(label, exact=True).bounding_box()
        assert box["x"] >= 0, label
        assert box["x"] + box["width"] <= 700, label
