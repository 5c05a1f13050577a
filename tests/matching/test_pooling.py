"""Weights over patches, pooling by a caption, and blocks: what the loops of test_rules.py do not tell."""

import pytest
import torch
import torch.nn.functional as F

from workbench.matching import conditioned_pooling, global_cosine, grouped_tokens, patch_pooling
from workbench.matching.blocks import in_blocks
from workbench.matching.tokens import unit
from workbench.matching.weights import patch_weights

EVERY = torch.ones(1).bool()


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("normalizer", ["minmax", "sparse", "softmax"])
def test_weights_add_up_to_one_and_leave_the_masked_out(normalizer):
    mask = torch.tensor([True, False, True, True, True])
    weights = patch_weights(drawn(4, 5), mask, normalizer)
    assert torch.allclose(weights.sum(-1), torch.ones(4))
    assert (weights >= 0).all()
    assert (weights[:, 1] == 0).all()
    alone = patch_weights(drawn(4, 5)[:, mask], mask[mask], normalizer)
    assert torch.allclose(weights[:, mask], alone)


def test_minmax_by_hand():
    s = torch.tensor([0.0, 0.1, 0.25, 1.0])
    assert patch_weights(s, EVERY.expand(4), "minmax").tolist() == pytest.approx([0, 0.1 / 1.35, 0.25 / 1.35, 1 / 1.35])
    assert patch_weights(s, EVERY.expand(4), "sparse").tolist() == pytest.approx([0, 0, 0.2, 0.8])


@pytest.mark.parametrize("normalizer", ["minmax", "sparse", "softmax"])
def test_patches_that_all_answer_alike_share_equally(normalizer):
    assert patch_weights(torch.full((4,), 0.3), EVERY.expand(4), normalizer).tolist() == [0.25] * 4
    assert patch_weights(torch.tensor([-2.0]), EVERY, normalizer).tolist() == [1.0]


def test_one_head_scores_as_if_there_were_no_empty_key_and_several_do_not():
    image, text = drawn(3, 6, 8), drawn(4, 8, seed=1)
    p, t = F.normalize(image, dim=-1), F.normalize(text, dim=-1)
    shares = (torch.einsum("npd,md->nmp", p, t) * 8**0.5).softmax(-1)
    without = F.cosine_similarity(torch.einsum("nmp,npd->nmd", shares, p), t[None], dim=-1)
    assert torch.allclose(conditioned_pooling(image, text), without, atol=1e-6)
    turn = torch.linalg.qr(drawn(8, 8, seed=2)).Q
    for heads, same in ((1, True), (4, False)):  # and several depend on the basis of the space
        found = conditioned_pooling(image, text, heads=heads)
        assert torch.allclose(conditioned_pooling(image @ turn, text @ turn, heads=heads), found, atol=1e-5) == same


def test_a_cold_softmax_takes_the_best_patch_and_a_hot_one_the_mean():
    image, text = drawn(3, 6, 8), drawn(4, 8, seed=1)
    text[0] = -image[0].sum(0)  # which no patch answers to: the empty key takes nearly all
    cosines = torch.einsum("npd,md->nmp", F.normalize(image, dim=-1), F.normalize(text, dim=-1))
    for rule in (conditioned_pooling, patch_pooling):
        assert torch.allclose(rule(image, text, temperature=1e-5), cosines.amax(-1), atol=1e-4)
    mean = F.normalize(image, dim=-1).mean(1)
    assert torch.allclose(conditioned_pooling(image, text, temperature=1e4), global_cosine(mean, text), atol=1e-4)
    assert torch.allclose(patch_pooling(image, text, temperature=1e4), cosines.mean(-1), atol=1e-4)


def test_captions_are_segments_of_one():
    image, text = drawn(3, 6, 8), drawn(4, 8, seed=1)
    assert torch.equal(conditioned_pooling(image, text), conditioned_pooling(image, text[:, None]))


def test_doubles_stay_doubles_and_halves_become_floats():
    image, text = drawn(2, 3, 4), drawn(2, 3, 4, seed=1)
    assert grouped_tokens(image.double(), text.double()).dtype == torch.float64
    assert grouped_tokens(image.half(), text.half()).dtype == torch.float32
    assert unit(torch.tensor([[1e30, 1e30], [0.0, 0.0]])).tolist() == [[pytest.approx(0.5**0.5)] * 2, [0, 0]]


@pytest.mark.parametrize("max_bytes", [1, 99, 100, 1000, 10**9])
def test_blocks_cover_every_pair_once_within_the_budget(max_bytes):
    seen = []

    def form(rows, columns):
        block = torch.arange(7)[rows, None] * 100 + torch.arange(11)[columns]
        seen.append(block.numel())
        return block

    found = in_blocks(form, 7, 11, 50, max_bytes)
    assert torch.equal(found, torch.arange(7)[:, None] * 100 + torch.arange(11))
    assert sum(seen) == 77
    assert max(seen) * 50 <= max(max_bytes, 50)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda i, t: conditioned_pooling(i, t, heads=3), ValueError, "heads=3 for a width of 8"),
        (lambda i, t: conditioned_pooling(i, t, heads=0), ValueError, "heads=0 for a width of 8"),
        (lambda i, t: conditioned_pooling(i, t, temperature=0.0), ValueError, "temperature=0.0; give a positive"),
        (lambda i, t: patch_pooling(i, t, temperature=True), TypeError, "temperature is bool True; give a positive"),
        (lambda i, t: patch_pooling(i, t[:, :5]), ValueError, "8 wide and text tokens 5"),
        (lambda i, t: patch_pooling(i, t[:, None]), ValueError, r"text tokens \(4, 1, 1, 8\) must be"),
        (lambda i, t: global_cosine(i, t), ValueError, r"image \(3, 6, 8\) must be global embeddings"),
        (lambda i, t: global_cosine(i[:, 0], t[:0]), ValueError, r"text tokens \(0, 1, 8\)"),
        (lambda i, t: grouped_tokens(i, t[:, None], normalizer="max"), ValueError, "normalizer='max'"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call(drawn(3, 6, 8), drawn(4, 8, seed=1))
