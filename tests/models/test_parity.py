"""One random CLIP and one random SigLIP, written once for open_clip and once for transformers: the same features, everywhere."""

import json

import pytest
import torch
from safetensors.torch import save_file

from tests.tiny import save_tokenizer
from workbench.models.dense import VARIANTS, parts_of
from workbench.models.registry import load_model

LAYERS = 3
TEXT = {"context_length": 16, "vocab_size": 64, "width": 32, "heads": 2, "layers": LAYERS, "hf_tokenizer_name": "local"}
VISION = {"image_size": 64, "patch_size": 16}
CLIP = {"embed_dim": 24, "vision_cfg": {**VISION, "width": 64, "layers": LAYERS, "head_width": 16}, "text_cfg": TEXT}
SIGLIP = {
    "embed_dim": 32,
    "custom_text": True,
    "init_logit_bias": -10,
    "vision_cfg": {
        "image_size": 64,
        "timm_model_name": "vit_parity_siglip",
        "timm_model_pretrained": False,
        "timm_pool": "map",
        "timm_proj": "none",
    },
    "text_cfg": {**TEXT, "no_causal_mask": True, "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6}},
}


def register_tiny_siglip():
    """SigLIP's own timm architecture (no class token, attention pool), small."""
    from timm.models import register_model
    from timm.models.vision_transformer import VisionTransformer

    @register_model
    def vit_parity_siglip(pretrained=False, **kwargs):
        kwargs.pop("pretrained_cfg", None), kwargs.pop("pretrained_cfg_overlay", None), kwargs.pop("cache_dir", None)
        return VisionTransformer(
            img_size=64, patch_size=16, embed_dim=32, depth=LAYERS, num_heads=2, class_token=False, **kwargs
        )


def renamed_blocks(state, source, target, names):
    """The blocks of one tower under transformers' names; `names` maps its norms, output and MLP."""
    out = {}
    for n in range(LAYERS):
        for ours, theirs in names.items():
            for kind in ("weight", "bias"):
                value = state[f"{source}.{n}.{ours}{'_' if ours.endswith('in_proj') else '.'}{kind}"]
                prefix = f"{target}.encoder.layers.{n}"
                if theirs != "qkv":
                    out[f"{prefix}.{theirs}.{kind}"] = value
                    continue
                for letter, part in zip("qkv", value.chunk(3), strict=True):
                    out[f"{prefix}.self_attn.{letter}_proj.{kind}"] = part
    return out


OPEN_CLIP_BLOCK = {
    "ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.in_proj": "qkv", "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
}  # fmt: skip
TIMM_BLOCK = {
    "norm1": "layer_norm1", "norm2": "layer_norm2", "attn.qkv": "qkv", "attn.proj": "self_attn.out_proj",
    "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
}  # fmt: skip


def both(state, pairs):
    return {
        f"{theirs}.{kind}": state[f"{ours}.{kind}"] for ours, theirs in pairs.items() for kind in ("weight", "bias")
    }


def clip_for_transformers(state):
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
    out |= renamed_blocks(state, "visual.transformer.resblocks", "vision_model", OPEN_CLIP_BLOCK)
    out |= renamed_blocks(state, "transformer.resblocks", "text_model", OPEN_CLIP_BLOCK)
    norms = {
        "visual.ln_pre": "vision_model.pre_layrnorm",
        "visual.ln_post": "vision_model.post_layernorm",
        "ln_final": "text_model.final_layer_norm",
    }
    return out | both(state, norms)


def siglip_for_transformers(state):
    out = {
        "logit_scale": state["logit_scale"].reshape(1),
        "logit_bias": state["logit_bias"].reshape(1),
        "vision_model.embeddings.position_embedding.weight": state["visual.trunk.pos_embed"][0],
        "text_model.embeddings.token_embedding.weight": state["text.token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": state["text.positional_embedding"],
        "vision_model.head.probe": state["visual.trunk.attn_pool.latent"],
    }
    for kind in ("weight", "bias"):
        query, pair = (state[f"visual.trunk.attn_pool.{part}.{kind}"] for part in ("q", "kv"))
        out[f"vision_model.head.attention.in_proj_{kind}"] = torch.cat([query, pair])
    out |= renamed_blocks(state, "visual.trunk.blocks", "vision_model", TIMM_BLOCK)
    out |= renamed_blocks(state, "text.transformer.resblocks", "text_model", OPEN_CLIP_BLOCK)
    pool = {"proj": "attention.out_proj", "norm": "layernorm", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
    pairs = {f"visual.trunk.attn_pool.{ours}": f"vision_model.head.{theirs}" for ours, theirs in pool.items()}
    pairs |= {
        "visual.trunk.patch_embed.proj": "vision_model.embeddings.patch_embedding",
        "visual.trunk.norm": "vision_model.post_layernorm",
        "text.ln_final": "text_model.final_layer_norm",
        "text.text_projection": "text_model.head",
    }
    return out | both(state, pairs)


def write_open_clip(folder, config):
    import open_clip
    from open_clip.factory import add_model_config

    folder.mkdir()
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    save_tokenizer(folder)
    (folder / f"{folder.name}.json").write_text(json.dumps(config))
    add_model_config(folder / f"{folder.name}.json")
    torch.manual_seed(0)
    model = open_clip.create_model(folder.name)
    # Layers that start at the identity or at zero would hide a wrong one.
    state = {key: value + 0.02 * torch.randn_like(value) for key, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return state


def write_transformers(folder, kind, state, activation="gelu"):
    import transformers

    prefix = {"clip": "CLIP", "siglip": "Siglip"}[kind]
    config_class, model_class, processor_class = (
        getattr(transformers, prefix + part) for part in ("Config", "Model", "ImageProcessor")
    )
    tower = {"num_hidden_layers": LAYERS, "hidden_act": activation}
    wide = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 4} if kind == "clip" else {}
    narrow = {"hidden_size": 32, "intermediate_size": 128, "num_attention_heads": 2}
    text = {**tower, **narrow, "max_position_embeddings": 16, "vocab_size": 64, "bos_token_id": 1, "eos_token_id": 2}
    config = config_class(vision_config={**tower, **narrow, **wide, **VISION}, text_config={**text, "pad_token_id": 0})
    config.projection_dim = 24
    model = model_class(config)
    model.load_state_dict(state, strict=True)
    model.save_pretrained(folder)
    size = {"height": 64, "width": 64}
    processor_class(size=size, crop_size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3).save_pretrained(folder)
    save_tokenizer(folder)


@pytest.fixture(scope="module", params=["clip", "siglip"])
def models(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parity")
    kind = request.param
    if kind == "siglip":
        register_tiny_siglip()
    state = write_open_clip(folder / f"parity-{kind}", CLIP if kind == "clip" else SIGLIP)
    convert = clip_for_transformers if kind == "clip" else siglip_for_transformers
    write_transformers(folder / "theirs", kind, convert(state))
    names = f"local-dir:{folder / f'parity-{kind}'}", f"transformers:{folder / 'theirs'}"
    return [load_model(name, device="cpu") for name in names]


@pytest.fixture(scope="module")
def inputs():
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(4, 60, (2, 16), generator=generator)
    ids[0, 9:], ids[1, 4:] = 0, 0
    ids[0, 8], ids[1, 3] = 63, 63  # the end of text is the largest id
    return torch.randn(2, 3, 64, 64, generator=generator), ids


def assert_same(a, b, names=("pre", "post", "tokens")):
    for name in names:
        assert torch.allclose(getattr(a, name), getattr(b, name), atol=1e-5), name


@torch.no_grad()
@pytest.mark.parametrize("layer", [-1, 0, 1])
def test_both_libraries_give_the_same_features(models, inputs, layer):
    pixels, ids = inputs
    assert_same(
        *(model.forward_image(pixels, tokens=True, layer=layer) for model in models), ("pre", "post", "tokens", "norms")
    )
    a, b = (model.forward_text(ids, ids != 0, tokens=True, layer=layer) for model in models)
    assert_same(a, b, ("pre", "post"))
    # Behind the end of the text a CLIP of open_clip attends to padding and one of transformers does not; nothing reads it.
    assert torch.allclose(a.tokens[ids != 0], b.tokens[ids != 0], atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("dense", VARIANTS)
def test_both_libraries_give_the_same_dense_variants(models, inputs, dense):
    a, b = (model.forward_image(inputs[0], tokens=True, dense=dense) for model in models)
    assert_same(a, b)
    raw = models[0].forward_image(inputs[0], tokens=True)
    assert torch.equal(a.post, raw.post)  # a variant reads the patches again, never the picture
    assert (dense == "raw") == torch.allclose(a.tokens, raw.tokens, atol=1e-4)


def test_projectors_agree(models):
    for side in ("image_projector", "text_projector"):
        a, b = (getattr(model, side) for model in models)
        assert a.kind == b.kind
        assert torch.allclose(a.weight, b.weight, atol=1e-6)
        assert (a.bias is None) == (b.bias is None)
        if a.bias is not None:
            assert torch.allclose(a.bias, b.bias, atol=1e-6)


def test_temperature_and_bias_agree(models):
    a, b = models
    assert a.logit_scale == pytest.approx(b.logit_scale, rel=1e-6)
    assert a.logit_bias == pytest.approx(b.logit_bias, rel=1e-6)


@torch.no_grad()
def test_last_layer_by_its_number_and_early_layers_differ(models, inputs):
    for model in models:
        last, numbered = (model.forward_image(inputs[0], layer=layer).post for layer in (-1, LAYERS - 1))
        assert torch.equal(last, numbered)
        assert not torch.allclose(last, model.forward_image(inputs[0], layer=0).post, atol=1e-3)


@torch.no_grad()
def test_blocks_in_parts_are_the_blocks(models):
    """What every variant stands on: our parts put together give the library's own block."""
    x = torch.randn(2, 17, models[0]._image.width)
    for model in models:
        block = model._image.blocks[-1]
        whole = block(x, None) if type(block).__name__.endswith("EncoderLayer") else block(x)
        whole = whole[0] if isinstance(whole, tuple) else whole
        assert torch.allclose(parts_of(block)(x), whole, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 3}, "this tower has 3 blocks; give -3 to 2"),
        ({"layer": -4}, "this tower has 3 blocks"),
        ({"dense": "sharp"}, "choose one of raw, maskclip"),
        ({"dense": "sclip", "layer": 0}, "leave layer at -1"),
    ],
)
def test_what_a_tower_does_not_offer_is_refused(models, inputs, options, message):
    for model in models:
        with pytest.raises(ValueError, match=message):
            model.forward_image(inputs[0], tokens=True, **options)
    with pytest.raises(TypeError, match="layer is float"):
        models[0].forward_image(inputs[0], layer=1.0)
