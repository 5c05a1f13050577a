"""The plan of reading and tuning a vision–language model, held to what a step really holds; a model of 7 B without weights."""

import time
from dataclasses import replace

import psutil
import pytest
import torch

from tests.models.tiny_lvlm import SPECIAL, llava_processor, save_llava
from workbench.discriminative import DiscriminativeConfig
from workbench.discriminative import plan as module
from workbench.discriminative.learning import beside, prepare
from workbench.discriminative.plan import MARGIN, PrecisionPlan, Tuning, TuningPlan, plan
from workbench.discriminative.rehearsed import Rehearsed, activations
from workbench.discriminative.step import encode, loss_of, make_batch
from workbench.fine_tuning.adapters import holds_adapters
from workbench.memory.prediction import peak_bytes, predict
from workbench.memory.rehearsal import Task
from workbench.models.registry import load_model, skeleton

CONFIG = DiscriminativeConfig(batch_size=8)
GIB = 2**30


@pytest.fixture
def room(monkeypatch):
    return lambda free: monkeypatch.setattr(module, "available_memory", lambda device: free)


@pytest.fixture(scope="module")
def scenes():
    return load_model("scenes-lvlm", device="cpu")


@pytest.fixture(scope="module")
def seven_billion(tmp_path_factory):
    """LLaVA-1.5-7B's shapes and a processor, no weights."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    text = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
    folder = tmp_path_factory.mktemp("7b")
    LlavaConfig(
        vision_config=CLIPVisionConfig(**sizes, image_size=336, patch_size=14),
        text_config=LlamaConfig(**text, vocab_size=32064, max_position_embeddings=4096, tie_word_embeddings=False),
        image_token_id=SPECIAL.index("<image>"),
        image_seq_length=576,
        tie_word_embeddings=False,
    ).save_pretrained(folder)
    llava_processor(size=336, patch_size=14).save_pretrained(folder)
    return f"lvlm:{folder}"


def counted(model, config, long):
    """The most bytes of tensors alive in two real steps, the model's weights left out."""
    tuned = beside(model)
    learning = prepare(tuned, config).parameters.values()
    pictures, n = [torch.rand(3, 64, 64) for _ in range(config.batch_size)], config.batch_size
    written = " ".join(["red"] * (long - 1)) if config.next_token_weight else None
    batch = make_batch(tuned, pictures, [" ".join(["red"] * 19)] * n, [written] * n)
    optimiser = torch.optim.AdamW(learning)

    def steps():
        for _ in range(2):
            loss_of(encode(tuned, batch, config), 0.05, config).backward()
            optimiser.step()
            optimiser.zero_grad()

    return peak_bytes(steps, [*tuned.module.parameters(), *tuned.module.buffers()])


@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        ({}, "float32"),
        ({"lora": False}, "float32"),
        ({"next_token_weight": 0.0}, "float32"),
        ({"batch_size": 32, "micro_batch": 8}, "bfloat16"),
    ],
)
def test_a_step_is_planned_as_what_it_holds(options, dtype):
    config = replace(CONFIG, **options)
    model = load_model("scenes-lvlm", device="cpu", dtype=dtype)
    found = plan(model, config, long_tokens=60)[dtype].tuning
    planned = found.activations + found.logits + found.learns * 3 // 4
    assert 0.98 < planned / counted(model, config, 60) < 1.15


def test_reading_is_planned_as_what_it_holds(scenes):
    found = plan(scenes, CONFIG)["float32"]
    assert found.weights == sum(p.nbytes for p in scenes.module.parameters())
    with torch.no_grad():
        pixels, read = torch.rand(32, 3, 64, 64), scenes.tokenize([" ".join(["red"] * 20)] * 32)
        real = peak_bytes(lambda: (scenes.forward_image(pixels), scenes.forward_text(read.ids, read.mask)))
    assert (
        0.8 < (found.reading - found.weights) / real < 1.2
    )  # the places of the picture are found without a mask on meta


def test_rows_of_every_precision(scenes):
    found = plan("scenes-lvlm", CONFIG, device="cpu")
    assert [row.precision for row in found.rows] == ["float32", "bfloat16", "4bit"]
    full, half, four = found.rows
    assert full.weights == 2 * half.weights > 3 * four.weights
    assert full.reading > half.reading > four.reading
    assert four.tuning is None
    assert full.tuning.learns == half.tuning.learns == 16 * prepare(beside(scenes), CONFIG).trainable
    assert half.tuning.activations < full.tuning.activations
    assert full.tuning.step == full.weights + full.tuning.learns + full.tuning.activations + full.tuning.logits
    table = found.table()
    assert [row[0] for row in table.rows[:3]] == ["float32", "bfloat16", "4bit"]
    assert table.rows[0][-1] == "fits"
    assert table.rows[2].count("refused") == 6
    assert table.rows[2][-1] == "reads; tune in bfloat16, adapters need plain layers"
    assert any("4bit is computed, not measured" in row[-1] for row in table.rows)


def test_a_name_and_a_loaded_model_are_planned_alike(model):
    before = [each.requires_grad for each in model.module.parameters()]
    random = torch.get_rng_state()
    loaded, named = plan(model, CONFIG), plan(model.name, CONFIG, device="cpu")
    assert [replace(row, largest_reading=0) for row in loaded.rows] == [
        replace(row, largest_reading=0) for row in named.rows
    ]
    assert [each.requires_grad for each in model.module.parameters()] == before
    assert not holds_adapters(model.module)
    assert not model.soft_prompts
    assert torch.equal(torch.get_rng_state(), random)


def test_long_captions_cost_what_they_are_long(llava):
    short, long = (plan(llava, CONFIG, long_tokens=n)["float32"].tuning for n in (15, 30))
    assert long.logits == 2 * short.logits == 3 * 4 * 8 * 30 * len(llava.module.lm_head.weight)
    assert long.activations > 1.15 * short.activations
    none = plan(llava, replace(CONFIG, next_token_weight=0.0), long_tokens=30)
    assert none.long_tokens == none["float32"].tuning.logits == 0
    assert plan(llava, CONFIG, long_tokens=0)["float32"].tuning == none["float32"].tuning


def test_captions_are_no_longer_than_the_context(llava):
    found = plan(llava, CONFIG, long_tokens=5000)
    assert found.long_tokens == 64 - 28
    assert (
        f"a picture's prompt leaves {found.long_tokens} tokens of the context, so no caption is longer" in found.notes
    )


def test_the_largest_micro_batch_fits_and_a_larger_one_does_not(llava, room):
    config = replace(CONFIG, batch_size=512)
    room(2**25)
    found = plan(llava, config)
    largest = found["float32"].tuning.largest
    assert 2 < largest < 500
    assert found.advice("float32") == f"reads; tune with micro_batch={largest}"
    assert found.available == 2**25 + found["float32"].weights
    for size, fits in ((largest, True), (largest + 2, False)):
        at = plan(llava, replace(config, micro_batch=size))
        assert (at["float32"].tuning.step <= 1.01 * MARGIN * at.available) is fits
        assert (at.advice("float32") == "fits") is fits
        assert any(note.startswith("features and losses of all 512 pictures stay") for note in at.notes)


@pytest.mark.parametrize(
    ("reading", "folding", "largest", "said"),
    [
        (0, 10, 0, "too large: fewer bits, a smaller model or another device"),
        (7, 10, 0, "reads with batch_size=7; to tune, no room for one picture"),
        (32, 90, 0, "reads; to tune, no room for tuned layers beside the model's"),
        (32, 10, 3, "reads; tune with micro_batch=3"),
        (32, 10, 8, "fits"),
    ],
)
def test_what_to_do(reading, folding, largest, said):
    row = PrecisionPlan("float32", 10, 20, reading, Tuning(1, 2, 3, 16, folding, largest))
    refused = PrecisionPlan("4bit", 5, 15, reading, None)
    found = TuningPlan("mine", "cpu", 8, 60, 100, (row, refused))
    assert found.advice("float32") == said
    assert found.table().rows[0][-2] == (f"≤ {largest}" if largest else "none")
    assert found.advice("4bit").partition(";")[0] == said.partition(";")[0].replace("fits", "reads")


def test_tuned_layers_need_room_beside_the_models(llava):
    with_adapters, without = (plan(llava, replace(CONFIG, lora=lora))["bfloat16"] for lora in (True, False))
    layers = [part for part in llava.module.get_decoder().modules() if isinstance(part, torch.nn.Linear)]
    folded = sum(2 * each.weight.numel() for each in layers)
    tuning = with_adapters.tuning
    assert tuning.folding == with_adapters.weights + tuning.learns // 2 + folded
    assert without.tuning.folding == without.weights + without.tuning.learns // 2


def test_many_blocks_follow_from_a_few(tmp_path):
    save_llava(tmp_path, num_hidden_layers=12)
    model = Rehearsed.of(skeleton(f"lvlm:{tmp_path}"), torch.float32, 20)
    prepare(model, CONFIG)
    for task in (Task(16), Task(16, training=True)):
        assert activations(model, task) == pytest.approx(predict(model, task).activations, rel=0.03)
    assert len(model.module.get_decoder().layers) == 12


def test_seven_billion_parameters_before_anything_is_loaded(seven_billion, room):
    room(80 * GIB)
    rss, began = psutil.Process().memory_info().rss, time.process_time()
    found = plan(seven_billion, replace(CONFIG, batch_size=1024), device="cpu")
    assert time.process_time() - began < 20
    assert psutil.Process().memory_info().rss - rss < GIB / 2
    weights = {row.precision: row.weights / 1e9 for row in found.rows}
    assert weights["bfloat16"] == pytest.approx(14.13, abs=0.01)
    assert weights["float32"] == pytest.approx(28.25, abs=0.01)
    assert weights["4bit"] == pytest.approx(4.82, abs=0.05)
    assert 0 < found["bfloat16"].tuning.largest < 32
    assert found.advice("bfloat16") == f"reads; tune with micro_batch={found['bfloat16'].tuning.largest}"
    assert "room" in found.advice("float32") or "micro_batch" in found.advice("float32")


def test_what_is_not_counted_is_said(qwen, llava):
    config = replace(CONFIG, lora=False, precision="bfloat16")
    left_out = "activations of the image tower are left out: it looks at numbers, which shapes have not"
    with_tower, without = plan(llava, config), plan(qwen, config)
    assert left_out in without.notes
    assert left_out not in with_tower.notes
    assert any(note.startswith("autocast") for note in with_tower.notes)


def test_refused(llava):
    with pytest.raises(TypeError, match=r"scenes-clip is a .*; a generative vision–language model is planned here"):
        plan("scenes-clip")
    with pytest.raises(TypeError, match="not int 3"):
        plan(3)
    with pytest.raises(ValueError, match="long_tokens=-1; give 0 or more"):
        plan(llava, CONFIG, long_tokens=-1)
    with pytest.raises(TypeError, match="long_tokens is float"):
        plan(llava, CONFIG, long_tokens=2.5)
    with pytest.raises(ValueError, match="rank=40"):
        plan(llava, replace(CONFIG, rank=40))
    with pytest.raises(ValueError, match="did you mean"):
        plan("scenes-lvml")
