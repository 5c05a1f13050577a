"""The paper's numbers, held to each other where one follows from another."""

import pytest

from workbench.discriminative import published
from workbench.discriminative.published import COMPONENTS, RETRIEVAL, SUGARCREPE, WINOGROUND, Rung, groups_of


def test_the_base_of_table_4_follows_from_table_2():
    base = COMPONENTS["base"]
    groups = groups_of(SUGARCREPE["LLaVA-1.5-7B"])
    assert groups == pytest.approx((base.replace, base.swap, base.add), abs=0.051), "59.85 is printed as 59.8"


def test_the_base_of_table_4_is_a_row_of_table_1():
    row = RETRIEVAL["LLaVA-1.5-7B"]
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


def test_gains():
    rows = {name: [float(x) for x in row] for name, *row in published.gains().rows}
    assert rows["+ soft prompt"] == [4.5, 7.1, 24.6, 17.1, 26.1]
    assert rows["+ both and next token"] == [7.6, 15.7, 24.8, 21.0, 26.2]
    assert rows["VladVA, all the data"] == pytest.approx([10.4, 21.1, 30.8, 25.4, 28.7], abs=0.051)
    assert len(rows) == 5
    assert Rung(3, 2, 1, 1, 1).minus(Rung(1, 1, 1, 1, 1.25)) == Rung(2, 1, 0, 0, -0.2)


def test_what_can_be_computed_fits_but_for_eight_scores():
    checks = published.check()
    assert [each.fits for each in checks[:5]] == [True] * 5, "Table 4's base"
    off = {each.where: each.says for each in checks if not each.fits}
    assert len(off) == 8
    assert off["Table 8, E5-V, LLaVA-1.5-7B, image"] == 17.4, "400 items come in quarters of a point"
    assert off["Table 2, VladVA, LLaVA-1.5-7B, swap object"] == 79.0
    assert len(checks) == 5 + 7 * (len(SUGARCREPE) - 1) + 3 * len(WINOGROUND)


@pytest.mark.parametrize(
    ("says", "fits"), [(11.3, True), (11.2, True), (11.25, True), (11.4, False), (100, True), (0, True)]
)
def test_a_share_of_whole_items(says, fits):
    assert published._share("here", says, (400,)).fits is fits


def test_what_looks_like_a_slip_is_in_the_tables():
    large, small = RETRIEVAL["OpenCLIP ViT-bigG"], RETRIEVAL["CLIP ViT-B"]
    assert large[7] == large[1] == 97.1 < small[7]
    assert large[6] - small[6] == pytest.approx(15.1)
    assert published.OTHER_MODELS["LLaVA-1.5-13B"][0][4] == published.OTHER_MODELS["Qwen2-VL-2B"][0][4] == 35.3
    assert COMPONENTS["+ both"].add < COMPONENTS["+ LoRA"].add < COMPONENTS["+ soft prompt"].add
    table = published.inconsistencies()
    assert len(table.rows) == 8 + len(published.SUSPECTS)
    assert {len(row) for row in table.rows} == {3}


def test_no_group_score_is_above_its_parts():
    assert all(group <= min(image, text) for image, text, group in WINOGROUND.values())


def test_notes_are_sentences():
    assert all(each[0].isupper() and each.endswith(".") for each in published.NOTES)


def test_another_table():
    with pytest.raises(ValueError, match="Table 5 is not stored; there are 1, 2, 3, 4, 8, 9"):
        published.table(5)


def test_what_is_unknown_says_what_is_taken():
    assert all(len(row) == 3 and all(row) for row in published.unknown().rows)
