"""Bands of the inter-modal operator: IsoCLIP's construction written out, its identities, and where it is not determined."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from workbench.features import Projector
from workbench.models.linearise import residual_mlp
from workbench.spectral import band_weights, decompose
from workbench.spectral.spectrum import Band

SHAPES = [(16, 24, 16), (16, 24, 32), (32, 24, 20), (8, 24, 16)]
BANDS = [(0, 0), (1, 0), (0, 3), (3, 2), (5, 9), (7, 1)]
WIDE, FULL = (16, 24, 32), (16, 24, 16)  # r 24 with rank 16; r = rank = d


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def pair(shape, seed=0):
    d, d_i, d_t = shape
    return drawn(d, d_i, seed=seed), drawn(d, d_t, seed=seed + 1)


def rotation(n, seed=0):
    return torch.linalg.qr(drawn(n, n, seed=seed)).Q


def close(a, b, within=1e-12):
    return float((a - b).abs().max()) <= within * max(1, float(b.abs().max()))


def both_close(found, expected, within=1e-12):
    return all(close(a, b, within) for a, b in zip(found, expected, strict=True))


def written_out(W_i, W_t, k_top, k_bottom):
    """The band as IsoCLIP defines it, in numpy: columns k_top … r - k_bottom - 1 of an economy SVD."""
    W_i, W_t = W_i.numpy(), W_t.numpy()
    U, S, Vh = np.linalg.svd(W_i.T @ W_t, full_matrices=False)
    kept = slice(k_top, len(S) - k_bottom)
    U, V = U[:, kept], Vh[kept].T
    return torch.from_numpy(W_i @ U @ U.T), torch.from_numpy(W_t @ V @ V.T)


def quiet(call, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(*args, **options)


def band_of(spectrum, *band, **options):
    return quiet(spectrum.band, *band, **options)


# Parity ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("band", BANDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_band_is_what_the_paper_writes(shape, band):
    W_i, W_t = pair(shape)
    found = band_of(decompose(W_i, W_t), *band)
    assert found[0].dtype == torch.float64
    assert both_close(found, written_out(W_i, W_t, *band))


@pytest.mark.parametrize("band", BANDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_with_biases_the_matrices_have_one_more_column(shape, band):
    d, d_i, d_t = shape
    (W_i, W_t), (b_i, b_t) = pair(shape), (drawn(d, seed=7), drawn(d, seed=8))
    spectrum = decompose(Projector(W_i, b_i), Projector(W_t, b_t))
    longer = torch.cat([W_i, b_i[:, None]], 1), torch.cat([W_t, b_t[:, None]], 1)
    assert spectrum.r == min(d_i, d_t) + 1
    assert both_close(band_of(spectrum, *band), written_out(*longer, *band))


def test_one_bias_alone():
    W_i, W_t = pair(FULL)
    b = drawn(16, seed=3)
    spectrum = decompose(W_i, Projector(W_t, b))
    assert both_close(band_of(spectrum, 2, 3), written_out(W_i, torch.cat([W_t, b[:, None]], 1), 2, 3))


def test_the_decomposition_is_one_of_psi():
    W_i, W_t = pair((32, 24, 20))
    found = decompose(W_i, W_t)
    assert (found.r, found.rank) == (20, 20)
    assert close(found.U * found.S @ found.Vh, W_i.T @ W_t)
    assert close(found.U.T @ found.U, torch.eye(20, dtype=torch.float64))
    assert (found.S.diff() <= 0).all()


# Identities ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("band", BANDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_both_sides_filtered_are_the_band_of_psi(shape, band):
    spectrum = decompose(*pair(shape))
    image, text = band_of(spectrum, *band)
    kept = slice(band[0], spectrum.r - band[1])
    assert close(image.T @ text, (spectrum.U[:, kept] * spectrum.S[kept]) @ spectrum.Vh[kept])


def test_nothing_left_out_is_the_identity_where_the_other_side_has_full_row_rank():
    for shape in (FULL, WIDE):  # d_t ≥ d: W_t reaches all of the joint space
        W_i, W_t = pair(shape)
        assert close(decompose(W_i, W_t).band(0, 0)[0], W_i)


def test_nothing_left_out_is_a_loss_where_it_has_not():
    W_i, W_t = pair((16, 24, 10))
    assert not close(decompose(W_i, W_t).band(0, 0)[0], W_i, 1e-2)
    W_t = drawn(16, 5, seed=4) @ drawn(5, 32, seed=5)  # wide enough, but of rank 5
    spectrum = decompose(W_i, W_t, rank="numerical")
    assert spectrum.r == 5
    assert not close(spectrum.band(0, 0)[0], W_i, 1e-2)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_rotation_of_the_joint_space_turns_the_band_with_it(shape):
    W_i, W_t = pair(shape)
    Q = rotation(shape[0], seed=9)
    found = band_of(decompose(Q @ W_i, Q @ W_t), 3, 2)
    assert both_close(found, [Q @ each for each in band_of(decompose(W_i, W_t), 3, 2)])


@pytest.mark.parametrize("by", [1e-4, 0.3, 50.0])
def test_a_positive_factor_of_either_side_changes_no_direction(by):
    W_i, W_t = pair(FULL)
    image, text = decompose(W_i, W_t).band(3, 2)
    assert both_close(decompose(by * W_i, W_t).band(3, 2), (by * image, text))
    assert both_close(decompose(W_i, by * W_t).band(3, 2), (image, by * text))


def test_other_bases_before_the_projection_are_followed():
    W_i, W_t = pair(FULL)
    P, R = rotation(24, seed=9), rotation(16, seed=10)
    image, text = decompose(W_i, W_t).band(3, 2)
    assert both_close(decompose(W_i @ P, W_t @ R).band(3, 2), (image @ P, text @ R))


def test_a_general_map_of_the_joint_space_is_another_band():
    """The operator sees f through W^T W: a stretch of the joint space changes it, though no score of a linear probe."""
    W_i, W_t = pair(FULL)
    by = drawn(16, 16, seed=9)
    assert not close(decompose(by @ W_i, by @ W_t).band(3, 2)[0], by @ decompose(W_i, W_t).band(3, 2)[0], 1e-2)


def test_signs_of_singular_vectors_do_not_matter():
    spectrum = decompose(*pair(FULL))
    signs = torch.ones(16, dtype=torch.float64)
    signs[::3] = -1
    other = type(spectrum)(
        spectrum.U * signs, spectrum.S, signs[:, None] * spectrum.Vh, 16, spectrum.image, spectrum.text
    )
    assert both_close(other.band(3, 2), spectrum.band(3, 2), 1e-14)


@pytest.mark.parametrize("shape", SHAPES)
def test_bands_compose(shape):
    spectrum = decompose(*pair(shape))
    once = band_of(spectrum, 3, 2)
    assert both_close(band_of(decompose(*once), 0, 0), once)  # nothing is left that a second time could take
    r = spectrum.r
    both = band_weights(r, 3, 2) * band_weights(r, 1, 5)
    assert torch.equal(both, band_weights(r, 3, 5))
    assert both_close(spectrum.filtered(both), band_of(spectrum, 3, 5))
    # What is left after a band begins where the band began: 3 of the top are gone and the next two go.
    assert both_close(band_of(decompose(*once, rank="numerical"), 2, 0), band_of(spectrum, 5, 2))


def test_disjoint_bands_add_up():
    spectrum = decompose(*pair(FULL))
    whole = [torch.zeros_like(each) for each in spectrum.band(0, 0)]
    for band in ((0, 12), (4, 5), (11, 0)):
        whole = [a + b for a, b in zip(whole, spectrum.band(*band), strict=True)]
    assert both_close(whole, spectrum.band(0, 0))


def test_the_gradient_of_the_contrastive_loss_goes_through_both_operators():
    """dL/df = sum_j (p_j - 1[j=t])/tau (Psi g_j / (n |W_t g_j|) - s_j Psi_i f / n^2), which never points along f."""
    W_i, W_t = pair((8, 12, 10))
    f, G, tau, t = drawn(12, seed=3).requires_grad_(), drawn(5, 10, seed=4), 0.07, 2
    post, texts = W_i @ f, G @ W_t.T
    s = texts @ post / (texts.norm(dim=1) * post.norm())
    torch.nn.functional.cross_entropy(s[None] / tau, torch.tensor([t])).backward()
    with torch.no_grad():
        spectrum = decompose(W_i, W_t)
        psi, psi_i, n = (spectrum.U * spectrum.S) @ spectrum.Vh, W_i.T @ W_i, post.norm()
        p = (s / tau).softmax(0)
        terms = (psi @ G.T) / (n * texts.norm(dim=1)) - (psi_i @ f)[:, None] * s / n**2
        expected = terms @ ((p - torch.eye(5, dtype=torch.float64)[t]) / tau)
        assert close(f.grad, expected)
        assert abs(float(f @ f.grad)) < 1e-12


# Soft edges ------------------------------------------------------------------------------------------------------------


def test_soft_edges_become_the_hard_ones():
    hard = band_weights(24, 5, 7)
    apart = [float((band_weights(24, 5, 7, soft=soft) - hard).abs().max()) for soft in (2.0, 0.5, 0.1, 0.02)]
    assert apart == sorted(apart, reverse=True)
    assert apart[-1] < 1e-10
    spectrum = decompose(*pair(FULL))
    assert both_close(spectrum.band(3, 2, soft=0.01), spectrum.band(3, 2))


def test_a_soft_edge_is_symmetric_about_its_cut():
    top, bottom = band_weights(60, 20, 0, soft=2.0), band_weights(60, 0, 20, soft=2.0)
    for k in range(20):
        assert top[20 + k] + top[19 - k] == pytest.approx(1, abs=1e-12)
        assert bottom[40 + k] + bottom[39 - k] == pytest.approx(1, abs=1e-12)
    assert torch.allclose(top, bottom.flip(0), atol=1e-15)
    assert (top.diff() > 0).all()
    assert top[20] > 0.5 > top[19]


def test_where_nothing_is_cut_nothing_is_rounded_off():
    assert torch.equal(band_weights(9, 0, 0, soft=3.0), torch.ones(9, dtype=torch.float64))
    assert band_weights(40, 0, 10, soft=1.0)[0] == pytest.approx(1, abs=1e-12)


# Reading ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("soft", [0.0, 1.5])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("modality", ["image", "text"])
def test_a_reader_is_the_projection_with_the_bands_matrix(modality, biased, soft):
    image, text = (Projector(W, drawn(16, seed=k) if biased else None) for k, W in enumerate(pair(WIDE)))
    spectrum = decompose(image, text)
    pre = drawn(30, 24 if modality == "image" else 32, seed=5)
    reader = spectrum.read(pre, modality)
    assert len(reader) == 30
    for band in ((0, 0), (3, 2), (9, 11)):
        projector = quiet(spectrum.projectors, *band, soft=soft)[modality == "text"]
        expected = projector(pre)
        for found, rows in ((reader, slice(None)), (reader[10:20], slice(10, 20))):
            embedded = found.band(*band, soft=soft)
            assert embedded.dtype == torch.float32
            assert close(embedded.double(), expected[rows], 2e-6)


def test_projectors_keep_what_the_sides_were():
    linearised = Projector(drawn(16, 24), drawn(16, seed=1), "linearised", "a head")
    image, text = quiet(decompose(linearised, drawn(16, 32, seed=2).float()).projectors, 2, 3)
    assert (image.kind, image.weight.dtype, image.bias.shape) == ("linearised", torch.float64, (16,))
    assert "directions 2 … 21" in image.reason
    assert (text.kind, text.weight.dtype, text.bias) == ("exact", torch.float32, None)


def test_gains_are_the_intra_modal_operator_inside_the_band():
    W_i, W_t = pair(WIDE)
    spectrum = decompose(W_i, W_t)
    U = spectrum.U[:, 3:20]
    expected = torch.linalg.eigvalsh(U.T @ (W_i.T @ W_i) @ U).flip(0)
    assert spectrum.gains("image", 3, 4).shape == (17,)
    assert close(spectrum.gains("image", 3, 4), expected, 1e-10)
    V = spectrum.Vh.T
    whole = torch.linalg.eigvalsh(V.T @ (W_t.T @ W_t) @ V).flip(0)
    assert spectrum.gains("text").shape == (24,)  # the operator is r x r, though only 16 of its values are not 0
    assert close(spectrum.gains("text"), whole, 1e-10)


def test_the_table():
    spectrum = decompose(torch.diag(torch.tensor([4.0, 2, 1, 0.5])), torch.eye(4))
    assert str(spectrum).splitlines() == [
        "Inter-modal operator, 4 × 4 through 4: r 4, rank 4",
        "singular value                      share of the largest",
        "σ at 0                              1.000",
        "σ at 1                              0.500",
        "σ at 2                              0.250",
        "σ at 3                              0.125",
        "directions with half of the energy  1",
        "with nine tenths                    2",
    ]
    assert "rank 1" in str(decompose(drawn(3, 1), drawn(3, 5, seed=1)))


# The rank trap ---------------------------------------------------------------------------------------------------------


def test_where_the_joint_space_is_narrow_the_bottom_is_empty():
    W_i, W_t = pair(WIDE)
    spectrum = decompose(W_i, W_t)
    assert (spectrum.r, spectrum.rank) == (24, 16)
    whole = spectrum.band(0, 0)
    for k_bottom in range(1, 9):
        said = f"{k_bottom} of the k_bottom={k_bottom} trailing directions carry nothing"
        with pytest.warns(UserWarning, match=said):
            assert both_close(spectrum.band(0, k_bottom), whole)
    with pytest.warns(UserWarning, match="8 of the k_bottom=9"):
        assert not both_close(spectrum.band(0, 9), whole, 1e-3)


def test_counting_from_the_rank():
    W_i, W_t = pair(WIDE)
    shape, numerical = decompose(W_i, W_t), decompose(W_i, W_t, rank="numerical")
    assert (numerical.r, numerical.rank) == (16, 16)
    assert numerical.U.shape == (24, 16)
    assert numerical.Vh.shape == (16, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = numerical.band(3, 2)
    assert both_close(found, band_of(shape, 3, 10))


def test_a_top_that_leaves_only_empty_directions_is_refused():
    spectrum = decompose(*pair(WIDE))
    assert band_of(spectrum, 15, 0)[0].abs().max() > 1e-2
    for band in ((16, 0), (20, 3)):
        said = f"k_top={band[0]} leaves only directions that carry nothing.*at most 15"
        for call in (spectrum.band, spectrum.check, spectrum.projectors):
            with pytest.raises(ValueError, match=said):
                call(*band)


def test_full_rank_is_silent():
    spectrum = decompose(*pair(FULL))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for band in BANDS:
            spectrum.band(*band)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
def test_rounding_to_fewer_digits_hides_no_rank(kind):
    W_i, W_t = (each.to(kind) for each in pair(WIDE))
    assert decompose(W_i, W_t).rank == 16
    low = (drawn(16, 5, seed=4) @ drawn(5, 32, seed=5)).float()  # of rank 5, to float32's rounding
    assert decompose(W_i.float(), low).rank == 5


# SigLIP ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def siglip():
    """A residual MLP's stand-in, not symmetric, and a text projection; both with biases."""
    torch.manual_seed(0)
    norm, fc1, fc2, text = nn.LayerNorm(12), nn.Linear(12, 20), nn.Linear(20, 12), nn.Linear(10, 12)
    nn.init.normal_(norm.weight, 1, 0.3)
    nn.init.normal_(norm.bias, 0, 0.3)
    for layer in (fc1, fc2):
        nn.init.normal_(layer.weight)
    return residual_mlp(norm, fc1, fc2), Projector(text.weight.detach(), text.bias.detach())


def test_a_linearised_head_is_not_transposed(siglip):
    image, text = siglip
    f, g = drawn(5, 12, seed=1), drawn(7, 10, seed=2)
    one = lambda rows: torch.cat([rows, torch.ones(len(rows), 1, dtype=torch.float64)], 1)  # noqa: E731
    exact = Projector(image.weight.double(), image.bias.double()), Projector(text.weight.double(), text.bias.double())
    expected = exact[0](f) @ exact[1](g).T
    spectrum = decompose(image, text)
    psi = (spectrum.U * spectrum.S) @ spectrum.Vh
    assert close(one(f) @ psi @ one(g).T, expected)
    # The authors' code takes the stand-in transposed, which a square matrix lets pass.
    turned = decompose(Projector(image.weight.T.contiguous(), image.bias), text)
    assert not close(one(f) @ ((turned.U * turned.S) @ turned.Vh) @ one(g).T, expected, 0.1)


def test_the_whole_band_of_a_linearised_head_is_the_head(siglip):
    image, _ = siglip
    found = decompose(image, Projector(drawn(12, 30, seed=3))).projectors(0, 0)[0]
    assert torch.allclose(found.weight.float(), image.weight, atol=1e-5)
    assert torch.allclose(found.bias.float(), image.bias, atol=1e-5)
    pre = drawn(9, 12, seed=4)
    expected = image.weight.double() @ pre.T + image.bias.double()[:, None]
    assert close(decompose(image, Projector(drawn(12, 30, seed=3))).read(pre).band(0, 0).double(), expected.T, 2e-6)


def test_a_siglip_of_transformers(tmp_path):
    from PIL import Image

    from tests.models.test_hugging_face import CAPTIONS, save_model
    from workbench.models.registry import load_model

    save_model(tmp_path, "siglip")
    model = load_model(f"transformers:{tmp_path}", device="cpu")
    image, text = model.image_projector, model.text_projector
    assert (image.kind, image.bias is None, text.bias is None) == ("linearised", False, False)
    spectrum = decompose(image, text)
    assert spectrum.r == 33  # 32 and the constant
    f = model.encode_image([Image.linear_gradient("L").convert("RGB"), Image.radial_gradient("L").convert("RGB")]).pre
    g = model.encode_text(CAPTIONS)
    scores = spectrum.read(f).coordinates @ torch.diag(spectrum.S.float()) @ spectrum.read(g.pre, "text").coordinates.T
    assert torch.allclose(scores, image(f) @ g.post.T, atol=1e-5 * float(scores.abs().max()))
    for modality, pre, projector in (("image", f, image), ("text", g.pre, text)):
        assert torch.allclose(spectrum.read(pre, modality).band(0, 0), projector(pre), atol=1e-5)


def test_a_model_without_a_matrix_says_why():
    from workbench.models.registry import load_model

    model = load_model("lite2-conse", device="cpu")
    assert model.image_projector.kind == "none"
    with pytest.raises(ValueError, match=model.image_projector.reason[:30]):
        decompose(model.image_projector, model.text_projector)


# Bad input -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("band", "message"),
    [
        ((8, 8), "k_top=8 and k_bottom=8 leave nothing of 16 directions; together at most 15"),
        ((16, 0), "leave nothing of 16"),
        ((0, 99), "leave nothing of 16"),
        ((-1, 0), "k_top=-1"),
        ((0, -1), "k_bottom=-1"),
        ((1.5, 0), "k_top=1.5"),
        ((2.0, 0), "k_top=2.0"),
        ((0, "3"), "k_bottom='3'"),
        ((True, 0), "k_top=True"),
        ((0, np.bool_(True)), "k_bottom="),
        ((None, 0), "k_top=None"),
    ],
)
def test_bands_that_are_refused(band, message):
    spectrum = decompose(*pair(FULL))
    for call in (spectrum.band, spectrum.check, spectrum.projectors, spectrum.read(drawn(3, 24)).band):
        with pytest.raises(ValueError, match=message):
            call(*band)
    with pytest.raises(ValueError, match=message):
        band_weights(16, *band)
    with pytest.raises(ValueError, match=message):
        spectrum.gains("image", *band)


def test_numpys_whole_numbers_are_numbers():
    spectrum = decompose(*pair(FULL))
    assert both_close(spectrum.band(np.int64(3), np.int32(2)), spectrum.band(3, 2))


@pytest.mark.parametrize("soft", [-1.0, float("nan"), float("inf")])
def test_widths_that_are_refused(soft):
    spectrum = decompose(*pair(FULL))
    for call in (spectrum.band, spectrum.read(drawn(3, 24)).band):
        with pytest.raises(ValueError, match=f"soft={soft}"):
            call(3, 2, soft=soft)


def test_weights_that_are_refused():
    spectrum = decompose(*pair(FULL))
    for weights in (torch.ones(15), torch.full((16,), torch.nan), torch.ones(16, 1)):
        with pytest.raises(ValueError, match="give 16 finite ones"):
            spectrum.filtered(weights)


def test_words_that_are_refused():
    spectrum = decompose(*pair(FULL))
    for call in (lambda: spectrum.read(drawn(3, 24), "audio"), lambda: spectrum.of("img"), lambda: spectrum.gains("x")):
        with pytest.raises(ValueError, match="choose 'image' or 'text'"):
            call()
    with pytest.raises(ValueError, match="rank='full'"):
        decompose(*pair(FULL), rank="full")


def test_features_that_are_refused():
    spectrum = decompose(*pair(FULL))
    with pytest.raises(ValueError, match=r"text features of shape \(3, 24\).*\(N, 16\)"):
        spectrum.read(drawn(3, 24), "text")
    with pytest.raises(ValueError, match="image features hold NaN"):
        spectrum.read(torch.full((2, 24), torch.nan))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_projectors_that_do_not_meet(dtype):
    """Each reaches a half of the joint space of its own: no score is anything but rounding."""
    Q = rotation(16).to(dtype)
    W_i, W_t = Q[:, :8] @ drawn(8, 24).to(dtype), Q[:, 8:] @ drawn(8, 20, seed=1).to(dtype)
    with pytest.raises(ValueError, match=r"W_i\^T W_t is zero"):
        decompose(W_i, W_t)


# Ties ------------------------------------------------------------------------------------------------------------------


def with_values(values, seed=0):
    """Projectors whose operator has these singular values."""
    n, root = len(values), torch.tensor(values, dtype=torch.float64).sqrt()
    A, U, V = rotation(n, seed), rotation(n, seed + 1), rotation(n, seed + 2)
    return (A * root) @ U.T, (A * root) @ V.T


def test_a_cut_between_equal_values_warns_and_no_other():
    spectrum = decompose(*with_values([8.0, 7, 5, 5, 5, 3, 2, 1]))
    for band in ((3, 0), (4, 0), (0, 4), (0, 5)):
        with pytest.warns(UserWarning, match="equal to rounding, so a cut between them is not determined"):
            spectrum.band(*band)
    with pytest.warns(UserWarning, match="singular values 2 and 3 are equal"):
        spectrum.band(3, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for band in ((0, 0), (2, 0), (5, 0), (0, 3), (2, 3), (0, 6), (1, 1)):
            spectrum.band(*band)
        spectrum.band(3, 4, soft=1.0)  # rounded off: no cut


def test_directions_that_neither_side_passes_are_no_tie():
    spectrum = decompose(*pair(WIDE))
    for k_bottom in range(1, 9):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            spectrum.band(0, k_bottom)
        assert [str(each.message).split(" of ")[0] for each in caught] == [str(k_bottom)]


@pytest.mark.parametrize("shape", [(16, 24, 10), (16, 10, 24)])
def test_a_side_of_low_rank_has_ties_among_the_empty_directions(shape):
    """W_t misses directions that W_i passes; which of those the trailing columns of U hold is chance."""
    d, d_i, d_t = shape
    W_i, W_t = drawn(d, d_i), drawn(d, 3, seed=1) @ drawn(3, d_t, seed=2)
    spectrum = decompose(W_i, W_t)
    assert (spectrum.r, spectrum.rank) == (10, 3)
    for k_bottom, tied in ((3, True), (7, False)):  # some of the empty ones, all of them
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            spectrum.band(0, k_bottom)
        assert any("equal to rounding" in str(each.message) for each in caught) == tied


# Signs and precision ---------------------------------------------------------------------------------------------------


def test_signs_are_fixed():
    W_i, W_t = pair(FULL)
    spectrum = decompose(W_i, W_t)
    largest = spectrum.U.abs().argmax(0)
    assert (spectrum.U[largest, torch.arange(16)] > 0).all()
    again = decompose(W_i, W_t)
    assert all(torch.equal(getattr(spectrum, part), getattr(again, part)) for part in ("U", "S", "Vh"))


def test_signs_and_order_of_the_joint_space_do_not_show():
    W_i, W_t = pair(FULL)
    spectrum = decompose(W_i, W_t)
    signs = torch.ones(16, dtype=torch.float64)
    signs[1::2] = -1
    order = torch.randperm(16, generator=torch.Generator().manual_seed(3))
    for change in (lambda W: signs[:, None] * W, lambda W: W[order], lambda W: -W):
        other = decompose(change(W_i), change(W_t))
        assert both_close((other.U, other.S, other.Vh), (spectrum.U, spectrum.S, spectrum.Vh), 1e-10)


def test_signs_of_the_text_basis_stay_on_the_text_side():
    W_i, W_t = pair(FULL)
    spectrum = decompose(W_i, W_t)
    signs = torch.ones(16, dtype=torch.float64)
    signs[::3] = -1
    other = decompose(W_i, W_t * signs)
    assert both_close((other.U, other.Vh * signs), (spectrum.U, spectrum.Vh), 1e-10)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
def test_few_digits_come_in_and_float32_goes_out(kind):
    W_i, W_t = (each.to(kind) for each in pair(FULL))
    spectrum = decompose(W_i, W_t)
    exact = decompose(W_i.double(), W_t.double())
    assert torch.equal(spectrum.S, exact.S)
    for found, expected in zip(spectrum.band(3, 2), exact.band(3, 2), strict=True):
        assert found.dtype == torch.float32
        assert torch.equal(found, expected.float())


def test_a_band_is_two_numbers():
    assert Band(3, 2) == (3, 2)
    assert Band(k_bottom=2, k_top=3) == Band(3, 2)
