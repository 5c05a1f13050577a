"""What a prompt makes of pictures and captions: how open it leaves the next word, how many directions its embeddings need, and
whether pairs are found by them (VladVA, arXiv 2412.04378, figures 2 to 5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.discriminative.readings import PromptReading, PromptReadings, SideReading
from workbench.evaluation.retrieval import retrieval_ranks
from workbench.evaluation.statistics import bootstrap, share
from workbench.models.batches import as_list, captions, in_batches
from workbench.models.lvlm import LvlmEncoder, Prompts
from workbench.progress import bar

if TYPE_CHECKING:
    from workbench.models.dual_encoder import Picture

_ALIKE = 1e-11  # of the sum of squares: what float32 leaves of rows that are the same


def read_prompts(
    model: LvlmEncoder,
    pictures: Iterable[Picture],
    texts: Iterable[str],
    prompts: Mapping[str, Prompts | str],
    *,
    k: int = 10,
    batch_size: int = 32,
) -> PromptReadings:
    """Ask `model` in the words of every prompt by name; pictures[i] belongs to texts[i], and equal captions are all right.

    One pass a prompt gives the embeddings, and the vocabulary's head on them the next token. Intervals draw captions, pairs
    with the same caption together. Prepared pictures are kept from prompt to prompt, 12 S² bytes each at S pixels a side. The
    trap: a picture that is there twice with different captions counts as two. Raises TypeError for another kind of model,
    ValueError for no prompts, fewer than two pairs, unequal numbers, a k below 1 or above the vocabulary, embeddings that are
    all the same, and as `with_prompts`, `encode_image` and `encode_text`.
    """
    if not prompts:
        raise ValueError("no prompts; give one or more by name, such as workbench.models.lvlm.PRESETS")
    pairs = _prepared(model, pictures, texts, k)
    asked = {name: model.with_prompts(each) for name, each in prompts.items()}  # all of them, before the long work
    rows = {name: _read(each, pairs, k, batch_size) for name, each in bar(asked.items(), "prompts")}
    return PromptReadings(model.name, rows, len(pairs.texts), pairs.chance)


def compared(models: Mapping[str, LvlmEncoder], pictures, texts: Iterable[str], **options) -> PromptReadings:
    """The same of several models by name, each as it is asked now. Arguments and errors as of `read_prompts`."""
    if not models:
        raise ValueError("no models; give one or more by name")
    pictures, texts = as_list(pictures, "pictures"), captions(texts)
    rows = {name: read_prompt(each, pictures, texts, **options) for name, each in models.items()}
    places = Counter(texts)
    return PromptReadings(", ".join(models), rows, len(texts), sum(n * n for n in places.values()) / len(texts) ** 2)


def read_prompt(
    model: LvlmEncoder, pictures: Iterable[Picture], texts: Iterable[str], *, k: int = 10, batch_size: int = 32
) -> PromptReading:
    """The same of a model as it is asked now, its soft prompts included. Arguments and errors as of `read_prompts`."""
    return _read(model, _prepared(model, pictures, texts, k), k, batch_size)


@dataclass(frozen=True)
class _Pairs:
    """Prepared pictures, their captions, and for each the places of all that equal its caption."""

    pixels: list[Tensor]
    texts: list[str]
    right: list[list[int]]

    @property
    def chance(self) -> float:
        return float(np.mean([len(each) for each in self.right])) / len(self.texts)


def _prepared(model: LvlmEncoder, pictures, texts, k: int) -> _Pairs:
    if not isinstance(model, LvlmEncoder):
        raise TypeError(f"{type(model).__name__} has no prompt; give a vision–language model, load_model('lvlm:…')")
    vocabulary = model.module.get_output_embeddings().weight.shape[0]
    if not 1 <= k <= vocabulary:
        raise ValueError(f"k={k}; give 1 to {vocabulary}, the size of the vocabulary")
    pictures, texts = as_list(pictures, "pictures"), captions(texts)
    if len(pictures) != len(texts):
        raise ValueError(f"{len(pictures)} pictures and {len(texts)} captions; give one caption for each picture")
    if len(texts) < 2:
        raise ValueError("one picture has nothing to be told from; give two pairs or more")
    places: dict[str, list[int]] = {}
    for i, text in enumerate(texts):
        places.setdefault(text, []).append(i)
    return _Pairs([model.preprocess(picture) for picture in pictures], texts, [places[text] for text in texts])


def _read(model: LvlmEncoder, pairs: _Pairs, k: int, batch_size: int) -> PromptReading:
    image = torch.cat(
        [model.encode_pixels(part).post.cpu().float() for part in in_batches(pairs.pixels, batch_size, "pictures")]
    )
    text = model.encode_text(pairs.texts, batch_size=batch_size).post
    both = [_side(model, *sides, pairs, k, batch_size) for sides in ((image, text), (text, image))]
    (pictures, of_pictures), (told, of_texts) = both
    return PromptReading(pictures, told, bootstrap((of_pictures + of_texts) / 2, groups=pairs.texts))


def _side(
    model: LvlmEncoder, queries: Tensor, gallery: Tensor, pairs: _Pairs, k: int, batch_size: int
) -> tuple[SideReading, np.ndarray]:
    """The reading of the queries' modality, and every input's entropy (n,)."""
    entropy, mean = _next_token(model, queries, batch_size)
    found, ranks = mean.topk(k), retrieval_ranks(queries, gallery, pairs.right)
    shares = explained_variance(F.normalize(queries.double(), dim=-1))
    reading = SideReading(
        bootstrap(entropy, groups=pairs.texts),
        float(torch.special.entr(mean).sum()) - float(entropy.mean()),
        tuple(model.tokenizer.decode([i]) for i in found.indices.tolist()),
        tuple(found.values.tolist()),
        share(ranks == 1, groups=pairs.texts),
        effective_dimensions(shares),
        tuple(shares.tolist()),
    )
    return reading, entropy


def _next_token(model: LvlmEncoder, summaries: Tensor, batch_size: int) -> tuple[np.ndarray, Tensor]:
    """Entropies (n,) in nats at summaries (n, d), and the mean distribution over the vocabulary, as `next_tokens` has them."""
    head = model.module.get_output_embeddings()
    entropies, total = [], 0
    with torch.no_grad():
        for part in summaries.split(batch_size):
            logs = head(part.to(head.weight)).cpu().double().log_softmax(1)
            entropies.append(torch.special.entr(logs.exp()).sum(1))
            total = total + logs.exp().sum(0)
    return torch.cat(entropies).numpy(), total / len(summaries)


# The spectrum of embeddings ---------------------------------------------------------------------------------------------


def explained_variance(rows: Tensor) -> np.ndarray:
    """The share of variance about the mean that the first 1, 2, … components of rows (N, d) explain: (min(N, d),), up to 1.

    Figure 3 of VladVA (arXiv 2412.04378). Raises ValueError for other shapes, fewer than two rows, values that are not finite, or
    rows that are all the same, which vary in no direction.
    """
    rows = torch.as_tensor(rows).detach().cpu().double()
    if rows.ndim != 2 or len(rows) < 2 or not rows.shape[1]:
        raise ValueError(f"rows of shape {tuple(rows.shape)}; give (N, d) with N ≥ 2")
    if not bool(rows.isfinite().all()):
        raise ValueError("rows hold NaN or infinite values; a model gave a broken embedding, check its inputs")
    squares = torch.linalg.svdvals(rows - rows.mean(0)) ** 2
    if squares.sum() <= _ALIKE * (rows**2).sum():
        raise ValueError(
            f"all {len(rows)} embeddings are the same, so there is no variance to explain; give different inputs"
        )
    return (squares.cumsum(0) / squares.sum()).clamp(max=1).numpy()


def effective_dimensions(shares: Sequence[float]) -> float:
    """exp of the entropy of variance shares, given as `explained_variance` returns them: 1 to min(N - 1, d).

    The trap: `evaluation.effective_rank` takes singular values and leaves the mean in, so its numbers are others.
    """
    each = torch.as_tensor(np.diff(shares, prepend=0.0)).clamp_min(0)
    return float(torch.special.entr(each).sum().exp())
