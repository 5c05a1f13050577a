"""Traps that once were fallen into: each gives wrong numbers without an error where nobody looks."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import workbench as wb
from tests.models.test_hugging_face import save_model
from tests.models.test_open_clip_families import FAMILIES, write_family

PICTURE = Image.radial_gradient("L").convert("RGB")


def load(folder):
    return wb.load_model(f"transformers:{folder}", device="cpu")


def rewrite(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture
def clip(tmp_path):
    save_model(tmp_path / "clip", "clip")
    return tmp_path / "clip"


def test_the_same_tensors_under_another_activation_are_another_model(clip):
    before = load(clip).identity("image", "post")
    assert load(clip).identity("image", "post") == before
    rewrite(clip, lambda config: config["vision_config"].update(hidden_act="gelu"))
    assert load(clip).identity("image", "post") != before


def test_open_clips_activation_is_part_of_the_identity_too(clip_folder, tmp_path):
    import shutil

    folder = shutil.copytree(clip_folder, tmp_path / "copy")
    before = wb.load_model(f"local-dir:{folder}", device="cpu").identity("text", "post")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["quick_gelu"] = True
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    assert wb.load_model(f"local-dir:{folder}", device="cpu").identity("text", "post") != before


def test_a_checkpoint_with_more_layers_than_its_configuration_is_refused(clip):
    rewrite(clip, lambda config: config["vision_config"].update(num_hidden_layers=1))
    with pytest.raises(ValueError, match="for which its configuration has no place"):
        load(clip)


def test_a_configuration_of_another_width_is_said_with_both_shapes(clip):
    rewrite(clip, lambda config: config.update(projection_dim=24))
    with pytest.raises(ValueError, match=r"do not fit its configuration: .* is \(20, 32\), the model's \(24, 32\)"):
        load(clip)


def test_code_that_a_folder_brings_is_not_run(clip, tmp_path):
    (clip / "x.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass C: pass\n")
    rewrite(clip, lambda config: config.update(model_type="mine", auto_map={"AutoConfig": "x.C"}))
    with pytest.raises(ValueError, match=r"brings Python code of its own|no model can be built|mine"):
        load(clip)
    assert not (tmp_path / "ran").exists()


def test_a_tokenizer_that_is_not_there(clip):
    for file in clip.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(FileNotFoundError, match=r"no tokenizer that can be read; it needs tokenizer\.json"):
        load(clip)


def test_a_tokenizer_that_never_ends_a_text_as_the_tower_expects(clip):
    rewrite(clip, lambda config: config["text_config"].update(eos_token_id=7))
    with pytest.raises(ValueError, match="ends a text with token 2, its text tower waits for 7"):
        load(clip)


def test_a_tokenizer_that_pads_on_the_left_pads_on_the_right_here(clip):
    expected = load(clip).encode_text(["a red cube", "cat"]).post
    config = json.loads((clip / "tokenizer_config.json").read_text())
    (clip / "tokenizer_config.json").write_text(json.dumps({**config, "padding_side": "left"}))
    assert torch.allclose(load(clip).encode_text(["a red cube", "cat"]).post, expected, atol=1e-6)


def test_a_processor_of_another_size(clip):
    file = clip / "preprocessor_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "crop_size": {"height": 48, "width": 48}}))
    with pytest.raises(ValueError, match="makes pictures of 48 px, its image tower takes 32"):
        load(clip)


def test_what_a_trainer_leaves_beside_the_weights_is_nobodys_weights(clip, clip_folder, tmp_path):
    import argparse
    import shutil

    torch.save(argparse.Namespace(lr=1), clip / "training_args.bin")
    load(clip)
    folder = shutil.copytree(clip_folder, tmp_path / "copy")
    torch.save(argparse.Namespace(lr=1), folder / "optimizer.pth")
    wb.load_model(f"local-dir:{folder}", device="cpu")


def test_two_threads_do_not_see_each_others_features(tmp_path):
    save_model(tmp_path, "siglip")
    model = load(tmp_path)
    pictures = [[PICTURE.rotate(5 * i)] * (1 + i % 3) for i in range(24)]
    expected = [model.encode_image(batch).pre for batch in pictures]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: model.encode_image(batch).pre, pictures))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, expected, strict=True))


def test_a_training_loop_changes_no_frozen_tower():
    model = wb.load_model("lite0-minilm", device="cpu")
    before, identity = model.encode_image(PICTURE).post, model.identity("image", "post")
    model.module.train()
    assert model.module.training
    model.forward_image(model.preprocess(PICTURE)[None])
    assert torch.equal(model.encode_image(PICTURE).post, before)
    assert model.module.training  # as the loop left it
    assert model.identity("image", "post") == identity


def test_a_model_in_training_is_read_in_evaluation(clip_folder):
    model = wb.load_model(f"local-dir:{clip_folder}", device="cpu")
    model.module.visual.transformer.resblocks[0].ls_1 = torch.nn.Dropout(0.5)
    model.module.eval()
    expected = model.encode_image(PICTURE).post
    model.module.train()
    assert torch.equal(model.encode_image(PICTURE).post, expected)


def test_what_was_put_to_rest_on_purpose_stays_at_rest(clip_folder):
    model = wb.load_model(f"local-dir:{clip_folder}", device="cpu")
    model.module.train()
    model.module.visual.eval()
    model.encode_image(PICTURE)
    assert model.module.training
    assert model.module.transformer.training
    assert not any(part.training for part in model.module.visual.modules())


def test_norms_are_those_of_the_block_as_trained(clip_folder):
    model = wb.load_model(f"local-dir:{clip_folder}", device="cpu")
    raw, dense = (model.encode_image(PICTURE, tokens=True, dense=dense).norms for dense in ("raw", "clearclip"))
    assert torch.equal(raw, dense)


def test_a_head_that_pools_by_itself_is_refused(tmp_path, monkeypatch):
    timm = FAMILIES["timm convnext"]["vision_cfg"]
    monkeypatch.setitem(FAMILIES, "abs", {"vision_cfg": {**timm, "timm_pool": "abs_attn", "timm_proj": "linear"}})
    write_family("abs", tmp_path)
    with pytest.raises(ValueError, match="pools by itself before it projects"):
        wb.load_model(f"local-dir:{tmp_path}", device="cpu")


def test_half_precision_that_overflows_is_said(clip):
    file = clip / "model.safetensors"
    state = load_file(file)
    state["visual_projection.weight"][0, 0] = 1e6
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"in float16 has NaN or infinite entries"):
        wb.load_model(f"transformers:{clip}", device="cpu", dtype="float16")


def test_an_unknown_word_still_counts(clip):
    text = load(clip).encode_text("😀", tokens=True)
    assert text.mask.sum() == 1


def test_layer_may_be_a_numpy_number(clip_folder):
    model = wb.load_model(f"local-dir:{clip_folder}", device="cpu")
    assert torch.equal(model.encode_image(PICTURE, layer=np.int64(0)).post, model.encode_image(PICTURE, layer=0).post)


def test_the_end_of_text_is_asked_for_with_tokens(clip_folder):
    model = wb.load_model(f"local-dir:{clip_folder}", device="cpu")
    with pytest.raises(ValueError, match="goes with tokens=True"):
        model.encode_text("cat", keep_eos=True)


def test_a_mark_that_shares_the_id_of_padding_counts(clip_folder):
    model = wb.load_model(f"local-dir:{clip_folder}", device="cpu")
    text = model.encode_text("wow!% cat", tokens=True)
    counted = [i is not None for i in text.word_ids[0]]
    assert text.mask[0].tolist() == counted


@pytest.fixture
def resized(clip_folder, tmp_path):
    """The tiny CLIP's folder under a changed configuration."""
    import shutil

    def write(part, **change):
        folder = shutil.copytree(clip_folder, tmp_path / part)
        config = json.loads((folder / "open_clip_config.json").read_text())
        config["model_cfg"][part].update(change)
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        return f"local-dir:{folder}"

    return write


def test_positions_of_text_are_not_stretched_in_silence(resized):
    with pytest.raises(
        ValueError, match="context_length is 20 and the weights have places for 16 tokens; set it to 16"
    ):
        wb.load_model(resized("text_cfg", context_length=20), device="cpu")


def test_stretched_positions_of_pictures_are_on_the_card(resized):
    model = wb.load_model(resized("vision_cfg", image_size=96), device="cpu")
    assert "image positions stretched from 16 patches to 36" in str(model.card)
