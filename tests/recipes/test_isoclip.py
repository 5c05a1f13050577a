"""The stored numbers of IsoCLIP belong to the weights, the script and the code that stand here."""

import json

import pytest

from recipes import isoclip_claims, measure_isoclip
from recipes.files import sha256
from workbench.claims import VERDICTS, Ledger
from workbench.intra_modal import RESULT, measured
from workbench.paths import assets

FILE = assets() / "results" / RESULT


@pytest.fixture(scope="module")
def stored():
    return json.loads(FILE.read_text(encoding="utf-8"))


def test_numbers_are_of_the_weights_and_the_script_that_stand_here(stored):
    known = {
        **measure_isoclip.digests(),
        "isoclip_claims.py": sha256(FILE.parents[2] / "recipes" / "isoclip_claims.py"),
    }
    assert stored["digests"] == known, "run `python -m recipes.measure_isoclip`"


def test_every_row_is_there(stored):
    assert list(stored["rows"]) == [name for name, *_ in measure_isoclip.jobs()]


@pytest.mark.parametrize(
    ("row", "make"),
    [("planted", measure_isoclip.planted_bands), ("overlap by shape", lambda: measure_isoclip.overlaps("shape"))],
)
def test_rows_measured_again_are_what_is_stored(stored, row, make):
    """The code below the script has no digest: two cheap rows stand in for it."""
    close(make(), stored["rows"][row])


def close(found, expected):
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            close(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            close(*pair)
    else:
        assert found == (pytest.approx(expected, abs=2e-4) if isinstance(expected, float) else expected)


def test_a_stored_table_measured_again_on_its_first_draw(stored):
    """Of `pictures by shape`, the first of three draws: its difference is the first of those by seed."""
    from workbench.data.labelled import scene_pictures
    from workbench.intra_modal import encoded
    from workbench.models.registry import load_model
    from workbench.spectral import NONE, band_sweep

    row = stored["rows"]["pictures by shape"]
    model = load_model("scenes-clip", device="cpu")
    data = scene_pictures(measure_isoclip.N, 101, "shape")
    bands = (NONE, row["chosen"][0])
    none, chosen = band_sweep(
        measure_isoclip.spectrum_of(model), encoded(model, data, "image"), data.labels, bands=bands
    ).means
    assert chosen - none == pytest.approx(isoclip_claims.of_readout(stored["rows"], *CHOSEN)["by_seed"][0], abs=2e-4)


CHOSEN = ("pictures by shape", isoclip_claims.BY_LABELS)


def test_verdicts_are_those_of_the_numbers(stored):
    ledger = Ledger.stored(FILE)
    assert [claim.verdict for claim in ledger.claims] == [each["verdict"] for each in stored["claims"]]
    assert set(ledger.counts()) == set(VERDICTS), "identities hold, some directions do not, some wait for weights"


def test_claims_follow_from_the_rows(stored):
    close(isoclip_claims.claims(stored["rows"]), stored["claims"])


def test_stored_tables_are_read_by_name():
    one, several = measured("stamps by folder"), measured("pictures by shape", "captions by shape")
    assert "minus plain" in str(one)
    assert list(several.tables) == ["pictures by shape", "captions by shape"]
    with pytest.raises(ValueError, match="no stored task 'cats'; there are pictures by object"):
        measured("cats")


def test_the_closed_form_of_the_gradient_notices_a_wrong_operator():
    import torch

    generator = torch.Generator().manual_seed(1)
    W_i, W_t = (torch.randn(8, width, generator=generator, dtype=torch.float64) for width in (12, 10))
    gap, radial = isoclip_claims.gradient(W_i, W_t)
    assert gap < 1e-12
    assert radial < 1e-12


@pytest.mark.parametrize("by", ["shape", "colour"])
def test_the_readme_says_what_is_stored(by):
    """Of the band without the first seven directions: from, to, and the paired difference with its interval."""
    table = measured(f"pictures by {by}")
    band, plain = table["IsoCLIP, chosen by shape"], table["plain"]
    numbers = [100 * each for each in (band.difference.mean, band.difference.low, band.difference.high)]
    mean, low, high = (f"{each:.1f}".replace("-", "−") for each in numbers)
    said = f"{100 * plain.mean.mean:.1f} to {100 * band.mean.mean:.1f}"
    written = (FILE.parents[2] / "README.md").read_text(encoding="utf-8")
    assert said in written
    assert f"{'+' * (band.difference.mean > 0)}{mean} [{low}, {high}]" in written
