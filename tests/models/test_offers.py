"""What every adapter offers, found by trying it on a small random model; the README's table is this one.

KEEP_TABLES=1 writes the table into the README.
"""

import os
import re
from pathlib import Path

import pytest
import torch
import transformers

import workbench as wb
from tests.models.test_hugging_face import save_model
from tests.models.test_open_clip_families import write_family
from tests.models.tiny_lvlm import save_llava, save_qwen
from tests.tiny import save_tokenizer
from workbench.heads import LinearHead
from workbench.models.offers import HEADER, offers
from workbench.models.paired import AlignmentHead
from workbench.models.towers import image_tower, text_tower

README = Path(__file__).parents[2] / "README.md"
MARKS = "<!-- features: written by tests/models/test_offers.py -->", "<!-- /features -->"
COLUMNS = (
    "adapter",
    "patch tokens",
    "word tokens",
    "image layers",
    "text layers",
    "dense maps",
    "projectors",
    "gradients",
)
OPEN_CLIP = {
    "vit, first token": "open_clip: ViT",
    "timm vit, linear": "open_clip: timm ViT, linear head",
    "siglip": "open_clip: SigLIP, SigLIP 2 (timm, attention pool)",
    "pe, attention pool and linear head": "open_clip: PE-Core (timm, rotary, attention pool)",
    "eva, rotary positions": "open_clip: EVA02 (timm, rotary)",
    "timm convnext": "open_clip: ConvNeXt (timm)",
    "coca": "open_clip: CoCa, contrastive part",
    "text tower of transformers, linear": "open_clip: text tower of transformers, linear head",
    "text tower of transformers, mlp": "open_clip: text tower of transformers, MLP head",
}
TRANSFORMERS = {
    "clip": "transformers: CLIP",
    "siglip": "transformers: SigLIP, SigLIP 2 of fixed resolution",
    "siglip2": "transformers: SigLIP 2 of free resolution",
}
LVLMS = {
    "lvlm: LLaVA family, read at the summary token": save_llava,
    "lvlm: Qwen2-VL family, read at the summary token": save_qwen,
}
PAIRS = {
    "pair: EfficientNet-Lite + MiniLM, linear head (those that ship)": ("efficientnet_lite0", "minilm"),
    "pair: timm ViT + BERT-like encoder": ("timm:test_vit", "bert"),
    "pair: timm ConvNeXt + BERT-like encoder": ("timm:test_convnext", "bert"),
    "pair: DINOv2, I-JEPA, ViT-MAE … + language model": ("dinov2", "llama"),
}


def write_tower(kind, folder):
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**sizes, "intermediate_size": 64, "vocab_size": 40, "max_position_embeddings": 24}
    models = {
        "dinov2": lambda: transformers.Dinov2Model(transformers.Dinov2Config(**sizes, image_size=32, patch_size=8)),
        "bert": lambda: transformers.BertModel(transformers.BertConfig(**text)),
        "llama": lambda: transformers.LlamaModel(transformers.LlamaConfig(**text)),
    }
    models[kind]().save_pretrained(folder)
    save_tokenizer(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return f"transformers:{folder}"


def tied(image, text, folder):
    image = image_tower(
        write_tower(image, folder / image) if image == "dinov2" else image, pretrained=not image.startswith("timm")
    )
    text = text_tower(text if text == "minilm" else write_tower(text, folder / text))
    return wb.pair(image, text, AlignmentHead(LinearHead(image.width, 12), LinearHead(text.width, 12)))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Offers by the name of the adapter, in the table's order."""
    torch.manual_seed(0)
    place = lambda: tmp_path_factory.mktemp("adapter")  # noqa: E731
    models = {}
    for family, name in OPEN_CLIP.items():
        folder = place()
        write_family(family, folder)
        models[name] = wb.load_model(f"local-dir:{folder}", device="cpu")
    for kind, name in TRANSFORMERS.items():
        folder = place()
        save_model(folder, kind)
        models[name] = wb.load_model(f"transformers:{folder}", device="cpu")
    for name, (image, text) in PAIRS.items():
        models[name] = tied(image, text, place())
    for name, save in LVLMS.items():
        folder = place()
        save(folder)
        models[name] = wb.load_model(f"lvlm:{folder}", device="cpu")
    return {name: offers(model) for name, model in models.items()}


def row(name, found):
    said = dict(zip(HEADER, found.cells, strict=True))
    layers = re.fullmatch(r"image (.+), text (.+)", said["layers"]).groups()
    any_or_last = ["any" if "any" in side else "last" for side in layers]
    patches = "yes" if "×" in said["patch tokens"] else "no"
    projectors = "both exact" if said["projectors"] == "exact and exact" else said["projectors"].replace(" and ", ", ")
    cells = (name, patches, said["word tokens"], *any_or_last, said["dense variants"], projectors, said["trains"])
    return "| " + " | ".join(cells) + " |"


def test_the_readmes_table_is_what_the_adapters_do(found):
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    table = "\n".join([*lines, *(row(name, each) for name, each in found.items())])
    readme = README.read_text(encoding="utf-8")
    start, end = (readme.index(mark) for mark in MARKS)
    if os.environ.get("KEEP_TABLES"):
        README.write_text(f"{readme[: start + len(MARKS[0])]}\n\n{table}\n\n{readme[end:]}", encoding="utf-8")
    assert README.read_text(encoding="utf-8")[start + len(MARKS[0]) :].split(MARKS[1])[0].strip() == table


def test_every_refusal_has_its_reason(found):
    for name, each in found.items():
        for refused in ("no", "linearised", "none"):
            if any(refused in cell.split(" and ") for cell in each.cells):
                assert each.reasons, name


def test_every_adapter_takes_gradients_on_both_sides(found):
    assert {each.cells[-1] for each in found.values()} == {"both sides"}
