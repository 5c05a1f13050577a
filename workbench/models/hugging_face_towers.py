"""The towers of transformers' CLIP, SigLIP and SigLIP 2, each read one way; the models themselves stay as they are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from workbench.features import Projector
from workbench.models.hooks import inputs_of
from workbench.models.linearise import residual_mlp
from workbench.models.reading import ImageReader, layer_index, linear_projector

LEGACY_EOS = 2  # what early configurations of CLIP call the end of the text
Read = tuple[Tensor, Tensor, Tensor | None]


class VisionTower(ImageReader):
    """What the three share: an encoder whose hidden states are those of its blocks, the first of them the embeddings."""

    def __init__(self, model: nn.Module):
        self.model, self.vision = model, model.vision_model
        self.width = self.vision.config.hidden_size
        self.grid = self._native_grid()

    def _native_grid(self) -> tuple[int, int]:
        side = self.vision.config.image_size // self.vision.config.patch_size
        return side, side

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return self.vision.encoder.layers

    def states(self, pixels: Tensor, layers: Sequence[int]) -> list[Tensor]:
        hidden = self.vision(**self.inputs(pixels), output_hidden_states=True).hidden_states
        return [hidden[k + 1] for k in layers]

    def inputs(self, pixels: Tensor) -> dict[str, Tensor]:
        return {"pixel_values": pixels}


class ClipVision(VisionTower):
    """CLIPModel: the class token through the final norm and a bias-free projection.

    The trap: `last_hidden_state` has not seen the final norm, only the class token's `pooler_output` has.
    """

    prefix = 1

    def finish(self, states: Tensor) -> tuple[Tensor, Tensor]:
        pre = self.vision.post_layernorm(states[:, 0])
        return pre, self.model.visual_projection(pre)

    def project(self, patches: Tensor) -> Tensor:
        return self.model.visual_projection(self.vision.post_layernorm(patches))

    @property
    def projection(self) -> nn.Linear:
        return self.model.visual_projection


class SiglipVision(VisionTower):
    """SiglipModel: an attention pool with a residual MLP and no projection matrix.

    `pre` stands before the MLP; a patch's token is what the pool makes of that patch alone.
    """

    projection = None

    def finish(self, states: Tensor) -> tuple[Tensor, Tensor]:
        with inputs_of(self.vision.head.layernorm) as before_mlp:
            post = self.vision.head(self.vision.post_layernorm(states))
        return before_mlp[0][:, 0], post

    def project(self, patches: Tensor) -> Tensor:
        alone = self.vision.post_layernorm(patches).reshape(-1, 1, patches.shape[-1])
        return self.vision.head(alone).reshape(patches.shape)

    def projector(self) -> Projector:
        head = self.vision.head
        return residual_mlp(head.layernorm, head.mlp.fc1, head.mlp.fc2)


class Siglip2Vision(SiglipVision):
    """Siglip2Model of free resolution: any (h, w) patches, positions interpolated to them; no padding is needed here,
    because pictures of one shape are encoded together."""

    def _native_grid(self) -> tuple[int, int]:
        side = int(self.vision.config.num_patches**0.5)
        return side, side

    def grid_of(self, pixels: Tensor) -> tuple[int, int]:
        size = self.vision.config.patch_size
        return pixels.shape[-2] // size, pixels.shape[-1] // size

    def inputs(self, pixels: Tensor) -> dict[str, Tensor]:
        h, w = self.grid_of(pixels)
        size, batch = self.vision.config.patch_size, len(pixels)
        patches = pixels.reshape(batch, -1, h, size, w, size).permute(
            0, 2, 4, 3, 5, 1
        )  # (B, h, w, row, column, colour)
        return {
            "pixel_values": patches.reshape(batch, h * w, -1),
            "pixel_attention_mask": torch.ones(batch, h * w, dtype=torch.long, device=pixels.device),
            "spatial_shapes": torch.tensor([[h, w]] * batch, device=pixels.device),
        }


class ClipText:
    """CLIPModel's causal text tower: the end-of-text token through a bias-free projection."""

    pads_to_context = False  # causal: padding behind the end changes nothing

    def __init__(self, model: nn.Module):
        self.model, self.tower = model, model.text_model
        self.width = self.tower.config.hidden_size
        self.layers = self.tower.config.num_hidden_layers
        self.vocabulary = self.tower.config.vocab_size

    def read(self, ids: Tensor, mask: Tensor, tokens: bool, layer: int = -1) -> Read:
        k = layer_index(layer, self.layers)
        hidden = self.tower(**self.inputs(ids, mask), output_hidden_states=True).hidden_states[k + 1]
        states = self.tower.final_layer_norm(hidden)
        pre = states[torch.arange(len(ids), device=ids.device), self.pooled_at(ids)]
        return pre, self.projection(pre), self.projection(states) if tokens else None

    def inputs(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        return {"input_ids": ids, "attention_mask": mask.long()}

    def pooled_at(self, ids: Tensor) -> Tensor:
        """The end-of-text token's place: (B,). Configurations that call it 2 were written wrong: there it is the largest id."""
        eos = self.tower.config.eos_token_id
        return ids.argmax(1) if eos == LEGACY_EOS else (ids == eos).int().argmax(1)

    @property
    def projection(self) -> nn.Linear:
        return self.model.text_projection

    def projector(self) -> Projector:
        return linear_projector(self.projection)


class SiglipText(ClipText):
    """SigLIP's text tower: the last token through a linear head with bias.

    Text is padded to the context and the padding is attended to: that is how it was trained.
    """

    pads_to_context = True

    def inputs(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        return {"input_ids": ids}

    def pooled_at(self, ids: Tensor) -> Tensor:
        return torch.full((len(ids),), ids.shape[1] - 1, device=ids.device)

    @property
    def projection(self) -> nn.Linear:
        return self.tower.head


TOWERS = {
    "clip": (ClipVision, ClipText),
    "siglip": (SiglipVision, SiglipText),
    "siglip2": (Siglip2Vision, SiglipText),
}
