"""What frozen features know about labels: weighted k-NN, a linear probe, the nearest class mean, how tight classes lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil, isfinite
from numbers import Integral

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.evaluation.ranking import ROUNDING
from workbench.evaluation.statistics import Interval, share
from workbench.records import Record, Table

_MAX_BYTES = 64 << 20  # what the scores of a block of test items may take


@dataclass(frozen=True)
class Probe(Record):
    """Accuracy of a probe over n test items; `majority` is what naming the test items' most frequent class would earn.

    `right` (n,) says which items, for paired comparisons.
    """

    method: str
    accuracy: Interval
    majority: float
    n_train: int
    n: int
    classes: int
    right: np.ndarray = field(default=None, repr=False, compare=False)

    def table(self) -> Table:
        header = ("probe", "accuracy [95 %]", "majority", "train", "n", "classes")
        facts = (f"{100 * self.majority:.2f}", str(self.n_train), str(self.n), str(self.classes))
        return Table("Probing frozen features, percent", header, ((self.method, self.accuracy.percent(), *facts),))


@dataclass(frozen=True)
class Clusters(Record):
    """How tight the classes of n items lie: `silhouette` by cosine (-1 to 1), and `agreement` of k-means with the labels.

    The agreement is adjusted mutual information: 0 for a random clustering, 1 for the labels themselves.
    """

    silhouette: float
    agreement: float
    n: int
    classes: int

    def table(self) -> Table:
        row = (f"{self.silhouette:.3f}", f"{self.agreement:.3f}", str(self.n), str(self.classes))
        return Table("Clusters", ("silhouette", "agreement of k-means", "n", "classes"), (row,))


def knn_accuracy(
    train: Tensor, train_labels, test: Tensor, test_labels, *, k: int = 20, temperature: float = 0.07, seed: int = 0
) -> Probe:
    """k-NN by cosine, each neighbour's vote weighed exp(cosine / temperature): train (N, d), test (M, d), labels (N,), (M,).

    The protocol of DINO (arXiv 2104.14294) that SAIL correlates with alignment (arXiv 2412.04616): k of 10, 20, 100 or
    200, temperature 0.07, unit vectors. Strict: a class that ties with the right one makes it wrong. The trap: which of
    equally near neighbours come first is the library's choice, so constant features earn what one class is worth; look at
    `majority`. Raises ValueError for other shapes, k that is no whole number in 1 … N, a temperature not above 0, values
    that are not finite, or a test label that training never saw.
    """
    data = _prepared(train, train_labels, test, test_labels)
    if not isinstance(k, Integral) or not 1 <= k <= len(data.train):
        raise ValueError(f"k={k} with {len(data.train)} training items; choose a whole number, 1 to {len(data.train)}")
    if not temperature > 0 or not isfinite(temperature):
        raise ValueError(f"temperature={temperature}; give one above 0, DINO's is 0.07")
    unit = F.normalize(data.train, dim=-1)

    def votes(part: Tensor) -> Tensor:
        near, at = (F.normalize(part, dim=-1) @ unit.T).topk(k, dim=1)
        # exp(cosine / T) may overflow for a small T; the largest cosine of a row is a factor common to all its votes.
        weights = ((near - near[:, :1]) / temperature).double().exp()
        return torch.zeros(len(part), data.classes, dtype=torch.float64).scatter_add_(1, data.y_train[at], weights)

    return data.probe(f"{k}-NN", votes, seed)


def nearest_class_mean(
    train: Tensor, train_labels, test: Tensor, test_labels, *, normalise_first: bool = False, seed: int = 0
) -> Probe:
    """Accuracy of the class whose mean training feature is nearest by cosine. Strict: a tie, within 2**-21, is wrong.

    The mean is of features as they come, as IsoCLIP takes it (arXiv 2603.19862: mean before the projection, then project,
    normalise, compare); `normalise_first` gives each training item the same weight instead. Arguments and errors as in
    `knn_accuracy`.
    """
    data = _prepared(train, train_labels, test, test_labels)
    rows = F.normalize(data.train, dim=-1) if normalise_first else data.train
    sums = torch.zeros(data.classes, rows.shape[1], dtype=torch.float64).index_add_(0, data.y_train, rows.double())
    means = F.normalize(sums, dim=-1)  # the direction of a sum is that of its mean
    return data.probe("nearest class mean", lambda part: F.normalize(part.double(), dim=-1) @ means.T, seed, ROUNDING)


def linear_probe(
    train: Tensor,
    train_labels,
    test: Tensor,
    test_labels,
    *,
    strengths: Sequence[float] = (0.01, 0.1, 1.0, 10.0),
    validation: float = 0.2,
    seed: int = 0,
) -> Probe:
    """Logistic regression on standardised features; its C is the best of `strengths` on a part of the training items.

    The part is drawn class by class; the regression is then fitted on all training items. Test items choose nothing.
    Arguments and errors as in `knn_accuracy`; each class also needs two training items.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = _prepared(train, train_labels, test, test_labels)
    _check_validation(data, validation, strengths)
    x, y = data.train.double().numpy(), data.y_train.numpy()

    def fitted(c: float, rows: np.ndarray):
        return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000)).fit(x[rows], y[rows])

    everything = np.arange(len(y))
    fit, held = train_test_split(everything, test_size=validation, stratify=y, random_state=seed)
    # Of equally good ones the strongest regularisation, whichever order they were given in.
    best = max(sorted(strengths), key=lambda c: fitted(c, fit).score(x[held], y[held]))
    probe = fitted(best, everything)

    def scores(part: Tensor) -> Tensor:
        found = torch.from_numpy(np.atleast_1d(probe.decision_function(part.double().numpy())))
        return found if found.ndim == 2 else torch.stack([-found, found], 1)

    return data.probe(f"linear, C={best:g}", scores, seed)


def cluster_quality(features: Tensor, labels, *, seed: int = 0) -> Clusters:
    """Silhouette of the classes and agreement of k-means (as many clusters as classes) on unit vectors: (N, d), labels (N,).

    What k-NN rests on and a linear probe can do without. Raises ValueError for other shapes, values that are not finite,
    fewer than two classes, or as many classes as items.
    """
    from sklearn import config_context
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_mutual_info_score, silhouette_score

    features, labels = _features(features, "features"), _labels(labels, len(features), "labels")
    names, codes = np.unique(labels, return_inverse=True)
    if not 2 <= len(names) < len(codes):
        raise ValueError(f"{len(names)} classes of {len(codes)} items; give two or more, and fewer than items")
    unit = F.normalize(features, dim=-1).numpy()
    clusters = KMeans(len(names), n_init=4, random_state=seed).fit_predict(unit)
    with config_context(working_memory=_MAX_BYTES >> 20):  # of distances held at a time, MiB
        silhouette = float(silhouette_score(unit, codes, metric="cosine"))
    return Clusters(silhouette, float(adjusted_mutual_info_score(codes, clusters)), len(codes), len(names))


@dataclass(frozen=True)
class _Data:
    train: Tensor
    y_train: Tensor
    test: Tensor
    y_test: Tensor
    classes: int

    def probe(self, method: str, score: Callable[[Tensor], Tensor], seed: int, tie: float = 0.0) -> Probe:
        """Accuracy by class scores (b, C) of blocks of test items (b, d); the right class must lie above all others, by more
        than `tie`."""
        right = []
        block = max(1, min(1024, _MAX_BYTES // (8 * max(len(self.train), self.classes))))
        for start in range(0, len(self.test), block):
            scores, own = score(self.test[start : start + block]), self.y_test[start : start + block, None]
            mine = scores.gather(1, own)
            right.append((scores >= mine - tie).sum(1) == 1)
        right = torch.cat(right).cpu().numpy()
        accuracy = share(right, seed=seed)
        majority = float(self.y_test.bincount().max() / len(self.y_test))
        return Probe(method, accuracy, majority, len(self.train), len(self.test), self.classes, right)


def _prepared(train: Tensor, train_labels, test: Tensor, test_labels) -> _Data:
    train, test = _features(train, "train"), _features(test, "test")
    if train.shape[1] != test.shape[1]:
        raise ValueError(
            f"train {tuple(train.shape)} and test {tuple(test.shape)} differ in width; use one model for both"
        )
    train_labels = _labels(train_labels, len(train), "train_labels")
    test_labels = _labels(test_labels, len(test), "test_labels")
    names, codes = np.unique(train_labels, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"all training items are {str(names[0])!r}; give two classes or more")
    at = np.searchsorted(names, test_labels).clip(max=len(names) - 1)
    if (unseen := names[at] != test_labels).any():
        raise ValueError(f"test label {str(test_labels[unseen][0])!r} is in no training item; leave its items out")
    return _Data(train, torch.from_numpy(codes), test, torch.from_numpy(at), len(names))


def _features(rows: Tensor, what: str) -> Tensor:
    rows = torch.as_tensor(rows).detach().cpu().float()
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"{what} of shape {tuple(rows.shape)}; give (N, d) with N ≥ 1")
    if not bool(rows.isfinite().all()):
        raise ValueError(f"{what} hold NaN or infinite values; a model gave a broken feature, check its inputs")
    return rows


def _labels(labels, n: int, what: str) -> np.ndarray:
    labels = labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if labels.shape != (n,):
        raise ValueError(f"{what} of shape {labels.shape} for {n} items; give one for each")
    return labels


def _check_validation(data: _Data, validation: float, strengths: Sequence[float]) -> None:
    sizes = data.y_train.bincount()
    if int(sizes.min()) < 2:
        raise ValueError("a class has one training item only; a linear probe needs two of each to choose C")
    if not len(strengths) or not all(c > 0 and isfinite(c) for c in strengths):
        raise ValueError(f"strengths={tuple(strengths)}; give values of C above 0")
    held = ceil(validation * len(data.train))
    if not 0 < validation < 1 or not data.classes <= held <= len(data.train) - data.classes:
        raise ValueError(
            f"validation={validation} of {len(data.train)} training items; both parts must hold all {data.classes} classes"
        )
