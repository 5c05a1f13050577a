"""The start page in a real JupyterLab and a real Chromium: run it all, type, press, click, and use the keyboard alone."""

import pytest
from playwright.sync_api import expect

MAP = ".jupyter-widgets .js-plotly-plot"  # plotly figures inside widgets; the panel has the only one
VALUES = "plot => JSON.stringify(Array.from(plot._fullData[1].z, row => Array.from(row)))"


@pytest.fixture
def start(lab_page):
    lab = lab_page("00_start_here.ipynb", width=1280, height=1000)
    lab.run_all(timeout=240)
    lab.page.locator(MAP).wait_for()
    return lab


def type_caption(page, text):
    page.get_by_label("Caption").fill(text)
    page.get_by_label("Caption").press("Enter")


def test_the_start_page_answers_to_mouse_and_keyboard(start, keep_picture):
    page = start.page
    plot = page.locator(MAP)
    plot.scroll_into_view_if_needed()
    title = plot.locator(".gtitle")
    expect(title).to_contain_text("man")

    # A caption typed: new words, another map.
    before = plot.evaluate(VALUES)
    type_caption(page, "a silver spoon on a red saucer")
    expect(page.get_by_role("button", name="✓ silver", exact=True)).to_be_visible()
    expect(title).to_contain_text("silver")
    assert plot.evaluate(VALUES) != before

    # A word pressed with the mouse, then one with the keyboard.
    page.get_by_role("button", name="spoon", exact=True).click()
    expect(title).to_contain_text("“spoon”")
    page.get_by_role("button", name="red saucer", exact=True).press("Enter")
    expect(title).to_contain_text("“red saucer”")

    # A patch clicked, and the same patch chosen from the list with the keyboard.
    area = plot.locator(".nsewdrag").bounding_box()
    page.mouse.click(area["x"] + area["width"] * 0.06, area["y"] + area["height"] * 0.06)
    expect(page.get_by_text("Row 1, column 1", exact=True)).to_be_visible()
    page.get_by_label("Patch", exact=True).focus()
    for key in ("Space", "ArrowDown", "Enter"):  # a closed list leaves the arrows to Lab, which moves between cells
        page.keyboard.press(key)
    expect(page.get_by_text("Row 1, column 2", exact=True)).to_be_visible()

    # A finer grid, the exact decomposition, and a caption that cannot be read.
    page.get_by_label("Patch grid").select_option("14 × 14 (448 px)")
    page.get_by_label("Map", exact=True).select_option("share of the score")
    expect(page.get_by_text("exactly the cosine with the whole picture")).to_be_visible()
    good = plot.evaluate(VALUES)
    type_caption(page, "   ")
    expect(page.get_by_role("status")).to_contain_text("Not shown: the caption is empty")
    assert plot.evaluate(VALUES) == good
    type_caption(page, "<script>document.title='taken'</script> cup")
    expect(title).to_contain_text("script")
    assert page.title() != "taken"

    keep_picture(as_in_readme(start), "alignment_panel.png")
    check_narrow(page)
    assert start.stderr_texts() == []
    assert start.console_errors == []
    assert start.outside_requests == []


def as_in_readme(lab):
    """The panel with a word's map on a photo."""
    page = lab.page
    page.set_viewport_size({"width": 1280, "height": 1500})
    type_caption(page, "a man in a dark coat with a camera on a tripod")
    page.get_by_label("Map", exact=True).select_option("cosine per patch")
    page.get_by_role("button", name="tripod", exact=True).click()
    expect(page.locator(MAP).locator(".gtitle")).to_contain_text("“tripod”")
    page.locator(MAP).hover(position={"x": 2, "y": 2})  # no patch's hover text in the picture
    page.wait_for_timeout(500)  # plotly fades the old map out
    return page.locator(".jp-OutputArea-child", has=page.locator(MAP)).last


def check_narrow(page):
    """Every control stays inside a window of 700 pixels."""
    page.set_viewport_size({"width": 700, "height": 900})
    page.wait_for_timeout(500)  # Lab lays itself out anew
    for label in ("Picture", "Caption", "Map", "Patch grid", "Correction", "Read words", "Patch"):
        box = page.get_by_label(label, exact=True).bounding_box()
        assert box["x"] >= 0, label
        assert box["x"] + box["width"] <= 700, label
