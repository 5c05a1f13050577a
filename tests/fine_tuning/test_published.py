"""The numbers of the paper, and what follows from them by arithmetic alone."""

from dataclasses import astuple

import pytest

from workbench.fine_tuning import published
from workbench.fine_tuning.published import COMPONENTS, MODELS, NORMALISERS, RETRIEVAL, SEEDS, SENSITIVITY, Means

BY_NAME = {(each.data, each.name): each for each in MODELS}
BASE = BY_NAME["", "CLIP"].means
FSC = BY_NAME["LAION-COCO 100K", "FSC-CLIP"].means


def test_a_dozen_numbers():
    assert Means(46.1, 57.1, 60.0, 45.8) == BASE
    assert Means(53.5, 55.3, 58.2, 55.5) == FSC
    assert BY_NAME["CC3M 3M", "DAC-LLM"].means.image_to_text == 36.9
    assert (
        dict(zip(published.BENCHMARKS, BY_NAME["COCO 100K", "GNM-CLIP"].benchmarks, strict=True))["Winoground"] == 10.2
    )
    assert published.VIT_B16["FSC-CLIP LoRA"].zero_shot == 57.4
    assert published.DATACOMP["NegCLIP again"].image_to_text == 52.1
    assert SEEDS["FSC-CLIP"][1].image_to_text == 0.52
    assert RETRIEVAL["NegCLIP"].flickr == (85.7, 71.6)
    assert len(MODELS) == 18


def test_composition_is_the_mean_of_the_eleven():
    for each in MODELS:
        assert len(each.benchmarks) == len(published.BENCHMARKS) == 11
        off = sum(each.benchmarks) / 11 - each.means.composition
        assert abs(off) < 0.1, f"{each}: more than half a digit of the eleven and half a digit of their mean"


def test_retrieval_means_are_those_of_three_sets():
    for name, data in (("CLIP", ""), ("DAC-LLM", "CC3M 3M"), ("CLoVe", "LAION-COCO 600M"), ("NegCLIP", "COCO 100K")):
        _same_recall(name, BY_NAME[data, name].means)
    for name in ("FSC-CLIP", "FSC-CLIP LoRA"):
        _same_recall(name, BY_NAME["LAION-COCO 100K", name].means)


def _same_recall(name: str, means: Means) -> None:
    ways = zip(*astuple(RETRIEVAL[name]), strict=True)
    for way, expected in zip(ways, (means.image_to_text, means.text_to_image), strict=True):
        assert sum(way) / 3 == pytest.approx(expected, abs=0.1), name


def test_a_global_loss_costs_pictures_their_captions():
    assert COMPONENTS[1].means.minus(BASE) == Means(7.9, -3.5, -12.6, 7.9)


def test_the_local_loss_keeps_most_of_the_gain():
    """5.6 of 7.9 points, and retrieval rises where the global loss lets it fall."""
    local = COMPONENTS[2].means.minus(BASE)
    assert local.composition == 5.6
    assert local.composition / COMPONENTS[1].means.minus(BASE).composition == pytest.approx(0.71, abs=0.005)
    assert local.image_to_text == 1.6


def test_regularisation_gives_back_what_both_losses_took():
    assert COMPONENTS[6].means.minus(COMPONENTS[3].means).image_to_text == 11.3
    assert COMPONENTS[4].means.minus(COMPONENTS[3].means).image_to_text == 6.2
    assert COMPONENTS[5].means.minus(COMPONENTS[3].means).image_to_text == 4.8


def test_the_same_setting_has_the_same_numbers_in_every_table_but_one():
    assert FSC == COMPONENTS[6].means == NORMALISERS["whole loss"]["minmax"]
    assert all(
        SENSITIVITY[name][value] == FSC for name, value in (("local_weight", 0.2), ("gamma", 2), ("smoothing", 0.02))
    )
    assert SENSITIVITY["gamma"][0] == COMPONENTS[5].means
    assert SENSITIVITY["smoothing"][0] == COMPONENTS[4].means
    assert NORMALISERS["local loss alone"]["minmax"] == COMPONENTS[2].means
    assert SENSITIVITY["local_weight"][0].minus(COMPONENTS[7].means) == Means(0.1, 0.5, 0.4, -0.1)


def test_stronger_regularisation_trades_composition_for_retrieval():
    for name, values in (("gamma", (0, 1, 2, 5)), ("smoothing", (0, 0.02, 0.05))):
        found = [SENSITIVITY[name][value].image_to_text for value in values]
        assert found == sorted(found), name
        assert SENSITIVITY[name][values[-1]].composition < SENSITIVITY[name][0].composition
    assert SENSITIVITY["smoothing"][0.1].image_to_text < SENSITIVITY["smoothing"][0.05].image_to_text, "not to the end"


def test_figure_3_writes_the_loss_where_it_means_the_factor():
    from math import log

    assert published.FIGURE_3[0.3] == pytest.approx(0.7**2)
    assert published.FIGURE_3[0.6] != pytest.approx(0.4**2)
    assert published.FIGURE_3[0.6] == pytest.approx(-(0.4**2) * log(0.6), abs=0.005)


@pytest.mark.parametrize(
    ("number", "rows", "columns"),
    [(1, 18, 17), (2, 8, 9), (3, 12, 5), (4, 4, 5), (5, 4, 5), (7, 6, 5), (8, 2, 5), (10, 6, 7)],
)
def test_every_table_shows_itself(number, rows, columns):
    found = published.table(number)
    assert (len(found.rows), len(found.header)) == (rows, columns)
    assert published.PAPER in found.caption
    assert f"Table {number} " in found.caption


def test_cells_are_as_printed():
    assert published.table(2).rows[4] == ("5", "✓", "✓", "", "✓", "53.9", "53.8", "51.7", "54.9")
    assert published.table(8).rows[0][3] == "57.8 ± 0.52"
    assert published.table(10).rows[0] == ("CLIP", "50.1", "30.4", "78.8", "58.7", "51.0", "48.1")
    assert len(published.inconsistencies().rows) == 4


def test_another_table_is_refused():
    with pytest.raises(ValueError, match="Table 6 is not stored; there are 1, 2, 3, 4, 5, 7, 8, 10"):
        published.table(6)
