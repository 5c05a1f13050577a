"""Every family of open_clip that we read, small and random: our features are the library's own, our projectors fit them."""

import json

import pytest
import torch
from PIL import Image

from tests.tiny import save_tokenizer
from workbench.features import ImageFeatures
from workbench.models.dense import VARIANTS
from workbench.models.registry import load_model, skeleton
from workbench.panels.alignment import AlignmentPanel

TEXT = {"context_length": 12, "vocab_size": 49408, "width": 24, "heads": 2, "layers": 2}
VIT = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16}
TIMM = {"image_size": 160, "timm_model_pretrained": False}
HUB_TEXT = {
    "context_length": 16,
    "hf_model_name": "BERT",
    "hf_tokenizer_name": "local",
    "hf_pooler_type": "mean_pooler",
}
FAMILIES = {
    "vit, first token": {"vision_cfg": VIT},
    "vit, mean of patches": {"vision_cfg": {**VIT, "pool_type": "avg"}},
    "vit, norm after the pool": {"vision_cfg": {**VIT, "pool_type": "avg", "final_ln_after_pool": True}},
    "vit, projection with bias in the text": {
        "vision_cfg": VIT,
        "text_cfg": {**TEXT, "proj_bias": True},
        "custom_text": True,
    },
    "timm vit, linear": {
        "vision_cfg": {**TIMM, "timm_model_name": "test_vit", "timm_pool": "avg", "timm_proj": "linear"}
    },
    "timm vit, first token": {
        "vision_cfg": {**TIMM, "timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "linear"}
    },
    "siglip": {
        "embed_dim": 96,
        "vision_cfg": {**TIMM, "timm_model_name": "test_vit3", "timm_pool": "map", "timm_proj": "none"},
        "text_cfg": {**TEXT, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
        "custom_text": True,
        "init_logit_bias": -10,
    },
    "pe, attention pool and linear head": {
        "embed_dim": 512,
        "vision_cfg": {
            **TIMM,
            "timm_model_name": "vit_pe_core_tiny_patch16_384",
            "timm_pool": "map",
            "image_size": 384,
        },
        "custom_text": True,
    },
    "eva, rotary positions": {
        "vision_cfg": {
            **TIMM,
            "timm_model_name": "eva02_tiny_patch14_224",
            "timm_pool": "token",
            "timm_proj": "linear",
            "image_size": 224,
        },
    },
    "text tower of transformers, linear": {"vision_cfg": VIT, "text_cfg": {**HUB_TEXT, "hf_proj_type": "linear"}},
    "text tower of transformers, mlp": {"vision_cfg": VIT, "text_cfg": {**HUB_TEXT, "hf_proj_type": "mlp"}},
    "timm convnext": {
        "vision_cfg": {**TIMM, "timm_model_name": "test_convnext", "timm_pool": "avg", "timm_proj": "linear"}
    },
    "coca": {
        "vision_cfg": {**VIT, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {
            "context_length": 12,
            "vocab_size": 49408,
            "width": 24,
            "heads": 2,
            "layers": 2,
            "attn_pooler_heads": 2,
        },
        "custom_text": True,
    },
}
NO_DENSE = ("coca", "timm convnext", "pe, attention pool and linear head", "eva, rotary positions")
NO_PATCHES = ("coca",)
PICTURES = [Image.linear_gradient("L").convert("RGB"), Image.radial_gradient("L").convert("RGB")]
CAPTIONS = ["a red cube left of a blue ball", "cat"]


def write_text_model(folder):
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=20, max_position_embeddings=16, pad_token_id=0, **sizes)).save_pretrained(folder)
    return folder


def write_family(family, folder):
    """A random model of a family in open_clip's local-dir format."""
    import open_clip
    from open_clip.factory import add_model_config
    from safetensors.torch import save_file

    config = {"embed_dim": 20, "text_cfg": TEXT, **FAMILIES[family]}
    if hub := config["text_cfg"].get("hf_model_name"):
        config["text_cfg"] = {**config["text_cfg"], "hf_model_name": str(write_text_model(folder / hub))}
        save_tokenizer(folder)
    name = "coca-tiny" if family == "coca" else "tiny-" + family.replace(" ", "-").replace(",", "")
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    (folder / f"{name}.json").write_text(json.dumps(config))
    add_model_config(folder / f"{name}.json")
    torch.manual_seed(0)
    model = open_clip.create_model(name)
    # CoCa's decoder leaves a projection uninitialised, and what memory holds may be NaN, which loading refuses.
    finite = {key: value.nan_to_num(0.0, 0.0, 0.0).contiguous() for key, value in model.state_dict().items()}
    save_file(finite, folder / "open_clip_model.safetensors")


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("family")
    write_family(request.param, folder)
    return request.param, folder


@pytest.fixture(scope="module")
def family(folder):
    return folder[0], load_model(f"local-dir:{folder[1]}", device="cpu")


def test_features_equal_the_librarys_own(family):
    _, model = family
    with torch.no_grad():
        image = model.module.encode_image(
            torch.stack([model._preprocess(picture) for picture in PICTURES]), normalize=True
        )
        text = model.module.encode_text(model._tokenizer(CAPTIONS), normalize=True)
    ours_image, ours_text = model.encode_image(PICTURES).post, model.encode_text(CAPTIONS).post
    assert torch.allclose(torch.nn.functional.normalize(ours_image, dim=-1), image, atol=1e-6)
    assert torch.allclose(torch.nn.functional.normalize(ours_text, dim=-1), text, atol=1e-6)


def test_exact_projectors_give_post_from_pre(family):
    _, model = family
    image, text = model.encode_image(PICTURES), model.encode_text(CAPTIONS)
    for projector, features in ((model.image_projector, image), (model.text_projector, text)):
        if projector.kind == "exact":
            assert torch.allclose(projector(features.pre), features.post, atol=1e-6)
        if projector.kind == "none":
            assert projector.reason
        else:
            assert projector.weight.shape == (model.embed_dim, features.pre.shape[1])


def test_kinds_of_projectors(family):
    name, model = family
    kinds = {"siglip": ("linearised", "exact"), "text tower of transformers, mlp": ("exact", "none")}
    expected = kinds.get(name, ("exact", "exact"))
    assert (model.image_projector.kind, model.text_projector.kind) == expected


def test_patches_lie_on_their_grid_or_are_refused_with_the_reason(family):
    name, model = family
    if name in NO_PATCHES:
        with pytest.raises(ValueError, match=r"patch tokens in the joint space.*use tokens=False"):
            model.encode_image(PICTURES, tokens=True)
        assert "tokens=False" in AlignmentPanel(model).status.value  # the panel opens, and says why it shows no map
        return
    image = model.encode_image(PICTURES, tokens=True)
    assert image.tokens.shape == (2, image.grid[0] * image.grid[1], model.embed_dim)
    assert image.grid == model.grid()


def test_every_dense_variant_or_its_reason(family):
    name, model = family
    assert model.dense_variants == (("raw",) if name in NO_DENSE else tuple(VARIANTS))
    if name == "coca":
        return
    raw = model.encode_image(PICTURES, tokens=True)
    for dense in VARIANTS:
        if dense in model.dense_variants:
            features = model.encode_image(PICTURES, tokens=True, dense=dense)
            assert features.tokens.shape == raw.tokens.shape
            assert torch.equal(features.post, raw.post)
        else:
            with pytest.raises(ValueError, match=f"dense='{dense}': "):
                model.encode_image(PICTURES, tokens=True, dense=dense)


def test_layers_are_counted_and_the_last_is_the_model(family):
    name, model = family
    whole, caption = model.encode_image(PICTURES).post, model.encode_text(CAPTIONS)
    assert torch.equal(model.encode_text(CAPTIONS, layer=model.text_layers - 1).post, caption.post)
    assert not torch.allclose(model.encode_text(CAPTIONS, layer=0).post, caption.post, atol=1e-3)
    if name == "timm convnext":
        with pytest.raises(ValueError, match="earlier stages have other widths"):
            model.encode_image(PICTURES, layer=0)
        return
    assert torch.equal(model.encode_image(PICTURES, layer=model.image_layers - 1).post, whole)
    early = model.encode_image(PICTURES, layer=0, tokens=name != "coca")
    assert early.post.shape == whole.shape
    assert not torch.equal(early.post, whole)
    with pytest.raises(ValueError, match="this tower has"):
        model.encode_image(PICTURES, layer=model.image_layers)


def test_end_of_text_counts_only_by_choice(family):
    _, model = family
    words = model.encode_text(CAPTIONS, tokens=True)
    whole = model.encode_text(CAPTIONS, tokens=True, keep_eos=True)
    assert (whole.mask.sum(1) - words.mask.sum(1)).tolist() == [1, 1]
    assert torch.equal(whole.tokens, words.tokens)
    for m in range(2):  # the one token behind the last word
        added = (whole.mask[m] & ~words.mask[m]).nonzero().item()
        assert added == max(t for t, word in enumerate(words.word_ids[m]) if word is not None) + 1


def test_card_says_which_activation_and_whether_text_is_causal(family):
    name, model = family
    assert model.card.activation == {"eva, rotary positions": "SiLU", "timm convnext": "GELUTanh"}.get(name, "GELU")
    reads_both_ways = name == "siglip" or name.startswith("text tower")
    assert any("left to right" in note for note in model.card.notes) != reads_both_ways


def test_norms_of_patches_find_an_outlier(family):
    name, model = family
    if name in ("coca", "timm convnext"):
        return
    features = model.encode_image(PICTURES, tokens=True)
    assert features.norms.shape == features.tokens.shape[:2]
    assert features.ordinary_patches().all()
    high = features.norms.clone()
    high[0, 2] = 4 * high[0].median()
    marked = ImageFeatures(features.pre, features.post, features.tokens, features.grid, high).ordinary_patches()
    assert marked.logical_not().nonzero().tolist() == [[0, 2]]


def test_word_pieces_map_back_to_words(family):
    name, model = family
    if name.startswith("text tower"):
        text = model.encode_text("a red cat", tokens=True)
        assert text.words == [["a", "red", "cat"]]
        return
    text = model.encode_text(["a red cube left of a blue ball", "unbelievably"], tokens=True)
    assert text.words == [["a", "red", "cube", "left", "of", "a", "blue", "ball"], ["unbelievably"]]
    for m in range(2):
        counted = [i is not None for i in text.word_ids[m]]
        assert text.mask[m].tolist() == counted
    assert torch.isfinite(text.word_vectors(1)).all()


def test_skeleton_has_the_same_card(folder):
    bare, whole = skeleton(f"local-dir:{folder[1]}").card, load_model(f"local-dir:{folder[1]}", device="cpu").card
    for field in ("parameters", "d_i", "d_t", "d", "grid", "context_length"):
        assert getattr(bare, field) == getattr(whole, field)


def test_gradients_reach_both_towers(family):
    _, model = family
    pixels = torch.stack([model._preprocess(picture) for picture in PICTURES])
    ids = model._tokenizer(CAPTIONS)
    (model.forward_image(pixels).post.sum() + model.forward_text(ids, ids != 0).post.sum()).backward()
    reached = [name for name, p in model.module.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert any(name.startswith("visual") for name in reached)
    assert any(not name.startswith("visual") and "logit" not in name for name in reached)
    model.module.zero_grad()
