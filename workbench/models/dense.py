"""Last-block variants for dense maps: the same weights, read so that a patch says more about its own place.

Raw patch tokens of a CLIP are poorly, even inversely localised: the last block mixes them for the sake of the class
token. Each variant computes the last block again from what entered it; the model itself is never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    QKV = tuple[Tensor, Tensor, Tensor]

NEIGHBOURHOOD = 5.0  # NACLIP's standard deviation, in patches
SURGERY_BLOCKS = 6  # how many last blocks CLIP Surgery reads again

VARIANTS = {
    "raw": "the last block as it was trained",
    "maskclip": "value path only: each patch attends to itself (MaskCLIP, arXiv 2112.01071)",
    "sclip": "query–query plus key–key attention (SCLIP, arXiv 2312.01597)",
    "clearclip": "query–query attention, no residual, no MLP (ClearCLIP, arXiv 2407.12442)",
    "naclip": "key–key attention that favours neighbours, no residual, no MLP (NACLIP, arXiv 2404.08181)",
    "surgery": "value–value attention of the last blocks summed beside them, no MLP (CLIP Surgery, arXiv 2304.05653)",
}


@dataclass(frozen=True)
class Block:
    """A pre-norm transformer block in parts: `qkv(x)` after the first norm, each (B, heads, N, d_head); `mix` joins heads
    and projects; `mlp` is the second residual branch with its norm."""

    qkv: Callable[[Tensor], QKV]
    mix: Callable[[Tensor], Tensor]
    mlp: Callable[[Tensor], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        """The block as it was trained: what shows that the parts are put together rightly."""
        q, k, v = self.qkv(x)
        x = x + self.mix(_attend(_scores(q, k), v))
        return x + self.mlp(x)


def dense_states(variant: str, blocks: Sequence[Block], inputs: Sequence[Tensor], prefix: int, grid) -> Tensor:
    """States (B, N, w) after the last block, as `variant` reads it; the first `prefix` of N are not patches.

    `inputs[i]` (B, N, w) entered `blocks[i]`; only "surgery" uses more than the last. Raises KeyError for another name.
    """
    if variant == "surgery":
        return _surgery(blocks, inputs)
    block, x = blocks[-1], inputs[-1]
    q, k, v = block.qkv(x)
    match variant:
        case "maskclip":
            attended = v
        case "sclip":
            attended = _attend(_scores(q, q), v) + _attend(_scores(k, k), v)
        case "clearclip":
            return block.mix(_attend(_scores(q, q), v))
        case "naclip":
            return block.mix(_attend(_scores(k, k) + neighbourhood(prefix, grid, x), v))
        case _:
            raise KeyError(variant)
    x = x + block.mix(attended)
    return x + block.mlp(x)


def _surgery(blocks: Sequence[Block], inputs: Sequence[Tensor]) -> Tensor:
    """A second path that leaves the first alone: it starts where the first reread block does and gathers attention only."""
    x = inputs[0]
    for block, entered in zip(blocks, inputs, strict=True):
        _, _, v = block.qkv(entered)
        x = x + block.mix(_attend(_scores(v, v), v))
    return x


def neighbourhood(prefix: int, grid: tuple[int, int], like: Tensor) -> Tensor:
    """NACLIP's bias (N, N): exp(-distance² / 2σ²) between patches, 0 to and from the first `prefix` tokens."""
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in grid), indexing="ij")
    place = torch.stack([rows.flatten(), columns.flatten()], 1)
    near = (-(torch.cdist(place, place) ** 2) / (2 * NEIGHBOURHOOD**2)).exp()
    bias = torch.zeros(prefix + len(place), prefix + len(place))
    bias[prefix:, prefix:] = near
    return bias.to(device=like.device, dtype=like.dtype)


def _scores(a: Tensor, b: Tensor) -> Tensor:
    return a @ b.transpose(-2, -1) * a.shape[-1] ** -0.5


def _attend(scores: Tensor, v: Tensor) -> Tensor:
    return scores.softmax(-1) @ v


# The blocks of three libraries, in parts -----------------------------------------------------------------------------


def parts_of(block: nn.Module) -> Block:
    """A block of open_clip, timm or transformers in parts. Raises ValueError for one whose attention is another kind."""
    from open_clip.transformer import ResidualAttentionBlock
    from timm.layers import Attention
    from timm.models.vision_transformer import Block as TimmBlock
    from transformers.models.clip.modeling_clip import CLIPEncoderLayer
    from transformers.models.siglip.modeling_siglip import SiglipEncoderLayer
    from transformers.models.siglip2.modeling_siglip2 import Siglip2EncoderLayer

    if type(block) is ResidualAttentionBlock:
        return _of_open_clip(block)
    if type(block) is TimmBlock and type(block.attn) is Attention and block.attn.gate is None:
        return _of_timm(block)
    if isinstance(block, (CLIPEncoderLayer, SiglipEncoderLayer, Siglip2EncoderLayer)):
        return _of_transformers(block)
    raise ValueError(
        f"its blocks are {type(block).__name__}, whose attention is not plain; only dense='raw' reads them"
    )


def _of_open_clip(block: nn.Module) -> Block:
    attention = block.attn

    def qkv(x: Tensor) -> QKV:
        joined = nn.functional.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)
        return tuple(_split(part, attention.num_heads) for part in joined.chunk(3, -1))

    return Block(
        qkv, lambda out: block.ls_1(attention.out_proj(_join(out))), lambda x: block.ls_2(block.mlp(block.ln_2(x)))
    )


def _of_timm(block: nn.Module) -> Block:
    attention = block.attn

    def qkv(x: Tensor) -> QKV:
        q, k, v = (_split(part, attention.num_heads) for part in attention.qkv(block.norm1(x)).chunk(3, -1))
        return attention.q_norm(q), attention.k_norm(k), v

    return Block(
        qkv,
        lambda out: block.ls1(attention.proj(attention.norm(_join(out)))),
        lambda x: block.ls2(block.mlp(block.norm2(x))),
    )


def _of_transformers(block: nn.Module) -> Block:
    attention = block.self_attn

    def qkv(x: Tensor) -> QKV:
        x = block.layer_norm1(x)
        layers = (attention.q_proj, attention.k_proj, attention.v_proj)
        return tuple(_split(layer(x), attention.num_heads) for layer in layers)

    return Block(qkv, lambda out: attention.out_proj(_join(out)), lambda x: block.mlp(block.layer_norm2(x)))


def _split(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)  # (B, N, w) → (B, heads, N, w / heads)


def _join(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)
