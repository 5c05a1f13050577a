"""Run notebooks headless and keep what they print: the stored outputs that readers see and nbval compares."""

from __future__ import annotations

import json
from pathlib import Path


def run_notebook(path: str | Path, *, timeout: int = 600) -> None:
    """Execute a notebook in its own kernel and store the outputs in it, whole or not at all.

    Widget state and per-run metadata are dropped, so that a diff shows results only. Raises nbclient's CellExecutionError
    where a cell fails; the file stays as it was.
    """
    import nbformat
    from nbclient import NotebookClient

    path = Path(path)
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
    )
    client.execute()
    clean(notebook)
    temporary = path.with_name(path.name + ".tmp")
    nbformat.write(notebook, temporary)
    temporary.replace(path)


def clean(notebook) -> None:
    """Drop what changes from run to run and says nothing: widget state, timings, progress bars."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata["kernelspec"] = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_progress(output)]


def _is_progress(output) -> bool:
    if output.output_type == "stream" and output.name == "stderr":
        return "it/s]" in output.text or "s/it]" in output.text
    text = json.dumps(output.get("data", {}).get("text/plain", ""))
    return "it/s]" in text or "s/it]" in text
