"""The page for the user's own model, and the panel on a tower whose last block can be read in several ways."""

import nbformat
import pytest
from playwright.sync_api import expect

MAP = ".js-plotly-plot"
VALUES = "plot => JSON.stringify(Array.from(plot._fullData[1].z, row => Array.from(row)))"


def test_the_page_runs_without_a_word_to_the_outside(lab_page, keep_picture):
    lab = lab_page("07_your_model_and_data.ipynb", width=1280, height=1000)
    lab.run_all(timeout=240)
    expect(lab.page.locator(MAP)).to_have_count(3)
    drawn = lab.page.locator(MAP).nth(1)
    expect(drawn.locator("image")).to_have_count(10)
    expect(drawn).to_contain_text("Relation")
    keep_picture(drawn, "swap_quads.png")
    expect(lab.page.locator(MAP).nth(2)).to_contain_text("group score, percent")
    keep_picture(lab.page.locator(MAP).nth(2), "training_curve.png")
    expect(lab.page.get_by_text("the maps of lite2-minilm are")).to_be_visible()
    expect(lab.page.get_by_text("not checked here: SugarCrepe needs")).to_be_visible()
    assert lab.stderr_texts() == []
    assert lab.outside_requests == []


@pytest.fixture
def dense_notebook(clip_folder, tmp_path):
    source = f"import workbench as wb\nwb.AlignmentPanel(wb.load_model('local-dir:{clip_folder}', device='cpu'))"
    kernel = {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)], metadata=kernel)
    nbformat.write(notebook, tmp_path / "dense.ipynb")
    return tmp_path / "dense.ipynb"


def test_the_way_of_reading_patches_is_chosen_in_the_panel(lab_page, dense_notebook):
    lab = lab_page(dense_notebook, width=700, height=1000)
    lab.run_all(timeout=240)
    plot = lab.page.locator(MAP)
    plot.wait_for()
    maps = {}
    for dense in ("maskclip", "naclip", "surgery", "raw"):
        before = plot.evaluate(VALUES)
        lab.page.get_by_label("Patches", exact=True).select_option(dense)
        lab.page.wait_for_function(f"before => ({VALUES})(document.querySelector('{MAP}')) !== before", arg=before)
        maps[dense] = plot.evaluate(VALUES)
    assert len(set(maps.values())) == 4
    assert lab.stderr_texts() == []
    assert lab.outside_requests == []
