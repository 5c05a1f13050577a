"""A user's benchmarks before and after tuning."""

import pytest

from tests.benchmark_files import sugarcrepe
from workbench.fine_tuning.folder import FOLDERS, before_and_after
from workbench.models.registry import load_model


@pytest.fixture(scope="module")
def models():
    return load_model("scenes-clip@1000", device="cpu"), load_model("scenes-clip", device="cpu")


def test_what_is_there_is_asked_and_what_is_not_is_named(models, tmp_path):
    sugarcrepe(tmp_path)
    found = before_and_after(*models, tmp_path)
    assert set(found.found) == {"sugarcrepe"}
    assert set(found.lacking) == set(FOLDERS) - {"sugarcrepe"}
    old, new = found.found["sugarcrepe"]
    assert (old.model, new.model) == ("scenes-clip@1000", "scenes-clip")
    assert list(old.measures) == list(new.measures)
    told = found.table().rows
    assert any(row[0] == "coco" and "val2014" in row[1] for row in told)


def test_an_unknown_name_is_refused(models, tmp_path):
    with pytest.raises(ValueError, match="no benchmark 'sugarcrap'"):
        before_and_after(*models, tmp_path, ["sugarcrap"])
