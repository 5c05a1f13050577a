"""transformers' CLIP and SigLIP: the library's own numbers, and the same numbers as open_clip on the same weights."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.features import ImageFeatures
from workbench.models.open_clip_towers import TextTower, ViT
from workbench.models.registry import load_model, skeleton

WORDS = "a red blue cube ball left right of on the cat".split()
TOWER = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {**TOWER, "image_size": 32, "patch_size": 8}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
PICTURES = [Image.linear_gradient("L").convert("RGB"), Image.radial_gradient("L").convert("RGB")]
CAPTIONS = ["a red cube left of the blue ball", "cat"]


def save_tokenizer(folder):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", *WORDS])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.normalizer, raw.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        padding_side="right",
    ).save_pretrained(folder)


def save_model(folder, kind):
    import transformers

    config_class, model_class, processor_class = {
        "clip": (transformers.CLIPConfig, transformers.CLIPModel, transformers.CLIPImageProcessor),
        "siglip": (transformers.SiglipConfig, transformers.SiglipModel, transformers.SiglipImageProcessor),
    }[kind]
    text = {**TOWER, "vocab_size": 20, "max_position_embeddings": 12, **SPECIAL}
    extra = {"projection_dim": 20} if kind == "clip" else {}
    config = config_class(text_config=text, vision_config=VISION, **extra)
    torch.manual_seed(0)
    model_class(config).save_pretrained(folder)
    size = {"shortest_edge": 32} if kind == "clip" else {"height": 32, "width": 32}
    processor_class(size=size, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    save_tokenizer(folder)


@pytest.fixture(scope="module", params=["clip", "siglip"])
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
        image = model.module.get_image_features(pixel_values=pixels).pooler_output
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


# The same weights in both libraries ------------------------------------------------------------------------------------


def to_transformers(state, layers):
    """open_clip's CLIP weights under transformers' names."""
    out = {
        "logit_scale": state["logit_scale"],
        "visual_projection.weight": state["visual.proj"].T,
        "text_projection.weight": state["text_projection"].T,
        "vision_model.embeddings.class_embedding": state["visual.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": state["visual.conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": state["visual.positional_embedding"],
        "text_model.embeddings.token_embedding.weight": state["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": state["positional_embedding"],
    }
    norms = {
        "visual.ln_pre": "vision_model.pre_layrnorm",
        "visual.ln_post": "vision_model.post_layernorm",
        "ln_final": "text_model.final_layer_norm",
    }
    for source, target in (("visual.transformer", "vision_model"), ("transformer", "text_model")):
        for n in range(layers):
            ours, theirs = f"{source}.resblocks.{n}", f"{target}.encoder.layers.{n}"
            norms |= {f"{ours}.ln_1": f"{theirs}.layer_norm1", f"{ours}.ln_2": f"{theirs}.layer_norm2"}
            norms |= {f"{ours}.attn.out_proj": f"{theirs}.self_attn.out_proj"}
            norms |= {f"{ours}.mlp.c_fc": f"{theirs}.mlp.fc1", f"{ours}.mlp.c_proj": f"{theirs}.mlp.fc2"}
            for kind in ("weight", "bias"):
                parts = state[f"{ours}.attn.in_proj_{kind}"].chunk(3)
                out |= {f"{theirs}.self_attn.{p}_proj.{kind}": part for p, part in zip("qkv", parts, strict=True)}
    for ours, theirs in norms.items():
        out |= {f"{theirs}.{kind}": state[f"{ours}.{kind}"] for kind in ("weight", "bias")}
    return out


def test_open_clip_and_transformers_agree_on_the_same_weights():
    import open_clip
    from transformers import CLIPConfig, CLIPModel

    from workbench.models.hugging_face import Clip

    torch.manual_seed(0)
    vision = {"image_size": 64, "patch_size": 16, "width": 64, "layers": 3, "head_width": 16}
    text = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3}
    ours = open_clip.CLIP(24, open_clip.CLIPVisionCfg(**vision), open_clip.CLIPTextCfg(**text)).eval()
    config = CLIPConfig(
        projection_dim=24,
        vision_config={"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4,
                       "image_size": 64, "patch_size": 16, "hidden_act": "gelu"},
        text_config={"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 2,
                     "max_position_embeddings": 16, "vocab_size": 49408, "hidden_act": "gelu", "eos_token_id": 49407},
    )  # fmt: skip
    theirs = CLIPModel(config).eval()
    _, unexpected = theirs.load_state_dict(to_transformers(ours.state_dict(), 3), strict=False)
    assert not unexpected
    pixels, ids = (
        torch.randn(2, 3, 64, 64),
        open_clip.SimpleTokenizer(context_length=16)(["a red cube", "one cat on a mat"]),
    )
    reader = Clip(theirs)
    with torch.no_grad():
        images = ViT(ours.visual).read(pixels, True), reader.image(pixels, True)
        texts = TextTower(ours).read(ids, True), reader.text(ids, torch.ones_like(ids, dtype=torch.bool), True)
    for pair in (images, texts):
        for name, a, b in zip(("pre", "post", "tokens"), *pair, strict=True):
            assert torch.allclose(a, b, atol=1e-5), name
    assert isinstance(ImageFeatures(*images[0], (4, 4)), ImageFeatures)
