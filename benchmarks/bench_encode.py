"""Encoding beside a bare loop over the same tower, pictures and batches."""

import torch
from PIL import Image
from timing import in_turn, row

import workbench as wb
from workbench.data.photos import shipped_photos
from workbench.data.vocabulary import EVERYDAY_WORDS

BATCH = 32
paths = [photo.path for photo in shipped_photos().values()] * 4  # 56 pictures
captions = [f"a photo of a {word}" for word in EVERYDAY_WORDS]


@torch.no_grad()
def bare_images(model):
    for start in range(0, len(paths), BATCH):
        opened = [Image.open(path).convert("RGB") for path in paths[start : start + BATCH]]
        pixels = torch.stack([model.image_tower.preprocess(image, model.card.image_size) for image in opened])
        _, pooled, _ = model.image_tower(pixels)
        model.head.image(pooled)


@torch.no_grad()
def bare_texts(model):
    for start in range(0, len(captions), 128):
        batch = model.text_tower.tokenizer(captions[start : start + 128], padding=True, return_tensors="pt")
        _, pooled = model.text_tower(batch["input_ids"], batch["attention_mask"].bool())
        model.head.text(pooled)


for name in ("lite0-minilm", "lite2-minilm"):
    model = wb.load_model(name, device="cpu")
    ours, bare, ratio = in_turn(lambda: model.encode_image(paths, batch_size=BATCH), lambda: bare_images(model))  # noqa: B023
    row(f"{name}: {len(paths)} pictures", f"{ours:.2f} s, bare loop {bare:.2f} s, ratio {ratio:.2f}", "≤ 1.10")
ours, bare, ratio = in_turn(lambda: model.encode_text(captions), lambda: bare_texts(model))
row(f"minilm: {len(captions)} captions", f"{ours:.2f} s, bare loop {bare:.2f} s, ratio {ratio:.2f}", "≤ 1.10")
