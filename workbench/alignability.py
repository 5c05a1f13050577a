"""How alignable two frozen towers are: one linear layer each, trained on pairs, judged by retrieval on pairs left out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from workbench import paths
from workbench.data import sail_points
from workbench.evaluation.alignment_probes import ProbeCorrelations, probe_correlations
from workbench.evaluation.retrieval import retrieval_ranks
from workbench.evaluation.statistics import Interval, share
from workbench.heads import LinearHead
from workbench.losses import sigmoid_loss
from workbench.optim import optimiser, warm_cosine
from workbench.records import Record, Table
from workbench.training import train

RESULT = "alignability.json"
DIRECTIONS = ("image to text", "text to image")


@dataclass(frozen=True)
class Training:
    """How the probe's layers are trained; one for all towers that are to be compared.

    SAIL (arXiv 2412.04616) has width 2048, batches of 32,768 and Lion at 1e-5 for 6,700 steps on 2.2 M pairs. With some
    hundred pairs and steps that moves next to nothing, so here AdamW at 3e-3 stands in: another regime, in which scale and bias
    do move. Scale 20, bias -10, decay 1e-7 and the schedule (cosine behind a tenth of warm-up) are SAIL's. The trap: a rate
    too small for narrow towers ranks towers by their width.
    """

    width: int = 256
    steps: int = 300
    batch_size: int = 256
    optimiser: str = "adamw"
    learning_rate: float = 3e-3
    weight_decay: float = 1e-7
    scale: float = 20.0
    bias: float = -10.0


@dataclass(frozen=True)
class AlignmentScore(Record):
    """R@k of held-out pairs, mean of both directions: the interval over pairs of seed means, each seed's mean beside it.

    `hits` (seeds, 2, n) says which pair was found, image to text first; `gallery` is how many there were to choose from, in
    each fold where there were several.
    """

    score: Interval
    by_direction: tuple[float, float]
    by_seed: tuple[float, ...]
    chance: float
    k: int
    n_train: int
    gallery: int
    hits: np.ndarray = field(repr=False, compare=False)

    @property
    def n(self) -> int:
        return self.hits.shape[2]

    @property
    def spread(self) -> float:
        """Standard deviation over seeds, 0 for one."""
        return float(np.std(self.by_seed, ddof=1)) if len(self.by_seed) > 1 else 0.0

    def table(self) -> Table:
        header = (f"R@{self.k} [95 %]", *DIRECTIONS, "sd of seeds", "chance", "train", "n", "gallery")
        ways = (f"{100 * each:.2f}" for each in self.by_direction)
        spread = f"{100 * self.spread:.2f}" if len(self.by_seed) > 1 else "–"  # 0.00 would say that all starts agree
        facts = map(str, (self.n_train, self.n, self.gallery))
        row = (self.score.percent(), *ways, spread, f"{100 * self.chance:.2f}", *facts)
        return Table("Alignment of two frozen towers, percent", header, (row,))


class Layers(nn.Module):
    """LayerNorm and a linear map per modality, and a scale and a bias that are learnt: what SAIL probes with."""

    def __init__(self, d_image: int, d_text: int, training: Training):
        super().__init__()
        self.image = LinearHead(d_image, training.width, layer_norm=True)
        self.text = LinearHead(d_text, training.width, layer_norm=True)
        self.theta = nn.Parameter(torch.tensor(math.log(training.scale)))
        self.bias = nn.Parameter(torch.tensor(float(training.bias)))

    def loss(self, image: Tensor, text: Tensor) -> Tensor:
        # SAIL keeps t within 1 and 100.
        scale = self.theta.exp().clamp(1, 100)
        return sigmoid_loss(self.image(image), self.text(text), scale, self.bias)


def alignment_score(
    image: Tensor,
    text: Tensor,
    train_rows: Sequence[int],
    test_rows: Sequence[int],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    k: int = 10,
    training: Training | None = None,
) -> AlignmentScore:
    """R@k of a linear alignment of image (N, d_i) and text (N, d_t), pooled features whose row n belongs together.

    The alignment probe of SAIL (arXiv 2412.04616): LayerNorm and a linear map for each modality, the sigmoid loss, mean recall
    of both directions, here on the `test_rows` that training never saw. A score is of these pairs, this gallery and this
    `training`: compare towers within one setting only. The trap: two pairs that say the same (one caption twice) are
    negatives of each other in training and rivals in the test. Raises ValueError for unequal numbers of rows, fewer than two
    pairs to train on, no more than k to test on, rows that are outside, named twice or in both parts, or values that are not
    finite.
    """
    image, text = _checked(image, "image"), _checked(text, "text")
    if len(image) != len(text):
        raise ValueError(f"{len(image)} images and {len(text)} texts; give pairs, row n of both belonging together")
    fitted, held = _rows(train_rows, test_rows, len(image), k)
    if not len(seeds):
        raise ValueError("no seeds; give at least one, three say how far the start matters")
    training = training or Training()
    image, text = _of_usual_size(image, fitted, "image"), _of_usual_size(text, fitted, "text")
    layers = [fit(image[fitted], text[fitted], training, seed) for seed in seeds]
    return recall_of(layers, image[held], text[held], k=k, n_train=len(fitted))


def recall_of(heads: Sequence, image: Tensor, text: Tensor, *, k: int = 10, n_train: int = 0) -> AlignmentScore:
    """R@k of `heads`, one for each seed, on pairs image (n, d_i), text (n, d_t) that none of them was trained on.

    A head has `.image` and `.text`, as `AlignmentHead` has: so heads trained in any way are judged as the probe's layers are,
    and shipped ones beside them. Raises ValueError for no head, unequal numbers of rows or no more than k.
    """
    image, text = _checked(image, "image"), _checked(text, "text")
    if not len(heads) or len(image) != len(text) or len(image) <= k:
        raise ValueError(
            f"{len(heads)} heads, {len(image)} images and {len(text)} texts; give a head or more and {k + 1} pairs or more"
        )
    return _score(np.stack([_hits(head, image, text, k) for head in heads]), k, n_train, len(image))


def fit(image: Tensor, text: Tensor, training: Training, seed: int = 0) -> Layers:
    """The probe's layers, trained on pairs image (N, d_i), text (N, d_t). The caller's random state stays as it was."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        layers = Layers(image.shape[1], text.shape[1], training)
        batches = _batches(len(image), min(training.batch_size, len(image)))
        settings = {"lr": training.learning_rate, "weight_decay": training.weight_decay}
        train(
            layers,
            lambda step: layers.loss(image[rows := next(batches)], text[rows]),
            optimiser(training.optimiser, layers.parameters(), **settings),
            steps=training.steps,
            factor=lambda step: warm_cosine(step, training.steps),
            title="alignment probe",
        )
    return layers.eval()


def in_folds(make: Callable[[np.ndarray, np.ndarray], AlignmentScore], folds: Sequence[int]) -> AlignmentScore:
    """One score of all pairs from `make(train rows, test rows)`, each pair tested in its own of the `folds` (N,).

    For sets too small to leave many pairs out. Each fold is a gallery of its own, so a pair is looked for among those of its
    fold. Raises ValueError for a single fold, or as `make` does.
    """
    folds = np.asarray(folds)
    names = np.unique(folds)
    if len(names) < 2:
        raise ValueError(f"folds are all {names.tolist()}; give two or more")
    return joined(make(np.flatnonzero(folds != name), np.flatnonzero(folds == name)) for name in names)


def joined(scores: Iterable[AlignmentScore]) -> AlignmentScore:
    """Scores of disjoint test pairs as one. Raises ValueError for none, another k or other numbers of seeds."""
    scores = list(scores)
    if len({(each.k, len(each.hits)) for each in scores}) != 1:
        raise ValueError(f"{len(scores)} scores of different k or numbers of seeds; join those of one setting")
    found = _score(
        np.concatenate([each.hits for each in scores], 2),
        scores[0].k,
        min(each.n_train for each in scores),
        min(each.gallery for each in scores),
    )
    chance = float(np.average([each.chance for each in scores], weights=[each.n for each in scores]))
    return AlignmentScore(**{**found.__dict__, "chance": chance})


def _score(hits: np.ndarray, k: int, n_train: int, gallery: int) -> AlignmentScore:
    ways, by_seed = hits.mean((0, 2)), hits.mean((1, 2))
    whole = share(hits.mean((0, 1)))
    return AlignmentScore(
        whole, tuple(map(float, ways)), tuple(map(float, by_seed)), k / gallery, k, n_train, gallery, hits
    )


def _hits(layers: Layers, image: Tensor, text: Tensor, k: int) -> np.ndarray:
    """Which of n pairs are found among the first k, image to text and text to image: (2, n)."""
    with torch.no_grad():
        image, text = _through(layers.image, image), _through(layers.text, text)
    own = np.arange(len(image))
    return np.stack([(retrieval_ranks(*sides, own) <= k).numpy() for sides in ((image, text), (text, image))])


def _through(side: nn.Module, features: Tensor) -> Tensor:
    """Features of one side where that side lies, because a loaded model's head may be on a GPU or in half precision."""
    held = (each for each in (*side.parameters(), *side.buffers()) if each.is_floating_point())
    return side(features.to(next(held, features))).cpu().float()


def _batches(n: int, size: int):
    """Rows of batches without end: every pair once before any comes again, the last few of a round left out."""
    while True:
        order = torch.randperm(n)
        for start in range(0, n - size + 1, size):
            yield order[start : start + size]


def _checked(features, what: str) -> Tensor:
    features = torch.as_tensor(features).detach().cpu().float()
    if features.ndim != 2:
        raise ValueError(f"{what} of shape {tuple(features.shape)}; give pooled features (N, d)")
    if not bool(features.isfinite().all()):
        raise ValueError(f"{what} holds NaN or infinite values; a tower gave a broken feature, check its inputs")
    return features


def _of_usual_size(features: Tensor, fitted: np.ndarray, what: str) -> Tensor:
    """Divided by one number, because LayerNorm adds 1e-5 to variances of any size."""
    size = float(features[fitted].square().mean().sqrt())
    if not size > 0:
        raise ValueError(f"{what} is 0 in all rows to train on; the tower says nothing, check its inputs")
    return features / size


def _rows(train_rows, test_rows, n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    parts = [np.asarray(rows) for rows in (train_rows, test_rows)]
    both = np.concatenate(parts)
    if any(rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu") for rows in parts):
        raise ValueError("train_rows and test_rows are lists of row numbers; for a mask give numpy.flatnonzero(mask)")
    if len(both) and not 0 <= both.min() <= both.max() < n:
        raise ValueError(f"rows {both.min()} to {both.max()} of {n} pairs; give row numbers from 0 to {n - 1}")
    if len(np.unique(both)) < len(both):
        raise ValueError(
            "a row is named twice, or is in train_rows and test_rows; what is tested must not be trained on"
        )
    if len(parts[0]) < 2 or len(parts[1]) <= k:
        raise ValueError(
            f"{len(parts[0])} pairs to train on and {len(parts[1])} to test on; give 2 or more and {k + 1} or more"
        )
    return parts[0], parts[1]


# What was published, and what was measured here ---------------------------------------------------------------------------

LABELS = {"knn": "k-NN", "linear": "linear probe", "silhouette": "silhouette", "agreement": "agreement of k-means"}


def published(what: str = "vision") -> ProbeCorrelations:
    """SAIL's own points: "vision" (k-NN and linear probe on ImageNet) or "language" (mean of MTEB) against R@10 on COCO.

    Digitised from the project page of arXiv 2412.04616, ±0.5 points. Raises ValueError for another name.
    """
    if what not in ("vision", "language"):
        raise ValueError(f"no published {what!r}; choose vision or language")
    points = sail_points.VISION if what == "vision" else sail_points.LANGUAGE
    probes = {"k-NN": "knn", "linear probe": "linear_probe"} if what == "vision" else {"MTEB": "mteb"}
    return probe_correlations(
        [each.name for each in points],
        [each.family for each in points],
        {probe: [getattr(each, name) for each in points] for probe, name in probes.items()},
        [each.recall for each in points],
        title=f"SAIL's published {what} towers, digitised (±0.5)",
    )


def measured(pairs: str = "scenes", by: str | None = None, *, stored: Mapping | None = None) -> ProbeCorrelations:
    """What `recipes/measure_alignability.py` found and stored: "scenes", "stamps", "openclipart", or "text" for text towers.

    Towers of "scenes" that are readings of one network are drawn together for intervals; the other pairs have four networks at
    most, too few for that. `by` names the label that the probes ask for: "object" (colour and shape), "shape" or "colour" of
    scenes, "folder" of stamps and openclipart, "shape" of captions; by default the first. `stored` are other rows than those
    that ship. Raises ValueError for pairs or labels that were not measured.
    """
    if stored is None:
        stored = json.loads((paths.assets() / "results" / RESULT).read_text(encoding="utf-8"))["rows"]
    known = list(dict.fromkeys(name.partition(": ")[0] for name in stored if ": " in name))
    if pairs not in known:
        raise ValueError(f"no measured pairs {pairs!r}; there are {', '.join(known)}")
    rows = {name.partition(": ")[2]: row for name, row in stored.items() if name.startswith(f"{pairs}: ")}
    labels = list(next(iter(rows.values()))["probes"])
    by = labels[0] if by is None else by
    if by not in labels:
        raise ValueError(f"no labels {by!r} on {pairs}; there are {', '.join(labels)}")
    probes = {told: [_mean(row["probes"][by][name]) for row in rows.values()] for name, told in LABELS.items()}
    scores = [row["alignment"] for row in rows.values()]
    return probe_correlations(
        list(rows),
        [row["family"] for row in rows.values()],
        probes,
        [each["mean"] for each in scores],
        intervals=[(each["low"], each["high"]) for each in scores],
        networks=[network_of(name) for name in rows] if pairs == "scenes" else None,
        title=f"{'captions' if pairs == 'text' else pairs} by {by}",
    )


def network_of(tower: str) -> str:
    """What layers, poolings and steps of one network have in common: "scenes-clip" of "scenes-clip@600, class token"."""
    return tower.partition(",")[0].partition("@")[0]


def _mean(found) -> float:
    return found["mean"] if isinstance(found, Mapping) else found
