"""Every readout against what it says of itself, in numpy; what they are fitted on; and tables of paired differences."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from workbench.data.planted import planted
from workbench.evaluation import label_precisions
from workbench.evaluation.statistics import paired_difference
from workbench.features import Projector
from workbench.spectral import (
    ReadoutSummary,
    ReadoutTable,
    band_variants,
    compare_readouts,
    decompose,
    pooled,
    readouts,
    stacked,
)

D, D_I, D_T = 16, 24, 20
BAND = (3, 4)


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=["image", "text"])
def case(request):
    """Projectors with biases, a set to fit on, one to read, and what is projected of both: ordinary numpy from here on."""
    image, text = Projector(drawn(D, D_I), drawn(D, seed=1)), Projector(drawn(D, D_T, seed=2), drawn(D, seed=3))
    own, width = (image, D_I) if request.param == "image" else (text, D_T)
    fit, pre, anchors = drawn(90, width, seed=4) + 0.5, drawn(40, width, seed=5) + 0.5, drawn(50, D, seed=6)
    spectrum = decompose(image, text, rank="numerical")
    found = readouts(spectrum, fit, {"a band": BAND}, modality=request.param, anchors=anchors, seeds=3)
    W = torch.cat([own.weight, own.bias[:, None]], 1).numpy()
    basis = spectrum.of(request.param)[1].numpy()
    return {each.name: each for each in found}, W, basis, *(each.numpy() for each in (fit, pre, anchors))


def longer(pre):
    return np.concatenate([pre, np.ones((len(pre), 1))], 1)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def same_cosines(found, expected, within=1e-9):
    """Whether two embeddings say the same of every pair: that is all a readout is used for."""
    found, expected = unit(found.double().numpy()), unit(expected)
    return np.abs(found @ found.T - expected @ expected.T).max() < within


def read(readout, pre, seed=0):
    return readout.embeddings[seed](torch.from_numpy(pre))


def test_the_names_and_how_many_directions_each_has(case):
    found, _, _, fit, *_ = case
    assert {name: (each.kept, len(each.embeddings)) for name, each in found.items()} == {
        "plain": (16, 1),
        "before the projection": (fit.shape[1], 1),
        "mean-centred": (16, 1),
        "without top components": (15, 1),
        "whitened": (16, 1),
        "class-name PCA": (8, 1),
        "IsoCLIP, a band": (9, 1),
        "one projector's band, a band": (9, 1),
        "random subspace, a band": (9, 3),
    }


def test_plain_and_before_the_projection(case):
    found, W, _, _, pre, _ = case
    assert same_cosines(read(found["plain"], pre), longer(pre) @ W.T)
    assert same_cosines(read(found["before the projection"], pre), pre)


def test_mean_centred(case):
    found, W, _, fit, pre, _ = case
    mean = unit(longer(fit) @ W.T).mean(0)
    assert same_cosines(read(found["mean-centred"], pre), unit(longer(pre) @ W.T) - mean)


def test_without_top_components(case):
    from sklearn.decomposition import PCA

    found, W, _, fit, pre, _ = case
    pca = PCA(1).fit(unit(longer(fit) @ W.T))
    centred = unit(longer(pre) @ W.T) - pca.mean_
    without = centred - centred @ pca.components_.T @ pca.components_
    assert same_cosines(read(found["without top components"], pre), without)


def test_whitened(case):
    from sklearn.covariance import LedoitWolf

    found, W, _, fit, pre, _ = case
    rows = unit(longer(fit) @ W.T)
    inverse = np.linalg.inv(LedoitWolf().fit(rows).covariance_)
    centred = unit(longer(pre) @ W.T) - rows.mean(0)
    assert same_cosines(read(found["whitened"], pre), centred @ np.linalg.cholesky(inverse))
    # Of what it was fitted on no two directions go together, and their lengths are more alike; shrinkage stops before equal.
    whitened = np.cov(read(found["whitened"], fit).T)
    assert np.abs(whitened - np.diag(np.diag(whitened))).max() < 1e-9
    assert np.ptp(np.diag(whitened)) < np.ptp(np.linalg.eigvalsh(np.cov(rows.T)) / np.cov(rows.T).trace() * 16)


def test_class_name_pca(case):
    from sklearn.decomposition import PCA

    found, W, _, _, pre, anchors = case
    components = PCA(8).fit(anchors).components_
    assert same_cosines(read(found["class-name PCA"], pre), longer(pre) @ W.T @ components.T)


def test_isoclips_band(case):
    found, W, basis, _, pre, _ = case
    kept = basis[:, 3:-4]
    assert same_cosines(read(found["IsoCLIP, a band"], pre), longer(pre) @ kept @ kept.T @ W.T)


def test_one_projectors_band(case):
    found, W, _, _, pre, _ = case
    kept = np.linalg.svd(W)[2][3:12]
    assert same_cosines(read(found["one projector's band, a band"], pre), longer(pre) @ kept.T @ kept @ W.T)


def test_random_subspaces_lie_in_the_span_and_have_the_bands_size(case):
    found, W, basis, _, _, _ = case
    zero, units = np.zeros((1, W.shape[1] - 1)), np.eye(W.shape[1] - 1)
    within, matrices = basis @ basis.T, []
    for seed in range(3):
        constant = read(found["random subspace, a band"], zero, seed).numpy()
        matrix = np.concatenate([read(found["random subspace, a band"], units, seed).numpy() - constant, constant]).T
        assert np.linalg.matrix_rank(matrix) == 9
        inside = np.linalg.pinv(W @ within) @ matrix  # what stands between the features and W
        assert np.abs(within @ inside @ within - inside).max() < 1e-9
        assert np.abs(inside @ inside - inside).max() < 1e-9  # a projection,
        assert np.abs(inside - inside.T).max() < 1e-9  # at right angles
        matrices.append(matrix)
    assert np.abs(matrices[0] - matrices[1]).max() > 0.1
    assert np.abs(matrices[1] - matrices[2]).max() > 0.1


def test_nothing_learns_from_what_is_read(case):
    """A row's embedding is its own: the same alone, in company, and after other rows were read."""
    found, *_, pre, _ = case
    for readout in found.values():
        for embed in readout.embeddings:
            whole = embed(torch.from_numpy(pre))
            embed(torch.from_numpy(pre[::-1].copy() * 3 - 1))
            assert torch.allclose(embed(torch.from_numpy(pre[7:8])), whole[7:8], atol=1e-12), readout.name


def test_only_three_readouts_look_at_the_fit_set():
    spectrum = decompose(drawn(D, D_I), drawn(D, D_T, seed=1))
    one, two = (readouts(spectrum, drawn(60, D_I, seed=seed), {"b": BAND}, anchors=drawn(9, D)) for seed in (2, 3))
    pre, fitted = drawn(10, D_I, seed=4), set()
    for a, b in zip(one, two, strict=True):
        if not torch.equal(a.embeddings[0](pre), b.embeddings[0](pre)):
            fitted.add(a.name)
    assert fitted == {"mean-centred", "without top components", "whitened"}


def test_where_directions_are_empty_the_controls_are_as_large_as_what_a_band_really_keeps():
    """r 24, rank 16: a band (3, 4) keeps 13 directions that carry something, and 4 of its 17 are empty."""
    spectrum = decompose(drawn(16, 24), drawn(16, 32, seed=1))
    assert (spectrum.r, spectrum.rank) == (24, 16)
    found = {each.name: each for each in readouts(spectrum, drawn(60, 24, seed=2), {"b": (3, 4), "c": (3, 10)})}
    pre = drawn(100, 24, seed=3)
    for name, many in (("b", 13), ("c", 11)):
        for kind in ("IsoCLIP", "one projector's band", "random subspace"):
            readout = found[f"{kind}, {name}"]
            assert readout.kept == many
            for embed in readout.embeddings:
                assert np.linalg.matrix_rank(embed(pre).numpy(), tol=1e-3) == many, (kind, name)


def test_a_fit_of_few_items_still_reads():
    spectrum = decompose(drawn(D, D_I), drawn(D, D_T, seed=1))
    found = readouts(spectrum, drawn(5, D_I, seed=2), {}, anchors=drawn(3, D))
    assert [each.kept for each in found] == [16, 24, 16, 15, 16, 2]
    assert all(embed(drawn(4, D_I)).isfinite().all() for each in found for embed in each.embeddings)


def test_readouts_that_are_refused():
    spectrum = decompose(drawn(16, 24), drawn(16, 32, seed=1))
    fit = drawn(30, 24, seed=2)
    for anchors in (drawn(9, 15), drawn(16), drawn(1, 16)):
        with pytest.raises(ValueError, match=r"anchors of shape .*\(M, 16\)"):
            readouts(spectrum, fit, {}, anchors=anchors)
    with pytest.raises(ValueError, match="anchors hold NaN"):
        readouts(spectrum, fit, {}, anchors=torch.full((9, 16), torch.nan))
    with pytest.raises(ValueError, match="leave nothing of 24"):
        readouts(spectrum, fit, {"b": (12, 12)})
    with pytest.raises(ValueError, match="only directions that carry nothing"):
        readouts(spectrum, fit, {"b": (17, 2)})
    with pytest.raises(ValueError, match=r"\(N, 24\)"):
        readouts(spectrum, fit[:, 1:], {})
    with pytest.raises(ValueError, match="NaN"):
        readouts(spectrum, torch.full((9, 24), torch.nan), {})
    with pytest.raises(ValueError, match="fit has 1 "):
        readouts(spectrum, fit[:1], {})
    with pytest.raises(ValueError, match="choose 'image' or 'text'"):
        readouts(spectrum, fit, {}, modality="img")


# Tables ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compared():
    data = planted(classes=8, each=10)
    spectrum = decompose(data.W_i, data.W_t, rank="numerical")
    half = np.arange(80) < 40
    found = readouts(spectrum, data.pre[half], {"planted": (8, 8)})
    return found, data.pre[~half], data.labels[~half], compare_readouts(found, data.pre[~half], data.labels[~half])


def test_precisions_are_those_of_every_embedding(compared):
    found, pre, labels, table = compared
    assert list(table.precisions) == [each.name for each in found]
    for readout in found:
        assert table.precisions[readout.name].shape == (len(readout.embeddings), 40)
        for embed, row in zip(readout.embeddings, table.precisions[readout.name], strict=True):
            rows = embed(pre).float()
            assert np.array_equal(row, label_precisions(rows, rows, labels, labels, own=np.arange(40)))


def test_differences_are_paired(compared):
    *_, table = compared
    name = "IsoCLIP, planted"
    a, b = table.precisions[name][0], table.precisions["plain"][0]
    assert table.difference(name) == paired_difference(a, b)
    assert table.difference("plain", name).mean == -table.difference(name).mean
    assert table.difference("plain") == paired_difference(b, b)
    draws = table.precisions["random subspace, planted"]
    assert table.difference("random subspace, planted") == paired_difference(draws, np.stack([b] * 3))
    assert table.by_seed("random subspace, planted") == pytest.approx((draws - b).mean(1))
    assert table.difference(name, "random subspace, planted") == paired_difference(a, draws.mean(0))
    with pytest.raises(ValueError, match="no readout 'ours'; there are plain, before the projection"):
        table.difference("ours")


def small(title="Readouts", *, kept="12", shift=0.0):
    plain = np.array([[0.2, 0.4, 0.6, 0.4]]) + shift
    return ReadoutTable(title, {"plain": plain, "band": plain + 0.1}, {"plain": "16", "band": kept}, (4,))


def test_the_text_of_a_table():
    assert str(small()).splitlines() == [
        "Readouts: mAP, percent; 4 queries",
        "readout  directions  mAP [95 %]            minus plain [95 %]    by seed  than plain",
        "plain    16          40.00 [25.00, 55.00]",
        "band     12          50.00 [35.00, 65.00]  10.00 [10.00, 10.00]  +10.0    better",
    ]


def test_a_summary_is_stored_and_read(compared):
    *_, table = compared
    summary = table.summary()
    assert ReadoutSummary.from_json(json.loads(json.dumps(summary.to_json()))) == summary
    assert summary["IsoCLIP, planted"].difference == table.difference("IsoCLIP, planted")
    assert str(summary) == str(table)
    with pytest.raises(ValueError, match="no readout 'ours'"):
        summary["ours"]


def test_pooled_sets_are_one_of_all_queries():
    both = pooled([small(), small(kept="9", shift=0.1)])
    assert (both.parts, both.kept["band"]) == ((4, 4), "9–12")
    assert both.precisions["plain"].shape == (1, 8)
    assert both.difference("band").n == 8
    assert both.by_seed("band") == pytest.approx((0.1, 0.1))
    assert both.summary()["plain"].mean.mean == pytest.approx(0.45)
    assert pooled([small()]).by_seed("band") == pytest.approx((0.1,))


def test_stacked_models_are_seeds_of_the_same_queries():
    three = stacked([small(), small(shift=0.1), small(shift=-0.1)])
    assert three.precisions["band"].shape == (3, 4)
    assert three.by_seed("band") == pytest.approx((0.1,) * 3)
    assert three.summary()["plain"].mean.mean == pytest.approx(0.4)
    assert three.kept["band"] == "12"


def test_tables_of_tables():
    found = stacked([pooled([small(), small(kept="9")]), pooled([small(kept="14"), small(kept="11")])])
    assert found.kept["band"] == "9–14"
    assert found.precisions["band"].shape == (2, 8)


def test_tables_of_other_readouts_do_not_merge():
    other = ReadoutTable("Other", {"plain": np.ones((1, 4))}, {"plain": "16"}, (4,))
    for merge in (pooled, stacked):
        with pytest.raises(ValueError, match="tables of different readouts; every one needs plain, band"):
            merge([small(), other])


def test_the_same_readouts_again():
    data = planted(classes=5, each=6)
    spectrum = decompose(data.W_i, data.W_t, rank="numerical")
    again = [readouts(spectrum, data.pre, {"b": (8, 8)}) for _ in range(2)]
    one, two = (compare_readouts(found, data.pre, data.labels, title="T") for found in again)
    assert str(one) == str(two)
    assert str(one).startswith("T: mAP, percent; 30 queries\n")


def test_rows_are_scored_by_cosine_of_items_other_than_themselves(compared):
    found, pre, labels, table = compared
    rows = F.normalize(found[0].embeddings[0](pre).float(), dim=-1)
    scores = (rows @ rows.T).fill_diagonal_(-torch.inf)
    first = labels[scores.argmax(1).numpy()] == labels
    assert (table.precisions["plain"][0][~first] < 1).all()
    assert table.precisions["plain"][0][first].mean() > table.precisions["plain"][0][~first].mean()


def test_rivals_that_choose_by_the_same_labels():
    from workbench.data.planted import planted
    from workbench.spectral import tuned_readouts

    made = planted(classes=10, each=20, seed=3)
    spectrum = decompose(made.W_i, made.W_t, rank="numerical")
    one, components = tuned_readouts(spectrum, made.pre, made.labels)
    assert (one.name, components.name) == (
        "one projector, chosen by labels",
        "without top components, chosen by labels",
    )
    gains = torch.linalg.svdvals(one.embeddings[0](torch.eye(48, dtype=torch.float64)))
    assert int((gains > 1e-9).sum()) == one.kept, "a band of that many directions of W_i alone"
    found = compare_readouts([*readouts(spectrum, made.pre, {}), one, components], made.pre, made.labels)
    for name in (one.name, components.name):
        assert found.difference(name).mean > -1e-9, "no filtering was among the choices"


def test_groups_are_drawn_together():
    pre = torch.randn(40, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64).repeat_interleave(4, 0)
    pre = pre + 0.01 * torch.randn(160, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels, scenes = np.arange(160) // 4 % 5, np.arange(160) // 4
    W = torch.randn(16, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = readouts(decompose(W, W), pre, {"some": (2, 2)})
    alone, together = (compare_readouts(found, pre, labels, groups=groups) for groups in (None, scenes))
    widths = [
        table.difference("IsoCLIP, some").high - table.difference("IsoCLIP, some").low for table in (alone, together)
    ]
    assert widths[1] > 1.5 * widths[0]
    both = pooled([together, together])
    assert len(set(both.groups)) == 80


def test_nothing_to_put_together():
    for put in (pooled, stacked):
        with pytest.raises(ValueError, match="no tables"):
            put([])


@pytest.mark.parametrize("modality", ["image", "text"])
def test_variants_of_a_band_keep_some_of_what_it_leaves_out(modality):
    spectrum = decompose(drawn(64, 64), drawn(64, 64, seed=1))
    side, basis = spectrum.of(modality)
    soft, tenth = band_variants(spectrum, "mine", (10, 6), modality=modality)
    assert (soft.name, tenth.name) == ("IsoCLIP, mine, soft edges", "IsoCLIP, mine, a tenth of the rest kept")
    assert soft.kept == tenth.kept == 48
    gains = lambda readout: (readout.embeddings[0](basis.T).norm(dim=1) / (side.matrix @ basis).norm(dim=0)).numpy()  # noqa: E731
    hard = (np.arange(64) >= 10) & (np.arange(64) < 58)
    assert np.allclose(gains(tenth), np.where(hard, 1.0, 0.1), atol=1e-5)
    found = gains(soft)
    assert np.allclose(found[[9, 10, 57, 58]], 1 / (1 + np.exp(np.array([1, -1, -1, 1]) * 0.5 / 0.625)), atol=1e-5)
    assert found[:5].max() < 0.01 < 0.99 < found[15:50].min()
