"""A model on retrieval within one modality: what chooses never judges, and what a model lacks is said."""

import numpy as np
import pytest
import torch
from PIL import Image

from workbench import intra_modal
from workbench.data.labelled import labelled, scene_captions, scene_pictures
from workbench.data.planted import planted
from workbench.evaluation.statistics import Interval
from workbench.intra_modal import CHOSEN, cub, cub_claim, encoded, measure, measure_features, named_bands
from workbench.intra_modal.published import MODEL
from workbench.intra_modal.stored import Tasks
from workbench.models.registry import load_model
from workbench.spectral import compare_readouts, decompose, readouts
from workbench.spectral.comparison import ReadoutRow, ReadoutSummary


@pytest.fixture(scope="module")
def model():
    return load_model("scenes-clip", device="cpu")


@pytest.fixture(scope="module")
def features():
    """A planted spectrum, and two halves of its items."""
    data = planted(classes=10, each=20)
    half = np.arange(200) < 100
    spectrum = decompose(data.W_i, data.W_t, rank="numerical")
    return spectrum, (data.pre[half], data.labels[half]), (data.pre[~half], data.labels[~half])


def test_the_planted_band_is_chosen_and_wins_on_items_that_chose_nothing(features):
    spectrum, choosing, judging = features
    named = named_bands("nobody's", spectrum, "image")
    found = measure_features(spectrum, choosing, judging, named)
    assert list(found.bands) == ["ViT-B/32's shares", "largest gaps", CHOSEN]
    assert found.bands[CHOSEN] == found.choice.band == found.sweep.best
    assert sum(np.abs(np.subtract(found.choice.band, (8, 8)))) <= 2  # of 100 items
    assert found.sweep.precisions.shape[1] == 100
    assert found.readouts.difference(f"IsoCLIP, {CHOSEN}").low > 0.3
    for kind in ("IsoCLIP", "one projector's band", "random subspace"):
        assert {f"{kind}, {name}" for name in found.bands} <= set(found.readouts.precisions)


def test_the_judging_set_has_no_part_in_the_choice(features):
    spectrum, choosing, judging = features
    one = measure_features(spectrum, choosing, judging, {})
    noise = torch.randn(judging[0].shape, generator=torch.Generator().manual_seed(0))
    other = measure_features(spectrum, choosing, (noise, judging[1]), {})
    assert one.choice == other.choice
    assert np.array_equal(one.sweep.precisions, other.sweep.precisions)
    assert str(one.readouts) != str(other.readouts)
    again = readouts(spectrum, choosing[0], {CHOSEN: one.choice.band})
    again = compare_readouts(again, *judging)
    for name, found in again.precisions.items():
        assert np.array_equal(found, one.readouts.precisions[name])
    assert set(one.readouts.precisions) - set(again.precisions) == {
        "IsoCLIP, chosen by labels, soft edges",
        "IsoCLIP, chosen by labels, a tenth of the rest kept",
        "one projector, chosen by labels",
        "without top components, chosen by labels",
    }


@pytest.mark.parametrize(("modality", "make"), [("image", scene_pictures), ("text", scene_captions)])
def test_a_model_on_scenes(model, modality, make):
    choosing, judging = (make(64, seed, "shape") for seed in (1, 2))
    names = ["a red circle", "a blue square", "a green star", "a pink heart"]
    found = measure(model, choosing, judging, modality=modality, class_names=names)
    assert found.readouts.title == f"scenes-clip, {judging.name}"
    assert found.sweep.modality == modality
    assert found.sweep.precisions.shape[1] == len(choosing)
    assert found.readouts.precisions["plain"].shape == (1, len(judging))
    assert found.readouts.kept["class-name PCA"] == "3"  # four names have three components
    plain = encoded(model, judging, modality)
    projector = model.image_projector if modality == "image" else model.text_projector
    expected = (model.encode_image if modality == "image" else model.encode_text)(judging.items).post
    assert torch.allclose(projector(plain), expected, atol=1e-5)


def test_without_class_names_that_row_is_left_out(model):
    choosing, judging = scene_captions(40, 1, "colour"), scene_captions(40, 2, "colour")
    assert "class-name PCA" not in measure(model, choosing, judging, modality="text").readouts.precisions


def test_one_set_cannot_choose_and_judge(model):
    data = scene_captions(40, 1)
    with pytest.raises(ValueError, match="choosing and judging share items; split one set"):
        measure(model, data, data, modality="text")


def test_a_model_without_a_matrix_says_why():
    model = load_model("lite2-conse", device="cpu")
    one, two = (
        labelled("a", list("abab"), [0, 1, 0, 1], at_least=2),
        labelled("b", list("abab"), [0, 1, 0, 1], at_least=2),
    )
    with pytest.raises(ValueError, match="W_i has no projection matrix: "):
        measure(model, one, two, modality="text")


def test_bands_without_labels(features):
    spectrum = features[0]
    assert named_bands("open_clip:ViT-B-32/openai", spectrum, "image")["authors' band"] == (150, 50)
    assert named_bands("open_clip:ViT-B-32/openai", spectrum, "text")["authors' band"] == (20, 100)
    assert named_bands("scenes-clip", spectrum, "image")["ViT-B/32's shares"] == (9, 3)
    assert named_bands("scenes-clip", spectrum, "text")["ViT-B/32's shares"] == (1, 6)


def test_bands_without_labels_fit_a_joint_space_that_is_narrow():
    """d 8 between towers of 64: r is 64 by shape, and nine tenths of it is empty."""
    generator = torch.Generator().manual_seed(0)
    spectrum = decompose(torch.randn(8, 64, generator=generator), torch.randn(8, 64, generator=generator))
    pre, labels = torch.randn(40, 64, generator=generator), np.arange(40) % 4
    for modality in ("image", "text"):
        bands = named_bands("nobody's", spectrum, modality)
        for band in bands.values():
            spectrum.check(*band)
        measured = measure_features(spectrum, (pre, labels), (pre[::2], labels[::2]), bands, modality=modality)
        assert all(1 <= int(kept) <= 8 for name, kept in measured.readouts.kept.items() if "IsoCLIP" in name)


# What is stored --------------------------------------------------------------------------------------------------------


def summary(title, shift):
    rows = [
        ReadoutRow(name, "8", Interval(0.4 + by, 0.3, 0.5, 20), Interval(by, by - 0.01, by + 0.01, 20), (by,))
        for name, by in (("plain", 0.0), ("ours", shift))
    ]
    return ReadoutSummary(title, tuple(rows))


def test_tasks_side_by_side():
    tasks = Tasks({"scenes": summary("a", 0.1), "stamps": summary("b", -0.05)}, ("ours",))
    assert str(tasks).splitlines() == [
        "mAP, percent, and paired differences [95 %]",
        "task    n   plain  ours − plain",
        "scenes  20  40.0   +10.0 [+9.0, +11.0]",
        "stamps  20  40.0   -5.0 [-6.0, -4.0]",
    ]
    assert tasks.differences()["ours"]["stamps"].mean == -0.05


def test_the_published_setting_needs_its_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder of CUB-200-2011 is named"):
        intra_modal.cub(None)
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        intra_modal.cub(tmp_path / "nowhere")
    claim = intra_modal.cub_claim(None)
    assert claim.measured is None


def test_pictures_of_one_file_cannot_choose_and_judge(model, tmp_path):
    data = labelled("a", [tmp_path / name for name in "abcd"], [0, 1, 0, 1], at_least=2)
    with pytest.raises(ValueError, match="share items"):
        measure(model, data, data[[0, 1, 2, 3]])


def test_a_label_that_comes_once_is_refused_before_anything_is_encoded(model, tmp_path):
    one, two = (labelled(name, [tmp_path / f"{name}{k}" for k in range(4)], [0, 1, 0, 1], at_least=2) for name in "ab")
    with pytest.raises(ValueError, match="label '0' comes once in b"):
        measure(model, one, two[[0, 1, 3]])
    with pytest.raises(ValueError, match="modality='images'"):
        measure(model, one, two, modality="images")


def test_it_says_whether_the_chosen_band_helped(features):
    found = measure_features(*features, {})
    assert found.verdict == "better"
    assert "chosen by labels, on other items: better" in str(found)


def test_a_sweep_of_some_queries(features):
    spectrum, choosing, judging = features
    found = measure_features(spectrum, choosing, judging, {}, most=30)
    assert found.sweep.precisions.shape[1] == 30
    assert found.readouts.precisions["plain"].shape[1] == 100, "all judge"


def test_cub_is_all_against_all_in_the_authors_band(monkeypatch, tmp_path, model):
    """With other weights and pictures, since neither is here."""
    for label, colour in (("001.Red_bird", "red"), ("002.Blue_bird", "blue")):
        (tmp_path / label).mkdir()
        for k in range(4):
            Image.new("RGB", (64, 64 + k), colour).save(tmp_path / label / f"{k}.png")
    asked = []
    monkeypatch.setattr("workbench.models.registry.load_model", lambda name: asked.append(name) or model)
    monkeypatch.setattr("workbench.intra_modal.published.author_band", lambda name: {MODEL: (3, 2)}[name])
    found = cub(tmp_path)
    assert asked == ["open_clip:ViT-B-32/openai"]
    assert found.kept["IsoCLIP, authors' band"] == str(64 - 5)
    assert found.precisions["plain"].shape == (1, 8)
    claim = cub_claim(found)
    assert (claim.n, claim.verdict) == (8, "contradicted")  # eight plain pictures are found without fail
    assert cub_claim(None).verdict == "needs weights"
    with pytest.raises(FileNotFoundError, match="no folder of CUB-200-2011 is named"):
        cub(None)
