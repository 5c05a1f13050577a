"""Soft prompts: words of their own behind the vocabulary, saved beside the weights; and texts written behind a prompt."""

import copy
import re
from dataclasses import replace

import pytest
import torch
from PIL import Image

from tests.models.tiny_lvlm import save_llava, save_qwen
from workbench.models.lvlm import PRESETS, Prompts, save_lvlm
from workbench.models.registry import load_model
from workbench.models.weights import weights_digest

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


@pytest.fixture
def soft(model):
    made = copy.deepcopy(model)
    made.soften()
    return made


def moved(model, by=1.0):
    with torch.no_grad():
        torch.manual_seed(0)
        own = model.module.get_input_embeddings().soft
        own.add_(by * torch.randn_like(own))
    return model


def posts(model):
    return model.encode_image(PICTURES).post, model.encode_text(CAPTIONS).post


def test_soft_prompts_start_as_their_words(model, soft):
    for one, other in zip(posts(model), posts(soft), strict=True):
        assert torch.equal(one, other)
    words = model.module.get_input_embeddings().weight
    ids = model.tokenizer("Summary above image in one word:", add_special_tokens=False)["input_ids"]
    assert torch.equal(soft.soft_prompts["image"], words[ids])
    ids = model.tokenizer("Summary above sentence in one word:", add_special_tokens=False)["input_ids"]
    assert torch.equal(soft.soft_prompts["text"], words[ids])


def test_a_prompts_own_words_are_soft_and_the_templates_are_not(model):
    asked = Prompts(image="describe this <image> in one word", text="the <sent> compress")
    made = copy.deepcopy(model).with_prompts(asked)
    made.soften()
    assert {side: len(each) for side, each in made.soft_prompts.items()} == {"image": 5, "text": 2}
    size = made.card.image_size
    before, after = (
        each._asked(asked.image, torch.empty(3, size, size))["input_ids"][0]
        for each in (model.with_prompts(asked), made)
    )
    vocabulary = model.module.get_input_embeddings().num_embeddings
    changed = before != after
    assert made.tokenizer.decode(before[changed]) == "describe this in one word"
    assert after[changed].tolist() == list(range(vocabulary, vocabulary + 5))
    read, plain = made.tokenize(CAPTIONS), model.with_prompts(asked).tokenize(CAPTIONS)
    for row in range(len(CAPTIONS)):
        changed = read.ids[row] != plain.ids[row]
        assert made.tokenizer.decode(plain.ids[row][changed]) == "the compress"
        assert read.ids[row][changed].tolist() == [vocabulary + 5, vocabulary + 6]


def test_each_side_has_a_set_of_its_own(model, soft):
    image, text = posts(model)
    with torch.no_grad():
        soft.module.get_input_embeddings().soft[: len(soft.soft_prompts["image"])] += 1
    changed, same = posts(soft)
    assert (changed - image).abs().max() > 1e-3
    assert torch.equal(same, text)


def test_batched_equals_one_by_one(soft):
    moved(soft)
    together = soft.encode_text(CAPTIONS).post
    for m, caption in enumerate(CAPTIONS):
        assert torch.allclose(together[m], soft.encode_text(caption).post[0], atol=1e-5)


def test_every_soft_vector_gets_a_gradient(soft):
    own = soft.module.get_input_embeddings().soft
    pixels = torch.stack([soft.preprocess(picture) for picture in PICTURES])
    read = soft.tokenize(CAPTIONS)
    loss = soft.forward_image(pixels).post.square().sum() + soft.forward_text(read.ids, read.mask).post.square().sum()
    loss.backward()
    assert (own.grad.abs().sum(1) > 0).all()


def test_asking_in_other_words_is_not_soft(model, soft):
    moved(soft)
    again = soft.with_prompts(soft.prompts)
    assert again.soft_prompts == {}
    for one, other in zip(posts(model), posts(again), strict=True):
        assert torch.equal(one, other)
    assert soft.recipe_of("image") != again.recipe_of("image")
    assert soft.identity("text", "post") != model.identity("text", "post")


def test_the_model_still_writes_and_never_a_soft_word(model, soft):
    asked = "<image>\ndescribe this"
    before = model.generate(PICTURES, asked, max_new_tokens=4)
    moved(soft)
    assert soft.generate(PICTURES, asked, max_new_tokens=4) == before
    vocabulary = model.module.get_input_embeddings().num_embeddings
    assert len(soft.next_tokens(PICTURES, k=vocabulary).mean_tokens) == vocabulary
    with pytest.raises(ValueError, match=f"give 1 to {vocabulary}"):
        soft.next_tokens(PICTURES, k=vocabulary + 1)


def test_soft_prompts_cannot_be_softened_again_nor_without_words(model, soft):
    with pytest.raises(ValueError, match="holds soft prompts already"):
        soft.soften()
    with pytest.raises(ValueError, match="'<image>' has no words to be soft"):
        copy.deepcopy(model).with_prompts(Prompts(image="<image>", text="<sent> in one word")).soften()


# Saving -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("softened", [True, False])
def test_a_saved_model_opens_the_same(model, softened, tmp_path):
    made = copy.deepcopy(model).with_prompts(
        replace(PRESETS["CAFe"], caption="<image>\ndescribe this", temperature=0.1)
    )
    if softened:
        made.soften()
        moved(made)
    folder = save_lvlm(made, tmp_path / "made")
    again = load_model(f"lvlm:{folder}", device="cpu")
    for one, other in zip(posts(made), posts(again), strict=True):
        assert torch.equal(one, other)
    assert again.generate(PICTURES, max_new_tokens=4) == made.generate(PICTURES, max_new_tokens=4)
    assert again.prompts == made.prompts
    assert again.card.digest == weights_digest(made.module)
    assert [each.name for each in tmp_path.iterdir()] == ["made"]
    assert f"Saved from {made.name}" in (folder / "README.md").read_text()


def test_a_saved_model_is_transformers_own(soft, tmp_path):
    from transformers import AutoModelForImageTextToText

    folder = save_lvlm(moved(soft), tmp_path / "made")
    alone = AutoModelForImageTextToText.from_pretrained(folder)
    assert torch.equal(alone.get_input_embeddings().weight, soft.module.get_input_embeddings().weight)
    assert soft.soft_prompts  # putting the plain embedding in for saving is undone


def test_asked_in_other_words_a_saved_model_leaves_its_soft_prompts(soft, tmp_path):
    folder = save_lvlm(moved(soft), tmp_path / "made")
    words = load_model(f"lvlm:{folder}", device="cpu").with_prompts("E5-V")
    assert words.soft_prompts == {}


def test_soft_prompts_that_do_not_fit(soft, tmp_path):
    from safetensors.torch import save_file

    folder = save_lvlm(soft, tmp_path / "made")
    file = folder / "soft_prompts.safetensors"
    save_file({"image": torch.zeros(2, 32), "text": torch.zeros(7, 32)}, file)
    with pytest.raises(ValueError, match=r"holds vectors of .*'image': \(2, 32\)"):
        load_model(f"lvlm:{folder}", device="cpu")
    save_file({"image": torch.zeros(7, 32)}, file)
    with pytest.raises(ValueError, match="holds image; soft prompts are 'image' and 'text'"):
        load_model(f"lvlm:{folder}", device="cpu")
    file.write_bytes(b"\0" * 7)
    with pytest.raises(ValueError, match="no whole file of soft prompts"):
        load_model(f"lvlm:{folder}", device="cpu")


def test_nothing_is_written_over(model, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(ValueError, match="there exists; give a new folder"):
        save_lvlm(model, tmp_path / "there")


# Writing ----------------------------------------------------------------------------------------------------------------


def test_a_text_behind_the_prompt_is_scored_as_the_library_scores_it(model):
    read = model.continuation(CAPTIONS)
    pixels = torch.stack([model.preprocess(picture) for picture in [*PICTURES, PICTURES[0]]])
    with torch.no_grad():
        summaries, losses = model.forward_writing(pixels, read.ids, read.mask)
    assert torch.allclose(summaries, model.encode_image([*PICTURES, PICTURES[0]]).post, atol=1e-5)
    for row in range(len(CAPTIONS)):
        own = read.ids[row][read.mask[row]]
        asked = model._of_pictures(pixels[row : row + 1], model.prompts.image)
        length = asked["input_ids"].shape[1]
        whole = {
            k: torch.cat([v, torch.zeros(1, len(own), dtype=v.dtype)], 1)
            for k, v in asked.items()
            if v.shape[1:] == (length,)
        }
        whole["input_ids"][0, length:], whole["attention_mask"][0, length:] = own, 1
        with torch.no_grad():
            logits = model.module(**(asked | whole), use_cache=False).logits[0, length - 1 : -1]
        wanted = torch.nn.functional.cross_entropy(logits, own, reduction="none")
        assert torch.allclose(losses[row][read.mask[row]], wanted, atol=1e-5)
        assert (losses[row][~read.mask[row]] == 0).all()


def test_a_continuation_ends_and_is_cut_to_its_room(model):
    read = model.continuation(CAPTIONS)
    assert [int(row[mask][-1]) for row, mask in zip(read.ids, read.mask, strict=True)] == [
        model.tokenizer.eos_token_id
    ] * 3
    assert read.full_lengths == (4, 12, 2)
    assert model.tokenizer.decode(read.ids[0][:3]) == CAPTIONS[0]
    cut = model.continuation(["a red cat"], room=2)
    assert cut.ids.shape == (1, 2)
    assert cut.full_lengths == (4,)
    with pytest.raises(ValueError, match="takes for more than text"):
        model.continuation(["an <image> of a cat"])


def test_a_preset_leaves_the_question_for_captions(model):
    own = model.with_prompts(replace(PRESETS["E5-V"], caption="<image>\ndescribe this cat"))
    assert own.with_prompts("CAFe").prompts == replace(PRESETS["CAFe"], caption="<image>\ndescribe this cat")
    assert own.with_prompts(PRESETS["CAFe"]).prompts == PRESETS["CAFe"]


# What was found by trying -------------------------------------------------------------------------------------------------


def test_soft_prompts_are_not_put_over_others(model, soft):
    moved(soft)
    before = posts(soft)
    other = soft.with_prompts("CAFe")
    with pytest.raises(ValueError, match="holds soft prompts already"):
        other.soften()
    for one, again in zip(before, posts(soft), strict=True):
        assert torch.equal(one, again)


def test_a_model_asked_in_other_words_is_saved_without_its_soft_prompts(model, soft, tmp_path):
    other = moved(soft).with_prompts("CAFe")
    again = load_model(f"lvlm:{save_lvlm(other, tmp_path / 'made')}", device="cpu")
    assert again.soft_prompts == {}
    assert torch.equal(again.encode_text(CAPTIONS).post, other.encode_text(CAPTIONS).post)
    assert soft.soft_prompts


IMAGES_FIRST = (
    "{% for message in messages %}{{ message['role'] }} : "
    "{% for part in message['content'] if part['type'] == 'image' %}<image> {% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }} {% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)


@pytest.fixture
def with_template(tmp_path):
    def made(template):
        save_llava(tmp_path / "llava")
        (tmp_path / "llava" / "chat_template.jinja").write_text(template)
        return load_model(f"lvlm:{tmp_path / 'llava'}", device="cpu")

    return made


def test_words_that_a_template_moves_are_not_soft(with_template):
    asked = Prompts(image="describe this <image> in one word", text="<sent> in one word")
    with pytest.raises(ValueError, match=r"writes the words of the image prompt .* elsewhere"):
        with_template(IMAGES_FIRST).with_prompts(asked).soften()


@pytest.mark.parametrize(
    ("template", "told"),
    [
        (
            "{% for message in messages %}{{ message['content'].strip() }}{% endfor %}",
            "takes no pictures and texts as parts",
        ),
        (
            "{% for message in messages %}{{ 'user' + message['content'] }}{% endfor %}",
            "takes no pictures and texts as parts",
        ),
        ("{% for message in messages %}user :{% endfor %}", "0 times for one picture|leaves text out"),
    ],
)
def test_templates_that_take_no_parts(with_template, template, told):
    with pytest.raises(ValueError, match=told):
        with_template(template)


def test_more_prompts_that_are_refused(model):
    with pytest.raises(ValueError, match="ending='<image>'; give words"):
        Prompts(image="<image>", text="<sent>", ending="<image>")
    with pytest.raises(ValueError, match=r"temperature='0\.1'; give a positive number"):
        Prompts(image="<image>", text="<sent>", temperature="0.1")
    with pytest.raises(ValueError, match=r"the caption prompt takes \d+ of the 64 tokens"):
        model.with_prompts(Prompts(image="<image>", text="<sent>", caption="<image>" + " word" * 80))
    with pytest.raises(ValueError, match="room=0; give 1 or more tokens"):
        model.continuation(CAPTIONS, room=0)


def test_special_tokens_in_captions_are_refused(model):
    with pytest.raises(ValueError, match="holds '</s>', which the tokenizer takes for more than text"):
        model.encode_text("a red </s> cat")


def test_captions_end_with_the_context(model):
    room = model.card.context_length
    said = model.generate(PICTURES[:1], "<image>\ndescribe this", max_new_tokens=500)
    assert len(model.tokenizer(said, add_special_tokens=False)["input_ids"][0]) < room


def test_a_cut_caption_is_told_with_its_number_and_length(model):
    long = "a red cube " * 100
    with pytest.warns(UserWarning, match=r"caption 2 has \d{3} tokens; .* reads 64"):
        model.next_tokens(texts=[*CAPTIONS[:2], long], batch_size=1)
    blank = " " * 3000 + "a red cat"
    assert torch.allclose(model.encode_text(blank).post, model.encode_text("a red cat").post, atol=1e-5)


def test_damaged_soft_prompts(soft, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = save_lvlm(soft, tmp_path / "made")
    found = load_file(folder / "soft_prompts.safetensors")
    found["text"][0, 0] = float("nan")
    save_file(found, folder / "soft_prompts.safetensors")
    with pytest.raises(ValueError, match="NaN or infinite"):
        load_model(f"lvlm:{folder}", device="cpu")


def test_a_processor_without_a_centre_crop(tmp_path):
    import json

    save_llava(tmp_path)
    file = tmp_path / "processor_config.json"
    written = json.loads(file.read_text())
    written["image_processor"]["do_center_crop"] = False
    file.write_text(json.dumps(written))
    with pytest.raises(ValueError, match=r"makes a wide picture \(32, 64\) px, not 32 × 32"):
        load_model(f"lvlm:{tmp_path}", device="cpu")


def test_a_token_shared_by_prompt_and_caption_is_never_soft(model):
    from workbench.models.lvlm.soft import soft_places

    class Shares:
        """Whose tokenizer reads the quote and the letter after it as one token, as byte pairs may."""

        name, image_token = "shares", "<image>"

        def around(self, prompts):
            before, after = prompts.text.split("<sent>")
            return before, after

        def encoded(self, written):
            spans = [(m.start(), m.end()) for m in re.finditer(r'"?\w+|\S', written[0])]
            return [([0] * len(spans), spans)]

    with pytest.raises(ValueError, match="reads as one token with what stands beside it"):
        soft_places(Shares(), Prompts(image="<image>", text='"<sent>" in one word :'), "text")
    assert soft_places(Shares(), Prompts(image="<image>", text="<sent> in one word :"), "text") == (-4, -3, -2, -1)
