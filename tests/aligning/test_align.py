"""Training heads on cached embeddings: it learns, resumes to the same bits, stops when it should."""

import json
import math
import signal

import numpy as np
import pytest
import torch

from workbench.aligning import AlignConfig, Pairs, align, fit, plan_alignment
from workbench.aligning.fit import BEST, HISTORY, _batch, mean_recall
from workbench.heads import GatedHead, LinearHead, MLPHead
from workbench.memory.prediction import peak_bytes

SMALL = {"d": 16, "batch_size": 32, "steps": 40, "learning_rate": 1e-2, "optimiser": "adamw", "every": 10, "width": 2}


def pairs(n=120, seed=0, captions=1, noise=0.3):
    """Two linear views of the same hidden numbers."""
    rng = np.random.default_rng(7)
    A, B = rng.standard_normal((8, 12)), rng.standard_normal((8, 10))
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal((n, 8))
    seen = lambda view: (hidden @ view + noise * rng.standard_normal((n, view.shape[1]))).astype(np.float32)  # noqa: E731
    return Pairs(seen(A), tuple(seen(B) for _ in range(captions)), tuple(f"{seed}/{k}" for k in range(n)))


def weights(found):
    return {key: value.clone() for key, value in found.head.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("loss", ["sigmoid", "infonce"])
@pytest.mark.parametrize("head", ["linear", "mlp", "gated"])
def test_it_learns(head, loss):
    config = AlignConfig(**{**SMALL, "head": head, "loss": loss, "steps": 80})
    held = pairs(60, seed=1)
    torch.manual_seed(config.seed)
    before = mean_recall(config.build(12, 10), held)
    found = align(pairs(), config, validation=held)
    assert type(found.head.image) is {"linear": LinearHead, "mlp": MLPHead, "gated": GatedHead}[head]
    assert dict(found.recalls)[found.best_step] == max(recall for _, recall in found.recalls)
    assert mean_recall(found.head, held) == max(recall for _, recall in found.recalls)
    assert mean_recall(found.head, held) > before + 0.3
    assert (found.head.logit_bias is None) == (loss == "infonce")


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    one, again = (align(pairs(), AlignConfig(**SMALL)) for _ in range(2))
    other = align(pairs(), AlignConfig(**{**SMALL, "seed": 1}))
    assert same(weights(one), weights(again))
    assert one.losses == again.losses
    assert not same(weights(one), weights(other))


@pytest.mark.parametrize("optimiser", ["adamw", "lion"])
def test_ctrl_c_loses_nothing(tmp_path, optimiser):
    held, config, told = pairs(60, seed=1), AlignConfig(**{**SMALL, "optimiser": optimiser}), []
    whole = align(pairs(), config, validation=held)

    def stop_at_20(step, losses, recall):
        if step == 20:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="stopped after step 20 of 40"):
        align(pairs(), config, validation=held, folder=tmp_path, on_validation=stop_at_20)
    tell = lambda step, losses, recall: told.append((step, len(losses)))  # noqa: E731
    resumed = align(pairs(), config, validation=held, folder=tmp_path, on_validation=tell)
    assert told == [(30, 30), (40, 40)], "a live curve begins where the run began"
    assert same(weights(whole), weights(resumed))
    assert whole.losses == resumed.losses
    assert whole.recalls == resumed.recalls
    again = align(pairs(), config, validation=held, folder=tmp_path)
    assert same(weights(whole), weights(again))


def test_early_stop_keeps_the_best_head_and_a_later_call_adds_nothing(tmp_path):
    """A loss that learns noise: validation gets no better after a while."""
    config = AlignConfig(**{**SMALL, "steps": 400, "patience": 2, "learning_rate": 0.05})
    noise = pairs(seed=5, noise=6.0)
    found = align(noise, config, validation=pairs(60, seed=6, noise=6.0), folder=tmp_path)
    assert len(found.losses) < 400
    later = [step for step, _ in found.recalls if step > found.best_step]
    assert len(later) == 2
    again = align(noise, config, validation=pairs(60, seed=6, noise=6.0), folder=tmp_path)
    assert again.losses == found.losses
    assert same(weights(found), weights(again))


def test_another_configuration_is_refused_with_the_difference(tmp_path):
    align(pairs(), AlignConfig(**SMALL), folder=tmp_path)
    with pytest.raises(ValueError, match=r"learning_rate 0\.01 there, 0\.02 here"):
        align(pairs(), AlignConfig(**{**SMALL, "learning_rate": 0.02}), folder=tmp_path)
    with pytest.raises(ValueError, match=r"is of another run \(data"):
        align(pairs(seed=3), AlignConfig(**SMALL), folder=tmp_path)


def test_other_validation_pairs_are_another_run(tmp_path):
    """Recalls on two sets cannot be compared, so which head is best could not be said."""
    config, held = AlignConfig(**SMALL), pairs(60, seed=1)
    align(pairs(), config, validation=held, folder=tmp_path)
    for other in (pairs(60, seed=2), held[np.arange(59)], None):
        with pytest.raises(ValueError, match=r"is of another run \(validation '60, \w+' there"):
            align(pairs(), config, validation=other, folder=tmp_path)


def test_the_last_head_is_validated_wherever_the_run_ends():
    held = pairs(60, seed=1)
    for fields, steps in (({"steps": 25}, [10, 20, 25]), ({"every": 100}, [40]), ({}, [10, 20, 30, 40])):
        found = align(pairs(), AlignConfig(**{**SMALL, **fields}), validation=held)
        assert [step for step, _ in found.recalls] == steps
        assert mean_recall(found.head, held) == dict(found.recalls)[found.best_step]


def test_recall_in_blocks_of_rows_is_the_recall(monkeypatch):
    head = align(pairs(), AlignConfig(**SMALL)).head
    whole = mean_recall(head, pairs(70, seed=1), most=60)
    monkeypatch.setattr(fit, "_ROWS", 7)
    assert mean_recall(head, pairs(70, seed=1), most=60) == whole


def test_a_recall_as_good_as_the_best_is_no_step_back():
    """Eight pairs: all of them are among the first ten, always."""
    few = pairs(8, seed=1)
    found = align(pairs(), AlignConfig(**SMALL), validation=few)
    assert {recall for _, recall in found.recalls} == {1.0}
    assert found.best_step == len(found.losses) == 40


def test_half_precision_pairs_with_two_captions_and_one_for_validation():
    full, held = pairs(captions=2), pairs(60, seed=1)
    half = Pairs(full.images.astype(np.float16), tuple(each.astype(np.float16) for each in full.texts), full.ids)
    found = align(half, AlignConfig(**{**SMALL, "captions": 2}), validation=held)
    assert mean_recall(found.head, held) > 0.4
    assert all(p.dtype == torch.float32 for p in found.head.parameters())


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    from pathlib import Path

    held, config = pairs(60, seed=1), AlignConfig(**SMALL)
    write = Path.write_bytes

    def full(path, content):
        if path.name.startswith("checkpoint") and full.armed:
            write(path, content[:100])
            raise OSError(28, "No space left on device")
        return write(path, content)

    full.armed = False
    monkeypatch.setattr(Path, "write_bytes", full)

    def arm(step, losses, recall):
        full.armed = step >= 20

    with pytest.raises(OSError, match="No space left"):
        align(pairs(), config, validation=held, folder=tmp_path, on_validation=arm)
    full.armed = False
    resumed = align(pairs(), config, validation=held, folder=tmp_path)
    assert same(weights(resumed), weights(align(pairs(), config, validation=held)))


def test_two_captions_teach_both():
    both = pairs(captions=2)
    one = align(both, AlignConfig(**SMALL))
    two = align(both, AlignConfig(**{**SMALL, "captions": 2}))
    assert not same(weights(one), weights(two))
    with pytest.raises(ValueError, match="captions=2, but the pairs have 1 caption sets"):
        align(pairs(), AlignConfig(**{**SMALL, "captions": 2}))


def test_an_epoch_shows_every_row_once_and_batches_differ_by_seed():
    rows = np.concatenate([_batch(96, 32, step, 0) for step in range(3)])
    assert sorted(rows) == list(range(96))
    assert not np.array_equal(_batch(96, 32, 0, 0), _batch(96, 32, 3, 0))
    assert not np.array_equal(_batch(96, 32, 0, 0), _batch(96, 32, 0, 1))
    assert sorted(_batch(10, 10, 4, 0)) == list(range(10))


def test_scale_stays_within_its_bounds():
    config = AlignConfig(**{**SMALL, "logit_scale": 99.0, "learning_rate": 0.5, "loss": "infonce"})
    assert 1 <= align(pairs(), config).head.log_scale.detach().exp() <= 100 + 1e-4


def test_live_curves_are_told():
    told = []
    tell = lambda step, losses, recall: told.append((step, len(losses), recall))  # noqa: E731
    found = align(pairs(), AlignConfig(**SMALL), validation=pairs(40, seed=1), on_validation=tell)
    assert [(step, count) for step, count, _ in told] == [(10, 10), (20, 20), (30, 30), (40, 40)]
    assert [(step, recall) for step, _, recall in told] == list(found.recalls)


def test_files_beside_the_checkpoint(tmp_path):
    align(pairs(), AlignConfig(**SMALL), validation=pairs(40, seed=1), folder=tmp_path)
    assert {each.name for each in tmp_path.iterdir()} == {"checkpoint.safetensors", BEST, HISTORY}
    assert len(json.loads((tmp_path / HISTORY).read_text())["recalls"]) == 4


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("head", "glu"),
        ("loss", "nce"),
        ("reduction", "mean"),
        ("multi_positive", "both"),
        ("captions", 3),
        ("batch_size", 0),
        ("steps", 1.5),
        ("learning_rate", 0.0),
        ("learning_rate", "1e-5"),
        ("weight_decay", -1.0),
        ("weight_decay", math.nan),
        ("batch_size", 1),
        ("captions", True),
        ("captions", 1.0),
        ("logit_scale", 0.5),
        ("logit_scale", 101),
        ("logit_bias", None),
        ("logit_bias", math.inf),
        ("seed", -1),
        ("warmup", 1.5),
        ("patience", "3"),
        ("patience", 0),
        ("layer_norm", "no"),
    ],
)
def test_bad_configurations(field, value):
    with pytest.raises(ValueError, match=f"{field}={value!r}; (give|choose)"):
        AlignConfig(**{**SMALL, field: value})


def test_a_configuration_file_says_which_field_is_unknown():
    assert AlignConfig.from_json({"d": 3}) == AlignConfig(d=3)
    with pytest.raises(ValueError, match="no field 'lr'"):
        AlignConfig.from_json({"lr": 1})


def test_validation_must_be_other_pictures_of_the_same_model():
    with pytest.raises(ValueError, match="picture '0/0' is in the training and in the validation pairs"):
        align(pairs(), AlignConfig(**SMALL), validation=pairs(40))
    with pytest.raises(ValueError, match="patience=2 needs validation pairs"):
        align(pairs(), AlignConfig(**SMALL, patience=2))
    with pytest.raises(ValueError, match="patience=2 on 10 validation pairs, whose R@10 is always 100 percent"):
        align(pairs(), AlignConfig(**SMALL, patience=2), validation=pairs(10, seed=1))
    held = pairs(60, seed=1)
    held.images[5, 0] = np.nan
    with pytest.raises(ValueError, match="images, row 5, holds NaN"):
        align(pairs(), AlignConfig(**SMALL), validation=held)


def test_the_plan_of_the_dossiers_trap():
    """23 M pairs, widths 2,048 and 4,096, two caption sets in half precision: 471 GB as lists in memory."""
    plan = plan_alignment(23_000_000, 2048, 4096, AlignConfig(captions=2))
    assert plan.embeddings == pytest.approx(471e9, rel=0.01)
    assert plan.parameters == pytest.approx(386.0e6, rel=0.001)
    assert plan.step < plan.embeddings / 5
    assert "memory-mapped" in str(plan)


@pytest.mark.parametrize(
    "fields",
    [
        {"head": "gated", "width": 8},
        {"head": "mlp", "optimiser": "lion", "learning_rate": 1e-4},
        {"head": "linear", "loss": "infonce"},
        {"head": "gated", "captions": 2},
    ],
)
def test_the_plan_is_what_a_step_holds(fields):
    config = AlignConfig(**{**SMALL, "d": 64, "batch_size": 2000, "steps": 2, **fields})
    data = pairs(2000, captions=2)
    measured = peak_bytes(lambda: align(data, config))
    assert 0.95 < measured / plan_alignment(2000, 12, 10, config).step < 1.15
