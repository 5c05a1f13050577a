"""Vision models of transformers as towers: the library's own states, patches in their places, and folders that cannot load."""

import json

import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from workbench.models.towers import image_tower

SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
WIDE = {**SIZES, "intermediate_size": 64}
# configuration, model, tokens before the patches
KINDS = {
    "vit": (lambda: transformers.ViTConfig(**WIDE), transformers.ViTModel, 1),
    "dinov2": (lambda: transformers.Dinov2Config(**SIZES, mlp_ratio=2), transformers.Dinov2Model, 1),
    "registers": (
        lambda: transformers.Dinov2WithRegistersConfig(**SIZES, mlp_ratio=2, num_register_tokens=3),
        transformers.Dinov2WithRegistersModel,
        4,
    ),
    "dinov3": (lambda: transformers.DINOv3ViTConfig(**WIDE, num_register_tokens=2), transformers.DINOv3ViTModel, 3),
    "mae": (lambda: transformers.ViTMAEConfig(**WIDE), transformers.ViTMAEModel, 1),
    "ijepa": (lambda: transformers.IJepaConfig(**WIDE), transformers.IJepaModel, 0),
    "siglip": (lambda: transformers.SiglipVisionConfig(**WIDE), transformers.SiglipVisionModel, 0),
}
PHOTO = Image.linear_gradient("L").convert("RGB").resize((90, 60))


def save(folder, kind, model_class=None):
    config, own_class, _ = KINDS[kind]
    torch.manual_seed(0)
    model = (model_class or own_class)(config())
    for key, weight in model.named_parameters():
        if weight.ndim > 1 or key.endswith("lambda1"):  # at 0.02 every block does next to nothing
            torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return model.eval()


@pytest.fixture(scope="module", params=KINDS)
def kind(request, tmp_path_factory):
    """The folder, the library's model and the tower of one kind."""
    folder = tmp_path_factory.mktemp(request.param)
    model = save(folder, request.param)
    if request.param == "mae":
        model.config.mask_ratio = 0.0
    return request.param, model, image_tower(f"transformers:{folder}")


@pytest.fixture
def pixels():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def own_states(name, model, pixels, **options):
    if name == "mae":
        options["noise"] = torch.arange(pixels.shape[-1] ** 2 // 64).float().expand(len(pixels), -1)
    with torch.no_grad():
        return model(pixels, **options).last_hidden_state


def test_states_are_the_librarys_own(kind, pixels):
    name, model, tower = kind
    prefix = KINDS[name][2]
    states = own_states(name, model, pixels)
    with torch.no_grad():
        cells, pooled, grid = tower(pixels)
    assert torch.equal(cells, states[:, prefix:])
    assert torch.equal(pooled, states[:, 0] if prefix else states.mean(1))
    assert grid == tower.grid(32) == (4, 4)
    assert (tower.prefix, tower.width, tower.layers) == (prefix, 32, 3)


def test_a_layer_is_the_model_cut_off_behind_it(kind, pixels, tmp_path):
    name, _, tower = kind
    cut = save(tmp_path, name)
    blocks = next(part for part in cut.modules() if isinstance(part, torch.nn.ModuleList) and len(part) == 3)
    del blocks[2:]
    if name == "mae":
        cut.config.mask_ratio = 0.0
    expected = own_states(name, cut, pixels)[:, KINDS[name][2] :]
    with torch.no_grad():
        middle, last = tower(pixels, layer=1), tower(pixels, layer=2)
        assert torch.equal(last[1], tower(pixels)[1])
        assert torch.equal(middle[1], tower(pixels, layer=-2)[1])
    assert torch.allclose(middle[0], expected, atol=1e-6)
    assert not torch.allclose(middle[0], last[0], atol=0.1)
    with pytest.raises(ValueError, match="layer=3: this tower has 3 blocks"):
        tower(pixels, layer=3)


def test_one_by_one_equals_the_batch(kind, pixels):
    _, _, tower = kind
    with torch.no_grad():
        together, alone = tower(pixels), [tower(picture[None]) for picture in pixels]
    for part in (0, 1):
        assert torch.allclose(together[part], torch.cat([each[part] for each in alone]), atol=1e-5)


def test_gradients_reach_the_patch_embedding(kind, pixels):
    _, _, tower = kind
    _, pooled, _ = tower(pixels)
    pooled.square().sum().backward()
    convolution = next(part for part in tower.modules() if isinstance(part, torch.nn.Conv2d))
    assert convolution.weight.grad.abs().sum() > 0
    tower.zero_grad()


def test_twice_the_same(kind, pixels):
    """ViT-MAE by itself hides three patches in four and shuffles the rest anew every time."""
    _, _, tower = kind
    with torch.no_grad():
        assert torch.equal(tower(pixels)[0], tower(pixels)[0])


def test_other_input_sizes(kind):
    _, _, tower = kind
    tower.check_image_size(64)
    with torch.no_grad():
        cells, _, grid = tower(torch.randn(1, 3, 64, 64))
    assert grid == tower.grid(64) == (8, 8)
    assert cells.shape == (1, 64, 32)
    assert tower.preprocess(PHOTO, 64).shape == (3, 64, 64)
    with pytest.raises(ValueError, match=r"image_size=60; .* cuts patches of 8 px: give a multiple"):
        tower.check_image_size(60)


def test_preprocessing_is_the_models_own(kind):
    _, _, tower = kind
    own = transformers.AutoImageProcessor.from_pretrained(tower.name.removeprefix("transformers:"), backend="pil")
    assert torch.equal(tower.preprocess(PHOTO, 32), own(PHOTO, return_tensors="pt")["pixel_values"][0])
    assert "'height': 32" in tower.preprocess_words


def test_a_cell_stands_where_its_pixels_stand(kind, pixels):
    _, _, tower = kind
    changed = pixels.clone()
    changed[:, :, :8, 24:] += 3
    with torch.no_grad():
        gap = (tower(changed)[0] - tower(pixels)[0]).norm(dim=-1).mean(0)
    assert divmod(int(gap.argmax()), 4) == (0, 3)


def test_the_size_is_the_processors_not_the_configurations(tmp_path):
    """DINOv2 says 518 and is run on crops of 224."""
    save(tmp_path, "dinov2")
    transformers.BitImageProcessor(size={"shortest_edge": 20}, crop_size={"height": 16, "width": 16}).save_pretrained(
        tmp_path
    )
    tower = image_tower(f"transformers:{tmp_path}")
    assert (tower.image_size, tower.grid(16)) == (16, (2, 2))
    assert tower.preprocess(PHOTO, 16).shape == (3, 16, 16)
    assert tower.preprocess(PHOTO, 32).shape == (3, 32, 32)
    assert "centre crop" in tower.preprocess_words


def test_clips_vision_model_is_normed_as_it_was_trained(tmp_path, pixels):
    torch.manual_seed(0)
    model = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**WIDE)).eval()
    model.save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    with torch.no_grad():
        _, pooled, _ = image_tower(f"transformers:{tmp_path}")(pixels)
        assert torch.allclose(pooled, model(pixels).pooler_output, atol=1e-6)


def test_poolings(tmp_path, pixels):
    model = save(tmp_path, "registers")
    mean = image_tower(f"transformers:{tmp_path}", pooling="mean")
    with torch.no_grad():
        assert torch.allclose(mean(pixels)[1], own_states("registers", model, pixels)[:, 4:].mean(1), atol=1e-6)
    assert mean.notes == ("image pooled by the mean of the patches",)
    save(tmp_path, "ijepa")
    for pooling in ("first", "first+mean"):
        with pytest.raises(ValueError, match="has no class token"):
            image_tower(f"transformers:{tmp_path}", pooling=pooling)


@pytest.mark.parametrize("name", ["dinov2", "registers"])
def test_the_class_token_beside_the_patches(name, tmp_path, pixels):
    """As SAIL reads DINOv2: twice as wide, registers left out, and cells that average to what is pooled."""
    model = save(tmp_path, name)
    tower = image_tower(f"transformers:{tmp_path}", pooling="first+mean")
    with torch.no_grad():
        states, (cells, pooled, grid) = own_states(name, model, pixels), tower(pixels)
    patches = states[:, KINDS[name][2] :]
    assert torch.equal(pooled, torch.cat((states[:, 0], patches.mean(1)), -1))
    assert torch.equal(cells[:, 5], torch.cat((states[:, 0], patches[:, 5]), -1))
    assert torch.allclose(cells.mean(1), pooled, atol=1e-6)
    assert (tower.width, grid) == (64, (4, 4))
    assert tower(pixels, layer=0)[1].shape == (2, 64)
    assert tower.notes == ("image pooled by the class token beside the mean of the patches",)
    assert tower.recipe != image_tower(f"transformers:{tmp_path}", pooling="mean").recipe


def test_a_map_of_patches_that_shrinks_on_the_way(tmp_path):
    """Swin merges patches: the mean of what is left, one layer."""
    config = transformers.SwinConfig(
        image_size=32, patch_size=4, embed_dim=8, depths=[1, 1, 1], num_heads=[2, 2, 2], window_size=2
    )
    model = transformers.SwinModel(config).eval()
    model.save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    tower, pixels = image_tower(f"transformers:{tmp_path}"), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(tower(pixels)[1], model(pixels).pooler_output, atol=1e-6)
    assert tower.grid(32) == (2, 2)
    with pytest.raises(ValueError, match="last layer only, for its earlier blocks have other shapes"):
        tower(pixels, layer=0)


# Loading ---------------------------------------------------------------------------------------------------------------


def test_a_head_in_the_checkpoint_is_left_out_and_said(tmp_path, pixels):
    model = save(tmp_path, "vit", transformers.ViTForImageClassification)
    tower = image_tower(f"transformers:{tmp_path}")
    assert "left out of the checkpoint: classifier" in tower.notes
    assert tower.model.pooler is None  # the checkpoint has none, so it would be random
    with torch.no_grad():
        assert torch.equal(tower(pixels)[1], model.vit(pixels).last_hidden_state[:, 0])
    assert tower.digest == image_tower(f"transformers:{tmp_path}").digest


def test_pre_training_parts_of_mae_are_left_out(tmp_path):
    torch.manual_seed(0)
    decoder = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_intermediate_size": 32}
    transformers.ViTMAEForPreTraining(
        transformers.ViTMAEConfig(**WIDE, **decoder, decoder_num_attention_heads=2)
    ).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    assert "left out of the checkpoint: decoder" in image_tower(f"transformers:{tmp_path}").notes


def test_random_weights_are_said(tmp_path):
    save(tmp_path, "vit")
    (tmp_path / "model.safetensors").unlink()
    tower = image_tower(f"transformers:{tmp_path}", pretrained=False)
    assert "image tower with random weights: nothing was loaded" in tower.notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("layernorm.weight"), r"lack layernorm\.weight, which would be random"),
        (
            lambda s: s.update({"layers.7.mlp.fc1.weight": torch.zeros(64, 32)}),
            r"hold layers\.7\.mlp\.fc1\.weight, for which its configuration has no place",
        ),
        (lambda s: s.update({"layernorm.bias": torch.zeros(5)}), r"layernorm\.bias is \(5,\), the model's \(32,\)"),
        (lambda s: s["layernorm.bias"].fill_(float("inf")), r"'layernorm\.bias' of transformers:.* NaN or infinite"),
    ],
)
def test_weights_that_do_not_fit(tmp_path, change, message):
    save(tmp_path, "vit")
    state = load_file(tmp_path / "model.safetensors")
    change(state)
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=message):
        image_tower(f"transformers:{tmp_path}")


def test_a_half_downloaded_folder(tmp_path):
    save(tmp_path, "vit")
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(ValueError, match="cut short or damaged"):
        image_tower(f"transformers:{tmp_path}")
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"is incomplete: .*no file named model"):
        image_tower(f"transformers:{tmp_path}")
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"is incomplete: .*image processor"):
        image_tower(f"transformers:{tmp_path}")
    (tmp_path / "config.json").write_text("{cut")
    with pytest.raises(ValueError, match="is no JSON"):
        image_tower(f"transformers:{tmp_path}")
    (tmp_path / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        image_tower(f"transformers:{tmp_path}")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "bert"}, "is a 'bert' model, which sees no pictures"),
        ({"model_type": "clip"}, "is a whole 'clip' model, image and text; load it with load_model"),
        (
            {"model_type": "mine", "auto_map": {"AutoConfig": "c.C", "AutoModel": "c.M"}},
            "brings Python code of its own, which is not run here",
        ),
    ],
)
def test_models_of_another_kind(tmp_path, config, message):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        image_tower(f"transformers:{tmp_path}")


@pytest.mark.parametrize(
    ("place", "error", "message"),
    [
        ("nobody/nothing", ConnectionError, "not on this machine .*load 'transformers:<folder>'"),
        ("/no/such/folder", FileNotFoundError, "'/no/such/folder' is not a folder"),
        ("no such name", ValueError, "neither a folder nor a name of the hub"),
    ],
)
def test_places_that_hold_no_model(place, error, message):
    with pytest.raises(error, match=message):
        image_tower(f"transformers:{place}")


def test_a_processor_that_makes_no_squares(tmp_path):
    save(tmp_path, "vit")
    transformers.ViTImageProcessor(size={"height": 32, "width": 40}).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"makes pictures of \(3, 32, 40\); an image tower takes"):
        image_tower(f"transformers:{tmp_path}")


def test_a_convolutional_model_is_sent_to_timm(tmp_path):
    config = transformers.ConvNextConfig(hidden_sizes=[8, 8, 8, 16], depths=[1, 1, 1, 1])
    transformers.ConvNextModel(config).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="gives a feature map, not patch tokens; take the same architecture from timm"):
        image_tower(f"transformers:{tmp_path}")
