"""Text encoders of transformers as towers: the library's own states, pooling that padding cannot move, and what does not fit."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from tests.tiny import save_tokenizer
from workbench.models.text_tower import first_token, last_token
from workbench.models.towers import text_tower

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "vocab_size": 40,
    "max_position_embeddings": 24,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GPT2 = {
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 2,
    "n_positions": 24,
    "vocab_size": 40,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
T5 = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 3, "num_heads": 2, "vocab_size": 40}
# configuration, where its blocks are, pooling by itself, tokens that it reads
KINDS = {
    "bert": (lambda: transformers.BertConfig(**SIZES), "encoder.layer", "mean", 24),
    "roberta": (
        lambda: transformers.RobertaConfig(**{**SIZES, "pad_token_id": 1, "bos_token_id": 0}),
        "encoder.layer",
        "mean",
        22,
    ),
    "modernbert": (lambda: transformers.ModernBertConfig(**SIZES), "layers", "mean", 24),
    "llama": (lambda: transformers.LlamaConfig(**SIZES), "layers", "last", 24),
    "qwen2": (lambda: transformers.Qwen2Config(**SIZES, num_key_value_heads=2), "layers", "last", 24),
    "gpt2": (lambda: transformers.GPT2Config(**GPT2), "h", "last", 24),
    "t5": (lambda: transformers.T5Config(**T5, pad_token_id=0, decoder_start_token_id=0), "encoder.block", "mean", 512),
}
CAPTIONS = ["a red cube left of the blue ball", "cat", "the cat on a ball"]


def build(kind):
    """The encoder, its weights large enough that every block does something."""
    config = KINDS[kind][0]()
    torch.manual_seed(0)
    make = transformers.AutoModelForTextEncoding if config.is_encoder_decoder else transformers.AutoModel
    model = make.from_config(config).eval()
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.2)
    return model


def save(folder, kind="bert"):
    model = build(kind)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return model


def change_json(file, **changes):
    known = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({**known, **changes}))


@pytest.fixture(scope="module", params=KINDS)
def kind(request, tmp_path_factory):
    """Its name, the library's model and the tower."""
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, save(folder, request.param), text_tower(f"transformers:{folder}")


def tokens_of(tower, captions=CAPTIONS):
    out = tower.tokenizer(captions, padding=True, return_tensors="pt")
    return out["input_ids"], out["attention_mask"].bool()


def test_states_are_the_librarys_own(kind):
    _, model, tower = kind
    ids, mask = tokens_of(tower)
    with torch.no_grad():
        own = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        states, _ = tower(ids, mask)
    assert torch.equal(states, own)
    assert (tower.width, tower.layers) == (32, 3)


def test_pooling_and_context_by_themselves(kind):
    name, _, tower = kind
    _, _, pooling, context = KINDS[name]
    assert (tower.pooling, tower.context_length) == (pooling, context)
    assert ("it reads left to right" if pooling == "last" else "it reads both ways") in tower.notes[0]


def test_one_by_one_equals_the_batch(kind):
    _, _, tower = kind
    ids, mask = tokens_of(tower)
    with torch.no_grad():
        together = tower(ids, mask)[1]
        alone = [tower(*tokens_of(tower, [caption]))[1] for caption in CAPTIONS]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_a_layer_is_the_model_cut_off_behind_it(kind):
    name, _, tower = kind
    cut = build(name)
    del cut.get_submodule(KINDS[name][1])[2:]
    ids, mask = tokens_of(tower)
    with torch.no_grad():
        expected = cut(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        middle, last = tower(ids, mask, layer=1), tower(ids, mask)
        assert torch.equal(tower(ids, mask, layer=2)[1], last[1])
        assert torch.equal(tower(ids, mask, layer=-2)[1], middle[1])
    assert torch.allclose(middle[0], expected, atol=1e-6)
    assert not torch.allclose(middle[0], last[0], atol=0.1)
    with pytest.raises(ValueError, match="layer=-4: this tower has 3 blocks; give -3 to 2"):
        tower(ids, mask, layer=-4)


def test_gradients_reach_the_embedding(kind):
    _, _, tower = kind
    tower(*tokens_of(tower))[1].square().sum().backward()
    assert tower.model.get_input_embeddings().weight.grad.abs().sum() > 0
    tower.zero_grad()


@pytest.mark.parametrize("kind_name", ["bert", "llama"])
def test_poolings_are_what_they_are_called(tmp_path, kind_name):
    save(tmp_path, kind_name)
    for pooling in ("first", "mean", "last"):
        tower = text_tower(f"transformers:{tmp_path}", pooling=pooling)
        ids, mask = tokens_of(tower)
        with torch.no_grad():
            states, pooled = tower(ids, mask)
        rows = [row[kept] for row, kept in zip(states, mask, strict=True)]
        by_hand = {"first": [r[0] for r in rows], "mean": [r.mean(0) for r in rows], "last": [r[-1] for r in rows]}
        assert torch.allclose(pooled, torch.stack(by_hand[pooling]), atol=1e-6)
        assert "as asked for" in tower.notes[0]


def test_a_tokenizer_that_pads_on_the_left_pads_on_the_right_here(tmp_path):
    save(tmp_path, "llama")
    right = text_tower(f"transformers:{tmp_path}")
    change_json(tmp_path / "tokenizer_config.json", padding_side="left", truncation_side="left")
    assert transformers.AutoTokenizer.from_pretrained(tmp_path).padding_side == "left"
    left = text_tower(f"transformers:{tmp_path}")
    ids, mask = tokens_of(left)
    assert mask[:, 0].all()
    with torch.no_grad():
        assert torch.equal(left(ids, mask)[1], right(*tokens_of(right))[1])


def test_left_padded_ids_pool_the_same_token():
    """Whoever brings ids of their own, padded on the left, still gets the last attended token."""
    states, mask = torch.randn(2, 4, 32), torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]]).bool()
    assert torch.equal(last_token(states, mask), states[[0, 1], [3, 2]])
    assert torch.equal(first_token(states, mask), states[[0, 1], [2, 0]])


def test_without_a_pad_token_the_mask_tells_padding_apart(tmp_path):
    model = build("gpt2")
    model.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    change_json(tmp_path / "tokenizer_config.json", pad_token=None)
    tower = text_tower(f"transformers:{tmp_path}")
    ids, mask = tokens_of(tower)
    assert tower.tokenizer.pad_token == "</s>"  # borrowed
    assert mask.sum(1).tolist() == [10, 3, 7]
    assert (mask & ~tower.special(ids)).sum(1).tolist() == [8, 1, 5]
    with torch.no_grad():
        assert torch.allclose(tower(ids, mask)[1][1], tower(ids[1:2, :3], mask[1:2, :3])[1][0], atol=1e-5)


def test_a_borrowed_pad_token_hides_no_word(tmp_path):
    """Where there is no end-of-text token either, an ordinary word is borrowed and still counts as a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    build("gpt2").save_pretrained(tmp_path)
    raw = Tokenizer(models.WordLevel({"cat": 0, "a": 1, "red": 2}, unk_token="a"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=raw).save_pretrained(tmp_path)
    tower = text_tower(f"transformers:{tmp_path}")
    ids, mask = tokens_of(tower, ["a red cat", "cat"])
    assert (mask & ~tower.special(ids)).tolist() == [[True, True, True], [True, False, False]]


# sentence-transformers -------------------------------------------------------------------------------------------------

TRANSFORMER, POOLING = "sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling"


def save_sentence_folder(folder, pooling, *more, sub="", **base):
    (folder / sub).mkdir(exist_ok=True)
    model = save(folder / sub)
    modules = [("", TRANSFORMER), ("1_Pooling", POOLING), *more]
    paths = [sub, *[path for path, _ in modules[1:]]]
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {"idx": i, "name": str(i), "path": p, "type": t}
                for i, (p, (_, t)) in enumerate(zip(paths, modules, strict=True))
            ]
        )
    )
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if base:
        (folder / sub / "sentence_bert_config.json").write_text(json.dumps(base))
    return model


OLD = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": False}


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({**OLD, "pooling_mode_cls_token": True}, "first"),
        ({**OLD, "pooling_mode_mean_tokens": True}, "mean"),
        ({**OLD, "pooling_mode_lasttoken": True}, "last"),
        ({"embedding_dimension": 32, "pooling_mode": "cls"}, "first"),  # as version 6 writes it
        ({"embedding_dimension": 32, "pooling_mode": "lasttoken"}, "last"),
        ({}, "mean"),
    ],
)
def test_pooling_as_the_folder_says(tmp_path, config, pooling):
    save_sentence_folder(tmp_path, config, ("2_Normalize", "sentence_transformers.models.Normalize"))
    tower = text_tower(f"transformers:{tmp_path}")
    assert tower.pooling == pooling
    assert "as its sentence-transformers folder says" in tower.notes[0]
    assert "not normalised" in tower.notes[1]


def test_the_sentence_vector_is_the_librarys_own(tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    save_sentence_folder(tmp_path, {**OLD, "pooling_mode_lasttoken": True}, max_seq_length=9, do_lower_case=True)
    own = sentence_transformers.SentenceTransformer(str(tmp_path), device="cpu")
    tower = text_tower(f"transformers:{tmp_path}")
    with torch.no_grad():
        ours = tower(*tokens_of(tower, ["A Red CUBE", "cat"]))[1]
    assert torch.allclose(ours, own.encode(["A Red CUBE", "cat"], convert_to_tensor=True), atol=1e-6)
    assert tower.context_length == own.max_seq_length == 9


def test_the_transformer_in_a_folder_below(tmp_path):
    model = save_sentence_folder(tmp_path, {}, sub="0_Transformer", max_seq_length=12)
    tower = text_tower(f"transformers:{tmp_path}")
    ids, mask = tokens_of(tower)
    with torch.no_grad():
        assert torch.equal(tower(ids, mask)[0], model(input_ids=ids, attention_mask=mask.long()).last_hidden_state)
    assert tower.context_length == 12


def test_a_folder_asked_for_lower_case(tmp_path):
    save_sentence_folder(tmp_path, {}, do_lower_case=True)
    raw = json.loads((tmp_path / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps({**raw, "normalizer": None}))
    tower = text_tower(f"transformers:{tmp_path}")
    assert torch.equal(tokens_of(tower, ["RED Cat"])[0], tokens_of(tower, ["red cat"])[0])


def test_what_a_folder_adds_behind_the_pooling_is_refused_or_left_out_in_words(tmp_path):
    save_sentence_folder(tmp_path, {}, ("2_Dense", "sentence_transformers.models.Dense"))
    with pytest.raises(
        ValueError, match="ends in Dense behind its pooling, which is not applied here; give pooling='mean'"
    ):
        text_tower(f"transformers:{tmp_path}")
    assert "without Dense of its folder" in text_tower(f"transformers:{tmp_path}", pooling="mean").notes


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({**OLD, "pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode": ["cls", "mean"]}, r"cls \+ mean"),
    ],
)
def test_poolings_that_are_not_offered(tmp_path, config, words):
    save_sentence_folder(tmp_path, config)
    with pytest.raises(ValueError, match=f"pools by {words}, which is not offered; give 'first', 'mean' or 'last'"):
        text_tower(f"transformers:{tmp_path}")


def test_a_default_prompt_is_said(tmp_path):
    save_sentence_folder(tmp_path, {})
    prompts = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    assert any(
        "default prompt 'query: ' is not put in front" in note for note in text_tower(f"transformers:{tmp_path}").notes
    )


@pytest.mark.parametrize(
    ("text", "message"), [("{cut", "is no JSON"), ("[{}]", "no model can be built from the configuration")]
)
def test_a_damaged_list_of_modules(tmp_path, text, message):
    save(tmp_path)
    (tmp_path / "modules.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        text_tower(f"transformers:{tmp_path}")


# Loading ---------------------------------------------------------------------------------------------------------------


def test_heads_and_decoders_in_the_checkpoint_are_left_out_and_said(tmp_path):
    torch.manual_seed(0)
    transformers.BertForMaskedLM(transformers.BertConfig(**SIZES)).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    tower = text_tower(f"transformers:{tmp_path}")
    assert "left out of the checkpoint: cls" in tower.notes
    assert tower.model.pooler is None


def test_the_encoder_of_a_whole_t5(tmp_path):
    torch.manual_seed(0)
    whole = transformers.T5ForConditionalGeneration(KINDS["t5"][0]()).eval()
    whole.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    tower = text_tower(f"transformers:{tmp_path}")
    ids, mask = tokens_of(tower)
    with torch.no_grad():
        assert torch.equal(tower(ids, mask)[0], whole.encoder(ids, attention_mask=mask.long()).last_hidden_state)


def test_random_weights_are_said(tmp_path):
    save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert (
        "text tower with random weights: nothing was loaded"
        in text_tower(f"transformers:{tmp_path}", pretrained=False).notes
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("encoder.layer.1.output.dense.weight"), r"lack encoder\.layer\.1\.output\.dense\.weight"),
        (
            lambda s: s.update({"encoder.layer.9.output.dense.bias": torch.zeros(32)}),
            r"hold encoder\.layer\.9\..*no place",
        ),
        (
            lambda s: s.update({"embeddings.LayerNorm.bias": torch.zeros(5)}),
            r"LayerNorm\.bias is \(5,\), the model's \(32,\)",
        ),
        (lambda s: s["embeddings.LayerNorm.bias"].fill_(float("nan")), "NaN or infinite"),
    ],
)
def test_weights_that_do_not_fit(tmp_path, change, message):
    save(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    change(state)
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=message):
        text_tower(f"transformers:{tmp_path}")


def test_a_tokenizer_of_another_model(tmp_path):
    save(tmp_path)
    transformers.BertModel(transformers.BertConfig(**{**SIZES, "vocab_size": 9})).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"the tokenizer of transformers:.* knows 15 tokens and its text tower 9"):
        text_tower(f"transformers:{tmp_path}")


def test_a_half_downloaded_folder(tmp_path):
    build("bert").save_pretrained(tmp_path, max_shard_size="20KB")
    with pytest.raises(FileNotFoundError, match=r"holds no tokenizer that can be read; it needs tokenizer\.json"):
        text_tower(f"transformers:{tmp_path}")
    save_tokenizer(tmp_path)
    shard = sorted(tmp_path.glob("model-*.safetensors"))[1]
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cut short or damaged"):
        text_tower(f"transformers:{tmp_path}")
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=f"is incomplete: .*{shard.name}.*download it again"):
        text_tower(f"transformers:{tmp_path}")


def test_a_pickled_checkpoint_runs_no_code(tmp_path):
    from pathlib import Path

    save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"a": Path("x")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"beside its tensors.*could run code"):
        text_tower(f"transformers:{tmp_path}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": "two"}, "no model can be built from the configuration"),
        ({"hidden_act": "nonsense"}, "no model can be built from the configuration"),
        ({"num_hidden_layers": 4}, r"lack encoder\.layer\.3"),
        ({"num_hidden_layers": 2}, r"hold encoder\.layer\.2"),
    ],
)
def test_configurations_that_do_not_fit(tmp_path, changes, message):
    save(tmp_path)
    change_json(tmp_path / "config.json", **changes)
    with pytest.raises(ValueError, match=message):
        text_tower(f"transformers:{tmp_path}")


def test_models_of_another_kind(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(ValueError, match="is a 'vit' model, which reads no text; image towers come from image_tower"):
        text_tower(f"transformers:{tmp_path}")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bart"}))
    with pytest.raises(ValueError, match="'bart' encoder–decoder, whose encoder transformers does not build alone"):
        text_tower(f"transformers:{tmp_path}")
    with pytest.raises(ConnectionError, match="not on this machine"):
        text_tower("transformers:nobody/nothing")
