"""LABCLIP's map and DCSM's CNN: their sizes, their formula once more, and that padding is nothing."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from workbench.heads.binding import FUNCTIONAL, DenseMapCNN, LinearTextMap


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def size(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_sizes_are_the_papers():
    assert size(LinearTextMap(512)) == 262_144
    assert size(DenseMapCNN(197, 30)) == 3_028_532
    assert size(DenseMapCNN(197, 30, functional=())) == 3_028_532 - 11 * 197
    assert DenseMapCNN(197, 30).hidden.in_features == 23_640


def test_a_linear_map_starts_as_the_global_cosine():
    image, text = drawn(5, 8), drawn(5, 8, seed=1)
    head = LinearTextMap(8, logit_scale=7.0)
    assert torch.allclose(head(image, text), 7 * F.cosine_similarity(image, text), atol=1e-6)
    head.map.weight.data = drawn(8, 8, seed=2)
    assert torch.allclose(head(image, text), 7 * F.cosine_similarity(image, text @ head.map.weight.T), atol=1e-6)
    assert torch.allclose(head(image, 3 * text), head(image, text), atol=1e-6)


def by_hand(head, patches, tokens, words):
    """One pair: tokens that count only, in NumPy; the convolution as its definition."""
    p, w = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (patches, tokens))
    q = {name: value.detach().double().numpy() for name, value in head.state_dict().items()}
    m = p @ w.T
    for t, word in enumerate(words):
        if word >= 0:
            m[:, t] = q["columns"][word]
    m = (m - m.mean()) / np.sqrt(m.var() + 1e-6)
    x = np.zeros((1, head.patches, head.tokens))
    x[0, :, : len(w)] = m
    for name in ("first", "second"):
        x = np.maximum(convolved(x, q[f"{name}.weight"], q[f"{name}.bias"]), 0)
    hidden = np.maximum(q["hidden.weight"] @ x.ravel() + q["hidden.bias"], 0)
    return (q["out.weight"] @ hidden + q["out.bias"]).item()


def convolved(x, weight, bias):
    padded, out = np.pad(x, ((0, 0), (1, 1), (1, 1))), np.zeros((len(weight), *x.shape[1:]))
    for o, i, j in np.ndindex(*out.shape):
        out[o, i, j] = (weight[o] * padded[:, i : i + 3, j : j + 3]).sum() + bias[o]
    return out


@pytest.fixture
def head():
    torch.manual_seed(0)
    head = DenseMapCNN(5, 6, hidden=4)
    for parameter in head.parameters():
        parameter.data.normal_(std=0.4)
    return head


def test_forward_is_the_definition(head):
    patches, tokens = drawn(3, 5, 8), drawn(3, 7, 8, seed=1)
    mask = torch.tensor([[0, 1, 1, 0, 1, 1, 0], [0, 1, 0, 0, 0, 0, 0], [1, 1, 1, 0, 1, 1, 1]]).bool()
    words = torch.tensor([[-1, 6, -1, 3, 0, -1, -1], [-1] * 7, [2, -1, -1, 5, -1, -1, 10]])
    found = head(patches, tokens, mask, words=words)
    for b in range(3):
        counted = tokens[b][mask[b]].double().numpy()
        expected = by_hand(head, patches[b].double().numpy(), counted, words[b][mask[b]].tolist())
        assert found[b].item() == pytest.approx(expected, abs=1e-5)


def test_what_the_mask_hides_is_nothing_not_even_nan(head):
    patches, tokens, mask = drawn(2, 5, 8), drawn(2, 6, 8, seed=1), torch.ones(2, 6).bool()
    mask[:, 4:] = False
    before = head(patches, tokens, mask)
    tokens[:, 4:] = torch.nan
    assert torch.equal(head(patches, tokens, mask), before)
    assert torch.allclose(head(patches, tokens[:, :4]), before, atol=1e-6)
    head(patches, tokens, mask).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters() if p.grad is not None)


def test_functional_words_are_learned_and_looked_up(head):
    words = head.indices([["a", "cube", "LEFT", None], ["Not", None, "leftover", "absent"]])
    assert words.tolist() == [[-1, -1, 2, -1], [6, -1, -1, 10]]
    assert FUNCTIONAL[2] == "left"
    patches, tokens = drawn(2, 5, 8), drawn(2, 4, 8, seed=1)
    said, unsaid = head(patches, tokens, words=words), head(patches, tokens)
    assert (said != unsaid).all()
    said.sum().backward()
    assert set(head.columns.grad.abs().sum(1).nonzero().flatten().tolist()) == {2, 6, 10}
    assert torch.equal(
        head(patches, tokens.index_fill(1, torch.tensor([2]), 9.0), words=words)[0], said[0]
    )  # what a functional word's own token holds is not read


def test_both_learn():
    """Four pairs, two of which belong together: a few steps of gradient descent tell them apart."""
    torch.manual_seed(0)
    image, text = drawn(4, 8), drawn(4, 8, seed=1)
    patches, tokens, target = drawn(4, 5, 8), drawn(4, 6, 8, seed=1), torch.tensor([1.0, 0, 0, 1])
    for head, inputs in ((LinearTextMap(8, logit_scale=5), (image, text)), (DenseMapCNN(5, 6), (patches, tokens))):
        optimiser = torch.optim.Adam(head.parameters(), 0.01)
        for _ in range(150):
            optimiser.zero_grad()
            F.binary_cross_entropy_with_logits(head(*inputs), target).backward()
            optimiser.step()
        assert ((head(*inputs) > 0) == (target > 0)).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda h: LinearTextMap(0), ValueError, "d=0; give a whole number from 1"),
        (lambda h: LinearTextMap(2.5), TypeError, "d is float 2.5; give a whole number"),
        (lambda h: LinearTextMap(4, logit_scale=0), ValueError, "logit_scale=0; give a positive number"),
        (lambda h: LinearTextMap(4)(drawn(2, 4), drawn(3, 4)), ValueError, r"image \(2, 4\) and text \(3, 4\)"),
        (lambda h: LinearTextMap(4).mapped(drawn(3, 5)), ValueError, r"text \(3, 5\) for a map of width 4"),
        (lambda h: DenseMapCNN(True), TypeError, "patches is bool True"),
        (lambda h: DenseMapCNN(5, 0), ValueError, "tokens=0"),
        (lambda h: h(drawn(2, 6, 8), drawn(2, 6, 8)), ValueError, "6 patches; this head reads 5"),
        (
            lambda h: h(drawn(2, 5, 8), drawn(2, 7, 8)),
            ValueError,
            "captions of 7 to 7 tokens .* this head reads 1 to 6",
        ),
        (lambda h: h(drawn(2, 5, 8), drawn(3, 6, 8)), ValueError, r"tokens \(3, 6, 8\); give"),
        (lambda h: h(drawn(2, 5, 8), drawn(2, 6, 8), torch.ones(2, 6)), ValueError, "of torch.float32 for tokens"),
        (lambda h: h(drawn(2, 5, 8), drawn(2, 6, 8), torch.zeros(2, 6).bool()), ValueError, "captions of 0 to 0"),
    ],
)
def test_bad_input_is_named(head, call, error, message):
    with pytest.raises(error, match=message):
        call(head)
