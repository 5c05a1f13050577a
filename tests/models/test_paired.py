"""The shipped dual encoders, and what every adapter inherits: opening, batching, words, and refusals at the door."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.data.photos import shipped_photos
from workbench.heads import LinearHead
from workbench.models.paired import same_towers
from workbench.models.placement import pick_device
from workbench.models.registry import list_models, load_model, skeleton
from workbench.models.shipped import shipped_names


@pytest.fixture(scope="module")
def model():
    return load_model("lite0-minilm", device="cpu")


PHOTOS = [photo.path for photo in list(shipped_photos().values())[:3]]


@pytest.mark.parametrize("name", ["lite0-minilm", "lite2-minilm"])
@pytest.mark.parametrize("size", [None, 448])
def test_patches_average_to_the_image(name, size):
    features = load_model(name, device="cpu").encode_image(PHOTOS, tokens=True, image_size=size)
    gap = (features.tokens.mean(1) - features.post).norm(dim=-1) / features.post.norm(dim=-1)
    assert gap.max() < 1e-5


def test_the_grid_follows_the_input_size():
    assert load_model("lite0-minilm", device="cpu").grid() == (7, 7)
    assert load_model("lite2-minilm", device="cpu").grid() == (9, 9)
    assert load_model("lite2-minilm", device="cpu").grid(448) == (14, 14)


def test_projectors_are_exact(model):
    image, text = model.encode_image(PHOTOS), model.encode_text(["a cat", "a red cup"])
    assert torch.allclose(model.image_projector(image.pre), image.post, atol=1e-6)
    assert torch.allclose(model.text_projector(text.pre), text.post, atol=1e-6)


def test_conse_has_no_image_projector_and_says_why():
    projector = load_model("lite2-conse", device="cpu").image_projector
    assert projector.kind == "none"
    with pytest.raises(ValueError, match="softmax over classes"):
        projector(torch.zeros(1, 1280))


def test_conse_is_a_mean_of_class_texts():
    """The posterior of a picture weighs the ten likeliest class names: done here by hand."""
    model = load_model("lite2-conse", device="cpu")
    features = model.encode_image(PHOTOS[2])
    head, tower = model.head.image, model.image_tower
    posterior = (features.pre @ tower.classifier.weight.T + tower.classifier.bias).softmax(-1)[0]
    best = posterior.argsort(descending=True)[:10]
    by_hand = sum(posterior[c] * head.prototypes[c] for c in best)
    assert torch.allclose(features.post[0], by_hand, atol=1e-5)


def test_one_by_one_equals_batched(model):
    together, alone = model.encode_image(PHOTOS), [model.encode_image(path) for path in PHOTOS]
    assert torch.allclose(together.post, torch.cat([each.post for each in alone]), atol=1e-4)
    captions = ["a cat", "a much longer caption about a red cup on a table", "dog"]
    texts = model.encode_text(captions, tokens=True, batch_size=2)
    single = model.encode_text("dog", tokens=True)
    assert torch.allclose(texts.post[2], single.post[0], atol=1e-5)
    assert texts.tokens.shape[:2] == texts.mask.shape


def test_the_same_picture_however_it_comes(model):
    image = Image.open(PHOTOS[0])
    by_path = model.encode_image(PHOTOS[0]).post
    for same in (
        str(PHOTOS[0]),
        image,
        np.asarray(image),
        [np.asarray(image)],
        PHOTOS[0].read_bytes(),
        bytearray(PHOTOS[0].read_bytes()),
    ):
        assert torch.equal(model.encode_image(same).post, by_path)


def test_features_can_be_trained_on(model):
    pre = model.encode_image(PHOTOS).pre
    head = LinearHead(1280, 4)
    head(pre).sum().backward()
    assert head.weight.grad.abs().sum() > 0


def test_gradients_reach_the_head_and_not_the_towers(model):
    features = model.forward_image(torch.zeros(1, 3, 224, 224))
    features.post.sum().backward()
    assert model.head.image.weight.grad is not None
    assert all(parameter.grad is None for parameter in model.image_tower.parameters())
    model.head.zero_grad()


def test_word_pieces_map_back_to_words(model):
    text = model.encode_text("a snowboarder's unbelievable jump", tokens=True)
    words = text.words[0]
    assert words[:2] == ["a", "snowboarder"]
    assert "unbelievable" in words
    assert not text.mask[0, 0]  # [CLS]
    assert text.mask.sum() == sum(i is not None for i in text.word_ids[0])


def test_words_keep_their_letters_as_typed(model):
    text = model.encode_text("Café NAÏVE", tokens=True)
    assert text.words[0] == ["Café", "NAÏVE"]


def test_long_caption_is_cut_and_said(model):
    with pytest.warns(
        UserWarning, match="caption 0 has .* tokens; lite0-minilm reads 256, so the last .* were dropped"
    ):
        model.encode_text("word " * 2_000)


@pytest.mark.parametrize("caption", ["🐱🚀", "חתול אדום", "<script>alert(1)</script>", "a" * 10_000])
@pytest.mark.filterwarnings("ignore:caption 0 has")
def test_any_text_is_text(model, caption):
    assert torch.isfinite(model.encode_text(caption).post).all()


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        ([], ValueError, "no captions given"),
        ("", ValueError, "caption 0 is empty"),
        (["a", " "], ValueError, "caption 1 is empty"),
        (["a", 3], TypeError, "caption 1 is int 3"),
        (None, TypeError, "NoneType None is no captions; give one or a list"),
        ("cup \ud83d", ValueError, "caption 0 holds half a character"),
    ],
)
def test_no_captions(model, texts, error, message):
    with pytest.raises(error, match=message):
        model.encode_text(texts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 16}, "image_size=16; efficientnet_lite0 takes 32 to 2048"),
        ({"layer": 3}, "layer=3: efficientnet_lite0 gives its last layer only"),
        ({"dense": "maskclip"}, "dense='maskclip'"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
)
def test_options_that_the_model_lacks(model, options, message):
    with pytest.raises(ValueError, match=message):
        model.encode_image(PHOTOS[0], **options)


@pytest.mark.parametrize("options", [{"image_size": "448"}, {"image_size": 448.0}, {"batch_size": 1.5}])
def test_options_that_are_no_whole_numbers(model, options):
    (name,) = options
    with pytest.raises(TypeError, match=f"{name} is .*; give a whole number"):
        model.encode_image(PHOTOS[0], **options)


def test_no_pictures(model):
    with pytest.raises(TypeError, match="int 5 is no pictures; give one or a list"):
        model.encode_image(5)
    with pytest.raises(ValueError, match="no pictures given"):
        model.encode_image([])


def test_a_picture_that_was_scaled_down_warns(model):
    with pytest.warns(UserWarning, match="scaled down from 20000 × 30"):
        model.encode_image(Image.new("RGB", (20_000, 30)))


def test_seen_is_the_centre_square(model):
    image = Image.new("RGB", (300, 100), "red")
    image.paste("blue", (100, 0, 200, 100))
    assert model.seen(image).getpixel((112, 112)) == (0, 0, 255)
    assert model.seen(image, 448).size == (448, 448)


@pytest.mark.parametrize("device", ["cuda:0", "tpu", "cpu:first", None])
def test_a_device_that_is_not_here(device):
    if torch.cuda.is_available() and device == "cuda:0":
        pytest.skip("this machine has CUDA")
    with pytest.raises(ValueError, match=f"device '{device}' is not here; choose one of .*cpu"):
        load_model("lite0-minilm", device=device)


def test_torchs_own_device_is_taken():
    assert pick_device(torch.device("cpu")) == "cpu"


def test_dtype():
    assert (
        load_model("lite0-minilm", device="cpu", dtype="bfloat16").encode_image(PHOTOS[0]).post.dtype == torch.float32
    )
    with pytest.raises(ValueError, match="dtype 'int8' is not offered"):
        load_model("lite0-minilm", dtype="int8")
    with pytest.raises(ValueError, match="dtype 32 is not offered"):
        load_model("lite0-minilm", dtype=32)


@pytest.mark.parametrize("name", shipped_names())
def test_skeleton_matches_the_card(name):
    bare, whole = skeleton(name).card, load_model(name, device="cpu").card
    assert (bare.parameters, bare.d_i, bare.d_t, bare.d) == (whole.parameters, whole.d_i, whole.d_t, whole.d)
    assert not bare.digest
    assert len(whole.digest) == 16


def test_models_are_listed_with_what_they_need():
    table = list_models()
    assert set(shipped_names()) <= set(table)
    assert "hf-hub:<org>/<repo>" in str(table)


def test_a_folder_of_models_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        list_models(tmp_path / "none")


def test_bytes_are_the_same_in_another_process(model):
    """A seed-free check that loading is deterministic: same weights, same picture, same bytes."""
    code = """
import workbench as wb
print(wb.load_model("lite0-minilm", device="cpu").encode_text("a red cup").post.double().sum().item())
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(printed) == pytest.approx(model.encode_text("a red cup").post.double().sum().item(), abs=1e-4)


def test_heads_are_exchanged_between_the_same_towers_only(clip_folder):
    lite2, ensemble, lite0 = (
        load_model(name, device="cpu") for name in ("lite2-minilm", "lite2-ensemble", "lite0-minilm")
    )
    assert same_towers(lite2, ensemble)
    assert same_towers(lite2, lite2)
    assert not same_towers(lite2, lite0)
    assert not same_towers(lite2, load_model(f"local-dir:{clip_folder}", device="cpu"))
