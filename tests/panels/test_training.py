"""The training panel draws what it is told, and can be told by a real run."""

import numpy as np

from tests.aligning.test_align import SMALL, pairs
from workbench.aligning import AlignConfig, align
from workbench.panels.training import TrainingPanel
from workbench.plots import training as plot


def test_a_run_moves_it():
    panel = TrainingPanel(40, "a <head>")
    assert "no step taken yet" in panel.status.value
    found = align(pairs(), AlignConfig(**SMALL), validation=pairs(40, seed=1), on_validation=panel)
    assert panel.recalls == list(found.recalls)
    assert panel.losses == list(found.losses)
    assert list(panel.figure.data[1].x) == [10, 20, 30, 40]
    assert np.allclose(panel.figure.data[1].y, [100 * recall for _, recall in found.recalls])
    assert "step 40 of 40" in panel.status.value
    assert "a &lt;head&gt;" in panel.status.value
    best = max(recall for _, recall in found.recalls)
    assert f"best {100 * best:.1f} %" in panel.summary.value
    assert panel._repr_mimebundle_()["text/plain"] == "TrainingPanel(a <head>, 40 steps)"


def test_without_validation_there_is_a_loss_only():
    panel = TrainingPanel(40)
    panel(10, [2.0, 1.0], None)
    assert panel.recalls == []
    assert list(panel.figure.data[0].y) == [2.0, 1.0]


def test_of_equally_good_heads_the_last_is_called_best():
    panel = TrainingPanel(40)
    for step, recall in ((10, 0.5), (20, 0.5), (30, 0.25)):
        panel(step, [1.0], recall)
    assert "best 50.0 % after 20 steps" in panel.summary.value


def test_long_curves_are_drawn_with_few_points_and_lose_no_step():
    losses = np.linspace(1, 0, 10_001)
    loss = plot.spec(losses, [], 20_000)["loss"]
    assert len(loss["x"]) == 400
    assert loss["x"][-1] == 10_001
    assert abs(np.average(loss["y"], weights=np.diff([0, *loss["x"]])) - losses.mean()) < 1e-9
