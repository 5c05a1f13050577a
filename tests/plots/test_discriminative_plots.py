"""Figures of VladVA through their specs: entropy by prompt, against R@1, variance, next tokens, attention, losses of runs."""

import json
from math import e, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.evaluation.statistics import Interval, spearman
from workbench.plots import (
    attention_heads,
    entropy_recall,
    explained_variance,
    loss_runs,
    next_tokens,
    prompt_entropy,
)


def interval(x, n=100):
    return Interval(x, x - 0.02, x + 0.03, n)


def intervals(*values):
    return [interval(value) for value in values]


def named(figure):
    return [trace.name for trace in figure.data if trace.showlegend is not False]


# prompt_entropy -------------------------------------------------------------------------------------------------------

PROMPTS = ("describe the {}", "<b>count", "one word")
TASKS = ("short", "<i>", "word")
ENTROPIES = {"pictures": intervals(1.0, 0.2, 2.0), "captions": intervals(0.5, 0.3, 3.0)}


def test_prompts_rise_with_their_mean_entropy():
    spec = prompt_entropy.spec(PROMPTS, ENTROPIES, groups=TASKS)
    assert json.loads(json.dumps(spec)) == spec
    assert [each["words"] for each in spec["prompts"]] == ["&lt;b&gt;count", "describe the {}", "one word"]
    assert spec["prompts"][0]["group"] == "&lt;i&gt;"
    pictures, captions = spec["lines"]
    assert [point["mean"] for point in pictures["points"]] == [0.2, 1.0, 2.0]
    assert [point["mean"] for point in captions["points"]] == [0.3, 0.5, 3.0]
    assert [point["place"] for point in captions["points"]] == [1, 2, 3]


@given(st.lists(st.floats(0, 9), min_size=1, max_size=20))
def test_no_prompt_is_lost_and_one_modality_rises(values):
    spec = prompt_entropy.spec([f"p{k}" for k in range(len(values))], {"pictures": intervals(*values)})
    drawn = [point["mean"] for point in spec["lines"][0]["points"]]
    assert drawn == sorted(values)
    assert {each["words"] for each in spec["prompts"]} == {f"p{k}" for k in range(len(values))}


def test_both_ends_are_said_above_and_every_prompt_in_a_hover():
    figure = prompt_entropy.figure(prompt_entropy.spec(PROMPTS, ENTROPIES, groups=TASKS))
    (note,) = figure.layout.annotations
    assert note.text == "lowest (1): “&lt;b&gt;count”<br>highest (3): “one word”"
    assert figure.data[0].customdata[1][0] == "“describe the {}”, short"
    assert list(figure.data[0].error_y.array) == pytest.approx([0.03] * 3)
    assert len({trace.marker.symbol for trace in figure.data}) == 2
    assert figure.layout.yaxis.range[0] < 0, "a prompt that leaves nothing open is seen whole"
    assert "<b>count" not in figure.to_json()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"prompts": ()}, ValueError, "0 prompts; give one to 60"),
        ({"prompts": ["p"] * 61}, ValueError, "61 prompts"),
        ({"entropies": {}}, ValueError, "0 modalities"),
        ({"entropies": dict.fromkeys("abc", intervals(1, 2, 3))}, ValueError, "3 modalities"),
        ({"entropies": {"a": intervals(1)}}, ValueError, "'a' has 1 intervals for 3 prompts"),
        ({"entropies": {"a": [1.0, 2.0, 3.0]}}, TypeError, "'a' holds a float; give an Interval"),
        ({"entropies": {"a": intervals(1, 2, float("nan"))}}, ValueError, "three finite numbers"),
        ({"groups": ["short"]}, ValueError, "1 groups for 3 prompts"),
    ],
)
def test_prompt_entropy_refuses(change, error, message):
    given = {"prompts": PROMPTS, "entropies": ENTROPIES, **change}
    with pytest.raises(error, match=message):
        prompt_entropy.spec(**given)


# entropy_recall -------------------------------------------------------------------------------------------------------

ENTROPY = intervals(0.1, 0.5, 0.9, 1.5)
RECALLS = {"picture → text": intervals(0.1, 0.2, 0.3, 0.4), "<b>": intervals(0.4, 0.1, 0.3, 0.2)}
FOUR = {"prompts": [*PROMPTS, "a"], "entropy": ENTROPY, "recalls": RECALLS, "groups": [*TASKS, "short"]}


def test_a_point_a_prompt_and_a_correlation_a_direction():
    spec = entropy_recall.spec(**FOUR, chance=0.01)
    assert json.loads(json.dumps(spec)) == spec
    up, other = spec["ways"]
    assert [point["mean"] for point in up["points"]] == pytest.approx([10, 20, 30, 40])
    assert up["r"]["mean"] == pytest.approx(1)
    assert other["name"] == "&lt;b&gt;"
    assert other["r"]["mean"] == pytest.approx(-0.4)
    assert other["r"]["n"] == 4
    assert spec["groups"] == ["short", "&lt;i&gt;", "word"]
    assert spec["chance"] == pytest.approx(1)


def test_a_correlation_that_is_given_is_the_one_that_is_said():
    grouped = spearman([1, 2, 3, 4], [2, 1, 4, 3], groups=[0, 0, 1, 1])
    spec = entropy_recall.spec(**FOUR, correlations={"picture → text": grouped})
    assert spec["ways"][0]["r"]["low"] == grouped.low
    assert "ρ <b>0.60</b>" in entropy_recall.figure(spec).data[1].name


def test_directions_and_groups_have_signs_of_their_own():
    figure = entropy_recall.figure(entropy_recall.spec(**FOUR, chance=0.01))
    filled, hollow = (trace for trace in figure.data if trace.showlegend is False)
    assert list(filled.marker.symbol) == ["circle", "square", "diamond", "circle"]
    assert list(hollow.marker.symbol) == ["circle-open", "square-open", "diamond-open", "circle-open"]
    assert list(filled.error_x.arrayminus) == pytest.approx([0.02] * 4)
    assert list(filled.error_y.array) == pytest.approx([3] * 4)
    first, second, *groups = named(figure)
    assert first.startswith("picture → text: Spearman’s ρ <b>1.00</b> [")
    assert first.endswith("], 4 prompts")
    assert "<b>−0.40</b>" in second
    assert groups == ["short", "&lt;i&gt;", "word"]
    assert len(figure.layout.shapes) == 1, "a line at chance"
    assert "<i>" not in figure.to_json()


def test_without_groups_all_prompts_look_alike():
    figure = entropy_recall.figure(entropy_recall.spec(**{**FOUR, "groups": None}))
    assert set(figure.data[0].marker.symbol) == {"circle"}
    assert len(named(figure)) == 2
    assert not figure.layout.shapes


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"recalls": {}}, ValueError, "0 directions and 3 groups"),
        ({"chance": 12}, ValueError, "chance=12; give a fraction"),
        ({"entropy": ENTROPY[:3]}, ValueError, "'entropy' has 3 intervals for 4 prompts"),
        ({"recalls": {"up": [0.1] * 4}}, TypeError, "'up' holds a float"),
        ({"recalls": {"up": intervals(0.1, 0.1, 0.1, 0.1)}}, ValueError, "needs both to vary"),
    ],
)
def test_entropy_recall_refuses(change, error, message):
    with pytest.raises(error, match=message):
        entropy_recall.spec(**{**FOUR, **change})


def test_nine_groups_cannot_be_told_apart():
    nine = {"prompts": "abcdefghi", "entropy": intervals(*range(9)), "recalls": {"up": intervals(*range(9))}}
    with pytest.raises(ValueError, match="9 groups"):
        entropy_recall.spec(**nine, groups="abcdefghi")


# explained_variance ---------------------------------------------------------------------------------------------------

STEEP, FLAT = ([0.5, 0.75, 1.0], 1.5), ([0.34, 0.67, 1.0], 3.0)
PANELS = {"pictures": {"<b>p": STEEP, "q": FLAT}, "captions": {"<b>p": FLAT, "q": FLAT}}


def test_a_line_a_prompt_with_its_rank_on_it():
    spec = explained_variance.spec(PANELS)
    assert json.loads(json.dumps(spec)) == spec
    assert spec["names"] == ["&lt;b&gt;p", "q"]
    steep, flat = spec["panels"][0]["lines"]
    assert steep["x"] == [1, 2, 3]
    assert steep["y"] == STEEP[0]
    assert steep["at"] == pytest.approx(0.5 + 0.25 * log(1.5) / log(2)), "on the line as the logarithmic axis draws it"
    assert flat["at"] == pytest.approx(1)


def test_a_rank_that_rounds_to_less_than_one_is_one():
    (line,) = explained_variance.spec({"pictures": {"p": ([1.0], 1 - 1e-12)}})["panels"][0]["lines"]
    assert line["rank"] == line["at"] == 1


@given(st.integers(1, 5000))
def test_long_lines_keep_both_ends_in_few_points(n):
    spec = explained_variance.spec({"pictures": {"p": (np.arange(1, n + 1) / n, 1.0)}})
    (line,) = spec["panels"][0]["lines"]
    assert (line["x"][0], line["x"][-1]) == (1, n)
    assert line["y"][-1] == pytest.approx(1)
    assert len(line["x"]) <= min(n, 160)
    assert line["x"] == sorted(set(line["x"]))


def test_ranks_of_all_panels_are_in_one_legend():
    figure = explained_variance.figure(explained_variance.spec(PANELS))
    assert named(figure) == ["“&lt;b&gt;p” <b>1.5, 3.0</b>", "“q” <b>3.0, 3.0</b>"]
    assert "pictures, captions" in figure.layout.legend.title.text
    assert {axis.type for axis in figure.select_xaxes()} == {"log"}
    assert len({trace.line.dash for trace in figure.data}) == 2
    signs = [trace for trace in figure.data if len(trace.x) == 1]
    assert [trace.x[0] for trace in signs] == [1.5, 3.0, 3.0, 3.0]
    plain = explained_variance.figure(explained_variance.spec(PANELS), log=False)
    assert {axis.type for axis in plain.select_xaxes()} == {"linear"}


@pytest.mark.parametrize(
    ("panels", "message"),
    [
        ({}, "0 prompts in 0 modalities"),
        ({"a": {}}, "0 prompts in 1"),
        ({"a": dict.fromkeys("pqrstuv", FLAT)}, "7 prompts"),
        ({title: {"p": FLAT} for title in "abc"}, "1 prompts in 3"),
        ({"a": {"p": FLAT}, "b": {"q": FLAT}}, "'b' has 'q', not 'p'"),
        ({"a": {"p": ([0.5, 0.4], 1)}}, "'p' has shares that do not rise"),
        ({"a": {"p": ([0.5, 1.4], 1)}}, "do not rise from 0 to 1"),
        ({"a": {"p": ([-0.5, 1], 1)}}, "do not rise from 0 to 1"),
        ({"a": {"p": ([0.5, float("nan")], 1)}}, "do not rise from 0 to 1"),
        ({"a": {"p": ([], 1)}}, r"shares of shape \(0,\)"),
        ({"a": {"p": ([1.0], 0.5)}}, r"effective rank 0\.5; give 1 or more"),
        ({"a": {"p": ([1.0], float("nan"))}}, "effective rank nan"),
    ],
)
def test_explained_variance_refuses(panels, message):
    with pytest.raises(ValueError, match=message):
        explained_variance.spec(panels)


# next_tokens ----------------------------------------------------------------------------------------------------------

POOR, BEST = (["4", "\n", " <img src=x>"], [0.9, 0.05, 0.01], 0.4), (["b", "a"], [0.1, 0.3], 2.5)


def test_tokens_fall_and_the_rest_is_said():
    spec = next_tokens.spec({"<b>poor": POOR, "best": BEST})
    assert json.loads(json.dumps(spec)) == spec
    poor, best = spec["panels"]
    assert poor["title"] == "&lt;b&gt;poor"
    assert poor["tokens"] == ["4", "(line end)", "&lt;img src=x&gt;"]
    assert poor["rest"] == pytest.approx(0.04)
    assert best["tokens"] == ["a", "b"]
    assert best["probabilities"] == [0.3, 0.1]
    assert spec["limit"] == 0.9


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("", "(nothing)"),
        (" ", "(space)"),
        ("   ", "(spaces)"),
        (" red", "red"),
        ("\x00", "\ufffd"),
        ("a\u202eb", "a\ufffdb"),
    ],
)
def test_a_token_without_ink_has_a_name(token, shown):
    (panel,) = next_tokens.spec({"one": ([token], [0.5], 1.0)})["panels"]
    assert panel["tokens"] == [shown]


@given(st.lists(st.tuples(st.text(max_size=20), st.floats(1e-3, 0.05)), min_size=1, max_size=20))
def test_no_token_is_a_tag(rows):
    tokens, probabilities = zip(*rows, strict=True)
    (panel,) = next_tokens.spec({"one": (tokens, probabilities, 1.0)})["panels"]
    assert not any("<" in token or ">" in token for token in panel["tokens"])
    assert all(panel["tokens"])
    assert panel["rest"] == pytest.approx(1 - sum(probabilities))


@pytest.mark.parametrize(("panels", "columns"), [(1, 1), (2, 2), (3, 3), (4, 2)])
def test_panels_share_a_scale_and_say_their_entropy(panels, columns):
    readings = {f"reading {k}": (["a", " a"], [0.5, 0.2 / (k + 1)], 0.25 + k) for k in range(panels)}
    figure = next_tokens.figure(next_tokens.spec(readings))
    assert len({axis.domain for axis in figure.select_xaxes()}) == columns
    assert len({axis.range for axis in figure.select_xaxes()}) == 1
    titles = [each.text for each in figure.layout.annotations]
    assert len(titles) == panels
    assert titles[0] == "<b>reading 0</b><br>entropy 0.25 nats, all others 0.30"
    assert list(figure.data[0].y) == [0, 1], "tokens that look the same keep bars of their own"
    assert list(figure.layout.yaxis.ticktext) == ["a", "a"]


def test_what_rounds_to_nothing_is_still_more_than_nothing():
    figure = next_tokens.figure(next_tokens.spec({"one": (["a", "b"], [0.9, 0.0004], 0.1)}))
    assert list(figure.data[0].text) == ["0.900", "< 0.001"]


@pytest.mark.parametrize(
    ("readings", "message"),
    [
        ({}, "0 readings; give one to 4"),
        (dict.fromkeys("abcde", BEST), "5 readings"),
        ({"x": (["a"], [0.1, 0.2], 1.0)}, "'x' has 1 tokens and 2 probabilities"),
        ({"x": ([], [], 1.0)}, "'x' has 0 tokens"),
        ({"x": (["a"] * 21, [0.01] * 21, 1.0)}, "give one to 20"),
        ({"x": (["a", "b"], [0.9, 0.2], 1.0)}, "1 or less together"),
        ({"x": (["a"], [-0.1], 1.0)}, "give probabilities"),
        ({"x": (["a"], [float("nan")], 1.0)}, "give probabilities"),
        ({"x": (["a"], [0.0], 1.0)}, "give probabilities"),
        ({"x": (["a"], [0.5], -1.0)}, r"the entropy -1\.0; give nats"),
    ],
)
def test_next_tokens_refuses(readings, message):
    with pytest.raises(ValueError, match=message):
        next_tokens.spec(readings)


# attention_heads ------------------------------------------------------------------------------------------------------

PICTURE = np.full((20, 30, 3), 99, np.uint8)
BEFORE = np.zeros((2, 3, 6))
BEFORE[:, :, 4] = 0.5
AFTER = np.full((2, 3, 6), 0.1)
WEIGHTS = {"pictures": [PICTURE] * 2, "before": BEFORE, "after": AFTER, "grid": (2, 3)}


def test_maps_have_support_and_share():
    spec = attention_heads.spec(**WEIGHTS, names=["<b>", "other"])
    first, _ = spec["pictures"]
    assert first["name"] == "&lt;b&gt;"
    assert first["before"]["z"].shape == (3, 2, 3)
    assert first["before"]["z"][0, 1, 1] == 0.5
    assert first["before"]["support"] == pytest.approx([1] * 3)
    assert first["after"]["support"] == pytest.approx([6] * 3)
    assert first["after"]["share"] == pytest.approx([0.6] * 3)
    assert spec["heads"] == [1, 2, 3]


def test_a_head_that_weighs_nothing_has_no_support():
    nothing = np.zeros((1, 2, 100))
    assert attention_heads.spec([PICTURE], nothing, nothing, (10, 10))["pictures"][0]["before"]["support"] == [0, 0]


def test_one_strong_patch_does_not_end_the_colours():
    after = np.full((1, 2, 100), 0.001)
    after[0, 0, 7] = 0.9
    spec = attention_heads.spec([PICTURE], after, after, (10, 10))
    assert spec["limit"] == pytest.approx(0.001)
    assert spec["clipped"]
    assert "darkest: 0.001 or more" in attention_heads.figure(spec).data[0].colorbar.title.text
    nothing = np.zeros_like(after)
    assert attention_heads.spec([PICTURE], nothing, nothing, (10, 10))["limit"] == 1


def test_heads_stand_side_by_side_on_one_scale():
    figure = attention_heads.figure(attention_heads.spec(**WEIGHTS, heads=[2, 0], names=["<b>", "other"]))
    assert len(figure.data) == 4, "before and after of two pictures"
    assert len({(trace.zmin, trace.zmax) for trace in figure.data}) == 1
    assert [trace.showscale for trace in figure.data] == [True, False, False, False]
    first = figure.data[0]
    assert first.z.shape == (2, 2 * 4 - 1)
    assert np.isnan(first.z[:, 3]).all()
    assert len(first.x) == first.z.shape[1] + 1
    assert first.customdata[1][5].tolist() == [1, 2, 2], "head 1 second, row 2, column 2"
    texts = [each.text for each in figure.layout.annotations]
    assert {"<b>head 3</b>", "<b>head 1</b>", "<b>1.0</b> · 50 %", "<b>6.0</b> · 60 %", "before", "after"} <= set(texts)
    assert len(figure.layout.images) == 2
    assert "<extra>&lt;b&gt;, before" in first.hovertemplate


def test_eight_heads_stay_within_a_page():
    weights = np.random.default_rng(0).random((1, 8, 64)) / 64
    figure = attention_heads.figure(attention_heads.spec([PICTURE], weights, weights, (8, 8)))
    assert figure.layout.width <= 700
    said = [each.text for each in figure.layout.annotations if " %" in each.text]
    assert len(said) == 16
    assert all("<br>" in each for each in said), "a narrow map has its numbers on two lines"


def test_one_head_leaves_room_for_the_words_below():
    weights = np.ones((1, 1, 4)) / 8
    figure = attention_heads.figure(attention_heads.spec([PICTURE], weights, weights, (2, 2)))
    assert figure.layout.width > 500


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pictures": []}, "0 pictures; give one to 4"),
        ({"pictures": [PICTURE] * 5}, "5 pictures"),
        ({"pictures": [PICTURE]}, r"weights \(2, 3, 6\) and \(2, 3, 6\) of 1 pictures"),
        ({"before": BEFORE[:, :2]}, r"weights \(2, 2, 6\) and \(2, 3, 6\)"),
        ({"grid": None}, "no grid"),
        ({"grid": (2, 2)}, r"grid \(2, 2\) for 6 image tokens"),
        ({"after": -AFTER}, "below 0 or not finite"),
        ({"after": AFTER * np.nan}, "below 0 or not finite"),
        ({"names": ["one"]}, "1 names for 2 pictures"),
        ({"heads": [3]}, r"heads \[3\] of 3"),
        ({"heads": []}, r"heads \[\] of 3"),
        ({"pictures": [PICTURE, PICTURE / 255]}, "of float64; give"),
        ({"pictures": [PICTURE, PICTURE[..., 0]]}, r"picture \(20, 30\)"),
    ],
)
def test_attention_heads_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        attention_heads.spec(**{**WEIGHTS, **change})


def test_of_many_heads_those_that_look_most_are_drawn():
    nine = np.ones((1, 9, 4)) / 40
    nine[0, 2] = 0
    assert attention_heads.spec([PICTURE], nine, nine, (2, 2))["heads"] == [1, 2, 4, 5, 6, 7, 8, 9]
    assert attention_heads.spec([PICTURE], nine, nine, (2, 2), heads=[2])["heads"] == [3]
    with pytest.raises(ValueError, match="choose one to 8"):
        attention_heads.spec([PICTURE], nine, nine, (2, 2), heads=range(9))


# loss_runs ------------------------------------------------------------------------------------------------------------


def test_the_first_step_is_that_of_the_mean_not_of_one_loss():
    losses = [1.0] * 10 + [0.0] * 10
    (run,) = loss_runs.spec({"<b>long": losses}, below=0.5, window=4)["runs"]
    assert run["name"] == "&lt;b&gt;long"
    assert run["first"] == 13, "three of the last four are nothing then"
    assert run["y"][run["x"].index(13)] == pytest.approx(0.25)
    assert (run["x"][0], run["x"][-1], run["n"]) == (4, 20, 20)


@given(st.lists(st.floats(0, 5), min_size=5, max_size=60), st.floats(0.01, 4))
def test_first_agrees_with_looking_at_every_step(losses, below):
    (run,) = loss_runs.spec({"a": losses}, below=below, window=5)["runs"]
    means = loss_runs.running_mean(losses, 5)
    under = [step for step, mean in enumerate(means, 5) if mean < below]
    assert run["first"] == (under[0] if under else None)
    assert means[-1] == pytest.approx(np.mean(losses[-5:]))


def test_a_long_run_is_thinned_but_its_first_step_stays():
    losses = np.exp(-np.arange(5000) / 1000)
    spec = loss_runs.spec({"a": losses, "b": [log(64)] * 30})
    assert json.loads(json.dumps(spec)) == spec
    run, other = spec["runs"]
    assert len(run["x"]) <= 401
    assert run["first"] in run["x"]
    assert other["first"] is None


def test_the_legend_says_when():
    figure = loss_runs.figure(loss_runs.spec({"long": [e] * 20 + [0.01] * 40, "short": [1.0] * 60}))
    assert named(figure) == ["long: first under 0.05 at step 40", "short: not under 0.05 in 60 steps"]
    assert figure.layout.yaxis.type == "log"
    assert figure.layout.shapes[0].y0 == 0.05
    assert figure.layout.annotations[0].y == pytest.approx(np.log10(0.05)), "a logarithmic axis takes exponents here"
    (sign,) = (trace for trace in figure.data if trace.mode == "markers")
    assert sign.x == (40,)
    assert len({trace.line.dash for trace in figure.data if trace.mode == "lines"}) == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"runs": {}}, "0 runs; give one to 6"),
        ({"runs": dict.fromkeys("abcdefg", [1.0] * 20)}, "7 runs"),
        ({"runs": {"a": [1.0] * 19}}, r"'a' has losses of shape \(19,\).*window=20"),
        ({"runs": {"a": [1.0] * 20}, "window": 0}, "window=0"),
        ({"runs": {"a": [float("nan")] * 20}}, "'a' holds losses below 0"),
        ({"runs": {"a": [-1.0] * 20}}, "'a' holds losses below 0"),
        ({"runs": {"a": [1.0] * 20}, "below": 0}, "below=0; give a loss above 0"),
    ],
)
def test_loss_runs_refuses(given, message):
    with pytest.raises(ValueError, match=message):
        loss_runs.spec(**given)
