"""Heads of pairs over blocks: every pair once, in evaluation, on rows that belong together."""

import pytest
import torch
from torch import nn

from workbench.matching import pair_scores


class Adds(nn.Module):
    """100 · the picture's number + the caption's; notes how many pairs came at a time."""

    def __init__(self):
        super().__init__()
        self.seen, self.dropout = [], nn.Dropout(0.5)

    def forward(self, image, text):
        self.seen.append(len(image))
        return self.dropout(torch.ones(len(image))) * (100 * image[:, 0] + text[:, 0])


@pytest.mark.parametrize("max_bytes", [1, 700, 1 << 20])
def test_every_pair_once(max_bytes):
    image, text, head = torch.arange(5.0)[:, None], torch.arange(7.0)[:, None], Adds()
    found = pair_scores(head, {"image": image}, {"text": text}, max_bytes=max_bytes)
    assert torch.equal(found, 100 * image + text.T)
    assert sum(head.seen) == 35
    assert max(head.seen) * 8 * 8 <= max(max_bytes, 64)
    assert head.training


class Gives(nn.Module):
    def __init__(self, scores):
        super().__init__()
        self.scores = scores

    def forward(self, image, text):
        return self.scores


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (torch.ones(2, 1), r"the head gave scores of shape \(2, 1\) for 2 pairs"),
        (torch.tensor([1, torch.nan]), "the head's scores hold NaN or infinity"),
    ],
)
def test_a_head_that_gives_something_else_is_named(scores, message):
    with pytest.raises(ValueError, match=message):
        pair_scores(Gives(scores), {"image": torch.ones(1, 1)}, {"text": torch.ones(2, 1)})


def test_no_pictures_are_named():
    with pytest.raises(ValueError, match="0 pictures and 2 captions"):
        pair_scores(Adds(), {"image": torch.ones(0, 1)}, {"text": torch.ones(2, 1)})
