"""Train what learns to read who has which on swap quads of one domain, and ask there, elsewhere, and what it cost.

    python -m recipes.pair_heads          # about an hour and a half on one core; resumes by row, and within a row by step
    python -m recipes.pair_heads "local"  # the rows whose names begin so

Six systems start from scenes-clip after 1,000 steps, when its cosine is still a bag of words, seed s of each from the encoder of
seed s: a linear map of the caption (LABCLIP), a CNN over the map of cosines (DCSM), the pair transformer on patches and words
("local"), the same on the two global embeddings ("global"), and both towers fine-tuned, on swapped pictures and captions, or
on swapped captions alone as NegCLIP is. All see the same quads of domain A in trained combinations, in the same order: once as
many steps each, once as many seconds, which depends on the machine. Asked on fresh quads of domain A, of its held-out
combinations, and of domain B, which the encoder knows and this training does not show; beside them the frozen cosine, and crops
without training. Rates are chosen on other quads of domain A; nothing else was tuned, and nothing on what is asked.

What follows from the answers is `recipes/pair_claims.py`.
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

from recipes.files import sha256, write_atomically, write_json
from recipes.measure_rules import AT, CURVE, FULL, TRAINED, kept_parts
from recipes.measure_scenes import SEED as TEST_SEED
from recipes.pair_claims import claims, summary
from recipes.pair_towers import Towers, in_batch, raw_quads, text_negatives
from recipes.scenes_clip import RUNS, Config, bits, step_file, write_configuration
from workbench import paths
from workbench.binding import OnGlobals, OnTokens, QuadConfig, QuadFeatures, fit, quad_features, reranker, scores
from workbench.binding.fitting import Objective, pair_loss
from workbench.binding.scoring import ROUNDING, level
from workbench.data.scenes import CATEGORIES, Quad, quads
from workbench.evaluation import two_stage_recall
from workbench.fine_grained import rule_scores
from workbench.heads import DenseMapCNN, GlobalPairTransformer, LinearTextMap, PairTransformer
from workbench.heads.binding import FUNCTIONAL
from workbench.models.registry import load_model

RESULT = "pair_heads.json"
SCRIPTS = ("pair_heads.py", "pair_towers.py")
SEEDS = (0, 1, 2)
SIZE = {"width": 64, "layers": 2, "heads": 4, "ffn": 256}
PATCHES, WORDS = 16, 24
COMMON = {"batch_size": 64, "mismatches": 2, "weight_decay": 0.05}
BUDGETS = {"equal steps": {"steps": 1000}, "equal time": {"steps": 100_000, "seconds": 120.0}}
RATES = (3e-3, 1e-3, 3e-4)
CHOICE = {"steps": 300, "seed": 10}  # of a rate; judged on quads of its own
TRAIN, TEST, CHOSEN = 1000, 1000, 100  # quads of each category
TRAIN_SEED, CHOICE_SEED = 2000, 2500
SETS = {
    "domain A": partial(quads, domain="A"),
    "domain A, held out": partial(quads, domain="A", held_out=True),
    "domain B": partial(quads, domain="B"),
}
ASKED, KS = 250, (1, 2, 5, 10, 20, 50, 100)
SCORES = ("image_to_text", "text_to_image", "group", "interaction_sign")


@dataclass(frozen=True)
class System:
    """What learns: a scorer made of an encoder's seed, what it is shown, and what it minimises."""

    make: Callable[[int], nn.Module]
    raw: bool = False
    objective: Objective = pair_loss


SYSTEMS: dict[str, System] = {
    "LABCLIP": System(lambda seed: OnGlobals(LinearTextMap(64, logit_scale=encoder(seed).logit_scale))),
    "DCSM": System(lambda seed: OnTokens(DenseMapCNN(PATCHES, WORDS), words=True)),
    "local": System(lambda seed: OnTokens(PairTransformer(64, 64, **SIZE))),
    "global": System(lambda seed: OnGlobals(GlobalPairTransformer(64, 64, **SIZE))),
    "fine-tuned": System(lambda seed: Towers(network(seed)[0]), True, in_batch),
    "NegCLIP": System(lambda seed: Towers(network(seed)[0]), True, text_negatives),
}


# Encoders and what they see ---------------------------------------------------------------------------------------------


def run_folder() -> Path:
    return Path(os.environ.get("WORKBENCH_RUNS", "runs")) / "pair-heads"


def config_of(seed: int) -> Config:
    return next(config for config in RUNS if config.collision_free and config.seed == seed)


def weights(seed: int) -> Path:
    return step_file(config_of(seed), AT)


def encoder_folder(seed: int) -> Path:
    """The encoder of a seed as a model folder."""
    folder = run_folder() / "encoders" / str(seed)
    write_configuration(config_of(seed), folder)
    write_atomically(folder / "open_clip_model.safetensors", weights(seed).read_bytes())
    return folder


@cache
def encoder(seed: int):
    return load_model(f"local-dir:{encoder_folder(seed)}", device="cpu")


def network(seed: int) -> tuple[nn.Module, object]:
    """open_clip's own model, to be trained, and its tokenizer."""
    import open_clip

    name = f"local-dir:{encoder_folder(seed)}"
    return open_clip.create_model(name), open_clip.get_tokenizer(name)


@cache
def drawn(part: str, n: int) -> tuple[Quad, ...]:
    """`n` quads of every category: "training", "choice", or one of SETS."""
    seeds = {"training": TRAIN_SEED, "choice": CHOICE_SEED}
    make, seed = SETS.get(part, SETS["domain A"]), seeds.get(part, TEST_SEED)
    return tuple(quad for category in CATEGORIES for quad in make(category, n, seed))


@lru_cache(8)
def features(seed: int | None, part: str, n: int) -> QuadFeatures:
    """Frozen features of an encoder, None for raw quads; computed once and kept under what decides them."""
    of = "raw" if seed is None else sha256(weights(seed))
    file = run_folder() / "features" / f"{_slug(part)}-{n}-{of}-{bits()}.safetensors"
    if not file.is_file():
        made = raw_quads(network(0)[1], drawn(part, n)) if seed is None else _frozen(seed, part, n)
        made.save(file)
    return QuadFeatures.load(file)


def _frozen(seed: int, part: str, n: int) -> QuadFeatures:
    return quad_features(encoder(seed), drawn(part, n), apart=FUNCTIONAL)


def shown(system: str, seed: int, part: str, n: int) -> QuadFeatures:
    return features(None if SYSTEMS[system].raw else seed, part, n)


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


def by_category(score: Callable[[QuadFeatures], torch.Tensor], asked: QuadFeatures) -> dict[str, dict[str, str]]:
    return {category: hits(score(asked.of(category))) for category in CATEGORIES}


def cosine(seed: int, n: int = TEST) -> dict:
    def score(asked: QuadFeatures) -> torch.Tensor:
        image, text = (F.normalize(side.post, dim=-1) for side in (asked.images, asked.texts))
        return image @ text.mT

    return {
        "system": "cosine",
        "seed": seed,
        "sets": {name: by_category(score, features(seed, name, n)) for name in SETS},
    }


def crops(seed: int) -> dict:
    """Re-encoded crops without training, on the quads of the diagnostic: fewer, and those of domain A apart from B's."""
    turns = slice(None, None, 2)  # domains A and B take turns where both are drawn, A first
    asked = {
        "domain A": (TRAINED, FULL, turns),
        "domain A, held out": ("held-out combinations", CURVE, turns),
        "domain B": ("domain B", CURVE, slice(None)),
    }
    found: dict = {}
    for name, (which, n, every) in asked.items():
        for category in CATEGORIES:
            parts = kept_parts(config_of(seed), AT, which, category, n)
            found.setdefault(name, {})[category] = hits(rule_scores(parts, "crops")[every])
    return {"system": "crops", "seed": seed, "sets": found}


def chosen(system: str, n: int = CHOSEN, **other) -> dict:
    """Group scores of a short training at each of RATES, on other quads of domain A; the first of the best is taken."""
    made = {}
    for rate in RATES:
        config = QuadConfig(**{**COMMON, **CHOICE, "learning_rate": rate, **other})
        found = _fitted(system, 0, config, None, TRAIN if n == CHOSEN else n)
        right = by_category(partial(scores, found.head), shown(system, 0, "choice", n))
        made[f"{rate:g}"] = float(np.mean([each["group"].count("1") / n for each in right.values()]))
    return {"system": system, "rates": made, "rate": float(max(made, key=made.get))}


def _fitted(system: str, seed: int, config: QuadConfig, folder: Path | None, n: int, change=lambda features: features):
    kind = SYSTEMS[system]
    quads = change(shown(system, seed, "training", n))
    return fit(partial(kind.make, seed), quads, config, objective=kind.objective, folder=folder)


def trained(
    system: str, budget: str, seed: int, rate: float, folder: Path | None, n: tuple[int, int] = (TRAIN, TEST), **other
) -> dict:
    """A system of one seed and what it scores everywhere; of heads on frozen features also their two-stage retrieval."""
    config = QuadConfig(**{**COMMON, **BUDGETS[budget], "learning_rate": rate, "seed": seed, **other})
    found = _fitted(system, seed, config, folder, n[0])
    row = {**_told(found, system, budget, seed), "sets": _asked(found.head, system, seed, n[1])}
    if not SYSTEMS[system].raw:
        row["two_stage"] = retrieved(seed, found.head, n[1])
    return row


def blind(seed: int, rate: float, folder: Path | None, n: tuple[int, int] = (TRAIN, TEST), **other) -> dict:
    """The pair transformer trained without its own pictures: what captions alone would teach."""
    config = QuadConfig(**{**COMMON, **BUDGETS["equal steps"], "learning_rate": rate, "seed": seed, **other})
    found = _fitted("local", seed, config, folder, n[0], lambda quads: quads.blind(seed))
    return {**_told(found, "blind", "equal steps", seed), "sets": _asked(found.head, "local", seed, n[1])}


def _told(found, system: str, budget: str, seed: int) -> dict:
    return {
        "system": system,
        "budget": budget,
        "seed": seed,
        "config": found.config.to_json(),
        "parameters": sum(each.numel() for each in found.head.parameters() if each.requires_grad),
        "steps": len(found.losses),
        "seconds": round(found.seconds, 1),
        "loss": float(np.mean(found.losses[-100:])),
    }


def _asked(head: nn.Module, system: str, seed: int, n: int) -> dict:
    asked = {name: shown(system, seed, name, n) for name in SETS}
    asked["domain A, other pictures"] = asked["domain A"].shuffled(seed)
    return {name: by_category(partial(scores, head), each) for name, each in asked.items()}


def retrieved(seed: int, head: nn.Module, n: int = TEST) -> dict:
    """R@1 of captions among the pictures of Colour quads against the length of the shortlist; no two quads of the same words.

    The shortlist is the frozen cosine's, its order the head's.
    """
    ours = [quad for quad in drawn("domain A", n) if quad.category == "Colour"]
    first: dict = {}
    for row, quad in enumerate(ours):
        first.setdefault(quad.scenes[0].contents, row)
    rows = np.array(list(first.values())[:ASKED])
    asked = features(seed, "domain A", n).of("Colour")[rows]
    images, texts = asked.images.flat(), asked.texts.flat()
    ks = [k for k in KS if k <= len(images)]
    began = time.perf_counter()
    found = two_stage_recall(
        texts.post,
        images.post,
        np.arange(len(texts)),
        reranker(head, texts, images),
        ks,
        groups=np.arange(len(texts)) // 2,
    )
    each = {str(k): {"recall": asdict(found.at[k]), "reached": asdict(found.reached[k])} for k in ks}
    pairs = {str(k): many for k, many in found.pairs.items()}
    return {"gallery": found.gallery, "seconds": round(time.perf_counter() - began, 3), "pairs": pairs, "at": each}


@dataclass(frozen=True)
class Job:
    """One row, and the seed of the encoder that it depends on beside these scripts."""

    name: str
    seed: int
    make: Callable[[], dict]

    @property
    def file(self) -> Path:
        return run_folder() / "rows" / f"{_slug(self.name)}.json"


def jobs() -> Iterator[Job]:
    yield from (Job(f"cosine, seed {seed}", seed, partial(cosine, seed)) for seed in SEEDS)
    choices = {system: Job(f"{system}, rate", 0, partial(chosen, system)) for system in SYSTEMS}
    yield from choices.values()
    for budget in BUDGETS:
        for system in SYSTEMS:
            for seed in SEEDS:
                name = f"{system}, {budget}, seed {seed}"
                folder = run_folder() / "training" / _slug(name)
                make = partial(_at_its_rate, choices[system], partial(trained, system, budget, seed, folder=folder))
                yield Job(name, seed, make)
    folder = run_folder() / "training" / "blind"
    yield Job("blind, seed 0", 0, partial(_at_its_rate, choices["local"], partial(blind, 0, folder=folder)))
    yield from (Job(f"crops, seed {seed}", seed, partial(crops, seed)) for seed in SEEDS)


def _at_its_rate(choice: Job, make: Callable[..., dict]) -> dict:
    return make(rate=measured(choice, True)["rate"])


def digests() -> dict[str, str]:
    return {**{name: sha256(Path(__file__).parent / name) for name in SCRIPTS}, "scenes": bits()}


def measured(job: Job, wanted: bool) -> dict | None:
    """The row as it is kept, or made where it is wanted and not there; None where it is neither, or has no weights."""
    if not weights(job.seed).is_file():
        return None
    key = {**digests(), "weights": sha256(weights(job.seed))}
    stored = json.loads(job.file.read_text(encoding="utf-8")) if job.file.is_file() else {}
    if stored.get("digests") != key and wanted:
        began = time.monotonic()
        stored = {"digests": key, "row": job.make()}
        write_json(job.file, stored)
        print(f"{job.name}: {time.monotonic() - began:.0f} s", flush=True)
    return stored["row"] if stored.get("digests") == key else None


def main(names: list[str]) -> None:
    """Row by row, all or those whose names begin so; what is done already with these scripts and weights stays."""
    torch.set_num_threads(1)  # so small a head is no faster on two, and on one a run repeats itself bit by bit
    rows = {job.name: measured(job, not names or job.name.startswith(tuple(names))) for job in jobs()}
    if missing := [name for name, row in rows.items() if row is None]:
        print(f"not assembled yet, to be measured (weights: recipes/scenes_clip.py): {', '.join(missing)}")
        return
    found = summary(list(rows.values()))
    result = {
        "title": "What learns to read who has which, of one domain, asked in another",
        "made_by": "recipes/pair_heads.py",
        "digests": {**digests(), "pair_claims.py": sha256(Path(__file__).parent / "pair_claims.py")},
        "weights": {f"seed {seed}": sha256(weights(seed)) for seed in SEEDS},
        "rows": found,
        "claims": claims(found),
    }
    write_json(paths.assets() / "results" / RESULT, result)


if __name__ == "__main__":
    main(sys.argv[1:])
