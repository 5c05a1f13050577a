"""The wheel carries the package and its assets, and imports where nothing else is installed."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

import workbench

ROOT = Path(__file__).parents[1]
MODELS = sorted(path.parent.name for path in (ROOT / "assets/models").glob("*/head.json"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (path,) = folder.glob("*.whl")
    return path


def _run(*command, **options) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_contents(wheel):
    with ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = [
            Parser().parsestr(archive.read(name).decode()) for name in names if name.endswith(".dist-info/METADATA")
        ]
    assert (metadata["Name"], metadata["Version"]) == ("alignment-workbench", workbench.__version__)
    assert MODELS
    assert {
        f"workbench/assets/models/{model}/{part}" for model in MODELS for part in ("head.json", "head.safetensors")
    } <= set(names)
    whole = ("open_clip_config.json", "open_clip_model.safetensors", "tokenizer.json", "steps/1000.safetensors")
    assert {f"workbench/assets/models/scenes-clip/{part}" for part in whole} <= set(names)
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"workbench", "alignment_workbench"}
    assert not [name for name in names if name.endswith(".ipynb") or "/tests/" in name]


def test_import_in_a_bare_environment(wheel, tmp_path):
    venv.create(tmp_path, with_pip=False, symlinks=True)
    python = tmp_path / "bin/python"
    _run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    code = """
import importlib.util, json, workbench
from workbench import paths
print(json.dumps({
    "version": workbench.__version__,
    "file": workbench.__file__,
    "torch": importlib.util.find_spec("torch") is not None,
    "models": sorted(path.parent.name for path in paths.assets().glob("models/*/head.safetensors")),
}))
"""
    seen = json.loads(_run(python, "-I", "-c", code, cwd=tmp_path))
    assert Path(seen["file"]).is_relative_to(tmp_path)
    assert seen == {"version": workbench.__version__, "file": seen["file"], "torch": False, "models": MODELS}
