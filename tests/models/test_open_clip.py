"""open_clip models: our features are the library's own, and a folder that cannot load says what is wrong."""

import json
import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from workbench.models.registry import list_models, load_model, skeleton


@pytest.fixture(scope="module")
def model(clip_folder):
    return load_model(f"local-dir:{clip_folder}", device="cpu")


@pytest.fixture
def copy(clip_folder, tmp_path):
    """The folder again, free to be damaged."""
    return shutil.copytree(clip_folder, tmp_path / "copy")


PICTURE = Image.linear_gradient("L").convert("RGB")


def test_features_equal_the_librarys_own(model):
    pixels = model._preprocess(PICTURE)[None]
    ids = model._tokenizer(["a red cube left of a blue ball"])
    with torch.no_grad():
        image, text = model.module.encode_image(pixels), model.module.encode_text(ids)
    assert torch.allclose(model.encode_image(PICTURE).post, image, atol=1e-6)
    assert torch.allclose(model.encode_text("a red cube left of a blue ball").post, text, atol=1e-6)


def test_projectors_are_exact(model):
    image, text = model.encode_image([PICTURE, PICTURE.rotate(90)]), model.encode_text(["one", "two words"])
    assert torch.allclose(model.image_projector(image.pre), image.post, atol=1e-6)
    assert torch.allclose(model.text_projector(text.pre), text.post, atol=1e-6)
    assert model.image_projector.kind == model.text_projector.kind == "exact"


def test_tokens_have_a_grid_and_a_mask_of_words_only(model):
    image = model.encode_image(PICTURE, tokens=True)
    assert image.grid == (4, 4)
    assert image.tokens.shape == (1, 16, 24)
    text = model.encode_text(["cat", "a cat on a mat"], tokens=True)
    assert text.mask.sum(1).tolist() == [1, 5]
    assert not text.mask[:, 0].any()  # start of text never counts


def test_gradients_reach_both_towers(clip_folder):
    model = load_model(f"local-dir:{clip_folder}", device="cpu")
    image = model.forward_image(torch.randn(2, 3, 64, 64)).post
    ids = model._tokenizer(["a", "b"])
    (image * model.forward_text(ids, ids != 0).post).sum().backward()
    assert model.module.visual.conv1.weight.grad.abs().sum() > 0
    assert model.module.token_embedding.weight.grad.abs().sum() > 0


def test_long_caption_is_cut_at_the_context(model):
    with pytest.warns(UserWarning, match=r"caption 1 has 10002 tokens; .* reads 16, so the last 9986 were dropped"):
        features = model.encode_text(["word", "word " * 10_000])
    assert len(features) == 2


def test_seen_is_the_square_that_the_tower_looks_at(model):
    assert model.seen(Image.new("RGB", (200, 100), "red")).size == (64, 64)
    assert model.seen(Image.new("RGB", (200, 100), "red")).getpixel((5, 5)) == (255, 0, 0)


def test_skeleton_has_the_shapes_and_no_weights(clip_folder, model):
    bare = skeleton(f"local-dir:{clip_folder}")
    assert bare.card.parameters == model.card.parameters
    assert all(parameter.is_meta for parameter in bare.module.parameters())


def test_local_folders_are_listed_first(clip_folder):
    names = list(list_models(clip_folder.parent))
    assert names[0] == f"local-dir:{clip_folder}"
    assert names[1:5] == ["lite0-minilm", "lite2-conse", "lite2-ensemble", "lite2-minilm"]


def refused(folder, error, message):
    with pytest.raises(error, match=message):
        load_model(f"local-dir:{folder}", device="cpu")


def test_no_such_folder(tmp_path):
    refused(
        tmp_path / "nothing", FileNotFoundError, "is not a folder; local-dir: takes a folder with open_clip_config.json"
    )


def test_folder_without_configuration(copy):
    (copy / "open_clip_config.json").unlink()
    refused(copy, FileNotFoundError, "open_clip_config.json is missing")


@pytest.mark.parametrize(("text", "message"), [("{", "not valid JSON"), ("{}", "no 'model_cfg'"), ("3", "it holds 3")])
def test_folder_with_a_broken_configuration(copy, text, message):
    (copy / "open_clip_config.json").write_text(text)
    refused(copy, ValueError, message)
    assert "another configuration" in str(list_models(copy.parent))
    with pytest.raises(ValueError, match=message):
        skeleton(f"local-dir:{copy}")


def changed(folder, change):
    """The folder's configuration, changed in place by a function."""
    file = folder / "open_clip_config.json"
    config = json.loads(file.read_text())
    change(config)
    file.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(model_cfg=3), "no 'model_cfg' with a model"),
        (lambda c: c["model_cfg"].pop("vision_cfg"), "has no 'vision_cfg'"),
        (lambda c: c["model_cfg"].update(embed_dim="x"), "embed_dim is 'x'; give the joint width"),
        (
            lambda c: c["model_cfg"].update(nonsense=1),
            "no model can be built from the configuration.*nonsense.*compare",
        ),
        (
            lambda c: c["model_cfg"]["text_cfg"].update(heads=7),
            "no model can be built from the configuration.*divisible.*compare",
        ),
        (lambda c: c["preprocess_cfg"].update(mean="a"), "mean of preprocess_cfg is 'a'; give three numbers"),
        (lambda c: c["preprocess_cfg"].update(std=[1, 2]), r"std of preprocess_cfg is \[1, 2\]"),
    ],
)
def test_a_configuration_that_does_not_match(copy, change, message):
    changed(copy, change)
    refused(copy, ValueError, message)


def test_a_text_tower_that_only_the_hub_has(copy):
    changed(copy, lambda c: c["model_cfg"]["text_cfg"].update(hf_model_name="org/bert"))
    refused(
        copy,
        ConnectionError,
        "needs a text tower or tokenizer of transformers that is not on this machine.*hf_model_name",
    )


def test_a_tokenizer_that_does_not_match(copy):
    changed(copy, lambda c: c["model_cfg"]["text_cfg"].update(vocab_size=500))
    state = load_file(copy / "open_clip_model.safetensors")
    state["token_embedding.weight"] = state["token_embedding.weight"][:500].clone()
    save_file(state, copy / "open_clip_model.safetensors")
    refused(copy, ValueError, "knows 49408 tokens and its text tower 500; put the tokenizer")


@pytest.fixture
def checkpoint(clip_folder, tmp_path):
    """Saves something in torch's format and loads it as the weights of the tiny CLIP's architecture."""

    def save_and_load(content, name="x.pt"):
        torch.save(content, tmp_path / name)
        return load_model("open_clip:tiny-clip", weights=tmp_path / name, device="cpu")

    return save_and_load


def test_checkpoints_of_tensors_load_in_every_form(checkpoint, clip_folder, model):
    state = load_file(clip_folder / "open_clip_model.safetensors")
    in_training = {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}
    for content in (state, in_training):
        assert checkpoint(content).card.digest == model.card.digest


def test_checkpoints_that_could_run_code_are_refused_with_the_way_out(checkpoint, model, tmp_path):
    import argparse

    with pytest.raises(ValueError, match=r"x\.pt holds argparse\.Namespace beside its tensors.*save_file"):
        checkpoint({"state_dict": model.module.state_dict(), "args": argparse.Namespace(lr=1)})
    with pytest.raises(ValueError, match=r"holds open_clip.*beside its tensors"):
        checkpoint(model.module)
    (tmp_path / "page.pt").write_bytes(b"<!DOCTYPE html><html>")
    with pytest.raises(ValueError, match="is no checkpoint that torch can read; download or copy it again"):
        load_model("open_clip:tiny-clip", weights=tmp_path / "page.pt")


@pytest.mark.parametrize("change", [lambda c: c.pop("preprocess_cfg"), lambda c: c["preprocess_cfg"].pop("mean")])
def test_preprocessing_that_is_assumed_is_on_the_card(copy, model, change):
    changed(copy, change)
    assert "defaults are assumed" in str(load_model(f"local-dir:{copy}", device="cpu").card)
    assert "assumed" not in str(model.card)


def test_folder_without_weights(copy):
    (copy / "open_clip_model.safetensors").unlink()
    refused(copy, FileNotFoundError, "has no weights; put open_clip_model.safetensors")


def test_configuration_for_another_width(copy):
    config = json.loads((copy / "open_clip_config.json").read_text())
    config["model_cfg"]["embed_dim"] = 48
    (copy / "open_clip_config.json").write_text(json.dumps(config))
    refused(copy, ValueError, "do not fit its configuration")


def test_missing_tensor(copy):
    file = copy / "open_clip_model.safetensors"
    state = load_file(file)
    del state["text_projection"]
    save_file(state, file)
    refused(copy, ValueError, "do not fit its configuration.*text_projection")


def test_truncated_weights(copy):
    file = copy / "open_clip_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    refused(copy, ValueError, "cut short or damaged")


def test_nan_weights(copy):
    file = copy / "open_clip_model.safetensors"
    state = load_file(file)
    state["text_projection"][0, 0] = torch.nan
    save_file(state, file)
    refused(copy, ValueError, "'text_projection'.*NaN")


@pytest.mark.parametrize("name", ["open_clip:ViT-B-32/openai", "hf-hub:nobody/nothing"])
def test_no_network_for_a_hub_model(name, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConnectionError, match=r"not on this machine.*local-dir:<folder>"):
        load_model(name, device="cpu")
    assert not caplog.records  # said once, by us


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("open_clip:ViT-B-33/openai", "no architecture 'ViT-B-33'; did you mean"),
        ("open_clip:ViT-B-32/nonsense", "no tag 'nonsense' for ViT-B-32; choose one of .*openai"),
        ("lite3-minilm", "no model 'lite3-minilm': did you mean 'lite2-minilm'"),
        ("", "no model ''"),
        ("hf-hub:", "names no model behind the colon"),
        ("local-dir: ", "names no model behind the colon"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(ValueError, match=message):
        load_model(name)


def test_weights_file_for_an_architecture(clip_folder):
    model = load_model("open_clip:tiny-clip", weights=clip_folder / "open_clip_model.safetensors", device="cpu")
    assert model.embed_dim == 24


def test_weights_that_are_not_there():
    with pytest.raises(FileNotFoundError, match=r"gone\.pt' is not a file"):
        load_model("open_clip:ViT-B-32", weights="gone.pt")


@pytest.fixture
def tagged(clip_folder, monkeypatch):
    """The tiny CLIP under two made-up tags, one trained with QuickGELU, and an architecture of each kind."""
    import open_clip

    tags = {"quick": {"url": "http://nowhere.invalid", "quick_gelu": True}, "plain": {"url": "http://nowhere.invalid"}}
    config = open_clip.get_model_config("tiny-clip")
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-clip-quickgelu", {**config, "quick_gelu": True})
    for arch in ("tiny-clip", "tiny-clip-quickgelu"):
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, arch, tags)
    file = str(clip_folder / "open_clip_model.safetensors")
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda *_, **__: file)


def test_weights_get_the_activation_that_they_were_trained_with(tagged):
    """OpenAI's tags under plain names: the configuration says GELU, the weights want QuickGELU."""
    quick, plain = (load_model(f"open_clip:tiny-clip/{tag}", device="cpu") for tag in ("quick", "plain"))
    named = load_model("open_clip:tiny-clip-quickgelu/quick", device="cpu")
    assert "QuickGELU, as 'quick' was trained with" in str(quick.card)
    assert torch.equal(quick.encode_image(PICTURE).post, named.encode_image(PICTURE).post)
    assert not torch.allclose(quick.encode_image(PICTURE).post, plain.encode_image(PICTURE).post)
    assert "QuickGELU" not in str(plain.card)
    assert (quick.card.activation, plain.card.activation) == ("QuickGELU", "GELU")


def test_an_activation_that_cannot_be_right_is_said(tagged):
    with pytest.warns(
        UserWarning, match="QuickGELU mismatch: 'plain' was trained with GELU; load 'open_clip:tiny-clip/plain'"
    ):
        model = load_model("open_clip:tiny-clip-quickgelu/plain", device="cpu")
    assert "QuickGELU mismatch" in str(model.card)


def test_a_tag_that_does_not_exist_is_not_planned_either():
    with pytest.raises(ValueError, match="no tag 'zzz' for ViT-B-32"):
        skeleton("open_clip:ViT-B-32/zzz")


def test_home_is_expanded(clip_folder, monkeypatch):
    monkeypatch.setenv("HOME", str(clip_folder.parent))
    assert load_model(f"local-dir:~/{clip_folder.name}", device="cpu").embed_dim == 24
