"""Modality inversion: a query carried into the other tower by optimising what enters it (Cross the Gap, arXiv 2502.04263).

The slow peers of a projector that is changed once: every query costs a run of its own, forward and backward through a tower.
No method of a model is replaced: a forward hook puts the pseudo embeddings in the place of the tower's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from threading import get_ident

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.evaluation.statistics import bootstrap
from workbench.inversion.sites import Site, image_site, text_site
from workbench.models.batches import check_caption, whole
from workbench.models.dual_encoder import DualEncoder
from workbench.progress import bar
from workbench.records import Record, Table, rounded

INITIAL_SPREAD = 0.02  # standard deviation of a pseudo embedding before the first step


@dataclass(frozen=True)
class Inverted(Record):
    """Queries as the other tower gives them: features (Q, d), not normalised, and their cosine (Q,) with what they stand for.

    Both float32 on the CPU. `tokens` pseudo embeddings per query were optimised for `steps`; `seconds` is the wall time of
    that, which the table leaves out because it is never the same twice.
    """

    method: str
    model: str
    features: Tensor
    cosine: Tensor
    steps: int
    tokens: int
    seconds: float

    @property
    def n(self) -> int:
        return len(self.features)

    @property
    def seconds_per_query(self) -> float:
        return self.seconds / self.n

    def table(self) -> Table:
        reached = bootstrap(self.cosine)
        cosine = f"{rounded(reached.mean)} [{rounded(reached.low)}, {rounded(reached.high)}]"
        header = ("method", "pseudo tokens", "steps", "mean cosine with the target [95 %]", "n")
        row = (self.method, str(self.tokens), str(self.steps), cosine, str(self.n))
        return Table(f"Modality inversion, {self.model}", header, (row,))


def oti(
    model: DualEncoder,
    images_post: Tensor,
    *,
    template: str = "a photo of {}",
    tokens: int = 1,
    steps: int = 150,
    learning_rate: float = 2e-2,
    weight_decay: float = 0.01,
    batch_size: int = 64,
    seed: int = 0,
) -> Inverted:
    """Pictures as text features: joint image features (Q, d) → (Q, d), by optimising `tokens` word embeddings in `template`.

    AdamW on 1 - cosine, as in Optimisation-based Textual Inversion of arXiv 2502.04263. Compare the result with image
    features. A query's numbers depend on its row, its position and the seed, not on its batch: losses are summed, where a
    mean would divide the gradients by the batch. The trap: a text tower of a closed vocabulary may lack a word of the
    template; scenes-clip knows no "photo", so give "a picture of {}". While it runs the parameters take no gradients: do not
    train the same model in another thread. Raises ValueError for features without direction or of another width, a template
    that does not hold one "{}" or has unknown words, options out of range, or a tower that cannot be inverted.
    """
    options = _Options(tokens, steps, learning_rate, weight_decay, batch_size, seed)
    _check_template(template)
    targets = _directions(images_post, model, "images_post")
    return _invert("OTI", model, targets, lambda: text_site(model, template, tokens), options)


def ovi(
    model: DualEncoder,
    texts_post: Tensor,
    *,
    tokens: int = 1,
    steps: int = 1000,
    learning_rate: float = 2e-2,
    weight_decay: float = 0.01,
    batch_size: int = 64,
    seed: int = 0,
) -> Inverted:
    """Captions as image features: joint text features (Q, d) → (Q, d), by optimising `tokens` patch embeddings.

    Optimisation-based Visual Inversion of arXiv 2502.04263, which takes 1 pseudo patch for a ViT-B/32 and 4 for a ViT-L/14
    and SigLIP. They stand where the patch embedding's output would, each repeated over a run of patches row by row; class
    token and positions come after. Compare the result with text features. What depends on what, and errors, as in `oti`;
    besides ValueError for a convolutional tower, which embeds no patches.
    """
    options = _Options(tokens, steps, learning_rate, weight_decay, batch_size, seed)
    targets = _directions(texts_post, model, "texts_post")
    return _invert("OVI", model, targets, lambda: image_site(model, tokens), options)


@dataclass(frozen=True)
class _Options:
    tokens: int
    steps: int
    learning_rate: float
    weight_decay: float
    batch_size: int
    seed: int

    def __post_init__(self):
        for name, least in (("tokens", 1), ("steps", 1), ("batch_size", 1), ("seed", 0)):
            if whole(name, getattr(self, name)) < least:
                raise ValueError(f"{name}={getattr(self, name)}; give {least} or more")
        if not (isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate={self.learning_rate}; give a positive number")
        if not (isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(f"weight_decay={self.weight_decay}; give 0 or more")


def _directions(post, model: DualEncoder, what: str) -> Tensor:
    """Features (Q, d) at unit length, float32 on the CPU."""
    if not isinstance(post, (Tensor, np.ndarray)):
        raise TypeError(f"{what} is a {type(post).__name__}; give the (Q, d) tensor of encoded features, their .post")
    rows = torch.as_tensor(post).detach().cpu().float()
    if rows.ndim != 2 or not len(rows) or rows.shape[1] != model.embed_dim:
        raise ValueError(
            f"{what} has shape {tuple(rows.shape)}; give (Q, {model.embed_dim}) with Q ≥ 1, .post of {model.name}"
        )
    if not bool(rows.isfinite().all()):
        raise ValueError(f"{what} holds NaN or infinite values; a model gave a broken feature, check its inputs")
    largest = rows.abs().amax(1, keepdim=True)
    if not bool(largest.all()):
        row = int((largest[:, 0] == 0).nonzero()[0])
        raise ValueError(f"row {row} of {what} is zeros, which has no direction; a model gave a broken feature")
    return F.normalize(rows / largest, dim=-1)  # squares of very large or small values would leave float32


def _check_template(template: str) -> None:
    check_caption(template, "template")
    if template.count("{}") != 1:
        raise ValueError(f'template={template!r}; write "{{}}" once, where the pseudo word goes: "a photo of {{}}"')


# The optimisation -------------------------------------------------------------------------------------------------------


def _invert(method: str, model: DualEncoder, targets: Tensor, find: Callable[[], Site], options: _Options) -> Inverted:
    if model.device.type == "meta":
        raise ValueError(f"{model.name} has shapes and no weights; load it with load_model")
    starts = range(0, len(targets), options.batch_size)
    with _at_rest(model.module), bar(total=len(starts) * options.steps, what=f"{method} of {len(targets)}") as progress:
        site = find()
        began = time.perf_counter()
        parts = []
        for at in starts:
            some = targets[at : at + options.batch_size].to(model.device)
            pseudo = _initial(range(at, at + len(some)), site.width, options).to(model.device)
            parts.append(_optimised(site, some, pseudo, options, progress.update).float().cpu())
        seconds = time.perf_counter() - began
    features = torch.cat(parts)
    cosine = F.cosine_similarity(features, targets)
    if not bool(cosine.isfinite().all()):
        dtype = str(model.dtype).removeprefix("torch.")
        raise ValueError(
            f"the optimisation left the numbers of {dtype}; load {model.name} in float32, or lower "
            f"learning_rate={options.learning_rate}"
        )
    return Inverted(method, model.name, features, cosine, options.steps, options.tokens, seconds)


def _initial(positions: range, width: int, options: _Options) -> Tensor:
    """N(0, 0.02²), each query's from the seed and its position alone: (B, tokens, width)."""
    shape = (options.tokens, width)
    drawn = [np.random.default_rng((options.seed, i)).standard_normal(shape, dtype=np.float32) for i in positions]
    return INITIAL_SPREAD * torch.from_numpy(np.stack(drawn))


def _optimised(site: Site, targets: Tensor, pseudo: Tensor, options: _Options, step_done: Callable) -> Tensor:
    """Features (B, d) that the last step reached."""
    pseudo.requires_grad_()
    optimiser = torch.optim.AdamW([pseudo], lr=options.learning_rate, weight_decay=options.weight_decay)
    with _hooked(site, pseudo):
        for _ in range(options.steps):
            optimiser.zero_grad()
            (1 - F.cosine_similarity(site.run(len(targets)).float(), targets)).sum().backward()
            optimiser.step()
            step_done()
        with torch.no_grad():
            return site.run(len(targets))


@contextmanager
def _hooked(site: Site, pseudo: Tensor):
    here = get_ident()

    def replace(_, __, output: Tensor) -> Tensor:
        return site.put(output, pseudo) if get_ident() == here else output  # another thread may be encoding

    handle = site.module.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _at_rest(module: nn.Module):
    """In evaluation, its parameters without gradients, ours recorded whatever the caller switched off; then as before."""
    learning = [weight for weight in module.parameters() if weight.requires_grad]
    training = [part for part in module.modules() if part.training]
    try:
        module.eval()
        for weight in learning:
            weight.requires_grad_(False)
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for weight in learning:
            weight.requires_grad_(True)
        for part in training:  # one by one: train() would also wake what was put to rest on purpose
            part.training = True
