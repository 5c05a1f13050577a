"""A saved model is the model: the same bits through load_model and through open_clip alone; nothing else is overwritten."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

from tests.models.test_open_clip_families import write_family
from workbench.fine_tuning.adapters import prepare
from workbench.fine_tuning.saving import CARD, WEIGHTS, save_model
from workbench.models.registry import list_models, load_model, skeleton

PICTURES = [Image.linear_gradient("L").convert("RGB"), Image.radial_gradient("L").convert("RGB").resize((90, 40))]
CAPTIONS = ["a red cube left of a blue ball", "two green stars"]
NAMES = ("local-dir", "open_clip", "scenes-clip", "scenes-clip@1000", "text tower of transformers, linear")


@pytest.fixture(scope="module")
def scenes():
    return load_model("scenes-clip", device="cpu")


def loaded(name, clip_folder, place):
    if name == "local-dir":
        return load_model(f"local-dir:{clip_folder}", device="cpu")
    if name == "open_clip":  # "tiny-clip" is registered by the fixture as if open_clip shipped it
        return load_model("open_clip:tiny-clip", weights=clip_folder / WEIGHTS, device="cpu")
    if name.startswith("scenes"):
        return load_model(name, device="cpu")
    place.mkdir()
    write_family(name, place)
    return load_model(f"local-dir:{place}", device="cpu")


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_is_the_model(name, clip_folder, tmp_path):
    model = loaded(name, clip_folder, tmp_path / "source")
    folder = save_model(model, tmp_path / "models" / "tuned")
    again = load_model(f"local-dir:{folder}", device="cpu")
    for ours, theirs in (
        (again.encode_image(PICTURES, tokens=True), model.encode_image(PICTURES, tokens=True)),
        (again.encode_text(CAPTIONS, tokens=True), model.encode_text(CAPTIONS, tokens=True)),
    ):
        assert torch.equal(ours.post, theirs.post)
        assert torch.equal(ours.tokens, theirs.tokens)
    assert again.digest() == model.digest()
    assert (again.logit_scale, again.card.activation) == (model.logit_scale, model.card.activation)
    assert (again.card.mean, again.card.std) == tuple(map(tuple, (model.card.mean, model.card.std)))
    assert next(iter(list_models(folder.parent))) == f"local-dir:{folder}"
    assert list_models(folder.parent).rows[0].ready


@pytest.mark.parametrize("name", ["open_clip", "scenes-clip"])
def test_open_clip_alone_opens_it(name, clip_folder, tmp_path):
    import open_clip

    model = loaded(name, clip_folder, tmp_path / "source")
    folder = save_model(model, tmp_path / "tuned")
    library, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}", device="cpu")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    library.eval()
    with torch.no_grad():
        image = library.encode_image(torch.stack([preprocess(picture) for picture in PICTURES]))
        text = library.encode_text(tokenizer(CAPTIONS))
    assert torch.allclose(image, model.encode_image(PICTURES).post, atol=1e-6)
    assert torch.allclose(text, model.encode_text(CAPTIONS).post, atol=1e-6)


def test_what_the_folder_holds(scenes, clip_folder, tmp_path):
    files = {path.name for path in save_model(scenes, tmp_path / "words").iterdir()}
    assert files == {"open_clip_config.json", "tokenizer.json", "tokenizer_config.json", CARD, WEIGHTS}
    pairs = save_model(load_model(f"local-dir:{clip_folder}", device="cpu"), tmp_path / "pairs")
    assert {path.name for path in pairs.iterdir()} == {"open_clip_config.json", CARD, WEIGHTS}
    assert str(tmp_path) not in (tmp_path / "words" / "tokenizer_config.json").read_text()


def test_forced_quickgelu_is_written(clip_folder, tmp_path):
    """OpenAI's weights under a plain name: what the loader forces must be in the configuration."""
    model = load_model(f"local-dir:{clip_folder}", device="cpu")
    config, _ = json.loads(model.recipe)
    model.recipe = json.dumps([config, True])
    again = load_model(f"local-dir:{save_model(model, tmp_path / 'tuned')}", device="cpu")
    assert again.card.activation == "QuickGELU"


def test_a_merged_model_keeps_what_it_learnt(scenes, tmp_path):
    model = copy.deepcopy(scenes)
    trained = prepare(model, "lora")
    torch.manual_seed(0)
    for parameter in trained.parameters.values():
        torch.nn.init.normal_(parameter, std=0.1)
    with pytest.raises(ValueError, match=r"scenes-clip still holds adapters; fold them in with merge\(\)"):
        save_model(model, tmp_path / "tuned")
    assert not (tmp_path / "tuned").exists()
    trained.merge()
    again = load_model(f"local-dir:{save_model(model, tmp_path / 'tuned')}", device="cpu")
    assert torch.equal(again.encode_image(PICTURES).post, model.encode_image(PICTURES).post)
    assert not torch.allclose(again.encode_image(PICTURES).post, scenes.encode_image(PICTURES).post, atol=1e-2)


def test_the_card_says_what_it_was_tuned_from(scenes, tmp_path):
    notes = ("tuned from scenes-clip | with <b>negatives</b>", "two\nlines")
    text = (save_model(scenes, tmp_path / "scenes-clip-fsc", notes=notes, licence="CC0-1.0") / CARD).read_text()
    assert text.startswith("# scenes-clip-fsc\n\nSaved from scenes-clip.\n")
    assert "| note | tuned from scenes-clip \\| with &lt;b>negatives&lt;/b> |" in text
    assert "| note | two lines |" in text
    assert "| licence | CC0-1.0 |" in text
    assert f"sha256 {scenes.digest()}…" in text
    own = (save_model(scenes, tmp_path / "again", notes="one sentence") / CARD).read_text()
    assert "| note | one sentence |" in own
    assert "| licence | MIT |" in own


def test_saving_again_is_fine_and_another_model_is_left_alone(scenes, tmp_path):
    folder = save_model(scenes, tmp_path / "tuned")
    scenes.encode_text(["a red cube", "a"])  # which leaves its padding in the tokenizer
    assert save_model(scenes, folder, notes=("again",)) == folder
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = load_model("scenes-clip@1000", device="cpu")
    with pytest.raises(ValueError, match=rf"holds something else \({WEIGHTS}\); give a new folder"):
        save_model(other, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (folder / WEIGHTS).unlink()  # cut off before the weights: the same model goes on, and so may another of its kind
    assert load_model(f"local-dir:{save_model(other, folder)}", device="cpu").digest() == other.digest()


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "open_clip_config.json", "config.json", "README.md", "tokenizer.json"]
)
def test_a_folder_of_something_else(scenes, tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(ValueError, match=rf"holds something else \({name}\)"):
        save_model(scenes, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_in_the_place_of_the_folder(scenes, tmp_path):
    (tmp_path / "tuned").write_text("")
    with pytest.raises(ValueError, match="is a file; give a new folder"):
        save_model(scenes, tmp_path / "tuned")


def test_a_full_disk_leaves_no_model(scenes, tmp_path, monkeypatch):
    import workbench.fine_tuning.saving as saving

    def full(path, content):
        if path.name == WEIGHTS:
            raise OSError("No space left on device")
        write(path, content)

    write = saving.write_whole
    monkeypatch.setattr(saving, "write_whole", full)
    with pytest.raises(OSError, match="No space left"):
        save_model(scenes, tmp_path / "tuned")
    assert not list_models(tmp_path).rows[0].ready


def test_models_that_cannot_be_saved(tmp_path):
    with pytest.raises(TypeError, match="is a PairedEncoder; only models of open_clip"):
        save_model(load_model("lite0-minilm", device="cpu"), tmp_path / "tuned")
    with pytest.raises(ValueError, match="is a skeleton without weights"):
        save_model(skeleton("scenes-clip"), tmp_path / "tuned")
    assert list(tmp_path.iterdir()) == []


def test_the_digest_is_of_the_weights_now(scenes, tmp_path):
    model = copy.deepcopy(scenes)
    with torch.no_grad():
        model.module.logit_scale += 0.1
    model.card = replace(model.card, name="scenes-clip, tuned")
    text = (save_model(model, tmp_path / "tuned") / CARD).read_text()
    assert model.digest() in text
    assert scenes.digest() not in text
