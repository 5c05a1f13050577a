"""`import workbench` is light, and says what it has."""

import json
import subprocess
import sys

import pytest

import workbench

HEAVY = ("torch", "numpy", "plotly", "PIL")


def test_importing_loads_nothing_heavy():
    code = "import json, sys, workbench; print(json.dumps([list(sys.modules), dir(workbench)]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules, names = json.loads(done.stdout)
    assert not set(HEAVY) & set(modules)
    assert set(workbench.__all__) <= set(names)


@pytest.mark.parametrize("name", workbench.__all__)
def test_every_public_name_loads(name):
    assert getattr(workbench, name) is not None


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(AttributeError, match=r"'nonsense'.*load_model"):
        workbench.nonsense  # noqa: B018
