"""The loss of one batch through the heads, as a configuration says."""

from __future__ import annotations

from torch import Tensor

from workbench.aligning.config import AlignConfig
from workbench.losses import clip_loss, sigmoid_loss
from workbench.models.paired import AlignmentHead


def loss_of(head: AlignmentHead, config: AlignConfig, images: Tensor, texts: list[Tensor]) -> Tensor:
    """From embeddings before the heads: images (B, d_i), caption sets [(B, d_t)]."""
    made = head.image(images), [head.text(text) for text in texts]
    return loss_between(config, *made, head.log_scale.exp(), head.logit_bias)


def loss_between(config: AlignConfig, image: Tensor, texts: list[Tensor], scale: Tensor, bias: Tensor | None) -> Tensor:
    """From joint embeddings: image (B, d), caption sets [(B, d)]. InfoNCE is the mean over caption sets."""
    if config.loss == "infonce":
        return sum(clip_loss(image, text, scale) for text in texts) / len(texts)
    extra = texts[1] if len(texts) > 1 else None
    options = {"multi_positive": config.multi_positive, "reduction": config.reduction}
    return sigmoid_loss(image, texts[0], scale, bias, extra_text=extra, **options)
