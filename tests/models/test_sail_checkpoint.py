"""Files with SAIL's names: both kinds of head, both formats, through `pair`, and what is no such file."""

import math

import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

import workbench as wb
from tests import benchmark_files
from tests.tiny import save_tokenizer
from workbench.heads import GatedHead, LinearHead
from workbench.models.sail_checkpoint import load_sail_head
from workbench.models.towers import image_tower, text_tower
from workbench.sail import published_claims, published_winoground

D_I, D_T, D, WIDTH = 64, 32, 12, 3


def layer(name, rows, columns):
    return {f"{name}.weight": torch.randn(rows, columns), f"{name}.bias": torch.randn(rows)}


def made(kind="gated", text_kind=None):
    """A file's tensors, by the names that SAIL's code gives them."""
    torch.manual_seed(0)
    stored = {"logit_scale": torch.tensor([math.log(21.5)]), "logit_bias": torch.tensor([-9.5])}
    for side, d_in, each in (("vision", D_I, kind), ("text", D_T, text_kind or kind)):
        network = f"{side}_mapping_network"
        stored |= {f"{side}_layer_norm.weight": torch.rand(d_in) + 0.5, f"{side}_layer_norm.bias": torch.randn(d_in)}
        if each == "linear":
            stored |= layer(network, D, d_in)
        else:
            m = WIDTH * d_in
            stored |= layer(f"{network}.f1", m, d_in) | layer(f"{network}.f2", m, d_in) | layer(f"{network}.g", D, m)
    return stored


def saved(stored, file):
    if file.suffix == ".safetensors":
        save_file(stored, file)
    else:
        torch.save(stored, file)
    return file


def by_hand(stored, side, x):
    """SAIL's layer on the file's own tensors."""

    def linear(name, x):
        return x @ stored[f"{side}_mapping_network{name}.weight"].T + stored[f"{side}_mapping_network{name}.bias"]

    h = torch.nn.functional.layer_norm(
        x, x.shape[-1:], stored[f"{side}_layer_norm.weight"], stored[f"{side}_layer_norm.bias"], 1e-5
    )
    if f"{side}_mapping_network.weight" in stored:
        return linear("", h)
    gate = linear(".f1", h).clamp(-1e3, 1e3).clamp(0, 6)
    return linear(".g", gate * linear(".f2", h).clamp(-1e3, 1e3))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize(("kind", "head_class"), [("gated", GatedHead), ("linear", LinearHead)])
def test_every_tensor_finds_its_place(kind, head_class, suffix, tmp_path):
    stored = made(kind)
    head = load_sail_head(saved(stored, tmp_path / f"head{suffix}"))
    assert isinstance(head.image, head_class)
    assert isinstance(head.text, head_class)
    for ours, side, d_in in ((head.image, "vision", D_I), (head.text, "text", D_T)):
        x = torch.randn(5, d_in)
        assert torch.allclose(ours(x), by_hand(stored, side, x), rtol=1e-5, atol=1e-4)
    assert head.log_scale.exp().item() == pytest.approx(21.5)
    assert head.logit_bias.item() == -9.5
    assert sum(p.numel() for p in head.parameters()) == sum(tensor.numel() for tensor in stored.values())
    assert all(p.requires_grad and p.dtype == torch.float32 and not p.is_meta for p in head.parameters())


def test_a_side_each_of_its_own_kind(tmp_path):
    head = load_sail_head(saved(made("gated", "linear"), tmp_path / "head.pt"))
    assert isinstance(head.image, GatedHead)
    assert isinstance(head.text, LinearHead)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_other_wrappings_hold_the_same_head(suffix, tmp_path):
    stored = made()
    bare = load_sail_head(saved(stored, tmp_path / f"bare{suffix}")).state_dict()
    prefixed = {f"module.{key}": value.double() for key, value in stored.items()}
    files = [saved(prefixed, tmp_path / f"module{suffix}")]
    if suffix == ".pt":
        files.append(saved({"epoch": 64, "state_dict": prefixed}, tmp_path / "wrapped.pt"))
    for file in files:
        again = load_sail_head(str(file)).state_dict()
        assert all(torch.equal(again[key], value) for key, value in bare.items())


def test_what_is_loaded_outlives_its_file(tmp_path):
    """A checkpoint of torch's is mapped into memory; training must not write there, nor a deleted file take it away."""
    file = saved(made(), tmp_path / "head.pt")
    before, head = file.read_bytes(), load_sail_head(file)
    with torch.no_grad():
        head.image.out.weight.zero_()
    assert file.read_bytes() == before


def test_loading_draws_no_random_numbers(tmp_path):
    file = saved(made(), tmp_path / "head.pt")
    torch.manual_seed(3)
    load_sail_head(file)
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(1))


def without(key):
    return lambda stored: stored.pop(key)


def put(key, value):
    return lambda stored: stored.update({key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("text_layer_norm.bias"), "missing text_layer_norm.bias; unexpected nothing"),
        (without("logit_bias"), "missing logit_bias"),
        (without("vision_mapping_network.f1.weight"), "missing vision_mapping_network.f1.weight"),
        (put("vision_mapping_network.0.weight", torch.ones(3, 3)), "unexpected vision_mapping_network.0.weight"),
        (put("module.logit_bias", torch.ones(1)), "both with and without 'module.'"),
        (
            put("vision_mapping_network.f2.weight", torch.ones(5, D_I)),
            r"f2.weight is \(5, 64\) and should be \(192, 64\)",
        ),
        (
            put("text_layer_norm.weight", torch.ones(D_T + 1)),
            r"text_layer_norm.weight is \(33,\) and should be \(32,\)",
        ),
        (
            put("vision_mapping_network.f1.weight", torch.ones(65, D_I)),
            r"f1.weight is \(65, 64\); its rows are a whole number",
        ),
        (
            put("vision_mapping_network.g.weight", torch.ones(D)),
            r"g.weight is \(12,\); a layer's weight is \(rows, columns\)",
        ),
        (put("vision_mapping_network.f1.weight", torch.ones(4, 0)), r"is \(4, 0\)"),
        (put("logit_scale", torch.ones(2)), r"logit_scale is \(2,\) and should be \(\)"),
        (put("logit_scale", torch.tensor([torch.nan])), "'log_scale' of head.* has NaN"),
        (put("logit_scale", torch.tensor([20])), "'logit_scale' is torch.int64, not a tensor of floats"),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_files_that_do_not_fit(change, message, suffix, tmp_path):
    stored = made()
    change(stored)
    with pytest.raises(ValueError, match=message):
        load_sail_head(saved(stored, tmp_path / f"head{suffix}"))


def test_sides_that_do_not_meet(tmp_path):
    stored = made() | layer("text_mapping_network.g", D + 1, WIDTH * D_T)
    with pytest.raises(ValueError, match="the vision side gives 12 numbers and the text side 13"):
        load_sail_head(saved(stored, tmp_path / "head.pt"))


class Code:
    def __reduce__(self):
        return getattr, ("run", "upper")  # not print: Ray puts its own in that place


def test_files_that_hold_code_or_nothing(tmp_path, capsys):
    file = tmp_path / "head.pt"
    torch.save({**made(), "config": Code()}, file)
    with pytest.raises(
        ValueError, match=r"holds (builtins\.)?getattr beside its tensors, and opening that could run code"
    ):
        load_sail_head(file)
    torch.save(Code(), file, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match=r"could run code|no checkpoint that torch can read"):
        load_sail_head(file)
    assert "run" not in capsys.readouterr().out
    torch.save({**made(), "epoch": 3}, file)
    with pytest.raises(ValueError, match="'epoch' is int, not a tensor"):
        load_sail_head(file)
    torch.save(torch.ones(3), file)
    with pytest.raises(ValueError, match="holds a Tensor, not tensors by name"):
        load_sail_head(file)
    file.write_bytes(b"no checkpoint at all")
    with pytest.raises(ValueError, match="no checkpoint that torch can read"):
        load_sail_head(file)
    whole = saved(made(), tmp_path / "head.safetensors").read_bytes()
    (tmp_path / "head.safetensors").write_bytes(whole[:-7])
    with pytest.raises(ValueError, match="no whole safetensors file"):
        load_sail_head(tmp_path / "head.safetensors")
    for nothing in (tmp_path, tmp_path / "none.pt"):
        with pytest.raises(FileNotFoundError, match="is not a file; give the path"):
            load_sail_head(nothing)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A DINOv2 half as wide as the vision side (class token and patches side by side), and a BERT."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    image, text = tmp_path_factory.mktemp("dinov2"), tmp_path_factory.mktemp("bert")
    vision = transformers.Dinov2Config(**sizes, mlp_ratio=2, image_size=32, patch_size=8)
    transformers.Dinov2Model(vision).save_pretrained(image)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(image)
    words = transformers.BertConfig(**sizes, intermediate_size=64, vocab_size=40, max_position_embeddings=24)
    transformers.BertModel(words).save_pretrained(text)
    save_tokenizer(text)
    return f"transformers:{image}", f"transformers:{text}"


def test_a_published_head_ties_two_towers(folders, tmp_path):
    stored = made()
    head = load_sail_head(saved(stored, tmp_path / "head.pt"))
    image, text = image_tower(folders[0], pooling="first+mean"), text_tower(folders[1], pooling="first")
    model = wb.pair(image, text, head)
    assert (model.card.d_i, model.card.d_t, model.embed_dim) == (D_I, D_T, D)
    assert model.logit_scale == pytest.approx(21.5)
    assert model.logit_bias == -9.5
    photo = Image.linear_gradient("L").convert("RGB")
    features = model.encode_image(photo, tokens=True)
    assert torch.allclose(features.post, by_hand(stored, "vision", features.pre), rtol=1e-5, atol=1e-3)
    with torch.no_grad():
        states = image.model(model.preprocess(photo)[None]).last_hidden_state
    patch = torch.cat((states[0, 0], states[0, 7]))  # SAIL reads a patch beside the class token
    assert torch.allclose(features.tokens[0, 6], by_hand(stored, "vision", patch), rtol=1e-5, atol=1e-3)
    assert model.image_projector.kind == "none"
    with pytest.raises(ValueError, match="multiplied by a gate"):
        model.image_projector(features.pre)


def test_the_whole_path_to_winoground(folders, tmp_path):
    head = saved(made(), tmp_path / "head.pt")
    with pytest.raises(FileNotFoundError, match="winoground"):
        published_winoground(head, tmp_path / "data", image=folders[0], text=folders[1])
    benchmark_files.winoground(tmp_path / "data")
    found = published_winoground(head, tmp_path / "data", image=folders[0], text=folders[1])
    measured = [claim for claim in published_claims(found) if claim.measured is not None]
    assert [claim.n for claim in measured] == [3, 3, 3]
    assert {claim.measured for claim in measured} <= {found[name].value for name in found.measures}


def test_a_tower_read_another_way_is_refused(folders, tmp_path):
    head = load_sail_head(saved(made(), tmp_path / "head.pt"))
    with pytest.raises(ValueError, match="the image tower is 32 wide, which the image head does not take"):
        wb.pair(image_tower(folders[0]), text_tower(folders[1]), head)


def test_a_pair_without_a_bias_has_none(folders):
    image, text = image_tower(folders[0]), text_tower(folders[1])
    assert wb.pair(image, text).logit_bias == 0.0
