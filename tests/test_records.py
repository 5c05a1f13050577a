"""How results show themselves."""

import pytest
import torch

from workbench.features import ImageFeatures, Projector, TextFeatures
from workbench.records import Table, human_bytes


def test_tables_align_and_escape():
    table = Table("<caption>", ("what", "value"), (("<i>a</i>", "1"), ("long name", "2")))
    assert table.text().splitlines()[1:] == ["what       value", "<i>a</i>   1", "long name  2"]
    assert "<i>" not in table.html()
    assert table.html().count('scope="row"') == 2


def test_a_table_shows_itself():
    table = Table("<caption>", ("what",), (("a",),))
    assert str(table) == table.text()
    assert table._repr_mimebundle_() == {"text/plain": table.text(), "text/html": table.html()}


def test_a_row_of_another_length():
    with pytest.raises(ValueError, match="has 1 cells"):
        Table("t", ("a", "b"), (("x",),))


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1023, "1.0 KiB"),
        (1010 << 20, "1.0 GiB"),
        (16 << 30, "16.0 GiB"),
        (123 << 30, "123 GiB"),
    ],
)
def test_bytes_in_words(n, text):
    assert human_bytes(n) == text


def test_features_say_what_does_not_fit():
    with pytest.raises(ValueError, match="pre has 2 rows and post has 3"):
        ImageFeatures(torch.ones(2, 4), torch.ones(3, 4))
    with pytest.raises(ValueError, match=r"grid \(2, 2\) does not hold the 5 patch tokens"):
        ImageFeatures(torch.ones(1, 4), torch.ones(1, 4), torch.ones(1, 5, 4), (2, 2))
    with pytest.raises(ValueError, match=r"mask None does not fit tokens \(1, 5, 4\)"):
        TextFeatures(torch.ones(1, 4), torch.ones(1, 4), torch.ones(1, 5, 4))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weight": None}, "weight missing"),
        ({"weight": None, "kind": "none"}, "says its reason"),
        ({"weight": torch.ones(3)}, r"\(3,\)"),
    ],
)
def test_projectors_that_say_too_little(fields, message):
    with pytest.raises(ValueError, match=message):
        Projector(**fields)
