"""The README of every shipped model, written from what its recipe and its measurement stored.

python -m recipes.cards
"""

from __future__ import annotations

import json

import torch

from recipes.files import write_atomically
from recipes.measure_stamps import BASELINE
from workbench import paths
from workbench.models.shipped import load_shipped, read_config, shipped_heads

MEASURED = "stamps_retrieval.json"
_HEADS = {"linear": "a linear", "conse": "a ConSE", "ensemble": "an ensemble"}


def card(name: str, config: dict, model, measured: dict) -> str:
    """Markdown: what it is, how it was made, what was measured, what it cannot do."""
    facts = "\n".join(f"| {what} | {value} |" for what, value in model.card.table().rows)
    return f"""# {name}

{config["image_tower"]} and {config["text_tower"]}, frozen, tied by {_HEADS[config["head"]]} head.

| what | value |
|---|---|
{facts}

## How it was made

`{config["recipe"]}`. {training(config)}

## What was measured

{retrieval(name, measured)}

## What it cannot do

The text tower pools word vectors and is nearly blind to who has which attribute ("red cube left of blue ball" and "blue
cube left of red ball" are one vector to it). The image tower was trained to tell 1,000 ImageNet classes apart: no
ImageNet picture is a held-out test, and what lies far from these classes is read poorly.
"""


def training(config: dict) -> str:
    if config["training"] == "none":
        return "Nothing is trained: class posteriors weigh the text embeddings of the class names."
    facts = config["training"]
    settings = ", ".join(f"{key} {value:g}" for key, value in facts["fit"].items())
    held_out = ", ".join(f"{key} {100 * value:.1f}" for key, value in facts["held_out"].items())
    return f"""{_FITTED[config["head"]].format(**facts)}

Learned from {facts["classes"]} classifier rows with name, lemma and definition, and from {facts["pictures"]} drawings of
Debian's openclipart under {facts["titles"]} titles, with keywords. The package's copyright file dedicates all to the public
domain, and so do 2,038 of the files themselves; 25 say nothing and four (`8port_switch_denco`, `firewall_denco_01`, each in two
folders) name the GPL-2. Settings:
{settings}; logit scale {facts["logit_scale"]:g}.
Each was chosen on held-out classes and titles in five folds, none on photos or stamps. Mean of R@1, R@5 and R@10 there,
percent: {held_out} ("sure": the quarter of the drawings of whose class the classifier is surest, as it is
of photos). What else was tried stands in `log.jsonl`."""


_FITTED = {
    "linear": "A ridge regression in closed form, from image features to partly whitened text vectors.",
    "ensemble": "ConSE, of share {share:g}, beside a ridge regression on the nearness to landmarks: rows and drawings. This\n"
    "ConSE weighs the mean of name, lemma and definition of a class, that of `lite2-conse` the name alone. Landmarks and class\n"
    "texts are kept in float16; they are 2.1 M numbers that the count of parameters above leaves out.",
}


def retrieval(name: str, measured: dict) -> str:
    rows = [row for row in measured["rows"] if row["model"] == name]
    lines = [
        f"| {row['direction']} | R@{row['k']} | {percent(row['recall'], row['low'], row['high'])} | "
        f"{', '.join(f'{100 * seed:.1f}' for seed in row['per_seed'])} |"
        for row in rows
    ]
    n, gallery = rows[0]["n"], measured["gallery"]
    head = (
        f"{n} captioned Tux Paint stamps (mostly photo cut-outs) that are not in the training set, among {gallery}: eleven of\n"
        f"these are drawings of openclipart too, and one is blank; they are not asked for (`{measured['made_by']}`).\n"
        "Percent; 95 % bootstrap over stamps of the seed mean, and each seed (the shipped one first). "
        f"Chance is {100 / gallery:.1f} at R@1.\n\n| direction | | recall | seeds |\n|---|---|---|---|\n"
    )
    return head + "\n".join(lines) + "\n\n" + against_baseline(name, measured)


def percent(value: float, low: float, high: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.1f} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


def against_baseline(name: str, measured: dict) -> str:
    """Each claim that this head retrieves more than the training-free baseline, with its verdict in plain words."""
    claims = [claim for claim in measured["claims"] if claim["statement"].startswith(f"{name} ")]
    if not claims:
        return f"`{name}` is the training-free baseline that the trained heads are measured against."
    verdicts = {"reproduced": "better", "contradicted": "worse", "not at this scale": "undecided"}
    found = [verdicts[claim["verdict"]] for claim in claims]
    lines = [
        f"| {claim['statement'].partition(', ')[2].replace(' R@', ' | R@')} | "
        f"{percent(claim['measured'], *claim['interval'], sign='+')} | {verdict} |"
        for claim, verdict in zip(claims, found, strict=True)
    ]
    counted = ", ".join(f"{what} in {found.count(what)}" for what in ("better", "worse", "undecided") if what in found)
    return (
        f"Against the training-free `{BASELINE}`, in percentage points, paired by stamp: {counted} of {len(found)} rows.\n\n"
        "| direction | | difference | |\n|---|---|---|---|\n" + "\n".join(lines)
    )


def main() -> None:
    measured = json.loads((paths.assets() / "results" / MEASURED).read_text(encoding="utf-8"))
    for name in shipped_heads():
        model = load_shipped(name, device="cpu", dtype=torch.float32)
        write_atomically(paths.assets() / "models" / name / "README.md", card(name, read_config(name), model, measured))


if __name__ == "__main__":
    main()
