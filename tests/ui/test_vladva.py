"""The page about vision–language models, run whole in a real browser: its curves followed the training."""

import re

from playwright.sync_api import expect

from tests.ui.test_sail import DRAWN, check_narrow, output, plot

STEPS, EVERY = 40, 5  # in the notebook


def test_the_page_tunes_and_its_panel_follows(lab_page, keep_picture):
    lab = lab_page("04_vladva.ipynb", width=1280, height=1000)
    lab.run_all(timeout=400)
    page = lab.page
    plot(page).wait_for()
    plot(page).scroll_into_view_if_needed()
    expect(output(page)).to_contain_text(re.compile(rf"step {STEPS} of {STEPS}"))
    expect(output(page)).to_contain_text(re.compile(r"R@1 [\d.]+ %, best [\d.]+ % after \d+ steps\."))

    curves = dict(plot(page).evaluate(DRAWN))
    assert len(curves["loss"]) == STEPS
    assert curves["loss"][-1] < curves["loss"][0]
    assert len(curves["R@1"]) == 1 + STEPS // EVERY, "one point before, one for each time it was asked"

    keep_picture(output(page), "summary_tuning_panel.png")
    check_narrow(page)
    assert lab.stderr_texts() == []
    assert lab.console_errors == []
    assert lab.outside_requests == []
