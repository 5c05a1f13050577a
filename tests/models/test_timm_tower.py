"""timm's models as towers: the library's own numbers, every cell in its place, and folders that cannot load."""

import json

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf

from workbench.models.towers import image_tower

# A class token; registers and a mean; registers and an attention pool; positions by bias; then maps, one of them NHWC.
SEQUENCES = ("test_vit", "test_vit2", "test_vit3", "test_vit_relpos")
MAPS = ("test_convnext", "test_resnet", "test_efficientnet", "test_mambaout")


def random_tower(name, **options):
    torch.manual_seed(0)
    tower = image_tower(f"timm:{name}", pretrained=False, **options)
    for key, weight in tower.named_parameters():
        if key.endswith("gamma"):  # layer scale starts at 1e-5, which makes every block the same
            weight.data.fill_(1.0)
    return tower


@pytest.fixture(scope="module", params=SEQUENCES + MAPS)
def tower(request):
    return random_tower(request.param)


@pytest.fixture(scope="module")
def vit():
    return random_tower("test_vit")


@pytest.fixture
def pixels():
    return torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    save_for_hf(timm.create_model("test_vit"), tmp_path, safe_serialization=True)
    return tmp_path


def test_pooled_is_the_librarys_own(tower, pixels):
    trunk = tower.trunk
    with torch.no_grad():
        cells, pooled, grid = tower(pixels)
        own = trunk.forward_head(trunk.forward_features(pixels), pre_logits=True)
    assert torch.equal(pooled, own)
    assert pooled.shape == (2, tower.width)
    assert cells.shape == (2, grid[0] * grid[1], tower.width)
    assert grid == tower.grid(160)


def test_a_cell_stands_where_its_pixels_stand(tower, pixels):
    """Changing one corner of the picture changes the cells there most, the corner's own or, in a map, its neighbour."""
    h, w = tower.grid(160)
    changed = pixels.clone()
    changed[:, :, : 160 // h, 160 - 160 // w :] += 3
    with torch.no_grad():
        gap = (tower(changed)[0] - tower(pixels)[0]).norm(dim=-1).mean(0)
    row, column = divmod(int(gap.argmax()), w)
    assert row <= 1
    assert column >= w - 2


def test_one_by_one_equals_the_batch(tower, pixels):
    with torch.no_grad():
        together, alone = tower(pixels), [tower(picture[None]) for picture in pixels]
    for part in (0, 1):
        assert torch.allclose(together[part], torch.cat([each[part] for each in alone]), atol=1e-5)


def test_gradients_reach_the_first_weights(tower, pixels):
    cells, pooled, _ = tower(pixels)
    (cells.square().mean() + pooled.square().mean()).backward()
    assert next(tower.parameters()).grad.abs().sum() > 0
    tower.zero_grad()


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_layer_is_the_tower_cut_off_behind_it(name, pixels):
    tower = random_tower(name)
    with torch.no_grad():
        last, middle = tower(pixels, layer=tower.layers - 1), tower(pixels, layer=2)
        assert torch.equal(last[1], tower(pixels)[1])
        assert torch.equal(middle[1], tower(pixels, layer=2 - tower.layers)[1])
        tower.trunk.blocks = tower.trunk.blocks[:3]
        cut = tower(pixels)
    assert torch.allclose(middle[0], cut[0], atol=1e-6)
    assert torch.allclose(middle[1], cut[1], atol=1e-6)
    assert not torch.allclose(middle[1], last[1], atol=1e-2)


@pytest.mark.parametrize("layer", [6, -7])
def test_a_layer_that_is_not_there(vit, pixels, layer):
    with pytest.raises(ValueError, match=f"layer={layer}: this tower has 6 blocks; give -6 to 5"):
        vit(pixels, layer=layer)


@pytest.mark.parametrize("name", MAPS)
def test_stages_of_other_widths_are_refused(name, pixels):
    with pytest.raises(ValueError, match="last layer only, for its earlier stages have other widths; use layer=-1"):
        random_tower(name)(pixels, layer=0)


def test_poolings(pixels):
    first, mean = random_tower("test_vit", pooling="first"), random_tower("test_vit", pooling="mean")
    with torch.no_grad():
        states = first.trunk.forward_features(pixels)
        assert torch.equal(first(pixels)[1], states[:, 0])
        assert torch.equal(mean(pixels)[1], states[:, 1:].mean(1))
        assert torch.equal(mean(pixels)[0], states[:, 1:])
        cells, pooled, _ = random_tower("test_vit", pooling="first+mean")(pixels)
        assert torch.equal(pooled, torch.cat((states[:, 0], states[:, 1:].mean(1)), -1))
        assert torch.equal(cells[:, 7], torch.cat((states[:, 0], states[:, 8]), -1))
    with pytest.raises(ValueError, match="test_vit2 has no class token"):
        random_tower("test_vit2", pooling="first")  # it has a register, which is none


def test_a_norm_behind_the_pool_reaches_the_cells(pixels):
    tower = random_tower("test_convnext")
    with torch.no_grad():
        cells = tower(pixels)[0]
        maps = tower.trunk.forward_features(pixels).flatten(2).transpose(1, 2)
        norm = tower.trunk.head.norm
        by_hand = torch.nn.functional.layer_norm(maps, maps.shape[-1:], norm.weight, norm.bias, norm.eps)
    assert torch.allclose(cells, by_hand, atol=1e-5)


def test_preprocessing_is_the_models_own(vit):
    from timm.data import create_transform, resolve_model_data_config

    photo = Image.linear_gradient("L").convert("RGB").resize((300, 200))
    own = create_transform(**resolve_model_data_config(vit.trunk), is_training=False)
    assert torch.equal(vit.preprocess(photo, 160), own(photo))
    assert vit.preprocess(photo, 224).shape == (3, 224, 224)
    assert "crop of 0.95" in vit.preprocess_words


def test_input_sizes(vit):
    assert vit.grid(160) == (10, 10)
    convolutional = random_tower("test_convnext")
    convolutional.check_image_size(224)
    assert convolutional.grid(224) == (7, 7)
    with pytest.raises(ValueError, match=r"image_size=224: timm:test_vit3 does not take it; use 160"):
        random_tower("test_vit3").check_image_size(224)
    with pytest.raises(ValueError, match="give 1 to 2048 px"):
        vit.check_image_size(3000)


def test_measuring_leaves_shared_modules_alone():
    """CoaT's blocks share their position encodings under several names."""
    tower = random_tower("coat_lite_tiny")
    assert not any(tensor.is_meta for tensor in tower.state_dict().values())


def test_a_tower_that_keeps_no_patches():
    tower = random_tower("pit_ti_224")
    with torch.no_grad():
        cells, pooled, grid = tower(torch.randn(2, 3, 224, 224))
    assert (cells.shape[1], grid, tower.grid(224)) == (0, None, None)
    assert pooled.shape == (2, tower.width)
    with pytest.raises(ValueError, match="keeps no patches to average"):
        random_tower("pit_ti_224", pooling="mean")


# Loading ---------------------------------------------------------------------------------------------------------------


def test_a_folder_that_timm_saved(folder, pixels):
    stored = timm.create_model("test_vit", pretrained=False).eval()
    stored.load_state_dict(load_file(folder / "model.safetensors"))
    tower = image_tower(f"timm:local-dir:{folder}")
    with torch.no_grad():
        assert torch.equal(tower(pixels)[1], stored.forward_head(stored.forward_features(pixels), pre_logits=True))
    assert tower.licence == "apache-2.0"
    assert len(tower.digest) == 16


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("classes", [1000, 7, 0])
def test_a_checkpoint_file_whatever_its_classes(tmp_path, pixels, suffix, classes):
    torch.manual_seed(3)
    theirs = timm.create_model("test_vit", num_classes=classes).eval()
    file = tmp_path / f"mine{suffix}"
    save_file(theirs.state_dict(), file) if suffix == ".safetensors" else torch.save(theirs.state_dict(), file)
    tower = image_tower("timm:test_vit", weights=file)
    with torch.no_grad():
        assert torch.equal(tower(pixels)[1], theirs.forward_head(theirs.forward_features(pixels), pre_logits=True))
    assert tower.source == f"timm test_vit, weights mine{suffix}"


def test_random_weights_are_said():
    tower = random_tower("test_vit")
    assert "image tower with random weights: nothing was loaded" in tower.notes
    assert "image pooled by the model's own head (token)" in tower.notes


def damaged(folder, change):
    file = folder / "model.safetensors"
    state = load_file(file)
    change(state)
    save_file(state, file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("norm.weight"), r"do not fit its configuration: .*Missing key.*norm\.weight"),
        (lambda s: s.update(surprise=torch.zeros(1)), "do not fit its configuration: .*Unexpected key.*surprise"),
        (lambda s: s.update({"norm.bias": torch.zeros(3)}), "do not fit its configuration: .*size mismatch"),
        (lambda s: s["norm.bias"].fill_(float("nan")), r"weight 'norm\.bias' of timm:.* has NaN or infinite"),
    ],
)
def test_weights_that_do_not_fit(folder, change, message):
    damaged(folder, change)
    with pytest.raises(ValueError, match=message):
        image_tower(f"timm:local-dir:{folder}")


def test_a_half_downloaded_folder(folder, tmp_path):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(ValueError, match="cut short or damaged"):
        image_tower(f"timm:local-dir:{folder}")
    file.unlink()
    with pytest.raises(FileNotFoundError, match="comes without weights; give weights=<file>"):
        image_tower(f"timm:local-dir:{folder}")
    (folder / "config.json").write_text("{cut")
    with pytest.raises(ValueError, match=r"a configuration file of timm:.* is no JSON"):
        image_tower(f"timm:local-dir:{folder}")
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no config\.json"):
        image_tower(f"timm:local-dir:{folder}")
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        image_tower(f"timm:local-dir:{tmp_path / 'none'}")


def test_a_folder_of_another_kind(folder):
    config = json.loads((folder / "config.json").read_text())
    del config["architecture"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="no model can be built from the configuration of timm:"):
        image_tower(f"timm:local-dir:{folder}")


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("timm:test_vit5", ValueError, "timm has no architecture 'test_vit5'; did you mean test_vit"),
        ("timm:test_vit.none", ValueError, "timm has no tag 'none' for test_vit; choose one of r160_in1k"),
        (
            "timm:test_vit",
            ConnectionError,
            "not on this machine .* load 'timm:local-dir:<folder>'",
        ),
        ("timm:hf-hub:nobody/nothing", ConnectionError, "not on this machine .*HF_HUB_OFFLINE"),
        ("timm:test_mambaout", FileNotFoundError, "comes without weights; give weights=<file>, or pretrained=False"),
    ],
)
def test_names_that_give_no_tower(name, error, message):
    with pytest.raises(error, match=message):
        image_tower(name)


def test_checkpoint_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"weights='none\.pt' is not a file"):
        image_tower("timm:test_vit", weights="none.pt")
    (tmp_path / "junk.pt").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="no checkpoint that torch can read"):
        image_tower("timm:test_vit", weights=tmp_path / "junk.pt")
    with pytest.raises(ValueError, match="weights= goes with 'timm:<architecture>'"):
        image_tower(f"timm:local-dir:{tmp_path}", weights="a.pt")


def test_lists_of_maps_are_refused():
    with pytest.raises(ValueError, match="gives a list, not one map or sequence"):
        random_tower("crossvit_tiny_240")
