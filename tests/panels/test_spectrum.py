"""The spectrum panel without a browser: its lists and its mAP against the plainest computation, and its controls."""

import base64
import io
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import workbench as wb
from workbench.evaluation import average_precisions
from workbench.evaluation.statistics import paired_difference
from workbench.features import Projector
from workbench.panels.spectrum import SpectrumPanel, State
from workbench.spectral import Band, decompose, largest_gap

N, D_I, D_T, D = 40, 12, 10, 11
LABELS = [f"kind {i % 5}" for i in range(N)]


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fake(image=None, text=None, source="open_clip:nowhere/none"):
    """All that the panel asks of a model where features are given."""
    return SimpleNamespace(
        name="drawn",
        card=SimpleNamespace(source=source),
        image_projector=image or Projector(numbers(D, D_I, seed=1)),
        text_projector=text or Projector(numbers(D, D_T, seed=2)),
    )


@pytest.fixture(scope="module")
def pictures():
    return list(np.random.default_rng(0).integers(0, 256, (N, 20, 30, 3), dtype=np.uint8))


@pytest.fixture
def make(pictures):
    def made(model=None, labels=LABELS, **options):
        options = {"pre": numbers(N, D_I, seed=3), "band": (2, 1), "queries": 15, **options}
        panel = SpectrumPanel(model or fake(), pictures, labels, **options)
        panel.strict = True
        return panel

    return made


@pytest.fixture
def panel(make):
    return make()


# Pure part --------------------------------------------------------------------------------------------------------


def naive(query, band, model):
    """Everybody but the query, nearest first, by the projectors written out."""
    W, _ = decompose(model.image_projector, model.text_projector).band(*band)
    unit = F.normalize(numbers(N, D_I, seed=3) @ (model.image_projector.weight if band is None else W).T, dim=1)
    cosines = unit @ unit[query]
    return [i for i in cosines.argsort(descending=True).tolist() if i != query], cosines, unit


@pytest.mark.parametrize("query", [0, 7])
@pytest.mark.parametrize("band", [(0, 0), (3, 0), (1, 4), (9, 0)])
def test_the_list_after_is_that_of_the_modified_projector(panel, query, band):
    order, cosines, _ = naive(query, band, panel.model)
    after = panel.compute(State(query, *band)).after
    assert len(after) == 8
    if band != (9, 0):  # one direction, which no order of neighbours survives rounding in
        assert [hit.index for hit in after] == order[:8]
    assert [hit.cosine for hit in after] == pytest.approx([float(cosines[i]) for i in order[:8]], abs=1e-5)
    assert [hit.right for hit in after] == [LABELS[hit.index] == LABELS[query] for hit in after]
    assert [hit.label for hit in after] == [LABELS[hit.index] for hit in after]
    assert [hit.place for hit in after] == list(range(1, 9))


def test_the_list_before_is_that_of_the_model_and_knows_no_band(panel):
    unit = F.normalize(numbers(N, D_I, seed=3) @ panel.model.image_projector.weight.T, dim=1)
    order = [i for i in (unit @ unit[4]).argsort(descending=True).tolist() if i != 4]
    lists = [panel.compute(State(4, *band)).before for band in ((0, 0), (5, 2))]
    for before in lists:
        assert [hit.index for hit in before] == order[:8]
    assert [hit.other for hit in lists[0]] != [hit.other for hit in lists[1]]


def test_each_list_knows_the_place_in_the_other(panel):
    view = panel.compute(State(2, 4, 1))
    was, _, _ = naive(2, (4, 1), panel.model)
    assert [hit.other for hit in view.before] == [was.index(hit.index) + 1 for hit in view.before]
    for hit in view.after:
        if hit.other <= 8:
            assert view.before[hit.other - 1].index == hit.index


@pytest.mark.parametrize("band", [(0, 0), (4, 2)])
def test_quality_is_the_paired_difference_over_the_drawn_queries(panel, band):
    _, _, unit = naive(0, band, panel.model)
    trained = F.normalize(numbers(N, D_I, seed=3) @ panel.model.image_projector.weight.T, dim=1)
    before, after = (
        average_precisions(each @ each.T, LABELS, LABELS, exclude_self=True)[panel.pictures.rows]
        for each in (trained, unit)
    )
    quality = panel.compute(State(0, *band)).quality
    assert (quality.before.mean, quality.after.mean) == pytest.approx((before.mean(), after.mean()), abs=1e-6)
    expected = paired_difference(after, before)
    assert (quality.difference.low, quality.difference.high) == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert quality.difference.n == 15


def test_a_view_depends_on_the_state_alone(panel):
    states = [State(0, 2, 1), State(5, 0, 0), State(0, 2, 1), State(5, 2, 1)]
    views = [panel.compute(state) for state in states]
    assert views[0] == views[2]
    assert views[0].quality == views[3].quality
    assert views[0].after != views[3].after


def test_queries_are_drawn_once_with_the_seed_among_labels_that_come_twice(make):
    labels = [*LABELS[:-3], "alone", "lonely", "single"]
    rows = make(labels=labels, queries=200).pictures.rows
    assert rows.tolist() == list(range(N - 3))
    first, again, other = (make(labels=labels, seed=seed).pictures.rows.tolist() for seed in (1, 1, 2))
    assert first == again != other
    assert len(first) == 15


def test_a_bias_is_part_of_the_projector(make):
    biased = fake(image=Projector(numbers(D, D_I, seed=1), 3 * numbers(D, seed=5)))
    panel = make(biased)
    unit = F.normalize(biased.image_projector(numbers(N, D_I, seed=3)), dim=1)
    order = [i for i in (unit @ unit[0]).argsort(descending=True).tolist() if i]
    assert [hit.index for hit in panel.view.before] == order[:8]


def test_labels_of_any_kind_are_compared_as_they_are(make):
    mixed = [("a", i % 4) if i % 2 else i % 4 for i in range(N)]
    panel = make(labels=mixed)
    assert [hit.right for hit in panel.view.after] == [mixed[hit.index] == mixed[0] for hit in panel.view.after]
    coded = make(labels=torch.arange(N) % 5)
    assert coded.view.quality == make().view.quality
    assert coded.view.after[0].label in "01234"


def test_states_that_are_not_there(panel):
    with pytest.raises(ValueError, match="query=40; choose a picture from 0 to 39"):
        panel.compute(State(40, 0, 0))
    with pytest.raises(ValueError, match="leave nothing of 10"):
        panel.compute(State(0, 5, 5))


# Controls ---------------------------------------------------------------------------------------------------------


def test_sliders_drive_list_figure_and_quality(panel):
    before = (panel.lists.value, panel.summary.value, panel.quality.value)
    panel.k_top.value = 5
    assert panel.view.band == Band(5, 1)
    assert panel.view == panel.compute(State(0, 5, 1))
    assert all(new != old for new, old in zip(shown(panel), before, strict=True))
    assert "After: " in panel.lists.value
    assert "directions 5–8, 4 of 10" in panel.summary.value
    assert [each.text for each in panel.figure.layout.annotations] == ["left out: 0–4", "kept: 5–8", "left out: 9"]
    panel.k_top.value, panel.k_bottom.value = 2, 1
    assert shown(panel) == before


def shown(panel):
    return panel.lists.value, panel.summary.value, panel.quality.value


def test_the_list_stands_before_the_quality_is_known(panel, monkeypatch):
    order = []
    panel.lists.observe(lambda _: order.append("list"), names="value")
    judged = panel.pictures.judged
    monkeypatch.setattr(panel.pictures, "judged", lambda view: (order.append("mAP"), judged(view))[1])
    panel.k_top.value = 4
    assert order == ["list", "mAP"]


def test_render_brings_everything_to_a_view(panel):
    view = panel.compute(State(3, 6, 0))
    panel.render(view)
    rendered = shown(panel)
    panel.query.value, panel.k_top.value, panel.k_bottom.value = 3, 6, 0
    assert shown(panel) == rendered


@pytest.mark.parametrize(("k_top", "k_bottom"), [(9, 0), (0, 9), (6, 3), (999, 0), (-5, 9)])
def test_the_sliders_always_leave_a_direction(panel, k_top, k_bottom):
    panel.k_bottom.value = 0
    panel.k_top.value = k_top
    panel.k_bottom.value = k_bottom
    band = panel.view.band
    assert band == (panel.k_top.value, panel.k_bottom.value)
    assert sum(band) <= 9
    assert (panel.k_top.max, panel.k_bottom.max) == (9 - band.k_bottom, 9 - band.k_top)
    assert "Not shown" not in panel.status.value


def test_presets_set_both_sliders_and_sliders_the_preset(panel):
    assert panel.preset.value == ()
    for name, band in panel.presets.items():
        panel.preset.value = band
        assert panel.view.band == (panel.k_top.value, panel.k_bottom.value) == band, name
    panel.k_top.value = 7
    assert panel.preset.value == ()
    panel.k_top.value, panel.k_bottom.value = 0, 0
    assert panel.preset.value == Band(0, 0)
    panel.preset.value = ()  # chosen by hand: nothing to do
    assert panel.view.band == (0, 0)


def test_a_preset_is_reached_from_any_band(panel):
    panel.k_top.value, panel.k_bottom.value = 0, 9
    panel.preset.value = panel.presets["largest gap"]
    assert panel.view.band == largest_gap(panel.spectrum)
    assert "Not shown" not in panel.status.value


def test_the_band_to_begin_with(make):
    assert make(band=None).view.band == (3, 1)  # 150/512 and 50/512 of 10
    assert "the authors', for this model" not in make().presets


def test_the_authors_band_of_a_known_model(make):
    square = [Projector(numbers(512, 512, seed=seed)) for seed in (1, 2)]
    panel = make(fake(*square, source="open_clip:ViT-B-16/openai"), pre=numbers(N, 512, seed=3), band=None)
    assert panel.presets["the authors', for this model"] == panel.view.band == (200, 50)
    same = make(fake(*square, source="open_clip:ViT-B-32/openai"), pre=numbers(N, 512, seed=3), band=None)
    assert list(same.presets.values()).count(Band(150, 50)) == 1


def test_another_query_changes_the_list_alone(panel):
    quality = panel.quality.value
    panel.query.value = 7
    assert [hit.index for hit in panel.view.after] == naive(7, (2, 1), panel.model)[0][:8]
    assert "Query: picture 7" in panel.lists.value
    assert panel.quality.value == quality
    panel.query.value = 10**6
    assert panel.view.state.query == N - 1


def test_right_and_wrong_are_said_in_words_and_pictures_have_a_text(panel):
    html = panel.lists.value
    hits = (*panel.view.before, *panel.view.after)
    assert html.count("✓ right") == sum(hit.right for hit in hits)
    assert html.count("✗ wrong") == sum(not hit.right for hit in hits)
    assert html.count('<img src="data:image/jpeg;base64,') == html.count(' alt="picture ') == 17
    assert "7 others have this label" in html


def test_the_way_that_a_picture_moved_is_said(panel):
    hit = next(hit for hit in panel.view.after if hit.other != hit.place)
    arrow = "↑" if hit.other > hit.place else "↓"
    assert f"before: {hit.other} ({arrow}{abs(hit.other - hit.place)})" in panel.lists.value


def test_the_quality_says_n_and_its_interval_in_words(panel):
    assert re.search(r"mAP \d+\.\d → \d+\.\d percent, n = 15 queries: ", panel.quality.value)
    assert "95 % interval" in panel.quality.value
    verdicts = {"better with the band", "WORSE with the band", "no clear difference"}
    assert panel.view.quality.verdict in verdicts
    assert "15 queries drawn with seed 0, gallery of 40" in panel.quality.value


def test_verdicts_follow_the_interval(panel):
    quality = panel.view.quality
    for low, high, verdict in ((0.1, 0.2, "better"), (-0.2, -0.1, "WORSE"), (-0.1, 0.1, "no clear")):
        difference = replace(quality.difference, low=low, high=high)
        assert verdict in replace(quality, difference=difference).summary()


def test_thumbnails_are_small_lazy_and_made_once(panel, monkeypatch):
    made = panel._thumbnails._made
    assert 0 < len(made) <= 17
    picture = Image.open(io.BytesIO(base64.b64decode(made[0].partition(",")[2])))
    assert max(picture.size) <= 72
    monkeypatch.setattr("workbench.panels.neighbours._small", lambda _: pytest.fail("made again"))
    panel.render(panel.view)


def test_every_control_is_labelled(panel):
    for control in (panel.query, panel.preset, panel.k_top, panel.k_bottom):
        assert control.description
        assert control.tooltip


def test_text_form_is_stable(panel):
    assert panel._repr_mimebundle_()["text/plain"] == "SpectrumPanel(drawn, n=40, band=(2, 1), query=0)"


# Bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "label", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "<b>cat</b>", "x" * 500]
)
def test_untrusted_labels_are_shown_as_text(make, label):
    panel = make(labels=[label, "other"] * (N // 2))
    html = panel.lists.value
    assert not re.search(r"<script|<b>|<img src=x|x{100}", html)
    assert html.count("<img ") == 17


def test_an_error_keeps_the_last_good_view_and_says_so(panel, monkeypatch):
    panel.strict = False
    good = shown(panel)
    pre = numbers(N, D_I, seed=3)
    pre[6] = panel.spectrum.U[:, 0].float()  # nothing but the first direction, which the next band leaves out
    panel.pictures.reader = panel.spectrum.read(pre)
    panel.pictures.reader.coordinates[6, 1:] = 0
    panel.k_top.value = 4
    assert "Not shown" in panel.status.value
    assert "picture 6 is zeros in directions 4–8" in panel.status.value
    assert shown(panel) == good
    panel.k_top.value = 0
    assert "Not shown" not in panel.status.value


def test_strict_panels_raise(panel, monkeypatch):
    monkeypatch.setattr(panel.pictures, "_after", lambda band: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        panel.k_top.value = 4


def test_a_picture_that_cannot_be_opened_is_said_and_leaves_the_rest(pictures, tmp_path):
    missing = tmp_path / "gone.png"
    panel = SpectrumPanel(fake(), [missing, *pictures[1:]], LABELS, pre=numbers(N, D_I, seed=3), band=(2, 1))
    assert "picture 0 is not shown: there is no" in panel.status.value
    assert "no picture" in panel.lists.value
    assert panel.lists.value.count("<img ") == 16


def test_a_name_is_not_a_model(pictures):
    with pytest.raises(TypeError, match=r"not a name; give SpectrumPanel\(load_model\('scenes-clip'\), …\)"):
        SpectrumPanel("scenes-clip", pictures, LABELS)


@pytest.mark.parametrize("side", ["image", "text"])
def test_a_model_without_a_matrix_says_why(make, side):
    none = Projector(None, None, "none", "a head of three layers")
    with pytest.raises(
        ValueError, match=f"drawn has no {side} projection matrix.*a head of three layers; take a model"
    ):
        make(fake(**{side: none}))


def test_a_linearised_projector_is_said(make):
    panel = make(fake(image=Projector(numbers(D, D_I, seed=1), None, "linearised", "an attention pool")))
    assert "The image projector is linearised, a first-order stand-in: an attention pool" in panel.status.value


def test_directions_that_carry_nothing_are_said_and_never_all_that_is_kept(make):
    narrow = fake(Projector(numbers(6, D_I, seed=1)), Projector(numbers(6, D_T, seed=2)))
    panel = make(narrow)
    assert "The last 4 of 10 directions carry nothing" in panel.status.value
    panel.k_bottom.value, panel.k_top.value = 0, 9
    assert panel.view.band == (5, 0)
    assert all(band.k_top < 6 for band in panel.presets.values())
    with pytest.raises(ValueError, match="only directions that carry nothing"):
        panel.compute(State(0, 6, 0))
    with pytest.raises(ValueError, match="only directions that carry nothing"):
        make(narrow, band=(6, 0))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"labels": LABELS[:-1]}, ValueError, "39 labels for 40 pictures"),
        ({"labels": [[1]] * N}, TypeError, "one hashable thing for each picture.*unhashable"),
        ({"labels": 5}, TypeError, "one hashable thing for each picture"),
        ({"labels": range(N)}, ValueError, "none of the 40 labels comes twice"),
        ({"pre": numbers(N - 1, D_I)}, ValueError, "pre has 39 rows for 40 pictures"),
        ({"pre": numbers(N, D_I + 1)}, ValueError, r"takes `pre` features \(N, 12\)"),
        ({"pre": torch.full((N, D_I), torch.nan)}, ValueError, "NaN"),
        ({"pre": torch.zeros(N, D_I)}, ValueError, "picture 0 is zeros as trained"),
        ({"band": (6, 4)}, ValueError, "leave nothing of 10"),
        ({"band": (-1, 4)}, ValueError, "k_top=-1"),
        ({"query": N}, ValueError, "query=40; choose a picture from 0 to 39"),
        ({"query": 1.5}, TypeError, "whole number"),
        ({"queries": 0}, ValueError, "queries=0"),
    ],
)
def test_refuses(make, options, error, message):
    with pytest.raises(error, match=message):
        make(**options)


def test_no_pictures():
    with pytest.raises(ValueError, match="no pictures given"):
        SpectrumPanel(fake(), [], [])


def test_two_pictures_are_enough(pictures):
    panel = SpectrumPanel(fake(), pictures[:2], ["a", "a"], pre=numbers(2, D_I), band=(0, 0))
    assert len(panel.view.after) == 1
    assert panel.view.quality.after.mean == 1


def test_a_label_that_comes_once_has_nothing_to_find(make):
    panel = make(labels=["alone", *LABELS[1:]])
    assert "no other picture has this label" in panel.lists.value


def test_a_real_model_encodes_the_pictures(pictures, clip_folder):
    model = wb.load_model(f"local-dir:{clip_folder}", device="cpu")
    panel = SpectrumPanel(model, pictures[:12], LABELS[:12], queries=5)
    image = model.encode_image(pictures[:12])
    unit = F.normalize(image.post, dim=1)
    order = [i for i in (unit @ unit[0]).argsort(descending=True).tolist() if i]
    assert [hit.index for hit in panel.view.before] == order[:8]
    given = SpectrumPanel(model, pictures[:12], LABELS[:12], queries=5, pre=image.pre)
    assert given.view == panel.view
