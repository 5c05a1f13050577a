"""Surprise at true captions: the library's own loss, and numbers that do not match."""

import math

import numpy as np
import pytest
import torch

from tests.discriminative.pictures import LONG, PICTURES
from workbench.discriminative import Perplexity, perplexity

ASKED = "<image>\ndescribe this"


def test_perplexity_is_the_librarys_loss(model):
    found = perplexity(model, PICTURES[:1], LONG[:1], prompt=ASKED)
    read = model.continuation(LONG[:1])
    asked = model._of_pictures(model.preprocess(PICTURES[0])[None], ASKED)
    more = {key: torch.zeros_like(read.ids) for key in asked if asked[key].shape == asked["input_ids"].shape}
    more |= {"input_ids": read.ids, "attention_mask": read.mask.long()}
    whole = asked | {key: torch.cat([asked[key], value], 1) for key, value in more.items()}
    labels = whole["input_ids"].clone()
    labels[:, : asked["input_ids"].shape[1]] = -100
    with torch.no_grad():
        loss = model.module(**whole, labels=labels, use_cache=False).loss.item()
    assert math.log(found.value) == pytest.approx(loss, rel=1e-4)
    assert found.tokens.tolist() == [len(LONG[0].split()) + 1]


def test_batches_and_lengths_change_nothing(model):
    one, other = (perplexity(model, PICTURES, LONG, prompt=ASKED, batch_size=size) for size in (1, 4))
    assert np.allclose(one.nats, other.nats, atol=1e-4)


def test_the_mean_is_over_tokens():
    told = Perplexity("m", "p", np.array([1.0, 8.0]), np.array([1, 2]))
    assert told.value == pytest.approx(math.exp(3))
    assert told.interval.mean == pytest.approx(3)


def test_refused(llava):
    with pytest.raises(ValueError, match="2 pictures and 1 captions"):
        perplexity(llava, PICTURES[:2], LONG[:1])
    with pytest.raises(ValueError, match="holds '<image>' 0 times"):
        perplexity(llava, PICTURES[:1], LONG[:1], prompt="what is this")
