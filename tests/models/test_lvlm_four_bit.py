"""Weights in 4 bits: refused where they cannot be had, counted before anything is read, read where bitsandbytes is."""

import pytest
import torch
from PIL import Image

from tests.models.tiny_lvlm import save_llava, save_qwen
from workbench.data.scenes import draw, scenes
from workbench.discriminative import DiscriminativeConfig, TwoCaptions, fine_tune
from workbench.discriminative.plan import plan
from workbench.models.lvlm import load_lvlm, loading, quantized, save_lvlm
from workbench.models.lvlm.quantized import in_four_bits, language_layers, weights_bytes
from workbench.models.placement import FOUR_BIT, pick_dtype
from workbench.models.registry import load_model, skeleton

PICTURES = [Image.linear_gradient("L").convert("RGB"), Image.radial_gradient("L").convert("RGB")]
CAPTIONS = ["a red cat", "a blue ball on the left of a red cube .", "cat"]
SAVED = {"llava": save_llava, "qwen2_vl": save_qwen}


@pytest.fixture(scope="module", params=list(SAVED))
def name(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    SAVED[request.param](folder)
    return f"lvlm:{folder}"


@pytest.fixture(scope="module")
def four(name):
    pytest.importorskip("bitsandbytes")
    return load_model(name, device="cpu", dtype="4bit")


def test_refused_without_bitsandbytes(name, monkeypatch):
    monkeypatch.setattr(quantized, "find_spec", lambda package: None)
    monkeypatch.setattr(loading, "skeleton_lvlm", lambda *_, **__: pytest.fail("something was read"))
    with pytest.raises(
        ValueError, match=r"needs the package bitsandbytes, .* run `pip install -U bitsandbytes`, or take"
    ):
        load_model(name, device="cpu", dtype="4bit")


@pytest.mark.parametrize("other", ["scenes-lvlm", "scenes-clip", "open_clip:ViT-B-32", "transformers:org/model"])
def test_refused_of_other_models(other):
    with pytest.raises(ValueError, match=r"dtype '4bit' is not offered; .* \('4bit' goes with 'lvlm:…' alone\)"):
        load_model(other, device="cpu", dtype="4bit")


def test_what_may_be_asked_for():
    assert pick_dtype("4bit", four_bit=True) == FOUR_BIT
    with pytest.raises(ValueError, match=r"dtype '8bit' is not offered; choose one of .*, float16, 4bit$"):
        pick_dtype("8bit", four_bit=True)


def test_the_linear_layers_of_the_language_model_alone(name):
    bare = skeleton(name).module
    layers = language_layers(bare)
    assert {each.rpartition(".")[2] for each in layers} == {f"{p}_proj" for p in "q k v o gate up down".split()}
    assert len(layers) == 14
    assert all("language_model" in each for each in layers)


def test_bytes_are_counted_from_shapes(name):
    bare = skeleton(name).module
    numbers = sum(p.numel() for p in bare.parameters())
    small = sum(part.weight.numel() for part in language_layers(bare).values())
    assert weights_bytes(bare, torch.float32) == 4 * numbers
    assert weights_bytes(bare, torch.bfloat16) == 2 * numbers
    assert weights_bytes(bare, FOUR_BIT) == 2 * (numbers - small) + small * 4.5 / 8 + 14 * 64


def test_memory_is_checked_for_four_bits(name, monkeypatch):
    bare = skeleton(name).module
    four, half = (weights_bytes(bare, dtype) for dtype in (FOUR_BIT, torch.bfloat16))
    monkeypatch.setattr(loading, "available_memory", lambda device: (four + half) / 2 / loading.MARGIN)
    loading._check_memory(name, bare, "cpu", FOUR_BIT)
    with pytest.raises(MemoryError, match=r"in bfloat16, .* take dtype='bfloat16' or '4bit'"):
        loading._check_memory(name, bare, "cpu", torch.bfloat16)
    monkeypatch.setattr(loading, "available_memory", lambda device: 1000)
    with pytest.raises(MemoryError, match=r"in 4bit, and cpu has 1\.0 KiB free; take a smaller model"):
        loading._check_memory(name, bare, "cpu", FOUR_BIT)


def test_weights_that_are_quantised_already(name, monkeypatch):
    bare = skeleton(name)
    bare.module.config.quantization_config = {"quant_method": "bitsandbytes"}
    monkeypatch.setattr(loading, "skeleton_lvlm", lambda *_, **__: bare)
    with pytest.raises(ValueError, match="are quantised already; load it with dtype='4bit'"):
        load_model(name, device="cpu")


def test_a_model_in_four_bits_reads_and_writes(four, name):
    plain = load_model(name, device="cpu")
    assert in_four_bits(four.module)
    assert not in_four_bits(plain.module)
    kinds = {each: type(part).__name__ for each, part in four.module.named_modules()}
    assert {each for each, kind in kinds.items() if kind == "Linear4bit"} == set(language_layers(plain.module))
    assert four.dtype == torch.bfloat16
    assert four.card.parameters == plain.card.parameters
    for ours, theirs in (
        (four.encode_image(PICTURES).post, plain.encode_image(PICTURES).post),
        (four.encode_text(CAPTIONS).post, plain.encode_text(CAPTIONS).post),
    ):
        assert ours.dtype == torch.float32
        cosines = torch.nn.functional.cosine_similarity(ours, theirs)
        assert (cosines > 0.4).all()  # of random weights, each number about 8 % off
        assert (cosines < 1).all()
    assert sum(four.next_tokens(PICTURES, k=30).mean_probabilities) <= 1 + 1e-6
    assert four.summary_attention(PICTURES[:1]).weights.isfinite().all()
    assert len(four.generate(PICTURES, max_new_tokens=4)) == 2


def test_memory_is_as_computed(four, name):
    state = four.module.state_dict()
    told = sum(
        each.nbytes for key, each in state.items() if "bitsandbytes__" not in key
    )  # notes of the library, in JSON
    assert told == weights_bytes(skeleton(name).module, FOUR_BIT)


def test_reading_and_asking_who_it_is_change_nothing(four):
    first, asked = four.encode_image(PICTURES).post, four.identity("image", "post")
    assert torch.equal(four.encode_image(PICTURES).post, first)
    assert four.identity("image", "post") == asked


@pytest.mark.filterwarnings("error::UserWarning:transformers")
def test_saved_it_opens_the_same(four, tmp_path):
    saved = f"lvlm:{save_lvlm(four, tmp_path / 'saved')}"
    again = load_model(saved, device="cpu", dtype="4bit")
    assert torch.equal(again.encode_image(PICTURES).post, four.encode_image(PICTURES).post)
    with pytest.raises(ValueError, match="quantised already"):
        load_model(saved, device="cpu")


def test_tuning_is_refused(four):
    pairs = TwoCaptions(PICTURES, CAPTIONS[:2], CAPTIONS[:2])
    with pytest.raises(ValueError, match="4 bits, which are for reading"):
        fine_tune(four, pairs, DiscriminativeConfig(batch_size=2, steps=1, rank=4))


def test_a_loaded_one_is_planned_as_its_name(four):
    config = DiscriminativeConfig(batch_size=8, rank=4)
    loaded, named = (plan(each, config, device="cpu") for each in (four, four.name))
    assert [row.weights for row in loaded.rows] == [row.weights for row in named.rows]
    assert loaded["bfloat16"].tuning.step == named["bfloat16"].tuning.step


def test_scenes_in_four_bits_are_told_nearly_as_before(tmp_path):
    pytest.importorskip("bitsandbytes")
    plain = load_model("scenes-lvlm", device="cpu")
    four = load_lvlm(f"lvlm:{save_lvlm(plain, tmp_path / 'copy')}", device="cpu", dtype=FOUR_BIT)
    shown = scenes(8, 905)
    pictures, texts = [draw(each, 64) for each in shown], [each.caption for each in shown]
    for ours, theirs in (
        (four.encode_image(pictures), plain.encode_image(pictures)),
        (four.encode_text(texts), plain.encode_text(texts)),
    ):
        assert torch.nn.functional.cosine_similarity(ours.post, theirs.post).min() > 0.98
