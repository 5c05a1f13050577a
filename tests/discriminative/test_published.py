"""The paper's numbers, held to each other where one follows from another."""

import pytest

from workbench.discriminative import published
from workbench.discriminative.published import COMPONENTS, RETRIEVAL, SUGARCREPE, groups_of


def test_the_base_of_table_4_follows_from_table_2():
    base = COMPONENTS["base"]
    groups = groups_of(SUGARCREPE["LLaVA-1.5-7B"])
    assert groups == pytest.approx((base.replace, base.swap, base.add), abs=0.051), "59.85 is printed as 59.8"


def test_the_base_of_table_4_is_a_row_of_table_1():
    row = RETRIEVAL["LLaVA-1.5-7B, prompt only"]
    assert (row[0], row[6]) == (COMPONENTS["base"].to_image, COMPONENTS["base"].to_text)


def test_claims_are_in_the_numbers():
    base, soft, lora, both, whole = COMPONENTS.values()
    assert (soft.to_image - base.to_image) / (both.to_image - base.to_image) == pytest.approx(0.855, abs=5e-4)
    assert (soft.to_text - base.to_text) / (both.to_text - base.to_text) == pytest.approx(0.956, abs=5e-4)
    assert lora.to_text < soft.to_text, "the one place where LoRA is behind"
    assert whole.swap - both.swap == pytest.approx(3.5)
    assert whole.to_text - both.to_text == pytest.approx(-1.1)


@pytest.mark.parametrize(
    ("number", "rows", "columns"), [(1, 9, 13), (2, 11, 8), (3, 6, 11), (4, 5, 6), (8, 9, 4), (9, 7, 3)]
)
def test_tables(number, rows, columns):
    table = published.table(number)
    assert len(table.rows) == rows
    assert {len(row) for row in table.rows} == {len(table.header)} == {columns}
    for row in table.rows:
        assert all(cell == "" or 0 <= float(cell) <= 100 for cell in row[1:])


def test_r_at_10_is_at_least_r_at_1():
    for row in RETRIEVAL.values():
        assert all(ten > one for one, ten in zip(row[::2], row[1::2], strict=True))


def test_another_table():
    with pytest.raises(ValueError, match="Table 5 is not stored; there are 1, 2, 3, 4, 8, 9"):
        published.table(5)


def test_what_is_unknown_says_what_is_taken():
    assert all(len(row) == 3 and all(row) for row in published.unknown().rows)
