"""The same numbers as clip_benchmark, torchmetrics, scikit-learn and scipy give, and where they mean something else."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clip_benchmark.metrics import zeroshot_classification, zeroshot_retrieval
from scipy import stats
from sklearn.metrics import average_precision_score, balanced_accuracy_score, top_k_accuracy_score
from torchmetrics.functional.retrieval import retrieval_average_precision, retrieval_precision, retrieval_recall

from workbench.evaluation import (
    average_precisions,
    class_vectors,
    pearson,
    precision_at_k,
    recall_at_k,
    recalls,
    retrieval_ranks,
    spearman,
    zero_shot_accuracy,
)


@pytest.fixture(scope="module")
def captions():
    """40 pictures with five captions each: unit features and whose caption each is."""
    generator = torch.Generator().manual_seed(0)
    image = F.normalize(torch.randn(40, 24, generator=generator), dim=-1)
    text = F.normalize(image.repeat_interleave(5, 0) + 0.4 * torch.randn(200, 24, generator=generator), dim=-1)
    return image, text, torch.arange(200) // 5


@pytest.mark.parametrize("k", [1, 5, 10])
def test_recall_of_clip_benchmark(captions, k):
    image, text, owner = captions
    scores, own = text @ image.T, F.one_hot(owner).bool()
    mine = [[i] for i in owner.tolist()]
    theirs = (zeroshot_retrieval.recall_at_k(scores, own, k) > 0).double().mean().item()
    assert recall_at_k(scores, mine, ks=(k,))[k] == pytest.approx(theirs, abs=1e-6)
    assert recall_at_k(retrieval_ranks(text, image, mine), ks=(k,))[k] == pytest.approx(theirs, abs=1e-6)

    five = [list(range(5 * i, 5 * i + 5)) for i in range(40)]
    shares = zeroshot_retrieval.recall_at_k(scores.T, own.T, k)
    assert recall_at_k(scores.T, five, ks=(k,))[k] == pytest.approx((shares > 0).double().mean().item(), abs=1e-6)
    assert recall_at_k(scores.T, five, ks=(k,), count="share")[k] == pytest.approx(
        shares.double().mean().item(), abs=1e-6
    )
    assert recalls(image, text, five, ks=(k,), count="all").at[k].mean == pytest.approx(
        (shares == 1).double().mean().item()
    )


def test_where_clip_benchmark_counts_ties_by_place(captions):
    """A constant scorer: torch.topk takes whichever comes first and is right for some; here it earns nothing."""
    constant, own = torch.zeros(40, 40), torch.eye(40).bool()
    assert (zeroshot_retrieval.recall_at_k(constant, own, 5) > 0).sum() == 5
    assert recall_at_k(constant, [[i] for i in range(40)], ks=(5,)) == {5: 0.0}


def test_precision_and_recall_of_torchmetrics(captions):
    image, text, owner = captions
    scores = image @ text.T
    five = [list(range(5 * i, 5 * i + 5)) for i in range(40)]
    for k in (1, 3, 10):
        rows = [(row, owner == i) for i, row in enumerate(scores)]
        precision = np.mean([retrieval_precision(row, right, top_k=k).item() for row, right in rows])
        recall = np.mean([retrieval_recall(row, right, top_k=k).item() for row, right in rows])
        assert precision_at_k(scores, range(40), owner, ks=(k,))[k] == pytest.approx(precision, abs=1e-6)
        assert recall_at_k(scores, five, ks=(k,), count="share")[k] == pytest.approx(recall, abs=1e-6)


def test_average_precision_of_torchmetrics_and_scikit_learn():
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(25, 120, generator=generator)
    labels_q, labels_g = torch.arange(25) % 6, torch.randint(0, 6, (120,), generator=generator)
    ours = average_precisions(scores, labels_q, labels_g)
    rows = [(row, labels_g == labels_q[q]) for q, row in enumerate(scores)]
    above = [(row.sigmoid(), right) for row, right in rows]
    assert ours == pytest.approx([retrieval_average_precision(*each).item() for each in above], abs=1e-6)
    assert ours == pytest.approx([average_precision_score(right, row) for row, right in rows], abs=1e-9)


def test_where_torchmetrics_forgets_right_answers():
    """Of score 0 or below, as many cosines are: they count as not retrieved and leave the mean. Here a score is an order."""
    scores, right = torch.tensor([0.5, 0.2, -0.1, -0.3]), torch.tensor([True, False, False, True])
    assert retrieval_average_precision(scores, right) == 1
    assert average_precisions(scores[None], [True], right) == average_precision_score(right, scores) == 0.75


def test_where_scikit_learn_gives_ties_half():
    """Equal scores are one threshold there, so a constant scorer gets the share of right ones; here the wrong come first."""
    right = np.array([1, 0, 0, 1])
    assert average_precision_score(right, np.zeros(4)) == 0.5
    assert average_precisions(torch.zeros(1, 4), [1], right) == pytest.approx((1 / 3 + 2 / 4) / 2)


def test_classification_of_clip_benchmark():
    generator = torch.Generator().manual_seed(2)
    prompts = torch.randn(8, 3, 16, generator=generator)
    labels = torch.randint(0, 8, (120,), generator=generator)
    images = prompts.mean(1)[labels] + torch.randn(120, 16, generator=generator)

    class Model:
        def encode_text(self, rows):
            return prompts[int(rows[0])]

    classes = zeroshot_classification.zero_shot_classifier(
        Model(),
        lambda texts: torch.tensor([int(text) for text in texts]),
        list("01234567"),
        ["{c}"] * 3,
        "cpu",
        amp=False,
    )
    assert torch.allclose(class_vectors(prompts), classes.T, atol=1e-6)
    logits = 100 * F.normalize(images, dim=-1) @ classes
    top1, top5 = (top_k_accuracy_score(labels, logits, k=k) for k in (1, 5))  # its own needs an older NumPy
    found = zero_shot_accuracy(images, class_vectors(prompts), labels)
    assert (found.top[1].mean, found.top[5].mean) == pytest.approx((top1, top5), abs=1e-6)
    assert found.mean_per_class.mean == pytest.approx(balanced_accuracy_score(labels, logits.argmax(1)), abs=1e-6)


def test_correlations_of_scipy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=30)
    y = np.round(x + rng.normal(size=30), 1)  # with ties
    assert pearson(x, y).r == pytest.approx(stats.pearsonr(x, y).statistic)
    assert spearman(x, y).r == pytest.approx(stats.spearmanr(x, y).statistic)
    without = [stats.spearmanr(np.delete(x, i), np.delete(y, i)).statistic for i in range(30)]
    assert spearman(x, y).leave_one_out == pytest.approx((min(without), max(without)))
