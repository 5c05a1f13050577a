"""The same rules over the same items for scorers that do not look: features that hold nothing of the picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from workbench.benchmark.encoded import Encoded
from workbench.benchmark.scores import Measure
from workbench.data.benchmarks import Benchmark
from workbench.evaluation.blind import shuffled_images


def blind_measures(
    rule: Callable, encoded: Encoded, benchmark: Benchmark, *, seed: int = 0
) -> dict[str, dict[str, Measure]]:
    """Measures by scorer. "other pictures" are the model's own with each picture in the place of another, "mean picture" puts
    the mean of all there (what captions earn by their wording); "random" and "constant" score without the model. A measure
    that asks texts alone stays what it is in the first two."""
    return {name: rule(other, benchmark)[0] for name, other in blinded(encoded, seed).items()}


def blinded(encoded: Encoded, seed: int = 0) -> dict[str, Encoded]:
    """The same items with the features of each scorer. One picture has no other, and opposite ones have no mean: left out."""
    image, text = encoded.posts["image"], encoded.posts["text"]
    rng, length = np.random.default_rng(seed), np.linalg.norm(image, axis=1, keepdims=True)
    mean = (image / length).mean(0)
    features = {}
    if len(image) > 1:
        features["other pictures"] = shuffled_images(image, seed=seed), text
    if np.linalg.norm(mean) > 1e-6:
        features["mean picture"] = np.broadcast_to(mean, image.shape), text
    # vectors of many dimensions: cosines of two pictures with the same caption then say nothing of each other
    features["random"] = tuple(rng.standard_normal((len(rows), 256), np.float32) for rows in (image, text))
    features["constant"] = np.ones((len(image), 1)), np.ones((len(text), 1))
    return {name: encoded.with_features(*each) for name, each in features.items()}
