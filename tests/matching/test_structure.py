"""Structure-guided inference: its special cases, exclusive finds, centring, and what centring cannot change."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.optimize import linear_sum_assignment

from workbench.matching import Regions, Segments, crop_features, score, segment_features, structure, structure_guided
from workbench.models.registry import load_model


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def regions(tokens, mask=None):
    mask = torch.ones(tokens.shape[:2]).bool() if mask is None else mask
    return Regions(tokens, mask, (((0, 0, 1, 1),) * tokens.shape[1],) * len(tokens))


def segments(tokens, mask=None):
    mask = torch.ones(tokens.shape[:2]).bool() if mask is None else mask
    return Segments(tokens, mask, (("a",) * tokens.shape[1],) * len(tokens))


def test_one_full_crop_and_one_full_segment_are_the_global_cosine(clip_folder):
    model = load_model(f"local-dir:{clip_folder}", device="cpu")
    pixels = np.random.default_rng(0).integers(0, 255, (2, 64, 80, 3), dtype=np.uint8)
    pictures, captions = [Image.fromarray(each) for each in pixels], ["a red ball", "the cat left of a ball"]
    full = crop_features(model, pictures, boxes=[[(0, 0, 80, 64)]] * 2)
    whole = segment_features(model, [[caption] for caption in captions])
    image, text = model.encode_image(pictures), model.encode_text(captions)
    expected = score("global", image, text)
    assert torch.allclose(score("crops", full, whole), expected, atol=1e-5)
    assert torch.allclose(score("crops", full, whole, exclusive=True), expected, atol=1e-5)


def test_crops_and_segments_in_any_order_score_the_same():
    crops, texts = drawn(3, 6, 8), drawn(4, 3, 8, seed=1)
    turned = crops[:, torch.tensor([3, 0, 5, 1, 4, 2])], texts[:, [2, 0, 1]]
    for options in ({}, {"exclusive": True}, {"background": regions(drawn(2, 6, 8, seed=2))}):
        before = structure_guided(regions(crops), segments(texts), **options)
        after = structure_guided(regions(turned[0]), segments(turned[1]), **options)
        assert torch.allclose(before, after, atol=1e-6)


@pytest.mark.parametrize("max_bytes", [1, 2000, 1 << 28])
def test_exclusive_finds_are_the_best_assignment(max_bytes):
    """Many segments on few crops, so that most clash; masks leave some out."""
    crops, texts = drawn(5, 6, 3), drawn(7, 5, 3, seed=1)
    crop_mask, text_mask = torch.ones(5, 6).bool(), torch.ones(7, 5).bool()
    crop_mask[0, 2] = text_mask[:3, 1:3] = text_mask[3, :4] = False
    sides = regions(crops, crop_mask), segments(texts, text_mask)
    found = structure_guided(*sides, exclusive=True, max_bytes=max_bytes)
    for n, m in np.ndindex(5, 7):
        cosines = F.normalize(texts[m][text_mask[m]], dim=-1) @ F.normalize(crops[n][crop_mask[n]], dim=-1).T
        rows, columns = linear_sum_assignment(cosines.double().numpy(), maximize=True)
        assert found[n, m].item() == pytest.approx(cosines[rows, columns].mean().item(), abs=1e-6)
    free = structure_guided(*sides)
    assert (found <= free + 1e-6).all()
    assert (found < free - 1e-3).any()


def test_only_clashes_cost_an_assignment(monkeypatch):
    solved = []
    monkeypatch.setattr(structure, "_assigned", lambda cosines: solved.append(cosines.shape) or 0.0)
    crops = torch.eye(4)[None]
    apart, together = torch.eye(4)[None, :2], torch.eye(4)[None, [0, 0]]
    assert structure_guided(regions(crops), segments(apart), exclusive=True).item() == 1
    assert not solved
    structure_guided(regions(crops), segments(together), exclusive=True)
    assert solved == [(2, 4)]
    mask = torch.tensor([[True, False]])  # what does not count clashes with nothing
    assert structure_guided(regions(crops), segments(together, mask), exclusive=True).item() == 1
    assert len(solved) == 1


@pytest.mark.parametrize("exclusive", [False, True])
def test_centring_takes_away_what_a_segment_finds_anywhere(exclusive):
    crops, texts, others = regions(drawn(3, 6, 8)), segments(drawn(4, 3, 8, seed=1)), regions(drawn(5, 6, 8, seed=2))
    free = structure_guided(crops, texts, exclusive=exclusive)
    centred = structure_guided(crops, texts, exclusive=exclusive, background=others)
    elsewhere = structure_guided(others, texts, exclusive=exclusive)
    assert torch.allclose(centred, free - elsewhere.mean(0), atol=1e-6)
    assert torch.equal(centred.argsort(0), free.argsort(0))  # which picture a caption prefers stays
    own = structure_guided(others, texts, exclusive=exclusive, background=others)
    assert torch.allclose(own.mean(0), torch.zeros(4), atol=1e-6)


def test_centring_helps_a_caption_whose_segments_score_low_everywhere():
    """Caption 1 is right but of words that find little in any picture; caption 0 of words that find much in all."""
    easy, hard = torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 0])
    photo = regions(torch.stack([0.9 * easy + 0.1 * hard, 0.7 * easy + 0.5 * hard])[None])
    other = regions((0.9 * easy + 0.1 * torch.tensor([0, 0, 1.0]))[None, None].expand(3, -1, -1))
    captions = segments(torch.stack([easy[None], hard[None]]))
    assert structure_guided(photo, captions).argmax().item() == 0
    assert structure_guided(photo, captions, background=other).argmax().item() == 1


def test_more_segments_than_crops_cannot_be_exclusive():
    with pytest.raises(ValueError, match="a caption of 3 segments and a picture of 2 crops: they cannot all differ"):
        structure_guided(regions(drawn(2, 2, 4)), segments(drawn(1, 3, 4)), exclusive=True)
    assert structure_guided(regions(drawn(2, 2, 4)), segments(drawn(1, 3, 4))).shape == (2, 1)
