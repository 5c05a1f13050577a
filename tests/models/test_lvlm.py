"""Vision–language models as dual encoders: the library's own states, padding on either side, and what else they can say."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.models.tiny_lvlm import save_llava, save_qwen
from workbench.memory import plan_memory
from workbench.models.lvlm import PRESETS, Prompts, load_lvlm
from workbench.models.lvlm.captions import padded_left
from workbench.models.offers import offers
from workbench.models.registry import list_models, load_model, skeleton

PICTURES = [Image.linear_gradient("L").convert("RGB"), Image.radial_gradient("L").convert("RGB")]
CAPTIONS = ["a red cat", "a blue ball on the left of a red cube .", "cat"]
SAVED = {"llava": save_llava, "qwen2_vl": save_qwen}


@pytest.fixture(scope="module", params=list(SAVED))
def folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    SAVED[request.param](folder)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return load_model(f"lvlm:{folder}", device="cpu")


def library(model, conversation, **options):
    """Through the processor's own chat template and call, and the model's own forward pass."""
    made = model._inputs.processor.apply_chat_template(
        conversation, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    with torch.no_grad():
        return made, model.module(**made, **options)


def turn(*content):
    return [{"role": "user", "content": list(content)}]


def test_a_picture_is_the_last_state_of_the_librarys_own_pass(model):
    for picture in PICTURES:
        asked = {"type": "text", "text": "Summary above image in one word: "}
        _, out = library(model, turn({"type": "image", "image": picture}, asked), output_hidden_states=True)
        ours = model.encode_image(picture)
        assert torch.allclose(ours.post, out.hidden_states[-1][:, -1], atol=1e-5)
        assert torch.equal(ours.pre, ours.post)


def test_a_caption_is_the_last_state_of_the_librarys_own_pass(model):
    for caption in CAPTIONS:
        asked = {"type": "text", "text": f"{caption}\nSummary above sentence in one word: "}
        _, out = library(model, turn(asked), output_hidden_states=True)
        assert torch.allclose(model.encode_text(caption).post, out.hidden_states[-1][:, -1], atol=1e-5)


def test_batched_equals_one_by_one(model):
    together = model.encode_text(CAPTIONS, tokens=True)
    for m, caption in enumerate(CAPTIONS):
        alone = model.encode_text(caption, tokens=True)
        assert torch.allclose(together.post[m], alone.post[0], atol=1e-5)
        assert torch.allclose(together.tokens[m][together.mask[m]], alone.tokens[0][alone.mask[0]], atol=1e-5)
    images = model.encode_image(PICTURES, tokens=True)
    for n, picture in enumerate(PICTURES):
        assert torch.allclose(images.post[n], model.encode_image(picture).post[0], atol=1e-5)


def test_padding_on_either_side_gives_the_same(model):
    read = model.tokenize(CAPTIONS)
    assert not read.mask.all()
    with torch.no_grad():
        right = model.forward_text(read.ids, read.mask, tokens=True)
        left = model.forward_text(*padded_left(read.ids, read.mask), tokens=True)
    assert torch.allclose(right.post, left.post, atol=1e-5)
    assert torch.allclose(right.tokens[right.mask], left.tokens[left.mask], atol=1e-5)


def test_learned_positions_are_counted_from_the_first_token(tmp_path):
    """A language model with a table of positions would read a left-padded caption elsewhere, if nobody told it where it is."""
    save_llava(tmp_path, learned_positions=True)
    model = load_lvlm(f"lvlm:{tmp_path}", device="cpu", dtype=torch.float32)
    read = model.tokenize(CAPTIONS)
    with torch.no_grad():
        left = model.forward_text(*padded_left(read.ids, read.mask)).post
    assert torch.allclose(left[2], model.encode_text(CAPTIONS[2]).post[0], atol=1e-5)


def test_no_vocabulary_is_computed_for_features(model, monkeypatch):
    def head(*_):
        raise AssertionError("the vocabulary was asked")

    monkeypatch.setattr(model.module.get_output_embeddings(), "forward", head)
    model.encode_image(PICTURES)
    model.encode_text(CAPTIONS)
    with pytest.raises(AssertionError, match="the vocabulary was asked"):
        model.next_tokens(PICTURES)


def test_words_and_image_tokens(model):
    text, image = model.encode_text(CAPTIONS, tokens=True), model.encode_image(PICTURES, tokens=True)
    assert text.words == [caption.split() for caption in CAPTIONS]
    assert text.mask.sum(1).tolist() == [3, 11, 1]
    assert [i for i in text.word_ids[0] if i is not None] == [0, 1, 2]
    own = [t for t, i in enumerate(text.word_ids[1]) if i is not None]
    assert text.mask[1].nonzero()[:, 0].tolist() == own
    assert image.grid == (4, 4)
    assert image.tokens.shape == (2, 16, 32)


def test_image_tokens_stand_where_the_picture_is(model):
    """The language model reads left to right: the first image token knows nothing of what changes at the end."""
    changed = np.array(PICTURES[0])
    changed[200:, 200:] = 255 - changed[200:, 200:]
    before, after = (model.encode_image(each, tokens=True) for each in (PICTURES[0], changed))
    assert not torch.allclose(before.post, after.post, atol=1e-3)
    if model.module.config.model_type == "llava":
        assert (before.tokens[0, 0] - after.tokens[0, 0]).norm() < (before.tokens[0, -1] - after.tokens[0, -1]).norm()


def test_similarity_is_a_cosine_with_a_temperature(model):
    assert model.logit_scale == pytest.approx(20)
    assert model.logit_bias == 0
    warm = model.with_prompts(replace(model.prompts, temperature=0.5))
    assert warm.logit_scale == pytest.approx(2)
    for projector in (model.image_projector, model.text_projector):
        assert projector.kind == "none"
        assert "nothing projects it" in projector.reason


def test_other_prompts_share_the_weights_and_have_another_identity(model):
    other = model.with_prompts("CAFe")
    assert other.module is model.module
    assert not torch.allclose(other.encode_text(CAPTIONS).post, model.encode_text(CAPTIONS).post, atol=1e-3)
    for side in ("image", "text"):
        assert other.identity(side, "post") != model.identity(side, "post")
    same = model.with_prompts(replace(model.prompts, temperature=1.0, text="<sent> in one word"))
    assert same.identity("image", "post") == model.identity("image", "post")
    assert model.prompts == PRESETS["E5-V"]


def test_next_tokens_are_the_librarys_own_distribution(model):
    asked = {"type": "text", "text": f"{CAPTIONS[0]}\nSummary above sentence in one word: "}
    _, out = library(model, turn(asked))
    wanted = out.logits[0, -1].double().softmax(0)
    found = model.next_tokens(texts=CAPTIONS, k=5)
    assert found.probabilities[0] == pytest.approx(wanted.topk(5).values.tolist(), abs=1e-6)
    assert found.entropy[0] == pytest.approx(-(wanted * wanted.log()).sum().item(), abs=1e-5)
    assert found.tokens[0] == tuple(model.tokenizer.decode([i]) for i in wanted.topk(5).indices.tolist())


def test_next_tokens_of_pictures_and_their_mean(model):
    vocabulary = model.module.get_output_embeddings().weight.shape[0]
    found = model.next_tokens(PICTURES, k=vocabulary)
    assert all(sum(row) == pytest.approx(1) for row in (*found.probabilities, found.mean_probabilities))
    assert all(0 < entropy <= math.log(vocabulary) for entropy in found.entropy)
    both = [dict(zip(*row, strict=True)) for row in zip(found.tokens, found.probabilities, strict=True)]
    first = found.mean_tokens[0]
    assert found.mean_probabilities[0] == pytest.approx(sum(each[first] for each in both) / 2)
    assert str(found.mean_tokens[0]) in str(found)
    with pytest.raises(ValueError, match="one of both"):
        model.next_tokens(PICTURES, texts=CAPTIONS)
    with pytest.raises(ValueError, match=f"k=0; give 1 to {vocabulary}"):
        model.next_tokens(PICTURES, k=0)


def test_attention_from_the_summary_is_the_librarys_own(model):
    asked = {"type": "text", "text": "Summary above image in one word: "}
    kind = model.module.config._attn_implementation
    model.module.set_attn_implementation("eager")
    made, out = library(model, turn({"type": "image", "image": PICTURES[1]}, asked), output_attentions=True)
    model.module.set_attn_implementation(kind)
    wanted = out.attentions[-1][0, :, -1, made["input_ids"][0] == model._inputs.image_token_id]
    found = model.summary_attention(PICTURES)
    assert torch.allclose(found.weights[1], wanted, atol=1e-6)
    assert found.weights.shape == (2, 4, 16)
    assert found.grid == (4, 4)
    assert (found.weights.sum(-1) < 1).all(), "some attention goes to the words"
    assert model.module.config._attn_implementation == kind


def test_captions_are_the_librarys_own(model):
    asked = {"type": "text", "text": "describe this picture"}
    made, _ = library(model, turn({"type": "image", "image": PICTURES[0]}, asked))
    out = model.module.generate(**made, do_sample=False, max_new_tokens=6, pad_token_id=0)
    wanted = model.tokenizer.decode(out[0, made["input_ids"].shape[1] :], skip_special_tokens=True).strip()
    said = model.generate(PICTURES, "<image>\ndescribe this picture", max_new_tokens=6)
    assert said[0] == wanted
    assert len(said) == 2
    with pytest.raises(ValueError, match="max_new_tokens=0"):
        model.generate(PICTURES, max_new_tokens=0)


def test_pictures_become_what_the_model_takes_and_back(model):
    inputs, picture = model._inputs, PICTURES[0].crop((0, 0, 200, 120))
    pixels = inputs.pixels(picture)
    made = inputs.processor.image_processor(images=[picture], return_tensors="pt")
    again = inputs.of_pixels(pixels[None])
    assert torch.equal(again["pixel_values"], made["pixel_values"])
    if inputs.packed:
        assert again["image_grid_thw"].tolist() == made["image_grid_thw"].tolist()


def test_gradients_reach_pixels_and_words(model):
    pixels = torch.stack([model.preprocess(picture) for picture in PICTURES]).requires_grad_()
    model.forward_image(pixels).post.square().sum().backward()
    assert pixels.grad.abs().sum() > 0
    read = model.tokenize(CAPTIONS)
    model.forward_text(read.ids, read.mask).post.square().sum().backward()
    assert model.module.get_input_embeddings().weight.grad.abs().sum() > 0
    model.module.zero_grad()


def test_half_precision_is_loaded_as_such(folder, model):
    half = load_model(f"lvlm:{folder}", device="cpu", dtype="bfloat16")
    assert {p.dtype for p in half.module.parameters()} == {torch.bfloat16}
    cosine = torch.cosine_similarity(half.encode_image(PICTURES).post, model.encode_image(PICTURES).post)
    assert (cosine > 0.98).all()


def test_what_it_offers(model):
    found = offers(model)
    assert found.cells[0] == "32 and 32 → 32"
    assert found.cells[5] == "none and none"
    assert found.cells[6] == "both sides"


def test_it_is_planned_before_it_is_loaded(folder, model):
    bare = skeleton(f"lvlm:{folder}").card
    assert (bare.parameters, bare.d, bare.grid) == (model.card.parameters, model.card.d, model.card.grid)
    assert not bare.digest
    plan = plan_memory(f"lvlm:{folder}", 2, tokens=True, measure=False)
    assert plan.parameters >= 4 * model.card.parameters
    assert plan.activations > 0


def test_it_is_listed(folder, tmp_path):
    (tmp_path / "mine").symlink_to(folder)
    assert f"lvlm:{tmp_path}/mine" in set(list_models(tmp_path))
    assert "lvlm:<org>/<repo>" in set(list_models())


def test_prompts_in_the_folder_are_its_own(tmp_path):
    save_llava(tmp_path)
    own = Prompts(image="<image> describe", text="<sent> describe", temperature=0.1, source="ours")
    (tmp_path / "prompts.json").write_text(json.dumps(asdict(own)))
    assert load_model(f"lvlm:{tmp_path}", device="cpu").prompts == own
    (tmp_path / "prompts.json").write_text(json.dumps({"image": "<image>", "words": "<sent>"}))
    with pytest.raises(ValueError, match=r"prompts\.json holds no prompts"):
        load_model(f"lvlm:{tmp_path}", device="cpu")


def test_a_longer_picture_keeps_its_shape(tmp_path):
    save_qwen(tmp_path)
    model = load_model(f"lvlm:{tmp_path}", device="cpu")
    wide = PICTURES[0].crop((0, 0, 200, 100))
    image = model.encode_image([wide, wide], tokens=True)
    assert image.grid == (2, 5)
    assert torch.isfinite(model.encode_image([wide, PICTURES[0]]).post).all()
    with pytest.raises(ValueError, match="different grids"):
        model.summary_attention([wide, PICTURES[0]])
    with pytest.raises(ValueError, match="a picture keeps its shape"):
        model.encode_image(wide, image_size=96)
