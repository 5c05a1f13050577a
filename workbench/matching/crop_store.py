"""Crops' embeddings kept by content: one entry of the store for each picture with its boxes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from workbench.store import EmbeddingStore, ShardKey
from workbench.store.keys import canonical_json


class CropStore:
    """What a model makes of crops, found again by weights, preprocessing, dtype, the picture's pixels and its boxes.

    Pixels are those of the opened RGB picture, so a file, its bytes and an array of the same picture share an entry. Each
    picture has its own: whatever others it comes with, and in whatever order, it is found. Raises ValueError for a model with
    hooks, which may change numbers under the same key.
    """

    def __init__(self, model, store: EmbeddingStore | str | os.PathLike):
        _check_hooks(model)
        self.store = store if isinstance(store, EmbeddingStore) else EmbeddingStore(store)
        card = model.card
        self.facts = {
            "modality": "image",
            "kind": "crops",
            "weights": model.identity("image", "post"),
            "preprocess": card.preprocess,
            "image_size": int(card.image_size),
            "dtype": str(model.dtype),
        }

    def key(self, picture: Image.Image, boxes: Sequence[Sequence[int]]) -> ShardKey:
        what = canonical_json({"size": picture.size, "boxes": [list(box) for box in boxes]})
        digest = hashlib.sha256(what)
        digest.update(picture.tobytes())
        return ShardKey(self.facts, (digest.hexdigest(),))

    def get(self, key: ShardKey) -> Tensor | None:
        """The crops' vectors (R, d), or None."""
        shard = self.store.get(key)
        return None if shard is None else torch.from_numpy(shard.rows[0].copy())

    def put(self, key: ShardKey, vectors: Tensor) -> None:
        self.store.put(key, vectors[None].numpy())


def _check_hooks(model) -> None:
    from workbench.models.hooks import foreign_hooks  # what else changes a model's numbers is the models' own to know

    if hooked := foreign_hooks(model.module):
        raise ValueError(
            f"{hooked[0]} of {model.name} has a hook, which may change numbers under the same key; remove it, or leave store out"
        )
