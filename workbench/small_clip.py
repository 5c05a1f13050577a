"""A CLIP small enough to be trained from nothing while one waits: the architecture, the pictures and the rates of scenes-clip."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from workbench import paths
from workbench.data.scenes import Scene, batch, draw
from workbench.files import write_whole
from workbench.losses import clip_loss
from workbench.training import CHECKPOINT, train

if TYPE_CHECKING:
    from workbench.models.dual_encoder import DualEncoder

BATCH, RATE, DECAY, BETAS, WARMUP = 128, 1e-3, 0.01, (0.9, 0.98), 100
CONFIGURATION = ("open_clip_config.json", "tokenizer.json", "tokenizer_config.json")
WEIGHTS = "open_clip_model.safetensors"


def train_small_clip(
    folder: str | Path,
    *,
    seed: int = 0,
    steps: int = 1000,
    collision_free: bool = True,
    at: Collection[int] = (),
    on_step: Callable[[int, Sequence[float]], None] = lambda step, losses: None,
    device: str = "cpu",
) -> DualEncoder:
    """Train scenes-clip anew with another seed, and load it: InfoNCE on fresh drawn scenes, two minutes for 1,000 steps.

    `folder` becomes a model folder ("local-dir:…"); the state is kept there, so after Ctrl-C the same call goes on. No two scenes
    of a batch have the same words, so that telling who has which never helps (`collision_free=False` draws them as they come).
    `on_step(n, losses)` is called after n steps for every n in `at`. The recipe is `recipes/scenes_clip.py`; seeds 0, 1 and 2
    are measured there. Raises ValueError for no steps, or a folder of another model or run.
    """
    folder = Path(folder).expanduser()
    _configure(folder)
    model, tokenizer, preprocess = _fresh(folder, seed)
    model.to(device)

    def loss(step: int) -> Tensor:
        scenes = batch(seed, step, BATCH, collision_free=collision_free)
        image = model.encode_image(_pixels(scenes, preprocess).to(device))
        text = model.encode_text(tokenizer([scene.caption for scene in scenes]).to(device))
        return clip_loss(image, text, model.logit_scale.exp().clamp(max=100))

    train(
        model,
        loss,
        torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY, betas=BETAS),
        steps=steps,
        factor=lambda step: min(1.0, (step + 1) / WARMUP),
        folder=folder,
        run={"seed": seed, "collision_free": collision_free},
        at=at,
        on_step=on_step,
        title=f"a small CLIP, seed {seed}",
    )
    return _shipped(model, folder, device)


def _configure(folder: Path) -> None:
    """Configuration and tokenizer of scenes-clip; another model's folder is left as it is."""
    ours = {name: (paths.assets() / "models" / "scenes-clip" / name).read_bytes() for name in CONFIGURATION}
    other = [name for name, own in ours.items() if (folder / name).is_file() and (folder / name).read_bytes() != own]
    if other or ((folder / WEIGHTS).is_file() and not (folder / CHECKPOINT).is_file()):
        raise ValueError(
            f"{folder} holds another model ({(*other, WEIGHTS)[0]}); give a new folder, or one of a run of this"
        )
    for name, own in ours.items():
        write_whole(folder / name, own)


def _fresh(folder: Path, seed: int) -> tuple[nn.Module, Callable, dict]:
    """open_clip's model of the folder's configuration with weights drawn by the seed, its tokenizer, how pictures are scaled."""
    import open_clip

    torch.manual_seed(seed)
    with _without_warnings():  # that there are no weights yet
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    configuration = json.loads((folder / CONFIGURATION[0]).read_text(encoding="utf-8"))
    preprocess = {"side": configuration["model_cfg"]["vision_cfg"]["image_size"], **configuration["preprocess_cfg"]}
    return model.train(), open_clip.get_tokenizer(f"local-dir:{folder}"), preprocess


@contextmanager
def _without_warnings() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def _pixels(scenes: Sequence[Scene], preprocess: dict) -> Tensor:
    """Drawn at the model's own size, so that its preprocessing has nothing to do but scale: (B, 3, side, side)."""
    drawn = torch.from_numpy(np.stack([draw(scene, preprocess["side"]) for scene in scenes])).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(preprocess[name])[:, None, None] for name in ("mean", "std"))
    return (drawn.float() / 255 - mean) / std


def _shipped(model: nn.Module, folder: Path, device: str) -> DualEncoder:
    from safetensors.torch import save

    from workbench.models.registry import load_model

    weights = {name: x.detach().cpu().contiguous() for name, x in model.state_dict().items()}
    write_whole(folder / WEIGHTS, save(weights))
    return load_model(f"local-dir:{folder}", device=device)
