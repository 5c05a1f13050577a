"""open_clip's towers, read one way: `read(inputs, tokens)` gives (pre, post, tokens or None), `projector()` the map between.

Everything goes through public calls (`forward_intermediates`, timm's `forward_features` and `forward_head`) and, where a
head hides what stands before its MLP, a forward hook; no model is patched.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.features import Projector
from workbench.models.hooks import inputs_of
from workbench.models.linearise import residual_mlp

Read = tuple[Tensor, Tensor, Tensor | None]


class ViT:
    """open_clip's VisionTransformer: patches after the final norm, projected by `proj` (d_i, d)."""

    def __init__(self, visual: nn.Module):
        self.visual = visual
        self.grid = tuple(visual.grid_size)
        self.width = visual.proj.shape[0]

    def read(self, pixels: Tensor, tokens: bool) -> Read:
        prefix, patches = self._last_block(pixels)
        pooled = prefix[:, 0] if self.visual.pool_type == "tok" else patches.mean(1)
        if self.visual.final_ln_after_pool:  # then the pool saw what no norm had touched
            pooled, patches = self.visual.ln_post(pooled), self.visual.ln_post(patches)
        return pooled, pooled @ self.visual.proj, patches @ self.visual.proj if tokens else None

    def _last_block(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        out = self.visual.forward_intermediates(
            pixels,
            indices=1,
            normalize_intermediates=not self.visual.final_ln_after_pool,
            output_fmt="NLC",
            output_extra_tokens=True,
            intermediates_only=True,
        )
        return out["image_intermediates_prefix"][-1], out["image_intermediates"][-1]

    def projector(self) -> Projector:
        return Projector(self.visual.proj.detach().T.float())


class CocaViT(ViT):
    """CoCa's contrastive part: attention-pooled queries, a norm, the first query, `proj`; no patch tokens."""

    def read(self, pixels: Tensor, tokens: bool) -> Read:
        if tokens:
            raise ValueError(
                "CoCa pools patches by learned queries, so it has no patch tokens in the joint space; use tokens=False"
            )
        out = self.visual.forward_intermediates(
            pixels, indices=1, output_fmt="NLC", output_extra_tokens=True, intermediates_only=True
        )
        every = torch.cat([out["image_intermediates_prefix"][-1], out["image_intermediates"][-1]], 1)
        queries = self.visual.ln_post(self.visual.attn_pool(every))
        pooled = queries[:, 0] if self.visual.pool_type == "tok" else queries.mean(1)
        return pooled, pooled @ self.visual.proj, None


class TimmTower:
    """A timm trunk: pooled by the trunk, then a linear head (exact) or none.

    With an attention pool, a patch's token is what the pool makes of that patch alone (the value path, as MaskCLIP reads
    attention pools, arXiv 2112.01071), and without a linear head `pre` stands before the pool's residual MLP.
    """

    def __init__(self, visual: nn.Module):
        self.visual, self.trunk = visual, visual.trunk
        layers = list(visual.head.children())
        self.linear = layers[-1] if layers and isinstance(layers[-1], nn.Linear) else None
        if layers and self.linear is None:
            raise ValueError(f"its image head ends in a {type(layers[-1]).__name__}, which is no linear projection")
        self.attn_pool = getattr(self.trunk, "attn_pool", None)
        self.width = self.linear.in_features if self.linear is not None else self.trunk.num_features
        self.grid = self._grid()

    def _grid(self) -> tuple[int, int] | None:
        embed = getattr(self.trunk, "patch_embed", None)
        return tuple(embed.grid_size) if getattr(embed, "grid_size", None) else None

    def read(self, pixels: Tensor, tokens: bool) -> Read:
        features = self.trunk.forward_features(pixels)
        with inputs_of(getattr(self.attn_pool, "norm", None)) as before_mlp:
            pooled = self.trunk.forward_head(features, pre_logits=True)
        post = self.visual.head(pooled)
        pre = pooled if self.linear is not None or not before_mlp else before_mlp[0][:, 0]
        return pre, post, self._patches(features) if tokens else None

    def _patches(self, features: Tensor) -> Tensor:
        if features.ndim == 4:
            raise ValueError(
                "a convolutional timm tower keeps no patch tokens in the joint space yet; use tokens=False"
            )
        patches = features[:, self.trunk.num_prefix_tokens :]
        if self.attn_pool is not None:
            alone = patches.reshape(-1, 1, patches.shape[-1])
            patches = self.attn_pool(alone).reshape(*patches.shape[:2], -1)
        return self.visual.head(self.trunk.fc_norm(patches))

    def projector(self) -> Projector:
        if self.linear is not None:
            bias = None if self.linear.bias is None else self.linear.bias.detach().float()
            return Projector(self.linear.weight.detach().float(), bias)
        if self.attn_pool is not None and isinstance(self.attn_pool.norm, nn.LayerNorm):
            return residual_mlp(self.attn_pool.norm, self.attn_pool.mlp.fc1, self.attn_pool.mlp.fc2)
        return Projector(None, kind="none", reason="the trunk's pooled output is the embedding, nothing projects it")


def image_reader(visual: nn.Module) -> ViT | TimmTower:
    """The reader of an image tower. Raises ValueError for a tower that none of them reads."""
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    if isinstance(visual, TimmModel):
        return TimmTower(visual)
    if not isinstance(visual, VisionTransformer) or visual.proj is None:
        raise ValueError(
            f"its image tower is a {type(visual).__name__}; read so far: VisionTransformer and timm trunks"
        )
    if visual.pool_type not in ("tok", "avg"):
        raise ValueError(f"its image tower pools by {visual.pool_type!r}; read so far: 'tok' and 'avg'")
    if visual.attn_pool is None:
        return ViT(visual)
    if getattr(visual, "attn_pool_contrastive", None) is not None:
        raise ValueError("its image tower has a second, contrastive attention pool, which is not read so far")
    return CocaViT(visual)


class TextTower:
    """The text side of CLIP (attributes of the model itself), CustomTextCLIP, SigLIP or CoCa (a tower in `model.text`).

    States after the final norm, (B, T, d_t). Towers with a causal mask read left to right, so a word's token knows only
    the words before it.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self.tower = getattr(model, "text", model)
        self.projection = self.tower.text_projection
        self.pad_id = getattr(self.tower, "pad_id", 0)
        self.width = self.tower.ln_final.normalized_shape[0]

    def read(self, ids: Tensor, tokens: bool) -> Read:
        options = {"normalize_intermediates": True, "intermediates_only": True}
        if self.tower is self.model:
            out = self.model.forward_intermediates(text=ids, text_indices=1, **options)
        else:
            out = self.tower.forward_intermediates(
                ids, indices=1, output_fmt="NLC", output_extra_tokens=True, **options
            )
        states = out["text_intermediates"][-1]
        pre = self._pool(states, ids, out.get("text_intermediates_suffix"))
        return pre, self._project(pre), self._project(states) if tokens else None

    def _pool(self, states: Tensor, ids: Tensor, suffix: list[Tensor] | None) -> Tensor:
        from open_clip.transformer import text_global_pool

        if suffix is not None:  # CoCa appends its class token
            return suffix[-1][:, 0]
        pool_type = getattr(self.tower, "text_pool_type", None) or self.tower.pool_type
        eos = getattr(self.tower, "text_eos_id", None) or getattr(self.tower, "eos_id", None)
        return text_global_pool(states, ids, pool_type, eos_token_id=eos)

    def _project(self, states: Tensor) -> Tensor:
        if self.projection is None:
            return states
        return self.projection(states) if isinstance(self.projection, nn.Linear) else states @ self.projection

    def projector(self) -> Projector:
        if self.projection is None:
            return Projector(
                None, kind="none", reason="the text tower's pooled output is the embedding, nothing projects it"
            )
        if isinstance(self.projection, nn.Linear):
            bias = None if self.projection.bias is None else self.projection.bias.detach().float()
            return Projector(self.projection.weight.detach().float(), bias)
        return Projector(self.projection.detach().T.float())


def text_reader(model: nn.Module) -> TextTower:
    """The reader of a text tower. Raises ValueError for a tower that it does not read."""
    tower = getattr(model, "text", model)
    if not hasattr(tower, "ln_final") or not hasattr(tower, "text_projection"):
        raise ValueError(f"its text tower is a {type(tower).__name__}; read so far: open_clip's own text transformers")
    return TextTower(model)
