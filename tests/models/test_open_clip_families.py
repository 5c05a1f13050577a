"""Every family of open_clip that we read, small and random: our features are the library's own, our projectors fit them."""

import json

import pytest
import torch
from PIL import Image

from workbench.models.registry import load_model, skeleton
from workbench.panels.alignment import AlignmentPanel

TEXT = {"context_length": 12, "vocab_size": 49408, "width": 24, "heads": 2, "layers": 2}
VIT = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16}
TIMM = {"image_size": 160, "timm_model_pretrained": False}
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
NO_PATCHES = ("coca", "timm convnext")
PICTURES = [Image.linear_gradient("L").convert("RGB"), Image.radial_gradient("L").convert("RGB")]
CAPTIONS = ["a red cube left of a blue ball", "cat"]


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    import open_clip
    from open_clip.factory import add_model_config
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("family")
    config = {"embed_dim": 20, "text_cfg": TEXT, **FAMILIES[request.param]}
    name = "tiny-" + request.param.replace(" ", "-").replace(",", "")
    if request.param == "coca":
        name = "coca-tiny"
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    (folder / f"{name}.json").write_text(json.dumps(config))
    add_model_config(folder / f"{name}.json")
    torch.manual_seed(0)
    model = open_clip.create_model(name)
    # CoCa's decoder leaves a projection uninitialised, and what memory holds may be NaN, which loading refuses.
    finite = {key: value.nan_to_num(0.0, 0.0, 0.0).contiguous() for key, value in model.state_dict().items()}
    save_file(finite, folder / "open_clip_model.safetensors")
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
        assert projector.kind in ("exact", "linearised")
        if projector.kind == "exact":
            assert torch.allclose(projector(features.pre), features.post, atol=1e-6)
        assert projector.weight.shape == (model.embed_dim, features.pre.shape[1])


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


def test_word_pieces_map_back_to_words(family):
    _, model = family
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
