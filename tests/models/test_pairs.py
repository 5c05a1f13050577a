"""`pair` ties any two towers: features, tokens, layers and gradients go through, and what does not fit is said."""

import pytest
import torch
import transformers
from PIL import Image

import workbench as wb
from tests.tiny import save_tokenizer
from workbench.heads import ConseHead, Identity, LinearHead
from workbench.memory.prediction import on_meta
from workbench.models.paired import AlignmentHead, tokenize_with_offsets
from workbench.models.towers import image_tower, text_tower

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
PHOTOS = [Image.linear_gradient("L").convert("RGB"), Image.radial_gradient("L").convert("RGB").resize((300, 200))]
CAPTIONS = ["a red cube left of the blue ball", "cat"]
IMAGES = ("timm:test_vit", "timm:test_convnext", "timm:test_resnet", "dinov2")
TEXTS = ("bert", "llama")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    torch.manual_seed(0)
    text = {**SIZES, "intermediate_size": 64, "vocab_size": 40, "max_position_embeddings": 24}
    models = {
        "dinov2": transformers.Dinov2Model(
            transformers.Dinov2Config(**SIZES, mlp_ratio=2, image_size=32, patch_size=8)
        ),
        "bert": transformers.BertModel(transformers.BertConfig(**text)),
        "llama": transformers.LlamaModel(transformers.LlamaConfig(**text)),
    }
    places = {}
    for name, model in models.items():
        folder = tmp_path_factory.mktemp(name)
        model.save_pretrained(folder)
        save_tokenizer(folder)
        transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
        places[name] = f"transformers:{folder}"
    return places


@pytest.fixture(scope="module")
def towers(folders):
    """Makes a fresh tower of either side by its short name."""

    def make(name):
        torch.manual_seed(0)
        if name in TEXTS:
            return text_tower(folders[name])
        return image_tower(folders.get(name, name), pretrained=name in folders)

    return make


def heads(image, text, d=12):
    torch.manual_seed(1)
    return AlignmentHead(LinearHead(image.width, d), LinearHead(text.width, d))


@pytest.fixture(scope="module", params=[(image, text) for image in IMAGES for text in TEXTS], ids=" + ".join)
def tied(request, towers):
    image, text = map(towers, request.param)
    return wb.pair(image, text, heads(image, text))


def test_features_are_those_of_the_towers(tied):
    image, text = tied.encode_image(PHOTOS, tokens=True), tied.encode_text(CAPTIONS, tokens=True)
    pixels = torch.stack([tied.image_tower.preprocess(photo, tied.card.image_size) for photo in PHOTOS])
    with torch.no_grad():
        cells, pooled, grid = tied.image_tower(pixels)
    assert torch.equal(image.pre, pooled)
    assert torch.allclose(image.tokens, tied.head.image(cells), atol=1e-6)
    assert image.grid == grid == tied.grid() == tied.card.grid
    assert torch.allclose(tied.image_projector(image.pre), image.post, atol=1e-6)
    assert torch.allclose(tied.text_projector(text.pre), text.post, atol=1e-6)
    assert text.words[0] == CAPTIONS[0].split()
    assert text.mask.sum(1).tolist() == [8, 1]


def test_one_by_one_equals_batched(tied):
    image, text = tied.encode_image(PHOTOS).post, tied.encode_text(CAPTIONS).post
    assert torch.allclose(image, torch.cat([tied.encode_image(photo).post for photo in PHOTOS]), atol=1e-5)
    assert torch.allclose(text, torch.cat([tied.encode_text(caption).post for caption in CAPTIONS]), atol=1e-5)


def test_layers_pass_through_to_both_towers(tied):
    last = tied.encode_text(CAPTIONS, layer=tied.text_layers - 1)
    assert torch.equal(last.post, tied.encode_text(CAPTIONS).post)
    assert not torch.equal(last.post, tied.encode_text(CAPTIONS, layer=0).post)
    if tied.image_tower.layers == 0:
        assert tied.image_layers == 1
        with pytest.raises(ValueError, match=r"layer=0: .*last layer only"):
            tied.encode_image(PHOTOS, layer=0)
        return
    first = tied.encode_image(PHOTOS, tokens=True, layer=0)
    assert torch.equal(tied.encode_image(PHOTOS, layer=tied.image_layers - 1).post, tied.encode_image(PHOTOS).post)
    assert not torch.equal(first.tokens, tied.encode_image(PHOTOS, tokens=True).tokens)
    assert first.tokens.shape[1] == first.grid[0] * first.grid[1]


def test_the_card_says_what_it_is_made_of(tied):
    card = str(tied.card)
    for tower in (tied.image_tower, tied.text_tower):
        assert tower.name in card
        assert set(tower.notes) <= set(tied.card.notes)
    assert len(tied.card.digest) == 16
    assert tied.card.parameters == sum(p.numel() for p in tied.module.parameters())


def test_frozen_or_not(towers):
    for frozen in (True, False, True):
        image, text = towers("dinov2"), towers("bert")
        model = wb.pair(image, text, heads(image, text), frozen=frozen)
        ids, mask = model._tokenize(CAPTIONS).ids, model._tokenize(CAPTIONS).mask
        loss = model.forward_image(torch.randn(2, 3, 32, 32)).post * model.forward_text(ids, mask).post
        loss.sum().backward()
        reached = [any(p.grad is not None and p.grad.any() for p in tower.parameters()) for tower in (image, text)]
        assert reached == [not frozen] * 2
        assert model.head.image.weight.grad.abs().sum() > 0


def test_gradients_reach_a_layer_and_not_behind_it(towers):
    image, text = towers("dinov2"), towers("bert")
    model = wb.pair(image, text, heads(image, text), frozen=False)
    model.forward_image(torch.randn(2, 3, 32, 32), tokens=True, layer=0).tokens.sum().backward()
    first, second = (block.mlp.fc1.weight.grad for block in image.model.encoder.layer)
    assert first.abs().sum() > 0
    assert second is None or not second.any()


def test_towers_by_name(folders):
    model = wb.pair(folders["dinov2"], folders["llama"], dtype="bfloat16")  # both 32 wide
    assert model.embed_dim == 32
    assert model.dtype == torch.bfloat16
    assert model.encode_image(PHOTOS, tokens=True).tokens.dtype == torch.float32


def test_one_head_or_another_is_another_model(towers):
    image, text = towers("dinov2"), towers("bert")
    digests = {wb.pair(image, text, head).card.digest for head in (None, heads(image, text), heads(image, text, 5))}
    assert len(digests) == 3
    assert wb.pair(image, towers("llama")).card.digest not in digests


def test_identities_for_the_store(folders, towers):
    """`pre` does not care about the head, and two poolings of the same weights are two things."""
    image, text = towers("dinov2"), towers("bert")
    one, other = (wb.pair(image, text, heads(image, text, d)) for d in (4, 5))
    mean = wb.pair(image_tower(folders["dinov2"], pooling="mean"), text_tower(folders["bert"], pooling="last"))
    for modality in ("image", "text"):
        assert one.identity(modality, "pre") == other.identity(modality, "pre") != mean.identity(modality, "pre")
        assert one.identity(modality, "post") != other.identity(modality, "post")
        assert one.identity(modality, "post") == one.identity(modality, "tokens")


def test_a_head_that_is_no_matrix(towers):
    image, text = towers("dinov2"), towers("bert")
    conse = ConseHead(torch.randn(5, 32), torch.randn(5), torch.randn(5, 32), k=2)
    model = wb.pair(image, text, AlignmentHead(conse, Identity(32)))
    assert model.embed_dim == model.encode_image(PHOTOS).post.shape[1] == 32


def test_planning_sees_a_pair_without_its_weights(towers):
    """The copy that planning makes has no bytes, and the pair keeps its own."""
    image, text = towers("timm:test_vit"), towers("bert")
    model = wb.pair(image, text, heads(image, text))
    bare, _ = on_meta(model)
    features = bare.forward_image(torch.empty(2, 3, 160, 160, device="meta"), tokens=True)
    assert features.tokens.shape == (2, 100, 12)
    assert features.tokens.is_meta
    assert not any(p.is_meta for p in model.module.parameters())


def test_what_cannot_be_tied(towers):
    image, text = towers("timm:test_vit"), towers("bert")
    with pytest.raises(ValueError, match="the image tower is 64 wide and the text tower 32; give a head"):
        wb.pair(image, text)
    with pytest.raises(ValueError, match="the image tower is 64 wide, which the image head does not take"):
        wb.pair(image, text, AlignmentHead(LinearHead(48, 8), LinearHead(32, 8)))
    with pytest.raises(ValueError, match="the image head gives 8 numbers and the text head 9; make them agree"):
        wb.pair(image, text, AlignmentHead(LinearHead(64, 8), LinearHead(32, 9)))
    with pytest.raises(TypeError, match="pair ties an image tower to a text tower, not TextTower and TimmTower"):
        wb.pair(text, image)
    with pytest.raises(ValueError, match="device 'tpu' is not here"):
        wb.pair(image, text, heads(image, text), device="tpu")


def test_options_that_a_pair_lacks(towers):
    model = wb.pair(towers("dinov2"), towers("bert"))
    with pytest.raises(ValueError, match="dense='maskclip': a pair reads its image tower as it is"):
        model.encode_image(PHOTOS, dense="maskclip")
    with pytest.raises(ValueError, match=r"image_size=33; .* cuts patches of 8 px"):
        model.encode_image(PHOTOS, image_size=33)
    assert model.encode_image(PHOTOS, tokens=True, image_size=48).grid == (6, 6)


def test_an_image_tower_without_a_patch_grid(towers):
    image, text = towers("timm:pit_ti_224"), towers("bert")
    model = wb.pair(image, text, heads(image, text))
    assert model.encode_image(PHOTOS).post.shape == (2, 12)
    with pytest.raises(ValueError, match=r"pit_ti_224 has no patch grid: .*use tokens=False"):
        model.encode_image(PHOTOS, tokens=True)
    with pytest.raises(ValueError, match="has no patch grid"):
        model.grid()


def test_a_caption_longer_than_the_context_is_cut_and_said(towers):
    model = wb.pair(towers("dinov2"), towers("bert"))
    with pytest.warns(UserWarning, match="caption 0 has 102 tokens; .* reads 24, so the last 78 were dropped"):
        assert torch.isfinite(model.encode_text("cat " * 100).post).all()


def test_a_caption_without_a_token(folders, tmp_path):
    """A tokenizer that adds nothing makes nothing of a caption that it normalises away."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    raw = Tokenizer(models.WordLevel({"cat": 0, "</s>": 1, "a": 2}, unk_token="a"))
    raw.normalizer, raw.pre_tokenizer = normalizers.Replace("~", ""), pre_tokenizers.Whitespace()
    model = transformers.LlamaModel(transformers.LlamaConfig(**SIZES, intermediate_size=64, vocab_size=40))
    model.save_pretrained(tmp_path)
    transformers.PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>").save_pretrained(tmp_path)
    tied = wb.pair(folders["dinov2"], f"transformers:{tmp_path}")
    with pytest.raises(ValueError, match=r"caption 1 has no token that .* knows: '~~'"):
        tied.encode_text(["cat", "~~"])


# Words -----------------------------------------------------------------------------------------------------------------


def language_model_tokenizer(pre_tokenizer=None, normalizer=None, alphabet=()):
    """Byte pairs, trained on three captions, as language models have them."""
    from tokenizers import Tokenizer, models, trainers

    raw = Tokenizer(models.BPE(unk_token="<unk>"))
    if pre_tokenizer is not None:
        raw.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        raw.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<unk>", "</s>"], initial_alphabet=list(alphabet), show_progress=False
    )
    raw.train_from_iterator(["a red cube left of the blue ball", "the cat on a mat"], trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", pad_token="</s>")


def tokenizers_of_language_models():
    from tokenizers import normalizers, pre_tokenizers

    yield language_model_tokenizer(
        pre_tokenizers.ByteLevel(add_prefix_space=False), alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    yield language_model_tokenizer(pre_tokenizers.Metaspace())
    sentence_piece = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    yield language_model_tokenizer(normalizer=normalizers.Sequence(sentence_piece))


@pytest.mark.parametrize("kind", range(3), ids=["byte level", "metaspace", "no pre-tokenizer"])
def test_words_of_language_models_carry_no_spaces(kind):
    tokenizer = list(tokenizers_of_language_models())[kind]
    out = tokenize_with_offsets(tokenizer, ["a red  cube", "the mat"], 64)
    assert out.words == [["a", "red", "cube"], ["the", "mat"]]
    assert max(i for i in out.word_ids[1] if i is not None) <= 1
    assert len(out.word_ids[0]) == out.ids.shape[1]
