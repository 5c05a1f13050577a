"""Heads side by side, heads on landmarks, and the shipped model made of them."""

import pytest
import torch
import torch.nn.functional as F

from workbench.data.photos import shipped_photos
from workbench.evaluation import class_vectors, zero_shot_accuracy
from workbench.heads import LinearHead
from workbench.models.ensemble_head import EnsembleHead
from workbench.models.landmarks import LandmarkHead
from workbench.models.registry import load_model
from workbench.models.shipped import read_config

NAME = "lite2-ensemble"


@pytest.fixture(scope="module")
def model():
    return load_model(NAME, device="cpu")


@pytest.fixture
def two():
    torch.manual_seed(0)
    return [LinearHead(6, 4), LinearHead(6, 3)], [LinearHead(5, 4), LinearHead(5, 3)]


def test_a_cosine_is_the_weighted_sum_of_the_parts_cosines(two):
    images, texts = torch.randn(7, 6), torch.randn(7, 5)
    joint = F.cosine_similarity(EnsembleHead(two[0], (3, 1))(images), EnsembleHead(two[1], (3, 1))(texts))
    one, other = (F.cosine_similarity(i(images), t(texts)) for i, t in zip(*two, strict=True))
    assert torch.allclose(joint, 0.75 * one + 0.25 * other, atol=1e-6)


def test_every_output_has_length_one_and_cells_go_one_by_one(two):
    head, cells = EnsembleHead(two[0], (0.2, 0.8)), torch.randn(2, 9, 6)
    out = head(cells)
    assert torch.allclose(out.norm(dim=-1), torch.ones(2, 9), atol=1e-6)
    assert torch.allclose(out[1, 4], head(cells[1, 4]), atol=1e-6)


@pytest.mark.parametrize(
    ("shares", "message"),
    [((1,), "2 heads and 1 shares"), ((1, 0), "positive numbers"), ((1, float("nan")), "positive numbers")],
)
def test_shares_that_do_not_fit(two, shares, message):
    with pytest.raises(ValueError, match=message):
        EnsembleHead(two[0], shares)


def test_no_heads():
    with pytest.raises(ValueError, match="at least one head"):
        EnsembleHead((), ())


def test_landmarks_equal_the_gaussian_kernel_of_unit_vectors():
    torch.manual_seed(0)
    centre, marks, texts, x = torch.randn(5), torch.randn(4, 5), torch.randn(4, 3), torch.randn(6, 5)
    head = LandmarkHead(centre, marks[:1], marks[1:], texts, spread=0.5)
    gaps = torch.cdist(F.normalize(x - centre, dim=-1), F.normalize(marks, dim=-1))
    assert torch.allclose(head(x), torch.exp(-(gaps**2) / (2 * 0.5)) @ texts, atol=1e-5)
    assert torch.allclose(head.nearness(centre + 3 * marks[2])[2], torch.ones(()))


@pytest.mark.parametrize(("rows", "spread", "message"), [(3, 0.5, "4 landmarks but 3 texts"), (4, 0, "spread=0")])
def test_landmarks_refuse(rows, spread, message):
    with pytest.raises(ValueError, match=message):
        LandmarkHead(torch.zeros(5), torch.ones(1, 5), torch.ones(3, 5), torch.ones(rows, 3), spread)


def test_heads_that_are_not_linear_have_no_projector(model):
    for projector in (model.image_projector, model.text_projector):
        assert projector.kind == "none"
        with pytest.raises(ValueError, match="ensemble"):
            projector(torch.zeros(1, 384))


def test_the_shipped_ensemble_adds_its_parts_cosines(model):
    share = read_config(NAME)["share"]
    image = model.encode_image([photo.path for photo in list(shipped_photos().values())[:2]])
    text = model.encode_text(["a cat", "a cup of coffee"])
    cosines = F.normalize(image.post, dim=-1) @ F.normalize(text.post, dim=-1).T
    parts = zip(model.head.image.heads, model.head.text.heads, (share, 1 - share), strict=True)
    summed = sum(s * F.normalize(i(image.pre), dim=-1) @ F.normalize(t(text.pre), dim=-1).T for i, t, s in parts)
    assert torch.allclose(cosines, summed, atol=1e-5)


def test_its_conse_is_that_of_the_towers_own_classifier(model):
    conse = model.head.image.heads[0]
    assert torch.equal(conse.weight, model.image_tower.classifier.weight)
    assert torch.equal(conse.bias, model.image_tower.classifier.bias)


def test_patches_and_words_go_through_the_same_map(model):
    image = model.encode_image(next(iter(shipped_photos().values())).path, tokens=True)
    text = model.encode_text("a cat on a chair", tokens=True)
    assert image.tokens.shape == (1, 81, 768)
    assert torch.allclose(image.tokens.norm(dim=-1), torch.ones(1, 81), atol=1e-4)
    assert text.tokens.shape[-1] == 768


def test_zero_shot_with_prompt_ensembles(model):
    photos = shipped_photos()
    named = {"chelsea": "cat", "coffee": "coffee", "rocket": "rocket", "motorcycle": "motorcycle"}
    chosen = {name: thing for name, thing in named.items() if name in photos}
    templates = ("a photo of a {}", "a picture of a {}", "{}")
    prompts = [model.encode_text([each.format(thing) for each in templates]).post for thing in chosen.values()]
    images = model.encode_image([photos[name].path for name in chosen]).post
    found = zero_shot_accuracy(images, class_vectors(prompts), list(range(len(chosen))), ks=(1,))
    assert len(chosen) >= 3
    assert found.top[1].mean >= 0.75
