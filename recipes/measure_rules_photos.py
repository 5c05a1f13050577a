"""Read swap quads of composed photographs by every rule that needs no training: lite2-minilm on cut-outs of Tux Paint's stamps.

    apt-get install tuxpaint-stamps-default
    python -m recipes.measure_rules_photos          # about 20 minutes on one core; resumes by row
    python -m recipes.measure_rules_photos Colour   # the rows whose names begin so

120 quads a category, of the 20 cut-outs that `recipes/measure_class_maps.py` took for being unlike each other. Colour prints two
photos in two inks and swaps these: the one local attribute that a photo can be given without drawing anything new. Size, Quantity
and Relation are those of drawn scenes. "Other pair" is a control that who-has-which has no part in: Relation's quads two by two,
the first picture and caption of each, so that a bag of words is enough. Beside the rules stands how often the objects
themselves are named, from their true boxes: re-encoded, and pooled from the patches of one pass.

The model's map is exact (the mean of its cells is its embedding), so boxes are pooled in two ways: cells of length 1, as the rule
"roi" has it, and cells as they are. What is re-encoded goes through the same float32 network with its batch norms folded, two
pictures at a time, which more than doubles the rate; on four quads both are compared. (In bfloat16 scores move by more than lies
between the two captions.) The cut-outs are GPL-2 and stay where Debian put them; only numbers are stored.

What follows from the answers is `recipes/photos_claims.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recipes.files import sha256, write_json
from recipes.measure_class_maps import NAMES
from recipes.measure_rules import judged
from recipes.photos_claims import LOCAL, OTHER_PAIR, OTHERS, claims, summary
from workbench import paths
from workbench.data.scenes import Quad, Thing
from workbench.data.scenes.cutouts import cut_outs, photo_quads
from workbench.data.scenes.tinted import TINTS, tinted_cutter, tinted_quads
from workbench.features import ImageFeatures
from workbench.fine_grained import CONTROLS, SCORERS, QuadParts, quad_parts, rule_scores
from workbench.fine_grained.diagnostic import _AT_ONCE, _own
from workbench.fine_grained.parts import some
from workbench.fine_grained.photos import EXACT, EXACT_TRUE, RESULT
from workbench.matching import Regions, roi_features, score
from workbench.models.batches import joined
from workbench.models.efficientnet import LITE
from workbench.models.registry import load_model
from workbench.models.text_tower import MINILM_SHA256

SCRIPTS = ("measure_rules_photos.py",)
MODEL = "lite2-minilm"
SEED, QUADS, COMPARED = 5000, 120, 4
MAKE: dict[str, Callable[..., list[Quad]]] = {
    "Colour": tinted_quads,
    **{name: partial(photo_quads, name) for name in ("Relation", "Size", "Quantity")},
}
READINGS = ("true boxes re-encoded", "true boxes pooled from patches")


# Parts ------------------------------------------------------------------------------------------------------------------


class Quick:
    """A model whose crops go through `forward`, a few at a time: on a CPU large batches leave the cache."""

    def __init__(self, model, forward: Callable[[Tensor], ImageFeatures], at_once: int = 2):
        self._model, self._forward, self._at_once = model, forward, at_once

    def __getattr__(self, name: str):
        return getattr(self._model, name)

    def encode_pixels(self, pixels: Sequence[Tensor]) -> ImageFeatures:
        starts = range(0, len(pixels), self._at_once)
        with torch.no_grad():
            return joined([self._forward(torch.stack(tuple(pixels[i : i + self._at_once]))) for i in starts], False)


@cache
def model_of():
    return load_model(MODEL, device="cpu", dtype="float32")


class _Trunk(torch.nn.Module):
    def __init__(self, trunk: torch.nn.Module):
        super().__init__()
        self.trunk = trunk

    def forward(self, pixels: Tensor) -> Tensor:
        return self.trunk.forward_features(pixels).mean((2, 3))


@cache
def quick() -> Quick:
    """The same weights, traced, so that batch norms are folded into what stands before them."""
    model = model_of()
    side = model.card.image_size
    with (
        torch.no_grad(),
        warnings.catch_warnings(action="ignore", category=FutureWarning),
    ):  # of torch.jit: to go some day
        traced = torch.jit.trace(_Trunk(model.image_tower.trunk).eval(), torch.zeros(2, 3, side, side))
        folded = torch.jit.optimize_for_inference(torch.jit.freeze(traced))

    def forward(pixels: Tensor) -> ImageFeatures:
        pre = folded(pixels)
        return ImageFeatures(pre, model.head.image(pre))

    return Quick(model, forward)


@cache
def pictures() -> dict[str, Path]:
    found = cut_outs()
    return {name: found[name] for name in NAMES}


@cache
def bits() -> str:
    """Digest of what is shown and said: names, files, and some quads of every category as they are drawn."""
    from workbench.data.scenes import draw

    whole, cutter = hashlib.sha256(), tinted_cutter(pictures())
    for make in MAKE.values():
        for scene in (scene for quad in make(2, SEED, pictures=pictures()) for scene in quad.scenes):
            whole.update(scene.caption.encode() + draw(scene, 64, cutter=cutter).tobytes())
    for name, file in pictures().items():
        whole.update(name.encode() + file.read_bytes())
    return whole.hexdigest()[:16]


def run_folder() -> Path:
    return Path(os.environ.get("WORKBENCH_RUNS", "runs")) / "fine-grained-photos"


def drawn(category: str) -> list[Quad]:
    return MAKE[category](QUADS, SEED, pictures=pictures())


def kept_parts(category: str) -> QuadParts:
    """As they are kept, of these weights and pictures; encoded and kept where they are not."""
    key = f"{weights()} {bits()} {SEED} {QUADS}"
    file = run_folder() / "parts" / f"{category.lower()}.safetensors"
    found = QuadParts.load(file, key)
    if found is None:
        found = quad_parts(quick(), drawn(category), cutter=tinted_cutter(pictures()))
        found.save(file, key)
    return found


# Rows -------------------------------------------------------------------------------------------------------------------


def exact_scores(parts: QuadParts, name: str) -> Tensor:
    """Rule "roi" with cells as they are, so that the whole picture's box is the picture's embedding: (n, 2, 2)."""
    return torch.cat(
        [_own(_exact(parts[at : at + _AT_ONCE], name == EXACT_TRUE)) for at in range(0, len(parts), _AT_ONCE)]
    )


def _exact(parts: QuadParts, true: bool) -> Tensor:
    boxes = (parts.objects if true else parts.crops).boxes
    return score("roi", parts.image, parts.segments, boxes=boxes, frames=_frames(parts), normalize="whole")


def _frames(parts: QuadParts) -> list[tuple[int, int, int, int]]:
    return [(0, 0, parts.side, parts.side)] * len(parts.image)


def answers(parts: QuadParts) -> dict[str, dict[str, str]]:
    """Of every rule and control, quad by quad."""
    own = {scorer: judged(rule_scores(parts, scorer)) for scorer in SCORERS}
    exact = {name: judged(exact_scores(parts, name)) for name in (EXACT, EXACT_TRUE)}
    return own | exact | {f"control: {name}": judged(control(parts, seed=SEED)) for name, control in CONTROLS.items()}


def read(category: str) -> dict:
    parts = kept_parts(category)
    row = {"category": category, "n": len(parts), "scores": answers(parts)}
    if category in ("Colour", "Relation"):  # in the others objects have a size or a number too
        row["named"] = named(parts, drawn(category))
    return row


def other_pair() -> dict:
    """Relation's quads two by two: the first picture and caption of each, which share no arrangement and seldom a thing."""
    parts = kept_parts("Relation")
    rows = [row for quad in range(0, len(parts) - 1, 2) for row in (2 * quad, 2 * quad + 2)]
    kinds = ("image", "text", "segments", "crops", "objects")
    parts = replace(parts, **{name: some(getattr(parts, name), rows) for name in kinds})
    return {"category": OTHER_PAIR, "n": len(parts), "scores": answers(parts)}


def named(parts: QuadParts, quads: list[Quad]) -> dict[str, dict[str, str]]:
    """Of every object, four to a quad, whether it is named rightly among all things, tinted or not: 1 or 0, by reading."""
    inks = TINTS if quads[0].category == "Colour" else (None,)
    things = [Thing(name, colour) for colour in inks for name in NAMES]
    shown = [scene.things[k] for quad in quads for scene in quad.scenes for k in scene.owners]
    texts = model_of().encode_text([thing.phrase for thing in things], batch_size=64).post
    pooled = roi_features(parts.image, parts.objects.boxes, _frames(parts), normalize="whole")
    return {reading: _named(*each, texts, things, shown) for reading, each in _each(parts.objects, pooled)}


def _each(*regions: Regions) -> Iterator[tuple[str, tuple[Tensor]]]:
    return ((name, (each.tokens.flatten(0, 1),)) for name, each in zip(READINGS, regions, strict=True))


def _named(objects: Tensor, texts: Tensor, things: list[Thing], shown: list[Thing]) -> dict[str, str]:
    best = (F.normalize(objects, dim=-1) @ F.normalize(texts, dim=-1).mT).argmax(1).tolist()
    told = {"object": "shape", "colour": "colour"} if things[0].colour else {"object": "shape"}
    right = {
        what: np.array([getattr(things[i], key) == getattr(each, key) for i, each in zip(best, shown, strict=True)])
        for what, key in told.items()
    }
    right |= {"object and colour": np.logical_and(*right.values())} if len(right) > 1 else {}
    return {what: "".join("01"[int(each)] for each in values) for what, values in right.items()}


def precision() -> dict:
    """What folding changes: the rule "crops" on some quads, beside the model as it is."""
    folded = rule_scores(kept_parts("Colour")[:COMPARED], "crops")
    plain = Quick(model_of(), model_of().forward_image, 8)
    whole = rule_scores(quad_parts(plain, drawn("Colour")[:COMPARED], cutter=tinted_cutter(pictures())), "crops")
    same = [a == b for a, b in zip(judged(folded)["group"], judged(whole)["group"], strict=True)]
    between = (whole[:, 0, 0] - whole[:, 0, 1]).abs()
    told = {"largest": float((folded - whole).abs().max()), "between captions": float(between.median())}
    return {"precision": {"n": len(same), "same": sum(same), **told}}


# Jobs -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One row, and what makes it."""

    name: str
    make: Callable[[], dict]

    @property
    def file(self) -> Path:
        return run_folder() / "rows" / f"{re.sub(r'[^a-z0-9]+', '-', self.name.lower())}.json"


def jobs() -> Iterator[Job]:
    for category in (LOCAL, *OTHERS):
        yield Job(category, partial(read, category))
    yield Job(OTHER_PAIR, other_pair)
    yield Job("precision", precision)


def weights() -> str:
    """Of both towers and the head."""
    head = sha256(paths.assets() / "models" / MODEL / "head.safetensors")
    return f"{LITE['efficientnet_lite2'].sha256[:16]} {MINILM_SHA256[:16]} {head}"


def scripts() -> dict[str, str]:
    return {name: sha256(Path(__file__).parent / name) for name in SCRIPTS}


def measured(job: Job, wanted: bool) -> dict | None:
    """The row as it is kept, or made where it is wanted and not there; None where it is neither."""
    key = {**scripts(), "weights": weights(), "pictures": bits()}
    stored = json.loads(job.file.read_text(encoding="utf-8")) if job.file.is_file() else {}
    if stored.get("digests") != key and wanted:
        began = time.monotonic()
        stored = {"digests": key, "row": job.make()}
        write_json(job.file, stored)
        print(f"{job.name}: {time.monotonic() - began:.0f} s", flush=True)
    return stored["row"] if stored.get("digests") == key else None


def main(names: list[str]) -> None:
    """Row by row, all or those whose names begin so; what is done already with these weights, pictures and script stays."""
    torch.set_num_threads(1)
    every = list(jobs())
    if unknown := [name for name in names if not any(job.name.startswith(name) for job in every)]:
        raise ValueError(f"no row begins with {unknown[0]!r}; there are {', '.join(job.name for job in every)}")
    try:
        pictures()
    except FileNotFoundError as error:
        raise SystemExit(f"no photographs to compose: {error}") from error
    found = {job.name: measured(job, not names or job.name.startswith(tuple(names))) for job in every}
    if missing := [name for name, row in found.items() if row is None]:
        print(f"not assembled yet, to be measured: {', '.join(missing)}")
        return
    rows = summary(list(found.values()))
    result = {
        "title": "Fine-grained alignment on composed photographs: rules without training",
        "made_by": "recipes/measure_rules_photos.py",
        "digests": {**scripts(), "photos_claims.py": sha256(Path(__file__).parent / "photos_claims.py")},
        "weights": {MODEL: weights()},
        "pictures": bits(),
        "names": list(NAMES),
        "rows": rows,
        "claims": claims(rows),
    }
    write_json(paths.assets() / "results" / RESULT, result)


if __name__ == "__main__":
    main(sys.argv[1:])
