"""One bar everywhere: it counts, and it is silent where it should be."""

import importlib

import pytest
import tqdm.auto

from workbench.progress import bar


def test_it_passes_on_what_it_counts():
    assert list(bar(range(3), "things")) == [0, 1, 2]
    with bar(what="things", total=5) as done:
        done.update(2)


@pytest.mark.parametrize("kind", ["std", "notebook"])
@pytest.mark.parametrize(("value", "off"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_the_variable_switches_off_the_widget_too(monkeypatch, value, off, kind):
    monkeypatch.setattr(tqdm.auto, "tqdm", importlib.import_module(f"tqdm.{kind}").tqdm)
    monkeypatch.setenv("TQDM_DISABLE", value)
    assert bar(range(3), "things").disable is off
