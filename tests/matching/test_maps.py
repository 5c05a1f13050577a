"""Similarity maps: parity with a naive loop, exact decomposition, and what is refused."""

import pytest
import torch
import torch.nn.functional as F

from workbench.features import ImageFeatures, TextFeatures
from workbench.matching import centre, similarity_map, word_maps
from workbench.matching.words import vectors_in_context


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(12, 8, generator=generator), torch.randn(3, 8, generator=generator)


def test_each_is_the_cosine_of_every_pair(pair):
    patches, texts = pair
    naive = torch.tensor([[F.cosine_similarity(t, p, dim=0) for p in patches] for t in texts])
    assert torch.allclose(similarity_map(patches, texts), naive, atol=1e-6)


def test_whole_averages_to_the_cosine_with_the_mean_patch(pair):
    patches, texts = pair
    score = F.cosine_similarity(texts, patches.mean(0, keepdim=True))
    assert torch.allclose(similarity_map(patches, texts, normalize="whole").mean(1), score, atol=1e-6)


def test_scaling_a_patch_changes_whole_but_not_each(pair):
    patches, texts = pair
    louder = patches.clone()
    louder[0] *= 5
    assert torch.allclose(similarity_map(louder, texts), similarity_map(patches, texts), atol=1e-6)
    assert not torch.allclose(
        similarity_map(louder, texts, normalize="whole"), similarity_map(patches, texts, normalize="whole")
    )


def test_centring_takes_away_what_every_text_gets(pair):
    patches, texts = pair
    maps = similarity_map(patches, texts)
    assert torch.allclose(centre(maps, maps).mean(0), torch.zeros(12), atol=1e-6)


@pytest.mark.parametrize(
    ("patches", "texts", "normalize", "message"),
    [
        (torch.ones(3, 4), torch.ones(2, 5), "each", r"image_tokens \(3, 4\), text_tokens \(2, 5\).*same d"),
        (torch.ones(1, 3, 4), torch.ones(2, 4), "each", "one picture's"),
        (torch.ones(0, 4), torch.ones(2, 4), "each", "at least one row"),
        (torch.full((3, 4), torch.nan), torch.ones(2, 4), "each", "NaN"),
        (torch.ones(3, 4), torch.zeros(2, 4), "each", "length zero"),
        (torch.ones(3, 4), torch.ones(2, 4), "sum", "normalize='sum'; choose 'each'"),
        (torch.tensor([[1.0, 0], [-1, 0]]), torch.ones(1, 2), "whole", "average to zero"),
    ],
)
def test_refusals(patches, texts, normalize, message):
    with pytest.raises(ValueError, match=message):
        similarity_map(patches, texts, normalize=normalize)


@pytest.fixture
def picture():
    """A 2 × 3 grid where patch k points along axis k; the image is their mean."""
    tokens = torch.eye(6)[None]
    return ImageFeatures(torch.zeros(1, 4), tokens.mean(1), tokens, (2, 3))


def test_word_maps_find_planted_patches(picture):
    maps = word_maps(picture, ["fifth", "first"], torch.eye(6)[[4, 0]])
    assert maps.best_cell(0) == (2, 2)
    assert maps.best_cell(1) == (1, 1)
    assert maps.best_readings(2, 2, k=1) == [("fifth", 1.0)]
    assert maps.exact
    assert "“fifth” answers strongest at row 2, column 2 (1.00)" in maps.summary(0)


def test_exactness_is_measured_not_assumed(picture):
    other = ImageFeatures(picture.pre, picture.post + 0.1, picture.tokens, picture.grid)
    assert not word_maps(other, ["a"], torch.eye(6)[:1]).exact


@pytest.mark.parametrize("cell", [(0, 1), (3, 1), (1, 4)])
def test_patch_outside_the_grid(picture, cell):
    maps = word_maps(picture, ["a"], torch.eye(6)[:1])
    with pytest.raises(ValueError, match="outside the grid of 2 rows and 3 columns"):
        maps.best_readings(*cell)


def test_word_maps_need_one_picture_with_tokens(picture):
    with pytest.raises(ValueError, match="tokens missing"):
        word_maps(ImageFeatures(picture.pre, picture.post), ["a"], torch.eye(6)[:1])
    with pytest.raises(ValueError, match="2 readings but 1 vectors"):
        word_maps(picture, ["a", "b"], torch.eye(6)[:1])


def test_untrusted_readings_are_escaped(picture):
    html = word_maps(picture, ["<script>x</script>"], torch.eye(6)[:1])._repr_mimebundle_()["text/html"]
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def caption(words, word_ids):
    tokens = torch.arange(len(word_ids) * 2, dtype=torch.float32).reshape(1, -1, 2)
    mask = torch.tensor([[i is not None for i in word_ids]])
    return TextFeatures(torch.zeros(1, 2), torch.zeros(1, 2), tokens, mask, [words], [word_ids])


def test_a_phrase_is_the_mean_of_its_words_and_a_word_of_its_pieces():
    text = caption(["it", "'", "s", "red"], [None, 0, 1, 2, 3, 3, None])
    vectors = vectors_in_context(text, ["it's", "red"])
    assert torch.allclose(vectors[0], text.tokens[0, 1:4].mean(0))
    assert torch.allclose(vectors[1], text.tokens[0, 4:6].mean(0))


def test_a_reading_that_is_not_in_the_caption():
    with pytest.raises(ValueError, match="'blue' does not stand in the caption"):
        vectors_in_context(caption(["red"], [None, 0, None]), ["blue"])


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("cafe\u0301", "cafe"),
        ("NAÏVE", "naive"),
        ("\ufb01sh", "fish"),
        ("ＦＵＬＬ", "full"),
        ("हिन्दी", "हिनदी"),
        ("❤\ufe0f", "❤"),
    ],
)
def test_letters_that_tokenizers_rewrite_are_found(typed, read):
    """Accents, ligatures and vowel signs: BERT drops the marks, CLIP's cleaning takes ligatures apart."""
    assert vectors_in_context(caption([read], [None, 0, None]), [typed]).shape == (1, 2)


def test_a_reading_behind_the_context_is_refused():
    with pytest.raises(ValueError, match="behind the 3 tokens that the model read"):
        vectors_in_context(caption(["red", "cat"], [None, 0, None]), ["cat"])
