"""Scores of one picture beside one caption: the light transformer that learns the read-out, and its capacity control."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.heads.widths import whole


class PairTransformer(nn.Module):
    """A picture's patches and a caption's tokens in one self-attention: (B, P, d_patch), (B, T, d_token) → scores (B,).

    After the local transformer of arXiv 2604.11496, of which a size is known (13.3 M on ViT-B/32) and no layout; this one is
    ours: `layers` pre-norm blocks with GELU over [cls; E_I patches; E_T tokens], score = w · norm(cls) + b. With d_patch 768,
    d_token 512 and the defaults it has 13,266,945 parameters. The biases of E_I and E_T are the embeddings of their type, for a
    vector of its own would only add to them; the last norm has no weights, for w and b would take them up. It has no positions:
    where a patch stands is what the tower left in it, and patches in another order score the same.

    Row b of the patches goes with row b of the tokens. `mask` (B, T) and `patch_mask` (B, P) are true where a token counts; what
    stands elsewhere is never read, not even NaN. Scores are logits of any size. The traps: every pair is a pass of its own, so
    nothing can be indexed (re-rank with it: `evaluation.two_stage_recall`); and it reads captions well enough to learn how false
    ones are worded, so train it blind too. Raises TypeError or ValueError for sizes that are no whole numbers from 1 on, heads
    that do not divide the width, other shapes, or a row in which no token counts.
    """

    def __init__(
        self, d_patch: int, d_token: int, *, width: int = 512, layers: int = 4, heads: int = 8, ffn: int = 2048
    ):
        super().__init__()
        sizes = {"d_patch": d_patch, "d_token": d_token, "width": width, "layers": layers, "heads": heads, "ffn": ffn}
        d_patch, d_token, width, layers, heads, ffn = whole(**sizes)
        if width % heads:
            raise ValueError(f"heads={heads} do not divide width={width}; give a divisor of the width")
        self.heads = heads
        self.patch, self.token = nn.Linear(d_patch, width), nn.Linear(d_token, width)
        self.cls = nn.Parameter(torch.randn(width) * 0.02)
        # Made one by one: nn.TransformerEncoder copies one block, and all would start with the same weights.
        self.blocks = nn.ModuleList(_block(width, heads, ffn) for _ in range(layers))
        self.score = nn.Linear(width, 1)

    def forward(
        self, patches: Tensor, tokens: Tensor, mask: Tensor | None = None, *, patch_mask: Tensor | None = None
    ) -> Tensor:
        patches, no_patch = _side("patches", patches, patch_mask, self.patch.in_features)
        tokens, no_token = _side("tokens", tokens, mask, self.token.in_features)
        if len(patches) != len(tokens):
            raise ValueError(f"{len(patches)} pictures and {len(tokens)} captions; row b of both is one pair")
        cls = self.cls.expand(len(patches), 1, -1)
        x = torch.cat([cls, self.patch(patches), self.token(tokens)], 1)
        left_out = torch.cat([no_patch.new_zeros(len(x), 1), no_patch, no_token], 1)
        for block in self.blocks:
            x = block(x, src_key_padding_mask=left_out)
        return self.score(F.layer_norm(x[:, 0], x.shape[-1:])).squeeze(-1)

    def extra_repr(self) -> str:
        return f"heads={self.heads}"


class GlobalPairTransformer(PairTransformer):
    """The same transformer on the two global embeddings, one token each: (B, d_image), (B, d_text) → scores (B,).

    The control of arXiv 2604.11496: as many parameters, trained alike, without what stands where. What it lacks beside
    `PairTransformer` is local evidence and not capacity. Sizes and errors as there.
    """

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        for name, x in (("image", image), ("text", text)):
            if x.ndim != 2:
                raise ValueError(f"{name} has shape {tuple(x.shape)}; give global embeddings (B, d)")
        return super().forward(image[:, None], text[:, None])


def _block(width: int, heads: int, ffn: int) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(
        width, heads, ffn, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )


def _side(name: str, x: Tensor, mask: Tensor | None, width: int) -> tuple[Tensor, Tensor]:
    """Tokens with zeros where none counts, and where that is, (B, T)."""
    if x.ndim != 3 or x.shape[2] != width or 0 in x.shape:
        raise ValueError(f"{name} have shape {tuple(x.shape)}; give (B, T, {width}) with B and T from 1 on")
    if mask is None:
        return x, torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
    if mask.shape != x.shape[:2] or mask.dtype != torch.bool:
        raise ValueError(
            f"mask {tuple(mask.shape)} of {mask.dtype} does not fit {name} {tuple(x.shape)}; "
            "give a boolean mask, true where a token counts"
        )
    if not mask.is_meta and not bool((counts := mask.any(1)).all()):
        raise ValueError(
            f"in row {int(counts.int().argmin())} of {name} nothing counts; leave it out, or mend its mask"
        )
    return x.masked_fill(~mask[..., None], 0), ~mask
