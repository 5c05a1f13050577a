"""What cannot be read as a dual encoder is refused in one sentence, before any weight is read where that is possible."""

import json
import warnings

import pytest
import torch
from PIL import Image

from tests.models.tiny_lvlm import llava_processor, save_llava, save_qwen
from workbench.models.lvlm import PRESETS, Prompts, loading
from workbench.models.registry import load_model

PICTURE = Image.linear_gradient("L").convert("RGB")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llava")
    save_llava(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return load_model(f"lvlm:{folder}", device="cpu")


def test_a_prompt_without_its_place():
    with pytest.raises(ValueError, match="the image prompt 'what is this' holds '<image>' 0 times; put it in once"):
        Prompts(image="what is this", text="<sent> in one word")
    with pytest.raises(ValueError, match="the text prompt 'in one word' holds '<sent>' 0 times"):
        Prompts(image="<image> in one word", text="in one word")
    with pytest.raises(ValueError, match="'<image>' 2 times"):
        Prompts(image="<image> and <image>", text="<sent>")
    with pytest.raises(ValueError, match="one prompt is of one modality"):
        Prompts(image="<image>", text="<sent> of <image>")
    with pytest.raises(ValueError, match="the caption prompt 'what' holds '<image>' 0 times"):
        Prompts(image="<image>", text="<sent>", caption="what")
    with pytest.raises(TypeError, match="the text prompt is int 3"):
        Prompts(image="<image>", text=3)


@pytest.mark.parametrize("temperature", [0, -1, float("inf"), float("nan")])
def test_a_temperature_that_is_none(temperature):
    with pytest.raises(ValueError, match="temperature="):
        Prompts(image="<image>", text="<sent>", temperature=temperature)


def test_prompts_of_no_known_name(model):
    with pytest.raises(ValueError, match=f"no prompts 'VladVA'; choose one of {', '.join(PRESETS)}"):
        model.with_prompts("VladVA")
    with pytest.raises(TypeError, match="not int 3"):
        model.with_prompts(3)


def test_a_prompt_to_generate_without_a_picture(model):
    with pytest.raises(ValueError, match="the caption prompt 'describe' holds '<image>' 0 times"):
        model.generate(PICTURE, "describe")


def test_a_prompt_that_fills_the_context(model):
    with pytest.raises(ValueError, match=r"the text prompt takes \d+ of the 64 tokens"):
        model.with_prompts(Prompts(image="<image>", text="<sent>" + " one word" * 40))
    with pytest.raises(ValueError, match=r"the image prompt takes \d+ of the 64 tokens"):
        model.with_prompts(Prompts(image="<image>" + " one word" * 30, text="<sent>"))


def test_a_caption_longer_than_the_context_loses_its_end_and_not_the_prompt(model):
    long = "a red cube " * 40
    with pytest.warns(UserWarning, match=r"caption 0 has 132 tokens; .* reads 64, so the last 68 were dropped"):
        text = model.encode_text(long, tokens=True)
    read = model.tokenize(long)
    short = model.tokenize("cat")
    assert read.ids.shape == (1, 64)
    assert read.ids[0, -8:].tolist() == short.ids[0, -8:].tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = model.encode_text(" ".join(text.words[0]))
    assert torch.allclose(kept.post, text.post, atol=1e-5)


def test_a_picture_where_text_is_expected(model):
    for wrong in (PICTURE, [PICTURE], [3]):
        with pytest.raises(TypeError, match="captions are strings"):
            model.encode_text(wrong)
    with pytest.raises(ValueError, match="holds '<image>', which the tokenizer takes for more than text"):
        model.encode_text("a red <image>")
    with pytest.raises(ValueError, match="caption 0 is empty"):
        model.encode_text(" ")


def test_text_where_a_picture_is_expected(model):
    with pytest.raises((OSError, ValueError), match="a red cat"):
        model.encode_image("a red cat")


def test_a_processor_of_other_pictures(tmp_path):
    save_llava(tmp_path, processor=False)
    llava_processor(size=48).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="makes pictures of 48 px, which its model refuses"):
        load_model(f"lvlm:{tmp_path}")


def test_a_processor_that_counts_other_image_tokens(tmp_path):
    save_llava(tmp_path, processor=False)
    llava_processor(patch_size=16).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="keeps 4 places for a picture, its model fills 16"):
        load_model(f"lvlm:{tmp_path}")


def test_a_processor_that_knows_no_patch_size(tmp_path):
    save_llava(tmp_path, processor=False)
    llava_processor(patch_size=None).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="cannot read a picture"):
        load_model(f"lvlm:{tmp_path}")


def test_a_processor_with_another_image_token(tmp_path):
    save_llava(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "image_token_id": 7}))
    with pytest.raises(ValueError, match="writes a picture as token 4, its model waits for 7"):
        load_model(f"lvlm:{tmp_path}")


def test_a_tokenizer_with_more_words_than_the_model(tmp_path):
    save_llava(tmp_path, vocab_size=20)
    with pytest.raises(ValueError, match=r"knows \d+ tokens and its text tower 20"):
        load_model(f"lvlm:{tmp_path}")


def test_patches_of_another_size(tmp_path):
    save_qwen(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["vision_config"]["patch_size"] = 4
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"cuts patches of \(8, 2, 2\) .* its model reads \(4, 2, 2\)"):
        load_model(f"lvlm:{tmp_path}")


def test_a_folder_without_a_processor(tmp_path):
    save_llava(tmp_path, processor=False)
    with pytest.raises((FileNotFoundError, ValueError), match=str(tmp_path)):
        load_model(f"lvlm:{tmp_path}")


def test_a_model_that_shows_no_hidden_states(tmp_path):
    from transformers import BlipConfig, BlipForConditionalGeneration

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**sizes, "vocab_size": 20, "max_position_embeddings": 12}
    config = BlipConfig(text_config=text, vision_config={**sizes, "image_size": 16, "patch_size": 8})
    BlipForConditionalGeneration(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="exposes no last hidden states"):
        load_model(f"lvlm:{tmp_path}")


def test_another_kind_of_model(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(ValueError, match="is a 'clip' model, which writes no text about pictures"):
        load_model(f"lvlm:{tmp_path}")


def test_weights_that_are_missing_or_damaged(tmp_path):
    from safetensors.torch import load_file, save_file

    save_llava(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    left_out = next(key for key in tensors if "multi_modal_projector" in key)
    save_file({key: value for key, value in tensors.items() if key != left_out}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"lack .*multi_modal_projector"):
        load_model(f"lvlm:{tmp_path}")
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(ValueError, match="cut short or damaged"):
        load_model(f"lvlm:{tmp_path}")


def test_not_enough_memory_is_said_before_a_weight_is_read(folder, monkeypatch):
    monkeypatch.setattr(loading, "available_memory", lambda device: 100_000)
    monkeypatch.setattr(loading, "load_weights", lambda *_: pytest.fail("weights were read"))
    with pytest.raises(
        MemoryError, match=r"take 183 KiB in float32, and cpu has 97\.7 KiB free; take dtype='bfloat16'"
    ):
        load_model(f"lvlm:{folder}", device="cpu")


def test_no_network():
    with pytest.raises(ConnectionError, match="not on this machine"):
        load_model("lvlm:nobody/nothing")
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        load_model("lvlm:/no/such/folder")
