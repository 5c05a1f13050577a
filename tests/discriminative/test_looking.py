"""Effective support by hand, and of a model's heads."""

import math

import pytest
import torch
from PIL import Image

from workbench.discriminative.looking import attention_reading, effective_support
from workbench.evaluation import bootstrap

PICTURES = [Image.linear_gradient("L").convert("RGB"), Image.radial_gradient("L").convert("RGB")]


def test_one_token_all_tokens_and_between():
    found = effective_support([[0, 0.3, 0, 0], [0.1] * 4, [0.2, 0.2, 0, 0], [0.3, 0.1, 0, 0]])
    between = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert found.tolist() == pytest.approx([1, 4, 2, between])


def test_a_row_of_zeros_looks_at_nothing():
    assert effective_support([[0.0, 0.0], [0.0, 1.0]]).isnan().tolist() == [True, False]


def test_how_much_goes_elsewhere_does_not_count():
    weights = torch.rand((3, 4, 16), generator=torch.Generator().manual_seed(0))
    found = effective_support(weights)
    assert found.shape == (3, 4)
    assert ((found > 1) & (found <= 16)).all()
    assert torch.allclose(effective_support(1e-6 * weights), found)


@pytest.mark.parametrize("weights", [[0.5, -0.1], [math.nan, 1.0], [math.inf, 1.0]])
def test_what_is_no_attention_is_refused(weights):
    with pytest.raises(ValueError, match="below 0 or not finite"):
        effective_support(weights)


@pytest.mark.parametrize("weights", [0.5, [], torch.ones(3, 0)])
def test_no_tokens_are_refused(weights):
    with pytest.raises(ValueError, match=r"give \(…, P\)"):
        effective_support(weights)


def test_heads_are_means_over_pictures(llava):
    found, weights = attention_reading(llava, PICTURES), llava.summary_attention(PICTURES).weights
    assert found.tokens == 16
    assert len(found.support) == len(found.share) == weights.shape[1]
    for head, (support, share) in enumerate(zip(found.support, found.share, strict=True)):
        assert support == bootstrap(effective_support(weights[:, head]))
        assert share.mean == pytest.approx(weights[:, head].sum(-1).mean().item(), abs=1e-6)
        assert 0 < share.mean < 1
    assert [row[0] for row in found.table().rows] == ["1", "2", "3", "4"]
    assert "effective support of 16" in str(found)


def test_a_head_that_looks_at_nothing_has_no_support(llava, monkeypatch):
    seen = llava.summary_attention(PICTURES)
    seen.weights[0, 1], seen.weights[:, 2] = 0, 0
    monkeypatch.setattr(type(llava), "summary_attention", lambda *_, **__: seen)
    found = attention_reading(llava, PICTURES)
    assert [each.n for each in found.support] == [2, 1, 0, 2]
    assert math.isnan(found.support[2].mean)
    assert (found.share[2].mean, found.share[2].n) == (0, 2)


def test_only_a_model_with_a_summary_is_read():
    with pytest.raises(TypeError, match="str has no summary token"):
        attention_reading("scenes-lvlm", PICTURES)
