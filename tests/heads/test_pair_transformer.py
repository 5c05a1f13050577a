"""The pair transformer against its equations, its size, and what must not change its score."""

import math

import numpy as np
import pytest
import torch

from workbench.heads import GlobalPairTransformer, PairTransformer

B, P, T, D_P, D_T = 5, 4, 6, 7, 9
SMALL = {"width": 8, "layers": 2, "heads": 2, "ffn": 12}


def drawn(kind=PairTransformer, dtype=torch.float64, **sizes):
    """A small head with every parameter drawn: at their start biases are 0 and norms do nothing."""
    head = kind(D_P, D_T, **{**SMALL, **sizes}).to(dtype)
    generator = torch.Generator().manual_seed(0)
    for parameter in head.parameters():
        parameter.data.normal_(std=0.5, generator=generator)
    return head


def pairs(seed=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    patches, tokens = (
        torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((B, P, D_P), (B, T, D_T))
    )
    mask = torch.arange(T) < torch.tensor([1, 3, 6, 2, 5])[:, None]
    return patches.to(dtype), tokens.to(dtype), mask


def plain(head, patches, tokens):
    """The score of one pair without padding, in NumPy and from the equations."""
    p = {name: value.detach().numpy() for name, value in head.state_dict().items()}

    def norm(x, name=None):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x if name is None else x * p[f"{name}.weight"] + p[f"{name}.bias"]

    def layer(x, name):
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    def gelu(x):
        return x * (1 + np.vectorize(math.erf)(x / np.sqrt(2))) / 2

    x = np.concatenate([p["cls"][None], layer(patches.numpy(), "patch"), layer(tokens.numpy(), "token")])
    for i in range(len(head.blocks)):
        block = f"blocks.{i}"
        h = norm(x, f"{block}.norm1")
        joint = h @ p[f"{block}.self_attn.in_proj_weight"].T + p[f"{block}.self_attn.in_proj_bias"]
        q, k, v = (part.reshape(len(x), head.heads, -1).transpose(1, 0, 2) for part in np.split(joint, 3, axis=1))
        logits = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
        shares = np.exp(logits - logits.max(-1, keepdims=True))
        mixed = (shares / shares.sum(-1, keepdims=True)) @ v
        x = x + layer(mixed.transpose(1, 0, 2).reshape(len(x), -1), f"{block}.self_attn.out_proj")
        x = x + layer(gelu(layer(norm(x, f"{block}.norm2"), f"{block}.linear1")), f"{block}.linear2")
    return layer(norm(x[0]), "score").item()


@pytest.mark.parametrize("training", [True, False])
def test_scores_are_the_definition(training):
    """In evaluation without gradients torch takes another path through a block: it must give the same."""
    head, (patches, tokens, mask) = drawn().train(training), pairs()
    with torch.set_grad_enabled(training):
        found = head(patches, tokens, mask)
    assert found.shape == (B,)
    expected = [plain(head, patches[b], tokens[b][mask[b]]) for b in range(B)]
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-9, atol=1e-9)


def test_the_reference_configuration_has_13_27_million_parameters():
    with torch.device("meta"):
        head, control = PairTransformer(768, 512), GlobalPairTransformer(512, 512)
    count = lambda head: sum(p.numel() for p in head.parameters())  # noqa: E731
    blocks, projections = 4 * 3_152_384, (768 + 1) * 512 + (512 + 1) * 512
    assert count(head) == blocks + projections + 512 + 513 == 13_266_945
    assert count(control) == count(head) - (768 - 512) * 512


def test_padding_changes_nothing_not_even_nan():
    head, (patches, tokens, mask) = drawn(), pairs()
    other = tokens.masked_fill(~mask[..., None], torch.nan)
    longer = torch.cat([other, torch.full((B, 3, D_T), torch.inf, dtype=torch.float64)], 1)
    found = head(patches, longer, torch.cat([mask, torch.zeros(B, 3, dtype=torch.bool)], 1))
    torch.testing.assert_close(found, head(patches, tokens, mask), rtol=1e-12, atol=1e-12)
    found.sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in head.parameters())


def test_masked_patches_are_never_read():
    head, (patches, tokens, mask) = drawn(), pairs()
    shown = torch.arange(P) < 2
    found = head(patches.masked_fill(~shown[:, None], 1e9), tokens, mask, patch_mask=shown.expand(B, P))
    torch.testing.assert_close(found, head(patches[:, :2], tokens, mask), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(found, head(patches, tokens, mask))


def test_the_order_of_patches_and_of_tokens_changes_nothing():
    head, (patches, tokens, _) = drawn(), pairs()
    score = head(patches, tokens)
    turned = head(patches[:, torch.randperm(P)], tokens[:, torch.randperm(T)])
    torch.testing.assert_close(score, turned, rtol=1e-12, atol=1e-12)


def test_a_pair_scores_the_same_in_any_batch():
    head, (patches, tokens, mask) = drawn(), pairs()
    alone = torch.cat([head(patches[b : b + 1], tokens[b : b + 1], mask[b : b + 1]) for b in range(B)])
    torch.testing.assert_close(alone, head(patches, tokens, mask), rtol=1e-12, atol=1e-12)


def test_patches_and_tokens_are_told_apart():
    """The same vectors as the other kind score otherwise: the projections' biases are type embeddings."""
    head = drawn().double()
    head.token = torch.nn.Linear(D_P, 8).double()
    head.token.load_state_dict(head.patch.state_dict())
    one, two = torch.randn(2, B, 3, D_P, dtype=torch.float64)
    assert torch.allclose(head(one, two), head(two, one)), "with one type for both, sides are one set"
    head.token.bias.data[:4] += 1
    assert not torch.allclose(head(one, two), head(two, one))


def test_blocks_do_not_start_as_copies_of_each_other():
    first, second = PairTransformer(D_P, D_T, **SMALL).blocks
    assert not torch.equal(first.linear1.weight, second.linear1.weight)


def test_gradients_reach_every_parameter():
    head, (patches, tokens, mask) = drawn(), pairs()
    head(patches, tokens, mask).square().sum().backward()
    assert [name for name, p in head.named_parameters() if not bool(p.grad.abs().max() > 0)] == []


def test_the_control_is_the_same_transformer_on_single_tokens():
    control, head = drawn(GlobalPairTransformer), drawn()
    patches, tokens, _ = pairs()
    found = control(patches[:, 0], tokens[:, 0])
    torch.testing.assert_close(found, head(patches[:, :1], tokens[:, :1]))
    assert control.state_dict().keys() == head.state_dict().keys()


def test_halves_stay_near():
    head, (patches, tokens, mask) = drawn(), pairs()
    expected = head(patches, tokens, mask)
    found = head.bfloat16()(patches.bfloat16(), tokens.bfloat16(), mask)
    assert found.dtype == torch.bfloat16
    assert (found - expected).abs().max() < 0.1


def test_its_layout_is_in_its_name():
    """A checkpoint is refused by what `repr` says; two divisions into heads have the same weights."""
    assert repr(PairTransformer(D_P, D_T, **SMALL)) != repr(PairTransformer(D_P, D_T, **{**SMALL, "heads": 4}))


@pytest.mark.parametrize(
    ("sizes", "error", "match"),
    [
        ({"heads": 3}, ValueError, "heads=3 do not divide width=8"),
        ({"layers": 0}, ValueError, "layers=0"),
        ({"ffn": 2.5}, TypeError, "ffn is float 2.5"),
        ({"width": True}, TypeError, "width is bool True"),
    ],
)
def test_sizes_that_make_no_transformer_are_refused(sizes, error, match):
    with pytest.raises(error, match=match):
        PairTransformer(D_P, D_T, **{**SMALL, **sizes})


def bad_input():
    patches, tokens, mask = pairs()
    yield (patches[..., :3], tokens, mask), r"patches have shape \(5, 4, 3\); give \(B, T, 7\)"
    yield (patches, tokens[:, 0], mask), r"tokens have shape \(5, 9\)"
    yield (patches[:, :0], tokens, mask), r"patches have shape \(5, 0, 7\)"
    yield (patches[:3], tokens, mask), "3 pictures and 5 captions"
    yield (patches, tokens, mask[:, :-1]), r"mask \(5, 5\)"
    yield (patches, tokens, mask.int()), "boolean mask"
    yield (patches, tokens, mask & (torch.arange(B) != 3)[:, None]), "in row 3 of tokens nothing counts"


@pytest.mark.parametrize(("arguments", "match"), list(bad_input()))
def test_what_does_not_fit_is_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        drawn()(*arguments)


def test_the_control_takes_global_embeddings():
    patches, tokens, _ = pairs()
    with pytest.raises(ValueError, match=r"text has shape \(5, 6, 9\); give global embeddings"):
        drawn(GlobalPairTransformer)(patches[:, 0], tokens)
