"""Train scenes-clip: a small CLIP of open_clip's architecture on drawn scenes, and its contrasts.

    python -m recipes.scenes_clip               # all four runs, half an hour on one core; resumes where it was stopped
    python -m recipes.scenes_clip free-seed1    # one of them

Symmetric InfoNCE on fresh scenes at every step. Collision-free batches never hold two scenes of the same words, so that
telling who has which never helps within a batch; the naive run is the contrast. Seed 0 runs to the end and ships with
checkpoints on the way; seeds 1 and 2 and the naive sampler run to step 2,000. What is measured on them is another script,
`recipes/measure_scenes.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from recipes.files import write_atomically, write_json
from workbench import paths
from workbench.data.scenes import CATEGORIES, batch, draw, quads
from workbench.data.scenes.world import (
    COLOURS,
    MATERIALS,
    NUMBERS,
    RELATIONS,
    SHAPES,
    SIZES,
    TEMPLATES,
    UNSEEN_TEMPLATES,
    Scene,
    Thing,
)
from workbench.losses import clip_loss
from workbench.training import train

NAME = "scenes-clip"
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
CONTEXT = 24


@dataclass(frozen=True)
class Config:
    """Both towers have `layers` blocks of `width`; `kept` are the steps whose weights stay."""

    seed: int = 0
    collision_free: bool = True
    steps: int = 8000
    kept: tuple[int, ...] = (600, 1000, 2000, 4000, 8000)
    batch_size: int = 128
    learning_rate: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.01
    image_size: int = 64
    patch_size: int = 16
    width: int = 64
    layers: int = 2

    @property
    def run(self) -> str:
        return f"{'free' if self.collision_free else 'naive'}-seed{self.seed}"


SHORT = {"steps": 2000, "kept": (600, 1000, 2000)}
RUNS = (Config(), Config(seed=1, **SHORT), Config(seed=2, **SHORT), Config(collision_free=False, **SHORT))


def model_folder() -> Path:
    return paths.assets() / "models" / NAME


def run_folder(config: Config) -> Path:
    """Where a run keeps its state and weights: not part of the project. $WORKBENCH_RUNS, else ./runs."""
    return Path(os.environ.get("WORKBENCH_RUNS", "runs")) / NAME / config.run


def vocabulary() -> list[str]:
    """Every word that a caption can hold; the end of the text comes last, because open_clip looks for the highest id."""
    frames = [word for each in (*TEMPLATES, *UNSEEN_TEMPLATES) for word in f"{each.frame} {each.joiner}".split()]
    nouns = [noun for shape in SHAPES for noun in (shape, Thing(shape, count=2).noun)]
    known = {*frames, *nouns, *COLOURS, *MATERIALS, *SIZES, *NUMBERS, *" ".join(RELATIONS).split(), "a", "an", ","}
    return ["<pad>", "<s>", "<unk>", *sorted(known - {"{}"}), "</s>"]


def write_tokenizer(folder: Path) -> None:
    """A word-level tokenizer in transformers' format."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {word: i for i, word in enumerate(vocabulary())}
    raw = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    raw.normalizer, raw.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    ends = [(word, ids[word]) for word in ("<s>", "</s>")]
    raw.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=raw, **special, padding_side="right").save_pretrained(folder)


def write_configuration(config: Config, folder: Path) -> None:
    model = {
        "embed_dim": config.width,
        "vision_cfg": {
            "image_size": config.image_size,
            "patch_size": config.patch_size,
            "width": config.width,
            "layers": config.layers,
            "head_width": 16,
        },
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": len(vocabulary()),
            "hf_tokenizer_name": NAME,  # any name: a local folder brings its own tokenizer
            "width": config.width,
            "heads": config.width // 16,
            "layers": config.layers,
        },
    }
    preprocess = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    write_json(folder / "open_clip_config.json", {"model_cfg": model, "preprocess_cfg": preprocess})
    write_tokenizer(folder)


def build(folder: Path, seed: int) -> tuple[nn.Module, object]:
    """open_clip's model of the folder's configuration with fresh weights, and its tokenizer."""
    import open_clip

    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    return model, open_clip.get_tokenizer(f"local-dir:{folder}")


def pixels(scenes: list[Scene], side: int) -> Tensor:
    """What the model's preprocessing makes of the drawn scenes: (B, 3, side, side)."""
    drawn = torch.from_numpy(np.stack([draw(scene, side) for scene in scenes])).permute(0, 3, 1, 2)
    return (drawn.float() / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def train_run(config: Config) -> list[float]:
    """One run from its last checkpoint to its end; its kept weights and losses lie in `run_folder` afterwards."""
    folder = run_folder(config)
    folder.mkdir(parents=True, exist_ok=True)
    write_configuration(config, folder)
    model, tokenizer = build(folder, config.seed)

    def loss(step: int) -> Tensor:
        scenes = batch(config.seed, step, config.batch_size, collision_free=config.collision_free)
        image = model.encode_image(pixels(scenes, config.image_size))
        text = model.encode_text(tokenizer([scene.caption for scene in scenes]))
        return clip_loss(image, text, model.logit_scale.exp().clamp(max=100))

    def keep(step: int, _) -> None:
        write_atomically(step_file(config, step), save({k: v.contiguous() for k, v in model.state_dict().items()}))

    losses = train(
        model,
        loss,
        torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
        ),
        steps=config.steps,
        # Warm-up and then a constant rate: a checkpoint on the way is what a shorter run would have ended with.
        factor=lambda step: min(1.0, (step + 1) / config.warmup),
        folder=folder,
        run={**asdict(config), "vocabulary": vocabulary(), "scenes": bits()},
        at=config.kept,
        on_step=keep,
        title=f"{NAME} {config.run}",
    )
    write_json(folder / "losses.json", losses)
    return losses


def bits() -> str:
    """Digest of some scenes and quads as they are drawn and said here: another world gives other numbers."""
    quad_scenes = [scene for category in CATEGORIES for quad in quads(category, 4, 0) for scene in quad.scenes]
    whole = hashlib.sha256()
    for scene in (*batch(0, 0, 64), *quad_scenes):
        whole.update(scene.caption.encode() + draw(scene, 64).tobytes())
    return whole.hexdigest()[:16]


def step_file(config: Config, step: int) -> Path:
    return run_folder(config) / "steps" / f"{step}.safetensors"


def ship(config: Config, losses: list[float]) -> None:
    """The last weights in full, those on the way in half precision, configuration and log, into the assets."""
    from safetensors.torch import load_file

    folder = model_folder()
    folder.mkdir(parents=True, exist_ok=True)
    write_configuration(config, folder)
    write_atomically(folder / "open_clip_model.safetensors", step_file(config, config.steps).read_bytes())
    for step in config.kept[:-1]:
        halves = {key: value.half().contiguous() for key, value in load_file(step_file(config, step)).items()}
        write_atomically(folder / "steps" / f"{step}.safetensors", save(halves))
    rows = [{"step": i + 100, "loss": round(sum(losses[i : i + 100]) / 100, 4)} for i in range(0, len(losses), 100)]
    write_atomically(folder / "log.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write_json(folder / "training.json", {**asdict(config), "recipe": "recipes/scenes_clip.py"})


def main(names: list[str]) -> None:
    unknown = set(names) - {config.run for config in RUNS}
    if unknown:
        raise ValueError(f"no run {', '.join(unknown)}; there are {', '.join(config.run for config in RUNS)}")
    torch.set_num_threads(1)  # so small a model is no faster on two, and on one a run repeats itself bit by bit
    for config in RUNS:
        if names and config.run not in names:
            continue
        losses = train_run(config)
        print(f"{config.run}: mean loss of the last 100 steps {sum(losses[-100:]) / 100:.3f}")
        if config == RUNS[0]:
            ship(config, losses)


if __name__ == "__main__":
    main(sys.argv[1:])
