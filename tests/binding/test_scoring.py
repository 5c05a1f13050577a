"""What a head is asked, pair by pair: the order of scores, blocks, masks, ties, candidates of a retrieval."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.binding.planted import planted
from workbench.binding import OnGlobals, OnTokens, QuadFeatures, Side, reranker, score_groups, scores
from workbench.binding.scoring import level
from workbench.evaluation import group_scores, recall_at_k, two_stage_recall
from workbench.heads import GlobalPairTransformer, PairTransformer

SMALL = {"width": 16, "layers": 2, "heads": 2, "ffn": 16}


class Cosine(nn.Module):
    """The global cosine in a head's clothes."""

    def forward(self, image, text):
        return F.cosine_similarity(image, text, dim=-1)


def head(seed=0):
    torch.manual_seed(seed)
    return OnTokens(PairTransformer(10, 10, **SMALL))


def random_globals(n=30, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return QuadFeatures(*(Side(torch.randn(n, 2, 6, generator=generator)) for _ in range(2)))


def test_scores_stand_by_picture_and_caption():
    features = random_globals()
    image, text = (F.normalize(side.post, dim=-1) for side in (features.images, features.texts))
    torch.testing.assert_close(scores(OnGlobals(Cosine()), features), image @ text.mT)


@pytest.mark.parametrize("block", [1, 7, 64])
def test_blocks_change_nothing(block):
    features = planted(20)
    torch.testing.assert_close(scores(head(), features, block=block), scores(head(), features), atol=1e-6, rtol=1e-5)


def test_masks_of_both_sides_reach_the_head():
    features, transformer = planted(5), head().eval()
    shown = torch.tensor([True, True, False]).expand(5, 2, 3)
    masked = QuadFeatures(Side(features.images.post, features.images.tokens, shown), features.texts)
    bare = QuadFeatures(Side(features.images.post, features.images.tokens[:, :, :2]), features.texts)
    torch.testing.assert_close(scores(transformer, masked), scores(transformer, bare), atol=1e-6, rtol=1e-5)
    padding = features.texts.tokens.clone()
    padding[:, :, 2:] = -3
    other = QuadFeatures(features.images, Side(features.texts.post, padding, features.texts.mask))
    torch.testing.assert_close(scores(transformer, features), scores(transformer, other))


def test_words_reach_a_head_that_asks_for_them():
    class Words(nn.Module):
        def forward(self, patches, tokens, mask, *, words):
            return (words >= 0).sum(1).float()

    features = planted(4)
    words = torch.full(features.texts.mask.shape, -1)
    words[:, 1, 0] = 2
    told = QuadFeatures(features.images, Side(features.texts.post, features.texts.tokens, features.texts.mask, words))
    found = scores(OnTokens(Words(), words=True), told)
    assert torch.equal(found, torch.tensor([[0.0, 1.0], [0.0, 1.0]]).expand(4, 2, 2))


def test_blind_scores_tie_and_earn_nothing_from_picture_to_text():
    """Whoever scores: both pictures of a quad are the same one, so both prefer the same caption."""
    for seed in range(3):
        found = score_groups(head(seed), planted(60).blind(seed))
        assert found.image_to_text == found.text_to_image == found.group == 0
        assert found.tie_rates["text_to_image"] == 1


def test_the_control_ties_where_globals_are_bags():
    torch.manual_seed(0)
    found = score_groups(OnGlobals(GlobalPairTransformer(10, 10, **SMALL)), planted(40))
    assert found.group == found.image_to_text == found.text_to_image == 0
    assert found.tie_rates["group"] == 1


def test_rounding_is_levelled_in_parts_of_the_largest_score():
    found = torch.tensor([[[1e4, 1e4 * (1 + 1e-6)], [0.0, 5.0]], [[1e-4, 1.1e-4], [0.0, 0.0]]])
    assert group_scores(level(found)).tie_rates == group_scores(level(1000 * found)).tie_rates
    assert level(found)[0, 0, 0] == level(found)[0, 0, 1]
    assert level(found)[1, 0, 0] < level(found)[1, 0, 1]
    assert (level(torch.zeros(2, 2, 2)) == 0).all()


def test_scoring_leaves_a_head_as_it_was():
    transformer = head().train()
    transformer.head.blocks[0].eval()
    scores(transformer, planted(3))
    assert transformer.training
    assert not transformer.head.blocks[0].training
    assert transformer.head.blocks[1].training


@pytest.mark.parametrize("captions_ask", [True, False])
def test_reranking_everything_is_the_heads_own_retrieval(captions_ask):
    features, transformer = planted(8), head()
    images, texts = features.images.flat(), features.texts.flat()
    queries, gallery = (texts, images) if captions_ask else (images, texts)
    rerank = reranker(transformer, queries, gallery, captions_ask=captions_ask, block=37)
    whole = rerank(np.arange(16), np.tile(np.arange(16), (16, 1)))
    with torch.no_grad():
        picture, caption = (5, 2) if captions_ask else (2, 5)
        single = transformer.eval()(images[[picture]], texts[[caption]])
    assert whole[2, 5].item() == pytest.approx(single.item(), abs=1e-5)
    own, noise = np.arange(16), torch.randn(2, 16, 4, generator=torch.Generator().manual_seed(0))
    found = two_stage_recall(*noise, own, rerank, (1, 16))
    assert found.at[16].mean == pytest.approx(recall_at_k(whole, own, (1,))[1])


def test_heads_and_features_that_do_not_fit_are_refused():
    features = planted(4)
    with pytest.raises(ValueError, match="pictures have no tokens"):
        scores(head(), random_globals())
    with pytest.raises(ValueError, match="block=0"):
        scores(head(), features, block=0)

    class Wide(nn.Module):
        def forward(self, images, texts):
            return images.post

    with pytest.raises(ValueError, match=r"shape \(16, 10\) for 16 pairs; it must give \(B,\)"):
        scores(Wide(), features)
    broken = head()
    broken.head.cls.data.fill_(torch.nan)
    with pytest.raises(ValueError, match="NaN"):
        scores(broken, features)
    with pytest.raises(ValueError, match=r"features\.images\.flat\(\)"):
        reranker(head(), features.texts, features.images)
    with pytest.raises(ValueError, match="block=0"):
        reranker(head(), features.texts.flat(), features.images.flat(), block=0)
