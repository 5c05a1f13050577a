"""The browser fixtures themselves, on notebooks so small that nothing else can be at fault."""

import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import expect


@pytest.fixture
def notebook(tmp_path):
    def write(*sources: str):
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        path = tmp_path / "small.ipynb"
        nbformat.write(
            new_notebook(cells=[new_code_cell(source) for source in sources], metadata={"kernelspec": kernel}), path
        )
        return path

    return write


def test_a_cell_runs_and_nothing_leaves_this_machine(lab_page, notebook):
    lab = lab_page(notebook("print(1 + 1)", "import sys\nprint(sys.executable)"))
    lab.run_all()
    outputs = lab.page.locator(".jp-OutputArea-output").all_inner_texts()
    assert [text.strip() for text in outputs] == ["2", sys.executable]
    assert lab.requests
    assert lab.outside_requests == []
    assert lab.stderr_texts() == []
    assert lab.console_errors == []


def test_a_widget_shows_and_what_went_wrong_is_seen(lab_page, notebook):
    lab = lab_page(
        notebook(
            'import sys, ipywidgets as W\nW.HTML(\'<img src="http://elsewhere.invalid/a.png" alt="elsewhere">\')',
            "print('careful', file=sys.stderr)",
            "1 / 0",
        ),
        width=700,
    )
    lab.run_all()
    expect(lab.page.get_by_alt_text("elsewhere")).to_be_attached()
    assert lab.outside_requests == ["http://elsewhere.invalid/a.png"]
    first, second = lab.stderr_texts()
    assert "careful" in first
    assert "ZeroDivisionError" in second
