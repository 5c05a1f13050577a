"""Heads and losses against plain float64 references."""

import math

import numpy as np
import pytest
import torch

from workbench.heads import ConseHead, LinearHead
from workbench.losses import clip_loss


def test_linear_head_is_its_projector():
    head = LinearHead(5, 3).double()
    x = torch.randn(7, 5, dtype=torch.float64)
    assert torch.allclose(head(x), head.projector()(x), atol=1e-15)


def test_linear_head_commutes_with_averaging():
    head = LinearHead(5, 3).double()
    x = torch.randn(2, 9, 5, dtype=torch.float64)
    assert torch.allclose(head(x).mean(1), head(x.mean(1)), atol=1e-14)


def test_conse_takes_only_the_likeliest_classes():
    prototypes = torch.eye(4)
    head = ConseHead(torch.eye(4) * 10, torch.zeros(4), prototypes, k=1)
    out = head(torch.tensor([[0.0, 1, 0, 0]]))
    assert out.argmax() == 1
    assert (out > 0).sum() == 1


def test_conse_needs_one_text_per_class():
    with pytest.raises(ValueError, match="4 classes but 3 prototypes"):
        ConseHead(torch.eye(4), torch.zeros(4), torch.zeros(3, 2))


def reference(image, text, scale):
    image, text = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (image, text))
    logits = scale * image @ text.T
    rows = [math.log(sum(math.exp(v) for v in row)) - row[b] for b, row in enumerate(logits)]
    columns = [math.log(sum(math.exp(v) for v in column)) - column[b] for b, column in enumerate(logits.T)]
    return (np.mean(rows) + np.mean(columns)) / 2


def test_clip_loss_equals_the_definition():
    rng = np.random.default_rng(0)
    image, text = rng.normal(size=(2, 6, 4))
    ours = clip_loss(torch.tensor(image), torch.tensor(text), 7.0)
    assert abs(ours.item() - reference(image, text, 7.0)) < 1e-12


def test_clip_loss_knows_the_right_pairing():
    x = torch.eye(4)
    assert clip_loss(x, x, 20.0) < 1e-4 < clip_loss(x, x.roll(1, 0), 20.0)


@pytest.mark.parametrize(
    ("image", "text", "message"),
    [
        (torch.ones(3, 4), torch.ones(2, 4), r"image \(3, 4\) and text \(2, 4\)"),
        (torch.ones(1, 4), torch.ones(1, 4), "one pair has no negatives"),
    ],
)
def test_clip_loss_refuses(image, text, message):
    with pytest.raises(ValueError, match=message):
        clip_loss(image, text, 1.0)
