"""What learns of a model: the parts asked for and nothing else, adapters that start at nothing and merge into what they did."""

import copy
import warnings

import pytest
import torch
from torch import nn

from tests.models.test_open_clip_families import CAPTIONS, PICTURES, write_family
from workbench.fine_tuning.adapters import KINDS, PARTS, holds_adapters, prepare, targets_of
from workbench.models.registry import load_model

FAMILIES = {  # found of each of KINDS; what a family adds
    "siglip": (6, 5, 10, 1),  # an attention pool of layers
    "eva, rotary positions": (4, 4, 8, 1),  # reads `qkv.weight` and never calls the layer
    "text tower of transformers, mlp": (8, 4, 8, 1),  # queries, keys and values in layers of their own
    "timm convnext": (2, 2, 22, 1),
    "coca": (4, 4, 8, 1),
}


@pytest.fixture(scope="module")
def given():
    return load_model("scenes-clip", device="cpu")


@pytest.fixture
def model(given):
    return copy.deepcopy(given)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("family")
    write_family(request.param, folder)
    model = load_model(f"local-dir:{folder}", device="cpu")
    trunk = getattr(model.module.visual, "trunk", None)
    if hasattr(trunk, "blocks"):
        trunk.blocks = trunk.blocks[:2]  # the others are the same
    return request.param, model


def features(model, *, tokens=True, **options):
    """Both sides' features, with gradients."""
    read = model._tokenize(list(CAPTIONS))
    image = model.forward_image(torch.stack([model.preprocess(each) for each in PICTURES]), tokens=tokens, **options)
    text = model.forward_text(read.ids, read.mask, tokens=tokens)
    return [each for side in (image, text) for each in (side.pre, side.post, side.tokens) if each is not None]


def far(ours, theirs):
    return max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True))


def randomise(trained, std=0.05):
    torch.manual_seed(1)
    for parameter in trained.parameters.values():
        nn.init.normal_(parameter, std=std)


@pytest.mark.parametrize("parts", PARTS)
def test_only_what_was_asked_for_learns(model, parts):
    trained = prepare(model, parts)
    names = [name for name, parameter in model.module.named_parameters() if parameter.requires_grad]
    assert list(trained.parameters) == names
    tower = {
        "full": lambda name: True,
        "lora": lambda name: "lora_" in name,
        "image": lambda name: name.startswith("visual."),
        "text": lambda name: not name.startswith("visual.") and name != "logit_scale",
    }[parts]
    assert names == [name for name, _ in model.module.named_parameters() if tower(name)]


def test_towers_together_are_everything_but_the_temperature(given):
    image, text, full = (prepare(copy.deepcopy(given), parts).parameters for parts in ("image", "text", "full"))
    assert {*image, *text, "logit_scale"} == set(full)
    assert not set(image) & set(text)


def test_the_adapted_model_starts_as_the_given_one(given, model):
    trained = prepare(model, "lora")
    assert far(features(model), features(given)) <= 1e-6
    assert [name for name, each in trained.parameters.items() if "lora_B" in name and each.any()] == []
    assert [name for name, each in trained.parameters.items() if "lora_A" in name and not each.any()] == []


def test_a_gradient_reaches_every_adapter_of_every_kind(model):
    trained = prepare(model, "lora")
    assert {kind for target in trained.targets for kind in target.kinds} == set(KINDS)
    randomise(trained)  # at B = 0 none would reach A
    sum((each * torch.randn_like(each)).sum() for each in features(model)).backward()
    without = [name for name, each in trained.parameters.items() if each.grad is None or not each.grad.any()]
    assert without == []


def test_merged_features_are_the_adapted_ones_and_nothing_of_peft_is_left(given, model):
    trained = prepare(model, "lora", rank=3, alpha=2)
    randomise(trained)
    adapted = features(model)
    assert far(adapted, features(given)) > 1e-2
    trained.merge()
    assert far(features(model), adapted) <= 1e-5
    assert not holds_adapters(model.module)
    assert not hasattr(model.module, "peft_config")
    assert list(model.module.state_dict()) == list(given.module.state_dict())
    classes = [type(part) for part in given.module.modules()]
    assert [type(part) for part in model.module.modules()] == classes
    merged = {name: each.clone() for name, each in model.module.state_dict().items()}
    trained.merge()
    assert all(torch.equal(each, merged[name]) for name, each in model.module.state_dict().items())


def test_frozen_weights_keep_their_bits(given, model):
    """peft's own attention rounds them at every call."""
    trained = prepare(model, "lora")
    randomise(trained)
    for _ in range(3):
        features(model)
    own = given.module.visual.transformer.resblocks[0].attn
    kept = model.module.visual.transformer.resblocks[0].attn.get_base_layer()
    assert torch.equal(kept.in_proj_weight, own.in_proj_weight)
    assert torch.equal(kept.out_proj.get_base_layer().weight, own.out_proj.weight)


def test_what_is_no_target_does_not_change(given, model):
    trained = prepare(model, "lora")
    randomise(trained)
    trained.merge()
    before, after = given.module.state_dict(), model.module.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {
        f"{target.name}.{weight}"
        for target in trained.targets
        for weight in (("in_proj_weight", "out_proj.weight") if len(target.kinds) == 2 else ("weight",))
    }


def test_dense_maps_see_the_adapters(model):
    trained = prepare(model, "lora")
    randomise(trained)
    adapted = features(model, dense="clearclip")
    trained.merge()
    assert far(features(model, dense="clearclip"), adapted) <= 1e-5


def test_the_state_in_training_stays_and_a_copy_stands_alone(model):
    trained = prepare(model, "lora")
    assert not any(part.training for part in model.module.modules())
    twin = copy.deepcopy(trained)
    randomise(twin)
    assert not any(each.any() for name, each in trained.parameters.items() if "lora_B" in name)
    adapted = features(twin.model)
    twin.merge()
    assert far(features(twin.model), adapted) <= 1e-5
    assert holds_adapters(model.module)


def test_families_of_towers(family):
    """One family adapted: what is found, where it starts, what learns, what merging leaves."""
    name, given = family
    model, tokens = copy.deepcopy(given), name != "coca"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained = prepare(model, "lora", rank=2)
    counts = {row[0].removeprefix("adapters: "): int(row[1]) for row in trained.table().rows[3:]}
    assert tuple(counts[kind] for kind in KINDS) == FAMILIES[name]
    with torch.no_grad():
        assert far(features(model, tokens=tokens), features(given, tokens=tokens)) <= 5e-6
    randomise(trained)
    adapted = features(model, tokens=tokens)
    sum((each * torch.randn_like(each)).sum() for each in adapted).backward()
    assert [name for name, each in trained.parameters.items() if each.grad is None or not each.grad.any()] == []
    trained.merge()
    assert far(features(model, tokens=tokens), adapted) <= 1e-5
    assert list(model.module.state_dict()) == list(given.module.state_dict())


def test_final_projections_and_a_captioner_stay_frozen(family):
    name, model = family
    adapted = [target.name for target in targets_of(model)]
    still = ("visual.head", "text.proj", "text.text_projection", "text_decoder", "visual.attn_pool.attn")
    if name != "siglip":  # whose pool is timm's, of layers
        assert [each for each in adapted if each.startswith(still)] == []
    assert "text_decoder.lm_head" not in prepare(copy.deepcopy(model)).parameters


def test_the_table_counts(model):
    trained = prepare(model, "lora", rank=1)
    width, layers = 64, 2
    block = (width + 3 * width) + (width + width) + 2 * (width + 4 * width)
    expected = 2 * layers * block + (3 * 16 * 16 + width)
    assert trained.trainable == expected
    rows = dict(trained.table().rows)
    assert rows["trainable parameters"] == f"{expected:,}"
    assert rows["all parameters"] == f"{264321 + expected:,}"
    assert rows["share"] == f"{100 * expected / (264321 + expected):.2f} %"
    assert rows["adapters: attention in-projection"] == rows["adapters: attention out-projection"] == "4"
    assert (rows["adapters: linear"], rows["adapters: patch embedding"]) == ("8", "1")
    assert "264,321 of 264,321" in repr(prepare(load_model("scenes-clip", device="cpu")))


def test_alpha_over_rank_scales_the_update(given):
    outputs = []
    for alpha in (1.0, 2.0):
        trained = prepare(copy.deepcopy(given), "lora", rank=2, alpha=alpha)
        randomise(trained)
        trained.merge()
        outputs.append(trained.model.module.state_dict()["visual.conv1.weight"] - given.module.visual.conv1.weight)
    assert torch.allclose(outputs[1], 2 * outputs[0], atol=1e-6)


def test_adapters_have_no_dropout(model):
    trained = prepare(model, "lora")
    model.module.train()
    randomise(trained)
    assert far(features(model), features(model)) == 0
    assert not any(isinstance(part, nn.Dropout) and part.p for part in model.module.modules())


@pytest.mark.parametrize("parts", ["LORA", "", None, "lora,text"])
def test_unknown_parts(model, parts):
    with pytest.raises(ValueError, match=r"parts=.*; choose one of full, lora, image, text"):
        prepare(model, parts)


def test_a_rank_that_no_layer_has(model):
    assert prepare(copy.deepcopy(model), "lora", rank=64).targets
    with pytest.raises(
        ValueError, match=r"rank=65: visual\.conv1 of scenes-clip is 64 × 768; give a rank from 1 to 64"
    ):
        prepare(model, "lora", rank=65)
    with pytest.raises(ValueError, match="rank=0: "):
        prepare(model, "lora", rank=0)
    with pytest.raises(TypeError, match="rank is float"):
        prepare(model, "lora", rank=4.0)
    assert not holds_adapters(model.module)


@pytest.mark.parametrize("alpha", [0, -1, float("nan"), float("inf"), True, "1"])
def test_an_alpha_that_is_not_positive(model, alpha):
    with pytest.raises(ValueError, match=r"alpha=.*; give a positive number"):
        prepare(model, "lora", alpha=alpha)


@pytest.mark.parametrize(
    ("parts", "left"), [("image", "transformer"), ("text", "visual"), ("lora", "visual"), ("full", "visual")]
)
def test_a_model_without_that_tower(model, parts, left):
    model.module = nn.ModuleDict({left: getattr(model.module, left)})
    missing = "text" if left == "visual" else "image"
    with pytest.raises(ValueError, match=f"scenes-clip has no {missing} tower with parameters; its parts are {left}"):
        prepare(model, parts)


def test_adapters_on_adapters_and_heads_on_towers(model):
    prepare(model, "lora")
    for parts in PARTS:
        with pytest.raises(ValueError, match=r"holds adapters already; call merge\(\)"):
            prepare(model, parts)
    with pytest.raises(TypeError, match=r"is a PairedEncoder, not one model with two towers.*workbench\.aligning"):
        prepare(load_model("lite0-minilm", device="cpu"))
