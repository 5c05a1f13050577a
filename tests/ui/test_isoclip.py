"""The spectrum panel on the page about the two projectors: the band moved by keyboard alone, and what follows it."""

import re

import pytest
from playwright.sync_api import expect

TOP, BOTTOM = "Left out at the top", "Left out at the bottom"
REGIONS = "plot => plot._fullLayout.annotations.map(each => each.text).join('; ')"


@pytest.fixture
def isoclip(lab_page):
    lab = lab_page("02_isoclip.ipynb", width=1280, height=1000)
    lab.run_all(timeout=240)
    plot(lab.page).wait_for()
    return lab


def slider(page, label):
    """ipywidgets gives a slider's handle no name, so it is found beside its label."""
    return page.locator(".widget-hslider", has_text=label).get_by_role("slider")


def place(page, label):
    return int(float(slider(page, label).get_attribute("aria-valuenow")))


def plot(page):
    return page.locator(".jupyter-widgets .js-plotly-plot")  # the panel's: figures of other cells are no widgets


def lists(page):
    return page.get_by_role("table").filter(has_text="Before: as trained")


def quality(page):
    return page.locator(".jupyter-widgets strong").filter(has_text="mAP")


def press(page, label, key, times):
    slider(page, label).focus()
    for _ in range(times):
        page.keyboard.press(key)


def test_list_and_map_follow_the_band(isoclip, keep_picture):
    page = isoclip.page
    slider(page, TOP).scroll_into_view_if_needed()
    expect(quality(page)).to_contain_text(re.compile(r"n = \d+ queries"))
    expect(lists(page).get_by_role("row")).to_have_count(9)
    for picture in lists(page).get_by_role("img").all():
        assert re.fullmatch(r"picture \d+, labelled .+", picture.get_attribute("alt"))

    # No band at all, from the list of bands.
    page.get_by_label("Band", exact=True).select_option("0, 0: none")
    expect(lists(page)).to_contain_text("After: directions 0–")
    assert (place(page, TOP), place(page, BOTTOM)) == (0, 0)
    listed, scored = lists(page).inner_text(), quality(page).inner_text()

    # The band moved with the keyboard: list, mAP, figure and the list of bands follow.
    press(page, TOP, "ArrowRight", 5)
    expect(lists(page)).to_contain_text("After: directions 5–")
    expect(quality(page)).not_to_have_text(scored)
    assert lists(page).inner_text() != listed
    assert plot(page).evaluate(REGIONS).startswith("left out: 0–4; kept: 5–")
    expect(page.get_by_label("Band", exact=True).locator("option:checked")).to_have_text("set by hand")

    # What one slider leaves out, the other cannot.
    most = int(float(slider(page, TOP).get_attribute("aria-valuemax")))
    press(page, BOTTOM, "ArrowRight", 3)
    expect(slider(page, BOTTOM)).to_have_attribute("aria-valuenow", "3.0")
    expect(slider(page, TOP)).to_have_attribute("aria-valuemax", f"{most - 3}.0")
    page.get_by_label("Band", exact=True).select_option("0, 0: none")

    # Another query.
    page.get_by_label("Query picture").fill("3")
    page.get_by_label("Query picture").press("Enter")
    expect(page.get_by_text("Query: picture 3")).to_be_visible()

    keep_picture(as_in_readme(isoclip), "spectrum_panel.png")
    check_narrow(page)
    assert isoclip.stderr_texts() == []
    assert isoclip.console_errors == []
    assert isoclip.outside_requests == []


def as_in_readme(lab):
    """The panel with a band of its own."""
    page = lab.page
    page.set_viewport_size({"width": 1280, "height": 1500})
    press(page, TOP, "ArrowRight", 5)
    expect(lists(page)).to_contain_text("After: directions 5–")
    page.wait_for_timeout(500)
    return page.locator(".jp-OutputArea-child", has=plot(page)).last


def check_narrow(page):
    """Every control, and the list, stay inside a window of 700 pixels."""
    page.set_viewport_size({"width": 700, "height": 900})
    page.wait_for_timeout(500)  # Lab lays itself out anew
    parts = {label: page.get_by_label(label, exact=True) for label in ("Query picture", "Band")}
    parts |= {label: slider(page, label) for label in (TOP, BOTTOM)} | {"lists": lists(page)}
    for name, part in parts.items():
        box = part.bounding_box()
        assert box["x"] >= 0, name
        assert box["x"] + box["width"] <= 700, name
