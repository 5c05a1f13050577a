"""A run's choices: the paper's values, Table 2's rows, and what is refused at the door."""

import json
from dataclasses import fields, replace

import pytest

from workbench.fine_tuning import SETTINGS, FineTuneConfig
from workbench.fine_tuning.published import COMPONENTS


def test_values_are_the_papers():
    config = FineTuneConfig()
    assert (config.global_weight, config.local_weight, config.gamma, config.smoothing) == (0.5, 0.2, 2.0, 0.02)
    assert (config.k, config.batch_size, config.epochs, config.learning_rate) == (3, 256, 5, 5e-6)
    assert (config.weight_decay, config.warmup, config.rank, config.alpha) == (0.1, 50, 4, 1.0)
    assert (config.loss, config.normalizer, config.parts) == ("fsc", "minmax", "full")


@pytest.mark.parametrize("row", COMPONENTS)
def test_settings_are_the_rows_of_table_2(row):
    setting, paper = SETTINGS[str(row)], COMPONENTS[row]
    assert (setting.global_weight > 0) == paper.global_loss
    assert (setting.local_weight > 0) == setting.local == paper.local_loss
    assert (setting.gamma > 0) == paper.focal
    assert (setting.smoothing > 0) == paper.smoothing
    varied = {"global_weight", "local_weight", "gamma", "smoothing"}
    own = FineTuneConfig()
    assert all(
        getattr(setting, each.name) == getattr(own, each.name) for each in fields(own) if each.name not in varied
    )


def test_negatives_and_local_scores_only_where_the_loss_takes_them():
    assert (FineTuneConfig(loss="clip").negatives, FineTuneConfig(loss="clip").local) == (0, False)
    assert (FineTuneConfig(loss="negclip", k=2).negatives, FineTuneConfig(loss="negclip").local) == (2, False)
    assert FineTuneConfig(loss="clip", k=0).negatives == 0


def test_json_there_and_back():
    config = FineTuneConfig(operators=("negate", "swap_nouns"), micro_batch=8, steps=70, parts="lora")
    assert FineTuneConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"loss": "siglip"}, "loss='siglip'; choose one of clip, negclip, fsc"),
        ({"parts": "head"}, "parts='head'; choose one of full, lora, image, text"),
        ({"precision": "float16"}, "precision='float16'; choose one of float32, bfloat16"),
        ({"normalizer": "max"}, "normalizer='max'; choose one of minmax, sparse, softmax"),
        ({"missing": "drop"}, "missing='drop'; choose one of mask, zero"),
        ({"batch_size": 1}, "batch_size=1; give a whole number from 2 on: one pair has nothing to be told from"),
        ({"batch_size": True}, "batch_size=True"),
        ({"batch_size": 8.0}, "batch_size=8.0"),
        ({"micro_batch": 0}, "micro_batch=0; give a whole number from 1 on"),
        ({"steps": 0}, "steps=0"),
        ({"epochs": 0}, "epochs=0"),
        ({"epochs": None}, "epochs=None"),
        ({"warmup": -1}, "warmup=-1; give a whole number from 0 on"),
        ({"seed": -1}, "seed=-1"),
        ({"every": 0}, "every=0"),
        ({"rank": 0}, "rank=0"),
        ({"k": 0}, "k=0 negatives for loss='fsc'; give 1 or more, or loss='clip' for none"),
        ({"loss": "negclip", "k": 0}, "k=0 negatives for loss='negclip'"),
        ({"k": 1.5}, "k=1.5 negatives"),
        ({"learning_rate": 0.0}, "learning_rate=0.0; give a number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"learning_rate": "1e-5"}, "learning_rate='1e-5'"),
        ({"alpha": float("inf")}, "alpha=inf"),
        ({"global_weight": -0.5}, "global_weight=-0.5; give 0 or more"),
        ({"local_weight": float("nan")}, "local_weight=nan"),
        ({"local_weight": None}, "local_weight=None"),
        ({"gamma": -1}, "gamma=-1"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1"),
        ({"smoothing": 1.0}, "smoothing=1.0; give a share below 1"),
        ({"global_weight": 0, "local_weight": 0}, "are both 0; give one above 0, or loss='clip'"),
        ({"operators": ("swap",)}, "there is no operator 'swap'"),
        ({"operators": "negate"}, "operators='negate'; give a tuple of names"),
    ],
)
def test_bad_choices_are_refused(changed, said):
    with pytest.raises((ValueError, TypeError), match=said):
        replace(FineTuneConfig(), **changed)
