"""Tie EfficientNet-Lite to MiniLM: the classifier's 1,000 rows against what the classes are called, drawings against titles.

    apt-get install openclipart-png openclipart-svg
    python -m recipes.align_features            # once
    python -m recipes.align_prototypes          # lite0-minilm, lite2-minilm, lite2-conse, lite2-ensemble: 5 minutes, one core

The linear heads are ridge regressions (`recipes/align_pairs.py`); every setting is chosen on classes and drawings held out
by class and by title (`recipes/align_choice.py`), and every number tried stands in `log.jsonl`. The ensemble is ConSE beside
landmarks, with a share chosen on held-out drawings. No seed enters a closed form: seed 0 fits all pairs and ships, seeds 1
and 2 leave out a tenth of classes and titles and draw other landmarks. Pooled features are centred by their expectation,
which the last batch norm tells without data.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from functools import cache

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

from recipes.align_choice import Ground, search, worth
from recipes.align_features import class_prompts, clipart_captions, picture_features, towers, usable
from recipes.align_pairs import Fit, LandmarkFit, Pairs, ensemble, fit_landmarks, fit_linear
from recipes.files import write_atomically, write_json
from workbench import paths
from workbench.data.prototypes import class_texts
from workbench.models.landmarks import unit_prototypes
from workbench.models.paired import AlignmentHead
from workbench.models.shipped import OF_THE_TOWER, read_config
from workbench.models.towers import EfficientNetLite, image_tower

MODELS = {"lite0-minilm": "efficientnet_lite0", "lite2-minilm": "efficientnet_lite2"}
ENSEMBLE = "lite2-ensemble"
CONSE_TOWER, CONSE_K, CONSE_SCALE = "efficientnet_lite2", 10, 20.0
CAPTIONS = {  # the ways to call a picture that are averaged
    "title": ("title",),
    "title and keywords": ("title", "keywords"),
    "all": ("title", "keywords", "photo", "drawing"),
}
LINEAR_GRID = {
    "weight": (0.0, 0.5, 0.7, 1.0, 1.4),
    "ridge": (0.5, 1.0, 2.0, 4.0, 8.0),
    "power": (0.0, 0.15, 0.25, 0.35),
}
LANDMARK_GRID = {
    "weight": (0.0, 0.7, 1.0, 1.4, 2.0),
    "ridge": (0.1, 0.3, 1.0),
    "spread": (0.3, 0.64, 1.2, 2.0),
    "power": (0.0, 0.15, 0.25, 0.35),
    "landmarks": (0, 300, 800),  # more would not fit into 5 MB
}
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
SCALES = (5.0, 7.0, 10.0, 14.0, 20.0, 28.0, 40.0)


@cache
def _class_embeddings() -> dict[str, Tensor]:
    model = towers("efficientnet_lite0")
    return {kind: model.encode_text(texts).pre for kind, texts in class_texts().items()}


def class_embeddings() -> dict[str, Tensor]:
    """MiniLM's pooled vectors of the three captions of every class: (1000, 384) each."""
    return dict(_class_embeddings())


def expected_feature(tower: EfficientNetLite) -> Tensor:
    """E[min(max(z, 0), 6)] for z ~ N(beta, gamma^2): the mean pooled feature (1280,), from the last batch norm alone."""
    mean, std = tower.trunk.bn2.bias.detach(), tower.trunk.bn2.weight.detach().abs().clamp(min=1e-6)
    normal = torch.distributions.Normal(0.0, 1.0)
    low, high = -mean / std, (6 - mean) / std
    density = torch.exp(normal.log_prob(low)) - torch.exp(normal.log_prob(high))
    return std * density + mean * (normal.cdf(high) - normal.cdf(low)) + 6 * (1 - normal.cdf(high))


def ground(tower: str, *, kinds: tuple[str, ...] = CAPTIONS["title and keywords"], prompts: bool = False) -> Ground:
    """All pairs of a tower; pictures are the mean of both views, and asked with by the unmirrored one."""
    image, views, told = image_tower(tower), picture_features(tower), clipart_captions()
    numbers: dict[str, int] = {}
    groups = torch.tensor([numbers.setdefault(each.title, len(numbers)) for each in usable()])
    texts = [*class_embeddings().values()]
    if prompts:
        texts.append(class_prompts().mean(1) * texts[0].norm(dim=-1).mean())
    pairs = Pairs(
        unit_prototypes(image.classifier),
        torch.stack(texts),
        views.mean(1),
        torch.stack([told[kind] for kind in kinds]),
        groups,
        expected_feature(image),
        (image.classifier.weight.detach(), image.classifier.bias.detach()),
    )
    return Ground(pairs, views[:, 0], told["title"])


def of_seed(pairs: Pairs, seed: int) -> Pairs:
    """All pairs for seed 0; for others a random tenth of classes and titles is left out."""
    if seed == 0:
        return pairs
    generator = torch.Generator().manual_seed(seed)
    classes = torch.rand(len(pairs.prototypes), generator=generator) < 0.9
    titles = torch.rand(int(pairs.groups.max()) + 1, generator=generator) < 0.9
    return pairs.part(classes.nonzero().flatten(), titles[pairs.groups].nonzero().flatten())


def trained_heads(name: str, seeds: tuple[int, ...]) -> list[AlignmentHead]:
    """Heads of a shipped name with the settings that it was given, one a seed; needs the kept features."""
    config = read_config(name)
    pairs, stored = ground(config["image_tower"]).pairs, config["training"]
    settings = stored["fit"]
    if config["head"] == "linear":
        return [fit_linear(of_seed(pairs, seed), Fit(**settings)) for seed in seeds]
    fits = [fit_landmarks(of_seed(pairs, seed), LandmarkFit(**settings), seed) for seed in seeds]
    return [ensemble(pairs, fit, stored["share"], config["k"]) for fit in fits]


def try_texts(tower: str, fit: Fit, log: list[dict]) -> None:
    """Other ways to call a picture and prompt ensembles for classes, for the record: none is better by more than noise."""
    for what, kinds in CAPTIONS.items():
        for prompts in (False, True):
            place = ground(tower, kinds=kinds, prompts=prompts)
            found = worth(place, lambda pairs: fit_linear(pairs, fit))
            log.append({"tried": "texts", "captions": what, "prompts": prompts, **_rounded(found)})


def choose_share(place: Ground, fit: LandmarkFit, log: list[dict]) -> float:
    """ConSE's share with the best mean recall over all held-out drawings and over the surest quarter."""
    found = {}
    for share in SHARES:
        found[share] = _with_share(place, fit, share)
        log.append({"tried": "share of ConSE", "share": share, **_rounded(found[share])})
    return max(found, key=lambda share: found[share]["drawings"] + found[share]["sure"])


def _with_share(place: Ground, fit: LandmarkFit, share: float) -> dict[str, float]:
    def make(known: Pairs) -> AlignmentHead:
        learned = fit_landmarks(known, fit)
        return ensemble(place.pairs, learned, share, CONSE_K) if share else learned

    return worth(place, make, classes=False)


def choose_scale(place: Ground, make) -> float:
    """The temperature's inverse with the least InfoNCE among held-out drawings and their titles."""
    losses = dict.fromkeys(SCALES, 0.0)
    for known, _, pictures in place.folds():
        head = make(known)
        with torch.no_grad():
            cosines = (
                F.normalize(head.image(place.queries[pictures]), dim=-1)
                @ F.normalize(head.text(place.titles[pictures]), dim=-1).T
            )
        own = torch.arange(len(cosines))
        for scale in SCALES:
            logits = scale * cosines
            losses[scale] += (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)).item()
    return min(losses, key=losses.get)


def _rounded(found: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 4) for key, value in found.items()}


def save_model(name: str, tensors: dict[str, Tensor], config: dict, log: list[dict]) -> None:
    """Weights, configuration and log into assets/models/<name>/."""
    folder = paths.assets() / "models" / name
    write_atomically(
        folder / "head.safetensors", save({key: value.detach().contiguous() for key, value in tensors.items()})
    )
    write_atomically(folder / "log.jsonl", "".join(json.dumps(row) + "\n" for row in log))
    write_json(folder / "head.json", config)


def described(tower: str, kind: str, d: int, training, notes: list[str], **more) -> dict:
    towers_and_head = {"image_tower": tower, "text_tower": "minilm", "head": kind, "d": d, **more}
    return {**towers_and_head, "recipe": "recipes/align_prototypes.py", "training": training, "notes": notes}


def counts(pairs: Pairs) -> dict[str, int]:
    return {"classes": len(pairs.prototypes), "pictures": len(pairs.pictures), "titles": int(pairs.groups.max()) + 1}


def make_linear(name: str, tower: str) -> None:
    place, log = ground(tower), []
    fit = search(place, fit_linear, Fit(), LINEAR_GRID, log, "linear")
    try_texts(tower, fit, log)
    head = fit_linear(place.pairs, fit)
    scale = choose_scale(place, lambda pairs: fit_linear(pairs, fit))
    head.log_scale.data.fill_(math.log(scale))
    found = _rounded(worth(place, lambda pairs: fit_linear(pairs, fit)))
    training = {"fit": asdict(fit), "logit_scale": scale, **counts(place.pairs), "held_out": found}
    notes = [
        "fitted to classifier rows with class names and to public-domain drawings with titles; no photo seen",
        "linear on both sides: maps add up to the score, projectors are exact",
    ]
    save_model(name, head.state_dict(), described(tower, "linear", 384, training, notes), log)


def make_ensemble(name: str, tower: str) -> None:
    place, log = ground(tower), []
    fit = search(place, fit_landmarks, LandmarkFit(), LANDMARK_GRID, log, "landmarks")
    share = choose_share(place, fit, log)
    scale = choose_scale(place, lambda known: ensemble(place.pairs, fit_landmarks(known, fit), share, CONSE_K))
    head = ensemble(place.pairs, fit_landmarks(place.pairs, fit), share, CONSE_K)
    head.log_scale.data.fill_(math.log(scale))
    found = _rounded(_with_share(place, fit, share))
    training = {"fit": asdict(fit), "share": share, "logit_scale": scale, **counts(place.pairs), "held_out": found}
    notes = [
        f"a cosine is {share:g} times that of ConSE plus {1 - share:g} times that of a head on landmarks",
        "fitted to classifier rows with class names and to public-domain drawings with titles; no photo seen",
        "not linear: maps do not add up to the score, there is no image projector",
    ]
    tensors = {key: value.half() for key, value in head.state_dict().items() if key not in OF_THE_TOWER}
    tensors["log_scale"] = head.log_scale
    more = {"k": CONSE_K, "classes": 1000, "share": share, "landmarks": fit.landmarks, "spread": fit.spread}
    save_model(name, tensors, described(tower, "ensemble", 768, training, notes, **more), log)


def make_conse(name: str, names: Tensor) -> None:
    notes = [
        f"training-free: the {CONSE_K} likeliest ImageNet classes, weighted by posterior, as text",
        "the softmax is not linear: maps do not add up to the score, there is no image projector",
    ]
    tensors = {"image.prototypes": F.normalize(names, dim=-1), "log_scale": torch.tensor(math.log(CONSE_SCALE))}
    more = {"k": CONSE_K, "classes": len(names)}
    save_model(name, tensors, described(CONSE_TOWER, "conse", 384, "none", notes, **more), [])


def main() -> None:
    torch.set_num_threads(1)
    for name, tower in MODELS.items():
        make_linear(name, tower)
    make_ensemble(ENSEMBLE, CONSE_TOWER)
    make_conse("lite2-conse", class_embeddings()["name"])


if __name__ == "__main__":
    main()
