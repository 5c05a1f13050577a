"""What was read, by entropy and for plots, and whether openness goes with retrieval, by hand."""

import pytest

from workbench.discriminative.readings import (
    PromptReading,
    PromptReadings,
    SideReading,
    entropy_against_retrieval,
    information_against_retrieval,
    stored_prompts,
    stored_tasks,
)
from workbench.evaluation.statistics import Interval
from workbench.plots import entropy_recall, explained_variance, next_tokens, prompt_entropy


def around(mean: float) -> Interval:
    return Interval(mean, mean - 0.01, mean + 0.01, 20)


def side(entropy: float, recall: float, rank: float) -> SideReading:
    return SideReading(
        around(entropy), 10 - entropy, ("red", "star"), (0.6, 0.2), around(recall), rank, (0.5, 0.9, 1.0)
    )


def readings(entropies, to_text, to_picture, ranks) -> PromptReadings:
    rows = {
        f"prompt {i}": PromptReading(side(h + 0.1, a, rank), side(h - 0.1, b, rank + 1), around(h))
        for i, (h, a, b, rank) in enumerate(zip(entropies, to_text, to_picture, ranks, strict=True))
    }
    return PromptReadings("tiny", rows, 20, 0.05)


FOUR = readings([1.0, 3.0, 2.0, 4.0], [0.1, 0.3, 0.2, 0.4], [0.4, 0.2, 0.3, 0.1], [2.0, 4.0, 6.0, 5.0])


def test_prompts_stand_by_rising_entropy():
    assert FOUR.by_entropy() == ["prompt 0", "prompt 2", "prompt 1", "prompt 3"]
    table = FOUR.table()
    assert [row[0] for row in table.rows] == FOUR.by_entropy()
    first = table.rows[0]
    assert first[1:3] == ("1.100 [1.090, 1.110]", "0.900 [0.890, 0.910]")
    assert first[3:] == ("9.00", "10.00 [9.00, 11.00]", "40.00 [39.00, 41.00]", "2.0", "3.0")
    assert "n = 20" in table.caption
    assert "chance 5.0" in table.caption


def test_some_of_them_in_an_order_of_ones_own():
    some = FOUR.only(["prompt 3", "prompt 1"])
    assert list(some.rows) == ["prompt 3", "prompt 1"]
    assert (some.model, some.n, some.chance) == (FOUR.model, FOUR.n, FOUR.chance)
    with pytest.raises(ValueError, match="no prompt 'prompt 9'; there are prompt 0, "):
        FOUR.only(["prompt 9"])


def test_plots_take_what_the_readings_give():
    names = list(FOUR.rows)
    entropies = prompt_entropy.spec(names, FOUR.entropies())
    assert [line["name"] for line in entropies["lines"]] == ["pictures", "captions"]
    assert entropies["lines"][0]["points"][0]["mean"] == pytest.approx(1.1)
    against = entropy_recall.spec(names, FOUR.mean_entropies(), FOUR.recalls(), chance=FOUR.chance)
    assert [way["r"]["mean"] for way in against["ways"]] == pytest.approx([1, -1])
    curves = explained_variance.spec(FOUR.curves())
    assert curves["panels"][1]["lines"][0]["rank"] == 3
    words = next_tokens.spec({"one": FOUR.rows["prompt 0"].pictures.next_words})
    assert words["panels"][0]["tokens"] == ["red", "star"]
    assert words["panels"][0]["entropy"] == pytest.approx(1.1)


def test_correlations_are_of_ranks_over_prompts():
    found = entropy_against_retrieval(FOUR)
    assert found.over_prompts["R@1, picture → text"].r == pytest.approx(1)
    assert found.over_prompts["R@1, text → picture"].r == pytest.approx(-1)
    # Ranks 1 3 2 4 of entropy and 1 2 4 3 of rank: 1 - 6 · (0 + 1 + 4 + 1) / (4 · 15)
    rank = found.over_prompts["effective rank"]
    assert rank.r == pytest.approx(0.4)
    assert rank.low <= rank.r <= rank.high
    assert rank.n == 4
    assert found.grouped is None
    assert "0.400 [" in str(found)


def test_information_is_correlated_in_its_place():
    found = information_against_retrieval(FOUR)  # of `side`: the less the more entropy
    assert found.over_prompts["R@1, picture → text"].r == pytest.approx(-1)
    assert "information and" in str(found)


def test_stored_wordings_about_one_noun():
    some = stored_prompts("picture")
    assert len(some.rows) == len(stored_tasks("picture")) == 34 + 2
    assert not any("image" in name for name in some.rows)
    assert {"E5-V", "CAFe", "describe the picture"} <= set(some.rows)
    assert set(some.rows) | set(stored_prompts("image").rows) == set(stored_prompts().rows)
    with pytest.raises(ValueError, match="about='photo'; choose one of picture, image"):
        stored_prompts("photo")


def test_prompts_of_one_task_are_drawn_together():
    """Two tasks far apart: over prompts certain, over tasks anything."""
    low, high = [0.1, 0.2, 0.3, 0.4], [1.1, 1.2, 1.3, 1.4]
    falling = [0.4, 0.3, 0.2, 0.1], [0.9, 0.8, 0.7, 0.6]
    twice = readings([*low, *high], [*falling[0], *falling[1]], [*low, *high][::-1], [2, 3, 1, 4, 6, 8, 7, 9])
    found = entropy_against_retrieval(twice, groups=["low"] * 4 + ["high"] * 4)
    name = "R@1, picture → text"
    assert found.grouped[name].r == found.over_prompts[name].r > 0
    assert found.grouped[name].low == pytest.approx(-1), "of one task alone the correlation turns round"
    assert found.over_prompts[name].low > found.grouped[name].low
    assert "over 2 groups" in str(found)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="n ≥ 3"):
        entropy_against_retrieval(FOUR.only(["prompt 0", "prompt 1"]))
    with pytest.raises(ValueError, match="the same everywhere"):
        entropy_against_retrieval(readings([1, 2, 3], [0.1] * 3, [0.1, 0.2, 0.3], [1, 2, 3]))
    with pytest.raises(ValueError, match="give one for each"):
        entropy_against_retrieval(FOUR, groups=["a", "b"])
