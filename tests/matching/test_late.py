"""Late interaction against a loop, in any blocks, and against what cheats: padding, scale, order."""

import pytest
import torch
import torch.nn.functional as F

from workbench.matching import late, late_interaction


@pytest.fixture
def tokens():
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(5, 7, 6, generator=generator), torch.randn(4, 3, 6, generator=generator)
    text_mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 1, 1]]).bool()
    image_mask = torch.rand(5, 7, generator=generator) > 0.4
    image_mask[:, 0] = True
    return images, texts, text_mask, image_mask


def by_loop(images, texts, text_mask, image_mask, max_over):
    scores = torch.zeros(len(images), len(texts))
    for n, image in enumerate(images):
        for m, text in enumerate(texts):
            patches, words = image[image_mask[n]], text[text_mask[m]]
            cosines = F.cosine_similarity(patches[:, None], words[None], dim=-1)
            scores[n, m] = cosines.amax(0).mean() if max_over == "patches" else cosines.amax(1).mean()
    return scores


@pytest.mark.parametrize("max_over", ["patches", "tokens"])
@pytest.mark.parametrize("max_bytes", [1, 300, 1 << 20])
def test_equals_the_loop_in_any_blocks(tokens, max_over, max_bytes):
    images, texts, text_mask, image_mask = tokens
    found = late_interaction(images, texts, text_mask, image_mask=image_mask, max_over=max_over, max_bytes=max_bytes)
    assert torch.allclose(found, by_loop(*tokens, max_over), atol=1e-6)


def test_without_masks_everything_counts(tokens):
    images, texts, text_mask, image_mask = tokens
    everything = torch.ones_like(text_mask), torch.ones_like(image_mask)
    assert torch.allclose(late_interaction(images, texts), by_loop(images, texts, *everything, "patches"), atol=1e-6)


@pytest.mark.parametrize("max_over", ["patches", "tokens"])
def test_what_the_masks_hide_may_hold_anything(tokens, max_over):
    images, texts, text_mask, image_mask = tokens
    options = {"image_mask": image_mask, "max_over": max_over}
    before = late_interaction(images, texts, text_mask, **options)
    images, texts = images.clone(), texts.clone()
    images[~image_mask], texts[~text_mask] = 1e6, -1e6
    assert torch.allclose(late_interaction(images, texts, text_mask, **options), before)


def test_order_and_length_of_tokens_do_not_matter(tokens):
    images, texts, text_mask, _ = tokens
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    expected = late_interaction(images, texts, text_mask)
    assert torch.allclose(late_interaction(3 * images[:, order], 0.1 * texts, text_mask), expected, atol=1e-6)


def test_one_part_on_both_sides_is_the_global_cosine(tokens):
    images, texts, *_ = tokens
    image, text = images[:, :1], texts[:, :1]
    cosines = F.normalize(image[:, 0], dim=-1) @ F.normalize(text[:, 0], dim=-1).T
    for max_over in ("patches", "tokens"):
        assert torch.allclose(late_interaction(image, text, max_over=max_over), cosines, atol=1e-6)


@pytest.mark.parametrize("scale", [1e30, 1e-30, 1e37, 1e-37])
def test_tokens_of_any_scale_are_normalised(tokens, scale):
    images, texts, text_mask, _ = tokens
    expected = late_interaction(images, texts, text_mask)
    assert torch.allclose(late_interaction(images * scale, texts, text_mask), expected, atol=1e-5)
    large = images.double() * scale**8  # no float32 holds these
    assert torch.allclose(late_interaction(large, texts * scale, text_mask), expected, atol=1e-5)


def test_a_token_of_zeros_matches_nothing_and_halves_count(tokens):
    images, texts, *_ = tokens
    assert (late_interaction(torch.zeros(1, 1, 6), texts) == 0).all()
    assert late_interaction(images.half(), texts.half()).dtype == torch.float32
    large = torch.full((1, 1, 4), 6e4).half()
    assert late_interaction(large, large).item() == pytest.approx(1)


def test_more_patches_never_lower_the_best_match(tokens):
    images, texts, text_mask, _ = tokens
    few = late_interaction(images[:, :4], texts, text_mask)
    assert (late_interaction(images, texts, text_mask) >= few - 1e-6).all()


def test_gradients_flow_to_both_sides(tokens):
    images, texts, text_mask, _ = tokens
    images, texts = images.requires_grad_(), texts.requires_grad_()
    late_interaction(images, texts, text_mask).sum().backward()
    assert images.grad.abs().sum() > 0
    assert (texts.grad[~text_mask] == 0).all()


@pytest.mark.parametrize("max_over", ["patches", "tokens"])
def test_bfloat16_is_off_by_its_rounding_only(tokens, max_over):
    images, texts, text_mask, image_mask = tokens
    options = {"image_mask": image_mask, "max_over": max_over}
    found = late_interaction(images, texts, text_mask, dtype=torch.bfloat16, **options)
    wanted = late_interaction(images, texts, text_mask, **options)
    assert found.dtype == torch.float32
    assert 0 < (found - wanted).abs().max() < 3 * 2**-8


def test_equals_float64_at_the_size_of_a_real_block():
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(40, 49, 64, generator=generator), torch.randn(90, 16, 64, generator=generator)
    text_mask = torch.rand(90, 16, generator=generator) > 0.5
    text_mask[:, 0] = True
    exact = torch.einsum("npd,mtd->nmpt", F.normalize(images.double(), dim=-1), F.normalize(texts.double(), dim=-1))
    wanted = (exact.amax(2) * text_mask).sum(-1) / text_mask.sum(-1)
    assert torch.allclose(late_interaction(images, texts, text_mask).double(), wanted, atol=1e-6)


@pytest.mark.parametrize("max_over", ["patches", "tokens"])
def test_gradients_equal_those_of_the_loop(tokens, max_over):
    *sides, text_mask, image_mask = tokens
    weights = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    found = []
    for scores in (
        lambda x, y: late_interaction(x, y, text_mask, image_mask=image_mask, max_over=max_over, max_bytes=600),
        lambda x, y: by_loop(x, y, text_mask, image_mask, max_over),
    ):
        given = [side.clone().requires_grad_() for side in sides]
        found.append(torch.autograd.grad((scores(*given) * weights).sum(), given))
    for ours, wanted in zip(*found, strict=True):
        assert torch.allclose(ours, wanted, atol=1e-6)


def test_blocks_stay_within_the_budget_and_cover_everything(monkeypatch):
    """Counted, not measured: the peak of a process that held more before says nothing."""
    blocks = []

    def counted(images, words, mask):
        blocks.append((len(images), len(words)))
        return late_scores(images, words, mask)

    late_scores = late._scores
    monkeypatch.setattr(late, "_scores", counted)
    late_interaction(torch.randn(64, 49, 8), torch.randn(40, 16, 8), max_bytes=1 << 20)
    assert max(4 * n * 49 * words for n, words in blocks) <= 1 << 20
    assert sum(n * words for n, words in blocks) == 64 * 40 * 16


@pytest.mark.parametrize(
    ("images", "texts", "options", "message"),
    [
        (torch.ones(2, 3, 4), torch.ones(2, 3, 5), {}, "4 wide and text tokens 5"),
        (torch.ones(2, 4), torch.ones(2, 3, 4), {}, r"image tokens \(2, 4\) must be \(N, P, d\)"),
        (torch.ones(2, 3, 4), torch.ones(0, 3, 4), {}, r"text tokens \(0, 3, 4\)"),
        (torch.full((1, 1, 2), torch.nan), torch.ones(1, 1, 2), {}, "image tokens hold NaN or infinity"),
        (torch.ones(1, 1, 2), torch.full((1, 1, 2), -torch.inf), {}, "text tokens hold NaN or infinity"),
        (torch.ones(1, 2, 2), torch.ones(1, 2, 2), {"text_mask": torch.ones(1, 3).bool()}, r"text mask \(1, 3\)"),
        (torch.ones(1, 2, 2), torch.ones(1, 2, 2), {"text_mask": torch.ones(1, 2)}, "boolean mask"),
        (torch.ones(1, 2, 2), torch.ones(1, 2, 2), {"text_mask": torch.zeros(1, 2).bool()}, "in text 0 nothing counts"),
        (torch.ones(1, 2, 2), torch.ones(1, 2, 2), {"max_over": "words"}, "max_over='words'"),
        (torch.ones(1, 2, 2), torch.ones(1, 2, 2), {"max_bytes": 0}, "max_bytes=0"),
        (torch.ones(1, 2, 2), torch.ones(1, 2, 2), {"dtype": torch.float16}, r"dtype=torch\.float16"),
    ],
)
def test_bad_input_is_named(images, texts, options, message):
    with pytest.raises(ValueError, match=message):
        late_interaction(images, texts, **options)
