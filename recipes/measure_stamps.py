"""Retrieval on pictures that no head was trained on: captioned Tux Paint stamps, mostly photo cut-outs.

    apt-get install tuxpaint-stamps-default
    python -m recipes.measure_stamps            # about 2 minutes on 2 cores

One picture per caption, cartoons and symbols left out, padded with white to a square (a centre crop would cut a cut-out).
The linear heads are trained again for three seeds with the noise that their recipe chose; ConSE has no seed. Intervals:
95 % bootstrap over stamps of the seed-mean hits, paired where two models are compared. The pictures are GPL-2 and stay
where Debian put them; only numbers are stored.
"""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor

from recipes.align_prototypes import (
    Config,
    centre_input,
    class_embeddings,
    expected_feature,
    train_head,
    unit_prototypes,
)
from recipes.files import sha256, write_json
from workbench import paths
from workbench.claims import Claim, to_json
from workbench.data.pictures import open_picture
from workbench.data.stamps import photo_stamps
from workbench.evaluation import bootstrap, retrieval_ranks
from workbench.models.paired import AlignmentHead
from workbench.models.registry import load_model
from workbench.models.shipped import read_config

SEEDS, KS = (0, 1, 2), (1, 5, 10)
LINEAR, BASELINE = ("lite0-minilm", "lite2-minilm"), "lite2-conse"
RESULT = "stamps_retrieval.json"
SCRIPTS = ("align_prototypes.py", "measure_stamps.py")


def square(path) -> Image.Image:
    image = open_picture(path).image
    return ImageOps.pad(image, (max(image.size),) * 2, color="white")


def ranks(head: AlignmentHead, pictures: Tensor, captions: Tensor) -> dict[str, Tensor]:
    """Ranks (n,) per direction of one head on pooled features (n, d_i) and (n, d_t)."""
    own = [[i] for i in range(len(pictures))]
    with torch.no_grad():
        image, text = head.image(pictures), head.text(captions)
    return {"text to image": retrieval_ranks(text, image, own), "image to text": retrieval_ranks(image, text, own)}


def heads(model, texts: list[Tensor]) -> list[AlignmentHead]:
    """The model's head for every seed; the shipped one is seed 0."""
    training = read_config(model.name)["training"]
    if training == "none":
        return [model.head]
    tower, config = model.image_tower, Config()
    prototypes, centre = unit_prototypes(tower), expected_feature(tower)
    trained = [train_head(prototypes, texts, config, training["noise"], seed)[0] for seed in SEEDS[1:]]
    return [model.head, *(centre_input(head, centre) for head in trained)]


def hits_of(name: str, stamps, texts: list[Tensor]) -> dict[str, Tensor]:
    """Ranks (seeds, n) per direction."""
    model = load_model(name, device="cpu")
    pictures = model.encode_image([square(stamp.path) for stamp in stamps]).pre
    captions = model.encode_text([stamp.caption for stamp in stamps]).pre
    per_seed = [ranks(head, pictures, captions) for head in heads(model, texts)]
    return {direction: torch.stack([each[direction] for each in per_seed]) for direction in per_seed[0]}


def rows_of(name: str, found: dict[str, Tensor]) -> list[dict]:
    rows = []
    for direction, rank in found.items():
        for k in KS:
            hits = (rank <= k).double()
            interval, per_seed = bootstrap(hits), hits.mean(1).tolist()
            numbers = {"recall": interval.mean, "low": interval.low, "high": interval.high, "per_seed": per_seed}
            rows.append({"model": name, "direction": direction, "k": k, "n": interval.n, **numbers})
    return rows


def against_baseline(name: str, found: dict, baseline: dict) -> list[Claim]:
    """Our own question, no paper's: is a head trained on prototypes alone below the training-free baseline?"""
    claims = []
    for direction, rank in found.items():
        for k in KS:
            difference = (rank <= k).double() - (baseline[direction] <= k).double()  # (seeds, n), paired by stamp
            interval = bootstrap(difference)
            claims.append(
                Claim(
                    id=f"S-{name}-{direction.split()[0]}-R{k}",
                    paper="this workbench",
                    statement=f"{name} retrieves less than {BASELINE}, {direction} R@{k}",
                    kind="direction",
                    expected=-1.0,
                    measured=interval.mean,
                    n=interval.n,
                    seeds=tuple(difference.mean(1).tolist()),
                    interval=(interval.low, interval.high),
                    scale=f"{interval.n} Tux Paint stamps",
                )
            )
    return claims


def main() -> None:
    stamps, texts = photo_stamps(), list(class_embeddings().values())
    found = {name: hits_of(name, stamps, texts) for name in (*LINEAR, BASELINE)}
    claims = [claim for name in LINEAR for claim in against_baseline(name, found[name], found[BASELINE])]
    models = paths.assets() / "models"
    write_json(
        paths.assets() / "results" / RESULT,
        {
            "title": "Retrieval on captioned stamps: prototype heads against ConSE",
            "made_by": "recipes/measure_stamps.py",
            "digests": {name: sha256(models / name / "head.safetensors") for name in found},
            "scripts": {script: sha256(Path(__file__).with_name(script)) for script in SCRIPTS},
            "seeds": list(SEEDS),
            "rows": [row for name in found for row in rows_of(name, found[name])],
            "claims": [to_json(claim) for claim in claims],
        },
    )


if __name__ == "__main__":
    main()
