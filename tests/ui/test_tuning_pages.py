"""The pages that tune a model, each run from its first cell to its last in a real browser: its curves followed the training."""

import re

import pytest
from playwright.sync_api import expect

from tests.ui.test_sail import DRAWN, check_narrow, output, plot

PAGES = {  # steps, how often it is asked, what: as the notebooks have it; and the picture of the README
    "03_fsc_clip.ipynb": (40, 10, "composition", "tuning_panel.png"),
    "04_vladva.ipynb": (40, 5, "R@1", "summary_tuning_panel.png"),
}


@pytest.mark.parametrize("name", PAGES)
def test_the_page_tunes_and_its_panel_follows(lab_page, keep_picture, name):
    steps, every, score, picture = PAGES[name]
    lab = lab_page(name, width=1280, height=1000)
    lab.run_all(timeout=400)
    page = lab.page
    plot(page).wait_for()
    plot(page).scroll_into_view_if_needed()
    expect(output(page)).to_contain_text(re.compile(rf"step {steps} of {steps}"))
    told = score[0].upper() + score[1:]
    expect(output(page)).to_contain_text(re.compile(rf"{told} [\d.]+ %, best [\d.]+ % after \d+ steps\."))

    curves = dict(plot(page).evaluate(DRAWN))
    assert len(curves["loss"]) == steps
    assert curves["loss"][-1] < curves["loss"][0]
    assert len(curves[score]) == 1 + steps // every, "one point before, one for each time it was asked"

    keep_picture(output(page), picture)
    check_narrow(page)
    assert lab.stderr_texts() == []
    assert lab.console_errors == []
    assert lab.outside_requests == []
