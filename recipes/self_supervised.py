"""Train small image towers on drawn scenes without a caption, by three objectives: what their alignment is probed for.

    python -m recipes.self_supervised           # six runs, a quarter of an hour on one core; resumes where it was stopped
    python -m recipes.self_supervised masked    # the runs whose names begin so

The image tower of scenes-clip in shape (64 px, patch 16, 64 wide, 2 blocks; timm's ViT), so that what differs is the objective:
"contrastive" (InfoNCE of two views, SimCLR, arXiv 2002.05709), "masked" (pixels of the hidden three quarters of the patches,
MAE, arXiv 2111.06377) and "distilled" (a teacher that is the student's running mean, centred and sharpened, DINO, arXiv
2104.14294). Views never change what a caption would say: they crop and change the light, but not the hue (captions name colours)
and do not mirror (captions say left and right). Weights stay in the run's folder; losses are stored.
"""

from __future__ import annotations

import copy
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor, nn

from recipes.files import sha256, write_atomically, write_json
from recipes.scenes_clip import MEAN, STD, bits
from workbench import paths
from workbench.data.scenes import draw, scenes
from workbench.losses import clip_loss
from workbench.training import train

RESULT = "self_supervised.json"
OBJECTIVES = ("contrastive", "masked", "distilled")
SIDE, PATCH, WIDTH, LAYERS, HEADS = 64, 16, 64, 2, 4
POOL = 16_000  # scenes drawn once and seen again in other crops: drawing would take longer than training


@dataclass(frozen=True)
class Config:
    """`kept` are the steps whose trunks stay. `light` is the range of brightness and contrast, `crop` that of a view's side."""

    objective: str
    seed: int = 0
    steps: int = 2000
    kept: tuple[int, ...] = (500, 2000)
    batch_size: int = 128
    learning_rate: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.05
    crop: tuple[float, float] = (0.7, 1.0)
    light: float = 0.2
    temperature: float = 0.1  # contrastive
    masked: float = 0.75
    student: float = 0.1  # temperatures of distillation, and how slowly teacher and centre follow
    teacher: float = 0.05
    follow: float = 0.99
    centre: float = 0.9

    @property
    def run(self) -> str:
        return f"{self.objective}-seed{self.seed}"


RUNS = tuple(Config(objective, seed) for seed in (0, 1) for objective in OBJECTIVES)


def trunk(seed: int | None = None) -> nn.Module:
    """timm's ViT of this size, with fresh weights of a seed."""
    from timm.models.vision_transformer import VisionTransformer

    if seed is not None:
        torch.manual_seed(seed)
    return VisionTransformer(SIDE, PATCH, embed_dim=WIDTH, depth=LAYERS, num_heads=HEADS, num_classes=0)


def run_folder(config: Config) -> Path:
    return Path(os.environ.get("WORKBENCH_RUNS", "runs")) / "self-supervised" / config.run


def step_file(config: Config, step: int) -> Path:
    return run_folder(config) / "steps" / f"{step}.safetensors"


def trained(config: Config, step: int) -> nn.Module:
    """The trunk of a run after `step` steps."""
    found = trunk()
    found.load_state_dict(load_file(step_file(config, step)))
    return found.eval()


# Pictures and their views -----------------------------------------------------------------------------------------------


def pictures(seed: int, n: int = POOL) -> Tensor:
    """Drawn scenes (n, 3, 64, 64) in bytes."""
    return torch.from_numpy(np.stack([draw(each, SIDE) for each in scenes(n, f"unlabelled {seed}")])).permute(
        0, 3, 1, 2
    )


def pixels(drawn: Tensor) -> Tensor:
    """What scenes-clip's preprocessing makes of bytes (B, 3, s, s)."""
    return (drawn.float() / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def view(x: Tensor, config: Config) -> Tensor:
    """Each picture (B, 3, s, s) cropped to a square at random, back to its size, in another light."""
    n = len(x)
    side = torch.empty(n).uniform_(*config.crop)
    at = (2 * torch.rand(n, 2) - 1) * (1 - side)[:, None]
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = side, side, at
    seen = F.grid_sample(x, F.affine_grid(theta, list(x.shape), align_corners=False), align_corners=False)
    contrast, brightness = (1 + config.light * (2 * torch.rand(2, n, 1, 1, 1) - 1)).unbind()
    return seen * contrast + (brightness - 1) / STD[0]


# Objectives -------------------------------------------------------------------------------------------------------------


def mlp(d_in: int, d_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(d_in, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, d_out))


class Contrastive(nn.Module):
    """Two views of a picture find each other among the batch."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, self.trunk, self.head = config, trunk(), mlp(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        one, other = (self.head(self.trunk.forward_features(view(x, self.config))[:, 0]) for _ in range(2))
        return clip_loss(one, other, 1 / self.config.temperature)


class Masked(nn.Module):
    """A quarter of the patches is read, the pixels of the others are to be said."""

    def __init__(self, config: Config):
        super().__init__()
        from timm.models.vision_transformer import Block

        self.config, self.trunk = config, trunk()
        patches = (SIDE // PATCH) ** 2
        self.hidden = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.places = nn.Parameter(0.02 * torch.randn(1, patches + 1, WIDTH))
        self.decoder = nn.Sequential(Block(WIDTH, HEADS), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * PATCH**2))

    def forward(self, x: Tensor) -> Tensor:
        x = view(x, self.config)
        tokens = self.trunk.patch_embed(x) + self.trunk.pos_embed[:, 1:]
        n, patches, width = tokens.shape
        order = torch.rand(n, patches).argsort(1)
        seen = order[:, : round(patches * (1 - self.config.masked))]
        first = (self.trunk.cls_token + self.trunk.pos_embed[:, :1]).expand(n, -1, -1)
        read = torch.cat((first, tokens.gather(1, seen[..., None].expand(-1, -1, width))), 1)
        read = self.trunk.norm(self.trunk.blocks(read))
        whole = self.hidden.expand(n, patches, -1).scatter(1, seen[..., None].expand(-1, -1, width), read[:, 1:])
        said = self.decoder(torch.cat((read[:, :1], whole), 1) + self.places)[:, 1:]
        wrong = (said - F.unfold(x, PATCH, stride=PATCH).transpose(1, 2)).square().mean(-1)
        left_out = torch.ones(n, patches).scatter(1, seen, 0.0)
        return (wrong * left_out).sum() / left_out.sum()


class Distilled(nn.Module):
    """The student says of one view what its own running mean says of the other."""

    def __init__(self, config: Config, prototypes: int = 256):
        super().__init__()
        self.config, self.trunk = config, trunk()
        self.head = mlp(WIDTH, WIDTH)
        self.prototypes = nn.Linear(WIDTH, prototypes, bias=False)
        self.teacher = copy.deepcopy(nn.ModuleList([self.trunk, self.head, self.prototypes])).requires_grad_(False)
        self.register_buffer("centre", torch.zeros(prototypes))

    def forward(self, x: Tensor) -> Tensor:
        views = [view(x, self.config) for _ in range(2)]
        with torch.no_grad():
            self._follow()
            logits = torch.stack([_say(each, *self.teacher) for each in views])
            goals = ((logits - self.centre) / self.config.teacher).softmax(-1)
            self.centre.lerp_(logits.mean((0, 1)), 1 - self.config.centre)
        said = [_say(each, self.trunk, self.head, self.prototypes) / self.config.student for each in views]
        pairs = zip(goals.flip(0), said, strict=True)
        return sum(-(goal * each.log_softmax(-1)).sum(-1).mean() for goal, each in pairs) / 2

    def _follow(self) -> None:
        students = nn.ModuleList([self.trunk, self.head, self.prototypes]).parameters()
        for slow, fast in zip(self.teacher.parameters(), students, strict=True):
            slow.lerp_(fast, 1 - self.config.follow)


def _say(x: Tensor, trunk: nn.Module, head: nn.Module, prototypes: nn.Linear) -> Tensor:
    """Cosines with the prototypes."""
    at = F.normalize(head(trunk.forward_features(x)[:, 0]), dim=-1)
    return at @ F.normalize(prototypes.weight, dim=-1).T


MODULES = {"contrastive": Contrastive, "masked": Masked, "distilled": Distilled}


# Runs -------------------------------------------------------------------------------------------------------------------


def train_run(config: Config, pool: int = POOL) -> list[float]:
    """One run from its last checkpoint to its end; the trunks of the kept steps lie in `run_folder` afterwards."""
    folder = run_folder(config)
    drawn = pictures(config.seed, pool)
    torch.manual_seed(config.seed)
    module = MODULES[config.objective](config)
    learnt = [each for each in module.parameters() if each.requires_grad]

    def loss(step: int) -> Tensor:
        return module(pixels(drawn[torch.randint(len(drawn), (config.batch_size,))]))

    def keep(step: int, losses=()) -> None:
        kept = module.teacher[0] if config.objective == "distilled" else module.trunk  # as DINO is read
        write_atomically(step_file(config, step), save({k: v.contiguous() for k, v in kept.state_dict().items()}))

    if 0 in config.kept:
        keep(0)
    losses = train(
        module,
        loss,
        torch.optim.AdamW(learnt, lr=config.learning_rate, weight_decay=config.weight_decay),
        steps=config.steps,
        factor=lambda step: min(1.0, (step + 1) / config.warmup),
        folder=folder,
        run={**asdict(config), "scenes": bits(), "pool": pool},
        at=config.kept,
        on_step=keep,
        title=config.run,
    )
    write_json(folder / "losses.json", losses)
    return losses


def stored(config: Config) -> dict:
    losses = json.loads((run_folder(config) / "losses.json").read_text(encoding="utf-8"))
    means = [round(float(np.mean(losses[at : at + 100])), 4) for at in range(0, len(losses), 100)]
    weights = {str(step): sha256(step_file(config, step)) for step in config.kept}
    return {**asdict(config), "weights": weights, "loss_of_100_steps": means}


def main(names: list[str]) -> None:
    torch.set_num_threads(1)  # on one core a run repeats itself bit by bit
    for config in RUNS:
        if names and not config.run.startswith(tuple(names)):
            continue
        began = time.monotonic()
        losses = train_run(config)
        print(f"{config.run}: {np.mean(losses[-100:]):.3f}, {time.monotonic() - began:.0f} s", flush=True)
    if all((run_folder(config) / "losses.json").is_file() for config in RUNS):
        result = {
            "made_by": "recipes/self_supervised.py",
            "digests": {"self_supervised.py": sha256(Path(__file__)), "scenes": bits()},
            "runs": {config.run: stored(config) for config in RUNS},
        }
        write_json(paths.assets() / "results" / RESULT, result)


if __name__ == "__main__":
    main(sys.argv[1:])
