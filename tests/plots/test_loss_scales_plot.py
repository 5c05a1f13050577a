"""A multiplied loss, through its spec."""

import json

import pytest

from workbench.plots import loss_scales

FOUND = {"lion": {4.0: 0.0, 0.25: 0.0}, "<b>adamw</b>": {0.25: 7e-6, 4.0: 2e-6}}


def test_zero_stands_on_a_shelf_below_everything_else():
    spec = loss_scales.spec(FOUND)
    assert json.loads(json.dumps(spec)) == spec
    assert spec["shelf"] == pytest.approx(1e-7)
    lion, adamw = loss_scales.figure(spec).data
    assert list(lion.y) == [spec["shelf"]] * 2
    assert list(lion.x) == list(adamw.x) == [0.25, 4.0]
    assert list(adamw.y) == [7e-6, 2e-6]
    assert [each[0] for each in lion.customdata] == [0, 0]
    assert adamw.name == "&lt;b&gt;adamw&lt;/b&gt;"
    assert loss_scales.figure(spec).layout.yaxis.ticktext[0] == "0"


def test_all_zero_is_drawn_too():
    assert list(loss_scales.figure(loss_scales.spec({"lion": {2.0: 0.0}})).data[0].y) == [1e-7]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({}, "0 optimisers; give one to 4"),
        ({"lion": {0.0: 1.0}}, "lion has 0: 1; factors are above 0"),
        ({"lion": {1.0: -1.0}}, "lion has 1: -1"),
        ({"lion": {1.0: float("nan")}}, "lion has 1: nan"),
    ],
)
def test_what_cannot_be_drawn_is_refused(found, message):
    with pytest.raises(ValueError, match=message):
        loss_scales.spec(found)
