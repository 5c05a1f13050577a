"""Promises that no single module can keep: pins, make targets, the notebook index, file sizes, no pickles."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TARGETS = ("help", "lab", "test", "check", "notebooks", "ui", "bench", "assets", "reproduce")
PICKLES = {"pickle", "cPickle", "dill", "shelve", "marshal", "joblib"}


def files() -> list[Path]:
    """Tracked, or about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def pins(name: str) -> dict[str, str]:
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith(("#", "-r"))]
    return {_normalised(line): line for line in lines}


def _normalised(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_requirements_pin_what_pyproject_names(name, project):
    named = project["dependencies"] if name == "requirements.txt" else project["optional-dependencies"]["test"]
    pinned = pins(name)
    assert set(pinned) == {_normalised(requirement) for requirement in named}
    assert [line for line in pinned.values() if not re.fullmatch(r"[\w.-]+(\[\w+\])?==[\w.]+", line)] == []


def test_make_targets_have_help():
    makefile = (ROOT / "Makefile").read_text()
    assert [target for target in TARGETS if not re.search(rf"^{target}:.*## \S", makefile, re.M)] == []
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    variables = re.findall(r"^([A-Z_]+) \?=", makefile, re.M)
    assert [name for name in (*TARGETS, *variables) if name not in shown] == []


def test_make_assets_runs_every_recipe():
    makefile = (ROOT / "Makefile").read_text()
    recipes = [path.stem for path in (ROOT / "recipes").glob("*.py") if "__main__" in path.read_text(encoding="utf-8")]
    assert recipes
    assert [name for name in recipes if f"-m recipes.{name}" not in makefile] == []


def test_readme_names_every_notebook():
    readme = (ROOT / "README.md").read_text()
    assert NOTEBOOKS
    assert [path.name for path in NOTEBOOKS if path.name not in readme] == []


def test_no_file_is_large():
    assert [str(path) for path in files() if path.stat().st_size > 16 * 2**20] == []


def _sources():
    for path in files():
        if path.suffix == ".py":
            yield path, path.read_text(encoding="utf-8")
        elif path.suffix == ".ipynb":
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            yield path, "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def unsafe(source: str) -> list[str]:
    """Ways of reading a file that can run what is in it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            if isinstance(node, ast.ImportFrom) and [alias.name for alias in node.names] == ["UnpicklingError"]:
                continue  # what torch raises where it refuses a file
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [f"import {module}" for module in modules if module.partition(".")[0] in PICKLES]
        elif isinstance(node, ast.Call):
            keywords = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
            if ast.unparse(node.func) == "torch.load" and keywords.get("weights_only") is not True:
                found.append("torch.load without weights_only=True")
            if keywords.get("allow_pickle") is True:
                found.append("allow_pickle=True")
    return found


def test_nothing_reads_pickles():
    assert {str(path): found for path, source in _sources() if (found := unsafe(source))} == {}


UNSAFE = (
    "import pickle",
    "from pickle import loads",
    "import joblib.numpy_pickle",
    "torch.load" + "(f)",
    "torch.load(f, weights_only=False)",
    "np.load(f, allow_pickle=True)",
)


@pytest.mark.parametrize("source", UNSAFE)
def test_unsafe_reading_is_noticed(source):
    assert unsafe(source)
    assert not unsafe("torch.load(f, weights_only=True); np.load(f); import json")
