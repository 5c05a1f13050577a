"""FSC-CLIP's local score against numbers of the authors' own code, and what is known of it."""

import math
from functools import partial

import pytest
import torch

from workbench.losses import hard_negative_loss
from workbench.matching import local_scores, local_similarity


def g(shape, a, b):
    """sin(a i + b), i the flat index: the features behind the stored numbers."""
    i = torch.arange(math.prod(shape), dtype=torch.float64)
    return (a * i + b).sin().reshape(shape)


def tokens(pictures, captions):
    image, text = g((pictures, 4, 6), 0.31, 0.2), g((captions, 5, 6), 0.53, 0.4)
    mask = torch.zeros(captions, 5).bool()
    for r in range(captions):
        mask[r, 1 : 3 + r % 3] = True
    return image, text, mask


def with_negatives():
    """Two pictures, each with its caption and three negatives: rows 0 and 1 are captions, 2 + 2k + b the negatives of b."""
    image, text, mask = tokens(2, 8)
    rows = torch.tensor([[b, *(2 + 2 * k + b for k in range(3))] for b in range(2)])
    return image, text[rows], mask[rows]


@pytest.mark.parametrize(
    ("normalizer", "cross_entropy", "smoothed"),
    [
        ("minmax", 1.278711608, 0.711205718),
        ("sparse", 1.295464520, 0.715857589),
        ("softmax", 1.409807266, 0.809115488),
    ],
)
def test_losses_are_those_of_the_authors_code(normalizer, cross_entropy, smoothed):
    image, text, mask = with_negatives()
    logits = local_similarity(image, text, mask, 10.0, normalizer=normalizer)
    assert logits.dtype == torch.float64
    assert hard_negative_loss(logits).item() == pytest.approx(cross_entropy, abs=1e-9)
    assert focal_and_smoothed(logits).item() == pytest.approx(smoothed, abs=2e-7)


focal_and_smoothed = partial(hard_negative_loss, gamma=2, smoothing=0.02)


def test_gradients_are_those_of_the_authors_code():
    image, text, mask = with_negatives()
    image.requires_grad_()
    (0.2 * focal_and_smoothed(local_similarity(image, text, mask, 10.0))).backward()
    assert image.grad.norm().item() == pytest.approx(0.12588296, abs=1e-7)


def test_tokens_gradients_are_those_of_the_authors_code():
    image, text, mask = tokens(2, 8)
    text.requires_grad_()
    rows = torch.tensor([[b, *(2 + 2 * k + b for k in range(3))] for b in range(2)])
    (0.2 * focal_and_smoothed(local_similarity(image, text[rows], mask[rows], 10.0))).backward()
    assert text.grad.norm().item() == pytest.approx(0.17473889, abs=1e-7)


def test_scores_are_those_of_the_authors_code():
    image, text, mask = tokens(3, 9)
    found = local_similarity(image, text[:3], mask[:3], 10.0)
    assert found.tolist() == pytest.approx([9.85818019, 10.25290049, 10.70034952], abs=1e-8)


def test_a_caption_alone_is_one_of_several_and_the_diagonal_of_all_pairs():
    image, text, mask = tokens(3, 3)
    alone = local_similarity(image, text, mask, 10.0)
    assert torch.equal(local_similarity(image, text[:, None], mask[:, None], 10.0)[:, 0], alone)
    assert torch.allclose(local_scores(image, text, mask, logit_scale=10.0).diagonal(), alone)


def test_saying_a_word_n_times_adds_log_n():
    image, text, _ = tokens(1, 1)
    once = local_similarity(image, text[:, :1], None, 10.0)
    for n in (2, 4, 8):
        more = local_similarity(image, text[:, :1].expand(-1, n, -1), None, 10.0)
        assert (more - once).item() == pytest.approx(math.log(n), abs=1e-9)


def test_lengths_of_words_do_not_matter_and_those_of_patches_do():
    image, text, mask = tokens(2, 2)
    found = local_similarity(image, text, mask, 10.0)
    longer = text * torch.tensor([0.1, 1, 3, 20, 7])[:, None]
    assert torch.allclose(local_similarity(image, longer, mask, 10.0), found)
    louder = image * torch.tensor([0.1, 1, 3, 20])[:, None]
    assert not torch.allclose(local_similarity(louder, text, mask, 10.0), found, atol=1e-3)


def test_one_patch_and_patches_all_alike_give_a_cosine_and_no_nan():
    image, text, mask = tokens(2, 2)
    one = local_similarity(image[:, :1], text, mask, 10.0)
    alike = image[:, :1].expand(-1, 4, -1).clone().requires_grad_()
    found = local_similarity(alike, text, mask, 10.0)
    assert torch.allclose(found, one)
    found.sum().backward()
    assert torch.isfinite(alike.grad).all()


def test_the_scale_may_learn_and_halves_are_widened():
    image, text, mask = tokens(2, 2)
    scale = torch.tensor(10.0, requires_grad=True)
    local_similarity(image, text, mask, scale).sum().backward()
    assert scale.grad.item() != 0
    found = local_similarity(image.half(), text.half(), mask, 10.0)
    assert found.dtype == torch.float32
    assert torch.allclose(found, local_similarity(image, text, mask, 10.0).float(), atol=0.05)


@pytest.mark.parametrize(
    ("image", "text", "options", "message"),
    [
        (torch.ones(2, 3, 4), torch.ones(3, 3, 4), {}, r"text tokens \(3, 3, 4\); give \(B, P, d\) with \(B, T, d\)"),
        (torch.ones(2, 3, 4), torch.ones(2, 4), {}, r"text tokens \(2, 4\); give"),
        (torch.ones(2, 3, 4), torch.ones(2, 3, 5), {}, "4 wide and text tokens 5"),
        (torch.ones(2, 3, 4), torch.ones(2, 3, 4), {"text_mask": torch.ones(2, 4).bool()}, r"text mask \(2, 4\)"),
        (torch.ones(2, 3, 4), torch.ones(2, 3, 4), {"text_mask": torch.zeros(2, 3).bool()}, "in text 0 nothing counts"),
        (torch.ones(2, 3, 4), torch.ones(2, 3, 4), {"normalizer": "max"}, "normalizer='max'; choose 'minmax', 'sp"),
        (torch.full((1, 1, 2), torch.nan), torch.ones(1, 1, 2), {}, "image tokens hold NaN"),
    ],
)
def test_bad_input_is_named(image, text, options, message):
    with pytest.raises(ValueError, match=message):
        local_similarity(image, text, options.pop("text_mask", None), 10.0, **options)
