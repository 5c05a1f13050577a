"""Tie EfficientNet-Lite to MiniLM without a picture: the classifier's 1,000 rows against what the classes are called.

    python -m recipes.align_prototypes          # lite0-minilm, lite2-minilm, lite2-conse; about 5 minutes on 2 cores

Image side: a row w_c of the ImageNet classifier, centred over classes and of unit norm, with Gaussian noise. Text side:
MiniLM of name, lemma or definition in turn, through a linear map that starts at the identity. Loss: symmetric InfoNCE
over all classes at once. At use the input is a pooled feature, centred by its expectation, which the last batch norm
tells without data. The noise level is chosen on 100 held-out classes; then the head is trained on all 1,000.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn
from tqdm.auto import tqdm

from recipes.files import write_atomically, write_json
from workbench import paths
from workbench.data.prototypes import class_texts
from workbench.evaluation import recall_at_k, retrieval_ranks
from workbench.heads import LinearHead
from workbench.losses import clip_loss
from workbench.models.paired import AlignmentHead, pair
from workbench.models.towers import EfficientNetLite, image_tower, text_tower

MODELS = {"lite0-minilm": "efficientnet_lite0", "lite2-minilm": "efficientnet_lite2"}
CONSE_TOWER, CONSE_K = "efficientnet_lite2", 10
HELD_OUT = 100


@dataclass(frozen=True)
class Config:
    """`noise` is the expected length of the noise on a unit-norm prototype; text noise is a tenth of that."""

    d: int = 384
    steps: int = 300
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    logit_scale: float = 20.0
    noises: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    seed: int = 0


def class_embeddings() -> dict[str, Tensor]:
    """MiniLM's pooled vectors of the three captions of every class: (1000, 384) each."""
    towers = pair(image_tower("efficientnet_lite0"), text_tower("minilm"), _any_head())
    return {kind: towers.encode_text(texts).pre for kind, texts in class_texts().items()}


def _any_head() -> AlignmentHead:
    return AlignmentHead(LinearHead(EfficientNetLite.width, 384), LinearHead(384, 384, bias=False))


def train_head(
    prototypes: Tensor, texts: list[Tensor], config: Config, noise: float, seed: int
) -> tuple[AlignmentHead, list[float]]:
    """A head that sends centred, unit-norm prototypes (C, d_i) to their texts (C, d_t); and the loss of every step."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    head = AlignmentHead(
        LinearHead(prototypes.shape[1], config.d),
        LinearHead(texts[0].shape[1], config.d, bias=False),
        logit_scale=config.logit_scale,
    )
    nn.init.zeros_(head.image.bias)
    nn.init.eye_(head.text.weight)
    optimiser = torch.optim.AdamW(head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    losses = []
    for step in tqdm(range(config.steps), desc=f"noise {noise}, seed {seed}", leave=False):
        image = head.image(noisy(prototypes, noise, generator))
        text = head.text(noisy(F.normalize(texts[step % len(texts)], dim=-1), noise / 10, generator))
        loss = clip_loss(image, text, head.log_scale.exp().clamp(max=100))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return head, losses


def noisy(x: Tensor, length: float, generator: torch.Generator) -> Tensor:
    return x + torch.randn(x.shape, generator=generator) * length / math.sqrt(x.shape[-1])


def held_out_recall(head: AlignmentHead, prototypes: Tensor, texts: list[Tensor]) -> float:
    """Mean R@5 of unseen classes, prototype → text among the held-out ones, over the kinds of caption."""
    with torch.no_grad():
        queries = head.image(prototypes)
        recalls = []
        for text in texts:
            ranks = retrieval_ranks(queries, head.text(text), [[i] for i in range(len(queries))])
            recalls.append(recall_at_k(ranks, ks=(5,))[5])
    return sum(recalls) / len(recalls)


def choose_noise(prototypes: Tensor, texts: list[Tensor], config: Config) -> tuple[float, dict[float, float]]:
    """The noise level with the best recall on held-out classes, and the recall of each."""
    order = torch.randperm(len(prototypes), generator=torch.Generator().manual_seed(config.seed))
    test, train = order[:HELD_OUT], order[HELD_OUT:]
    recalls = {}
    for noise in config.noises:
        head, _ = train_head(prototypes[train], [text[train] for text in texts], config, noise, config.seed)
        recalls[noise] = held_out_recall(head, prototypes[test], [text[test] for text in texts])
    return max(recalls, key=recalls.get), recalls


def unit_prototypes(tower: EfficientNetLite) -> Tensor:
    """Classifier rows, centred over classes, unit norm: (1000, 1280)."""
    rows = tower.classifier.weight.detach()
    return F.normalize(rows - rows.mean(0), dim=-1)


def expected_feature(tower: EfficientNetLite) -> Tensor:
    """E[min(max(z, 0), 6)] for z ~ N(beta, gamma^2): the mean pooled feature (1280,), from the last batch norm alone."""
    mean, std = tower.trunk.bn2.bias.detach(), tower.trunk.bn2.weight.detach().abs().clamp(min=1e-6)
    normal = torch.distributions.Normal(0.0, 1.0)
    low, high = -mean / std, (6 - mean) / std
    density = torch.exp(normal.log_prob(low)) - torch.exp(normal.log_prob(high))
    return std * density + mean * (normal.cdf(high) - normal.cdf(low)) + 6 * (1 - normal.cdf(high))


def centre_input(head: AlignmentHead, centre: Tensor) -> AlignmentHead:
    """Fold `x - centre` into the bias, so that the head takes plain pooled features."""
    with torch.no_grad():
        head.image.bias -= head.image.weight @ centre
    return head


def save_model(name: str, tensors: dict[str, Tensor], config: dict, log: list[dict]) -> None:
    """Weights, configuration and log into assets/models/<name>/."""
    folder = paths.assets() / "models" / name
    write_atomically(
        folder / "head.safetensors", save({key: value.detach().contiguous() for key, value in tensors.items()})
    )
    write_atomically(folder / "log.jsonl", "".join(json.dumps(row) + "\n" for row in log))
    write_json(folder / "head.json", config)


def make_linear(name: str, tower: EfficientNetLite, texts: dict[str, Tensor], config: Config) -> None:
    prototypes, captions = unit_prototypes(tower), list(texts.values())
    noise, recalls = choose_noise(prototypes, captions, config)
    head, losses = train_head(prototypes, captions, config, noise, config.seed)
    centre_input(head, expected_feature(tower))
    log = [{"held_out_noise": n, "recall_at_5": round(r, 4)} for n, r in recalls.items()]
    log += [{"step": step, "loss": round(losses[step], 5)} for step in (*range(0, len(losses), 25), len(losses) - 1)]
    described = {
        "image_tower": tower.name,
        "text_tower": "minilm",
        "head": "linear",
        "d": config.d,
        "recipe": "recipes/align_prototypes.py",
        "training": {**asdict(config), "noise": noise, "pairs": 1000, "pictures": 0},
        "notes": [
            "trained on classifier rows and class names only, no picture seen",
            "linear on both sides: maps add up to the score, projectors are exact",
        ],
    }
    save_model(name, head.state_dict(), described, log)


def make_conse(name: str, texts: dict[str, Tensor], config: Config) -> None:
    described = {
        "image_tower": CONSE_TOWER,
        "text_tower": "minilm",
        "head": "conse",
        "k": CONSE_K,
        "classes": 1000,
        "d": 384,
        "recipe": "recipes/align_prototypes.py",
        "training": "none",
        "notes": [
            f"training-free: the {CONSE_K} likeliest ImageNet classes, weighted by posterior, as text",
            "the softmax is not linear: maps do not add up to the score, there is no image projector",
        ],
    }
    tensors = {
        "image.prototypes": F.normalize(texts["name"], dim=-1),
        "log_scale": torch.tensor(math.log(config.logit_scale)),
    }
    save_model(name, tensors, described, [])


def main() -> None:
    config, texts = Config(), class_embeddings()
    for name, tower in MODELS.items():
        make_linear(name, image_tower(tower), texts, config)
    make_conse("lite2-conse", texts, config)


if __name__ == "__main__":
    main()
