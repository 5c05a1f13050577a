"""What all figures share."""

from workbench.plots import theme


def test_whiskers_have_no_negative_length():
    """A percentile interval of a biased measure may leave out its own mean."""
    found = theme.whiskers([1.0, 5.0], [0.5, 5.5], [2.0, 4.0], width=0)
    assert found == {"array": [1.0, 0], "arrayminus": [0.5, 0], "width": 0}
    assert theme.of_points([{"r": 1.0, "low": 0.5, "high": 2.0}], "r") == {"array": [1.0], "arrayminus": [0.5]}
