"""Zero-shot classification: the class whose prompts lie nearest to the picture. Arrays in, no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.evaluation.retrieval import as_features, check_ks, retrieval_ranks
from workbench.evaluation.statistics import Interval, bootstrap, share
from workbench.records import Record, Table


@dataclass(frozen=True)
class ZeroShot(Record):
    """Top-k accuracy of n pictures among `classes`, and the unweighted mean over classes of top-1 accuracy, with intervals.

    `empty` classes have no picture: they are rivals, but not in the mean per class.
    """

    top: dict[int, Interval]
    mean_per_class: Interval
    n: int
    classes: int
    empty: int = 0

    def table(self) -> Table:
        rows = [(f"top {k}", found.percent(), f"{100 * k / self.classes:.2f}") for k, found in self.top.items()]
        rows.append(("mean per class", self.mean_per_class.percent(), f"{100 / self.classes:.2f}"))
        without = f", {self.empty} of them without pictures" if self.empty else ""
        caption = f"Zero-shot classification, percent: {self.n} pictures, {self.classes} classes{without}"
        return Table(caption, ("accuracy", "[95 %]", "chance"), tuple(rows))


def class_vectors(prompts: Tensor | Sequence[Tensor]) -> Tensor:
    """Prompts (C, T, d), or for each class (T_c, d), → unit class vectors (C, d): the mean of unit prompts, again unit.

    The prompt ensemble of CLIP (arXiv 2103.00020, section 3.1.4): each prompt counts the same, whatever its norm. Raises
    ValueError for no classes, a class without prompts, unequal widths, rows of zeros, or values that are not finite.
    """
    if not len(prompts):
        raise ValueError("there are no classes; give prompts (C, T, d)")
    prompts = [torch.as_tensor(each) for each in prompts]
    for c, each in enumerate(prompts):
        if each.ndim != 2 or not len(each) or each.shape[1] != prompts[0].shape[1]:
            raise ValueError(
                f"prompts of class {c} have shape {tuple(each.shape)}; give (T, d) with T ≥ 1 and one d for all"
            )
        if not bool(torch.isfinite(each).all()):
            raise ValueError(f"prompts of class {c} hold NaN or infinite values; check what went into the model")
        if bool((empty := (each == 0).all(1)).any()):
            row = int(empty.int().argmax())
            raise ValueError(
                f"prompt {row} of class {c} is zeros, which has no direction; check what went into the model"
            )
    # in double: classes of as many prompts as they like, all the same, have the same vector
    means = torch.stack([F.normalize(each.double(), dim=-1).mean(0) for each in prompts])
    return F.normalize(means, dim=-1).float()


def zero_shot_accuracy(
    images: Tensor, classes: Tensor, labels, ks: Sequence[int] = (1, 5), *, seed: int = 0
) -> ZeroShot:
    """How often the right class is among the k nearest by cosine: images (N, d), class vectors (C, d), labels (N,).

    Ties count against the model, within 2**-21 as in `retrieval_ranks`, so equal class vectors earn nothing. Raises
    ValueError for other shapes, labels that are no class, features that are not finite, or a k that C does not exceed.
    """
    images, classes = as_features(images, classes)
    labels = _checked_labels(labels, images, classes)
    ks = check_ks(ks, len(classes) - 1)
    ranks = retrieval_ranks(images, classes, labels).cpu().numpy()
    sizes = np.bincount(labels, minlength=len(classes))
    # Weighted so that the mean over pictures is the mean over classes.
    weights = (len(labels) / np.count_nonzero(sizes)) / sizes[labels]
    top = {k: share(ranks <= k, seed=seed) for k in ks}
    per_class = bootstrap((ranks == 1) * weights, seed=seed)
    return ZeroShot(top, per_class, len(labels), len(classes), int((sizes == 0).sum()))


def _checked_labels(labels, images: Tensor, classes: Tensor) -> np.ndarray:
    labels = labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if labels.shape != (len(images),) or not labels.size or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels {labels.shape} of type {labels.dtype} for {len(images)} images; give the number of its class for each"
        )
    if labels.min() < 0 or labels.max() >= len(classes):
        raise ValueError(f"labels go from {labels.min()} to {labels.max()}; classes are 0 to {len(classes) - 1}")
    return labels
