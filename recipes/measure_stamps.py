"""Retrieval on pictures that no head was trained on: captioned Tux Paint stamps, mostly photo cut-outs.

    apt-get install tuxpaint-stamps-default
    python -m recipes.measure_stamps            # about 3 minutes on one core, given what recipes.align_features keeps

One picture per caption, cartoons and symbols left out, padded with white to a square (a centre crop would cut a cut-out).
Eleven of them are drawings that openclipart holds as well, on which heads were trained, and one is blank on white: these stand
in the gallery and are not asked for.
Trained heads are fitted again for two more seeds with the settings that their recipe chose; ConSE has no seed. No stamp was
used to choose anything. Intervals: 95 % bootstrap over stamps of the seed-mean hits, paired where two models are compared.
The pictures are GPL-2 and stay where Debian put them; only numbers are stored.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from recipes.align_features import square
from recipes.align_prototypes import ENSEMBLE, MODELS, trained_heads
from recipes.files import sha256, write_json
from workbench import paths
from workbench.claims import Claim, to_json
from workbench.data.stamps import photo_stamps
from workbench.evaluation import bootstrap, retrieval_ranks
from workbench.models.paired import AlignmentHead
from workbench.models.registry import load_model
from workbench.models.shipped import read_config

SEEDS, KS = (0, 1, 2), (1, 5, 10)
LINEAR, BASELINE = tuple(MODELS), "lite2-conse"
TRAINED = (*LINEAR, ENSEMBLE)
RESULT = "stamps_retrieval.json"
SEEN = {  # found by their features among the drawings, and then by eye
    *("sombrero", "propeller_hat", "blue_fedora", "green_fedora", "tophat", "feathered_hat"),
    *("jackolantern_mean", "glass", "candy_cane", "echidna", "orca"),
}
BLANK = {"lightningbolt"}
SCRIPTS = ("align_choice.py", "align_features.py", "align_pairs.py", "align_prototypes.py", "measure_stamps.py")


def ranks(head: AlignmentHead, pictures: Tensor, captions: Tensor) -> dict[str, Tensor]:
    """Ranks (n,) per direction of one head on pooled features (n, d_i) and (n, d_t)."""
    own = [[i] for i in range(len(pictures))]
    with torch.no_grad():
        image, text = head.image(pictures), head.text(captions)
    return {"text to image": retrieval_ranks(text, image, own), "image to text": retrieval_ranks(image, text, own)}


def heads(model, texts=None) -> list[AlignmentHead]:
    """The model's head for every seed; the shipped one is seed 0. `texts` is not used any more."""
    if read_config(model.name)["training"] == "none":
        return [model.head]
    return [model.head, *trained_heads(model.name, SEEDS[1:])]


def hits_of(name: str, stamps) -> dict[str, Tensor]:
    """Ranks (seeds, n) per direction, of those that are asked for."""
    model = load_model(name, device="cpu")
    pictures = model.encode_image([square(stamp.path) for stamp in stamps]).pre
    captions = model.encode_text([stamp.caption for stamp in stamps]).pre
    per_seed = [ranks(head, pictures, captions) for head in heads(model)]
    asked = [n for n, stamp in enumerate(stamps) if stamp.path.stem not in SEEN | BLANK]
    return {direction: torch.stack([each[direction] for each in per_seed])[:, asked] for direction in per_seed[0]}


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
    """Our own question, no paper's: does a trained head retrieve more than the training-free baseline?"""
    claims = []
    for direction, rank in found.items():
        for k in KS:
            difference = (rank <= k).double() - (baseline[direction] <= k).double()  # (seeds, n), paired by stamp
            interval = bootstrap(difference)
            claims.append(
                Claim(
                    id=f"S-{name}-{direction.split()[0]}-R{k}",
                    paper="this workbench",
                    statement=f"{name} retrieves more than {BASELINE}, {direction} R@{k}",
                    kind="direction",
                    expected=1.0,
                    measured=interval.mean,
                    n=interval.n,
                    seeds=tuple(difference.mean(1).tolist()),
                    interval=(interval.low, interval.high),
                    scale=f"{interval.n} Tux Paint stamps",
                )
            )
    return claims


def main() -> None:
    torch.set_num_threads(1)
    stamps = photo_stamps()
    found = {name: hits_of(name, stamps) for name in (*TRAINED, BASELINE)}
    claims = [claim for name in TRAINED for claim in against_baseline(name, found[name], found[BASELINE])]
    models = paths.assets() / "models"
    write_json(
        paths.assets() / "results" / RESULT,
        {
            "title": "Retrieval on captioned stamps: trained heads against ConSE",
            "made_by": "recipes/measure_stamps.py",
            "digests": {name: sha256(models / name / "head.safetensors") for name in found},
            "scripts": {script: sha256(Path(__file__).with_name(script)) for script in SCRIPTS},
            "seeds": list(SEEDS),
            "gallery": len(stamps),
            "rows": [row for name in found for row in rows_of(name, found[name])],
            "claims": [to_json(claim) for claim in claims],
        },
    )


if __name__ == "__main__":
    main()
