"""One step by hand: both losses from their equations, and the same gradients however little of a batch is in memory."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tests.discriminative.pictures import LONG, PICTURES, SHORT
from workbench.discriminative import DiscriminativeConfig, TwoCaptions
from workbench.discriminative.learning import beside, prepare
from workbench.discriminative.step import Encoded, encode, loss_of, make_batch

CONFIG = DiscriminativeConfig(rank=2, alpha=2.0)


def batch_of(model, long=LONG):
    pairs = TwoCaptions(PICTURES, SHORT, long)
    return make_batch(model, pairs.each(model, range(6)), SHORT, long)


def test_the_loss_by_hand():
    torch.manual_seed(0)
    image, text, written = torch.randn(4, 8), torch.randn(4, 8), torch.rand(4, 3)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 0, 0], [1, 0, 0]]).bool()
    written = written * mask
    logits = F.normalize(image, dim=1) @ F.normalize(text, dim=1).T / 0.1
    both = sum(-(each.softmax(1).diagonal().log().mean()) for each in (logits, logits.T))
    told = Encoded(image, text, written, mask)
    assert loss_of(told, 0.1, replace(CONFIG, next_token_weight=0)).item() == pytest.approx(both.item(), rel=1e-5)
    alone = loss_of(told, 0.1, replace(CONFIG, contrastive_weight=0)).item()
    assert alone == pytest.approx((written.sum() / 6).item(), rel=1e-6)
    weighted = loss_of(told, 0.1, replace(CONFIG, contrastive_weight=2, next_token_weight=0.5)).item()
    assert weighted == pytest.approx(2 * both.item() + 0.5 * alone, rel=1e-5)


def test_the_next_token_loss_is_of_the_long_captions_behind_the_prompt(model):
    found = encode(model, batch_of(model), CONFIG)
    assert torch.allclose(found.image, model.encode_image(PICTURES).post, atol=1e-5)
    assert torch.allclose(found.text, model.encode_text(SHORT).post, atol=1e-5)
    assert found.written[found.mask].mean().item() > 0.5 * math.log(30)  # of random weights, a guess among all words
    assert found.mask.sum(1).tolist() == [len(each.split()) + 1 for each in LONG]


def test_a_picture_without_a_long_caption_has_no_next_token_loss(model):
    some = encode(model, batch_of(model, [*LONG[:3], None, None, None]), CONFIG)
    assert some.mask.any(1).tolist() == [True] * 3 + [False] * 3
    assert (some.written[3:] == 0).all()
    none = encode(model, batch_of(model, [None] * 6), CONFIG)
    assert none.mask.shape == (6, 0)
    assert loss_of(none, 0.05, CONFIG) == loss_of(none, 0.05, replace(CONFIG, next_token_weight=0))


def gradients(model, micro_batch):
    tuned = beside(model)
    torch.manual_seed(0)
    trained = prepare(tuned, CONFIG)
    for name, each in trained.parameters.items():
        if "lora_B" in name:  # at zero A gets no gradient
            torch.nn.init.normal_(each, std=0.1)
    encoded = encode(tuned, batch_of(tuned), replace(CONFIG, micro_batch=micro_batch))
    loss_of(encoded, 0.05, CONFIG).backward()
    return {name: each.grad for name, each in trained.parameters.items()}


@pytest.mark.parametrize("micro_batch", [1, 4])
def test_parts_give_the_gradients_of_the_whole_batch(model, micro_batch):
    whole, parts = gradients(model, None), gradients(model, micro_batch)
    for name, each in whole.items():
        assert each.abs().max() > 0, name
        assert (parts[name] - each).abs().max() <= 1e-5 * max(each.abs().max().item(), 1), name
