"""transformers' CLIP and SigLIP: the library's own numbers, and the same numbers as open_clip on the same weights."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tiny import save_tokenizer
from workbench.models.registry import list_models, load_model, skeleton

TOWER = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {**TOWER, "image_size": 32, "patch_size": 8}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
PICTURES = [Image.linear_gradient("L").convert("RGB"), Image.radial_gradient("L").convert("RGB")]
CAPTIONS = ["a red cube left of the blue ball", "cat"]


def save_model(folder, kind):
    import transformers

    config_class, model_class, processor_class = {
        "clip": (transformers.CLIPConfig, transformers.CLIPModel, transformers.CLIPImageProcessor),
        "siglip": (transformers.SiglipConfig, transformers.SiglipModel, transformers.SiglipImageProcessor),
        "siglip2": (transformers.Siglip2Config, transformers.Siglip2Model, transformers.Siglip2ImageProcessor),
    }[kind]
    text = {**TOWER, "vocab_size": 20, "max_position_embeddings": 12, **SPECIAL}
    extra = {"projection_dim": 20} if kind == "clip" else {}
    vision = {**VISION, "num_patches": 16} if kind == "siglip2" else VISION
    config = config_class(text_config=text, vision_config=vision, **extra)
    torch.manual_seed(0)
    model_class(config).save_pretrained(folder)
    size = {"shortest_edge": 32} if kind == "clip" else {"height": 32, "width": 32}
    if kind == "siglip2":
        processor_class(patch_size=8, max_num_patches=16).save_pretrained(folder)
        return save_tokenizer(folder)
    processor_class(size=size, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    save_tokenizer(folder)


@pytest.fixture(scope="module", params=["clip", "siglip", "siglip2"])
def folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    save_model(folder, request.param)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return load_model(f"transformers:{folder}", device="cpu")


def test_features_equal_the_librarys_own(model):
    pixels = torch.stack([model._pixels(picture, 32) for picture in PICTURES])
    tokens = model._tokenize(CAPTIONS)
    with torch.no_grad():
        image = model.module.get_image_features(**model._image.inputs(pixels)).pooler_output
        text = model.module.get_text_features(input_ids=tokens.ids, attention_mask=tokens.mask.long()).pooler_output
    ours = model.encode_image(PICTURES).post, model.encode_text(CAPTIONS).post
    assert torch.allclose(ours[0], image, atol=1e-6)
    if model.module.config.model_type == "clip":  # SigLIP was trained to attend to padding, so no mask is right there
        assert torch.allclose(ours[1], text, atol=1e-6)


def test_exact_projectors_give_post_from_pre(model):
    image, text = model.encode_image(PICTURES), model.encode_text(CAPTIONS)
    if model.image_projector.kind == "exact":
        assert torch.allclose(model.image_projector(image.pre), image.post, atol=1e-6)
    assert torch.allclose(model.text_projector(text.pre), text.post, atol=1e-6)


def test_tokens_words_and_grid(model):
    image, text = model.encode_image(PICTURES, tokens=True), model.encode_text(CAPTIONS, tokens=True)
    assert image.grid == (4, 4)
    assert image.tokens.shape == (2, 16, model.embed_dim)
    assert text.words == [CAPTIONS[0].split(), ["cat"]]
    if (
        model.module.config.model_type == "siglip2"
    ):  # its tokenizer never splits at spaces: small here, it knows few pieces
        assert text.mask.any(1).all()
    else:
        assert text.mask.sum(1).tolist() == [8, 1]


def test_padding_and_batching_change_nothing(model):
    together, alone = model.encode_text(CAPTIONS).post[1], model.encode_text(CAPTIONS[1]).post[0]
    assert torch.allclose(together, alone, atol=1e-6)


def test_skeleton_has_the_same_card(folder, model):
    bare = skeleton(f"transformers:{folder}").card
    for field in ("parameters", "d_i", "d_t", "d", "grid", "context_length"):
        assert getattr(bare, field) == getattr(model.card, field)


def test_seen_undoes_the_preprocessing(model):
    red = Image.new("RGB", (64, 64), (200, 10, 10))
    assert np.abs(np.asarray(model.seen(red)).astype(int) - (200, 10, 10)).max() <= 2


def test_a_folder_without_configuration(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        load_model(f"transformers:{tmp_path}")


def test_another_kind_of_model(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="is a 'bert' model; read so far: clip, siglip"):
        load_model(f"transformers:{tmp_path}")


def test_no_network():
    with pytest.raises(ConnectionError, match="not on this machine"):
        load_model("transformers:nobody/nothing")


def test_missing_and_truncated_weights(tmp_path):
    from safetensors.torch import load_file, save_file

    save_model(tmp_path, "clip")
    file = tmp_path / "model.safetensors"
    state = load_file(file)
    del state["visual_projection.weight"]
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lack visual_projection\.weight"):
        load_model(f"transformers:{tmp_path}", device="cpu")
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(ValueError, match="cut short or damaged"):
        load_model(f"transformers:{tmp_path}", device="cpu")


def test_folders_of_dual_encoders_are_listed_first(tmp_path):
    save_model(tmp_path / "mine", "clip")
    (tmp_path / "text").mkdir()
    (tmp_path / "text/config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/config.json").write_text("[")
    rows = list_models(tmp_path).rows
    assert (rows[0].name, rows[0].ready) == (f"transformers:{tmp_path / 'mine'}", True)
    assert rows[1].kind == "shipped"
    (tmp_path / "mine/model.safetensors").unlink()
    assert "weights" in list_models(tmp_path).rows[0].needs


# SigLIP 2 of free resolution ------------------------------------------------------------------------------------------

WIDE, TALL = Image.linear_gradient("L").convert("RGB").resize((96, 40)), PICTURES[1].resize((30, 120))


@pytest.fixture(scope="module")
def free(tmp_path_factory):
    folder = tmp_path_factory.mktemp("free")
    save_model(folder, "siglip2")
    return load_model(f"transformers:{folder}", device="cpu")


def test_free_resolution_equals_the_librarys_own_on_any_shape(free):
    """The library pads patches of different shapes to one length and masks them; we encode shape by shape."""
    batch = free._processor(images=[WIDE, TALL, PICTURES[0]], return_tensors="pt")
    with torch.no_grad():
        theirs = free.module.get_image_features(**batch).pooler_output
    assert torch.allclose(free.encode_image([WIDE, TALL, PICTURES[0]]).post, theirs, atol=1e-5)


def test_free_resolution_keeps_shape_and_says_its_grid(free):
    wide = free.encode_image(WIDE, tokens=True)
    assert wide.grid[0] < wide.grid[1]
    assert wide.tokens.shape[1] == wide.grid[0] * wide.grid[1] <= 16
    assert free.seen(WIDE).width > free.seen(WIDE).height
    assert "free resolution" in str(free.card)


def test_patches_of_several_grids_do_not_stack(free):
    with pytest.raises(ValueError, match=r"different patch grids.*encode them one by one"):
        free.encode_image([WIDE, TALL], tokens=True)
    assert free.encode_image([WIDE, TALL]).grid is None


def test_a_tokenizer_that_does_not_match(tmp_path):
    save_model(tmp_path, "clip")
    config = json.loads((tmp_path / "config.json").read_text())
    config["text_config"]["vocab_size"] = 8
    (tmp_path / "config.json").write_text(json.dumps(config))
    from safetensors.torch import load_file, save_file

    state = load_file(tmp_path / "model.safetensors")
    name = "text_model.embeddings.token_embedding.weight"
    state[name] = state[name][:8].clone()
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="knows 15 tokens and its text tower 8"):
        load_model(f"transformers:{tmp_path}", device="cpu")
