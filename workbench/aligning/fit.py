"""Training a head on cached embeddings: batches, validation, early stop, an exact resume."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from workbench.aligning.config import LARGEST_SCALE, AlignConfig
from workbench.aligning.pairs import Pairs
from workbench.aligning.spread import Spread
from workbench.aligning.step import loss_between
from workbench.evaluation.retrieval import recall_at_k, retrieval_ranks
from workbench.files import write_whole
from workbench.models.paired import AlignmentHead
from workbench.optim import optimiser, warm_cosine
from workbench.records import Record, Table
from workbench.training import train

MOST_VALIDATED = 5000
BEST, HISTORY = "best.safetensors", "history.json"
_ROWS = 1024  # validated at a time: a gated head makes many times its input of a row


@dataclass(frozen=True, eq=False)
class Aligned(Record):
    """A trained head, the loss of every step, and recalls (step, mean R@10 of both directions) on the validation pairs.

    With a validation set the head is that of the best recall, which came after `best_step` steps; else the last one.
    """

    head: AlignmentHead
    config: AlignConfig
    losses: tuple[float, ...]
    recalls: tuple[tuple[int, float], ...]
    best_step: int
    n: int
    n_validation: int

    def table(self) -> Table:
        last = np.mean(self.losses[-20:])
        recall = dict(self.recalls).get(self.best_step)
        rows = [
            ("head", f"{self.config.head}, {sum(p.numel() for p in self.head.parameters()):,} parameters"),
            ("pairs", f"{self.n:,} to train on, {self.n_validation:,} to validate on"),
            ("steps", f"{len(self.losses)} of {self.config.steps}, best after {self.best_step}"),
            ("loss, last 20 steps", f"{last:.4g}"),
            ("mean R@10 on validation pairs", "none" if recall is None else f"{100 * recall:.1f} %"),
            ("scale, bias", f"{float(self.head.log_scale.detach().exp()):.2f}, {_bias(self.head):.2f}"),
        ]
        return Table("A head on two frozen towers", ("what", "value"), tuple(rows))


def align(
    pairs: Pairs,
    config: AlignConfig,
    *,
    validation: Pairs | None = None,
    folder: str | Path | None = None,
    on_validation: Callable[[int, Sequence[float], float | None], None] = lambda step, losses, recall: None,
    device: str = "cpu",
) -> Aligned:
    """Train the heads of `config` on pairs; validated every `config.every` steps, and after the last, on at most 5,000
    validation pairs.

    With a `folder` state is kept there: the same call goes on to the same weights after Ctrl-C or a kill, a call with another
    configuration or other pairs is refused with the difference. `on_validation(step, losses so far, recall)` is for live
    curves. Under torchrun every process takes its share of each batch, and gradients are those of the whole batch. Batches
    are drawn without replacement within an epoch; one larger than the set is the set. Raises ValueError for pairs that
    `Pairs.check` refuses, a caption set that is missing, or a loss that is not finite.
    """
    _check(pairs, validation, config)
    torch.manual_seed(config.seed)
    head = config.build(*pairs.widths).to(device)
    spread = Spread(head)
    run = {**config.to_json(), "pairs": len(pairs), "widths": list(pairs.widths), "data": _digest(pairs)}
    run["validation"] = None if validation is None else f"{len(validation)}, {_digest(validation)}"
    spread.check_folder(folder)
    watch = _Watch(head, config, validation, Path(folder) if folder else None, run, on_validation, spread.first)
    batch = min(config.batch_size, len(pairs))

    def loss(step: int) -> Tensor:
        watch.clamp()
        images, texts = pairs.rows(spread.share(_batch(len(pairs), batch, step, config.seed)), config.captions)
        return spread.loss(
            images.to(device), [text.to(device) for text in texts], lambda *made: loss_between(config, *made)
        )

    losses = train(
        head,
        loss,
        optimiser(config.optimiser, head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay),
        steps=config.steps,
        factor=lambda step: warm_cosine(step, config.steps, config.warmup),
        folder=folder,
        run=run,
        every=config.every,
        at={*range(config.every, config.steps, config.every), config.steps},
        on_step=watch,
        keeps=spread.first,
        title=f"{config.head} head",
    )
    best = watch.restore_best(len(losses))
    watch.clamp()
    return Aligned(head, config, tuple(losses), tuple(watch.recalls), best, len(pairs), len(validation or ()))


def mean_recall(head: AlignmentHead, pairs: Pairs, k: int = 10, most: int = MOST_VALIDATED) -> float:
    """Mean of R@k from pictures to captions and back, among at most `most` pairs: SAIL's score. Ties are wrong."""
    n, made = min(most, len(pairs)), ([], [])
    with torch.no_grad():
        for start in range(0, n, _ROWS):
            images, (texts,) = pairs.rows(np.arange(start, min(start + _ROWS, n)))
            for side, rows, found in zip((head.image, head.text), (images, texts), made, strict=True):
                found.append(side(rows.to(head.log_scale.device)))
    sides, own = tuple(torch.cat(found) for found in made), np.arange(n)
    return float(np.mean([recall_at_k(retrieval_ranks(*both, own), ks=(k,))[k] for both in (sides, sides[::-1])]))


class _Watch:
    """Validates after a step, keeps the best weights and the history beside the checkpoint, and says when to stop."""

    def __init__(self, head, config, validation, folder, run, told, keeps: bool):
        self.head, self.config, self.validation, self.folder = head, config, validation, folder
        self.told, self.keeps = told, keeps
        self.run = json.loads(json.dumps(run))
        self.recalls: list[tuple[int, float]] = self._read()
        self.best: dict[str, Tensor] | None = None

    def clamp(self) -> None:
        """SAIL keeps the scale within 1 … 100."""
        with torch.no_grad():
            self.head.log_scale.clamp_(0, math.log(LARGEST_SCALE))

    def __call__(self, step: int, losses: Sequence[float]) -> bool:
        """After `step` steps with these losses; True ends the run."""
        self.clamp()
        recall = None
        if self.validation is not None:
            recall = mean_recall(self.head, self.validation)
            self.recalls = [each for each in self.recalls if each[0] < step] + [(step, recall)]
            if recall >= max(found for _, found in self.recalls):
                self._keep_best()
            self._write()
        self.told(step, losses, recall)
        return self.finished(step)

    def finished(self, step: int) -> bool:
        """Whether `patience` validations in a row were below the best recall; one as good becomes the best."""
        if self.config.patience is None or not self.recalls:
            return False
        return len([at for at, _ in self.recalls if self.best_step(step) < at <= step]) >= self.config.patience

    def best_step(self, until: int) -> int:
        """The last of the equally best."""
        recalls = [(recall, at) for at, recall in self.recalls if at <= until]
        return max(recalls)[1] if recalls else until

    def restore_best(self, steps: int) -> int:
        best = self.best_step(steps)
        if best == steps or not self.recalls:
            return best
        if self.best is None and self.folder is not None:
            from safetensors.torch import load_file

            self.best = load_file(self.folder / BEST)
        self.head.load_state_dict(self.best)
        return best

    def _keep_best(self) -> None:
        self.best = {key: value.detach().cpu().clone() for key, value in self.head.state_dict().items()}
        if self.folder is not None and self.keeps:
            from safetensors.torch import save

            write_whole(self.folder / BEST, save(self.best))

    def _read(self) -> list[tuple[int, float]]:
        file = None if self.folder is None else self.folder / HISTORY
        if file is None or not file.is_file():
            return []
        stored = json.loads(file.read_text(encoding="utf-8"))
        # train() refuses the checkpoint of another run, with the difference; its history is not ours either
        return [tuple(each) for each in stored["recalls"]] if stored["run"] == self.run else []

    def _write(self) -> None:
        if self.folder is not None and self.keeps:
            write_whole(self.folder / HISTORY, json.dumps({"run": self.run, "recalls": self.recalls}).encode())


def _batch(n: int, size: int, step: int, seed: int) -> np.ndarray:
    """Rows of a step: each epoch is a permutation of its own, and a rest that fills no batch is left to the next."""
    each = n // size
    return _order(n, step // each, seed)[(step % each) * size : (step % each + 1) * size]


@lru_cache(maxsize=1)
def _order(n: int, epoch: int, seed: int) -> np.ndarray:
    """Kept while its epoch lasts: a permutation of 23 M rows takes a second, longer than many a step."""
    order = np.random.default_rng((seed, epoch)).permutation(n)
    order.flags.writeable = False
    return order


def _check(pairs: Pairs, validation: Pairs | None, config: AlignConfig) -> None:
    if len(pairs.texts) < config.captions:
        raise ValueError(f"captions={config.captions}, but the pairs have {len(pairs.texts)} caption sets; give more")
    if validation is not None and validation.widths != pairs.widths:
        raise ValueError(f"validation pairs of widths {validation.widths}, training ones {pairs.widths}; use one model")
    if config.patience is not None and validation is None:
        raise ValueError(f"patience={config.patience} needs validation pairs; give validation=")
    if config.patience is not None and len(validation) <= 10:
        raise ValueError(
            f"patience={config.patience} on {len(validation)} validation pairs, whose R@10 is always 100 percent; "
            "give more than ten, or patience=None"
        )
    if validation is not None and (shared := set(pairs.ids) & set(validation.ids)):
        raise ValueError(
            f"picture {min(shared)!r} is in the training and in the validation pairs; split them by picture"
        )
    pairs.check()
    if validation is not None:
        validation.check()


def _digest(pairs: Pairs) -> str:
    """Of the first and last rows: enough to notice other embeddings of the same shape."""
    import hashlib

    ends = np.unique(np.linspace(0, len(pairs) - 1, 16).astype(int))
    images, texts = pairs.rows(ends, len(pairs.texts))
    whole = b"".join(part.numpy().tobytes() for part in (images, *texts))
    return hashlib.sha256(whole).hexdigest()[:16]


def _bias(head: nn.Module) -> float:
    return 0.0 if head.logit_bias is None else float(head.logit_bias.detach())
