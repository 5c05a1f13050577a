"""Train the pair transformer and its control on swap quads of one domain, and ask both there and elsewhere.

    python -m recipes.pair_heads                  # hours on one core; resumes by row, and within a row by step
    python -m recipes.pair_heads scenes-clip@1000 # the rows whose names begin so

Frozen features of scenes-clip after 1,000 steps, when its cosine is still a bag of words, and at its end. Heads of the same
size read patches and word tokens ("local") or the two global embeddings ("global"), three seeds each, on quads of domain A in
trained combinations; all heads of a seed see the same pairs. Twice: with equal steps, and with equal time, which depends on the
machine. Asked on fresh quads of domain A, of its held-out combinations, and of domain B; beside them the frozen cosine, and
each head on pictures of other quads. Then two-stage retrieval among the pictures of 250 Colour quads: the shortlist by the
cosine, its order by the head. Nothing was tuned on what is asked.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache, lru_cache, partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from recipes.files import sha256, write_json
from recipes.scenes_clip import NAME, bits, model_folder
from workbench import paths
from workbench.binding import OnGlobals, OnTokens, QuadConfig, QuadFeatures, fit, quad_features, reranker, scores
from workbench.binding.scoring import ROUNDING, level
from workbench.data.scenes import CATEGORIES, Quad, quads
from workbench.evaluation import Interval, bootstrap, paired_difference, two_stage_recall
from workbench.heads import GlobalPairTransformer, PairTransformer
from workbench.models.registry import load_model

RESULT = "pair_heads.json"
SCRIPTS = ("pair_heads.py",)
ENCODERS = (f"{NAME}@1000", NAME)
SEEDS = (0, 1, 2)
SIZE = {"width": 64, "layers": 2, "heads": 4, "ffn": 256}
HEADS: dict[str, Callable[[], nn.Module]] = {
    "local": lambda: OnTokens(PairTransformer(64, 64, **SIZE)),
    "global": lambda: OnGlobals(GlobalPairTransformer(64, 64, **SIZE)),
}
COMMON = {"batch_size": 64, "mismatches": 2, "learning_rate": 1e-3, "weight_decay": 0.05}
BUDGETS = {"equal steps": {"steps": 2000}, "equal time": {"steps": 100_000, "seconds": 120.0}}
TRAIN, TEST = 1000, 1000  # quads of each category
TRAIN_SEED, TEST_SEED = 2000, 1000
SETS = {
    "domain A": partial(quads, domain="A"),
    "domain A, held out": partial(quads, domain="A", held_out=True),
    "domain B": partial(quads, domain="B"),
}
ASKED, KS = 250, (1, 2, 5, 10, 20, 50, 100)
SCORES = ("image_to_text", "text_to_image", "group", "interaction_sign")


# Features ---------------------------------------------------------------------------------------------------------------


def run_folder() -> Path:
    return Path(os.environ.get("WORKBENCH_RUNS", "runs")) / "pair-heads"


def weights(encoder: str) -> str:
    _, _, step = encoder.partition("@")
    file = f"steps/{step}.safetensors" if step else "open_clip_model.safetensors"
    return sha256(model_folder() / file)


@cache
def drawn(part: str, n: int) -> tuple[Quad, ...]:
    """`n` quads of every category: "training", or one of SETS."""
    make, seed = (SETS["domain A"], TRAIN_SEED) if part == "training" else (SETS[part], TEST_SEED)
    return tuple(quad for category in CATEGORIES for quad in make(category, n, seed))


@lru_cache(len(SETS) + 1)  # those of one encoder
def features(encoder: str, part: str, n: int) -> QuadFeatures:
    """Frozen features, computed once and kept under what decides them."""
    name = "-".join(_slug(each) for each in (encoder, part, str(n), weights(encoder), bits()))
    file = run_folder() / "features" / f"{name}.safetensors"
    if not file.is_file():
        quad_features(load_model(encoder, device="cpu"), drawn(part, n)).save(file)
    return QuadFeatures.load(file)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


# Rows -------------------------------------------------------------------------------------------------------------------


def hits(found: torch.Tensor) -> dict[str, str]:
    """Each of SCORES, quad by quad, as a string of 0 and 1; comparisons as in `evaluation.group_scores`."""
    s = level(found)
    to_text = (s[:, 0, 0] > s[:, 0, 1]) & (s[:, 1, 1] > s[:, 1, 0])
    to_image = (s[:, 0, 0] > s[:, 1, 0]) & (s[:, 1, 1] > s[:, 0, 1])
    interaction = s[:, 0, 0] + s[:, 1, 1] - s[:, 0, 1] - s[:, 1, 0]
    values = (to_text, to_image, to_text & to_image, interaction > ROUNDING * np.abs(s).max((1, 2)))
    return {name: "".join("01"[int(each)] for each in right) for name, right in zip(SCORES, values, strict=True)}


def by_category(score: Callable[[QuadFeatures], torch.Tensor], shown: QuadFeatures) -> dict[str, dict[str, str]]:
    return {category: hits(score(shown.of(category))) for category in CATEGORIES}


def cosine(encoder: str, n: int = TEST) -> dict:
    def score(shown: QuadFeatures) -> torch.Tensor:
        image, text = (F.normalize(side.post, dim=-1) for side in (shown.images, shown.texts))
        return image @ text.mT

    return {"sets": {name: by_category(score, features(encoder, name, n)) for name in SETS}}


def trained(
    encoder: str, kind: str, budget: str, seed: int, folder: Path | None, n: tuple[int, int] = (TRAIN, TEST), **other
) -> dict:
    """A head of one seed, what it scores everywhere, and its two-stage retrieval."""
    config = QuadConfig(**{**COMMON, **BUDGETS[budget], "seed": seed, **other})
    found = fit(HEADS[kind], features(encoder, "training", n[0]), config, folder=folder)
    shown = {name: features(encoder, name, n[1]) for name in SETS}
    shown["domain A, other pictures"] = shown["domain A"].shuffled(seed)
    return {
        "encoder": encoder,
        "head": kind,
        "budget": budget,
        "seed": seed,
        "config": found.config.to_json(),
        "parameters": sum(each.numel() for each in found.head.parameters()),
        "steps": len(found.losses),
        "seconds": round(found.seconds, 1),
        "loss": float(np.mean(found.losses[-100:])),
        "sets": {name: by_category(partial(scores, found.head), each) for name, each in shown.items()},
        "two_stage": retrieved(encoder, found.head, n[1]),
    }


def retrieved(encoder: str, head: nn.Module, n: int = TEST) -> dict:
    """R@1 of captions among the pictures of Colour quads against the length of the shortlist; no two quads of the same words."""
    ours = [quad for quad in drawn("domain A", n) if quad.category == "Colour"]
    first: dict = {}
    for row, quad in enumerate(ours):
        first.setdefault(quad.scenes[0].contents, row)
    rows = np.array(list(first.values())[:ASKED])
    shown = features(encoder, "domain A", n).of("Colour")[rows]
    images, texts = shown.images.flat(), shown.texts.flat()
    ks = [k for k in KS if k <= len(images)]
    found = two_stage_recall(
        texts.post,
        images.post,
        np.arange(len(texts)),
        reranker(head, texts, images),
        ks,
        groups=np.arange(len(texts)) // 2,
    )
    each = {str(k): {"recall": asdict(found.at[k]), "reached": asdict(found.reached[k])} for k in ks}
    return {"gallery": found.gallery, "pairs": {str(k): pairs for k, pairs in found.pairs.items()}, "at": each}


@dataclass(frozen=True)
class Job:
    """One row, and the encoder that it depends on beside this script."""

    name: str
    encoder: str
    make: Callable[[], dict]

    @property
    def file(self) -> Path:
        return run_folder() / "rows" / f"{_slug(self.name)}.json"


def jobs() -> Iterator[Job]:
    for encoder in ENCODERS:
        yield Job(f"{encoder}: cosine", encoder, partial(cosine, encoder))
        for budget in BUDGETS:
            for kind in HEADS:
                for seed in SEEDS:
                    name = f"{encoder}: {kind}, {budget}, seed {seed}"
                    folder = run_folder() / "training" / _slug(name)
                    yield Job(name, encoder, partial(trained, encoder, kind, budget, seed, folder))


# Summary ----------------------------------------------------------------------------------------------------------------


def summary(rows: dict[str, dict]) -> dict:
    """Intervals over quads of seed means, by encoder, budget, head, set, category and score; and local minus global."""
    found: dict = {encoder: {"cosine": _intervals([rows[f"{encoder}: cosine"]])} for encoder in ENCODERS}
    for encoder in ENCODERS:
        for budget in BUDGETS:
            of = {kind: [rows[f"{encoder}: {kind}, {budget}, seed {seed}"] for seed in SEEDS] for kind in HEADS}
            heads = {kind: {**_facts(each), "sets": _intervals(each)} for kind, each in of.items()}
            found[encoder][budget] = {**heads, "local - global": _differences(of["local"], of["global"])}
    return found


def _facts(rows: list[dict]) -> dict:
    return {
        name: [row[name] for row in rows] for name in ("seed", "parameters", "steps", "seconds", "loss", "two_stage")
    }


def _each(rows: list[dict]) -> Iterator[tuple[str, str, str, np.ndarray]]:
    """Every set, category and score with its values (seeds, n); "all" is every category together."""
    for name, categories in rows[0]["sets"].items():
        for score in SCORES:
            values = {
                category: np.array([[int(one) for one in row["sets"][name][category][score]] for row in rows])
                for category in categories
            }
            for category, each in {**values, "all": np.concatenate(list(values.values()), 1)}.items():
                yield name, category, score, each


def _intervals(rows: list[dict]) -> dict:
    return _nested((*where, bootstrap(values)) for *where, values in _each(rows))


def _differences(one: list[dict], other: list[dict]) -> dict:
    both = zip(_each(one), _each(other), strict=True)
    return _nested((*where, paired_difference(a, b)) for (*where, a), (*_, b) in both)


def _nested(cells: Iterator[tuple[str, str, str, Interval]]) -> dict:
    found: dict = {}
    for name, category, score, interval in cells:
        found.setdefault(name, {}).setdefault(category, {})[score] = asdict(interval)
    return found


def digests() -> dict[str, str]:
    return {**{name: sha256(Path(__file__).parent / name) for name in SCRIPTS}, "scenes": bits()}


def measured(job: Job, wanted: bool) -> dict | None:
    """The row as it is kept, or made where it is wanted and not there; None where it is neither."""
    key = {**digests(), "weights": weights(job.encoder)}
    stored = json.loads(job.file.read_text(encoding="utf-8")) if job.file.is_file() else {}
    if stored.get("digests") != key and wanted:
        began = time.monotonic()
        stored = {"digests": key, "row": job.make()}
        write_json(job.file, stored)
        print(f"{job.name}: {time.monotonic() - began:.0f} s", flush=True)
    return stored["row"] if stored.get("digests") == key else None


def main(names: list[str]) -> None:
    """Row by row, all or those whose names begin so; what is done already with this script and these weights stays."""
    torch.set_num_threads(1)  # so small a head is no faster on two, and on one a run repeats itself bit by bit
    rows = {job.name: measured(job, not names or job.name.startswith(tuple(names))) for job in jobs()}
    if missing := [name for name, row in rows.items() if row is None]:
        print(f"not assembled yet, to be measured: {', '.join(missing)}")
        return
    result = {
        "title": "The pair transformer and its control on swap quads",
        "made_by": "recipes/pair_heads.py",
        "digests": digests(),
        "weights": {encoder: weights(encoder) for encoder in ENCODERS},
        "rows": summary(rows),
    }
    write_json(paths.assets() / "results" / RESULT, result)


if __name__ == "__main__":
    main(sys.argv[1:])
