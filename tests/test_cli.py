"""The command line, and notebooks run headless."""

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from workbench.cli import main
from workbench.notebooks import run_notebook


def notebook(tmp_path, *sources):
    path = tmp_path / "a.ipynb"
    cells = [new_markdown_cell("# Title"), *map(new_code_cell, sources)]
    nbformat.write(new_notebook(cells=cells, metadata={"widgets": {"state": {}}}), path)
    return path


@pytest.mark.parametrize(
    ("command", "said"),
    [(["probe", "--seconds", "0"], "This machine"), (["models"], "lite2-minilm"), (["claims"], "verdict")],
)
def test_commands_print_their_table(command, said, capsys):
    assert main(command) == 0
    assert said in capsys.readouterr().out


def test_a_user_error_is_one_line_and_status_2(capsys):
    assert main(["plan", "lite3-minilm"]) == 2
    assert capsys.readouterr().err.startswith("workbench plan: no model 'lite3-minilm': did you mean 'lite2-minilm'?")


def test_a_notebook_keeps_its_outputs_and_drops_widget_state(tmp_path):
    path = notebook(tmp_path, "1 + 1", "import sys; print('7it/s]', file=sys.stderr)")
    run_notebook(path)
    stored = nbformat.read(path, as_version=4)
    assert stored.cells[1].outputs[0].data["text/plain"] == "2"
    assert stored.cells[2].outputs == []  # a progress bar is no result
    assert [cell.execution_count for cell in stored.cells[1:]] == [1, 2]
    assert "widgets" not in stored.metadata


def test_a_notebook_that_fails_stays_as_it_was(tmp_path):
    path = notebook(tmp_path, "1 / 0")
    before = path.read_bytes()
    with pytest.raises(CellExecutionError):
        run_notebook(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_reproduce_says_which_cell_failed(tmp_path, capsys):
    assert main(["reproduce", str(notebook(tmp_path, "1 / 0"))]) == 2
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_reproduce_without_notebooks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce"]) == 2
    assert "no notebooks/*.ipynb here" in capsys.readouterr().err
