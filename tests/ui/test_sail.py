"""The training panel on the page about two frozen towers: curves that a real training drew in a real browser."""

import re

import pytest
from playwright.sync_api import expect

EVERY = 5  # steps between validations, in the notebook
DRAWN = "plot => plot._fullData.map(trace => [trace.name, Array.from(trace.y)])"


@pytest.fixture
def sail(lab_page):
    lab = lab_page("05_sail.ipynb", width=1280, height=1000)
    lab.run_all(timeout=300)
    plot(lab.page).wait_for()
    return lab


def plot(page):
    return page.locator(".jupyter-widgets .js-plotly-plot")  # the panel's: figures of other cells are no widgets


def output(page):
    return page.locator(".jp-OutputArea-child", has=plot(page)).last


def test_the_panel_followed_the_training(sail, keep_picture):
    page = sail.page
    plot(page).scroll_into_view_if_needed()
    expect(output(page)).to_contain_text(re.compile(r"the first fold: step \d+ of 300"))
    expect(output(page)).to_contain_text(re.compile(r"Mean R@10 [\d.]+ %, best [\d.]+ % after \d+ steps\."))
    said = output(page).inner_text()
    steps, best = int(re.search(r"step (\d+) of", said)[1]), int(re.search(r"after (\d+) steps", said)[1])
    assert EVERY <= best <= steps <= 300

    curves = dict(plot(page).evaluate(DRAWN))
    loss, recall = curves["loss"], curves["mean R@10 on validation pairs"]
    assert loss[-1] < loss[0]
    assert len(recall) == steps // EVERY, "one point for each validation"
    last_best = max(step for step, each in enumerate(recall, 1) if each == max(recall))
    assert last_best * EVERY == best, "a recall as good as the best is no step back"

    expect(page.get_by_text("not checked here: no published head is named")).to_be_visible()
    plot(page).scroll_into_view_if_needed()
    keep_picture(output(page), "training_panel.png")
    check_narrow(page)
    assert sail.stderr_texts() == []
    assert sail.console_errors == []
    assert sail.outside_requests == []


def check_narrow(page):
    """In a window of 700 pixels the curves can still be reached: the figure scrolls in its own box."""
    page.set_viewport_size({"width": 700, "height": 900})
    page.wait_for_timeout(500)  # Lab lays itself out anew
    box = output(page).bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 700
