"""open_clip's towers, each read one way: image towers by `reading.ImageReader`, text towers by `TextTower`.

Everything goes through public calls (`forward_intermediates`, timm's `forward_features` and `forward_head`) and, where a
head hides what stands before its MLP, a forward hook; no model is patched.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from workbench.features import ImageFeatures, Projector
from workbench.models.hooks import inputs_of
from workbench.models.linearise import residual_mlp
from workbench.models.reading import ImageReader, check_dense, layer_index, linear_projector

Read = tuple[Tensor, Tensor, Tensor | None]
NOTHING_PROJECTS = "the {}'s pooled output is the embedding, nothing projects it"


class ViT(ImageReader):
    """open_clip's VisionTransformer: patches after the final norm, projected by `proj` (d_i, d)."""

    prefix = 1

    def __init__(self, visual: nn.Module):
        self.visual = visual
        self.grid = tuple(visual.grid_size)
        self.width = visual.proj.shape[0]

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return self.visual.transformer.resblocks

    def states(self, pixels: Tensor, layers: Sequence[int]) -> list[Tensor]:
        out = self.visual.forward_intermediates(
            pixels,
            indices=list(layers),
            stop_early=True,
            output_fmt="NLC",
            output_extra_tokens=True,
            intermediates_only=True,
        )
        halves = zip(out["image_intermediates_prefix"], out["image_intermediates"], strict=True)
        return [torch.cat(half, 1) for half in halves]

    def finish(self, states: Tensor) -> tuple[Tensor, Tensor]:
        norm, last = self.visual.ln_post, self.visual.final_ln_after_pool  # the pool then sees what no norm had touched
        states = states if last else norm(states)
        pooled = states[:, 0] if self.visual.pool_type == "tok" else states[:, 1:].mean(1)
        pre = norm(pooled) if last else pooled
        return pre, pre @ self.visual.proj

    def project(self, patches: Tensor) -> Tensor:
        return self.visual.ln_post(patches) @ self.visual.proj

    @property
    def projection(self) -> nn.Parameter:
        return self.visual.proj


class CocaViT(ViT):
    """CoCa's contrastive part: attention-pooled queries, a norm, the first query, `proj`; no patch tokens."""

    def __init__(self, visual: nn.Module):
        super().__init__(visual)
        self.grid = None

    dense_reason = "CoCa pools patches by learned queries and has no patch tokens in the joint space; use dense='raw'"

    def finish(self, states: Tensor) -> tuple[Tensor, Tensor]:
        queries = self.visual.ln_post(self.visual.attn_pool(states))
        pre = queries[:, 0] if self.visual.pool_type == "tok" else queries.mean(1)
        return pre, pre @ self.visual.proj

    def project(self, patches: Tensor) -> Tensor:
        raise ValueError(
            "CoCa pools patches by learned queries, so it has no patch tokens in the joint space; use tokens=False"
        )


class TimmTower(ImageReader):
    """A timm transformer: pooled by the trunk, then a linear head (exact) or none.

    With an attention pool, a patch's token is what the pool makes of that patch alone (the value path, as MaskCLIP reads
    attention pools, arXiv 2112.01071), and without a linear head `pre` stands before the pool's residual MLP.
    """

    def __init__(self, visual: nn.Module):
        self.visual, self.trunk = visual, visual.trunk
        self.projection = timm_head(visual)
        self.attn_pool = getattr(self.trunk, "attn_pool", None)
        self.prefix = self.trunk.num_prefix_tokens
        self.width = self.projection.in_features if self.projection is not None else self.trunk.num_features
        self.grid = tuple(self.trunk.patch_embed.grid_size)

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return self.trunk.blocks

    def states(self, pixels: Tensor, layers: Sequence[int]) -> list[Tensor]:
        out = self.trunk.forward_intermediates(
            pixels,
            indices=list(layers),
            return_prefix_tokens=True,
            stop_early=True,
            output_fmt="NLC",
            intermediates_only=True,
        )
        # Without prefix tokens timm returns the patches alone.
        return [torch.cat((part[1], part[0]), 1) if isinstance(part, tuple) else part for part in out]

    def finish(self, states: Tensor) -> tuple[Tensor, Tensor]:
        with inputs_of(getattr(self.attn_pool, "norm", None)) as before_mlp:
            pooled = self.trunk.forward_head(self.trunk.norm(states), pre_logits=True)
        pre = pooled if self.projection is not None or not before_mlp else before_mlp[0][:, 0]
        return pre, self._head(pooled)

    def project(self, patches: Tensor) -> Tensor:
        patches = self.trunk.norm(patches)
        if self.attn_pool is not None:
            alone = patches.reshape(-1, 1, patches.shape[-1])
            patches = self.attn_pool(alone).reshape(*patches.shape[:2], -1)
        return self._head(self.trunk.fc_norm(patches))

    def _head(self, pooled: Tensor) -> Tensor:
        return self.visual.head(self.trunk.get_classifier()(pooled))

    def projector(self) -> Projector:
        if self.projection is not None:
            return linear_projector(self.projection)
        if self.attn_pool is not None and isinstance(self.attn_pool.norm, nn.LayerNorm):
            return residual_mlp(self.attn_pool.norm, self.attn_pool.mlp.fc1, self.attn_pool.mlp.fc2)
        return Projector(None, kind="none", reason=NOTHING_PROJECTS.format("trunk"))


class TimmMap:
    """A convolutional timm trunk: a feature map, pooled, then a linear head; a cell's token is what the head makes of it."""

    layers = 1  # earlier stages have other widths
    dense = ("raw",)
    dense_reason = "the image tower is convolutional: it has no attention to read in another way"

    def __init__(self, visual: nn.Module):
        self.visual, self.trunk = visual, visual.trunk
        self.projection = timm_head(visual)
        self.width = self.projection.in_features if self.projection is not None else self.trunk.num_features
        size, step = visual.image_size, self.trunk.feature_info[-1]["reduction"]
        self.grid = tuple(side // step for side in size)

    def read(self, pixels: Tensor, *, tokens: bool = False, layer: int = -1, dense: str = "raw") -> ImageFeatures:
        if layer != -1:
            raise ValueError(f"layer={layer}: a convolutional tower's earlier stages have other widths; use layer=-1")
        check_dense(dense, self.dense, self.dense_reason)
        cells = self.trunk.forward_features(pixels)
        pre = self.trunk.forward_head(cells, pre_logits=True)
        post = self._head(pre)
        first = cells.shape[1] == self.trunk.num_features  # NCHW; Swin and its like are NHWC
        grid = tuple(cells.shape[2:] if first else cells.shape[1:3])
        return ImageFeatures(pre, post, self._alone(cells, first) if tokens else None, grid)

    def _alone(self, cells: Tensor, channels_first: bool) -> Tensor:
        rows = cells.flatten(2).transpose(1, 2) if channels_first else cells.flatten(1, 2)  # (B, P, w)
        alone = rows.reshape(-1, rows.shape[-1])
        alone = alone[:, :, None, None] if channels_first else alone[:, None, None, :]
        return self._head(self.trunk.forward_head(alone, pre_logits=True)).reshape(*rows.shape[:2], -1)

    def _head(self, pooled: Tensor) -> Tensor:
        return self.visual.head(self.trunk.get_classifier()(pooled))

    def projector(self) -> Projector:
        if self.projection is not None:
            return linear_projector(self.projection)
        return Projector(None, kind="none", reason=NOTHING_PROJECTS.format("trunk"))


def timm_head(visual: nn.Module) -> nn.Linear | None:
    """The linear layer that ends a timm tower: open_clip's own, or the trunk's classifier used as a projection (PE)."""
    layers = list(visual.head.children())
    last = layers[-1] if layers else visual.trunk.get_classifier()
    if "pool" in dict(visual.head.named_children()):
        raise ValueError("its image head pools by itself before it projects, which is not read so far")
    if layers and not isinstance(last, nn.Linear):
        raise ValueError(f"its image head ends in a {type(last).__name__}, which is no linear projection")
    return last if isinstance(last, nn.Linear) else None


def activation_of(tower: nn.Module) -> str:
    """The name of a tower's activation as torch or open_clip calls it: QuickGELU, GELU, SiLU …"""
    names = [type(module).__name__ for module in tower.modules()]
    return next((name for name in names if name.endswith(("GELU", "GELUTanh", "ReLU", "SiLU"))), "unknown")


def image_reader(visual: nn.Module) -> ImageReader | TimmMap:
    """The reader of an image tower. Raises ValueError for a tower that none of them reads."""
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    if isinstance(visual, TimmModel):
        return TimmTower(visual) if hasattr(visual.trunk, "num_prefix_tokens") else TimmMap(visual)
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
        self.d = self.width if self.projection is None else self._project(self.tower.ln_final.weight).shape[0]
        self.layers = len(self.tower.transformer.resblocks)
        self.causal = getattr(self.tower, "attn_mask", None) is not None
        self.vocabulary = self.tower.token_embedding.num_embeddings

    def read(self, ids: Tensor, mask: Tensor, tokens: bool, layer: int = -1) -> Read:
        states, suffix = self._states(ids, layer_index(layer, self.layers))
        pre = self._pool(states, ids, suffix)
        return pre, self._project(pre), self._project(states) if tokens else None

    def _states(self, ids: Tensor, k: int) -> tuple[Tensor, list[Tensor] | None]:
        options = {"normalize_intermediates": True, "intermediates_only": True}
        if self.tower is self.model:
            out = self.model.forward_intermediates(text=ids, text_indices=[k], **options)
        else:
            out = self.tower.forward_intermediates(
                ids, indices=[k], output_fmt="NLC", output_extra_tokens=True, **options
            )
        return out["text_intermediates"][-1], out.get("text_intermediates_suffix")

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
            return Projector(None, kind="none", reason=NOTHING_PROJECTS.format("text tower"))
        return linear_projector(self.projection)


class HubTextTower:
    """A text encoder of transformers inside open_clip (`hf_model_name`): its own pooling, then a linear head, an MLP or none.

    `layer` takes the hidden states of a block; BERT-like encoders norm inside each block, so no final norm is missing.
    """

    causal = False

    def __init__(self, model: nn.Module):
        self.tower = model.text
        self.config = self.tower.config
        self.pad_id = self.config.pad_token_id
        self.layers = self.config.num_hidden_layers
        self.vocabulary, self.d = self.config.vocab_size, self.tower.output_dim
        layers = [layer for layer in self.tower.proj.modules() if isinstance(layer, nn.Linear)]
        self.width = layers[0].in_features if layers else self.tower.output_dim

    def read(self, ids: Tensor, mask: Tensor, tokens: bool, layer: int = -1) -> Read:
        from transformers.modeling_outputs import BaseModelOutput

        k, mask = layer_index(layer, self.layers), (ids != self.pad_id).long()  # as open_clip masks
        out = self.tower.transformer(input_ids=ids, attention_mask=mask, output_hidden_states=k != self.layers - 1)
        if k != self.layers - 1:
            out = BaseModelOutput(last_hidden_state=out.hidden_states[k + 1])
        pre = self.tower.pooler(out, mask)
        return pre, self.tower.proj(pre), self.tower.proj(out.last_hidden_state) if tokens else None

    @property
    def projection(self) -> nn.Linear | None:
        return self.tower.proj if isinstance(self.tower.proj, nn.Linear) else None

    def projector(self) -> Projector:
        if self.projection is not None:
            return linear_projector(self.projection)
        if isinstance(self.tower.proj, nn.Identity):
            return Projector(None, kind="none", reason=NOTHING_PROJECTS.format("text tower"))
        return Projector(None, kind="none", reason="the text head is an MLP, which is no matrix")


def text_reader(model: nn.Module) -> TextTower | HubTextTower:
    """The reader of a text tower. Raises ValueError for a tower that neither of them reads."""
    from open_clip.hf_model import HFTextEncoder

    tower = getattr(model, "text", model)
    if isinstance(tower, HFTextEncoder):
        return HubTextTower(model)
    if not hasattr(tower, "ln_final") or not hasattr(tower, "text_projection"):
        raise ValueError(
            f"its text tower is a {type(tower).__name__}; read so far: open_clip's own and those of transformers"
        )
    return TextTower(model)
