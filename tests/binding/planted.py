"""Quads whose answer is planted: patches and phrases say who has which, global embeddings do not."""

import numpy as np
import torch

from workbench.binding import QuadFeatures, Side

SOME = 5  # attributes and objects
PATCHES, TOKENS = 3, 4


def planted(n=96, seed=0, noise=0.1) -> QuadFeatures:
    """Patches (n, 2, 3, 10): two things and a background; tokens (n, 2, 4, 10): their phrases, then padding. Globals are sums."""
    rng = np.random.default_rng(seed)
    things = [_thing_pairs(rng) for _ in range(n)]
    patches = np.stack([[[*pair, np.zeros(2 * SOME)] for pair in each] for each in things])
    tokens = np.stack([[[*pair[::-1], *np.full((2, 2 * SOME), 7.0)] for pair in each] for each in things])
    mask = np.zeros((n, 2, TOKENS), dtype=bool)
    mask[:, :, :2] = True
    seen = patches + noise * rng.standard_normal(patches.shape)
    ids = tuple(f"{('Colour', 'Size')[q % 2]}/{q}" for q in range(n))
    images, texts = (Side(*map(_floats, each)) for each in ((patches.sum(2), seen), (patches.sum(2), tokens)))
    return QuadFeatures(images, Side(texts.post, texts.tokens, torch.from_numpy(mask)), ids)


def _thing_pairs(rng):
    """Two things, and the same with their attributes exchanged."""
    code = np.eye(SOME)
    (a, b), (o, p) = (rng.choice(SOME, 2, replace=False) for _ in range(2))
    thing = lambda attribute, kind: np.concatenate([code[attribute], code[kind]])  # noqa: E731
    return [thing(a, o), thing(b, p)], [thing(b, o), thing(a, p)]


def _floats(array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
