"""The alignment probe finds pairs where there is something to find, says chance where there is nothing, and repeats itself."""

import numpy as np
import pytest
import torch

from workbench.alignability import (
    Layers,
    Training,
    alignment_score,
    fit,
    in_folds,
    joined,
    measured,
    published,
    recall_of,
)
from workbench.heads import Identity
from workbench.models.paired import AlignmentHead

QUICK = Training(width=16, steps=60, batch_size=64, learning_rate=3e-3)


@pytest.fixture(scope="module")
def pairs():
    """Six things that both towers see, each in its own basis and among noise."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    shared = draw(240, 6)
    return shared @ draw(6, 24) + 0.1 * draw(240, 24), shared @ draw(6, 18) + 0.1 * draw(240, 18)


def score(image, text, **options):
    options = {"seeds": (0, 1), "k": 5, "training": QUICK, **options}
    return alignment_score(image, text, range(160), range(160, 240), **options)


def test_shared_things_are_found_and_noise_is_not(pairs):
    found, noise = score(*pairs), score(pairs[0], torch.randn(240, 18, generator=torch.Generator().manual_seed(1)))
    assert found.score.mean > 0.8
    assert found.chance == noise.chance == 5 / 80
    assert noise.score.low < noise.chance + 0.05
    assert noise.score.mean < 0.25


def test_the_score_is_the_mean_of_both_directions_over_seeds_and_pairs(pairs):
    found = score(*pairs)
    assert found.hits.shape == (2, 2, 80)
    assert found.score.mean == pytest.approx(found.hits.mean())
    assert np.mean(found.by_seed) == pytest.approx(np.mean(found.by_direction)) == pytest.approx(found.score.mean)
    assert found.score.low <= found.score.mean <= found.score.high
    assert (found.n, found.gallery, found.n_train) == (80, 80, 160)
    assert "R@5" in str(found)
    assert found.spread == pytest.approx(np.std(found.by_seed, ddof=1))
    alone = score(*pairs, seeds=(0,))
    assert alone.spread == 0
    assert alone.table().rows[0][3] == "–", "one start says nothing of others"
    assert found.table().rows[0][3] == f"{100 * found.spread:.2f}"


def test_any_head_is_judged_as_the_probes_layers_are(pairs):
    image, text = pairs
    short = Training(width=16, steps=6, batch_size=64)
    heads = [fit(image[:160], text[:160], short, seed) for seed in (0, 1)]
    found = recall_of(heads, image[160:], text[160:], k=5, n_train=160)
    assert not np.array_equal(found.hits[0], found.hits[1])
    near = score(*pairs, training=short).hits  # those are trained on features divided by one number
    assert (found.hits == near).mean() > 0.95
    assert recall_of(heads[:1], image[160:], text[160:], k=5).hits.shape == (1, 2, 80)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_head_is_judged_as_it_was_loaded(pairs, dtype):
    """A shipped model may lie on a GPU or in half precision; features come as float32 of the CPU."""
    image, text = (each[160:] for each in pairs)
    head = fit(*(each[:160] for each in pairs), Training(width=16, steps=6, batch_size=64))
    found = recall_of([head], image, text, k=5).hits
    assert (recall_of([head.to(dtype)], image, text, k=5).hits == found).mean() > 0.95
    assert head.image.weight.dtype == dtype


def test_a_head_without_parameters_is_judged_too():
    """Training-free heads, and towers whose own spaces already meet."""
    same = torch.eye(12)
    head = AlignmentHead(Identity(12), Identity(12))
    assert recall_of([head], same, same, k=1).score.mean == 1


@pytest.mark.parametrize(("heads", "rows", "texts"), [(0, 80, 80), (1, 80, 79), (1, 5, 5)])
def test_heads_need_pairs_to_be_judged_on(pairs, heads, rows, texts):
    layers = [Layers(24, 18, QUICK)] * heads
    with pytest.raises(
        ValueError, match=f"{heads} heads, {rows} images and {texts} texts; give a head or more and 6 pairs"
    ):
        recall_of(layers, pairs[0][:rows], pairs[1][:texts], k=5)


def test_what_is_left_out_is_never_trained_on(pairs):
    """Pairs that belong to nobody in the test alone: no layer can find them."""
    image, text = (each.clone() for each in pairs)
    text[160:] = text[160:][torch.randperm(80, generator=torch.Generator().manual_seed(2))]
    assert score(image, text).score.mean < 0.25


def test_the_same_call_gives_the_same_score_and_leaves_randomness_alone(pairs):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    short = Training(width=16, steps=6, batch_size=64)  # far from done, so that seeds differ
    one, again = (score(*pairs, training=short) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(one.hits, again.hits)
    assert not np.array_equal(one.hits[0], one.hits[1])


def test_the_unit_of_features_does_not_matter(pairs):
    """LayerNorm's eps is absolute: without a common size features of 1e-4 would hardly be read."""
    small = score(pairs[0] * 2.0**-14, pairs[1] * 2.0**10)
    assert np.array_equal(small.hits, score(*pairs).hits)


def test_layers_begin_as_sails_do():
    layers = Layers(8, 6, Training(width=4))
    assert layers.theta.item() == pytest.approx(np.log(20))
    assert layers.bias.item() == -10
    assert isinstance(layers.image.norm, torch.nn.LayerNorm)
    assert sum(each.numel() for each in layers.parameters()) == 2 * 8 + 8 * 4 + 4 + 2 * 6 + 6 * 4 + 4 + 2


def test_training_lowers_the_loss(pairs):
    torch.manual_seed(0)
    fresh = Layers(24, 18, QUICK)
    with torch.no_grad():
        assert fit(*pairs, QUICK).loss(*pairs) < fresh.loss(*pairs) / 2


def test_folds_test_every_pair_once(pairs):
    folds = np.arange(240) % 3
    found = in_folds(lambda *rows: alignment_score(*pairs, *rows, seeds=(0, 1), k=5, training=QUICK), folds)
    assert (found.n, found.gallery, found.n_train) == (240, 80, 160)
    assert found.chance == pytest.approx(5 / 80)
    assert found.score.mean > 0.7
    with pytest.raises(ValueError, match="give two or more"):
        in_folds(None, [1, 1, 1])
    with pytest.raises(ValueError, match="2 scores of different k"):
        joined([found, score(*pairs, k=4)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i, t: (i[:-1], t, range(100), range(100, 200)), "239 images and 240 texts"),
        (lambda i, t: (i[0], t, range(100), range(100, 200)), r"image of shape \(24,\)"),
        (lambda i, t: (i, t * float("nan"), range(100), range(100, 200)), "text holds NaN"),
        (lambda i, t: (i * 0, t, range(100), range(100, 200)), "image is 0 in all rows"),
        (lambda i, t: (i, t, range(101), range(100, 200)), "a row is named twice"),
        (lambda i, t: (i, t, range(100), range(200, 241)), "rows 0 to 240 of 240 pairs"),
        (lambda i, t: (i, t, range(1), range(100, 200)), "1 pairs to train on and 100"),
        (lambda i, t: (i, t, [], range(100, 200)), "0 pairs to train on and 100"),
        (lambda i, t: (i, t, range(100), range(100, 110)), "100 pairs to train on and 10 to test on; .* 11 or more"),
        (lambda i, t: (i, t, [True] * 240, range(100, 110)), "are lists of row numbers"),
    ],
)
def test_refusals(pairs, change, message):
    with pytest.raises(ValueError, match=message):
        alignment_score(*change(*pairs), k=10)


def test_no_seed_is_refused(pairs):
    with pytest.raises(ValueError, match="no seeds"):
        score(*pairs, seeds=())


def test_constant_features_earn_nothing(pairs):
    """All pictures at one place: every rival ties, and ties count against the tower."""
    assert score(torch.ones(240, 24) + torch.arange(24), pairs[1]).by_direction[1] == 0


# Published and stored points ---------------------------------------------------------------------------------------------


def test_sails_points_give_sails_correlations():
    """Printed: 0.991, 0.847 and 0.994; what is read off a plot comes within its ±0.5 points of that."""
    vision, language = published(), published("language")
    r = {probe: found.r for probe, found in vision.r["Pearson"].items()}
    assert r == {"k-NN": pytest.approx(0.9905, abs=1e-3), "linear probe": pytest.approx(0.836, abs=1e-3)}
    assert language.r["Pearson"]["MTEB"].r == pytest.approx(0.993, abs=1e-3)
    assert (len(vision.names), len(language.names)) == (13, 5)
    spearman = [found.r for found in vision.r["Spearman"].values()]
    assert spearman == pytest.approx([0.978, 0.918], abs=2e-3)


def test_sails_intervals_overlap_but_the_paired_difference_is_clear_of_zero():
    vision = published()
    knn, linear = vision.r["Pearson"].values()
    assert (knn.low, knn.high) == pytest.approx((0.946, 0.998), abs=0.005)
    assert (linear.low, linear.high) == pytest.approx((0.66, 0.96), abs=0.02)
    assert linear.high > knn.low
    assert vision.gap["Pearson"]["linear probe"].low > 0
    assert vision.gap["Spearman"]["linear probe"].low < 0


def test_the_contrast_leans_on_the_three_mae_points():
    vision = published()
    without = {probe: found["MAE"].r for probe, found in vision.without["Pearson"].items()}
    assert without == {"k-NN": pytest.approx(0.913, abs=1e-3), "linear probe": pytest.approx(0.868, abs=2e-3)}
    ranks = [found["MAE"].r for found in vision.without["Spearman"].values()]
    assert ranks == pytest.approx([0.952, 0.879], abs=5e-3)
    clear = {family: found.low > 0 for family, found in vision.gap_without["Pearson"]["linear probe"].items()}
    assert clear == {"MAE": False, "DINO": True, "I-JEPA": True, "AIM": True, "iBOT": True, "DINOv2": True}


def test_a_family_that_leaves_two_points_is_said_to():
    language = published("language")
    assert set(language.without["Pearson"]["MTEB"]) == {"GTE-Qwen2", "NV-Embed"}
    assert "too few left" in language.left_out().text()


def test_points_are_fractions_of_towers_that_have_a_family():
    for found in (published(), published("language")):
        assert ((found.alignment > 0) & (found.alignment < 1)).all()
        assert all(found.families)
    with pytest.raises(ValueError, match="no published 'audio'"):
        published("audio")


ROWS = {
    "choice": {},
    **{
        f"scenes: tower {k}, last": {
            "family": "ab"[k % 2],
            "alignment": {"mean": 0.1 * k, "low": 0.1 * k - 0.05, "high": 0.1 * k + 0.05, "n": 9},
            "probes": {
                by: {
                    "knn": {"mean": 0.1 * k**2},
                    "linear": {"mean": 0.5 - 0.1 * k},
                    "silhouette": 0.1 * (k % 3),
                    "agreement": 0.2 * k,
                }
                for by in ("object", "shape")
            },
        }
        for k in range(1, 7)
    },
}


def test_stored_rows_become_points():
    found = measured("scenes", "shape", stored=ROWS)
    assert found.names[0] == "tower 1, last"
    assert found.intervals[0] == pytest.approx((0.05, 0.15))
    assert found.r["Pearson"]["agreement of k-means"].r == pytest.approx(1)
    assert found.r["Spearman"]["linear probe"].r == pytest.approx(-1)
    assert list(found.without["Pearson"]["k-NN"]) == ["b", "a"]
    with pytest.raises(ValueError, match="no labels 'size' on scenes; there are object, shape"):
        measured("scenes", "size", stored=ROWS)
    with pytest.raises(ValueError, match="no measured pairs 'coco'; there are scenes"):
        measured("coco", stored=ROWS)
