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


def test_the_interval_is_that_of_the_ratio():
    rng = np.random.default_rng(0)
    tokens = rng.integers(5, 60, 300)
    told = Perplexity("m", "p", 2 * tokens + rng.normal(0, 1, 300), tokens)
    found = told.interval
    rows = rng.integers(0, 300, (4000, 300))
    low, high = np.percentile(told.nats[rows].sum(1) / tokens[rows].sum(1), [2.5, 97.5])
    assert found.mean == pytest.approx(np.log(told.value))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low))


def test_captions_that_are_cut_are_told(llava):
    long = " ".join(["red"] * 70)
    with pytest.warns(UserWarning, match="1 of 2 captions are cut where the context of"):
        perplexity(llava, PICTURES[:2], [LONG[0], long], prompt=ASKED)
    room = llava.continuation([long], prompt=ASKED).ids.shape[1]
    assert room > llava.continuation([long], prompt=f"{ASKED} in one word").ids.shape[1]


def test_refused(llava):
    with pytest.raises(ValueError, match="2 pictures and 1 captions"):
        perplexity(llava, PICTURES[:2], LONG[:1])
    with pytest.raises(ValueError, match="holds '<image>' 0 times"):
        perplexity(llava, PICTURES[:1], LONG[:1], prompt="what is this")
