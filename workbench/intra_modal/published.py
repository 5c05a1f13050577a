"""The one published setting that a folder and a download decide: CUB-200-2011, OpenAI's ViT-B/32, the authors' band."""

from __future__ import annotations

from pathlib import Path

from workbench.claims import Claim
from workbench.data.labelled import class_folders
from workbench.intra_modal.run import encoded
from workbench.spectral import ReadoutTable, author_band, compare_readouts, decompose, readouts

MODEL = "open_clip:ViT-B-32/openai"


def cub(folder: str | Path | None) -> ReadoutTable:
    """CUB-200-2011, all against all, OpenAI's ViT-B/32, the authors' band: the one published setting that a folder decides.

    `folder` holds a directory of pictures for each class. Raises FileNotFoundError where it is not there, ConnectionError where
    the weights are not.
    """
    from workbench.models.registry import load_model

    if folder is None:
        raise FileNotFoundError(
            "no folder of CUB-200-2011 is named; give the one that holds a directory for each class"
        )
    data, model = class_folders(folder), load_model(MODEL)
    spectrum = decompose(model.image_projector, model.text_projector)
    pre = encoded(model, data, "image")
    found = readouts(spectrum, pre, {"authors' band": author_band(MODEL)})
    return compare_readouts(found, pre, data.labels, title=f"{model.name}, {data.name}")


def cub_claim(found: ReadoutTable | None) -> Claim:
    """What `cub` gave against 27.03 of an independent rerun; None where it could not run."""
    mean = None if found is None else found.summary()["IsoCLIP, authors' band"].mean
    return Claim(
        id="I21",
        paper="a rerun of arXiv 2603.19862",
        statement="mAP of OpenAI's ViT-B/32 with its band (150, 50), by an independent rerun that a machine wrote up",
        kind="equivalence",
        expected=0.2703,
        measured=None if mean is None else mean.mean,
        n=0 if mean is None else mean.n,
        seeds=() if mean is None else (mean.mean,),
        interval=None if mean is None else (mean.low, mean.high),
        scale="CUB-200-2011, all against all",
        margin=0.005,
    )
