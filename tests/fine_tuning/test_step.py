"""One step: the whole batch's loss and gradients however it is cut, the right tokens in the local score, halves near floats."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from workbench.data.scenes import draw, scenes
from workbench.fine_tuning import FineTuneConfig, online_negatives
from workbench.fine_tuning.step import encode, loss_of, make_batch
from workbench.matching import local_similarity
from workbench.models.batches import words_and_end
from workbench.models.registry import load_model

SHOWN = scenes(6, 21)
CAPTIONS = [each.caption for each in SHOWN]
CONFIGS = {
    "fsc": FineTuneConfig(),
    "fsc, global alone": FineTuneConfig(local_weight=0.0),
    "negclip": FineTuneConfig(loss="negclip"),
    "clip": FineTuneConfig(loss="clip"),
}


@pytest.fixture(scope="module")
def model():
    """Six scenes are nothing to it at its own scale: at 5 every caption is a rival."""
    found = load_model("scenes-clip@1000", device="cpu")
    with torch.no_grad():
        found.module.logit_scale.fill_(math.log(5))
    return found


@pytest.fixture(scope="module", params=["scenes-clip@1000", "open_clip's own tokenizer", "whole words"])
def any_model(request, model, clip_folder, tmp_path_factory):
    """Three tokenizers: a byte-level one that always pads, CLIP's own, and one of whole words with a mean pool."""
    if request.param == "scenes-clip@1000":
        return model
    if request.param == "open_clip's own tokenizer":
        return load_model(f"local-dir:{clip_folder}", device="cpu")
    from tests.models.test_open_clip_families import write_family

    folder = tmp_path_factory.mktemp("words")
    write_family("text tower of transformers, mlp", folder)
    return load_model(f"local-dir:{folder}", device="cpu")


def batch_of(model, config, rows=range(6)):
    captions = [CAPTIONS[i] for i in rows]
    wrong, valid = [[]] * len(captions), torch.zeros(len(captions), 0, dtype=torch.bool)
    if config.negatives:
        wrong, valid = online_negatives(captions, config.k)
    pixels = torch.stack([model.preprocess(draw(SHOWN[i], 64)) for i in rows])
    return make_batch(model, pixels, captions, wrong, valid)


def loss_and_gradients(given, config, batch=None):
    model = copy.deepcopy(given)
    model.module.requires_grad_(True)
    scale = model.module.logit_scale.exp()
    batch = batch_of(model, config) if batch is None else batch
    loss = loss_of(encode(model, batch, scale, config), batch.valid, scale, config)
    loss.backward()
    return loss.item(), {n: p.grad for n, p in model.module.named_parameters() if p.grad is not None}


def apart(one, other):
    """The largest difference between two models' gradients, relative to the largest number of each tensor."""
    assert one.keys() == other.keys()
    floor = max(float(g.abs().max()) for g in other.values()) * 1e-3  # where a slope is 0 but for rounding
    return max(float((one[n] - other[n]).abs().max() / max(other[n].abs().max(), floor)) for n in other)


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("name", CONFIGS)
def test_micro_batches_change_nothing(model, name, size):
    """Six pictures one by one, and in parts of four and two, beside all at once."""
    whole_loss, whole = loss_and_gradients(model, CONFIGS[name])
    loss, found = loss_and_gradients(model, replace(CONFIGS[name], micro_batch=size))
    assert loss == pytest.approx(whole_loss, rel=1e-5)
    assert "logit_scale" in found
    assert apart(found, whole) < 1e-5


@pytest.mark.parametrize("name", ["fsc", "clip"])
def test_losses_of_parts_do_not_add_up(model, name):
    """Contrast is over the whole batch: parts of three see fewer rivals, and their mean is another loss."""
    config = CONFIGS[name]
    whole, _ = loss_and_gradients(model, replace(config, micro_batch=3))
    parts = [loss_and_gradients(model, config, batch_of(model, config, part))[0] for part in (range(3), range(3, 6))]
    assert whole - sum(parts) / 2 > 0.05


@pytest.mark.parametrize("parts", ["text", "image"])
def test_micro_batches_of_a_frozen_tower(model, parts):
    from workbench.fine_tuning.adapters import prepare

    config, grads = CONFIGS["fsc"], []
    for size in (None, 2):
        trained = prepare(copy.deepcopy(model), parts)
        own, scale = trained.model, trained.model.module.logit_scale.exp()
        batch = batch_of(own, config)
        loss_of(encode(own, batch, scale, replace(config, micro_batch=size)), batch.valid, scale, config).backward()
        assert all(p.grad is None for n, p in own.module.named_parameters() if n not in trained.parameters)
        grads.append({name: each.grad for name, each in trained.parameters.items() if each.grad is not None})
    assert apart(grads[1], grads[0]) < 1e-5


def test_shapes_with_negatives_and_without(model):
    batch = batch_of(model, CONFIGS["fsc"])
    context = model.card.context_length
    assert batch.pixels.shape == (6, 3, 64, 64)
    assert batch.ids.shape == batch.mask.shape == batch.words.shape == (6, 4, context)
    assert batch.valid.shape == (6, 3)
    found = encode(model, batch, torch.tensor(10.0), CONFIGS["fsc"])
    d = model.embed_dim
    assert (found.image.shape, found.texts.shape, found.local.shape) == ((6, d), (6, 4, d), (6, 4))
    plain = encode(model, batch_of(model, CONFIGS["clip"]), torch.tensor(10.0), CONFIGS["clip"])
    assert (plain.texts.shape, plain.local) == ((6, 1, d), None)


def test_features_are_those_of_encode(model):
    """The true caption first, then its negatives, each as the model reads it anywhere."""
    config = CONFIGS["fsc"]
    batch = batch_of(model, config)
    wrong, _ = online_negatives(CAPTIONS, config.k)
    with torch.no_grad():
        found = encode(model, batch, torch.tensor(10.0), config)
    texts = model.encode_text([text for own, others in zip(CAPTIONS, wrong, strict=True) for text in (own, *others)])
    image = model.encode_image([draw(each, 64) for each in SHOWN], tokens=True)
    torch.testing.assert_close(found.texts.flatten(0, 1), texts.post, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.image, image.post, rtol=1e-4, atol=1e-5)
    read = model.encode_text(CAPTIONS, tokens=True, keep_eos=True)
    own = local_similarity(image.tokens, read.tokens, read.mask, 10.0)
    torch.testing.assert_close(found.local[:, 0], own, rtol=1e-4, atol=1e-4)


def test_the_start_of_a_text_does_not_count_and_its_end_does(any_model):
    captions = ["a red cube", "a blue ball on the left", "a cat!"]
    read = any_model.tokenize(captions)
    words = words_and_end(read)
    for m, word_ids in enumerate(read.word_ids):
        attended = read.mask[m].nonzero().flatten().tolist()
        first, *inner, last = attended
        assert words[m].nonzero().flatten().tolist() == [*inner, last]
        assert word_ids[first] is None
        assert word_ids[last] is None
        assert all(word_ids[i] is not None for i in inner)


def test_a_cut_text_counts_its_last_token(any_model):
    long = " ".join(["a red cube and a blue ball"] * 20)
    read = any_model.tokenize([long])
    assert read.full_lengths[0] > read.ids.shape[1]
    assert words_and_end(read)[0, 1:].all()
    assert not words_and_end(read)[0, 0]


def test_captions_that_begin_alike_have_the_same_terms_there(model):
    """A causal tower reads left to right: up to where two captions part, tokens and their local terms are equal."""
    read = model.tokenize(["a red star and a blue moon", "a red star and a green moon"])
    parted = int((read.ids[0] != read.ids[1]).nonzero()[0])
    assert parted > 4
    with torch.no_grad():
        tokens = model.forward_text(read.ids, read.mask, tokens=True).tokens
        image = model.forward_image(model.preprocess(draw(SHOWN[0], 64))[None], tokens=True).tokens
    pair = image.expand(2, -1, -1)
    terms = [local_similarity(pair, tokens[:, i : i + 1], None, 10.0) for i in range(parted + 1)]
    for one, other in terms[1:-1]:
        assert one.item() == pytest.approx(other.item(), abs=1e-4)
    assert abs(terms[-1][0] - terms[-1][1]) > 1e-3


def test_a_caption_in_place_of_a_negative_changes_nothing(model):
    """What stands where an operator made nothing is hidden by `valid`, whatever it is."""
    config, pixels = CONFIGS["fsc"], torch.stack([model.preprocess(draw(each, 64)) for each in SHOWN])
    wrong, valid = online_negatives(CAPTIONS, 3)
    valid[:, 1:] = False
    losses = []
    for stands in (CAPTIONS, ["a red star"] * 6):
        texts = [[own[0], text, text] for own, text in zip(wrong, stands, strict=True)]
        losses.append(loss_and_gradients(model, config, make_batch(model, pixels, CAPTIONS, texts, valid))[0])
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


@pytest.mark.parametrize("name", CONFIGS)
def test_halves_are_near(model, name):
    exact, slopes = loss_and_gradients(model, CONFIGS[name])
    loss, found = loss_and_gradients(model, replace(CONFIGS[name], precision="bfloat16", micro_batch=4))
    assert loss == pytest.approx(exact, rel=0.05)
    assert all(each.dtype == torch.float32 and each.isfinite().all() for each in found.values())
    flat, near = (torch.cat([side[n].flatten() for n in sorted(side)]) for side in (slopes, found))
    assert torch.nn.functional.cosine_similarity(flat, near, dim=0) > 0.9
    assert not torch.equal(flat, near)


def test_all_families_of_tokenizers_train(any_model):
    loss, found = loss_and_gradients(any_model, replace(CONFIGS["fsc"], micro_batch=4))
    assert 0 < loss < 20
    assert all(each.isfinite().all() for each in found.values())


def test_what_reads_as_its_caption_is_no_negative():
    """Two words outside the vocabulary are one unknown token."""
    model = load_model("scenes-clip@1000", device="cpu")
    texts = [["a red zebra", "a blue star"], ["a red star", "a red star"]]
    made = make_batch(
        model, torch.zeros(2, 3, 64, 64), ["a red giraffe", "a red star"], texts, torch.ones(2, 2, dtype=torch.bool)
    )
    assert made.valid.tolist() == [[False, True], [False, False]]
