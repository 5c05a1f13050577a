"""Other projection weights in every adapter: the copy's features follow them, its shapes stay, the original stays."""

import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import workbench as wb
from tests.models.test_hugging_face import save_model
from tests.models.test_offers import tied
from tests.models.test_open_clip_families import FAMILIES, write_family
from workbench import paths
from workbench.features import Projector
from workbench.heads import Identity, LinearHead
from workbench.models.folding import fold
from workbench.models.paired import AlignmentHead
from workbench.models.registry import load_model, skeleton

PICTURES = [Image.linear_gradient("L").convert("RGB"), Image.radial_gradient("L").convert("RGB")]
CAPTIONS = ["a red cube left of the blue ball", "cat"]
TIED = {"dinov2 + llama": ("dinov2", "llama"), "timm:test_convnext + bert": ("timm:test_convnext", "bert")}
SHIPPED = ("lite2-minilm", "scenes-clip")
ADAPTERS = (*FAMILIES, *(f"transformers: {kind}" for kind in ("clip", "siglip", "siglip2")), *TIED, *SHIPPED)


def build(name, folder):
    torch.manual_seed(0)
    if name in FAMILIES:
        write_family(name, folder)
        return load_model(f"local-dir:{folder}", device="cpu")
    if name.startswith("transformers: "):
        save_model(folder, name.removeprefix("transformers: "))
        return load_model(f"transformers:{folder}", device="cpu")
    return tied(*TIED[name], folder) if name in TIED else load_model(name, device="cpu")


@pytest.fixture(scope="module", params=ADAPTERS)
def model(request, tmp_path_factory):
    return build(request.param, tmp_path_factory.mktemp("folding"))


@pytest.fixture(scope="module")
def tiny(clip_folder):
    return load_model(f"local-dir:{clip_folder}", device="cpu")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return build("dinov2 + llama", tmp_path_factory.mktemp("pair"))


def own(model):
    """The exact projectors of a model by side."""
    sides = {"image": model.image_projector, "text": model.text_projector}
    return {side: projector for side, projector in sides.items() if projector.kind == "exact"}


def drawn(projector, seed=0):
    """Random weights of a projector's shape."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(projector.weight.shape, generator=generator) / projector.weight.shape[1] ** 0.5
    return Projector(weight, None if projector.bias is None else torch.randn(len(weight), generator=generator))


def turned(projector, by):
    """The projector, followed by the matrix `by` (d, d)."""
    return Projector(by @ projector.weight, None if projector.bias is None else by @ projector.bias)


def encoded(model, side, tokens=False):
    if side == "text":
        return model.encode_text(CAPTIONS, tokens=tokens)
    return model.encode_image(PICTURES, tokens=tokens)


def weights(model):
    return {key: value.clone() for key, value in model.module.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_features_follow_the_new_weights_and_the_original_stays(model):
    new = {side: drawn(projector) for side, projector in own(model).items()}
    before, card = weights(model), model.card
    features = {side: encoded(model, side) for side in new}
    folded = fold(model, **new)
    for side, projector in new.items():
        there = getattr(folded, f"{side}_projector")
        assert torch.equal(there.weight, projector.weight)
        assert (there.bias is None and projector.bias is None) or torch.equal(there.bias, projector.bias)
        found = encoded(folded, side)
        assert torch.equal(found.pre, features[side].pre)
        assert torch.allclose(projector(found.pre), found.post, atol=1e-5)
        assert not torch.allclose(found.post, features[side].post, atol=1e-3)
        assert torch.equal(encoded(model, side).post, features[side].post)
    assert same(weights(model), before)
    assert model.card == card


def test_tokens_follow_too(model):
    """A matrix behind the projection turns tokens as it turns the pooled feature, whatever stands before it."""
    projectors, has_patches = own(model), model.card.grid is not None
    by = torch.randn(model.embed_dim, model.embed_dim, generator=torch.Generator().manual_seed(1))
    by /= model.embed_dim**0.5
    folded = fold(model, **{side: turned(projector, by) for side, projector in projectors.items()})
    for side in projectors:
        tokens = side == "text" or has_patches
        plain, other = encoded(model, side, tokens), encoded(folded, side, tokens)
        for kind in ("post", "tokens") if tokens else ("post",):
            found = getattr(other, kind)
            assert torch.allclose(found, getattr(plain, kind) @ by.T, atol=1e-5 * max(1, found.abs().max())), kind


def test_a_model_costs_what_it_cost(model):
    folded = fold(model, **{side: drawn(projector) for side, projector in own(model).items()})
    assert type(folded) is type(model)
    shapes, others = ({key: value.shape for key, value in weights(each).items()} for each in (model, folded))
    assert shapes == others
    assert [type(part) for part in folded.module.modules()] == [type(part) for part in model.module.modules()]
    assert [p.requires_grad for p in folded.module.parameters()] == [p.requires_grad for p in model.module.parameters()]
    assert (folded.image_layers, folded.text_layers) == (model.image_layers, model.text_layers)
    assert folded.dense_variants == model.dense_variants


def test_its_own_projectors_change_nothing(model):
    folded = fold(model, **own(model))
    assert same(weights(folded), weights(model))
    for side in ("image", "text"):
        assert torch.equal(encoded(folded, side).post, encoded(model, side).post)


def test_the_rest_of_the_weights_stays(model):
    for side, projector in own(model).items():
        before, after = weights(model), weights(fold(model, **{side: drawn(projector)}))
        changed = [key for key in before if not torch.equal(before[key], after[key])]
        assert len(changed) == (1 if projector.bias is None else 2), changed


def test_what_a_side_without_a_matrix_says(model):
    sides = {"image": model.image_projector, "text": model.text_projector}
    for side, projector in sides.items():
        if projector.kind != "exact":
            with pytest.raises(
                ValueError, match=rf"the {side} projector of .* is '{projector.kind}'.*projector\(pre\)"
            ):
                fold(model, **{side: Projector(torch.zeros(2, 2))})


def test_the_card_says_so(model):
    side, projector = next(iter(own(model).items()))
    once = fold(model, **{side: drawn(projector)}, note="ten directions left out")
    twice = fold(once, **{side: drawn(projector, 1)})
    assert once.name == twice.name == f"{model.name} (projectors folded)"
    assert once.card.notes == (*model.card.notes, "ten directions left out")
    assert twice.card.notes[-1] == f"other weights in the {side} projector"
    assert len({model.card.digest, once.card.digest, twice.card.digest}) == 3
    assert len(once.card.digest) == 16


@pytest.mark.parametrize("name", ["vit, first token", "transformers: clip", "dinov2 + llama", "scenes-clip"])
def test_identities(name, tmp_path):
    """Features under other weights are other features to a store; `pre` is the same where a model tells them apart."""
    model = build(name, tmp_path)
    folded = fold(model, **{side: drawn(projector) for side, projector in own(model).items()})
    for side in ("image", "text"):
        assert fold(model, **own(model)).identity(side, "post") == model.identity(side, "post")
        for kind in ("post", "tokens"):
            assert folded.identity(side, kind) != model.identity(side, kind)
        tells_apart = model.deciding(side, "pre") is not model.deciding(side, "post")
        assert (folded.identity(side, "pre") == model.identity(side, "pre")) == tells_apart


def test_one_side_leaves_the_other(pair):
    folded = fold(pair, text=drawn(pair.text_projector))
    assert torch.equal(encoded(folded, "image").post, encoded(pair, "image").post)
    assert folded.identity("image", "post") == pair.identity("image", "post")
    assert folded.identity("text", "post") != pair.identity("text", "post")


def test_both_learn_by_themselves(pair):
    """The copy trains like the original, and the original does not learn with it."""
    folded = fold(pair, image=drawn(pair.image_projector))
    pixels = folded.preprocess(PICTURES[0])[None]
    folded.forward_image(pixels).post.sum().backward()
    assert folded.head.image.weight.grad.abs().sum() > 0
    assert pair.head.image.weight.grad is None
    folded.module.train()
    assert not any(part.training for part in folded.image_tower.modules())


def test_a_folded_model_goes_through_a_folder(tmp_path):
    model = load_model("scenes-clip", device="cpu")
    folded = fold(model, image=drawn(model.image_projector), text=drawn(model.text_projector))
    shutil.copytree(
        paths.assets() / "models" / "scenes-clip", tmp_path / "copy", ignore=shutil.ignore_patterns("steps")
    )
    save_file(folded.module.state_dict(), tmp_path / "copy" / "open_clip_model.safetensors")
    again = load_model(f"local-dir:{tmp_path / 'copy'}", device="cpu")
    assert again.card.digest == folded.card.digest
    for side in ("image", "text"):
        assert torch.equal(encoded(again, side).post, encoded(folded, side).post)
        assert torch.equal(encoded(again, side, tokens=True).tokens, encoded(folded, side, tokens=True).tokens)


@pytest.mark.parametrize(("dtype", "too_large"), [("float16", 7e4), ("bfloat16", 3.4e38)])
def test_half_precision(clip_folder, dtype, too_large):
    model = load_model(f"local-dir:{clip_folder}", device="cpu", dtype=dtype)
    assert same(weights(fold(model, **own(model))), weights(model))
    new = drawn(model.image_projector)
    assert torch.equal(fold(model, image=new).image_projector.weight, new.weight.to(model.dtype).float())
    with pytest.raises(ValueError, match=rf"the image weight has an entry of .*{dtype}, which ends at .*'float32'"):
        fold(model, image=Projector(torch.full_like(new.weight, too_large)))


def test_weights_of_another_precision_or_layout(tiny):
    new = drawn(tiny.image_projector).weight
    for same_numbers in (new.double(), new.T.contiguous().T, nn.Parameter(new)):
        folded = fold(tiny, image=Projector(same_numbers))
        assert torch.equal(folded.image_projector.weight, new)
        assert folded.module.visual.proj.is_contiguous()


# What is refused -------------------------------------------------------------------------------------------------------


def with_nan(shape):
    return torch.zeros(shape).index_fill(0, torch.tensor([0]), float("nan"))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, r"image=None and text=None leave .*; give a Projector"),
        ({"image": torch.zeros(24, 64)}, TypeError, r"image is a Tensor; give a Projector\(weight, bias\)"),
        (
            {"text": Projector(None, kind="none", reason="no matrix here")},
            ValueError,
            r"text is a Projector without a weight \(no matrix here\); give one that has a weight",
        ),
        (
            {"image": Projector(torch.zeros(64, 24))},
            ValueError,
            r"image weight is \(64, 24\); that of .* is \(24, 64\), give the same shape",
        ),
        (
            {"image": Projector(torch.zeros(24, 64), torch.zeros(24))},
            ValueError,
            "image Projector has a bias and .* has no bias there; give one without",
        ),
        (
            {"text": Projector(with_nan((24, 32)))},
            ValueError,
            "text weight has NaN or infinite entries; compute it again",
        ),
        ({"text": Projector(torch.full((24, 32), -torch.inf))}, ValueError, "text weight has NaN or infinite entries"),
        (
            {"image": Projector(torch.zeros(24, 64).long())},
            TypeError,
            "image weight is torch.int64; give a torch tensor",
        ),
        ({"image": Projector(torch.zeros(24, 64).numpy())}, TypeError, "image weight is ndarray; give a torch tensor"),
        ({"image": Projector(torch.zeros(24, 64)), "note": 3}, TypeError, "note is int 3; give a sentence"),
    ],
)
def test_what_does_not_fit_is_refused(tiny, options, error, message):
    with pytest.raises(error, match=message):
        fold(tiny, **options)


def test_a_bias_must_be_there_and_fit(pair):
    weight, name = pair.image_projector.weight, r"dinov2.*"
    with pytest.raises(ValueError, match=rf"image Projector has no bias and .*{name} has a bias there; give it, zeros"):
        fold(pair, image=Projector(weight))
    with pytest.raises(ValueError, match=r"the image bias is \(5,\); that of .* is \(12,\)"):
        fold(pair, image=Projector(weight, torch.zeros(5)))
    with pytest.raises(ValueError, match="the image bias has NaN or infinite entries"):
        fold(pair, image=Projector(weight, with_nan(12)))


def test_a_second_side_that_does_not_fit_makes_nothing(tiny):
    before = weights(tiny)
    with pytest.raises(ValueError, match="text weight is"):
        fold(tiny, image=drawn(tiny.image_projector), text=Projector(torch.zeros(2, 2)))
    assert same(weights(tiny), before)


def test_an_identity_takes_no_weight(pair):
    width = pair.image_tower.width
    bare = wb.pair(pair.image_tower, pair.text_tower, AlignmentHead(Identity(width), Identity(width)))
    with pytest.raises(ValueError, match=r"the image head of .* \(Identity\) holds no weight.*put LinearHeads there"):
        fold(bare, image=Projector(torch.eye(width)))


def test_conse_takes_no_weight():
    model = load_model("lite2-conse", device="cpu")
    with pytest.raises(ValueError, match=r"the image projector of lite2-conse is 'none': ConSE .*softmax"):
        fold(model, image=Projector(torch.zeros(384, 1280)))


def test_a_weight_in_two_places_is_not_changed_behind_the_other(pair):
    shared = LinearHead(32, 12)
    both = wb.pair(pair.image_tower, pair.text_tower, AlignmentHead(shared, shared))
    with pytest.raises(
        ValueError,
        match=r"cannot be replaced alone: it stands in head.image.weight and head.text.weight; give each a copy",
    ):
        fold(both, image=drawn(both.image_projector))


def test_a_weight_that_is_computed_is_not_written_into_the_air(pair):
    head = nn.utils.parametrizations.weight_norm(LinearHead(32, 12))
    normed = wb.pair(pair.image_tower, pair.text_tower, AlignmentHead(head, LinearHead(32, 12)))
    with pytest.raises(ValueError, match=r"image projector of .* it is computed; take its parametrization off"):
        fold(normed, image=drawn(normed.image_projector))


def test_a_name_or_a_skeleton_is_no_model(clip_folder, tiny):
    with pytest.raises(TypeError, match="fold takes a loaded model, not str 'scenes-clip'; load it with load_model"):
        fold("scenes-clip", image=tiny.image_projector)
    with pytest.raises(ValueError, match="is a skeleton without weights; load it with load_model"):
        fold(skeleton(f"local-dir:{clip_folder}"), image=tiny.image_projector)
