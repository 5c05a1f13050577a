"""Prompt ensembles and top-k, by hand and against scorers that try to cheat."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from workbench.evaluation import class_vectors, zero_shot_accuracy


@pytest.fixture
def planted():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(6, 12, generator=generator)
    labels = torch.arange(90) % 6
    images = centres[labels] + 1.5 * torch.randn(90, 12, generator=generator)
    return images, centres, labels


def test_a_class_is_the_mean_of_unit_prompts():
    prompts = torch.tensor([[[10.0, 0.0], [0.0, 1.0]], [[0.0, 2.0], [0.0, 3.0]]])
    half = 0.5**0.5
    assert torch.allclose(class_vectors(prompts), torch.tensor([[half, half], [0.0, 1.0]]))
    assert torch.allclose(class_vectors(list(prompts)), class_vectors(prompts))
    assert torch.allclose(class_vectors([prompts[0], prompts[1, :1]]), class_vectors(prompts))


def test_top_k_and_mean_per_class_are_the_naive_loop(planted):
    images, centres, labels = planted
    keep = torch.arange(90) < 70  # unequal classes
    images, labels = images[keep], labels[keep]
    cosines = F.normalize(images, dim=-1) @ F.normalize(centres, dim=-1).T
    first = cosines.argmax(1) == labels
    found = zero_shot_accuracy(images, centres, labels, ks=(1, 3))
    assert found.top[1].mean == pytest.approx(first.double().mean().item())
    assert found.top[3].mean == pytest.approx(
        (cosines.topk(3).indices == labels[:, None]).any(1).double().mean().item()
    )
    per_class = [first[labels == c].double().mean().item() for c in range(6)]
    assert found.mean_per_class.mean == pytest.approx(np.mean(per_class))
    assert found.top[1].low < found.top[1].mean < found.top[1].high


def test_a_class_without_pictures_is_a_rival_only(planted):
    images, centres, labels = planted
    found = zero_shot_accuracy(images, torch.cat([centres, -centres[:1]]), labels, ks=(1,))
    assert (found.classes, found.empty) == (7, 1)
    assert found.mean_per_class.mean == pytest.approx(found.top[1].mean)  # equal classes
    assert "7 classes, 1 of them without pictures" in str(found)


def test_equal_class_vectors_earn_nothing(planted):
    images, centres, labels = planted
    found = zero_shot_accuracy(images, centres[:1].expand(6, 12), labels, ks=(1, 5))
    assert (found.top[1].mean, found.top[5].mean) == (0, 0)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], "there are no classes"),
        ([torch.ones(2, 3), torch.ones(0, 3)], "prompts of class 1"),
        ([torch.ones(2, 3), torch.ones(1, 4)], "one d for all"),
        ([torch.full((1, 3), torch.nan)], "class 0 hold NaN"),
    ],
)
def test_prompts_that_are_none(prompts, message):
    with pytest.raises(ValueError, match=message):
        class_vectors(prompts)


@pytest.mark.parametrize(
    ("labels", "ks", "message"),
    [
        ([0, 1], (1,), r"labels \(2,\)"),
        ([0, 1, 4], (1,), "classes are 0 to 3"),
        ([0, 1, -1], (1,), "labels go from -1"),
        ([0.0, 1.0, 2.0], (1,), "number of its class"),
        ([0, 1, 2], (1, 4), "k is at most 3"),
    ],
)
def test_refusals(labels, ks, message):
    with pytest.raises(ValueError, match=message):
        zero_shot_accuracy(torch.eye(4)[:3], torch.eye(4), np.array(labels), ks)


@pytest.mark.parametrize("d", [3, 512, 768])
def test_classes_of_the_same_prompt_earn_nothing_however_many_there_are(d):
    row = torch.randn(1, d, generator=torch.Generator().manual_seed(d))
    classes = class_vectors([row.repeat(n, 1) for n in (1, 3, 7, 80, 1000)])
    images = torch.cat([row, torch.randn(19, d, generator=torch.Generator().manual_seed(1))])
    assert (classes == classes[0]).all()
    assert zero_shot_accuracy(images, classes, np.arange(20) % 5, ks=(1,)).top[1].mean == 0


def test_arrays_are_prompts_and_features(planted):
    images, centres, labels = planted
    prompts = centres[:, None].repeat(1, 2, 1)
    assert torch.equal(class_vectors(prompts.numpy()), class_vectors(prompts))
    found = zero_shot_accuracy(images.numpy(), centres.numpy(), labels.numpy())
    assert found == zero_shot_accuracy(images, centres, labels)


def test_a_prompt_of_zeros_is_named():
    with pytest.raises(ValueError, match="prompt 1 of class 0 is zeros"):
        class_vectors([torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.ones(1, 2)])
