"""Keeps the notebook run from going green and empty: nbval compares only executed, tagged cells with stored outputs."""

from __future__ import annotations

import ast
import json
import re
from copy import deepcopy
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))

CHECKED_CELLS = 3
CELLS = 30
BYTES = 300_000
LINES_PER_CELL = 12
LINES_PER_FUNCTION = 10
# The character before the slash keeps URLs out, and base64, in which every word occurs sooner or later.
MACHINE_PATH = re.compile(r"(?<![\w+/.])(/(home|Users|root|work|workspace|tmp)/[\w-]+|[A-Z]:\\Users\\)")


def problems(notebook: dict, name: str = "01_paper.ipynb") -> list[str]:
    """Everything in which a parsed notebook breaks the rules, one sentence each."""
    rules = (_layout, _stored_run, _outputs, _checked_cells, _code, _paths)
    return [problem for rule in rules for problem in rule(notebook, name)]


def _layout(notebook, name):
    cells = notebook["cells"]
    if not cells or cells[0]["cell_type"] != "markdown" or not _source(cells[0]).startswith("# "):
        yield "the first cell is not a markdown title"
    if [n for n, cell in enumerate(_code_cells(notebook), 1) if "parameters" in _tags(cell)] != [1]:
        yield "the first code cell, and only that one, has the tag 'parameters'"
    headings = re.findall(r"^#+ (.+)$", "\n".join(_source(c) for c in cells if c["cell_type"] == "markdown"), re.M)
    if not headings or not re.search(r"\b(ledger|next)\b", headings[-1], re.I):
        yield "the last section is neither the ledger nor what to do next"
    if not name.startswith("00_") and not any(re.search(r"\bledger\b", heading, re.I) for heading in headings):
        yield "no section is called 'Ledger'"
    if len(cells) > CELLS:
        yield f"{len(cells)} cells; at most {CELLS}"
    if (size := len(json.dumps(notebook))) > BYTES:
        yield f"{size // 1000} kB; at most {BYTES // 1000} kB"


def _stored_run(notebook, name):
    counts = [cell["execution_count"] for cell in _code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"the cells were not run once each, in order: {counts}"
    if "widgets" in notebook["metadata"]:
        yield "metadata.widgets stores megabytes that are never compared; commit through nbstripout"


def _outputs(notebook, name):
    for n, cell in enumerate(_code_cells(notebook), 1):
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                yield f"code cell {n} stores an error: {output['ename']}"
            if output.get("name") == "stderr":
                yield f"code cell {n} wrote to stderr: {''.join(output['text'])[:80]!r}"


def _checked_cells(notebook, name):
    tagged = [cell for cell in _code_cells(notebook) if "nbval-check-output" in _tags(cell)]
    checked = [cell for cell in tagged if cell["outputs"] and cell["execution_count"]]
    if len(checked) < CHECKED_CELLS:
        yield f"{len(checked)} cells are tagged nbval-check-output and have outputs to compare; at least {CHECKED_CELLS}"
    if len(checked) < len(tagged):
        yield "a cell tagged nbval-check-output stores nothing to compare"


def _code(notebook, name):
    for n, cell in enumerate(_code_cells(notebook), 1):
        lines = [line for line in _source(cell).splitlines() if line.strip() and not line.strip().startswith("#")]
        if len(lines) > LINES_PER_CELL:
            yield f"code cell {n} has {len(lines)} lines; at most {LINES_PER_CELL}, the rest belongs in the package"
        try:
            tree = ast.parse(_source(cell))
        except SyntaxError:
            yield f"code cell {n} is not plain Python (magics and shell lines are not allowed)"
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > LINES_PER_FUNCTION:
                yield f"function {node.name} is longer than {LINES_PER_FUNCTION} lines; it belongs in the package"


def _paths(notebook, name):
    shown = [(cell["source"], cell.get("outputs", [])) for cell in notebook["cells"]]
    for found in {match[0] for text in _strings(shown) for match in MACHINE_PATH.finditer(text)}:
        yield f"{found!r} is a path of one machine"


def _code_cells(notebook):
    """Without empty ones: Jupyter never counts those as run."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and _source(cell).strip()]


def _source(cell) -> str:
    return "".join(cell["source"])


def _tags(cell):
    return cell["metadata"].get("tags", [])


def _strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def test_there_are_notebooks():
    assert NOTEBOOKS, "notebooks/ holds no notebook, so the rules below would hold for nothing"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_keeps_the_rules(path):
    broken = problems(json.loads(path.read_text(encoding="utf-8")), path.name)
    assert not broken, "\n".join([path.name, *broken])


# The rules themselves: a notebook that keeps them all, then one change each that must be noticed.


def _markdown(source):
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def _ran(count, source, *tags, text="1\n"):
    outputs = [{"output_type": "stream", "name": "stdout", "text": text}] if text else []
    return {
        "cell_type": "code",
        "execution_count": count,
        "metadata": {"tags": list(tags)},
        "source": source,
        "outputs": outputs,
    }


GOOD = {
    "metadata": {},
    "cells": [
        _markdown("# A title\nand what it is about"),
        _ran(1, "SEED = 0", "parameters", text=""),
        *[_ran(n, "print(1)", "nbval-check-output") for n in (2, 3, 4)],
        _markdown("## Ledger"),
    ],
}


def _insert(at, cell):
    return lambda notebook: notebook["cells"].insert(at, cell)


def _update(at, **changes):
    return lambda notebook: notebook["cells"][at].update(changes)


BAD = {
    "not a markdown title": _update(0, source="A title"),
    "tag 'parameters'": _update(1, metadata={}),
    "only that one": _update(2, metadata={"tags": ["parameters", "nbval-check-output"]}),
    "neither the ledger nor": _insert(6, _markdown("## Appendix")),
    "no section is called 'Ledger'": _update(5, source="## What next"),
    "31 cells": lambda notebook: notebook["cells"].extend([_markdown("text")] * 25),
    "400 kB": _update(5, source="## Ledger" + "x" * 400_000),
    "in order": _update(3, execution_count=2),
    "in order: [1, 2, 3, 4, None]": _insert(5, _ran(None, "print(1)")),
    "metadata.widgets": lambda notebook: notebook["metadata"].update(widgets={}),
    "stores an error: ValueError": _update(
        3, outputs=[{"output_type": "error", "ename": "ValueError", "evalue": "", "traceback": []}]
    ),
    "wrote to stderr": _update(3, outputs=[{"output_type": "stream", "name": "stderr", "text": ["UserWarning"]}]),
    "2 cells are tagged": _update(3, metadata={}),
    "stores nothing to compare": _insert(5, _ran(5, "x = 1", "nbval-check-output", text="")),
    "has 13 lines": _update(3, source="x = 1\n" * 13),
    "not plain Python": _update(3, source="%matplotlib inline"),
    "function long": _update(3, source="def long():\n" + "    # a step\n" * 10 + "    return 1"),
    "'/home/me' is a path": _update(3, source="open('/home/me/photo.png')"),
    "'/Users/me' is a path": _update(0, source="# Title\nSee /Users/me."),
    "'/tmp/x1' is a path": _update(
        3, outputs=[{"output_type": "execute_result", "data": {"text/plain": "Path('/tmp/x1')"}}]
    ),
}


def test_a_good_notebook_has_no_problem():
    assert problems(GOOD) == []
    start = deepcopy(GOOD)
    start["cells"][-1] = _markdown("## What next")
    assert problems(start, "00_start_here.ipynb") == []


@pytest.mark.parametrize("expected", BAD)
def test_a_bad_notebook_is_noticed(expected):
    notebook = deepcopy(GOOD)
    BAD[expected](notebook)
    assert expected in "\n".join(problems(notebook))


@pytest.mark.parametrize(
    "text", ["https://example.org/home/me", "iVBORw0KGgo/home/x", "workbench/models", "import workbench"]
)
def test_addresses_and_base64_are_not_paths(text):
    notebook = deepcopy(GOOD)
    notebook["cells"][0]["source"] += text
    assert problems(notebook) == []
